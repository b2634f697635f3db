//! Why a guest is ended from within one of its calls, and what a call answers otherwise.

/// Ends the guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("it exited with {0}")]
    Exit(i32),
    #[error("it asked for {asked} bytes of memories and tables; its limit is {limit}")]
    Memory { asked: u64, limit: u64 },
    #[error("it asked for a table of {0} elements")]
    Table(u64),
    #[error("it wrote more than {0} bytes")]
    Bytes(u64),
    #[error("it made more than {0} files")]
    Files(u32),
    #[error("it left a path that is too long or too deep")]
    Path,
    #[error("it calls WASI without a memory named `memory`")]
    NoMemory,
    #[error("it raised a signal")]
    Raised,
    #[error("the machine has too little memory")]
    Machine,
    #[error("the parent is gone")]
    Parent,
}

/// Errors of WASI calls, as far as a file system in memory can have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    Acces,
    Badf,
    Exist,
    Fault,
    FBig,
    Ilseq,
    Inval,
    Io,
    IsDir,
    Loop,
    MFile,
    NameTooLong,
    NoEnt,
    NotDir,
    NotEmpty,
    NotSock,
    NotSup,
    Overflow,
    Perm,
    RoFs,
    SPipe,
}

impl Errno {
    /// Preview 1's number.
    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Acces => 2,
            Self::Badf => 8,
            Self::Exist => 20,
            Self::Fault => 21,
            Self::FBig => 22,
            Self::Ilseq => 25,
            Self::Inval => 28,
            Self::Io => 29,
            Self::IsDir => 31,
            Self::Loop => 32,
            Self::MFile => 33,
            Self::NameTooLong => 37,
            Self::NoEnt => 44,
            Self::NotDir => 54,
            Self::NotEmpty => 55,
            Self::NotSock => 57,
            Self::NotSup => 58,
            Self::Overflow => 61,
            Self::Perm => 63,
            Self::RoFs => 69,
            Self::SPipe => 70,
        }
    }
}

/// A call's failure: an answer to the guest, or its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fail {
    Errno(Errno),
    Stop(Stop),
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

pub(crate) type Answer<T> = Result<T, Fail>;
