use std::io;

use crate::Digest;

/// A failure of the backend, or of the stream that an upload is read from.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The reason why an operation failed. Each has changed nothing, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The content is longer than announced, or than allowed.
    #[error("the content is longer than {most} bytes")]
    TooLarge {
        /// Announced or allowed length, in bytes.
        most: u64,
    },
    /// The upload ended before its announced length.
    #[error("the upload ended after {received} of {announced} bytes: send it again")]
    Short {
        /// Received bytes.
        received: u64,
        /// Announced length, in bytes.
        announced: u64,
    },
    /// The content has another digest than its name.
    #[error("the content has the digest {found}, not {wanted}")]
    Digest {
        /// Digest that the blob was to have.
        wanted: Digest,
        /// Digest of the received content.
        found: Digest,
    },
    /// A blob of this digest is stored, and has another length than announced.
    #[error("{digest} has {size} bytes, not {announced}")]
    Size {
        /// Name of the blob.
        digest: Digest,
        /// Its length, in bytes.
        size: u64,
        /// Announced length, in bytes.
        announced: u64,
    },
    /// The stream that the upload is read from failed.
    #[error("the upload was interrupted")]
    Body(#[source] Failure),
    /// The quota is used up by content that may not be evicted.
    #[error(
        "{needed} bytes do not fit within the quota of {quota} bytes: remove some, or raise it"
    )]
    Quota {
        /// Bytes that were to be stored.
        needed: u64,
        /// The quota, in bytes.
        quota: u64,
    },
    /// As many things of a kind as allowed are held.
    #[error("there are {most} {what}, as many as allowed")]
    Full {
        /// Kind of the things.
        what: &'static str,
        /// Their bound.
        most: u64,
    },
    /// The disk has less free space than the floor and this operation need.
    #[error(
        "the disk has {free} bytes free, and nothing is stored below {floor}: free some, or lower the floor"
    )]
    DiskFloor {
        /// Free space, in bytes.
        free: u64,
        /// Configured floor, in bytes.
        floor: u64,
    },
    /// The disk is full.
    #[error("the disk is full: free some space")]
    DiskFull,
    /// As many operations as allowed are in progress.
    #[error("{most} {what} are in progress: try again later")]
    Busy {
        /// Kind of the operations.
        what: &'static str,
        /// Their bound.
        most: usize,
    },
    /// There is no such blob.
    #[error("there is no blob {0}")]
    Missing(Digest),
    /// There is no such log.
    #[error("there is no log of fence {fence} of {task}")]
    NoLog {
        /// ID of the task.
        task: Digest,
        /// Fence of the copy.
        fence: u64,
    },
    /// The range is not within the content.
    #[error("the content has {size} bytes, and the range is not within them")]
    Range {
        /// Length of the content, in bytes.
        size: u64,
    },
    /// A stored blob does not match its checksums. It was moved to the folder of damaged blobs, and is no longer served.
    #[error("blob {digest}: {why}: it was set aside; upload it again")]
    Damaged {
        /// Name of the blob.
        digest: Digest,
        /// Kind of the damage.
        why: Damage,
    },
    /// An append does not continue the log, or repeats other bytes than it has.
    #[error("the log continues at {next}")]
    Offset {
        /// Length of the log, in bytes.
        next: u64,
    },
    /// The disk or the object store failed.
    #[error("cannot {action}")]
    Backend {
        /// The failed action.
        action: &'static str,
        /// The failure.
        #[source]
        source: Failure,
    },
}

/// Kind of damage.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The content does not match its checksum.
    #[error("the bytes from {0} do not match their checksum")]
    Content(u64),
    /// The checksums at its end do not match their own.
    #[error("its checksums are damaged")]
    Checksums,
    /// It has another length than it was stored with.
    #[error("its length has changed")]
    Length,
    /// Its file has gone.
    #[error("its file is missing")]
    Missing,
}

/// Class of an error: the party at fault and the remedy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// No room at present: try again later.
    NotNow,
    /// The sender's content or range was refused, or what it asks for is not there.
    Refused,
    /// The disk or the object store of this machine failed.
    Local,
}

impl Error {
    /// Returns the class of this error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Quota { .. }
            | Self::Full { .. }
            | Self::DiskFloor { .. }
            | Self::DiskFull
            | Self::Busy { .. } => Kind::NotNow,
            Self::TooLarge { .. }
            | Self::Short { .. }
            | Self::Digest { .. }
            | Self::Size { .. }
            | Self::Body(_)
            | Self::Missing(_)
            | Self::NoLog { .. }
            | Self::Range { .. }
            | Self::Offset { .. } => Kind::Refused,
            Self::Damaged { .. } | Self::Backend { .. } => Kind::Local,
        }
    }

    /// Returns the code of chapter 10 that a peer is answered with, if it has one.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::TooLarge { .. } => "too_large",
            Self::Short { .. } | Self::Digest { .. } | Self::Size { .. } => "digest",
            Self::Quota { .. } | Self::Full { .. } => "quota",
            Self::DiskFloor { .. } | Self::DiskFull => "disk_floor",
            Self::Busy { .. } => "rate",
            Self::Missing(_) | Self::NoLog { .. } | Self::Damaged { .. } => "unknown",
            Self::Range { .. } => "bad_value",
            Self::Offset { .. } => "offset",
            Self::Body(_) | Self::Backend { .. } => return None,
        })
    }

    /// Creates the error of a backend that failed to do `action`. A full disk is named.
    pub(crate) fn backend<E: Into<Failure>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| {
            let source = source.into();
            if is_full(&*source) {
                return Self::DiskFull;
            }
            Self::Backend { action, source }
        }
    }
}

/// Whether the system refused a write for want of space, however deep its error lies.
fn is_full(failure: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(failure);
    while let Some(e) = next {
        let kind = e.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(
            kind,
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        ) {
            return true;
        }
        next = e.source();
    }
    false
}
