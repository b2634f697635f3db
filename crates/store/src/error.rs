use std::io;
use std::path::PathBuf;

/// Error of reading or writing state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system reported an error.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process holds the folder.
    #[error(
        "{}: the state folder is in use by another process{}: stop it; a second node takes a key of its own, and with it another folder (--key, --state)",
        folder.display(),
        pid.map_or_else(String::new, |p| format!(" (pid {p})"))
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, if it has recorded its ID.
        pid: Option<u32>,
    },
    /// Other users have access to a folder that already holds something.
    #[error("{0}: others may use the folder: state is kept there only after chmod 700 {0}", folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
    },
    /// The file has a version that this program does not know.
    #[error("{}: version {found}, and this program knows versions up to {known}: run a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u16,
        /// The newest version that this program knows.
        known: u16,
    },
    /// The file is damaged.
    #[error(
        "{}: {why}: it is left as it is; restore it from a copy, or remove it to begin anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Kind of the damage.
        why: Damage,
    },
    /// The file holds another kind of state.
    #[error("{}: holds another kind of state than {wanted:?}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The requested kind.
        wanted: &'static str,
    },
    /// The entry exceeds the maximum size.
    #[error("{}: longer than an entry may be", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// The name is not valid for an entry.
    #[error(
        "an entry's name is 1 to 96 of A-Z, a-z, 0-9, '.', '_' and '-', and does not begin with a '.'"
    )]
    Name,
    /// The folder was closed and its lock released.
    #[error("{}: the state folder is closed", folder.display())]
    Closed {
        /// The folder.
        folder: PathBuf,
    },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

/// Kind of damage to a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file does not begin with the header line of state files.
    #[error("damaged: its first line is not that of a state file")]
    Header,
    /// The file is shorter or longer than its header line says.
    #[error("damaged: its length is not what its first line says")]
    Length,
    /// Its content does not match its checksum.
    #[error("damaged: its content does not match its checksum")]
    Checksum,
    /// A journal's record does not match its checksum, and more records follow it.
    #[error("damaged: a record in its middle does not match its checksum")]
    Record,
    /// The content is complete but cannot be parsed.
    #[error("damaged: its content does not read")]
    Content,
}
