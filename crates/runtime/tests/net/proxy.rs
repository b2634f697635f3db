//! A gateway whose cover is another web site: what is seen is that site, whatever is tried.

use std::sync::{Arc, Mutex};

use betanet_runtime::{CoverSite, FrontOrigin, Headers, Method, Node, Request};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Fixture;
use crate::cover::{ALL, bad_message, http1, send};
use crate::peer::Ticket;

/// A web site that keeps what it was asked, and answers each request with the same page.
async fn site(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
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
    let origin = FrontOrigin::new(url).unwrap();
    Fixture::start(|c| c.cover = CoverSite::Origin(origin)).await
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
    // And tunnels are opened beside all that.
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
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let fixture = fixture(&url).await;
    let ask = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let got = http1(&fixture.address(), ask).await;
    assert!(got.starts_with("HTTP/1.1 502"), "{got}");
}
