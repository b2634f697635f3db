//! A folder behind a session, on a disk that may block.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use betanet_bar::{Headers, Method};
use betanet_session::testkit::joined;

use super::*;
use crate::{Router, SessionHandle};

const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

fn request(method: Method, target: &str) -> Request {
    Request::new(method, target, Headers::default())
}

async fn get(session: &SessionHandle, target: &str) -> (u16, Vec<u8>) {
    let asked = session.ask(request(Method::Get, target));
    let mut answer = in_time(asked).await.unwrap();
    let body = in_time(answer.body.all(1 << 24)).await.unwrap();
    (answer.head.status, body.unwrap())
}

async fn put(session: &SessionHandle, target: &str, body: &[u8]) -> u16 {
    let upload = in_time(session.upload(request(Method::Put, target)))
        .await
        .unwrap();
    for chunk in body.chunks(50_000) {
        // The upload is refused before its end, and the answer says why.
        if in_time(upload.send(Bytes::copy_from_slice(chunk)))
            .await
            .is_err()
        {
            break;
        }
    }
    in_time(upload.finish()).await.unwrap().head.status
}

async fn session(folder: FolderService) -> SessionHandle {
    joined(Arc::new(Router::default().with("/", folder)))
        .await
        .0
}

fn content(len: usize) -> Vec<u8> {
    (0..=250_u8).cycle().take(len).collect()
}

#[tokio::test]
async fn files_of_all_lengths_come_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderService::writable(dir.path(), 1 << 30, 100, Access::Anyone).unwrap();
    let session = session(folder).await;
    let lengths = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 10 * CHUNK + 7];
    for len in lengths {
        let path = format!("/{len}");
        assert_eq!(put(&session, &path, &content(len)).await, 201);
        assert!(get(&session, &path).await == (200, content(len)), "{len}");
    }
    // Many at once: beyond the session's allowance, each continues in small steps.
    let path = format!("/{}", 10 * CHUNK + 7);
    let all = (0..60).map(|_| get(&session, &path));
    for (status, body) in futures_util::future::join_all(all).await {
        assert!(status == 200 && body == content(10 * CHUNK + 7));
    }
    let mut part = request(Method::Get, &path);
    part.headers.set("range", "bytes=100000-399999");
    let mut answer = in_time(session.ask(part)).await.unwrap();
    let body = in_time(answer.body.all(1 << 24)).await.unwrap().unwrap();
    assert!(body == content(400_000)[100_000..]);
}

#[tokio::test]
async fn what_is_given_up_leaves_no_file_behind() {
    let dir = tempfile::tempdir().unwrap();
    let folder = FolderService::writable(dir.path(), 1 << 30, 100, Access::Anyone).unwrap();
    let session = session(folder).await;
    for _ in 0..20 {
        let upload = in_time(session.upload(request(Method::Put, "/x")))
            .await
            .unwrap();
        in_time(upload.send(vec![7; 100_000].into())).await.unwrap();
        in_time(upload.abandon()).await;
    }
    assert_eq!(get(&session, "/x").await.0, 404);
    let own = dir.path().join(".betanet");
    let began = Instant::now();
    while fs::read_dir(&own).unwrap().count() > 0 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A write beyond the quota causes a new measurement of the folder. In this test, the measurement blocks until it is released.
#[tokio::test]
async fn a_disk_that_does_not_answer_one_request_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), content(10_000)).unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (released, stalls) = (Mutex::new(released), Arc::new(AtomicBool::new(false)));
    let stalled = Arc::new(AtomicBool::new(false));
    let (does, is) = (Arc::clone(&stalls), Arc::clone(&stalled));
    let began = Instant::now();
    let ticks = Box::new(move || {
        if does.load(Ordering::SeqCst) {
            is.store(true, Ordering::SeqCst);
            let _ = released.lock().map(|r| r.recv());
        }
        began.elapsed() + Duration::from_secs(3600)
    });
    let store = FolderStore::timed(dir.path(), 100_000, 100, ticks).unwrap();
    let session = session(FolderService::new(store, Access::Anyone)).await;
    stalls.store(true, Ordering::SeqCst);
    let other = session.clone();
    let beyond = tokio::spawn(async move { put(&other, "/large", &content(150_000)).await });
    while !stalled.load(Ordering::SeqCst) {
        assert_eq!(get(&session, "/file").await, (200, content(10_000)));
    }
    for _ in 0..50 {
        assert_eq!(get(&session, "/file").await.0, 200);
    }
    assert!(!beyond.is_finished());
    stalls.store(false, Ordering::SeqCst);
    drop(release);
    assert_eq!(in_time(beyond).await.unwrap(), 403);
}
