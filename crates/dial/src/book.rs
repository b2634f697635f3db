use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use betanet_carrier::disk;
use betanet_keys::{Name, Peer};
use betanet_store::{Kind, SharedFolder, Storage as _};

use crate::Error;
use crate::files::{file_error, write_private};

/// The address book's entry in a state folder.
const PEERS: (Kind, &str) = (Kind::new("peers", 1), "peers");

/// An address book: peers by name, kept in a state folder or in a TOML file that the user names.
#[derive(Debug)]
pub struct Book {
    place: Place,
    peers: BTreeMap<String, String>,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    State(SharedFolder),
}

impl Book {
    /// Reads the book from a TOML file. A missing file is an empty book.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not a valid book.
    pub fn open(path: PathBuf) -> Result<Self, Error> {
        let peers = read(&path)?;
        let place = Place::File(path);
        Ok(Self { place, peers })
    }

    /// Reads the book from a state folder. A book in the folder's `peers.toml` is moved to it first. A missing book is empty.
    ///
    /// # Errors
    ///
    /// The book cannot be read, or is not valid.
    pub fn in_state(folder: SharedFolder) -> Result<Self, Error> {
        let old = folder.folder().join("peers.toml");
        // A file that is not a valid book is reported as one, and is not moved.
        let reads = |bytes: &[u8]| parse(&old, bytes).ok().map(|_| bytes.to_vec());
        let loaded = folder.load_or_move(PEERS, &old, reads)?;
        let file = folder.folder().join(PEERS.1);
        let peers = match loaded {
            Some(loaded) => parse(&file, &loaded.bytes)?,
            None => BTreeMap::new(),
        };
        let place = Place::State(folder);
        Ok(Self { place, peers })
    }

    /// Returns the peer of a name, if the book has it.
    #[must_use]
    pub fn find(&self, name: Name) -> Option<Peer> {
        let peer: Peer = self.peers.get(&name.to_string())?.parse().ok()?;
        (peer.name() == name).then_some(peer)
    }

    /// Adds a peer, in place of an earlier one of its name. The file changes whole or not at all.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn note(&mut self, peer: &Peer) -> Result<(), Error> {
        let (name, text) = (peer.name().to_string(), peer.to_string());
        if self.peers.get(&name) == Some(&text) {
            return Ok(());
        }
        // Reread the book, since other processes may have changed it.
        self.peers = match &self.place {
            Place::File(path) => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(file_error(folder))?;
                }
                let _held = hold(path)?;
                let mut peers = read(path)?;
                peers.insert(name, text);
                write_private(path, written(&peers).as_bytes())?;
                peers
            }
            Place::State(folder) => folder.hold(|state| {
                let path = state.place(PEERS.1);
                let mut peers = match state.load(PEERS.0, PEERS.1)? {
                    Some(loaded) => parse(&path, &loaded.bytes)?,
                    None => BTreeMap::new(),
                };
                peers.insert(name, text);
                state.replace(PEERS.0, PEERS.1, written(&peers).as_bytes())?;
                Ok::<_, Error>(peers)
            })?,
        };
        Ok(())
    }
}

fn written(peers: &BTreeMap<String, String>) -> String {
    let line = |(name, peer): (&String, &String)| (name.clone(), peer.clone().into());
    peers.iter().map(line).collect::<toml::Table>().to_string()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| file_error(path)(io::Error::new(ErrorKind::InvalidData, e)))?;
    toml::from_str(text).map_err(|e| Error::Book {
        path: path.to_owned(),
        why: e.into(),
    })
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    match disk::read_regular(path, disk::TEXT_MAX) {
        Ok(bytes) => parse(path, &bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(e) => Err(file_error(path)(e)),
    }
}

/// Locks a book against changes of other processes. The lock is on a separate file, because each change replaces the book's own.
fn hold(book: &Path) -> Result<File, Error> {
    let mut path = book.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(file_error(&path))?;
    match file.lock() {
        // The file system has no locks.
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
        let state = SharedFolder::new(dir.path().join("state"));
        let places: [&dyn Fn() -> Book; 2] = [&|| Book::open(path.clone()).unwrap(), &|| {
            Book::in_state(state.clone()).unwrap()
        }];
        for open in places {
            let books: Vec<_> = (1..9).map(|n| (n, open())).collect();
            std::thread::scope(|all| {
                for (n, mut book) in books {
                    let peer = peer(n);
                    all.spawn(move || book.note(&peer).unwrap());
                }
            });
            let book = open();
            for n in 1..9 {
                assert_eq!(book.find(peer(n).name()), Some(peer(n)));
            }
        }
    }

    fn peer(n: u8) -> Peer {
        Peer {
            key: *Identity::from_seed(&[n; 32]).public(),
            addrs: vec![format!("192.0.2.{n}:443")],
            pin: None,
        }
    }

    #[test]
    fn the_book_of_an_earlier_version_is_moved_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        betanet_store::tighten(dir.path()).unwrap();
        let old = dir.path().join("peers.toml");
        let open = || Book::in_state(SharedFolder::new(dir.path()));
        Book::open(old.clone()).unwrap().note(&peer(1)).unwrap();
        assert_eq!(open().unwrap().find(peer(1).name()), Some(peer(1)));
        assert!(!old.exists());
        open().unwrap().note(&peer(2)).unwrap();
        assert_eq!(open().unwrap().find(peer(1).name()), Some(peer(1)));
        let entry = dir.path().join("peers");
        let mut bytes = fs::read(&entry).unwrap();
        bytes.pop();
        fs::write(&entry, &bytes).unwrap();
        let told = open().unwrap_err();
        assert!(
            told.is_local() && told.to_string().contains("damaged"),
            "{told}"
        );
        fs::remove_file(entry).unwrap();
        fs::write(&old, "no book").unwrap();
        let told = open().unwrap_err().to_string();
        assert!(told.contains("peers.toml"), "{told}");
    }
}
