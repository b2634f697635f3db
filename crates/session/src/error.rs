//! Failures of sessions and of what is asked on them.

use betanet_htx::By;
use betanet_wire::Code;

/// Why something that a session was asked for failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The outer connection failed before the session was open.
    #[error(transparent)]
    Carrier(betanet_carrier::Error),
    /// The session ended before it was open, or before the answer.
    #[error("the session ended: {code} ({reason})")]
    Session {
        /// The code of its CLOSE.
        code: Code,
        /// The reason in its CLOSE.
        reason: String,
        /// The side that ended it.
        by: By,
    },
    /// The session has no key that paths are drawn with: its handshake is not finished.
    #[error("the session's handshake is not finished")]
    NotOpen,
    /// A request that cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_stack::Error),
    /// A request that cannot be sent through the mix.
    #[error("the request cannot be sent: {0}")]
    Asked(betanet_stack::MixError),
    /// The peer answered before the request's body was sent to its end.
    #[error("the peer answered before the body's end")]
    Answered,
    /// An exchange ended before its answer was complete.
    #[error(transparent)]
    Exchange(#[from] crate::ExchangeError),
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}
