//! Sessions whose traffic follows a shape.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_runtime::{Headers, Method, Node, Plain, Request, Shape, TraceSelector, Transport};
use betanet_traffic::shape::{Gap, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Fixture, content, write};

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

fn shape() -> Shape {
    let step = |ms: u64, up, size| Step {
        gap: Gap::new(Duration::from_millis(ms)),
        up,
        size,
    };
    let trace = |n: u16| {
        vec![
            step(0, true, 463),
            step(4, false, 4501),
            step(10, true, 117 + n),
            step(0, true, 217),
            step(4, false, 16_401),
            step(0, false, 9001),
            step(20, true, 317),
            step(4, false, 7001),
        ]
    };
    Shape::new(vec![trace(0), trace(1)]).unwrap()
}

type Records = Arc<Mutex<Vec<(bool, usize)>>>;

/// Carries bytes to `to`, and records the lengths of TLS records.
async fn observed(to: String) -> (u16, Records) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let records: Records = Arc::default();
    let seen = Arc::clone(&records);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        for (up, mut from, mut into) in [(true, near_in, far_out), (false, far_in, near_out)] {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let (mut buf, mut all) = (vec![0; 65_536], Vec::new());
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    all.extend_from_slice(&buf[..n]);
                    while let Some(header) = all.first_chunk::<5>() {
                        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
                        if all.len() < 5 + len {
                            break;
                        }
                        seen.lock().unwrap().push((up, len));
                        all.drain(..5 + len);
                    }
                    if into.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, records)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_sends_in_the_records_of_its_shape_and_delivers_all_the_same() {
    for node in [
        Node::client().unwrap(),
        Node::client().unwrap().with_fingerprint(Arc::new(Plain)),
    ] {
        // Jitter applies only before the shape is followed.
        let fixture = Fixture::start(|c| {
            c.traffic.shape = Some(shape());
            c.traffic.jitter = Some(Duration::from_millis(2));
        });
        let fixture = fixture.await;
        let bytes = content(60_000);
        write(&fixture.served("file.bin"), &bytes);
        let (port, records) = observed(fixture.address()).await;
        let mut peer = fixture.gateway.listening().peer();
        peer.addrs = vec![format!("127.0.0.1:{port}")];
        let node = node.with_trace_selector(TraceSelector::new(Arc::new(shape())));
        let session = node.connect(&peer).await.unwrap();
        let mut answer = session.ask(get("/file.bin")).await.unwrap();
        assert_eq!(answer.body.all(100_000).await.unwrap().unwrap(), bytes);
        let cost = session.facts().await.unwrap().padded.unwrap();
        assert!(cost.bursts > 3 && cost.padding > 0, "{cost:?}");
        assert_eq!(fixture.metric("betanet_sessions_shaped_total"), 1);
        let records = records.lock().unwrap().clone();
        // Large records have only the shape's sizes. A burst may be short of the headers of two frames.
        let down: Vec<usize> = records.iter().filter(|r| !r.0).map(|r| r.1).collect();
        let large: Vec<usize> = down.iter().copied().filter(|n| *n > 6000).collect();
        let known = |n: &usize| {
            [16_401_usize, 9001, 7001]
                .iter()
                .any(|s| s.abs_diff(*n) <= 18)
        };
        assert!(large.len() >= 4 && large.iter().all(known), "{large:?}");
        let up: Vec<usize> = records.iter().filter(|r| r.0).map(|r| r.1).collect();
        assert!(up.contains(&217) && up.contains(&317), "{up:?}");
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_shape_is_served_as_ever() {
    let fixture = Fixture::start(|c| c.traffic.shape = Some(shape())).await;
    let node = Node::client().unwrap().with_transport(Transport::Tcp);
    let peer = fixture.gateway.listening().peer();
    let session = node.connect(&peer).await.unwrap();
    let mut answer = session.ask(get("/hello.txt")).await.unwrap();
    assert_eq!(answer.body.all(10).await.unwrap().unwrap(), b"hello");
    assert_eq!(session.facts().await.unwrap().padded, None);
    assert_eq!(fixture.metric("betanet_sessions_shaped_total"), 0);
}
