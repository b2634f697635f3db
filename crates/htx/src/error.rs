use crate::StreamId;

/// The caller's misuse, or a queue that is full; the session is as it was.
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
    /// The stream's send buffer is full: an `Event::Writable` will follow.
    #[error("stream {0} takes no more bytes until it is writable again")]
    Blocked(StreamId),
    /// No such open stream, or its sending side has ended.
    #[error("stream {0} is not open for that")]
    NoStream(StreamId),
    /// 256 streams of this side are open.
    #[error("too many open streams")]
    TooManyStreams,
    /// The peer is going away and takes no new streams.
    #[error("the peer is going away and takes no new streams")]
    GoingAway,
    /// An input that was not asked for.
    #[error("the carrier answered a question that was not asked")]
    Unasked,
    /// A handshake could not be begun with these keys.
    #[error("the handshake cannot begin: {0}")]
    Handshake(crate::HandshakeError),
}
