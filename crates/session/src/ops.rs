//! What a session's users and its task say to each other: operations one way, inboxes and bodies the other.

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

pub use body::{Answer as AnswerBody, Body};
pub use raw::{RawSender, RawStream};

/// Operations that wait for a session's task.
pub const OPS: usize = 256;
/// What a session's users ask of its task.
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
        /// Whether nothing follows them.
        fin: bool,
        /// Hears when the session has taken them.
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Bytes of an answer to the peer.
    Answer(Box<Answer>),
    /// Give the peer credit for bytes that were used.
    Consume {
        /// The stream.
        stream: StreamId,
        /// How many.
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
    /// Say what the session agreed on.
    Facts(oneshot::Sender<SessionFacts>),
    /// Say the key that paths through the mix are drawn with.
    LotteryKey(oneshot::Sender<Option<Zeroizing<[u8; 32]>>>),
    /// To end once no stream was open for so long.
    EndsIdle(Duration),
    /// Take no new streams, and close once the open ones have ended.
    Shutdown,
    /// Close once all that was written has left.
    Finish,
    /// Close now.
    Close,
}

/// A request to be sent; in a box, since a queue keeps room for the largest operation many times over.
///
/// What is replied gives the exchange up when it is dropped: whoever asked may be gone by then.
#[derive(Debug)]
pub struct Ask {
    /// Its head.
    pub request: Request,
    /// Whether its body follows.
    pub more: bool,
    /// Reaches the task, for the reply to use.
    pub ops: mpsc::Sender<Op>,
    /// Hears what came of it.
    pub reply: oneshot::Sender<Result<Body, Error>>,
}

/// A stream of another type than BAR, to be opened.
#[derive(Debug)]
pub struct Open {
    /// Its type.
    pub kind: u8,
    /// What is sent with it.
    pub first: Bytes,
    /// Reaches the task, for the reply to use.
    pub ops: mpsc::Sender<Op>,
    /// Hears what came of it.
    pub reply: oneshot::Sender<Result<RawStream, Error>>,
}

/// Gives a session's task an operation from where nobody can wait: while the queue is full, a task waits in its place, or a
/// thread where no runtime is near.
pub fn tell(ops: &mpsc::Sender<Op>, op: Op) {
    // A session that is gone has no streams.
    let Err(mpsc::error::TrySendError::Full(op)) = ops.try_send(op) else {
        return;
    };
    let ops = ops.clone();
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move { ops.send(op).await })),
        // A system that gives no thread loses the operation; the peer's stream then ends with the session.
        Err(_) => drop(std::thread::Builder::new().spawn(move || ops.blocking_send(op))),
    }
}

/// Bytes of an answer; who sends them waits until the session has taken all.
#[derive(Debug)]
pub struct Answer {
    /// The stream.
    pub stream: StreamId,
    /// The head, with the first of them.
    pub first: Bytes,
    /// The bytes that follow.
    pub data: Bytes,
    /// Whether they are the last.
    pub fin: bool,
    /// Hears when the session has taken all.
    pub done: oneshot::Sender<()>,
}

/// The error of a session that is gone.
pub fn gone<T>(_: T) -> Error {
    ExchangeError::Cut { delivered: 0 }.into()
}

/// Sends bytes on a stream; waits while the peer gives no credit.
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
