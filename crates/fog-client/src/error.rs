//! Errors of requests, and refusals.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use betanet_fog::{Level, Refusal, RefusalCode, Text};
use betanet_keys::Name;
use betanet_runtime::{Error as RuntimeError, ErrorKind};

use crate::words;

/// A refused request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The request, such as "submit the task".
    pub what: &'static str,
    /// The code; `None` for one that this version does not know.
    pub code: Option<RefusalCode>,
    /// The code as it was sent.
    pub word: Text,
    /// The key whose value caused it; empty where no single key did.
    pub key: Text,
    /// Status of the answer.
    pub status: u16,
    /// Time after which the request may be repeated.
    pub retry_after: Option<Duration>,
    /// The coordinator that leads, where the refusal names it.
    pub location: Option<Name>,
}

impl Refused {
    /// The request, the code and its meaning, and the remedy.
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, printable(&self.word))?;
        if !self.key.is_empty() {
            write!(f, " ({})", printable(&self.key))?;
        }
        let Some(code) = self.code else {
            return write!(
                f,
                ": the coordinator answered {} with a code that this version does not know",
                self.status
            );
        };
        write!(f, ": {}", words::meaning(code))?;
        let allowed = words::allowed(code, &self.key);
        if !allowed.is_empty() {
            write!(f, "; {allowed}")?;
        }
        if let Some(wait) = self.retry_after {
            write!(f, "; try again in {} s", wait.as_secs())?;
        }
        Ok(())
    }
}

/// Text of a peer, without control characters.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text(f)
    }
}

/// Error of a request to a coordinator. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The coordinator refused.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// No coordinator answered.
    #[error("cannot {what}: no coordinator answers ({tried} attempts)")]
    Unreachable {
        /// The request.
        what: &'static str,
        /// Number of attempts.
        tried: u32,
        /// Reason of the last.
        #[source]
        last: Box<RuntimeError>,
    },
    /// A coordinator took the request and did not answer in time, and there was no other.
    #[error("cannot {what}: no answer within {} s", after.as_secs())]
    Late {
        /// The request.
        what: &'static str,
        /// Time for which the answer was waited for.
        after: Duration,
    },
    /// The request cannot be sent, or a session cannot be opened, for a reason that no repetition changes.
    #[error("cannot {what}")]
    Session {
        /// The request.
        what: &'static str,
        /// The reason.
        #[source]
        source: Box<RuntimeError>,
    },
    /// The answer is not the one that the profile describes.
    #[error(
        "cannot {what}: the coordinator's answer (status {status}) is not one of betanet/fog/1.0.0"
    )]
    Answer {
        /// The request.
        what: &'static str,
        /// Status of the answer.
        status: u16,
    },
    /// A record that this side signs, or one that a coordinator sent, breaks a rule.
    #[error("cannot {what}: {refusal}: {}; {}", words::meaning(refusal.code), words::allowed(refusal.code, refusal.key))]
    Record {
        /// The request.
        what: &'static str,
        /// The broken rule.
        refusal: Refusal,
    },
    /// The task's level asks for more relays than the client uses.
    #[error(
        "cannot {what}: privacy_route ({level}): a {level} task travels over {} relays of the mix or more, and this client uses {relays}",
        level.relays()
    )]
    Route {
        /// The request.
        what: &'static str,
        /// The task's level.
        level: Level,
        /// Number of relays that the client uses; 0 if it dials directly.
        relays: usize,
    },
    /// A blob has another content than its digest says.
    #[error("cannot {what}: the content has another SHA-256 than the digest")]
    Digest {
        /// The request.
        what: &'static str,
    },
    /// A local file cannot be used.
    #[error("cannot {what}: {}", path.display())]
    File {
        /// The request.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// No coordinator was named.
    #[error("no coordinator is named")]
    NoCoordinator,
}

impl Error {
    /// The refusal's code, if a coordinator refused with one that is known.
    #[must_use]
    pub fn code(&self) -> Option<RefusalCode> {
        match self {
            Self::Refused(refused) => refused.code,
            Self::Route { .. } => Some(RefusalCode::PrivacyRoute),
            Self::Record { refusal, .. } => Some(refusal.code),
            _ => None,
        }
    }

    /// The refusal, if a coordinator refused.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused(refused) => Some(refused),
            _ => None,
        }
    }

    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refused) => match refused.status {
                401 | 403 => ErrorKind::Peer,
                429 | 503 => ErrorKind::Network,
                400..=499 => ErrorKind::Request,
                _ => ErrorKind::Peer,
            },
            Self::Unreachable { last, .. } => last.kind(),
            Self::Session { source, .. } => source.kind(),
            Self::Late { .. } => ErrorKind::Network,
            Self::Answer { .. } | Self::Digest { .. } => ErrorKind::Peer,
            Self::Record { .. } | Self::Route { .. } | Self::NoCoordinator => ErrorKind::Request,
            Self::File { .. } => ErrorKind::Local,
        }
    }
}
