//! QUIC visitors who send much useless data, or read nothing.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, TransportConfig};

use super::*;
use crate::client::Trust;
use crate::verify::{Mismatch, tls_config};
use crate::{CertSource, Certificate, Cover};

/// A visitor, the site, the serving task, and the visitor's socket.
type Visit = (
    quinn::Connection,
    Arc<Site>,
    tokio::task::JoinHandle<()>,
    Endpoint,
);

/// A visitor of a site with a large file.
async fn visit(transport: TransportConfig) -> Visit {
    visit_until(transport, CancellationToken::new()).await
}

/// A visit that lasts until the node shuts down.
async fn visit_until(transport: TransportConfig, shutdown: CancellationToken) -> Visit {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    visit_over(transport, folder, None, shutdown).await
}

/// A visit of this folder, over a wire that carries nothing back once `deaf` is set.
async fn visit_over(
    transport: TransportConfig,
    folder: &Path,
    deaf: Option<Arc<AtomicBool>>,
    shutdown: CancellationToken,
) -> Visit {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let source = Arc::new(CertSource::fixed(certificate));
    let trust = Trust::Pin(source.pin());
    let cover = Cover::new(folder, || SystemTime::UNIX_EPOCH).unwrap();
    let site = Arc::new(Site::new(source, cover, None, Limits::default()).unwrap());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = socket.local_addr().unwrap();
    let listener = QuicListener::new(&site, socket).unwrap();
    let serving = {
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let visitor = listener.accept().await.unwrap();
            let greeted = visitor.greet(&site).await.unwrap();
            greeted.serve(site, shutdown).await;
            listener.close().await;
        })
    };
    let mut tls = tls_config(&trust, &Mismatch::default()).unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    config.transport_config(Arc::new(transport));
    let to = match deaf {
        Some(deaf) => wire(to, deaf).await,
        None => to,
    };
    let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let connecting = endpoint.connect_with(config, to, "localhost").unwrap();
    (connecting.await.unwrap(), site, serving, endpoint)
}

/// Carries datagrams to a listener, and back until `deaf` is set.
pub(crate) async fn wire(to: SocketAddr, deaf: Arc<AtomicBool>) -> SocketAddr {
    let near = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let far = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let at = near.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2048], [0; 2048]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((n, from)) = near.recv_from(&mut up) => {
                    client = Some(from);
                    far.send_to(&up[..n], to).await.unwrap();
                }
                Ok(n) = far.recv(&mut down) => if let Some(client) = client
                    && !deaf.load(Ordering::Relaxed)
                {
                    near.send_to(&down[..n], client).await.unwrap();
                },
            }
        }
    });
    at
}

/// Opens a stream with `GET path` for `:authority` x, with QPACK's static table.
async fn get(connection: &quinn::Connection, path: &str) -> quinn::RecvStream {
    let (mut out, back) = connection.open_bi().await.unwrap();
    let authority = [0, 0, 0xd1, 0xd7, 0x50, 1, b'x', 0x51];
    let len = u8::try_from(path.len()).unwrap();
    let section = [&authority[..], &[len], path.as_bytes()].concat();
    let len = u32::try_from(section.len()).unwrap();
    out.write_all(&frame(1, len, &section)).await.unwrap();
    out.finish().unwrap();
    back
}

/// Waits until this many requests were accepted and nothing moves; returns the number of unsent answer bytes, which never
/// exceeds the limit.
async fn unsent(site: &Site, requests: u64) -> u64 {
    let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (mut still, mut before) = (0, 0);
    while still < 2_000 {
        tokio::task::yield_now().await;
        let now = load(&site.stats.unsent);
        assert!(now <= IN_HAND as u64, "{now}");
        let all = load(&site.stats.covered) >= requests;
        still = if all && now == before { still + 1 } else { 0 };
        before = now;
    }
    before
}

/// `type || length || payload`, where the length may exceed the payload.
fn frame(kind: u8, len: u32, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &(len | 0x8000_0000).to_be_bytes(), payload].concat()
}

/// Waits until this many requests have been answered.
async fn answered(site: &Site, n: u64) {
    while site.stats.covered.load(Ordering::Relaxed) < n {
        tokio::task::yield_now().await;
    }
}

/// Close code of a connection.
fn code(error: ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_gets_nobody_further_ends_a_connection() {
    const HEADERS: u8 = 1;
    const RESERVED: u8 = 0x21;
    let junk = vec![0; 64 << 10];
    // An endless header section or unknown frame, many unknown frames, and the same on a control stream.
    let long = |kind| frame(kind, 0x3fff_ffff, &junk);
    let many = [frame(RESERVED, 100, &junk[..100])].concat().repeat(600);
    let control = [vec![0], frame(4, 0, &[]), long(RESERVED)].concat();
    for (name, bidi, first) in [
        ("HEADERS", true, long(HEADERS)),
        ("unknown", true, long(RESERVED)),
        ("many", true, many.clone()),
        ("control stream", false, control),
    ] {
        let (connection, _, serving, _endpoint) = visit(TransportConfig::default()).await;
        let mut out = if bidi {
            connection.open_bi().await.unwrap().0
        } else {
            connection.open_uni().await.unwrap()
        };
        let sent = async {
            let mut sent = 0;
            let mut next = &first;
            while out.write_all(next).await.is_ok() {
                sent += next.len();
                if name != "many" {
                    next = &junk;
                }
            }
            sent
        };
        let sent = sent.await;
        assert_eq!(code(connection.closed().await), 0x107, "{name}");
        // At most a window was in flight at the close.
        assert!(sent < 1 << 20, "{name}: {sent}");
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_end_after_30_s_and_hold_little() {
    let mut transport = TransportConfig::default();
    // Enough for a server's own frames, but not for a head.
    transport
        .stream_receive_window(VarInt::from_u32(64))
        .max_idle_timeout(None);
    let (connection, site, serving, _endpoint) = visit(transport).await;
    let _control = connection.open_uni().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(get(&connection, "/Cargo.toml").await);
    }
    assert_eq!(unsent(&site, 100).await, 0, "not even a head has left");
    tokio::time::pause();
    for mut back in streams {
        let ended = back.received_reset().await.unwrap();
        assert_eq!(ended.map(VarInt::into_inner), Some(0x10c));
    }
    connection.close(VarInt::from_u32(0x100), b"");
    serving.await.unwrap();
}

#[tokio::test]
async fn an_answer_of_which_only_the_end_is_not_taken_ends_too() {
    // The first answer of a connection ends with an extra frame.
    let (connection, ..) = visit(TransportConfig::default()).await;
    let mut lengths = [0; 2];
    for len in &mut lengths {
        let answer = get(&connection, "/Cargo.toml")
            .await
            .read_to_end(1 << 20)
            .await;
        *len = u32::try_from(answer.unwrap().len()).unwrap();
    }
    assert!(lengths[0] > lengths[1], "{lengths:?}");
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(lengths[1]))
        .max_idle_timeout(None);
    let (connection, site, serving, _endpoint) = visit(transport).await;
    let mut back = get(&connection, "/Cargo.toml").await;
    answered(&site, 1).await;
    tokio::time::pause();
    let ended = back.received_reset().await.unwrap();
    assert_eq!(ended.map(VarInt::into_inner), Some(0x10c));
    connection.close(VarInt::from_u32(0x100), b"");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_takes_nothing_ends_when_the_node_goes_down() {
    let mut transport = TransportConfig::default();
    // A server's own frames fit; an answer does not, and takes the rest.
    transport
        .receive_window(VarInt::from_u32(1000))
        .keep_alive_interval(Some(Duration::from_secs(10)))
        .max_idle_timeout(None);
    let shutdown = CancellationToken::new();
    let (connection, site, serving, _endpoint) = visit_until(transport, shutdown.clone()).await;
    let _back = get(&connection, "/Cargo.toml").await;
    answered(&site, 1).await;
    tokio::time::pause();
    shutdown.cancel();
    serving.await.unwrap();
}

/// Bytes read for full windows, of all answers of a connection together.
#[tokio::test]
async fn answers_that_wait_for_windows_hold_64_kib_together() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large.bin"), vec![7; 1 << 20]).unwrap();
    let mut transport = TransportConfig::default();
    // Room for a head and for growing pieces: with the usual pieces 100 answers would hold 400 KiB.
    transport
        .stream_receive_window(VarInt::from_u32(4_500))
        .max_idle_timeout(None);
    let (connection, site, serving, _endpoint) =
        visit_over(transport, folder.path(), None, CancellationToken::new()).await;
    let _control = connection.open_uni().await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(get(&connection, "/large.bin").await);
    }
    let held = unsent(&site, 100).await;
    assert!(held > 16 << 10, "{held}");
    tokio::time::pause();
    for mut back in streams {
        let ended = back.received_reset().await.unwrap();
        assert_eq!(ended.map(VarInt::into_inner), Some(0x10c));
    }
    connection.close(VarInt::from_u32(0x100), b"");
    serving.await.unwrap();
    assert_eq!(site.stats.unsent.load(Ordering::Relaxed), 0);
}

/// QUIC keeps data until it is acknowledged, which a visitor need not do.
#[tokio::test]
async fn what_a_visitor_does_not_acknowledge_is_192_kib_of_a_connection() {
    for (len, all_taken) in [(1_500, true), (2_200, false)] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("page.bin"), vec![7; len]).unwrap();
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(None);
        let deaf = Arc::new(AtomicBool::new(false));
        let visit = visit_over(
            transport,
            folder.path(),
            Some(Arc::clone(&deaf)),
            CancellationToken::new(),
        )
        .await;
        let (connection, site, serving, _endpoint) = visit;
        let _control = connection.open_uni().await.unwrap();
        // The handshake and the settings have arrived; from now on nothing comes.
        assert!(connection.accept_uni().await.is_ok());
        deaf.store(true, Ordering::Relaxed);
        let mut streams = Vec::new();
        for _ in 0..100 {
            streams.push(get(&connection, "/page.bin").await);
        }
        // 150 000 bytes with their heads are below the limit, and 220 000 are above.
        let waits = unsent(&site, 100).await;
        assert_eq!(waits == 0, all_taken, "{waits} of pages of {len}");
        // Awaited answers end, with the visitor if need be.
        tokio::time::pause();
        while site.stats.unsent.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
        serving.abort();
        drop(streams);
    }
}
