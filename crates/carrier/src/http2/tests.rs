//! Visitors over real sockets who read nothing, too slowly, or who send useless data.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use betanet_compat11::Reading;
use betanet_keys::{Identity, PublicKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsConnector, client};

use super::*;
use crate::client::Trust;
use crate::frames::SEND_BUDGET;
use crate::site::{SessionGate, Tunnel};
use crate::verify::{Mismatch, tls_config};
use crate::{CertSource, Certificate, Cover, Limits, OriginProxy};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

type Client = client::TlsStream<TcpStream>;

/// A site with a file of a MiB.
struct Served {
    site: Arc<Site>,
    connections: JoinSet<()>,
    listener: TcpListener,
    trust: Trust,
    _folder: Option<Folder>,
}

/// A folder that is removed on drop.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn large() -> Vec<u8> {
    (0..1_u32 << 20)
        .map(|n| (n % 251).to_le_bytes()[0])
        .collect()
}

impl Served {
    async fn new() -> Self {
        Self::before(None).await
    }

    /// A site with a gate.
    async fn before(gate: Option<Arc<dyn SessionGate>>) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("carrier-http2-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("large.bin"), large()).unwrap();
        std::fs::write(folder.join("index.html"), "<html>hello</html>\n").unwrap();
        let cover = Cover::new(Path::new(&folder), || SystemTime::UNIX_EPOCH).unwrap();
        Self::of(cover, gate, Some(Folder(folder))).await
    }

    async fn of(cover: Cover, gate: Option<Arc<dyn SessionGate>>, folder: Option<Folder>) -> Self {
        let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
        let source = Arc::new(CertSource::fixed(certificate));
        let trust = Trust::Pin(source.pin());
        let site = Site::new(source, cover, gate, Limits::default()).unwrap();
        Self {
            site: Arc::new(site),
            connections: JoinSet::new(),
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            trust,
            _folder: folder,
        }
    }

    /// A visitor, with its first SETTINGS.
    async fn visit(&mut self, settings: &[(u16, u32)]) -> Client {
        let pairs = settings.iter();
        let pairs = pairs.flat_map(|(id, v)| [&id.to_be_bytes()[..], &v.to_be_bytes()].concat());
        let pairs: Vec<u8> = pairs.collect();
        let first = [PREFACE, &frame(SETTINGS, 0, 0, &pairs)[..]];
        self.visit_saying(&first.concat()).await
    }

    async fn visit_saying(&mut self, first: &[u8]) -> Client {
        let to = self.listener.local_addr().unwrap();
        let mut config = tls_config(&self.trust, &Mismatch::default()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let connecting = async {
            let tcp = TcpStream::connect(to).await.unwrap();
            let name = "localhost".try_into().unwrap();
            connector.connect(name, tcp).await.unwrap()
        };
        let accepting = async {
            let (tcp, peer) = self.listener.accept().await.unwrap();
            let serving = crate::serve(Arc::clone(&self.site), tcp, peer, CancellationToken::new());
            self.connections.spawn(serving.map(drop));
        };
        let (mut client, ()) = tokio::join!(connecting, accepting);
        client.write_all(first).await.unwrap();
        client
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn literal(name: &str, value: &str) -> Vec<u8> {
    let len = |text: &str| u8::try_from(text.len()).unwrap();
    [
        &[0, len(name)],
        name.as_bytes(),
        &[len(value)],
        value.as_bytes(),
    ]
    .concat()
}

fn request(stream: u32, method: &str, path: &str, ends: bool) -> Vec<u8> {
    request_with(stream, method, path, ends, &[])
}

fn request_with(
    stream: u32,
    method: &str,
    path: &str,
    ends: bool,
    more: &[(&str, &str)],
) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    let fields = fields.iter().chain(more);
    let block: Vec<u8> = fields.flat_map(|(k, v)| literal(k, v)).collect();
    frame(HEADERS, 4 | u8::from(ends), stream, &block)
}

/// The next frame: type, flags, stream, payload; `None` at the end.
async fn next(client: &mut Client) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    client.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream), payload))
}

/// All frames up to the answer of a PING, or the end.
async fn all(client: &mut Client) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let _ = client.write_all(&frame(PING, 0, 0, b"how far?")).await;
    let mut seen = Vec::new();
    while let Some(frame) = next(client).await {
        if frame.0 == PING && frame.3 == b"how far?" {
            break;
        }
        seen.push(frame);
    }
    seen
}

/// Number of open descriptors of this process.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn what_nobody_reads_takes_a_budget_a_connection_and_ends() {
    let mut served = Served::new().await;
    let site = Arc::clone(&served.site);
    let budget = |connections: usize| (connections * SEND_BUDGET) as u64;
    let mut visitors = Vec::new();
    for n in 1..=8 {
        let mut client = served.visit(&[(4, 0x7fff_ffff)]).await;
        client
            .write_all(&frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]))
            .await
            .unwrap();
        for stream in 0..100 {
            client
                .write_all(&request(2 * stream + 1, "GET", "/large.bin", true))
                .await
                .unwrap();
        }
        visitors.push(client);
        // Until all requests were sent, and nothing moves any more.
        let mut still = 0;
        let mut before = 0;
        while still < 200 {
            tokio::task::yield_now().await;
            let now = site.stats.unsent.load(Ordering::Relaxed);
            assert!(now <= budget(n), "{now} of {n} connections");
            let asked = site.stats.covered.load(Ordering::Relaxed) >= 100 * n as u64;
            still = if asked && now == before && now > 0 {
                still + 1
            } else {
                0
            };
            before = now;
        }
        assert!(before > 0, "something waits");
    }
    #[cfg(target_os = "linux")]
    {
        // Two sockets for each visitor, and those of the harness; of 800 answers none holds its file open.
        let open = descriptors();
        assert!(open < 100, "{open} descriptors");
    }
    // Nothing moves for 30 s: the connections end, and everything is freed.
    tokio::time::pause();
    let began = Instant::now();
    while served.connections.join_next().await.is_some() {}
    let took = began.elapsed();
    // Some of the 30 s may have passed before the clock was stopped.
    assert!((29_900..=31_000).contains(&took.as_millis()), "{took:?}");
    assert_eq!(site.stats.unsent.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_answer_without_a_window_ends_after_30_s_and_one_of_a_byte_now_and_then_too() {
    let mut served = Served::new().await;
    let mut client = served.visit(&[(4, 0)]).await;
    let asked: Vec<u8> = (0..100)
        .flat_map(|n| request(2 * n + 1, "GET", "/large.bin", true))
        .collect();
    client.write_all(&asked).await.unwrap();
    let mut heads = 0;
    while heads < 100 {
        let (kind, ..) = next(&mut client).await.unwrap();
        assert_ne!(kind, DATA);
        heads += usize::from(kind == HEADERS);
    }
    assert_eq!(served.site.stats.unsent.load(Ordering::Relaxed), 0);
    tokio::time::pause();
    let began = Instant::now();
    // A byte for one of them, before the time is over.
    tokio::time::sleep(Duration::from_secs(29)).await;
    client
        .write_all(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]))
        .await
        .unwrap();
    let mut ended = Vec::new();
    while ended.len() < 100 {
        let (kind, _, stream, payload) = next(&mut client).await.unwrap();
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 1]);
            ended.push(stream);
        }
    }
    assert!(
        began.elapsed() <= Duration::from_secs(31),
        "{:?}",
        began.elapsed()
    );
    ended.sort_unstable();
    ended.dedup();
    assert_eq!(ended.len(), 100);
}

#[tokio::test]
async fn answers_are_whole_with_any_window() {
    let mut served = Served::new().await;
    let want = large();
    for window in [1_u32, 1000, 65_535, 0x7fff_ffff] {
        let len = if window == 1 { 300 } else { want.len() };
        let mut client = served.visit(&[(4, window)]).await;
        let asked: Vec<u8> = (0..4)
            .flat_map(|n| request(2 * n + 1, "GET", "/large.bin", true))
            .collect();
        client.write_all(&asked).await.unwrap();
        let mut got: [Vec<u8>; 4] = Default::default();
        while got.iter().any(|g| g.len() < len) {
            let (kind, flags, stream, payload) = next(&mut client).await.unwrap();
            if kind != DATA {
                continue;
            }
            assert!(payload.len() <= 8192, "nginx sends no larger ones");
            let all = &mut got[stream as usize / 2];
            all.extend_from_slice(&payload);
            assert_eq!(flags & 1 != 0, all.len() == want.len());
            if !payload.is_empty() {
                let more = u32::try_from(payload.len()).unwrap().to_be_bytes();
                let both = [
                    frame(WINDOW_UPDATE, 0, stream, &more),
                    frame(WINDOW_UPDATE, 0, 0, &more),
                ];
                client.write_all(&both.concat()).await.unwrap();
            }
        }
        for all in got {
            assert!(want.starts_with(&all), "window {window}");
        }
    }
}

#[tokio::test]
async fn floods_end_a_connection_and_leave_the_others_alone() {
    let mut served = Served::new().await;
    let mut other = served.visit(&[]).await;
    let floods = [
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        frame(PING, 0, 0, &[0; 8]),
        frame(99, 0, 0, &[]),
        frame(DATA, 0, 1, &[]),
    ];
    for flood in floods {
        let mut client = served.visit(&[]).await;
        let piece = flood.repeat(16_384 / flood.len());
        let (mut read, mut write) = tokio::io::split(&mut client);
        let reading = async {
            let mut seen = Vec::new();
            let _ = read.read_to_end(&mut seen).await;
            seen
        };
        let sent = std::cell::Cell::new(0);
        let writing = async {
            while sent.get() < 256 << 20 && write.write_all(&piece).await.is_ok() {
                sent.set(sent.get() + piece.len());
            }
            std::future::pending::<()>().await;
        };
        let seen = tokio::select! {
            seen = reading => seen,
            () = writing => Vec::new(),
        };
        let sent = sent.get();
        assert!(
            seen.ends_with(&frame(GOAWAY, 0, 0, &[0; 8])),
            "{:?}",
            flood[3]
        );
        // More bytes are in flight at the close than the limit that caused it.
        assert!(sent < 32 << 20, "{sent}");
    }
    other
        .write_all(&request(1, "GET", "/", true))
        .await
        .unwrap();
    assert!(all(&mut other).await.iter().any(|f| f.0 == DATA));
}

/// Output seen of nginx 1.22.1 of Debian 12.
#[tokio::test]
async fn it_says_what_nginx_says() {
    let mut served = Served::new().await;
    let mut client = served.visit(&[]).await;
    let begin = all(&mut client).await;
    let settings = [0, 3, 0, 0, 0, 128, 0, 4, 0, 1, 0, 0, 0, 5, 0, 255, 255, 255];
    let want = [
        (SETTINGS, 0, 0, settings.to_vec()),
        (WINDOW_UPDATE, 0, 0, vec![0x7f, 0xff, 0, 0]),
        (SETTINGS, 1, 0, Vec::new()),
    ];
    assert_eq!(begin, want);
    // A POST whose body does not end, ends at once, ends later, or is absent.
    for (stream, ends, body, told) in [
        (1, false, None, true),
        (3, false, Some(1), true),
        (5, true, None, false),
    ] {
        let mut sent = request(stream, "POST", "/index.html", ends);
        if let Some(flags) = body {
            sent.extend(frame(DATA, flags, stream, b"0123456789"));
        }
        client.write_all(&sent).await.unwrap();
        let answer = all(&mut client).await;
        let kinds: Vec<_> = answer.iter().map(|f| (f.0, f.1, f.2)).collect();
        let mut want = vec![(HEADERS, 4, stream), (DATA, 1, stream)];
        if told {
            want.push((RST_STREAM, 0, stream));
            assert_eq!(answer[2].3, [0; 4]);
        }
        assert_eq!(kinds, want);
        assert!(answer[0].3.starts_with(&[0x48, 3, b'4', b'0', b'5']));
    }
    // Later data of it is dropped.
    client.write_all(&frame(DATA, 1, 1, b"more")).await.unwrap();
    assert!(all(&mut client).await.is_empty());
    let long = "y".repeat(100);
    let many: Vec<u8> = (0..600).flat_map(|_| literal("x", &long)).collect();
    let huge: Vec<u8> = (0..5).flat_map(|_| many.clone()).collect();
    let over = [
        frame(HEADERS, 1, 1, &huge[..16_000]),
        frame(9, 0, 1, &huge[16_000..30_000]),
        frame(9, 4, 1, &huge[30_000..50_000]),
    ];
    let errors: [(&str, Vec<u8>, [u8; 8]); 5] = [
        (
            "DATA of stream 0",
            frame(DATA, 0, 0, b"x"),
            [0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (
            "WINDOW_UPDATE of 0",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            [0, 0, 0, 0, 0, 0, 0, 1],
        ),
        (
            "window over 2^31",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            [0, 0, 0, 0, 0, 0, 0, 3],
        ),
        (
            "header section over 32 KiB",
            over.concat(),
            [0, 0, 0, 1, 0, 0, 0, 11],
        ),
        (
            "HPACK",
            frame(HEADERS, 5, 1, &[0xff; 6]),
            [0, 0, 0, 1, 0, 0, 0, 9],
        ),
    ];
    for (name, bytes, goaway) in errors {
        let mut client = served.visit(&[]).await;
        assert_eq!(all(&mut client).await.len(), 3);
        client.write_all(&bytes).await.unwrap();
        let seen = all(&mut client).await;
        let last = seen.last().map(|f| (f.0, &f.3[..]));
        assert_eq!(last, Some((GOAWAY, &goaway[..])), "{name}");
        assert_eq!(seen.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn answers_under_way_are_128_of_a_connection() {
    let mut served = Served::new().await;
    let mut client = served.visit(&[(4, 0)]).await;
    let asked: Vec<u8> = (0..140)
        .flat_map(|n| request(2 * n + 1, "GET", "/large.bin", true))
        .collect();
    client.write_all(&asked).await.unwrap();
    let (mut heads, mut refused) = (0, 0);
    while heads + refused < 140 {
        let (kind, _, _, payload) = next(&mut client).await.unwrap();
        heads += usize::from(kind == HEADERS);
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 7], "REFUSED_STREAM");
            refused += 1;
        }
    }
    assert_eq!((heads, refused), (128, 12));
}

#[tokio::test]
async fn a_connection_has_a_thousand_requests() {
    let mut served = Served::new().await;
    let mut client = served.visit(&[]).await;
    let (mut answers, mut last) = (0, Vec::new());
    for some in 0..11_u32 {
        let asked: Vec<u8> = (100 * some..100 * (some + 1))
            .flat_map(|n| request(2 * n + 1, "GET", "/", true))
            .collect();
        let _ = client.write_all(&asked).await;
        while answers < 100 * (some + 1) && answers < 1000 {
            let (kind, _, _, payload) = next(&mut client).await.unwrap();
            answers += u32::from(kind == HEADERS);
            if kind == GOAWAY {
                last = payload;
            }
        }
    }
    assert_eq!(last, [0, 0, 7, 0xcf, 0, 0, 0, 0]);
    // And then no more.
    while let Some((kind, ..)) = next(&mut client).await {
        assert_eq!(kind, DATA);
    }
    drop(client);
    while served.connections.join_next().await.is_some() {}
}

#[tokio::test]
async fn an_idle_connection_is_told_so_and_closed() {
    // Before the first request and after it, without a preface and with half of one: the deadline and the code.
    for (asks, first, seconds, code) in [
        (false, None, 60, 0),
        (true, None, 75, 0),
        (false, Some(&PREFACE[..0]), 60, 0),
        (false, Some(&PREFACE[..10]), 60, 1),
    ] {
        let mut served = Served::new().await;
        // The deadline begins later, and the time until the clock is paused is real.
        let began = Instant::now();
        let mut client = match first {
            Some(first) => served.visit_saying(first).await,
            None => served.visit(&[]).await,
        };
        let mut last = 0;
        if asks {
            let ask = request(1, "GET", "/", true);
            client.write_all(&ask).await.unwrap();
            answer(&mut client, 1).await;
            last = 1;
        }
        if first.is_none() {
            all(&mut client).await;
        } else {
            assert_eq!(next(&mut client).await.unwrap().0, SETTINGS);
            assert_eq!(next(&mut client).await.unwrap().0, WINDOW_UPDATE);
        }
        tokio::time::pause();
        let goodbye = vec![0, 0, 0, last, 0, 0, 0, code];
        assert_eq!(next(&mut client).await, Some((GOAWAY, 0, 0, goodbye)));
        assert_eq!(next(&mut client).await, None);
        let waited = began.elapsed().as_secs();
        assert!(
            (seconds..seconds + 15).contains(&waited),
            "{waited}: {asks} {first:?}"
        );
        tokio::time::resume();
    }
}

/// A visitor of a site with an origin, and the origin's listener.
async fn before_an_origin() -> (Served, Client, TcpListener) {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", origin.local_addr().unwrap());
    let cover = Cover::proxy(OriginProxy::new(&url).unwrap(), || SystemTime::UNIX_EPOCH);
    let mut served = Served::of(cover, None, None).await;
    let mut client = served.visit(&[(4, 0x7fff_ffff)]).await;
    let wide = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0, 0]);
    client.write_all(&wide).await.unwrap();
    (served, client, origin)
}

/// The next request at an origin.
async fn asked(origin: &TcpListener) -> TcpStream {
    let (mut tcp, _) = origin.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert!(tcp.read_buf(&mut head).await.unwrap() > 0);
    }
    tcp
}

#[tokio::test]
async fn answers_that_an_origin_holds_back_hold_up_no_others() {
    let (_served, mut client, origin) = before_an_origin().await;
    // More streams than the unsent limit of a connection would suffice for.
    let streams = 8;
    let mut held = Vec::new();
    for n in 0..streams {
        let ask = request(2 * n + 1, "GET", "/events", true);
        client.write_all(&ask).await.unwrap();
        let mut tcp = asked(&origin).await;
        let begins = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n";
        tcp.write_all(begins).await.unwrap();
        held.push(tcp);
    }
    let mut begun = 0;
    while begun < streams {
        begun += u32::from(next(&mut client).await.unwrap().3 == b"one");
    }
    let ask = request(2 * streams + 1, "GET", "/page", true);
    client.write_all(&ask).await.unwrap();
    let mut tcp = asked(&origin).await;
    tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage")
        .await
        .unwrap();
    let answer = async { while next(&mut client).await.unwrap().3 != b"page" {} };
    timeout(Duration::from_secs(20), answer).await.unwrap();
    // These continue when their origin does.
    held[5].write_all(b"3\r\ntwo\r\n").await.unwrap();
    let more = async {
        loop {
            let (.., stream, piece) = next(&mut client).await.unwrap();
            if piece == b"two" {
                return stream;
            }
        }
    };
    assert_eq!(more.await, 11);
}

#[tokio::test]
async fn what_is_taken_back_is_not_asked_of_an_origin_any_more() {
    let (_served, mut client, origin) = before_an_origin().await;
    client
        .write_all(&request(1, "GET", "/", true))
        .await
        .unwrap();
    let mut tcp = asked(&origin).await;
    client
        .write_all(&frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]))
        .await
        .unwrap();
    let ended = timeout(Duration::from_secs(20), tcp.read(&mut [0])).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

/// Waits for the head of a stream's answer.
async fn answer(client: &mut Client, stream: u32) {
    while let Some((kind, _, of, _)) = next(client).await {
        if (kind, of) == (HEADERS, stream) {
            return;
        }
    }
    panic!("no answer on {stream}");
}

/// Opens a leg of version 1.1, which ends at once, for the holder of this ticket.
struct TestAcceptor(PublicKey);

impl TestAcceptor {
    const TICKET: &str = "a-ticket-of-1.1";
}

impl SessionGate for TestAcceptor {
    fn key(&self) -> &PublicKey {
        &self.0
    }

    fn open(&self, _: &[u8; 32], _: &str, _: &[u8], _: SocketAddr) -> Option<Tunnel> {
        None
    }

    fn reads11(&self) -> Option<&Reading> {
        Some(&Reading::PROFILE)
    }

    fn open11(&self, ticket: &str, _: SocketAddr) -> Option<Tunnel> {
        let tunnel: Tunnel = Box::new(|_| Box::pin(std::future::ready(())));
        (ticket == Self::TICKET).then_some(tunnel)
    }
}

#[tokio::test]
async fn a_form_that_comes_with_its_header_section_always_brings_its_ticket() {
    let key = *Identity::from_seed(&[1; 32]).public();
    let mut served = Served::before(Some(Arc::new(TestAcceptor(key)))).await;
    let site = Arc::clone(&served.site);
    let tunnels = || site.stats.tunnels.load(Ordering::Relaxed);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let head = request_with(1, "POST", "/index.html", false, &form);
    let body = frame(
        DATA,
        1,
        1,
        format!("q=1&bn1={}", TestAcceptor::TICKET).as_bytes(),
    );
    for n in 1..=50 {
        let mut client = served.visit(&[]).await;
        if n % 2 == 0 {
            client
                .write_all(&[&head[..], &body].concat())
                .await
                .unwrap();
        } else {
            // Two records that both arrive before the listener reads: it runs on this thread.
            client.write_all(&head).await.unwrap();
            client.write_all(&body).await.unwrap();
        }
        answer(&mut client, 1).await;
        assert_eq!(tunnels(), n - 1, "a form is no leg");
        client
            .write_all(&request(3, "POST", "/", false))
            .await
            .unwrap();
        answer(&mut client, 3).await;
        assert_eq!(tunnels(), n, "{n}");
    }
}
