//! Ends of sessions: peers that vanish, are refused, or never finish their handshake, and floods of connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_runtime::{
    Error, ExchangeError, Headers, Method, Node, Peer, Plain, Request, Silence, Transport,
    count_panics, panics,
};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::peer::{HalfOpen, crypto};
use crate::{Fixture, content, write};

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

/// Clients with both fingerprints, over QUIC only.
fn over_quic() -> [Node; 2] {
    let node = || Node::client().unwrap().with_transport(Transport::Quic);
    [node(), node().with_fingerprint(Arc::new(Plain))]
}

async fn hello(node: &Node, peer: &Peer) -> Result<Vec<u8>, Error> {
    let session = node.connect(peer).await?;
    let mut answer = session.ask(get("/hello.txt")).await?;
    let got = answer.body.all(100).await?.unwrap();
    session.close().await;
    Ok(got)
}

/// Returns first datagrams of clients that never send more, each of a different connection.
async fn initials(n: usize) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind(LOOPBACK).await.unwrap();
    let to = sink.local_addr().unwrap();
    let client = quinn::Endpoint::client(LOOPBACK.into()).unwrap();
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while all.len() < n {
        let config = quinn::ClientConfig::new(crypto());
        let _connecting = client.connect_with(config, to, "localhost").unwrap();
        let mut buf = vec![0; 2000];
        let len = sink.recv(&mut buf).await.unwrap();
        buf.truncate(len);
        // A long header of an Initial packet, keyed by its connection ID.
        let id = buf[6..6 + usize::from(buf[5])].to_vec();
        if buf[0] & 0xf0 == 0xc0 && all.iter().all(|(known, _)| *known != id) {
            all.push((id, buf));
        }
    }
    all.into_iter().map(|(_, datagram)| datagram).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unproven_visitors_keeps_nobody_out_who_proves_where_it_is() {
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let at = peer.addrs.iter().find_map(|a| a.strip_prefix("quic:"));
    let at: SocketAddr = at.unwrap().parse().unwrap();
    let flood = initials(300).await;
    // First from twenty addresses, then from the one that honest clients use too.
    for n in 0..20u8 {
        let from = (Ipv4Addr::new(127, 9, 0, n + 1), 0);
        let socket = UdpSocket::bind(from).await.unwrap();
        for datagram in &flood[15 * usize::from(n)..][..15] {
            socket.send_to(datagram, at).await.unwrap();
        }
    }
    let own = UdpSocket::bind(LOOPBACK).await.unwrap();
    for datagram in initials(40).await {
        own.send_to(&datagram, at).await.unwrap();
    }
    for node in over_quic() {
        let got = timeout(Duration::from_secs(8), hello(&node, &peer)).await;
        assert_eq!(got.unwrap().unwrap(), b"hello");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_handshakes_are_bounded_and_take_no_place_of_sessions() {
    let fixture = Fixture::start(|c| {
        c.limits.max_sessions = 16;
        c.limits.per_address = Some(16);
        c.limits.connections_per_address = 100;
        c.limits.connects_per_second = 1000;
        c.listener.quic = false;
    })
    .await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let mut opened = 0;
    let mut standing = Vec::new();
    for n in 0..12u8 {
        let mut one = HalfOpen::connect(&fixture.address(), [100 + n; 32]).await;
        let mut here = 0;
        for m in 0..10 {
            here += usize::from(
                one.knock(&server, &format!("label-number-{n:02}-{m:02}"))
                    .await
                    == 200,
            );
        }
        assert!(here <= 4, "{here} of one connection");
        opened += here;
        standing.push(one);
    }
    assert_eq!(opened, 32, "of one address");
    assert_eq!(fixture.metric("betanet_handshakes_half_open"), 32);
    assert_eq!(fixture.metric("betanet_handshakes_over_bound_total"), 88);
    assert_eq!(fixture.gateway.sessions(), 0);
    // Another address still has all its places.
    let elsewhere: IpAddr = [127, 8, 0, 1].into();
    let node = Node::client().unwrap().with_source_address(Some(elsewhere));
    let peer = fixture.gateway.listening().peer();
    for _ in 0..20 {
        assert_eq!(hello(&node, &peer).await.unwrap(), b"hello");
    }
    // So does this one, once they are gone.
    drop(standing);
    let node = Node::client().unwrap();
    let again = async {
        while hello(&node, &peer).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), again).await.unwrap();
}

/// A valid ticket that nothing follows is a handshake in progress too.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_that_no_message_follows_are_half_open_handshakes() {
    let fixture = Fixture::start(|c| c.listener.quic = false).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let mut one = HalfOpen::connect(&fixture.address(), [99; 32]).await;
    let mut waits = Vec::new();
    for n in 0..10 {
        waits.push(
            one.ticket(&server, &format!("label-number-of-{n:02}"))
                .await,
        );
    }
    let mut answered = 0;
    for wait in waits {
        if let Ok(status) = timeout(Duration::from_secs(1), wait).await {
            assert_eq!(status, 405);
            answered += 1;
        }
    }
    assert_eq!(answered, 6, "four are waited for");
    assert_eq!(fixture.metric("betanet_handshakes_half_open"), 4);
    assert_eq!(fixture.gateway.sessions(), 0);
}

/// Carries datagrams until it is cut, as if both sides had vanished.
async fn cable(to: SocketAddr, cut: Arc<AtomicBool>) -> SocketAddr {
    let inside = UdpSocket::bind(LOOPBACK).await.unwrap();
    let at = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let outside = UdpSocket::bind(LOOPBACK).await.unwrap();
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((n, from)) = inside.recv_from(&mut up) => {
                    client = Some(from);
                    if !cut.load(Ordering::Relaxed) {
                        outside.send_to(&up[..n], to).await.unwrap();
                    }
                }
                Ok((n, _)) = outside.recv_from(&mut down) => if let Some(client) = client
                    && !cut.load(Ordering::Relaxed)
                {
                    inside.send_to(&down[..n], client).await.unwrap();
                },
            }
        }
    });
    at
}

/// A peer over QUIC that stops answering is detected within ten seconds. Its silence is reported meanwhile, and all that wait for
/// it are notified.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_quic_that_vanishes_ends_what_waits_for_it_and_panics_nobody() {
    count_panics();
    let fixture = Fixture::start(|_| {}).await;
    write(&fixture.served("big.bin"), &content(60_000_000));
    let peer = fixture.gateway.listening().peer();
    let quic = peer.addrs.iter().find_map(|a| a.strip_prefix("quic:"));
    let to: SocketAddr = quic.unwrap().parse().unwrap();
    for node in over_quic() {
        let cut = Arc::new(AtomicBool::new(false));
        let at = cable(to, Arc::clone(&cut)).await;
        let mut moved = peer.clone();
        moved.addrs = vec![format!("quic:{at}")];
        let said: Arc<Mutex<Vec<Silence>>> = Arc::default();
        let heard = Arc::clone(&said);
        let node = node.with_silence_hook(Arc::new(move |told| heard.lock().unwrap().push(told)));
        let session = node.connect(&moved).await.unwrap();
        let mut answer = session.ask(get("/big.bin")).await.unwrap();
        assert!(answer.body.chunk().await.unwrap().is_some());
        cut.store(true, Ordering::Relaxed);
        let began = std::time::Instant::now();
        let end = async {
            loop {
                match answer.body.chunk().await {
                    Ok(Some(_)) => {}
                    other => return other,
                }
            }
        };
        let end = timeout(Duration::from_secs(20), end).await.unwrap();
        let took = began.elapsed();
        assert!(matches!(end, Err(ExchangeError::Cut { .. })), "{end:?}");
        assert!(took < Duration::from_secs(13), "{took:?}");
        let said = said.lock().unwrap().clone();
        assert!(
            matches!(said[..], [Silence::Asked(since)] if since >= Duration::from_secs(4)),
            "{said:?}"
        );
        assert!(session.ping().await.is_err());
        timeout(Duration::from_secs(10), session.over())
            .await
            .unwrap();
    }
    assert_eq!(panics(), 0);
    assert_eq!(fixture.metric("betanet_panics_total"), 0);
}

/// When a client over QUIC is killed and not even a close arrives, its sessions end, whatever was being sent to it.
#[tokio::test]
async fn a_client_over_quic_that_is_killed_leaves_nothing_at_the_gateway() {
    count_panics();
    let fixture = Fixture::start(|_| {}).await;
    write(&fixture.served("big.bin"), &content(8_000_000));
    let peer = fixture.gateway.listening().peer();
    let quic = peer.addrs.iter().find_map(|a| a.strip_prefix("quic:"));
    let to: SocketAddr = quic.unwrap().parse().unwrap();
    for (node, busy) in over_quic()
        .into_iter()
        .flat_map(|n| [(n, true)])
        .chain(over_quic().into_iter().map(|n| (n, false)))
    {
        let cut = Arc::new(AtomicBool::new(false));
        let at = cable(to, Arc::clone(&cut)).await;
        let mut moved = peer.clone();
        moved.addrs = vec![format!("quic:{at}")];
        let session = node.connect(&moved).await.unwrap();
        let path = if busy { "/big.bin" } else { "/hello.txt" };
        let mut answer = session.ask(get(path)).await.unwrap();
        assert!(answer.body.chunk().await.unwrap().is_some());
        assert_eq!(fixture.gateway.sessions(), 1);
        cut.store(true, Ordering::Relaxed);
        drop((answer, session, node));
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        while fixture.gateway.sessions() > 0 {
            assert!(began.elapsed() < Duration::from_secs(60), "busy: {busy}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // The gateway probed after 30 s of silence, and twice without an answer.
        let took = began.elapsed();
        assert!(took < Duration::from_secs(45), "busy: {busy}: {took:?}");
        tokio::time::resume();
    }
    // The client's connections have ended as well, so nothing is left to be cut.
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let began = tokio::time::Instant::now();
    assert!(fixture.gateway.shutdown().await);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(panics(), 0);
    assert_eq!(fixture.metric("betanet_panics_total"), 0);
}

/// The same over TCP, where the kernel continues to acknowledge. The proxy reads and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_over_tcp_that_falls_silent_is_noticed_within_ten_seconds() {
    let fixture = Fixture::start(|c| c.listener.quic = false).await;
    write(&fixture.served("big.bin"), &content(60_000_000));
    let (address, silent) = crate::forward::proxy(fixture.address()).await;
    let mut peer = fixture.gateway.listening().peer();
    peer.addrs = vec![address];
    let session = Node::client().unwrap().connect(&peer).await.unwrap();
    let mut answer = session.ask(get("/big.bin")).await.unwrap();
    assert!(answer.body.chunk().await.unwrap().is_some());
    silent.send_replace(true);
    let began = std::time::Instant::now();
    let end = async { while let Ok(Some(_)) = answer.body.chunk().await {} };
    timeout(Duration::from_secs(20), end).await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(13), "{took:?}");
}

/// Passes on everything from the client, and so many bytes of the answer.
async fn cut_short(to: String, after: u64) -> String {
    use tokio::io::AsyncReadExt as _;
    let listener = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
        let ((mut said, mut hears), (answers, mut asked)) = (near.split(), far.split());
        let up = tokio::io::copy(&mut said, &mut asked);
        let mut some = answers.take(after);
        let down = async {
            tokio::io::copy(&mut some, &mut hears).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::join!(up, down)
    });
    at
}

/// This holds for each missing part: TLS, HTTP's answer, or the end of the session's handshake.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_stalls_before_a_session_stands_is_noticed_within_ten_seconds() {
    let fixture = Fixture::start(|c| c.listener.quic = false).await;
    let peer = fixture.gateway.listening().peer();
    let stalls = [0, 600, 1400, 2000].map(|after| {
        let (mut peer, to) = (peer.clone(), fixture.address());
        async move {
            peer.addrs = vec![cut_short(to, after).await];
            let said: Arc<Mutex<Vec<Silence>>> = Arc::default();
            let heard = Arc::clone(&said);
            let node = Node::client().unwrap();
            let node =
                node.with_silence_hook(Arc::new(move |told| heard.lock().unwrap().push(told)));
            let began = std::time::Instant::now();
            let why = node.connect(&peer).await.err().map(|e| e.to_string());
            let took = began.elapsed();
            let said = said.lock().unwrap().clone();
            (after, why, took, said)
        }
    });
    for (after, why, took, said) in futures_util::future::join_all(stalls).await {
        let why = why.unwrap();
        assert!(why.contains("no answer within 10 s"), "{after}: {why}");
        assert!(took < Duration::from_secs(13), "{after}: {took:?}");
        assert!(
            matches!(said[..], [Silence::Opening(_)]),
            "{after}: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_which_limit_it_is_and_is_not_asked_again_at_once() {
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    for transport in [Transport::Quic, Transport::Tcp] {
        let node = Node::client().unwrap().with_transport(transport);
        let mut standing = Vec::new();
        for _ in 0..8 {
            let session = node.connect(&peer).await.unwrap();
            session.ask(get("/hello.txt")).await.unwrap();
            standing.push(session);
        }
        let ninth = async {
            let session = node.connect(&peer).await?;
            Ok::<_, Error>(session.ask(get("/hello.txt")).await?)
        };
        let why = ninth.await.unwrap_err().to_string();
        assert!(
            why.contains("8 sessions of this address already stand (per_address)"),
            "{transport:?}: {why}"
        );
        // Each repetition waits longer, as for a peer that cannot be reached.
        let before = fixture.metric("betanet_sessions_not_admitted_total");
        let insisting = async {
            loop {
                if let Ok(session) = node.session(&peer).await {
                    let _ = session.ask(get("/hello.txt")).await;
                }
                // While the peer is not dialled, `session` fails at once.
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(Duration::from_secs(3), insisting).await.is_err());
        let asked = fixture.metric("betanet_sessions_not_admitted_total") - before;
        assert!((1..12).contains(&asked), "{asked} in three seconds");
        for session in standing {
            session.close().await;
            session.over().await;
        }
        let free = async {
            while fixture.gateway.sessions() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), free).await.unwrap();
    }
}

/// A client of another implementation floods frames without progress, beside honest clients.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_floods_is_ended_with_a_code() {
    let fixture = Fixture::start(|_| {}).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let flooded = Arc::new(AtomicU64::new(0));
    let mut peer = crate::peer::Peer::connect(&fixture.address(), &server, [41; 32]).await;
    let counted = Arc::clone(&flooded);
    let flood = async move {
        let mut sent = 0u64;
        loop {
            // It sends PINGs without waiting for them, and reads answers now and then.
            peer.room().await;
            for _ in 0..200 {
                peer.frame(2, 0, 0, &[7; 8]);
            }
            sent += 200;
            counted.store(sent, Ordering::Relaxed);
            for _ in 0..200 {
                let frame = peer.next().await;
                if frame.ty == 4 && frame.stream == 0 {
                    return (
                        u16::from_be_bytes([frame.payload[0], frame.payload[1]]),
                        sent,
                    );
                }
            }
        }
    };
    let (code, sent) = timeout(Duration::from_secs(60), flood).await.unwrap();
    assert_eq!(code, 9, "POLICY_REJECTED");
    assert!(sent >= 16_000, "{sent}");
    let peer = fixture.gateway.listening().peer();
    assert_eq!(
        hello(&Node::client().unwrap(), &peer).await.unwrap(),
        b"hello"
    );
}
