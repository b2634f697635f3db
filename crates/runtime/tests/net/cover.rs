//! The view of everybody without a tunnel: a web site, byte for byte, whatever they try.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Fixture;
use crate::peer::{Ticket, export, post, tls, tls12};

pub(crate) const ALL: [Ticket; 5] = [
    Ticket::None,
    Ticket::Malformed,
    Ticket::Wrong,
    Ticket::OtherConnection,
    Ticket::RightButBadMessage,
];

/// An answer without its date: status, headers in order, body.
pub(crate) type Seen = (u16, Vec<(String, String)>, Vec<u8>);

pub(crate) async fn send(
    address: &str,
    server: &[u8; 32],
    kind: Ticket,
    body: &[u8],
    twice: bool,
) -> (Seen, Duration) {
    let tls = tls(address, b"h2").await;
    let ekm0 = export(&tls, &[0xa0]);
    let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
    let drive = tokio::spawn(connection);
    let mut last = None;
    for _ in 0..=u8::from(twice) {
        let request = post(kind, &ekm0, server, "the-very-same-label");
        let began = Instant::now();
        let (response, mut out) = requests.send_request(request, false).unwrap();
        out.send_data(Bytes::copy_from_slice(body), true).unwrap();
        let response = response.await.unwrap();
        let took = began.elapsed();
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter(|(k, _)| *k != "date")
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
            .collect();
        let mut stream = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = stream.data().await {
            bytes.extend_from_slice(&part.unwrap());
        }
        last = Some(((status, headers, bytes), took));
    }
    drive.abort();
    last.unwrap()
}

pub(crate) fn bad_message() -> Vec<u8> {
    let mut body = vec![0, 48];
    body.extend_from_slice(&[7; 48]);
    body
}

#[tokio::test]
async fn over_tls_1_2_a_right_ticket_is_the_sites_to_answer() {
    let fixture = Fixture::start(|_| {}).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let (want, _) = send(&fixture.address(), &server, Ticket::None, b"", false).await;
    let tls = tls12(&fixture.address(), b"h2").await;
    let ekm0 = export(&tls, &[0xa0]);
    let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
    let drive = tokio::spawn(connection);
    let request = post(Ticket::Right, &ekm0, &server, "a-label-of-tls-1-2");
    // A tunnel would wait for its first message.
    let (response, _held) = requests.send_request(request, false).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), response).await;
    assert_eq!(answer.unwrap().unwrap().status().as_u16(), want.0);
    assert_eq!(fixture.gateway.sessions(), 0);
    drive.abort();
}

#[tokio::test]
async fn every_refused_post_is_answered_as_the_site_answers_a_post() {
    let fixture = Fixture::start(|_| {}).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    let (want, _) = send(&fixture.address(), &server, Ticket::None, b"", false).await;
    assert_eq!(want.0, 405);
    for kind in ALL {
        for body in [&b""[..], b"x", &bad_message(), &[0xff; 5000]] {
            let (seen, _) = send(&fixture.address(), &server, kind, body, false).await;
            assert_eq!(seen, want, "{kind:?} {}", body.len());
            let (seen, _) = send(&fixture.address(), &server, kind, body, true).await;
            assert_eq!(seen, want, "{kind:?} {} repeated", body.len());
        }
    }
    assert!(fixture.metric("betanet_tickets_refused_total") > 0);
    assert!(fixture.metric("betanet_handshakes_refused_total") > 0);
    assert_eq!(fixture.gateway.sessions(), 0);
}

/// Whatever a POST's body contains, and whatever invalid ticket it has, the answer arrives while the body is open.
#[tokio::test]
async fn a_refused_post_is_answered_while_its_body_is_open() {
    let fixture = Fixture::start(|_| {}).await;
    let server = *fixture.gateway.listening().key.as_bytes();
    for kind in [
        Ticket::None,
        Ticket::Malformed,
        Ticket::Wrong,
        Ticket::OtherConnection,
    ] {
        for begun in [&b""[..], b"x", &[0, 48], &bad_message(), &[0xff; 5000]] {
            let tls = tls(&fixture.address(), b"h2").await;
            let ekm0 = export(&tls, &[0xa0]);
            let (mut requests, connection) = h2::client::handshake(tls).await.unwrap();
            let drive = tokio::spawn(connection);
            let request = post(kind, &ekm0, &server, "a-label-of-its-own");
            let (response, mut out) = requests.send_request(request, false).unwrap();
            if !begun.is_empty() {
                out.send_data(Bytes::copy_from_slice(begun), false).unwrap();
            }
            // The client has neither ended nor reset the stream, so only the header section can have decided it.
            let answer = response.await.unwrap();
            assert_eq!(answer.status(), 405, "{kind:?}");
            let mut body = answer.into_body();
            while let Some(part) = body.data().await {
                part.unwrap();
            }
            drop(out);
            drive.abort();
        }
    }
    assert_eq!(fixture.gateway.sessions(), 0);
}

pub(crate) async fn http1(address: &str, request: &str) -> String {
    let mut tls = tls(address, b"http/1.1").await;
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut out = String::new();
    // A site may close without close_notify.
    let _ = tls.read_to_string(&mut out).await;
    out
}

#[tokio::test]
async fn browsers_and_http_1_1_clients_see_the_site() {
    let fixture = Fixture::start(|_| {}).await;
    let address = fixture.address();
    let ask = |line: &str| format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let get = http1(&address, &ask("GET /")).await;
    assert!(
        get.starts_with("HTTP/1.1 200 OK") && get.contains("A garden diary"),
        "{get}"
    );
    let head = http1(&address, &ask("HEAD /")).await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK") && !head.contains("garden"),
        "{head}"
    );
    assert!(head.contains("Content-Length: 24"), "{head}");
    for (line, status) in [
        ("GET /none", 404),
        ("GET /..%2f..%2fetc/passwd", 400),
        ("GET /%2e%2e/key.pem", 400),
        ("GET /.git/config", 404),
        ("GET /%zz", 400),
        ("OPTIONS /", 405),
        ("DELETE /", 405),
        ("POST /", 405),
        ("POST /none", 404),
    ] {
        let got = http1(&address, &ask(line)).await;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status}")),
            "{line}: {got}"
        );
    }
    let with_ticket = "POST / HTTP/1.1\r\nhost: x\r\nbn-ticket: v=v1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab";
    assert!(
        http1(&address, with_ticket)
            .await
            .starts_with("HTTP/1.1 405")
    );
}

#[tokio::test]
async fn scanners_and_garbage_get_tls_and_nothing_else() {
    let fixture = Fixture::start(|_| {}).await;
    for probe in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"SSH-2.0-x\r\n",
        &[0; 100],
        &[0x16, 3, 1, 0xff, 0xff],
    ] {
        let mut tcp = TcpStream::connect(fixture.address()).await.unwrap();
        tcp.write_all(probe).await.unwrap();
        tcp.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tcp.read_to_end(&mut answer).await;
        // At most a TLS alert. Data that is not TLS gets nginx's page.
        let page = probe[0] != 0x16 && answer.starts_with(b"HTTP/1.1 400 ");
        assert!(page || answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    // The other clients are served all the same.
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert!(http1(&fixture.address(), ask).await.contains("garden"));
}

#[tokio::test]
async fn changed_certificates_are_taken_up() {
    let home = tempfile::tempdir().unwrap();
    let (chain, key) = (home.path().join("chain.pem"), home.path().join("key.pem"));
    let make = || {
        let path = home.path().join("fresh.pem");
        let _ = std::fs::remove_file(&path);
        let certificate =
            betanet_carrier::Certificate::load_or_create(&path, &["localhost".into()]).unwrap();
        for target in [&chain, &key] {
            std::fs::copy(&path, target).unwrap();
        }
        *certificate.pin()
    };
    let first = make();
    let source = betanet_carrier::CertSource::files(&chain, &key).unwrap();
    assert_eq!(source.pin(), first);
    assert!(!source.reload().unwrap());
    let second = make();
    // The file system's clock may be coarse, and the change must show in the timestamp.
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    let stamp = |path| {
        std::fs::File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(later)
    };
    stamp(&chain).unwrap();
    assert!(source.reload().unwrap());
    assert_eq!(source.pin(), second);
    std::fs::write(&chain, "nonsense").unwrap();
    assert!(source.reload().is_err());
    assert_eq!(source.pin(), second, "what cannot be used is not");
}
