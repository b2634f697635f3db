//! Messages between a session's users and its task: operations in one direction, inboxes and bodies in the other.

mod body;
mod raw;

use std::time::Duration;

use betanet_bar::Request;
use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use crate::facts::SessionFacts;
use crate::{Error, ExchangeError};

pub(crate) use body::append;
pub use body::{Answer as AnswerBody, Body};
pub use raw::{RawSender, RawStream};

/// Capacity of the queue of operations to a session's task.
pub const OPS: usize = 256;
/// An operation that a session's user requests of its task.
#[derive(Debug)]
pub enum Op {
    /// Send a request.
    Ask(Box<Ask>),
    /// Open a stream of another type than BAR.
    Open(Box<Open>),
    /// Send a path message.
    PathControl(Bytes),
    /// Send bytes on a stream.
    Send {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// Whether these are the last bytes of the stream.
        fin: bool,
        /// Receives the result once the session has taken the bytes.
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Bytes of an answer to the peer.
    Answer(Box<Answer>),
    /// Give the peer credit for consumed bytes.
    Consume {
        /// The stream.
        stream: StreamId,
        /// Number of consumed bytes.
        bytes: u64,
    },
    /// Reset a stream.
    Abort {
        /// The stream.
        stream: StreamId,
        /// The code of the reset.
        code: Code,
    },
    /// Measure the round-trip time.
    Ping(oneshot::Sender<Duration>),
    /// Rekey.
    Rekey,
    /// Report the parameters that the session agreed on.
    Facts(oneshot::Sender<SessionFacts>),
    /// Return the key with which paths through the mix are drawn.
    LotteryKey(oneshot::Sender<Option<Zeroizing<[u8; 32]>>>),
    /// End the session once no stream has been open for this long.
    EndsIdle(Duration),
    /// Take no new streams, and close once the open ones have ended.
    Shutdown,
    /// Close once all written data has been sent.
    Finish,
    /// Close now.
    Close,
}

/// A request to send. It is boxed, since a queue reserves room for its largest operation many times.
///
/// Dropping the replied body gives up the exchange, since the asker may be gone by then.
#[derive(Debug)]
pub struct Ask {
    /// Head of the request.
    pub request: Request,
    /// Whether its body follows.
    pub more: bool,
    /// Queue to the task, for the reply to use.
    pub ops: mpsc::Sender<Op>,
    /// Receives the answer's body, or the error.
    pub reply: oneshot::Sender<Result<Body, Error>>,
}

/// A stream to open, of another type than BAR.
#[derive(Debug)]
pub struct Open {
    /// Type of the stream.
    pub kind: u8,
    /// Bytes sent with the opening.
    pub first: Bytes,
    /// Queue to the task, for the reply to use.
    pub ops: mpsc::Sender<Op>,
    /// Receives the stream, or the error.
    pub reply: oneshot::Sender<Result<RawStream, Error>>,
}

/// Sends an operation to a session's task from code that cannot wait. While the queue is full, a spawned task waits instead, or a
/// thread if there is no runtime.
pub fn tell(ops: &mpsc::Sender<Op>, op: Op) {
    // A closed session has no streams.
    let Err(mpsc::error::TrySendError::Full(op)) = ops.try_send(op) else {
        return;
    };
    let ops = ops.clone();
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move { ops.send(op).await })),
        // If the system gives no thread, the operation is lost, and the peer's stream ends with the session.
        Err(_) => drop(std::thread::Builder::new().spawn(move || ops.blocking_send(op))),
    }
}

/// Bytes of an answer. The sender waits until the session has taken all of them.
#[derive(Debug)]
pub struct Answer {
    /// The stream.
    pub stream: StreamId,
    /// The head, followed by the first bytes of the body.
    pub first: Bytes,
    /// The bytes that follow.
    pub data: Bytes,
    /// Whether these bytes are the last.
    pub fin: bool,
    /// Notified when the session has taken all bytes.
    pub done: oneshot::Sender<()>,
}

/// Error for a session that has ended.
pub fn gone<T>(_: T) -> Error {
    ExchangeError::Cut { delivered: 0 }.into()
}

/// Sends bytes on a stream. Waits while the peer gives no credit.
///
/// # Errors
///
/// The session or the stream ended.
pub async fn send(
    ops: &mpsc::Sender<Op>,
    stream: StreamId,
    data: Bytes,
    fin: bool,
) -> Result<(), Error> {
    let (done, sent) = oneshot::channel();
    let op = Op::Send {
        stream,
        data,
        fin,
        done,
    };
    ops.send(op).await.map_err(gone)?;
    sent.await.map_err(gone)?
}

/// Opens a stream of another type than BAR.
///
/// # Errors
///
/// The session ended, or takes no more streams.
pub async fn open_raw(ops: &mpsc::Sender<Op>, kind: u8, first: Bytes) -> Result<RawStream, Error> {
    let (reply, opened) = oneshot::channel();
    let open = Open {
        kind,
        first,
        ops: ops.clone(),
        reply,
    };
    ops.send(Op::Open(Box::new(open))).await.map_err(gone)?;
    opened.await.map_err(gone)?
}
