//! Sessions over QUIC: bodies, a client that moves, networks that block UDP, and the view of everybody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use betanet_runtime::{DialError, Headers, Method, Node, Peer, Plain, Request, Transport, visit};
use bytes::{Buf as _, Bytes};
use h3::error::{Code, StreamError};
use tokio::net::UdpSocket;

use crate::cover::{ALL, Seen, bad_message};
use crate::peer::{Ticket, post, quic};
use crate::{Fixture, content, write};

const LOOPBACK: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

/// Returns the same peer with another QUIC address.
fn moved(peer: &Peer, to: SocketAddr) -> Peer {
    let mut peer = peer.clone();
    for address in &mut peer.addrs {
        if address.starts_with("quic:") {
            *address = format!("quic:{to}");
        }
    }
    peer
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways_over_quic() {
    move_bodies(Node::client().unwrap()).await;
    move_bodies(Node::client().unwrap().with_fingerprint(Arc::new(Plain))).await;
}

async fn move_bodies(node: Node) {
    let fixture = Fixture::start(|c| c.folder.writable = true).await;
    let node = node.with_transport(Transport::Quic);
    let peer = fixture.gateway.listening().peer();
    let session = node.session(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h3");
    let bytes = content(3_000_000);
    let put = Request::new(Method::Put, "/up.bin", Headers::default());
    let upload = session.upload(put).await.unwrap();
    for part in bytes.chunks(50_000) {
        upload.send(Bytes::copy_from_slice(part)).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap().head.status, 201);
    assert_eq!(std::fs::read(fixture.served("up.bin")).unwrap(), bytes);
    let mut answer = session.ask(get("/up.bin")).await.unwrap();
    assert_eq!(answer.body.all(4_000_000).await.unwrap().unwrap(), bytes);
    session.rekey().await.unwrap();
    session.ping().await.unwrap();
    session.close().await;
    assert!(fixture.gateway.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_has_both_is_reached_over_quic_and_a_wrong_pin_is_refused() {
    let fixture = Fixture::start(|_| {}).await;
    let mut peer = fixture.gateway.listening().peer();
    let node = Node::client().unwrap();
    let session = node.connect(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h3");
    assert_eq!(session.outer().instead, None);
    session.close().await;
    peer.pin = Some([7; 32]);
    let refused = node.with_transport(Transport::Quic).connect(&peer).await;
    let Err(DialError::Outer { source, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(source, betanet_carrier::Error::Pin), "{source:?}");
    peer.addrs.retain(|a| !a.starts_with("quic:"));
    let only = Node::client().unwrap().with_transport(Transport::Quic);
    assert!(matches!(only.connect(&peer).await, Err(DialError::NoQuic)));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_udp_gets_through_it_goes_over_tcp_and_says_so() {
    let fixture = Fixture::start(|_| {}).await;
    // A socket that never answers.
    let silent = UdpSocket::bind(LOOPBACK).await.unwrap();
    let peer = moved(
        &fixture.gateway.listening().peer(),
        silent.local_addr().unwrap(),
    );
    let node = Node::client().unwrap();
    let session = node.connect(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h2");
    let why = session.outer().instead.clone();
    assert_eq!(why.as_deref(), Some("QUIC is not answered"));
    let mut answer = session.ask(get("/hello.txt")).await.unwrap();
    assert_eq!(answer.body.all(10).await.unwrap().unwrap(), b"hello");
    // It is not tried again for a while.
    let again = node.connect(&peer).await.unwrap();
    assert_eq!(
        (again.outer().alpn.as_str(), &again.outer().instead),
        ("h2", &None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_quic_is_reached_and_says_so_in_its_address() {
    let fixture = Fixture::start(|c| c.listener.quic = false).await;
    let peer = fixture.gateway.listening().peer();
    assert!(peer.addrs.iter().all(|a| !a.starts_with("quic:")));
    let session = Node::client().unwrap().connect(&peer).await.unwrap();
    assert_eq!(session.outer().alpn, "h2");
}

/// Carries datagrams between a client and `to`. After a signal, it uses another port, like a NAT that has lost its state.
async fn nat(to: SocketAddr, turn: Arc<AtomicBool>, carried: Arc<AtomicU64>) -> SocketAddr {
    let inside = UdpSocket::bind(LOOPBACK).await.unwrap();
    let at = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let mut outside = UdpSocket::bind(LOOPBACK).await.unwrap();
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((n, from)) = inside.recv_from(&mut up) => {
                    if turn.swap(false, Ordering::Relaxed) {
                        outside = UdpSocket::bind(LOOPBACK).await.unwrap();
                    }
                    client = Some(from);
                    outside.send_to(&up[..n], to).await.unwrap();
                }
                Ok((n, _)) = outside.recv_from(&mut down) => if let Some(client) = client {
                    carried.fetch_add(n as u64, Ordering::Relaxed);
                    inside.send_to(&down[..n], client).await.unwrap();
                },
            }
        }
    });
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_address_changes_keeps_its_session() {
    for node in [
        Node::client().unwrap(),
        Node::client().unwrap().with_fingerprint(Arc::new(Plain)),
    ] {
        let fixture = Fixture::start(|_| {}).await;
        let bytes = content(4_000_000);
        write(&fixture.served("big.bin"), &bytes);
        let peer = fixture.gateway.listening().peer();
        let quic = peer.addrs.iter().find_map(|a| a.strip_prefix("quic:"));
        let (turn, carried) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let at = nat(
            quic.unwrap().parse().unwrap(),
            Arc::clone(&turn),
            Arc::clone(&carried),
        )
        .await;
        let node = node.with_transport(Transport::Quic);
        let session = node.connect(&moved(&peer, at)).await.unwrap();
        let mut answer = session.ask(get("/big.bin")).await.unwrap();
        let mut got = Vec::new();
        while let Some(part) = answer.body.chunk().await.unwrap() {
            let before = got.len();
            got.extend_from_slice(&part);
            if before < 1_000_000 && got.len() >= 1_000_000 {
                turn.store(true, Ordering::Relaxed);
            }
        }
        assert!(!turn.load(Ordering::Relaxed), "it has moved");
        assert!(got == bytes);
        assert!(carried.load(Ordering::Relaxed) > 4_000_000);
        let transcript = session.facts().await.unwrap().transcript;
        let mut answer = session.ask(get("/hello.txt")).await.unwrap();
        assert_eq!(answer.body.all(10).await.unwrap().unwrap(), b"hello");
        assert_eq!(session.facts().await.unwrap().transcript, transcript);
    }
}

async fn send(address: &str, server: &[u8; 32], kind: Ticket, body: &[u8]) -> Seen {
    let (connection, ekm0) = quic(address).await;
    let quic = h3_quinn::Connection::new(connection.clone());
    let (mut http, mut requests) = h3::client::new(quic).await.unwrap();
    let drive = tokio::spawn(async move { http.wait_idle().await });
    let request = post(kind, &ekm0, server, "the-very-same-label");
    let mut stream = requests.send_request(request).await.unwrap();
    let sent = match stream.send_data(Bytes::copy_from_slice(body)).await {
        Ok(()) => stream.finish().await,
        stopped => stopped,
    };
    // A server that has answered may stop reading the body (RFC 9114 §4.1.1).
    if let Err(error) = sent {
        let code = Code::H3_NO_ERROR;
        assert!(matches!(error, StreamError::RemoteTerminate { code: c, .. } if c == code));
    }
    let head = stream.recv_response().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(mut part) = stream.recv_data().await.unwrap() {
        bytes.extend_from_slice(&part.copy_to_bytes(part.remaining()));
    }
    drive.abort();
    let headers = head
        .headers()
        .iter()
        .filter(|(k, _)| *k != "date")
        .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
        .collect();
    (head.status().as_u16(), headers, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_post_is_answered_over_http_3_as_the_site_answers_a_post() {
    let fixture = Fixture::start(|_| {}).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let want = send(&fixture.address(), &server, Ticket::None, b"").await;
    assert_eq!(want.0, 405);
    for kind in ALL {
        for body in [&b""[..], b"x", &bad_message(), &[0xff; 5000]] {
            let seen = send(&fixture.address(), &server, kind, body).await;
            assert_eq!(seen, want, "{kind:?} {}", body.len());
        }
    }
    assert!(fixture.metric("betanet_tickets_refused_total") > 0);
    assert!(fixture.metric("betanet_handshakes_refused_total") > 0);
    assert_eq!(fixture.gateway.sessions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_see_the_site_over_http_3() {
    let fixture = Fixture::start(|_| {}).await;
    let (facts, status, _) = visit(&format!("quic:{}", fixture.address())).await.unwrap();
    assert_eq!((facts.alpn.as_str(), status), ("h3", 200));
}
