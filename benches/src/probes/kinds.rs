//! What is asked, and what is seen of the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_carrier::Plain;
use betanet_runtime::{Node, Peer, Transport};
use bytes::{Buf as _, Bytes};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What an answer is, without its date, or how a connection ended: as bytes of each record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    Http(u16, Vec<(String, String)>, usize, u64),
    /// Content types and lengths of records until the end, and whether that was an orderly one.
    Raw(Vec<(u8, usize)>, bool),
    Text(String),
    Broken(String),
}

#[derive(Clone)]
enum Probe {
    /// Over HTTP/2 or 3: method, path, a ticket as its field or its cookie, body.
    Http(bool, Method, &'static str, Option<String>, Vec<u8>),
    /// Within TLS, as HTTP/1.1.
    Text(&'static str),
    /// Instead of TLS.
    Raw(Vec<u8>),
}

#[derive(Clone)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    probe: Probe,
}

/// A ticket that reads well and is for nobody.
fn ticket(label: &str) -> String {
    format!("v=v1, tok=:{}:, ctx=\"{label}\"", "Ab3_".repeat(40))
}

/// The cookie of a ticket of version 1.1.
const COOKIE: &str = "__Host-bn1=";

/// One that reads well and is for nobody.
fn old_ticket() -> Option<String> {
    Some(format!("{COOKIE}AQb3{}", "Qb3_".repeat(43)))
}

fn message1() -> Vec<u8> {
    let mut body = 1232_u16.to_be_bytes().to_vec();
    body.extend((0..1232_u32).map(|n| (n * 31 % 251) as u8));
    body
}

pub(super) fn get() -> Kind {
    Kind {
        name: "GET /, h2",
        probe: Probe::Http(false, Method::GET, "/", None, Vec::new()),
    }
}

/// What a client of the gateway sent, byte for byte, in TLS.
pub(super) async fn recorded(gateway: SocketAddr) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let taken = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(gateway).await.unwrap();
        let (mut all, mut up, mut down) = (Vec::new(), vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                n = near.read(&mut up) => match n {
                    Ok(n @ 1..) => { all.extend_from_slice(&up[..n]); far.write_all(&up[..n]).await.unwrap(); }
                    _ => break,
                },
                n = far.read(&mut down) => match n {
                    Ok(n @ 1..) => near.write_all(&down[..n]).await.unwrap(),
                    _ => break,
                },
            }
        }
        all
    });
    // The gateway's key is another one: a tunnel's request all the same, to the last byte.
    let identity = betanet_keys::Identity::from_seed(&[9; 32]);
    let peer: Peer = format!("{}@localhost:{}", identity.public(), at.port())
        .parse()
        .unwrap();
    let node = Node::client()
        .unwrap()
        .shaped(Arc::new(Plain))
        .dialling_over(Transport::Tcp);
    let node = node.with_trust(betanet_runtime::Trust::Anything);
    let _ = node.connect(&peer).await;
    drop(node);
    timeout(Duration::from_secs(5), taken)
        .await
        .unwrap()
        .unwrap()
}

pub(super) fn all(recorded: Vec<u8>) -> Vec<Kind> {
    let http = |name, h3, method, path, ticket: Option<String>, body: Vec<u8>| Kind {
        name,
        probe: Probe::Http(h3, method, path, ticket, body),
    };
    let text = |name, text| Kind {
        name,
        probe: Probe::Text(text),
    };
    let raw = |name, bytes: &[u8]| Kind {
        name,
        probe: Probe::Raw(bytes.to_vec()),
    };
    let wrong = || Some(ticket("0123456789abcdef01234567"));
    let mut changed = recorded.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let cut = recorded[..recorded.len().min(300)].to_vec();
    vec![
        get(),
        http(
            "GET /large.bin, h2",
            false,
            Method::GET,
            "/large.bin",
            None,
            vec![],
        ),
        http(
            "GET odd path, h2",
            false,
            Method::GET,
            "/..%2f%2e%2e/x?y=//",
            None,
            vec![],
        ),
        http("HEAD /, h2", false, Method::HEAD, "/", None, vec![]),
        http("OPTIONS /, h2", false, Method::OPTIONS, "/", None, vec![]),
        http(
            "DELETE /none, h2",
            false,
            Method::DELETE,
            "/none",
            None,
            vec![],
        ),
        http("POST /, h2", false, Method::POST, "/", None, vec![]),
        http(
            "POST / with a body, h2",
            false,
            Method::POST,
            "/",
            None,
            message1(),
        ),
        http(
            "POST /, wrong ticket, h2",
            false,
            Method::POST,
            "/",
            wrong(),
            message1(),
        ),
        http(
            "POST /, wrong ticket, no body, h2",
            false,
            Method::POST,
            "/",
            wrong(),
            vec![],
        ),
        http(
            "POST /, malformed ticket, h2",
            false,
            Method::POST,
            "/",
            Some("v=v1".into()),
            message1(),
        ),
        http(
            "POST /none, wrong ticket, h2",
            false,
            Method::POST,
            "/none",
            wrong(),
            message1(),
        ),
        http(
            "POST /, wrong 1.1 ticket, h2",
            false,
            Method::POST,
            "/",
            old_ticket(),
            message1(),
        ),
        http(
            "POST /, wrong 1.1 ticket, h3",
            true,
            Method::POST,
            "/",
            old_ticket(),
            message1(),
        ),
        http(
            "GET /, wrong ticket, h2",
            false,
            Method::GET,
            "/",
            wrong(),
            vec![],
        ),
        http("GET /, h3", true, Method::GET, "/", None, vec![]),
        http(
            "POST / with a body, h3",
            true,
            Method::POST,
            "/",
            None,
            message1(),
        ),
        http(
            "POST /, wrong ticket, h3",
            true,
            Method::POST,
            "/",
            wrong(),
            message1(),
        ),
        text(
            "GET /, h1",
            "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        ),
        text("HTTP/1.0", "GET / HTTP/1.0\r\n\r\n"),
        text(
            "POST, wrong ticket, h1",
            "POST / HTTP/1.1\r\nhost: x\r\nbn-ticket: v=v1\r\ncontent-length: 4\r\nconnection: close\r\n\r\nabcd",
        ),
        text(
            "smuggling: CL and TE",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\nG",
        ),
        text(
            "smuggling: two lengths",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ncontent-length: 5\r\nconnection: close\r\n\r\nabcde",
        ),
        text(
            "smuggling: TE obfuscated",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\nconnection: close\r\n\r\n0\r\n\r\n",
        ),
        text(
            "smuggling: space before colon",
            "GET / HTTP/1.1\r\nhost : x\r\nconnection: close\r\n\r\n",
        ),
        text(
            "OPTIONS *, h1",
            "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        ),
        text(
            "absolute form, h1",
            "GET http://x/ HTTP/1.1\r\nhost: y\r\nconnection: close\r\n\r\n",
        ),
        text("no HTTP within TLS", "HELO example\r\n\r\n"),
        raw("plain HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        raw("zeros", &[0; 64]),
        raw("a record too long", &[0x16, 3, 1, 0xff, 0xff, 1]),
        raw("a hello cut short", &cut),
        raw("a recorded tunnel again", &recorded),
        raw("a recorded tunnel, one bit changed", &changed),
    ]
}

#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        use rustls::SignatureScheme as S;
        vec![S::ECDSA_NISTP256_SHA256, S::ED25519, S::RSA_PSS_SHA256]
    }
}

pub(crate) fn tls_config(alpn: &[u8]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config
}

async fn tls(to: SocketAddr, alpn: &[u8]) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let connector = TlsConnector::from(Arc::new(tls_config(alpn)));
    connector
        .connect("localhost".try_into().unwrap(), tcp)
        .await
        .unwrap()
}

/// A short number for a body.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn http_seen(head: &http::Response<()>, body: &[u8], port: u16) -> Seen {
    let mut headers: Vec<(String, String)> = head
        .headers()
        .iter()
        .filter(|(k, _)| *k != "date")
        // Where it is said, the port is the site's own.
        .map(|(k, v)| {
            let value = String::from_utf8_lossy(v.as_bytes());
            (k.to_string(), value.replace(&port.to_string(), "PORT"))
        })
        .collect();
    headers.sort();
    Seen::Http(head.status().as_u16(), headers, body.len(), digest(body))
}

fn request(method: &Method, path: &str, ticket: Option<&String>) -> Request<()> {
    let mut request = Request::builder()
        .method(method.clone())
        .uri(format!("https://localhost{path}"));
    if let Some(ticket) = ticket {
        let field = if ticket.starts_with(COOKIE) {
            "cookie"
        } else {
            "bn-ticket"
        };
        request = request.header(field, ticket);
    }
    request.body(()).unwrap()
}

async fn h2(to: SocketAddr, request: Request<()>, body: &[u8]) -> (Seen, Duration) {
    let (mut requests, connection) = h2::client::handshake(tls(to, b"h2").await).await.unwrap();
    let drive = tokio::spawn(connection);
    let began = Instant::now();
    let (answer, mut out) = requests.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        out.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    let seen = match answer.await {
        Ok(answer) => {
            let (head, mut stream) = answer.into_parts();
            let mut all = Vec::new();
            while let Some(Ok(part)) = stream.data().await {
                all.extend_from_slice(&part);
                let _ = stream.flow_control().release_capacity(part.len());
            }
            http_seen(&http::Response::from_parts(head, ()), &all, to.port())
        }
        Err(e) => Seen::Broken(e.to_string()),
    };
    let took = began.elapsed();
    drive.abort();
    (seen, took)
}

async fn h3(to: SocketAddr, request: Request<()>, body: &[u8]) -> (Seen, Duration) {
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls_config(b"h3")).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let connection = endpoint
        .connect_with(config, to, "localhost")
        .unwrap()
        .await
        .unwrap();
    let quic = h3_quinn::Connection::new(connection.clone());
    let (mut http, mut requests) = h3::client::new(quic).await.unwrap();
    let drive = tokio::spawn(async move { http.wait_idle().await });
    let began = Instant::now();
    let mut stream = requests.send_request(request).await.unwrap();
    if !body.is_empty() {
        // Who has answered already reads no more.
        let _ = stream.send_data(Bytes::copy_from_slice(body)).await;
    }
    let _ = stream.finish().await;
    let seen = match stream.recv_response().await {
        Ok(head) => {
            let mut all = Vec::new();
            while let Ok(Some(mut part)) = stream.recv_data().await {
                all.extend_from_slice(&part.copy_to_bytes(part.remaining()));
            }
            http_seen(&head, &all, to.port())
        }
        Err(e) => Seen::Broken(e.to_string()),
    };
    let took = began.elapsed();
    drive.abort();
    connection.close(0_u32.into(), b"");
    (seen, took)
}

async fn text(to: SocketAddr, text: &str) -> (Seen, Duration) {
    let mut tls = tls(to, b"http/1.1").await;
    let began = Instant::now();
    tls.write_all(text.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let end = timeout(Duration::from_secs(12), tls.read_to_end(&mut all)).await;
    let took = began.elapsed();
    let answer = String::from_utf8_lossy(&all).replace(&to.port().to_string(), "PORT");
    let lines = answer
        .lines()
        .filter(|l| !l.to_lowercase().starts_with("date:"));
    let lines: Vec<&str> = lines.collect();
    let how = if end.is_ok() { "ended" } else { "left open" };
    (Seen::Text(format!("{}\n{how}", lines.join("\n"))), took)
}

async fn raw(to: SocketAddr, bytes: &[u8]) -> (Seen, Duration) {
    let mut tcp = TcpStream::connect(to).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let began = Instant::now();
    // The server may be gone before all is sent.
    let _ = tcp.write_all(bytes).await;
    let _ = tcp.shutdown().await;
    let mut all = Vec::new();
    let mut buf = vec![0; 65_536];
    let orderly = loop {
        match timeout(Duration::from_secs(12), tcp.read(&mut buf)).await {
            Ok(Ok(0)) => break true,
            Ok(Ok(n)) => all.extend_from_slice(&buf[..n]),
            Ok(Err(_)) | Err(_) => break false,
        }
    };
    let took = began.elapsed();
    let (mut records, mut rest) = (Vec::new(), &all[..]);
    while let Some((header, behind)) = rest.split_first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // An ECDSA signature, in the handshake's first sealed record, has one of a few lengths.
        records.push((
            header[0],
            if header[0] == 23 && len > 400 { 0 } else { len },
        ));
        rest = behind.get(len..).unwrap_or_default();
    }
    (Seen::Raw(records, orderly), took)
}

pub(super) async fn ask(kind: &Kind, to: SocketAddr) -> (Seen, Duration) {
    match &kind.probe {
        Probe::Http(false, method, path, ticket, body) => {
            h2(to, request(method, path, ticket.as_ref()), body).await
        }
        Probe::Http(true, method, path, ticket, body) => {
            h3(to, request(method, path, ticket.as_ref()), body).await
        }
        Probe::Text(said) => text(to, said).await,
        Probe::Raw(bytes) => raw(to, bytes).await,
    }
}
