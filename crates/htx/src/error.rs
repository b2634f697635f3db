use crate::StreamId;

/// The caller misused the session, or a queue is full; the session is unchanged.
///
/// A peer's fault is never one of these: it is [`crate::Event::Closed`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session is not established yet.
    #[error("the session is not established yet")]
    NotReady,
    /// The session is closing or closed.
    #[error("the session is closed")]
    Closed,
    /// The input buffer is full: drain transmits and events, then call `handle_timeout`.
    #[error("the session's input buffer is full")]
    Full,
    /// The stream's send buffer is full; an `Event::Writable` follows.
    #[error("stream {0} takes no more bytes until it is writable again")]
    Blocked(StreamId),
    /// The stream is not open, or its sending side has ended.
    #[error("stream {0} is not open for that")]
    NoStream(StreamId),
    /// This side has 256 streams open.
    #[error("too many open streams")]
    TooManyStreams,
    /// The peer is shutting down and accepts no new streams.
    #[error("the peer is going away and takes no new streams")]
    GoingAway,
    /// The input was not requested.
    #[error("the carrier answered a question that was not asked")]
    Unasked,
    /// A handshake cannot start with these keys.
    #[error("the handshake cannot begin: {0}")]
    Handshake(crate::HandshakeError),
}
