//! Errors of sessions, and of operations on them.

use betanet_htx::By;
use betanet_wire::Code;

/// Error of an operation on a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The outer connection failed before the session was open.
    #[error(transparent)]
    Carrier(betanet_carrier::Error),
    /// The session ended before it was open, or before the answer was complete.
    #[error("the session ended: {code} ({reason})")]
    Session {
        /// Code of the CLOSE.
        code: Code,
        /// Reason text of the CLOSE.
        reason: String,
        /// The side that ended the session.
        by: By,
    },
    /// The session has no key for drawing paths, because its handshake is not finished.
    #[error("the session's handshake is not finished")]
    NotOpen,
    /// The request is invalid and cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_stack::Error),
    /// The request cannot be sent through the mix.
    #[error("the request cannot be sent: {0}")]
    Asked(betanet_stack::MixError),
    /// The peer answered before the request's body was completely sent.
    #[error("the peer answered before the body's end")]
    Answered,
    /// An exchange ended before its answer was complete.
    #[error(transparent)]
    Exchange(#[from] crate::ExchangeError),
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Entropy,
}
