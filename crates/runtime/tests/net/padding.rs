//! Padding that is independent of content, observed on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use betanet_htx::Config;
use betanet_runtime::{Headers, Method, Node, Padding, Plain, Request, Transport};
use betanet_wire::caps::{self, CapMsg};
use betanet_wire::cbor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::{Fixture, content, write};

/// Carries bytes between a client and `to`, and counts both directions.
async fn counted(to: String, bytes: [Arc<AtomicU64>; 2]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let (near, far) = (near.into_split(), far.into_split());
        let ways = [(near.0, far.1), (far.0, near.1)];
        for ((mut from, mut to), bytes) in ways.into_iter().zip(bytes) {
            tokio::spawn(async move {
                let mut buf = vec![0; 65_536];
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    bytes.fetch_add(n as u64, Ordering::Relaxed);
                    if to.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    at
}

fn get(path: &str) -> Request {
    Request::new(Method::Get, path, Headers::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_goes_on_both_ways_when_nothing_is_said() {
    let rate = Padding::Rate {
        least: 200_000,
        most: 200_000,
    };
    let fixture = Fixture::start(|c| c.traffic.padding = Some(rate)).await;
    write(&fixture.served("file.bin"), &content(100_000));
    let counts = [Arc::<AtomicU64>::default(), Arc::default()];
    let at = counted(fixture.address(), counts.clone()).await;
    let mut peer = fixture.gateway.listening().peer();
    peer.addrs = vec![at];
    let node = Node::client().unwrap().with_fingerprint(Arc::new(Plain));
    let node = node.with_transport(Transport::Tcp).with_padding(rate);
    let session = node.connect(&peer).await.unwrap();
    // A client that is silent, then fetches, then is silent again.
    for part in 0..3 {
        if part == 1 {
            let mut answer = session.ask(get("/file.bin")).await.unwrap();
            let body = answer.body.all(200_000).await.unwrap().unwrap();
            assert_eq!(body, content(100_000));
        }
        let before = counts.each_ref().map(|c| c.load(Ordering::Relaxed));
        while counts
            .iter()
            .zip(before)
            .any(|(c, b)| c.load(Ordering::Relaxed) < b + 60_000)
        {
            tokio::task::yield_now().await;
        }
    }
    let cost = session.facts().await.unwrap().padded.unwrap();
    assert!(
        cost.padding > 100_000 && cost.padding < cost.sent,
        "{cost:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adaptive_rate_rises_for_a_file_and_buckets_pass_it_too() {
    for (transport, how) in [
        (Transport::Tcp, "16k..8m"),
        (Transport::Quic, "16k..8m"),
        (Transport::Tcp, "buckets"),
        (Transport::Quic, "buckets"),
    ] {
        let padding: Padding = how.parse().unwrap();
        let fixture = Fixture::start(|c| {
            c.traffic.padding = Some(padding);
            c.folder.writable = true;
        })
        .await;
        write(&fixture.served("file.bin"), &content(1_000_000));
        let node = Node::client()
            .unwrap()
            .with_transport(transport)
            .with_padding(padding);
        let session = node
            .connect(&fixture.gateway.listening().peer())
            .await
            .unwrap();
        let mut answer = session.ask(get("/file.bin")).await.unwrap();
        let body = answer.body.all(2_000_000).await.unwrap().unwrap();
        assert!(body == content(1_000_000), "{how}");
        let put = Request::new(Method::Put, "/up.bin", Headers::default());
        let upload = session.upload(put).await.unwrap();
        upload.send(content(300_000).into()).await.unwrap();
        assert_eq!(upload.finish().await.unwrap().head.status, 201, "{how}");
        assert!(session.facts().await.unwrap().padded.unwrap().padding > 0);
        session.close().await;
        assert!(fixture.gateway.shutdown().await, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_that_cannot_be_had_is_no_session() {
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let node = || {
        let caps = CapMsg {
            l2: vec![caps::HTX],
            l3: vec![caps::MESH],
            l4: Vec::new(),
            l5: Vec::new(),
            l6: None,
            l7: Some(vec![caps::BAR]),
            fog: None,
            features: [("pq", true)].into(),
        };
        let config = Config {
            caps: cbor::to_vec(&caps),
            ..Config::default()
        };
        Node::new(None, config).unwrap()
    };
    assert!(node().connect(&peer).await.is_ok());
    let refused = node().with_padding(Padding::Buckets).connect(&peer).await;
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("no PADDING"), "{said}");
}
