//! The port that `betanet serve` keeps between its starts: clients know it by then.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use betanet_runtime::Listening;

/// Where `serve` listens without `--listen`, and the file beside the key that holds the port.
#[derive(Debug)]
pub(super) struct KeptPort {
    file: PathBuf,
    port: Option<u16>,
}

impl KeptPort {
    /// The port that an earlier start left beside this key.
    pub(super) fn beside(key: &Path) -> Self {
        let mut file = key.as_os_str().to_owned();
        file.push(".port");
        let file = PathBuf::from(file);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let port = text.trim().parse().ok().filter(|p| *p != 0);
        Self { file, port }
    }

    /// Where to listen: at the kept port, or at one that the system chooses.
    pub(super) fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port.unwrap_or(0))
    }

    /// Says that another program has the port; the address to listen at in its place.
    pub(super) fn taken(&mut self) -> String {
        if let Some(port) = self.port.take() {
            note!(
                "note: port {port} of earlier starts is taken: clients that know it need the new --peer; --listen HOST:PORT chooses one"
            );
        }
        self.listen()
    }

    /// Keeps the port that the node got.
    pub(super) fn keep(&self, listening: &Listening) {
        let Some(got) = listening.bound.first().map(std::net::SocketAddr::port) else {
            return;
        };
        if self.port == Some(got) {
            return;
        }
        if let Err(e) = self.write(got) {
            let file = self.file.display();
            note!("note: {file}: {e}: the next start takes another port");
        }
    }

    /// Whole or not at all: half a number is another port.
    fn write(&self, port: u16) -> std::io::Result<()> {
        let folder = self.file.parent().filter(|f| !f.as_os_str().is_empty());
        let mut fresh = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        writeln!(fresh, "{port}")?;
        fresh.as_file().sync_all()?;
        fresh.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_port_is_chosen_anew() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("id.pem");
        assert_eq!(KeptPort::beside(&key).listen(), "127.0.0.1:0");
        KeptPort::beside(&key).write(4433).unwrap();
        assert_eq!(KeptPort::beside(&key).listen(), "127.0.0.1:4433");
        for bad in ["", "0", "70000", "x"] {
            std::fs::write(dir.path().join("id.pem.port"), bad).unwrap();
            assert_eq!(KeptPort::beside(&key).listen(), "127.0.0.1:0", "{bad}");
        }
    }
}
