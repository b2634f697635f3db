//! Requests over HTTP/3, which a gateway speaks where it is asked to.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::{Buf as _, Bytes};
use http::{Method, Request};

use super::answer::{Answer, body, value};
use super::client;
use super::kinds::{COOKIE, Kind, Probe, message1, old_ticket, ticket};

/// Method, path, a ticket as its field or its cookie, body.
#[derive(Clone)]
pub(super) struct Script {
    method: Method,
    path: &'static str,
    ticket: Option<String>,
    body: Vec<u8>,
}

pub(super) fn all() -> Vec<Kind> {
    let kind = |name: &str, method, ticket, body| {
        let script = Script {
            method,
            path: "/",
            ticket,
            body,
        };
        Kind::new(format!("h3 {name}"), Probe::H3(script))
    };
    let wrong = ticket("0123456789abcdef01234567");
    vec![
        kind("GET /", Method::GET, None, vec![]),
        kind("POST / with a body", Method::POST, None, message1()),
        kind(
            "POST /, wrong ticket",
            Method::POST,
            Some(wrong),
            message1(),
        ),
        kind(
            "POST /, malformed ticket",
            Method::POST,
            Some("v=v1".into()),
            message1(),
        ),
        kind(
            "POST /, wrong 1.1 ticket",
            Method::POST,
            Some(old_ticket()),
            message1(),
        ),
    ]
}

fn request(script: &Script) -> Request<()> {
    let mut request = Request::builder()
        .method(script.method.clone())
        .uri(format!("https://localhost{}", script.path));
    if let Some(ticket) = &script.ticket {
        let cookie = ticket.starts_with(COOKIE);
        request = request.header(if cookie { "cookie" } else { "bn-ticket" }, ticket);
    }
    request.body(()).unwrap()
}

pub(super) async fn ask(script: &Script, to: SocketAddr) -> Answer {
    let tls = client::config(&[&rustls::version::TLS13], &[b"h3"]);
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
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
    let mut answer = Answer::default();
    let mut stream = requests.send_request(request(script)).await.unwrap();
    if !script.body.is_empty() {
        // Who has answered already reads no more.
        let _ = stream.send_data(Bytes::copy_from_slice(&script.body)).await;
    }
    let _ = stream.finish().await;
    match stream.recv_response().await {
        Ok(head) => {
            let mut all = Vec::new();
            while let Ok(Some(mut part)) = stream.recv_data().await {
                all.extend_from_slice(&part.copy_to_bytes(part.remaining()));
            }
            answer.took = began.elapsed();
            answer.note("status 1", head.status().as_str());
            for (name, v) in head.headers() {
                let text = String::from_utf8_lossy(v.as_bytes());
                answer.note(
                    format!("field {name}"),
                    value(name.as_str(), &text, to.port()),
                );
            }
            answer.note("body 1", body(&all));
        }
        Err(e) => answer.note("broken", e.to_string()),
    }
    drive.abort();
    connection.close(0_u32.into(), b"");
    answer
}
