use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

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
        let peers = match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|e| Error::Book {
                path: path.clone(),
                why: e.message().to_owned(),
            })?,
            Err(e) if e.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(e) => return Err(file_error(&path)(e)),
        };
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
        self.peers.insert(name, text);
        let text = toml::to_string(&self.peers).map_err(|e| Error::Book {
            path: self.path.clone(),
            why: e.to_string(),
        })?;
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(file_error(folder))?;
        }
        write_private(&self.path, text.as_bytes())
    }
}
