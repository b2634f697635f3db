use std::time::Duration;

use betanet_runtime::{Error as RuntimeError, ErrorKind};
use betanet_vouchers::IssueError;
use betanet_vouchers::message::AnswerError;
use betanet_wire::Code;

/// What of an answer is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The body is not the message that was asked for.
    Body,
    /// It answers another request.
    OtherRequest,
    /// The request itself is none.
    Request,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Body => "the node answers something else",
            Self::OtherRequest => "the node answers another request",
            Self::Request => "the request is none",
        })
    }
}

/// Error of a request to a mint or a redemption service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The session cannot be opened, or ended.
    #[error("cannot {what}")]
    Session {
        /// The request.
        what: &'static str,
        /// The cause.
        #[source]
        source: Box<RuntimeError>,
    },
    /// The node did not answer in time.
    #[error("cannot {what}: no answer after {} s", after.as_secs())]
    Late {
        /// The request.
        what: &'static str,
        /// The time.
        after: Duration,
    },
    /// The node refused.
    #[error("cannot {what}: the node answers {status}{}", of(*code))]
    Refused {
        /// The request.
        what: &'static str,
        /// Status of the answer.
        status: u16,
        /// The wire code in it.
        code: Option<Code>,
        /// Time after which it may be repeated.
        retry_after: Option<Duration>,
    },
    /// The answer is of another form.
    #[error("cannot {what}: {part}")]
    Answer {
        /// The request.
        what: &'static str,
        /// What is wrong.
        part: Part,
    },
    /// The answer is not signed by the redemption service, or answers another request.
    #[error("cannot {what}: {source}")]
    Signed {
        /// The request.
        what: &'static str,
        /// The cause.
        #[source]
        source: AnswerError,
    },
    /// Fewer mints answered than the threshold.
    #[error("cannot issue vouchers: {have} of {need} mints answered")]
    TooFew {
        /// Mints that answered.
        have: usize,
        /// The threshold.
        need: usize,
        /// Why the last one did not.
        #[source]
        last: Option<Box<ClientError>>,
    },
    /// Answers of mints do not become vouchers.
    #[error("cannot issue vouchers: {0}")]
    Join(#[source] IssueError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

fn of(code: Option<Code>) -> String {
    code.map(|code| format!(", {code}")).unwrap_or_default()
}

impl ClientError {
    /// Who can resolve it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Session { source, .. } => source.kind(),
            Self::Late { .. } => ErrorKind::Network,
            Self::Refused {
                status: 429 | 503, ..
            } => ErrorKind::Network,
            Self::Answer {
                part: Part::Request,
                ..
            } => ErrorKind::Request,
            Self::Refused { .. } | Self::Answer { .. } | Self::Signed { .. } | Self::Join(_) => {
                ErrorKind::Peer
            }
            Self::TooFew { last, .. } => last.as_ref().map_or(ErrorKind::Request, |e| e.kind()),
            Self::Randomness => ErrorKind::Local,
        }
    }
}
