use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use betanet_carrier::disk;
use betanet_keys::{Name, Peer};

use crate::Error;
use crate::files::{file_error, write_private};

/// Peers that were used once, by name, in a TOML file.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    peers: BTreeMap<String, String>,
}

impl Book {
    /// Reads the book; one that is not there is empty.
    ///
    /// # Errors
    ///
    /// It cannot be read, or does not read as a book.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let peers = read(&path)?;
        Ok(Self { path, peers })
    }

    /// What is known of a name.
    #[must_use]
    pub fn find(&self, name: Name) -> Option<Peer> {
        let peer: Peer = self.peers.get(&name.to_string())?.parse().ok()?;
        (peer.name() == name).then_some(peer)
    }

    /// Notes a peer, replacing what was known of its name; the file changes at once or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn note(&mut self, peer: &Peer) -> Result<(), Error> {
        let (name, text) = (peer.name().to_string(), peer.to_string());
        if self.peers.get(&name) == Some(&text) {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(file_error(folder))?;
        }
        let _held = hold(&self.path)?;
        // With what others have noted since.
        self.peers = read(&self.path)?;
        self.peers.insert(name, text);
        let text = toml::to_string(&self.peers).map_err(|e| Error::Book {
            path: self.path.clone(),
            why: e.to_string(),
        })?;
        write_private(&self.path, text.as_bytes())
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let bytes = disk::read_regular(path, disk::TEXT_MAX);
    let text = bytes.and_then(|b| {
        String::from_utf8(b).map_err(|e| io::Error::new(ErrorKind::InvalidData, e.utf8_error()))
    });
    match text {
        Ok(text) => toml::from_str(&text).map_err(|e| Error::Book {
            path: path.to_owned(),
            why: e.message().to_owned(),
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(file_error(path)(e)),
    }
}

/// Keeps other processes from changing a book, by a lock on a file beside it: the book's own is replaced by each change.
fn hold(book: &Path) -> Result<File, Error> {
    let mut path = book.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(file_error(&path))?;
    match file.lock() {
        // A file system without locks.
        Err(e) if e.kind() != ErrorKind::Unsupported => Err(file_error(&path)(e)),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    #[test]
    fn what_two_processes_note_at_once_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/peers.toml");
        let peer = |n: u8| Peer {
            key: *Identity::from_seed(&[n; 32]).public(),
            addrs: vec![format!("192.0.2.{n}:443")],
            pin: None,
        };
        let books: Vec<_> = (1..9)
            .map(|n| (n, Book::open(path.clone()).unwrap()))
            .collect();
        std::thread::scope(|all| {
            for (n, mut book) in books {
                let peer = peer(n);
                all.spawn(move || book.note(&peer).unwrap());
            }
        });
        let book = Book::open(path).unwrap();
        for n in 1..9 {
            assert_eq!(book.find(peer(n).name()), Some(peer(n)));
        }
    }
}
