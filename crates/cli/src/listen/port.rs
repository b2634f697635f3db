//! The port that `betanet serve` keeps between its starts, because clients know it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use betanet_runtime::Listening;
use betanet_store::{Error, Kind, State, Storage, load_or_move};

const PORT: (Kind, &str) = (Kind::new("port", 1), "port");

/// The port of `serve` without `--listen`, stored in the node's state.
#[derive(Debug)]
pub(super) struct KeptPort {
    state: Arc<State>,
    port: Option<u16>,
}

fn read(bytes: &[u8]) -> Option<u16> {
    let port = std::str::from_utf8(bytes).ok()?.trim().parse().ok();
    port.filter(|p| *p != 0)
}

/// Returns the file in which an earlier version stored the port.
fn beside(key: &Path) -> PathBuf {
    let mut file = key.as_os_str().to_owned();
    file.push(".port");
    file.into()
}

fn load(state: &State, key: &Path) -> Result<Option<u16>, Error> {
    let reads = |bytes: &[u8]| read(bytes).map(|_| bytes.to_vec());
    let Some(kept) = load_or_move(state, PORT, &beside(key), reads)? else {
        return Ok(None);
    };
    read(&kept.bytes)
        .ok_or_else(|| state.unreadable(PORT.1))
        .map(Some)
}

impl KeptPort {
    /// Loads the port of an earlier start of the node with this key.
    pub(super) fn of(state: Arc<State>, key: &Path) -> Self {
        let port = load(&state, key).unwrap_or_else(|e| {
            note!("note: {e}: this start takes another port");
            None
        });
        Self { state, port }
    }

    /// Returns the address to listen at, with the stored port or one that the system chooses.
    pub(super) fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port.unwrap_or(0))
    }

    /// Reports that another program has the port. Returns the address to use instead.
    pub(super) fn taken(&mut self) -> String {
        if let Some(port) = self.port.take() {
            note!(
                "note: port {port} of earlier starts is taken: clients that know it need the new --peer; --listen HOST:PORT chooses one"
            );
        }
        self.listen()
    }

    /// Stores the node's port.
    pub(super) fn keep(&self, listening: &Listening) {
        let Some(got) = listening.bound.first().map(std::net::SocketAddr::port) else {
            return;
        };
        if self.port == Some(got) {
            return;
        }
        if let Err(e) = self.write(got) {
            note!("note: {e}: the next start takes another port");
        }
    }

    fn write(&self, port: u16) -> Result<(), Error> {
        self.state
            .replace(PORT.0, PORT.1, format!("{port}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_port_is_chosen_anew() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("id.pem");
        let state = Arc::new(State::open(&dir.path().join("id.state")).unwrap());
        let kept = || KeptPort::of(Arc::clone(&state), &key);
        assert_eq!(kept().listen(), "127.0.0.1:0");
        for bad in ["", "0", "70000", "x"] {
            std::fs::write(dir.path().join("id.pem.port"), bad).unwrap();
            assert_eq!(kept().listen(), "127.0.0.1:0", "{bad}");
        }
        // A port that an earlier version stored is moved.
        std::fs::write(dir.path().join("id.pem.port"), "4432\n").unwrap();
        assert_eq!(kept().listen(), "127.0.0.1:4432");
        assert!(!dir.path().join("id.pem.port").exists());
        kept().write(4433).unwrap();
        assert_eq!(kept().listen(), "127.0.0.1:4433");
        std::fs::write(dir.path().join("id.state/port"), "cut").unwrap();
        assert_eq!(kept().listen(), "127.0.0.1:0");
    }
}
