//! Services behind a session: slow, streaming and failing ones.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use betanet_bar::{Headers, Method};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, Semaphore, oneshot};

use super::*;
use crate::testkit::joined;
use crate::{ExchangeError, SessionHandle};

const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

fn request(method: Method, target: &str) -> Request {
    Request::new(method, target, Headers::default())
}

async fn session(router: Router) -> SessionHandle {
    joined(Arc::new(router)).await.0
}

async fn get(session: &SessionHandle, target: &str) -> (u16, Vec<u8>) {
    let asked = session.ask(request(Method::Get, target));
    let mut answer = in_time(asked).await.unwrap();
    let body = in_time(answer.body.all(1 << 24)).await.unwrap();
    (answer.head.status, body.unwrap())
}

async fn greet(call: Call) -> Reply {
    let who = match call.client {
        Client::Direct(_) => "known",
        Client::Anonymous => "unknown",
    };
    Reply::text(200, format!("{} {who}", call.request.path()))
}

/// Signals when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(told) = self.0.take() {
            let _ = told.send(());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_its_time_delays_nobody() {
    let slow = |_: Call| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        Reply::text(200, "at last")
    };
    let router = Router::default().with("/", greet).with("/slow", slow);
    let session = session(router).await;
    let began = tokio::time::Instant::now();
    let mut waiting = std::pin::pin!(get(&session, "/slow"));
    assert!((&mut waiting).now_or_never().is_none());
    for n in 0..100 {
        let said = get(&session, &format!("/{n}")).await;
        assert_eq!(said, (200, format!("/{n} known").into_bytes()));
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(waiting.await, (200, b"at last".to_vec()));
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_stream_is_polled_only_while_there_is_room() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    const CHUNK: usize = 32 << 10;
    const ALL: usize = 400;
    let endless = |_: Call| async {
        let chunks = futures_util::stream::iter(0..ALL).map(|n| {
            MADE.fetch_add(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from(vec![u8::try_from(n % 256).unwrap(); CHUNK]))
        });
        Reply::new(200).streaming(chunks)
    };
    let router = Router::default().with("/", greet).with("/log", endless);
    let session = session(router).await;
    let mut answer = in_time(session.ask(request(Method::Get, "/log")))
        .await
        .unwrap();
    // While nobody reads, the stream stops and other exchanges continue.
    let mut made = usize::MAX;
    while made != MADE.load(Ordering::SeqCst) {
        made = MADE.load(Ordering::SeqCst);
        for _ in 0..50 {
            assert_eq!(get(&session, "/other").await.0, 200);
        }
    }
    assert!(made * CHUNK <= 2 << 20, "{made}");
    let mut len = 0;
    while let Some(bytes) = in_time(answer.body.chunk()).await.unwrap() {
        assert!(bytes.iter().all(|b| usize::from(*b) == (len / CHUNK) % 256));
        len += bytes.len();
    }
    assert_eq!((len, MADE.load(Ordering::SeqCst)), (ALL * CHUNK, ALL));
}

#[tokio::test]
async fn a_body_that_is_not_read_gives_no_credit_and_delays_nobody() {
    let go = Arc::new(Semaphore::new(0));
    let may_read = Arc::clone(&go);
    let reads_late = move |mut call: Call| {
        let go = Arc::clone(&may_read);
        async move {
            let mut len = 0;
            go.acquire().await.unwrap().forget();
            while let Ok(Some(bytes)) = call.body.chunk().await {
                len += bytes.len();
            }
            Reply::text(200, len.to_string())
        }
    };
    let router = Router::default().with("/", greet).with("/late", reads_late);
    let session = session(router).await;
    let upload = in_time(session.upload(request(Method::Put, "/late")))
        .await
        .unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for _ in 0..256 {
            upload.send(vec![7; 64 << 10].into()).await.unwrap();
            counted.fetch_add(64 << 10, Ordering::SeqCst);
        }
        upload.finish().await
    });
    let mut before = usize::MAX;
    while before != sent.load(Ordering::SeqCst) {
        before = sent.load(Ordering::SeqCst);
        for _ in 0..50 {
            assert_eq!(get(&session, "/other").await.0, 200);
        }
    }
    assert!(before < 4 << 20, "{before}");
    go.add_permits(1);
    let mut answer = in_time(sending).await.unwrap().unwrap();
    let said = in_time(answer.body.all(99)).await.unwrap().unwrap();
    assert_eq!(said, (16 << 20).to_string().into_bytes());
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_lets_the_rest_go_by() {
    let refuses = |_: Call| async { Reply::text(403, "no") };
    let session = session(Router::default().with("/", refuses)).await;
    for _ in 0..20 {
        let upload = in_time(session.upload(request(Method::Put, "/x")))
            .await
            .unwrap();
        let sent = async {
            for _ in 0..64 {
                upload.send(vec![7; 64 << 10].into()).await?;
            }
            Ok::<_, crate::Error>(())
        };
        // The answer may arrive early or late; both are correct.
        let _ = in_time(sent).await;
        assert_eq!(in_time(upload.finish()).await.unwrap().head.status, 403);
    }
}

#[tokio::test]
async fn who_gives_up_drops_the_services_future() {
    let (told, mut dropped) = tokio::sync::mpsc::unbounded_channel();
    let began = Arc::new(Notify::new());
    let begins = Arc::clone(&began);
    let waits = move |_: Call| {
        let (tell, is_dropped) = oneshot::channel();
        told.send(is_dropped).unwrap();
        begins.notify_one();
        async move {
            let _told = Told(Some(tell));
            std::future::pending::<Reply>().await
        }
    };
    let session = session(Router::default().with("/wait", waits)).await;
    {
        let mut asked = std::pin::pin!(session.ask(request(Method::Get, "/wait")));
        assert!((&mut asked).now_or_never().is_none());
        in_time(async {
            tokio::select! {
                _ = &mut asked => panic!("nothing answers"),
                () = began.notified() => {}
            }
        })
        .await;
    }
    let is_dropped = dropped.recv().await.unwrap();
    in_time(is_dropped).await.unwrap();
    // The same happens when the session ends.
    let asking = session.clone();
    let asked = tokio::spawn(async move { asking.ask(request(Method::Get, "/wait")).await });
    in_time(began.notified()).await;
    let is_dropped = dropped.recv().await.unwrap();
    in_time(session.close()).await;
    in_time(is_dropped).await.unwrap();
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn a_service_that_panics_harms_nobody_else() {
    // This acts like a panic but skips the panic count, which other tests check.
    let breaks = || std::panic::resume_unwind(Box::new("on purpose"));
    let panics = move |call: Call| async move {
        if call.request.path() == "/boom/now" {
            breaks();
        }
        let chunks = futures_util::stream::iter([1, 2, 3]).map(move |n| {
            if n == 3 {
                breaks();
            }
            Ok::<_, std::io::Error>(Bytes::from_static(b"some"))
        });
        Reply::new(200).streaming(chunks)
    };
    let router = Router::default().with("/", greet).with("/boom", panics);
    let session = session(router).await;
    for _ in 0..5 {
        let asked = session.ask(request(Method::Get, "/boom/now"));
        assert_eq!(in_time(asked).await.unwrap().head.status, 500);
        let asked = session.ask(request(Method::Get, "/boom/later"));
        let mut answer = in_time(asked).await.unwrap();
        let all = in_time(answer.body.all(99)).await;
        let Err(ExchangeError::Ended { code, delivered: 8 }) = all else {
            panic!("{all:?}")
        };
        assert_eq!(code, betanet_wire::Code::INTERNAL_ERROR);
        assert_eq!(get(&session, "/other").await.0, 200);
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_told_so_whatever_the_service_says() {
    static READ: AtomicBool = AtomicBool::new(false);
    let reads = |mut call: Call| async move {
        READ.store(true, Ordering::SeqCst);
        let _ = call.body.all(99).await;
        Reply::new(200)
    };
    let session = session(Router::default().with("/", reads)).await;
    let mut put = request(Method::Put, "/x");
    put.headers.set("content-length", "5");
    let upload = in_time(session.upload(put)).await.unwrap();
    in_time(upload.send(Bytes::from_static(b"four")))
        .await
        .unwrap();
    assert!(in_time(upload.finish()).await.is_err());
    assert!(READ.swap(false, Ordering::SeqCst));
    // A GET has no body, so the service is not called.
    let upload = in_time(session.upload(request(Method::Get, "/x")))
        .await
        .unwrap();
    let _ = in_time(upload.send(Bytes::from_static(b"x"))).await;
    assert_eq!(in_time(upload.finish()).await.unwrap().head.status, 400);
    assert!(!READ.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_body_may_be_streamed_back_as_it_comes() {
    let echo = |mut call: Call| async move {
        let first = call.body.chunk().await.ok().flatten();
        let state = (first, call.body);
        let chunks = futures_util::stream::try_unfold(state, |(first, mut body)| async move {
            let next = match first {
                Some(first) => Some(first),
                None => body.chunk().await?,
            };
            Ok::<_, BodyError>(next.map(|bytes| (bytes, (None, body))))
        });
        Reply::new(200).streaming(chunks)
    };
    let session = session(Router::default().with("/echo", echo)).await;
    let upload = in_time(session.upload(request(Method::Post, "/echo")))
        .await
        .unwrap();
    // The answer may arrive before the send is known to be complete.
    let _ = in_time(upload.send(Bytes::from_static(b"one "))).await;
    in_time(upload.answered()).await;
    let sent = in_time(upload.send(Bytes::from_static(b"two"))).await;
    assert!(matches!(sent, Err(crate::Error::Answered)));
    let mut answer = in_time(upload.finish()).await.unwrap();
    let first = in_time(answer.body.chunk()).await.unwrap().unwrap();
    assert_eq!(&first[..], b"one ");
}

#[derive(Clone)]
struct Fails;

impl TowerService<Call> for Fails {
    type Response = Reply;
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<Reply, std::io::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), std::io::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        std::future::ready(match call.request.path() {
            "/tower/good" => Ok(Reply::new(204)),
            _ => Err(std::io::Error::other("it is broken")),
        })
    }
}

#[tokio::test]
async fn a_tower_service_is_served() {
    let session = session(Router::default().with("/tower", Tower(Fails))).await;
    assert_eq!(get(&session, "/tower/good").await.0, 204);
    assert_eq!(get(&session, "/tower/bad").await.0, 500);
    assert_eq!(get(&session, "/none").await.0, 404);
}
