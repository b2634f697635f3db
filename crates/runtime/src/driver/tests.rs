//! Two sessions in one process, over a carrier that can be stopped.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

use betanet_bar::{Headers, MemoryStore, Method, Request, Service, Store as _};
use betanet_carrier::Error as CarrierError;
use betanet_htx::{Config, Secrets, Session};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::*;
use crate::{Body, HandlerService, SessionHandle};

/// Bytes that the tests' file has.
const LEN: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// One direction.
#[derive(Default)]
pub(crate) struct Pipe {
    bytes: VecDeque<Bytes>,
    stopped: bool,
    ended: bool,
    wakers: Vec<Waker>,
}

pub(crate) type Shared = Arc<Mutex<Pipe>>;

fn lock(pipe: &Shared) -> std::sync::MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a direction's bytes go on, or not.
fn stop(pipe: &Shared, stopped: bool) {
    let mut pipe = lock(pipe);
    pipe.stopped = stopped;
    pipe.wakers.drain(..).for_each(Waker::wake);
}

struct Ends {
    from: Shared,
    to: Shared,
}

impl Carrier for Ends {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CarrierError>> {
        let mut from = lock(&self.from);
        if let Some(bytes) = from.bytes.pop_front() {
            from.wakers.drain(..).for_each(Waker::wake);
            return Poll::Ready(Ok(Received::Bytes(bytes)));
        }
        if std::mem::take(&mut from.ended) {
            return Poll::Ready(Ok(Received::End));
        }
        from.wakers.push(cx.waker().clone());
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        let mut to = lock(&self.to);
        if to.stopped || to.bytes.len() > 64 {
            to.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        let mut to = lock(&self.to);
        to.bytes.push_back(bytes);
        to.wakers.drain(..).for_each(Waker::wake);
        Ok(())
    }

    fn push(&mut self, _: &mut Context<'_>) {}

    fn end(&mut self) {
        let mut to = lock(&self.to);
        to.ended = true;
        to.wakers.drain(..).for_each(Waker::wake);
    }

    fn reset(&mut self) {
        self.end();
    }

    fn go_away(&mut self) {}

    fn export_as(&self, _: &str, _: &[u8], out: &mut [u8]) -> Result<(), CarrierError> {
        out.fill(7);
        Ok(())
    }

    fn poll_flushed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

fn secrets(seed: u64) -> Secrets {
    Secrets::draw(&mut Rng::new(&Seed::from_number(seed)))
}

type Served = Service<MemoryStore>;

/// A client's session with a server that serves a file, and what its bytes go through.
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

/// A client's session with a server, and what its bytes go through.
pub(crate) async fn joined(service: Arc<dyn crate::Service>) -> (SessionHandle, Shared) {
    let clock = Clock::start();
    let ekm0 = [7; 32];
    let (client, server) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let key = *server.public();
    let connect = Session::connect(
        clock.now(),
        Config::default(),
        &client,
        &key,
        &ekm0,
        secrets(1),
    );
    let (up, down) = (Shared::default(), Shared::default());
    let carrier = Ends {
        from: Arc::clone(&down),
        to: Arc::clone(&up),
    };
    let (ops, asked) = mpsc::channel(OPS);
    let (opened, open) = oneshot::channel();
    let driver = Driver::new(
        Connection::new(connect.unwrap()),
        Box::new(carrier),
        clock,
        Controls::Handles(asked),
        None,
        Arc::new(Metrics::new()),
        Some(opened),
    );
    let (id, over, outcome) = driver.identity();
    tokio::spawn(driver.run());
    let server_up = Arc::clone(&up);
    tokio::spawn(async move {
        let message = std::future::poll_fn(|cx| {
            let mut up = lock(&server_up);
            match up.bytes.pop_front() {
                Some(bytes) => Poll::Ready(bytes),
                None => {
                    up.wakers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await;
        let session = Session::accept(
            clock.now(),
            Config::default(),
            &server,
            &ekm0,
            &message[2..],
            secrets(2),
        );
        let carrier = Ends {
            from: server_up,
            to: down,
        };
        let driver = Driver::new(
            Connection::new(session.unwrap()),
            Box::new(carrier),
            clock,
            Controls::stop(CancellationToken::new()),
            None,
            Arc::new(Metrics::new()),
            None,
        );
        driver.serving(service).run().await;
    });
    open.await.unwrap().unwrap();
    let handle = SessionHandle {
        ops,
        peer: key,
        outer: crate::OuterFacts {
            version: String::new(),
            suite: String::new(),
            group: String::new(),
            alpn: String::new(),
            pin: [0; 32],
            instead: None,
            held: Duration::ZERO,
        },
        over,
        id,
        outcome,
    };
    (handle, up)
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

/// As many streams as a session may have open.
const STREAMS: usize = 256;

#[tokio::test]
async fn a_request_that_waits_for_a_stream_holds_up_nothing_else() {
    let (session, _) = pair().await;
    // Uploads, since unread answers would take all credit of the connection.
    let mut all = Vec::new();
    for _ in 0..STREAMS {
        let put = Request::new(Method::Put, "/small", Headers::default());
        all.push(in_time(session.upload(put)).await.unwrap());
    }
    let mut one_more = std::pin::pin!(session.ask(get()));
    assert!((&mut one_more).now_or_never().is_none());
    // What comes behind it is carried out: facts, bytes, and the end that gives it a stream.
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
            // Its stream is there, and nobody has taken it.
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
    // Whatever is said meanwhile waits, and nothing is lost.
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
    let stream = crate::forward::RawStream::new(7, Inbox::default(), ops);
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
