//! Peers of version 1.1, and nodes of 1.2 between them. The client and the server are written from the profile's chapter 9, and
//! share no code with the crates.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use betanet_carrier::Received;
use betanet_carrier::client::{Way, connect_quic};
use betanet_compat11::{Command, Event, Input, Leg, Reading, Transmit};
use betanet_machine::Machine as _;
use betanet_runtime::{Certificate, Gateway, Identity, Node, Peer, Plain, Server11, Trust};
use betanet_wire::{Code, NodeId};
use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use crate::peer::{self, Io, base64url, expand, extract, sha, tls};
use crate::{Fixture, content};

fn hkdf<const N: usize>(key: &[u8], salt: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    expand(&extract(salt, key), b"", &mut out);
    out
}

fn hour() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        / 3600
}

/// Returns the ticket of the client with this secret, for a server's key.
fn ticket(client: [u8; 32], key: &[u8; 32], id: &[u8; 8]) -> String {
    let salt = sha(&[b"betanet-ticket-v1", id, &hour().to_be_bytes()]);
    let proof: [u8; 32] = hkdf(&x25519(client, *key), &salt);
    let public = x25519(client, X25519_BASEPOINT_BYTES);
    let parts: [&[u8]; 6] = [&[1], &public, id, &[5; 32], &proof, &[0; 24]];
    base64url(&parts.concat())
}

/// The key of one direction.
struct Key {
    key: [u8; 32],
    counter: u64,
}

impl Key {
    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce: [u8; 12] = hkdf(&self.key, b"ns");
        for (n, c) in nonce.iter_mut().zip(self.counter.to_le_bytes()) {
            *n ^= c;
        }
        self.counter += 1;
        nonce
    }
}

/// One end of a leg.
pub(crate) struct End {
    mine: Key,
    theirs: Key,
    out: h2::SendStream<Bytes>,
    body: h2::RecvStream,
    rx: Vec<u8>,
    pub(crate) got: BTreeMap<u8, Vec<u8>>,
    closed: bool,
}

impl End {
    fn new(
        keys: &[u8; 64],
        client: bool,
        out: h2::SendStream<Bytes>,
        body: h2::RecvStream,
    ) -> Self {
        let half = |at: usize| Key {
            key: keys[at..at + 32].try_into().unwrap(),
            counter: 0,
        };
        let (mine, theirs) = if client { (0, 32) } else { (32, 0) };
        Self {
            mine: half(mine),
            theirs: half(theirs),
            out,
            body,
            rx: Vec::new(),
            got: BTreeMap::new(),
            closed: false,
        }
    }

    fn frame(&mut self, ty: u8, id: &[u8], plain: &[u8]) {
        let nonce = self.mine.nonce();
        let sealed = peer::seal(&self.mine.key, nonce, b"", plain);
        let len = u32::try_from(plain.len()).unwrap().to_be_bytes();
        let bytes = [&len[1..], &[ty], id, &sealed].concat();
        // A node that ends the leg may do so between two frames. `next` reports it.
        let _ = self.out.send_data(bytes.into(), false);
    }

    pub(crate) fn stream(&mut self, id: u8, bytes: &[u8]) {
        self.frame(0, &[id], bytes);
    }

    /// Reads one frame, and returns its credit at once.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if self.rx.len() >= 5 {
                let len = usize::from(self.rx[0]) << 16
                    | usize::from(self.rx[1]) << 8
                    | usize::from(self.rx[2]);
                let at = 4 + usize::from(matches!(self.rx[3], 0 | 4));
                if self.rx.len() >= at + len + 16 {
                    let frame: Vec<u8> = self.rx.drain(..at + len + 16).collect();
                    let nonce = self.theirs.nonce();
                    let plain = peer::open(&self.theirs.key, nonce, b"", &frame[at..]).unwrap();
                    match frame[3] {
                        0 => {
                            let credit = u32::try_from(plain.len()).unwrap().to_be_bytes();
                            self.frame(4, &[frame[4]], &credit);
                            self.got
                                .entry(frame[4])
                                .or_default()
                                .extend_from_slice(&plain);
                        }
                        2 => self.closed = true,
                        3 => {
                            self.theirs = Key {
                                key: hkdf(&self.theirs.key, b"next"),
                                counter: 0,
                            }
                        }
                        _ => {}
                    }
                    return Some((frame[3], plain));
                }
            }
            let bytes = self.body.data().await?.ok()?;
            self.body
                .flow_control()
                .release_capacity(bytes.len())
                .unwrap();
            self.rx.extend_from_slice(&bytes);
        }
    }

    /// Reads until a stream has delivered so many bytes.
    async fn until(&mut self, id: u8, bytes: usize) -> Vec<u8> {
        while self.got.get(&id).is_none_or(|g| g.len() < bytes) {
            self.next().await.expect("more frames");
        }
        self.got.remove(&id).unwrap()
    }
}

/// The place of a client's ticket in the request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Cookie,
    Query,
    Form,
}

async fn send(
    requests: &mut h2::client::SendRequest<Bytes>,
    request: Request<()>,
    body: Option<Bytes>,
) -> u16 {
    let (response, mut out) = requests.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        out.send_data(body, true).unwrap();
    }
    response.await.unwrap().status().as_u16()
}

/// A client's connection whose writes can be held back until all of them leave in one record.
#[derive(Clone)]
struct Held {
    inner: Io,
    kept: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Held {
    fn hold(&self) {
        self.kept.lock().unwrap().get_or_insert_default();
    }

    /// Releases the held bytes once they contain `wanted`.
    async fn release(mut self, wanted: &[u8]) {
        let is_there = |kept: &Vec<u8>| kept.windows(wanted.len()).any(|w| w == wanted);
        while !self.kept.lock().unwrap().as_ref().is_some_and(is_there) {
            tokio::task::yield_now().await;
        }
        poll_fn(|cx| {
            // Nothing written meanwhile is sent first.
            let mut kept = self.kept.lock().unwrap();
            let bytes = kept.take().unwrap();
            let wrote = Pin::new(&mut self.inner).poll_write(cx, &bytes);
            assert!(matches!(wrote, Poll::Ready(Ok(n)) if n == bytes.len()));
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| Pin::new(&mut self.inner).poll_flush(cx))
            .await
            .unwrap();
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let kept = Arc::clone(&self.kept);
        let mut kept = kept.lock().unwrap();
        match &mut *kept {
            Some(kept) => {
                kept.extend_from_slice(buf);
                Poll::Ready(Ok(buf.len()))
            }
            None => Pin::new(&mut self.inner).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept.lock().unwrap().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Opens a client's leg. Returns the status if the answer is no leg.
pub(crate) async fn client(address: &str, ticket: &str, place: Place) -> Result<End, u16> {
    let tls = tls(address, b"h2").await;
    let mut keys = [0; 64];
    let exporter = tls.get_ref().1;
    exporter
        .export_keying_material(&mut keys[..], b"htx inner v1", Some(&[]))
        .unwrap();
    let held = Held {
        inner: Io(Arc::new(Mutex::new(tls))),
        kept: Arc::default(),
    };
    let builder = h2::client::Builder::new();
    let connecting = builder.handshake::<_, Bytes>(held.clone());
    let (mut requests, connection) = connecting.await.unwrap();
    tokio::spawn(connection);
    let request = |method| Request::builder().method(method);
    let mut post = request(Method::POST).uri("https://localhost/");
    match place {
        Place::Cookie => post = post.header("cookie", format!("a=b; __Host-bn1={ticket}")),
        Place::Query => {
            let uri = format!("https://localhost/index.html?q=1&bn1={ticket}");
            let get = request(Method::GET).uri(uri).body(()).unwrap();
            assert_eq!(send(&mut requests, get, None).await, 200, "as anybody");
        }
        Place::Form => {
            // A form counts only if it arrives in one record with its header section.
            held.hold();
            let form = request(Method::POST).uri("https://localhost/search");
            let form = form.header("content-type", "application/x-www-form-urlencoded");
            let body = Bytes::from(format!("q=1&bn1={ticket}"));
            let sent = send(&mut requests, form.body(()).unwrap(), Some(body.clone()));
            let (status, ()) = tokio::join!(sent, held.clone().release(&body));
            assert_eq!(status, 404, "as anybody");
        }
    }
    let (response, out) = requests
        .send_request(post.body(()).unwrap(), false)
        .unwrap();
    let mut early = Early { out, keys };
    early.first();
    let response = response.await.unwrap();
    let status = response.status().as_u16();
    if status != 200 || response.headers().contains_key("content-type") {
        return Err(status);
    }
    let mut end = End::new(&keys, true, early.out, response.into_body());
    // The counter includes the PING that was sent first.
    end.mine.counter = 1;
    Ok(end)
}

/// Data that a client sends before the answer: a PING.
struct Early {
    out: h2::SendStream<Bytes>,
    keys: [u8; 64],
}

impl Early {
    fn first(&mut self) {
        let key: [u8; 32] = self.keys[..32].try_into().unwrap();
        let nonce = Key { key, counter: 0 }.nonce();
        let sealed = peer::seal(&key, nonce, b"", b"hello");
        let bytes = [&[0, 0, 5, 1][..], &sealed].concat();
        // A refused leg is answered before it.
        let _ = self.out.send_data(bytes.into(), false);
    }
}

/// A server of 1.1 that echoes each stream's bytes in capitals, and reports how its legs end.
pub(crate) struct Server {
    pub(crate) at: Server11,
    ended: mpsc::UnboundedReceiver<bool>,
}

pub(crate) async fn server() -> Server {
    let secret = [77; 32];
    let (key, id) = (x25519(secret, X25519_BASEPOINT_BYTES), *b"old-key1");
    let own = Certificate::self_signed(&["localhost".into()]).unwrap();
    let certificate = betanet_carrier::CertSource::fixed(own);
    let pin = certificate.pin();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let (tell, ended) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let tls = acceptor.accept(tcp).await.unwrap();
                let mut keys = [0; 64];
                let exporter = tls.get_ref().1;
                exporter
                    .export_keying_material(&mut keys[..], b"htx inner v1", Some(&[]))
                    .unwrap();
                let closed = serve(tls, keys, secret, id).await;
                let _ = tell.send(closed);
            });
        }
    });
    let at = Server11 {
        address,
        key,
        id,
        pin: Some(pin),
    };
    Server { at, ended }
}

async fn serve<T>(tls: T, keys: [u8; 64], secret: [u8; 32], id: [u8; 8]) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = h2::server::handshake(tls).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let cookie = request.headers()["cookie"].to_str().unwrap();
    let text = cookie.strip_prefix("__Host-bn1=").unwrap();
    let bytes = betanet_wire::text::unbase64url(text).unwrap();
    assert!((129..=169).contains(&bytes.len()) && bytes[0] == 1 && bytes[33..41] == id);
    let client: [u8; 32] = bytes[1..33].try_into().unwrap();
    let salt = sha(&[b"betanet-ticket-v1", &id, &hour().to_be_bytes()]);
    let proof: [u8; 32] = hkdf(&x25519(secret, client), &salt);
    assert_eq!(bytes[73..105], proof, "the ticket");
    let out = respond
        .send_response(http::Response::new(()), false)
        .unwrap();
    let mut end = End::new(&keys, false, out, request.into_body());
    while let Some((ty, plain)) = end.next().await {
        if ty == 0 {
            let ids: Vec<u8> = end.got.keys().copied().collect();
            end.got.clear();
            end.stream(ids[0], &plain.to_ascii_uppercase());
        }
        if end.closed {
            end.frame(2, &[], b"");
            return true;
        }
    }
    false
}

/// Starts a gateway that joins sessions with legs to this server.
async fn before(server: &Server) -> Fixture {
    let dial = Some(server.at.clone());
    Fixture::start_as(3, |c| {
        c.legacy.accept = true;
        c.legacy.dial = dial;
    })
    .await
}

/// Starts a gateway that accepts legs and joins them with that peer.
async fn behind(to: &Peer) -> Fixture {
    let to = to.clone();
    Fixture::start_as(4, |c| {
        let tickets = c.node.key.with_file_name("tickets11.key");
        c.legacy.tickets = Some(tickets);
        c.legacy.to = Some(to);
    })
    .await
}

pub(crate) fn ticket_for(gateway: &Gateway, client: u8) -> String {
    let (key, id) = gateway.listening().tickets11.unwrap();
    ticket([client; 32], &key, &id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_1_1_reaches_a_server_of_1_1_over_two_nodes_of_1_2() {
    let mut server = server().await;
    let far = before(&server).await;
    let near = behind(&far.gateway.listening().peer()).await;
    for (n, place) in [Place::Cookie, Place::Query, Place::Form]
        .into_iter()
        .enumerate()
    {
        let ticket = ticket_for(&near.gateway, 10 + n as u8);
        let mut end = client(&near.address(), &ticket, place)
            .await
            .unwrap_or_else(|s| panic!("{place:?}: {s}"));
        assert_eq!(
            end.next().await,
            Some((1, b"hello".to_vec())),
            "the PING comes back"
        );
        let text = content(50_000).to_ascii_lowercase();
        for part in text.chunks(10_000) {
            end.stream(3, part);
        }
        end.stream(5, b"and another stream");
        assert!(end.until(3, text.len()).await == text.to_ascii_uppercase());
        assert_eq!(end.until(5, 18).await, b"AND ANOTHER STREAM");
        // Many windows, one credit after the other.
        for _ in 0..100 {
            end.stream(7, &[b'x'; 16_000]);
            assert_eq!(end.until(7, 16_000).await, [b'X'; 16_000]);
        }
        end.stream(3, b"the last words");
        end.frame(2, &[], b"");
        while end.next().await.is_some() {}
        assert!(end.closed, "CLOSE is answered");
        assert_eq!(
            server.ended.recv().await,
            Some(true),
            "the other leg's end is a CLOSE"
        );
    }
    assert_eq!(near.metric("betanet_legs_opened"), 3);
    assert_eq!(far.metric("betanet_legs_opened"), 3);
}

/// Returns a path header of 1.1 over these nodes. Its first segment has a signature that nobody can verify.
pub(crate) fn header(nodes: &[NodeId]) -> Vec<u8> {
    let mut bytes = vec![2, 1, 0, 8, 0, 0, 0, u8::try_from(nodes.len()).unwrap()];
    for (n, node) in nodes.iter().enumerate() {
        bytes.extend_from_slice(&node.0);
        bytes.extend_from_slice(&[0, 0, 0, 9]);
        let sig: &[u8] = if n == 0 { &[7; 64] } else { &[] };
        bytes.extend_from_slice(&u16::try_from(sig.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(sig);
    }
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_header_of_1_1_leads_over_nodes_of_1_2() {
    let server = server().await;
    let far = before(&server).await;
    let exit = far.gateway.listening().peer();
    let onward = |to: &Peer| vec![to.clone()];
    let second = Fixture::start_as(30, |c| c.relay.onward = onward(&exit)).await;
    let to = second.gateway.listening().peer();
    let first = Fixture::start_as(31, |c| c.relay.onward = onward(&to)).await;
    let entry = first.gateway.listening().peer();
    let near = Fixture::start_as(4, |c| {
        let tickets = c.node.key.with_file_name("tickets11.key");
        c.legacy.tickets = Some(tickets);
        c.legacy.to = Some(exit.clone());
        c.relay.onward = onward(&entry);
    })
    .await;
    let nodes = [&entry, &to, &exit].map(|p| p.key.node_id());
    let leg = async |seed: u8, header: &[u8]| {
        let ticket = ticket_for(&near.gateway, seed);
        let mut end = client(&near.address(), &ticket, Place::Cookie)
            .await
            .ok()
            .unwrap();
        for part in header.chunks(70) {
            end.stream(1, part);
        }
        end
    };
    let mut end = leg(70, &header(&nodes)).await;
    end.stream(3, b"over two relays");
    assert_eq!(end.until(3, 15).await, b"OVER TWO RELAYS");
    let passed = |f: &Fixture| {
        let onward = f.metric("betanet_paths_total{outcome=\"onward\"}");
        let exit = f.metric("betanet_paths_total{outcome=\"exit\"}");
        (onward, exit)
    };
    assert_eq!(
        [&first, &second, &far].map(passed),
        [(1, 0), (1, 0), (0, 1)]
    );
    // A path that consists of the peer alone needs no relay.
    let mut end = leg(71, &header(&nodes[2..])).await;
    end.stream(3, b"straight");
    assert_eq!(end.until(3, 8).await, b"STRAIGHT");
    assert_eq!(passed(&first), (1, 0));
    let elsewhere = header(&nodes[..2]);
    let unknown = header(&[NodeId([9; 20]), nodes[2]]);
    let unreached = header(&[nodes[0], NodeId([9; 20]), nodes[2]]);
    for (n, wrong) in [elsewhere, unknown, unreached, b"no header".to_vec()]
        .into_iter()
        .enumerate()
    {
        let mut end = leg(80 + u8::try_from(n).unwrap(), &wrong).await;
        let ended = async { while end.next().await.is_some() {} };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "{n}: the leg is broken off");
    }
    // This one arrives when the leg has already continued.
    let mut end = leg(90, b"").await;
    end.stream(3, b"first");
    assert_eq!(end.until(3, 5).await, b"FIRST");
    for part in header(&nodes).chunks(70) {
        end.stream(1, part);
    }
    while end.next().await.is_some() {}
    assert!(end.closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_right_ticket_sees_the_web_site() {
    let server = server().await;
    let far = before(&server).await;
    let near = behind(&far.gateway.listening().peer()).await;
    let right = ticket_for(&near.gateway, 20);
    let mut wrong = right.clone().into_bytes();
    wrong[120] = if wrong[120] == b'A' { b'B' } else { b'A' };
    let wrong = String::from_utf8(wrong).unwrap();
    let (key, id) = near.gateway.listening().tickets11.unwrap();
    let other = ticket([21; 32], &x25519([1; 32], X25519_BASEPOINT_BYTES), &id);
    let other_id = ticket([22; 32], &key, &[0; 8]);
    for ticket in [wrong.as_str(), &other, &other_id, "", "AAAA"] {
        let refused = client(&near.address(), ticket, Place::Cookie).await;
        assert_eq!(refused.err(), Some(405));
    }
    let end = client(&near.address(), &right, Place::Cookie).await;
    assert!(end.is_ok());
    let again = client(&near.address(), &right, Place::Cookie).await;
    assert_eq!(again.err(), Some(405), "a second time");
    let unasked = client(&far.address(), &right, Place::Cookie).await;
    assert_eq!(unasked.err(), Some(405), "who takes no legs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_speak_with_1_1_takes_no_session_for_it() {
    let plain = Fixture::start(|_| {}).await;
    let near = behind(&plain.gateway.listening().peer()).await;
    let ticket = ticket_for(&near.gateway, 30);
    let mut end = client(&near.address(), &ticket, Place::Cookie)
        .await
        .ok()
        .unwrap();
    let ended = async { while end.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ended)
        .await
        .expect("the leg is broken off");
    assert_eq!(plain.metric("betanet_sessions_opened"), 0);
}

const TRANSLATED: &str = "betanet/htx/1.1.0";

/// A translating node of another implementation. Its session states 1.1, and binds that into the keys as the profile requires.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_for_a_peer_of_1_1_is_joined_with_the_server() {
    let mut server = server().await;
    let far = before(&server).await;
    let key = *far.gateway.listening().key.as_bytes();
    for seed in [[6; 32], [8; 32]] {
        let mut peer = peer::Peer::connect_as(&far.address(), &key, seed, TRANSLATED).await;
        peer.stream(3, 0, b"\x20what the server of 1.1 sees", true);
        let mut got = Vec::new();
        while got.len() < 26 {
            let frame = peer.next().await;
            if (frame.ty, frame.stream) == (0, 3) {
                got.extend_from_slice(&frame.payload[11..]);
            }
        }
        assert_eq!(got, b"WHAT THE SERVER OF 1.1 SEES"[..got.len()]);
        peer.frame(4, 0, 0, &[0, 0, 0, 0]);
        assert_eq!(server.ended.recv().await, Some(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_spoken_1_2_is_not_spoken_1_1_with() {
    let server = server().await;
    let far = before(&server).await;
    let peer = far.gateway.listening().peer();
    let near = behind(&peer).await;
    let identity = Identity::from_seed(&[50; 32]);
    let node = Node::new(Some(identity.clone()), betanet_htx::Config::default()).unwrap();
    let session = node
        .connect(&near.gateway.listening().peer())
        .await
        .unwrap();
    session.close().await;
    let (key, id) = near.gateway.listening().tickets11.unwrap();
    let ticket = |seed: u8| ticket(*Identity::from_seed(&[seed; 32]).x25519(), &key, &id);
    let refused = client(&near.address(), &ticket(50), Place::Cookie).await;
    assert_eq!(refused.err(), Some(405));
    assert!(
        client(&near.address(), &ticket(51), Place::Cookie)
            .await
            .is_ok()
    );
    // The same for a session that states 1.1.
    let far_key = *far.gateway.listening().key.as_bytes();
    let second = peer::Peer::connect(&far.address(), &far_key, [52; 32]).await;
    drop(second);
    let mut again = peer::Peer::connect_as(&far.address(), &far_key, [52; 32], TRANSLATED).await;
    let frame = again.next().await;
    assert_eq!((frame.ty, frame.stream), (4, 0), "CLOSE");
    assert_eq!(frame.payload[..2], Code::AUTH_FAILED.0.to_be_bytes());
    // This is remembered over a restart.
    assert!(near.gateway.shutdown().await);
    let mut config = near.config.clone();
    config.listener.listen = vec!["127.0.0.1:0".into()];
    let started = Gateway::start(Identity::from_seed(&[4; 32]), &config)
        .await
        .unwrap();
    let refused = client(
        &started.listening().addresses[0],
        &ticket(50),
        Place::Cookie,
    )
    .await;
    assert_eq!(refused.err(), Some(405));
    assert!(
        client(
            &started.listening().addresses[0],
            &ticket(53),
            Place::Cookie
        )
        .await
        .is_ok()
    );
}

/// The same over QUIC, with the crate's own leg.
#[tokio::test(flavor = "multi_thread")]
async fn a_leg_goes_over_quic_too() {
    let server = server().await;
    let far = before(&server).await;
    let near = behind(&far.gateway.listening().peer()).await;
    let trust = Trust::Anything;
    let address = near.address();
    let outer = connect_quic(&address, &trust, Way::default(), &Plain)
        .await
        .unwrap();
    let ticket = ticket_for(&near.gateway, 60);
    let reading = Reading::PROFILE;
    let mut carrier = outer.open11(&reading, &ticket).await.unwrap();
    let mut keys = [0; 64];
    carrier.export_as(reading.exporter, &[], &mut keys).unwrap();
    let now = betanet_machine::Now {
        mono: betanet_machine::Time::ZERO,
        unix_ms: 0,
    };
    let mut leg = Leg::new(now, true, &keys, reading);
    leg.handle_command(now, Command::Open).unwrap();
    let data = Bytes::from_static(b"over quic");
    leg.handle_command(now, Command::Write { stream: 3, data })
        .unwrap();
    let mut got = Vec::new();
    poll_fn(|cx| {
        while let Some(Transmit::Bytes(bytes)) = leg.poll_transmit() {
            assert!(carrier.poll_ready(cx).is_ready());
            carrier.send(bytes).unwrap();
        }
        carrier.push(cx);
        while let Poll::Ready(Ok(Received::Bytes(bytes))) = carrier.poll_receive(cx) {
            leg.handle_input(now, Input::Bytes(bytes)).unwrap();
        }
        while let Some(event) = leg.poll_event() {
            if let Event::Data { data, .. } = event {
                got.extend_from_slice(&data);
            }
        }
        if got == b"OVER QUIC" {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
