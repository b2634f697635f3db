//! A gateway whose cover is another web site: visitors see that site, whatever they try.

use std::sync::{Arc, Mutex};

use betanet_runtime::{Headers, Method, Node, OriginProxy, Request, Roots};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Fixture;
use crate::cover::{ALL, bad_message, http1, send};
use crate::peer::{Ticket, tls};

/// A web site that records its requests, and answers each with the same page.
async fn site(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    site_at(listener, answer)
}

fn site_at(listener: TcpListener, answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut request = Vec::new();
                loop {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let head = head.to_lowercase();
                        let chunked = head.contains("transfer-encoding: chunked");
                        let length = head.split("content-length: ").nth(1);
                        let length = length.and_then(|l| l.lines().next()?.parse().ok());
                        if chunked {
                            body.ends_with("0\r\n\r\n")
                        } else {
                            body.len() >= length.unwrap_or(0)
                        }
                    });
                    if complete {
                        seen.lock().unwrap().push(text);
                        tcp.write_all(answer.as_bytes()).await.unwrap();
                        request.clear();
                    }
                    if !matches!(tcp.read_buf(&mut request).await, Ok(1..)) {
                        return;
                    }
                }
            });
        }
    });
    (url, asked)
}

const PAGE: &str = "HTTP/1.1 200 OK\r\nserver: a-site\r\nconnection: keep-alive\r\nkeep-alive: timeout=5\r\nalt-svc: h3=\":1\"\r\n\
                    content-length: 7\r\n\r\nthe page";

async fn fixture(url: &str) -> Fixture {
    let origin = OriginProxy::new(url).unwrap();
    Fixture::start(|c| c.site.origin = Some(origin)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_is_the_origin() {
    let (url, asked) = site(&PAGE[..PAGE.len() - 1]).await;
    let fixture = fixture(&url).await;
    let ask = "GET /a?b=c HTTP/1.1\r\nhost: visited.example\r\naccept: x/y\r\nconnection: close, x-own\r\nx-own: 1\r\n\r\n";
    let got = http1(&fixture.address(), ask).await;
    assert!(got.starts_with("HTTP/1.1 200 OK"), "{got}");
    assert!(
        got.contains("Server: a-site") && got.ends_with("the pag"),
        "{got}"
    );
    assert!(
        !got.contains("keep-alive") && !got.contains("h3=\":1\""),
        "{got}"
    );
    let asked = asked.lock().unwrap().pop().unwrap();
    assert!(asked.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{asked}");
    assert!(
        asked.contains("accept: x/y") && !asked.contains("x-own"),
        "{asked}"
    );
    assert!(!asked.contains("visited.example"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_is_handed_on_whole_and_without_its_ticket() {
    let (url, asked) = site(&PAGE[..PAGE.len() - 1]).await;
    let fixture = fixture(&url).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let (want, _) = send(&fixture.address(), &server, Ticket::None, b"", false).await;
    for kind in ALL {
        for body in [&b""[..], b"x", &bad_message(), &[b'z'; 50_000]] {
            let (seen, _) = send(&fixture.address(), &server, kind, body, false).await;
            assert_eq!(seen, want, "{kind:?} {}", body.len());
            let asked = asked.lock().unwrap().pop().unwrap();
            assert!(asked.starts_with("POST / HTTP/1.1\r\n"), "{asked}");
            assert!(!asked.contains("bn-ticket"), "{asked}");
            let z = body.iter().filter(|b| **b == b'z').count();
            assert_eq!(asked.matches('z').count(), z, "{kind:?}");
        }
    }
    // Tunnels can be opened at the same time.
    let before = asked.lock().unwrap().len();
    let session = Node::client()
        .unwrap()
        .connect(&fixture.gateway.listening().peer())
        .await
        .unwrap();
    let get = Request::new(Method::Get, "/hello.txt", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    let body = answer.body.all(10).await.unwrap().unwrap();
    assert_eq!(Bytes::from(body), Bytes::from_static(b"hello"));
    assert_eq!(asked.lock().unwrap().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_away_is_a_bad_gateway() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = nobody.local_addr().unwrap();
    drop(nobody);
    let fixture = fixture(&format!("http://{at}")).await;
    let faults = async || -> Vec<&str> {
        let all = fixture.gateway.faults().await;
        all.iter().map(|f| f.what).collect()
    };
    assert_eq!(faults().await, [""; 0], "nobody has asked for it");
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let got = http1(&fixture.address(), ask).await;
    assert!(got.starts_with("HTTP/1.1 502"), "{got}");
    assert_eq!(faults().await, ["origin"]);
    let (_, _asked) = site_at(TcpListener::bind(at).await.unwrap(), PAGE);
    let got = http1(&fixture.address(), ask).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    assert_eq!(faults().await, [""; 0]);
}

/// A frame: type, flags, stream, payload.
type Frame = (u8, u8, u32, Vec<u8>);

async fn frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    from.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream), payload))
}

fn written((kind, flags, stream, payload): Frame) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), &payload].concat()
}

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// Starts a TLS site that supports only HTTP/2, sends `first` first, and answers 200 without a body. Returns how to reach it.
async fn over_tls(first: Vec<u8>) -> (tempfile::TempDir, OriginProxy) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("origin.pem");
    betanet_carrier::Certificate::load_or_create(&file, &["localhost".into()]).unwrap();
    let pem = std::fs::read(&file).unwrap();
    let certificate = CertificateDer::from_pem_slice(&pem).unwrap();
    let roots = Roots::from_pem(&pem).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::from_pem_slice(&pem).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, first) = (acceptor.clone(), first.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(tcp).await.unwrap();
                tls.write_all(&first).await.unwrap();
                tls.read_exact(&mut [0; PREFACE.len()]).await.unwrap();
                while let Some((kind, flags, stream, _)) = frame(&mut tls).await {
                    let said = match (kind, flags & 1) {
                        (SETTINGS, 0) => written((SETTINGS, 1, 0, Vec::new())),
                        // `:status` 200 of HPACK's static table, and the end.
                        (HEADERS, _) => written((HEADERS, 5, stream, vec![0x88])),
                        _ => continue,
                    };
                    tls.write_all(&said).await.unwrap();
                }
            });
        }
    });
    let origin = OriginProxy::with_roots(&format!("https://localhost:{port}"), roots);
    (home, origin.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_says_first_over_http_2_what_the_origin_says_in_its_order() {
    // These differ from nginx's, and are not in numerical order.
    let settings = [(4_u16, 131_072_u32), (3, 77), (6, 16_384), (1, 8_192)];
    let pairs = settings.iter();
    let pairs = pairs.flat_map(|(id, n)| [&id.to_be_bytes()[..], &n.to_be_bytes()].concat());
    let said = [
        (SETTINGS, 0, 0, pairs.collect::<Vec<u8>>()),
        (WINDOW_UPDATE, 0, 0, 983_041_u32.to_be_bytes().to_vec()),
    ];
    let first = said.clone().map(written).concat();
    let (_home, origin) = over_tls(first).await;
    let fixture = Fixture::start(|c| c.site.origin = Some(origin)).await;
    let mut visitor = tls(&fixture.address(), b"h2").await;
    let empty = written((SETTINGS, 0, 0, Vec::new()));
    visitor
        .write_all(&[PREFACE, &empty[..]].concat())
        .await
        .unwrap();
    for want in said {
        assert_eq!(frame(&mut visitor).await.unwrap(), want);
    }
    // Sessions work over it as over any other.
    let peer = fixture.gateway.listening().peer();
    let session = Node::client().unwrap().connect(&peer).await.unwrap();
    let get = Request::new(Method::Get, "/hello.txt", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    assert_eq!(answer.body.all(10).await.unwrap().unwrap(), b"hello");
}
