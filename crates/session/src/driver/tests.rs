//! A session between two tasks.

use betanet_bar::{Headers, MemoryStore, Method, Request, Service, Store as _};
use betanet_htx::{By, Session};
use betanet_wire::NodeId;
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::admit::Denied;
use crate::ops::tell;
use crate::testkit::{Shared, joined, joined_behind, stop};
use crate::{Body, Call, ExchangeError, HandlerService, Reply, SessionHandle};

/// Length of the tests' file.
const LEN: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

type Served = Service<MemoryStore>;

/// A client's session with a server that serves a file, and the pipe between them.
async fn pair() -> (SessionHandle, Shared) {
    let mut store = MemoryStore::new(64 << 20);
    let mut file = store.create().unwrap();
    store.write(&mut file, &vec![9; LEN]).unwrap();
    let expect = betanet_bar::Expect::Anything;
    store
        .commit(file, "/file", &Headers::default(), &expect)
        .unwrap();
    let handler = Served::new(store, betanet_bar::Access::Anyone);
    joined(Arc::new(HandlerService::new(handler))).await
}

fn get() -> Request {
    Request::new(Method::Get, "/file", Headers::default())
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

async fn whole(mut body: Body) -> usize {
    let mut len = 0;
    while let Some(bytes) = in_time(body.chunk()).await.unwrap() {
        len += bytes.len();
    }
    len
}

/// Maximum number of open streams of a session.
const STREAMS: usize = 256;

#[tokio::test]
async fn a_request_that_waits_for_a_stream_holds_up_nothing_else() {
    let (session, _) = pair().await;
    // Use uploads, since unread answers would use up the connection's credit.
    let mut all = Vec::new();
    for _ in 0..STREAMS {
        let put = Request::new(Method::Put, "/small", Headers::default());
        all.push(in_time(session.upload(put)).await.unwrap());
    }
    let mut one_more = std::pin::pin!(session.ask(get()));
    assert!((&mut one_more).now_or_never().is_none());
    // Later operations are carried out: facts, bytes, and the end that frees a stream.
    in_time(session.facts()).await.unwrap();
    let last = all.pop().unwrap();
    in_time(last.send(Bytes::from_static(b"x"))).await.unwrap();
    assert!((&mut one_more).now_or_never().is_none());
    assert_eq!(in_time(last.finish()).await.unwrap().head.status, 201);
    let answer = in_time(one_more).await.unwrap();
    assert_eq!(whole(answer.body).await, LEN);
    drop(all);
    in_time(session.close()).await;
}

/// Denies every session, or every stream.
struct Closed {
    session: bool,
}

impl Admit for Closed {
    fn enter(&mut self, _: Now, _: &Session) -> Result<(), Denied> {
        if self.session {
            return Ok(());
        }
        Err(Denied {
            code: Code::L2_ORIGIN_MISMATCH,
            reason: "not this one".into(),
        })
    }

    fn may_open(&mut self, _: Time, _: NodeId) -> bool {
        false
    }
}

async fn asked_behind(session: bool) -> Option<ExchangeError> {
    let service = Arc::new(|_: Call| async { Reply::new(200) });
    let (handle, _) = joined_behind(service, Box::new(Closed { session })).await;
    match in_time(handle.ask(get())).await {
        Err(Error::Exchange(error)) => Some(error),
        _ => None,
    }
}

#[tokio::test]
async fn who_admits_closes_the_session_with_its_own_code_and_reason() {
    let closed = ExchangeError::Closed {
        code: Code::L2_ORIGIN_MISMATCH,
        reason: "not this one".into(),
        by: By::Peer,
        delivered: 0,
    };
    assert_eq!(asked_behind(false).await, Some(closed));
}

#[tokio::test]
async fn who_admits_decides_on_each_stream() {
    let ended = ExchangeError::Ended {
        code: Code::POLICY_REJECTED,
        delivered: 0,
    };
    assert_eq!(asked_behind(true).await, Some(ended));
}

#[tokio::test]
async fn two_who_measure_at_once_are_both_answered() {
    let (session, _) = pair().await;
    let both = async { tokio::join!(session.ping(), session.ping()) };
    let (one, other) = in_time(both).await;
    assert_eq!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn who_is_gone_before_its_answer_takes_no_stream() {
    let (session, _) = pair().await;
    for n in 0..3 * STREAMS {
        let mut asked = std::pin::pin!(session.ask(get()));
        assert!((&mut asked).now_or_never().is_none());
        if n % 2 == 0 {
            // The stream exists, and no handler has taken it.
            in_time(session.facts()).await.unwrap();
        }
    }
    let answer = in_time(session.ask(get())).await.unwrap();
    assert_eq!(whole(answer.body).await, LEN);
    for _ in 0..2 * STREAMS {
        let put = Request::new(Method::Put, "/other", Headers::default());
        drop(in_time(session.upload(put)).await.unwrap());
    }
    in_time(session.ask(get())).await.unwrap();
}

#[tokio::test]
async fn small_writes_to_a_carrier_that_takes_nothing_arrive_once_it_does() {
    let (session, up) = pair().await;
    let put = Request::new(Method::Put, "/small", Headers::default());
    let upload = in_time(session.upload(put)).await.unwrap();
    stop(&up, true);
    let sending = tokio::spawn(async move {
        for n in 0..5000_u32 {
            let bytes = Bytes::copy_from_slice(&n.to_be_bytes());
            upload.send(bytes).await.unwrap();
        }
        upload.finish().await.unwrap().head.status
    });
    // Whatever is sent meanwhile waits, and nothing is lost.
    for _ in 0..2000 {
        in_time(session.facts()).await.unwrap();
    }
    stop(&up, false);
    assert_eq!(in_time(sending).await.unwrap(), 201);
    let request = Request::new(Method::Get, "/small", Headers::default());
    let answer = in_time(session.ask(request)).await.unwrap();
    assert_eq!(whole(answer.body).await, 20_000);
    in_time(session.ping()).await.unwrap();
}

#[tokio::test]
async fn what_is_dropped_while_the_queue_is_full_is_told_all_the_same() {
    let (ops, mut queue) = mpsc::channel(1);
    ops.try_send(Op::Rekey).unwrap();
    let stream = crate::ops::RawStream::new(7, Inbox::default(), ops);
    let (body, sender) = stream.split();
    drop((body, sender));
    let mut aborted = 0;
    while let Some(op) = in_time(queue.recv()).await {
        aborted += usize::from(matches!(op, Op::Abort { stream: 7, .. }));
    }
    assert_eq!(aborted, 2);
}

#[test]
fn giving_up_is_heard_also_from_where_no_runtime_is() {
    let (ops, mut heard) = mpsc::channel(1);
    ops.try_send(Op::Rekey).unwrap();
    let code = Code::OK;
    tell(&ops, Op::Abort { stream: 3, code });
    drop(ops);
    assert!(matches!(heard.blocking_recv(), Some(Op::Rekey)));
    let then = heard.blocking_recv();
    assert!(matches!(then, Some(Op::Abort { stream: 3, .. })));
}
