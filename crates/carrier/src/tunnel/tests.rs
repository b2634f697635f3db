//! A peer that does not read a tunnel's output.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use betanet_keys::{Identity, PublicKey};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::client::{Trust, Way, connect, connect_quic};
use crate::{CertSource, Certificate, Cover, Limits, Plain, QuicListener, SessionGate, Site};

const LABEL: &str = "a-label-of-24-characters";
/// Number of bytes that a session sends at once.
const PIECE: usize = 16 << 10;

/// Opens a tunnel for everybody that sends endlessly, as much as is accepted, and counts it.
struct TestAcceptor {
    key: PublicKey,
    taken: Arc<AtomicUsize>,
}

impl SessionGate for TestAcceptor {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn open(&self, _: &[u8; 32], _: &str, _: &[u8], _: SocketAddr) -> Option<crate::site::Tunnel> {
        let taken = Arc::clone(&self.taken);
        Some(Box::new(move |mut carrier| {
            Box::pin(std::future::poll_fn(move |cx| {
                // As the driver of a session does.
                while let Poll::Ready(Ok(())) = carrier.poll_ready(cx) {
                    if carrier.send(vec![0; PIECE].into()).is_err() {
                        return Poll::Ready(());
                    }
                    taken.fetch_add(PIECE, Ordering::Relaxed);
                    carrier.push(cx);
                    let _ = carrier.poll_receive(cx);
                }
                Poll::Pending
            }))
        }))
    }
}

/// Opens a tunnel for everybody that sends these pieces in one turn.
struct Pieces {
    key: PublicKey,
    lens: Vec<usize>,
}

impl SessionGate for Pieces {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn open(&self, _: &[u8; 32], _: &str, _: &[u8], _: SocketAddr) -> Option<crate::site::Tunnel> {
        let lens = self.lens.clone();
        Some(Box::new(move |mut carrier| {
            Box::pin(async move {
                for (n, len) in (1..).zip(lens) {
                    std::future::poll_fn(|cx| carrier.poll_ready(cx))
                        .await
                        .unwrap();
                    carrier.send(vec![n; len].into()).unwrap();
                }
                std::future::poll_fn(|cx| {
                    carrier.push(cx);
                    let _ = carrier.poll_receive(cx);
                    Poll::<()>::Pending
                })
                .await;
            })
        }))
    }
}

/// Opens a tunnel for everybody that sends short pieces, each in a turn, until credit is short, and then waits to be woken.
struct UntilFull {
    key: PublicKey,
    sent: Arc<AtomicUsize>,
    full: Arc<AtomicBool>,
}

impl SessionGate for UntilFull {
    fn key(&self) -> &PublicKey {
        &self.key
    }

    fn open(&self, _: &[u8; 32], _: &str, _: &[u8], _: SocketAddr) -> Option<crate::site::Tunnel> {
        let (sent, full) = (Arc::clone(&self.sent), Arc::clone(&self.full));
        Some(Box::new(move |mut carrier| {
            Box::pin(std::future::poll_fn(move |cx| {
                let mut nobody = Context::from_waker(std::task::Waker::noop());
                while !full.load(Ordering::Relaxed) {
                    carrier.send(vec![7; SHORT].into()).unwrap();
                    sent.fetch_add(SHORT, Ordering::Relaxed);
                    carrier.push(cx);
                    full.store(
                        carrier.poll_ready(&mut nobody).is_pending(),
                        Ordering::Relaxed,
                    );
                }
                // Nothing but this registers the task.
                carrier.push(cx);
                let _ = carrier.poll_receive(&mut nobody);
                Poll::Pending
            }))
        }))
    }
}

fn site() -> (Arc<Site>, Trust, PublicKey, Arc<AtomicUsize>) {
    let key = *Identity::from_seed(&[1; 32]).public();
    let taken = Arc::default();
    let acceptor = TestAcceptor {
        key,
        taken: Arc::clone(&taken),
    };
    let (site, trust) = site_of(Arc::new(acceptor));
    (site, trust, key, taken)
}

fn site_of(gate: Arc<dyn SessionGate>) -> (Arc<Site>, Trust) {
    let certificate = Certificate::self_signed(&["localhost".into()]).unwrap();
    let source = Arc::new(CertSource::fixed(certificate));
    let trust = Trust::Pin(source.pin());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cover = Cover::new(folder, || SystemTime::UNIX_EPOCH).unwrap();
    let site = Site::new(source, cover, Some(gate), Limits::default()).unwrap();
    (Arc::new(site), trust)
}

/// Sends message 1, and waits for the answer's first bytes.
async fn knock(carrier: &mut Box<dyn Carrier>) -> Received {
    let message = [&[0, 48][..], &[1; 48]].concat();
    std::future::poll_fn(|cx| carrier.poll_ready(cx))
        .await
        .unwrap();
    carrier.send(message.into()).unwrap();
    std::future::poll_fn(|cx| {
        carrier.push(cx);
        carrier.poll_receive(cx)
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn short_pieces_of_a_turn_leave_in_one_frame_and_all_stay_in_order() {
    let key = *Identity::from_seed(&[1; 32]).public();
    let lens = [&[100; 20][..], &[SHORT + 1], &[1, SHORT, SHORT, 7]].concat();
    let sent: Vec<u8> = (1..)
        .zip(&lens)
        .flat_map(|(n, len)| vec![n; *len])
        .collect();
    let (site, trust) = site_of(Arc::new(Pieces { key, lens }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (tcp, peer) = listener.accept().await.unwrap();
        crate::serve(site, tcp, peer, CancellationToken::new()).await;
    });
    let outer = connect(&at, &trust, Way::default(), &Plain).await.unwrap();
    let mut carrier = outer.open(&key, LABEL).await.unwrap();
    let mut frames = vec![knock(&mut carrier).await];
    let mut came = Vec::new();
    loop {
        for frame in frames.drain(..) {
            let Received::Bytes(bytes) = frame else {
                panic!("{frame:?}")
            };
            came.push(bytes);
        }
        if came.iter().map(Bytes::len).sum::<usize>() >= sent.len() {
            break;
        }
        let next = std::future::poll_fn(|cx| carrier.poll_receive(cx));
        frames.push(next.await.unwrap());
    }
    let lens: Vec<usize> = came.iter().map(Bytes::len).collect();
    assert_eq!(came.concat(), sent);
    // The gathered pieces, the long piece, and the pieces gathered after it.
    assert_eq!(lens, [2_000, SHORT + 1, 1 + 2 * SHORT + 7]);
}

#[tokio::test]
async fn the_last_short_pieces_leave_once_the_peer_reads_again() {
    let key = *Identity::from_seed(&[1; 32]).public();
    let (sent, full) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let gate = UntilFull {
        key,
        sent: Arc::clone(&sent),
        full: Arc::clone(&full),
    };
    let (site, trust) = site_of(Arc::new(gate));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (tcp, peer) = listener.accept().await.unwrap();
        crate::serve(site, tcp, peer, CancellationToken::new()).await;
    });
    let outer = connect(&at, &trust, Way::default(), &Plain).await.unwrap();
    let mut carrier = outer.open(&key, LABEL).await.unwrap();
    let Received::Bytes(first) = knock(&mut carrier).await else {
        panic!("an end")
    };
    let mut came = first.len();
    let reading = async {
        while !full.load(Ordering::Relaxed) || came < sent.load(Ordering::Relaxed) {
            match std::future::poll_fn(|cx| carrier.poll_receive(cx)).await {
                Ok(Received::Bytes(bytes)) => came += bytes.len(),
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap();
    assert!(came > 64 << 10, "{came}");
}

/// Number of accepted bytes at standstill, at most `most`.
async fn stands_still(taken: &AtomicUsize, most: usize) -> usize {
    let (mut still, mut before) = (0, 0);
    while still < 2_000 {
        tokio::task::yield_now().await;
        let now = taken.load(Ordering::Relaxed);
        assert!(now <= most, "{now} bytes");
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    before
}

#[tokio::test]
async fn what_a_tunnel_over_tcp_keeps_for_sending_is_a_mib() {
    let (site, trust, key, taken) = site();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (tcp, peer) = listener.accept().await.unwrap();
        crate::serve(site, tcp, peer, CancellationToken::new()).await;
    });
    let outer = connect(&at, &trust, Way::default(), &Plain).await.unwrap();
    let mut carrier = outer.open(&key, LABEL).await.unwrap();
    knock(&mut carrier).await;
    // From now on the peer reads nothing. Its window is 6 MiB; both kernels and TLS hold the rest.
    let kept = stands_still(&taken, 2 << 20).await;
    assert!(kept > 1 << 20, "{kept}");
}

#[tokio::test]
async fn what_a_tunnel_over_quic_keeps_until_it_is_acknowledged_is_4_mib() {
    let (site, trust, key, taken) = site();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = socket.local_addr().unwrap();
    let listener = QuicListener::new(&site, socket).unwrap();
    tokio::spawn(async move {
        let greeted = listener.accept().await.unwrap().greet(&site).await.unwrap();
        greeted.serve(site, CancellationToken::new()).await;
    });
    let gone = Arc::new(AtomicBool::new(false));
    let at = crate::quic::wire(to, Arc::clone(&gone)).await;
    let outer = connect_quic(&at.to_string(), &trust, Way::default(), &Plain).await;
    let mut carrier = outer.unwrap().open(&key, LABEL).await.unwrap();
    knock(&mut carrier).await;
    // Its window is open, but nothing sent to it arrives any more.
    gone.store(true, Ordering::Relaxed);
    let before = taken.load(Ordering::Relaxed);
    let kept = stands_still(&taken, before + (4 << 20) + 2 * PIECE).await;
    assert!(kept > 3 << 20, "{kept}");
}
