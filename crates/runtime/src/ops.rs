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
pub(crate) use raw::RawStream;

/// Operations that wait for a session's task.
pub(crate) const OPS: usize = 256;
/// What a session's users ask of its task.
#[derive(Debug)]
pub(crate) enum Op {
    Ask(Box<Ask>),
    Open(Box<Open>),
    PathControl(Bytes),
    Send {
        stream: StreamId,
        data: Bytes,
        fin: bool,
        done: oneshot::Sender<Result<(), Error>>,
    },
    /// Bytes of an answer to the peer.
    Answer(Box<Answer>),
    Consume {
        stream: StreamId,
        bytes: u64,
    },
    Abort {
        stream: StreamId,
        code: Code,
    },
    Ping(oneshot::Sender<Duration>),
    Rekey,
    Facts(oneshot::Sender<SessionFacts>),
    LotteryKey(oneshot::Sender<Option<Zeroizing<[u8; 32]>>>),
    /// To end once no stream was open for so long.
    EndsIdle(Duration),
    Shutdown,
    Finish,
    Close,
}

/// A request to be sent; in a box, since a queue keeps room for the largest operation many times over.
///
/// What is replied gives the exchange up when it is dropped: whoever asked may be gone by then.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) request: Request,
    pub(crate) more: bool,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) reply: oneshot::Sender<Result<Body, Error>>,
}

/// A stream of another type than BAR, to be opened.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) kind: u8,
    pub(crate) first: Bytes,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) reply: oneshot::Sender<Result<RawStream, Error>>,
}

/// Gives a session's task an operation from where nobody can wait: while the queue is full, a task waits in its place.
pub(crate) fn tell(ops: &mpsc::Sender<Op>, op: Op) {
    // A session that is gone has no streams.
    let Err(mpsc::error::TrySendError::Full(op)) = ops.try_send(op) else {
        return;
    };
    if let Ok(runtime) = Handle::try_current() {
        let ops = ops.clone();
        runtime.spawn(async move { ops.send(op).await });
    }
}

/// Bytes of an answer; who sends them waits until the session has taken all.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) stream: StreamId,
    /// The head, with the first of them.
    pub(crate) first: Bytes,
    pub(crate) data: Bytes,
    /// Whether they are the last.
    pub(crate) fin: bool,
    pub(crate) done: oneshot::Sender<()>,
}

/// The error of a session that is gone.
pub(crate) fn gone<T>(_: T) -> Error {
    ExchangeError::Cut { delivered: 0 }.into()
}

/// Sends bytes on a stream; waits while the peer gives no credit.
pub(crate) async fn send(
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
pub(crate) async fn open_raw(
    ops: &mpsc::Sender<Op>,
    kind: u8,
    first: Bytes,
) -> Result<RawStream, Error> {
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
