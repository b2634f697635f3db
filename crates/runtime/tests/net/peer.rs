//! A second client, written from the profile's chapters. It shares cryptography and TLS settings with the crates, but no protocol
//! code.

#[path = "peer/faults.rs"]
mod faults;

use std::sync::{Arc, Mutex};

use betanet_carrier::testkit::Anybody;
use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use ed25519_dalek::{SigningKey, VerifyingKey};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) type Tls = Arc<Mutex<TlsStream<TcpStream>>>;

#[derive(Clone)]
pub(crate) struct Io(pub(crate) Tls);

impl AsyncRead for Io {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_write(cx, buf)
    }
    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_flush(cx)
    }
    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut *self.0.lock().unwrap()).poll_shutdown(cx)
    }
}

fn tls_config(alpn: &[u8]) -> rustls::ClientConfig {
    config_of(&rustls::version::TLS13, alpn)
}

fn config_of(
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &[u8],
) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody::default()))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// TLS settings of a QUIC client that trusts any certificate.
pub(crate) fn crypto() -> Arc<quinn::crypto::rustls::QuicClientConfig> {
    let config = tls_config(b"h3");
    Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap())
}

/// Opens a QUIC connection, and returns its exporter's output for epoch 0.
pub(crate) async fn quic(address: &str) -> (quinn::Connection, [u8; 32]) {
    let config = quinn::ClientConfig::new(crypto());
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connecting = endpoint.connect_with(config, address.parse().unwrap(), "localhost");
    let connection = connecting.unwrap().await.unwrap();
    let mut ekm0 = [0; 32];
    let label = b"betanet/1.2/inner";
    connection
        .export_keying_material(&mut ekm0, label, &[0xa0])
        .unwrap();
    (connection, ekm0)
}

pub(crate) async fn tls(address: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
    tls_over(TcpStream::connect(address).await.unwrap(), alpn).await
}

/// The same over TLS 1.2.
pub(crate) async fn tls12(address: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(address).await.unwrap();
    with(config_of(&rustls::version::TLS12, alpn), tcp).await
}

async fn tls_over(tcp: TcpStream, alpn: &[u8]) -> TlsStream<TcpStream> {
    with(tls_config(alpn), tcp).await
}

async fn with(config: rustls::ClientConfig, tcp: TcpStream) -> TlsStream<TcpStream> {
    tcp.set_nodelay(true).unwrap();
    let name = "localhost".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

pub(crate) fn sha(parts: &[&[u8]]) -> [u8; 32] {
    let mut h = Sha256::new();
    parts.iter().for_each(|p| h.update(p));
    h.finalize().into()
}

pub(crate) fn extract(salt: &[u8], ikm: &[u8]) -> [u8; 32] {
    Hkdf::<Sha256>::extract(Some(salt), ikm).0.into()
}

pub(crate) fn expand(secret: &[u8; 32], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(secret)
        .unwrap()
        .expand(info, out)
        .unwrap();
}

fn label<const N: usize>(secret: &[u8; 32], name: &str) -> [u8; N] {
    let mut out = [0; N];
    expand(secret, &[b"betanet ", name.as_bytes()].concat(), &mut out);
    out
}

pub(crate) fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher
        .encrypt(&Nonce::from(nonce), Payload { msg, aad })
        .unwrap()
}

pub(crate) fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], msg: &[u8]) -> Option<Vec<u8>> {
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    cipher
        .decrypt(&Nonce::from(nonce), Payload { msg, aad })
        .ok()
}

/// Noise's SymmetricState, revision 34.
pub(crate) struct Noise {
    ck: [u8; 32],
    h: [u8; 32],
    k: [u8; 32],
    n: u64,
}

impl Noise {
    fn new(prologue: &[u8]) -> Self {
        let h = *b"Noise_XK_25519_ChaChaPoly_SHA256";
        let mut this = Self {
            ck: h,
            h,
            k: [0; 32],
            n: 0,
        };
        this.mix_hash(prologue);
        this
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = sha(&[&self.h, data]);
    }

    fn mix_key(&mut self, dh: [u8; 32]) {
        let prk = extract(&self.ck, &dh);
        let mut out = [0; 64];
        expand(&prk, b"", &mut out);
        self.ck.copy_from_slice(&out[..32]);
        self.k.copy_from_slice(&out[32..]);
        self.n = 0;
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.n.to_le_bytes());
        self.n += 1;
        nonce
    }

    fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let (nonce, k) = (self.nonce(), self.k);
        let out = seal(&k, nonce, &self.h, plain);
        self.mix_hash(&out);
        out
    }

    fn decrypt(&mut self, sealed: &[u8]) -> Vec<u8> {
        let (nonce, k) = (self.nonce(), self.k);
        let out = open(&k, nonce, &self.h, sealed).unwrap();
        self.mix_hash(sealed);
        out
    }
}

/// Begins a handshake. Returns its state, the ephemeral secret, and the first message with its length.
pub(crate) fn begin(
    ekm0: &[u8; 32],
    server: &[u8; 32],
    seed: &[u8; 32],
) -> (Noise, [u8; 32], Vec<u8>) {
    let remote = VerifyingKey::from_bytes(server)
        .unwrap()
        .to_montgomery()
        .to_bytes();
    let mut noise = Noise::new(&[b"betanet/1.2".as_slice(), ekm0, server].concat());
    noise.mix_hash(&remote);
    let ephemeral = sha(&[seed, b"ephemeral"]);
    let ephemeral_public = x25519_dalek::x25519(ephemeral, x25519_dalek::X25519_BASEPOINT_BYTES);
    noise.mix_hash(&ephemeral_public);
    noise.mix_key(x25519_dalek::x25519(ephemeral, remote));
    let sealed = noise.encrypt(b"");
    let m1 = [&[0, 48][..], &ephemeral_public, &sealed].concat();
    (noise, ephemeral, m1)
}

/// The key of one direction.
#[derive(Clone, Default)]
struct Direction {
    ts: [u8; 32],
    counter: u64,
}

impl Direction {
    fn next(&mut self) {
        self.ts = label(&self.ts, "next");
        self.counter = 0;
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce: [u8; 12] = label(&self.ts, "nonce");
        for (n, c) in nonce.iter_mut().zip(self.counter.to_le_bytes()) {
            *n ^= c;
        }
        self.counter += 1;
        nonce
    }
}

pub(crate) struct Frame {
    pub(crate) ty: u8,
    pub(crate) stream: u32,
    pub(crate) mark: u16,
    pub(crate) payload: Vec<u8>,
}

/// The other implementation, connected.
pub(crate) struct Peer {
    tls: Tls,
    out: h2::SendStream<Bytes>,
    body: h2::RecvStream,
    rx: Vec<u8>,
    send: Direction,
    /// The key before the last KEY_UPDATE.
    before: Direction,
    receive: Direction,
    pub(crate) decided: bool,
}

/// A connection with handshakes that are never finished.
pub(crate) struct HalfOpen {
    ekm0: [u8; 32],
    seed: [u8; 32],
    requests: h2::client::SendRequest<Bytes>,
    drive: tokio::task::JoinHandle<Result<(), h2::Error>>,
    open: Vec<(h2::SendStream<Bytes>, Option<h2::RecvStream>)>,
}

impl HalfOpen {
    pub(crate) async fn connect(address: &str, seed: [u8; 32]) -> Self {
        let tls = tls(address, b"h2").await;
        let ekm0 = export(&tls, &[0xa0]);
        let tls = Io(Arc::new(Mutex::new(tls)));
        let (requests, connection) = h2::client::handshake(tls).await.unwrap();
        Self {
            ekm0,
            seed,
            requests,
            drive: tokio::spawn(connection),
            open: Vec::new(),
        }
    }

    /// Sends a valid ticket and message 1. Returns the status of the answer, and leaves its body unread.
    pub(crate) async fn knock(&mut self, server: &[u8; 32], label: &str) -> u16 {
        let request = post(Ticket::Right, &self.ekm0, server, label);
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, mut out) = requests.send_request(request, false).unwrap();
        let (_, _, m1) = begin(&self.ekm0, server, &self.seed);
        // A client over the limit is answered at its headers, maybe before this.
        let _ = out.send_data(m1.into(), false);
        let response = response.await.unwrap();
        let status = response.status().as_u16();
        self.open.push((out, Some(response.into_body())));
        status
    }

    /// Sends a whole POST with a ticket of this kind. Returns the status of the answer, whose body is read.
    pub(crate) async fn post(&mut self, kind: Ticket, server: &[u8; 32], label: &str) -> u16 {
        let request = post(kind, &self.ekm0, server, label);
        self.whole(request).await.0
    }

    /// Fetches the first page of the site.
    pub(crate) async fn page(&mut self) -> (u16, Vec<u8>) {
        let get = http::Request::get("https://localhost/").version(http::Version::HTTP_2);
        self.whole(get.body(()).unwrap()).await
    }

    async fn whole(&mut self, request: http::Request<()>) -> (u16, Vec<u8>) {
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, _) = requests.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        let (status, mut body) = (response.status().as_u16(), response.into_body());
        let mut bytes = Vec::new();
        while let Some(part) = body.data().await {
            bytes.extend_from_slice(&part.unwrap());
        }
        (status, bytes)
    }

    /// Sends a valid ticket and nothing more. Returns the status of the answer once it arrives.
    pub(crate) async fn ticket(
        &mut self,
        server: &[u8; 32],
        label: &str,
    ) -> impl Future<Output = u16> + use<> {
        let request = post(Ticket::Right, &self.ekm0, server, label);
        let mut requests = self.requests.clone().ready().await.unwrap();
        let (response, out) = requests.send_request(request, false).unwrap();
        self.open.push((out, None));
        async { response.await.unwrap().status().as_u16() }
    }
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.drive.abort();
    }
}

fn text(out: &mut Vec<u8>, t: &str) {
    match t.len() {
        n @ 0..=23 => out.push(0x60 | n as u8),
        n => out.extend_from_slice(&[0x78, u8::try_from(n).unwrap()]),
    }
    out.extend_from_slice(t.as_bytes());
}

/// Returns `{"l2": [htx], "l3": [mesh], "l4": [], "l5": [], "l7": [bar], "features": {}}`, with an unknown entry of `unknown`
/// bytes if that is not 0.
fn capabilities(htx: &str, unknown: usize) -> Vec<u8> {
    let mut out = vec![0xa6 + u8::from(unknown > 0)];
    for (key, id) in [
        ("l2", htx),
        ("l3", "betanet/mesh/1.2.0"),
        ("l4", ""),
        ("l5", ""),
        ("l7", "betanet/bar/1.2.0"),
    ] {
        text(&mut out, key);
        if id.is_empty() {
            out.push(0x80);
        } else {
            out.push(0x81);
            text(&mut out, id);
        }
    }
    text(&mut out, "features");
    out.push(0xa0);
    if unknown > 0 {
        text(&mut out, "something");
        out.push(0x5a);
        out.extend_from_slice(&u32::try_from(unknown).unwrap().to_be_bytes());
        out.resize(out.len() + unknown, 0);
    }
    out
}

fn selection_entries(htx: &str, out: &mut Vec<u8>) {
    for (key, id) in [
        ("l2", htx),
        ("l3", "betanet/mesh/1.2.0"),
        ("l4", ""),
        ("l5", ""),
        ("l7", "betanet/bar/1.2.0"),
    ] {
        text(out, key);
        text(out, id);
    }
}

fn message(cbor: &[u8]) -> Vec<u8> {
    [&u32::try_from(cbor.len()).unwrap().to_be_bytes(), cbor].concat()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    const SET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    bytes
        .chunks(3)
        .flat_map(|c| {
            let n = u32::from(c[0]) << 16 | u32::from(c[1]) << 8 | u32::from(c[2]);
            [18, 12, 6, 0].map(|s| char::from(SET[(n >> s & 63) as usize]))
        })
        .collect()
}

/// Ways to make a ticket invalid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ticket {
    Right,
    None,
    Malformed,
    Wrong,
    RightButBadMessage,
    OtherConnection,
}

pub(crate) fn export(tls: &TlsStream<TcpStream>, context: &[u8]) -> [u8; 32] {
    tls.get_ref()
        .1
        .export_keying_material([0; 32], b"betanet/1.2/inner", Some(context))
        .unwrap()
}

pub(crate) fn ticket(ekm0: &[u8; 32], server: &[u8; 32], ctx: &str) -> String {
    let prk = extract(server, ekm0);
    let mut tok = [0; 120];
    expand(&prk, &[b"BN-Ticket v1", ctx.as_bytes()].concat(), &mut tok);
    format!("v=v1, tok=:{}:, ctx=\"{ctx}\"", base64url(&tok))
}

pub(crate) fn post(
    kind: Ticket,
    ekm0: &[u8; 32],
    server: &[u8; 32],
    ctx: &str,
) -> http::Request<()> {
    let mut request = http::Request::post("https://localhost/").version(http::Version::HTTP_2);
    let value = match kind {
        Ticket::None => None,
        Ticket::Malformed => Some("v=v1, tok=:abc:, ctx=\"x\"".into()),
        Ticket::Wrong => Some(ticket(ekm0, &[9; 32], ctx)),
        Ticket::OtherConnection => Some(ticket(&[8; 32], server, ctx)),
        Ticket::Right | Ticket::RightButBadMessage => Some(ticket(ekm0, server, ctx)),
    };
    if let Some(value) = value {
        request = request.header("bn-ticket", value);
    }
    request.body(()).unwrap()
}

impl Peer {
    /// Performs the handshake and the negotiation, up to the first frames of epoch 1.
    pub(crate) async fn connect(address: &str, server: &[u8; 32], seed: [u8; 32]) -> Self {
        Self::connect_as(address, server, seed, "betanet/htx/1.2.0").await
    }

    /// The same, offering only this version of L2.
    pub(crate) async fn connect_as(
        address: &str,
        server: &[u8; 32],
        seed: [u8; 32],
        htx: &str,
    ) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        Self::connect_over(tcp, server, seed, (htx, 0)).await
    }

    /// The same over this connection. The second element of `offer` is as in [`capabilities`].
    pub(crate) async fn connect_over(
        tcp: TcpStream,
        server: &[u8; 32],
        seed: [u8; 32],
        offer: (&str, usize),
    ) -> Self {
        let (mut this, noise_secret) = Self::shake(tcp, server, seed).await;
        this.negotiate(&noise_secret, offer).await;
        this
    }

    /// Performs the handshake. Returns the secret too, for the keys of epoch 1.
    async fn shake(tcp: TcpStream, server: &[u8; 32], seed: [u8; 32]) -> (Self, [u8; 32]) {
        let tls = tls_over(tcp, b"h2").await;
        let ekm0 = export(&tls, &[0xa0]);
        let tls = Arc::new(Mutex::new(tls));
        let (mut requests, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 21)
            .handshake(Io(Arc::clone(&tls)))
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = post(Ticket::Right, &ekm0, server, "second-client-01");
        let (response, mut out) = requests.send_request(request, false).unwrap();

        let identity = SigningKey::from_bytes(&seed);
        let public = identity.verifying_key().to_bytes();
        let own = curve25519_dalek::scalar::clamp_integer(identity.to_scalar_bytes());
        let (mut noise, ephemeral, m1) = begin(&ekm0, server, &seed);
        out.send_data(m1.into(), false).unwrap();

        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut this = Self {
            tls,
            out,
            body: response.into_body(),
            rx: Vec::new(),
            send: Direction::default(),
            before: Direction::default(),
            receive: Direction::default(),
            decided: public_hash(&public) < public_hash(server),
        };
        let m2 = this.take(50).await;
        assert_eq!(m2[..2], [0, 48]);
        let theirs: [u8; 32] = m2[2..34].try_into().unwrap();
        noise.mix_hash(&theirs);
        noise.mix_key(x25519_dalek::x25519(ephemeral, theirs));
        assert!(noise.decrypt(&m2[34..]).is_empty());
        let own_public = x25519_dalek::x25519(own, x25519_dalek::X25519_BASEPOINT_BYTES);
        let sealed_static = noise.encrypt(&own_public);
        noise.mix_key(x25519_dalek::x25519(own, theirs));
        let sealed = noise.encrypt(&[public, [0; 32]].concat());
        this.raw([&[0, 128][..], &sealed_static, &sealed].concat());

        let mut keys = [0; 64];
        expand(&extract(&noise.ck, b""), b"", &mut keys);
        let noise_secret = extract(&noise.h, &keys);
        this.epoch(&noise_secret, &ekm0);
        (this, noise_secret)
    }

    fn epoch(&mut self, noise_secret: &[u8; 32], ekm: &[u8; 32]) {
        let k0 = extract(noise_secret, ekm);
        self.send = Direction {
            ts: label(&k0, "ts_c"),
            counter: 0,
        };
        self.receive = Direction {
            ts: label(&k0, "ts_s"),
            counter: 0,
        };
    }

    async fn negotiate(&mut self, noise_secret: &[u8; 32], (htx, unknown): (&str, usize)) {
        let ours = capabilities(htx, unknown);
        let parts = message(&ours);
        for (i, part) in parts.chunks(16_000).enumerate() {
            self.stream(1, i as u64 * 16_000, part, false);
        }
        let theirs = self.negotiation_message().await;
        let mut selection = vec![0xa5];
        selection_entries(htx, &mut selection);
        if self.decided {
            self.stream(1, parts.len() as u64, &message(&selection), false);
        } else {
            assert_eq!(self.negotiation_message().await, selection);
        }
        let translated = htx.starts_with("betanet/htx/1.1.");
        let mut context = vec![0xa8 + u8::from(translated)];
        selection_entries(htx, &mut context);
        if translated {
            text(&mut context, "compat");
            text(&mut context, "1.1");
        }
        text(&mut context, "template");
        context.extend_from_slice(&[0x58, 32]);
        context.extend_from_slice(&[0; 32]);
        text(&mut context, "caps_client");
        context.extend_from_slice(&ours);
        text(&mut context, "caps_server");
        context.extend_from_slice(&theirs);
        let ekm1 = export(&self.tls.lock().unwrap(), &context);
        self.epoch(noise_secret, &ekm1);
        self.frame(1, 0, 0, &[&[0][..], &196_609u32.to_be_bytes()].concat());
        let first = self.next().await;
        assert_eq!((first.ty, first.stream), (1, 0));
        assert_eq!(
            first.payload,
            [&[0][..], &196_609u32.to_be_bytes()].concat()
        );
    }

    async fn negotiation_message(&mut self) -> Vec<u8> {
        let frame = self.next().await;
        assert_eq!((frame.ty, frame.stream), (0, 1));
        let message = frame.payload[11..].to_vec();
        let len = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
        assert_eq!(message.len(), 4 + len);
        message[4..].to_vec()
    }

    /// Waits until there is room for some more frames.
    pub(crate) async fn room(&mut self) -> Option<()> {
        self.out.reserve_capacity(1 << 15);
        while self.out.capacity() < 1 << 14 {
            let more = std::future::poll_fn(|cx| self.out.poll_capacity(cx));
            more.await?.ok()?;
        }
        Some(())
    }

    fn raw(&mut self, bytes: Vec<u8>) {
        self.out.send_data(bytes.into(), false).unwrap();
    }

    pub(crate) fn frame(&mut self, ty: u8, stream: u32, mark: u16, payload: &[u8]) {
        let len = u32::try_from(payload.len() + 23).unwrap().to_be_bytes();
        let mut header = len[1..].to_vec();
        header.push(ty);
        header.extend_from_slice(&stream.to_be_bytes());
        header.extend_from_slice(&mark.to_be_bytes());
        let key = label(&self.send.ts, "key");
        let nonce = self.send.nonce();
        let sealed = seal(&key, nonce, &header, payload);
        self.raw([header, sealed].concat());
    }

    pub(crate) fn stream(&mut self, stream: u32, offset: u64, data: &[u8], fin: bool) {
        let len = u16::try_from(data.len()).unwrap().to_be_bytes();
        let fields = [&[u8::from(fin)][..], &offset.to_be_bytes(), &len, data].concat();
        self.frame(0, stream, 0, &fields);
    }

    /// Sends a KEY_UPDATE, and switches to the next key.
    pub(crate) fn turn(&mut self) {
        self.frame(3, 0, 0, &[]);
        self.before = self.send.clone();
        self.send.next();
    }

    async fn take(&mut self, n: usize) -> Vec<u8> {
        while self.rx.len() < n {
            let bytes = self.body.data().await.unwrap().unwrap();
            self.body
                .flow_control()
                .release_capacity(bytes.len())
                .unwrap();
            self.rx.extend_from_slice(&bytes);
        }
        self.rx.drain(..n).collect()
    }

    /// Returns the next frame, and follows KEY_UPDATEs.
    pub(crate) async fn next(&mut self) -> Frame {
        let header = self.take(10).await;
        let len =
            usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let sealed = self.take(len - 7).await;
        let key = label(&self.receive.ts, "key");
        let nonce = self.receive.nonce();
        let payload = open(&key, nonce, &header, &sealed).expect("the frame opens");
        if header[3] == 3 {
            self.receive.next();
        }
        Frame {
            ty: header[3],
            stream: u32::from_be_bytes(header[4..8].try_into().unwrap()),
            mark: u16::from_be_bytes(header[8..].try_into().unwrap()),
            payload,
        }
    }
}

pub(crate) fn public_hash(key: &[u8; 32]) -> [u8; 32] {
    sha(&[key])
}
