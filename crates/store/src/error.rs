use std::io;
use std::path::PathBuf;

/// Why state is not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the folder.
    #[error(
        "{}: the state folder is in use by another process{}: stop it, or name another folder with --state",
        folder.display(),
        pid.map_or_else(String::new, |p| format!(" (pid {p})"))
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The process that holds it, where it has said so.
        pid: Option<u32>,
    },
    /// Other users may use a folder that already holds something.
    #[error("{0}: others may use the folder: state is kept there only after chmod 700 {0}", folder.display())]
    Open {
        /// The folder.
        folder: PathBuf,
    },
    /// The file is of a version that this program does not know.
    #[error("{}: version {found}, and this program knows versions up to {known}: run a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u16,
        /// The newest version that is known.
        known: u16,
    },
    /// The file is not as it was written.
    #[error(
        "{}: {why}: it is left as it is; restore it from a copy, or remove it to begin anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it is damaged.
        why: Damage,
    },
    /// The file holds another kind of state.
    #[error("{}: holds another kind of state than {wanted:?}", path.display())]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// The kind that was asked for.
        wanted: &'static str,
    },
    /// The entry is larger than an entry may be.
    #[error("{}: longer than an entry may be", path.display())]
    Long {
        /// The file.
        path: PathBuf,
    },
    /// The name cannot be an entry's.
    #[error(
        "an entry's name is 1 to 96 of A-Z, a-z, 0-9, '.', '_' and '-', and does not begin with a '.'"
    )]
    Name,
    /// The folder was closed: its lock is released.
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

/// How a file is damaged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It does not begin with the line that each file of state begins with.
    #[error("damaged: its first line is not that of a state file")]
    Header,
    /// It is shorter or longer than its first line says.
    #[error("damaged: its length is not what its first line says")]
    Length,
    /// Its content does not match its checksum.
    #[error("damaged: its content does not match its checksum")]
    Checksum,
    /// A journal's record does not match its checksum, and others follow it.
    #[error("damaged: a record in its middle does not match its checksum")]
    Record,
    /// Its content is whole, and does not read.
    #[error("damaged: its content does not read")]
    Content,
}
