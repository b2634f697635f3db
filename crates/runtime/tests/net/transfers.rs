//! Transfers between this project's client and the gateway: bodies both ways, ranges, cuts, write access, shutdown.

use std::sync::Arc;
use std::time::Duration;

use betanet_htx::Config;
use betanet_runtime::{
    DialError, Headers, Identity, Method, Node, Plain, Request, SessionError, Transport,
};
use bytes::Bytes;

use crate::{Fixture, content, write};

fn request(method: Method, path: &str) -> Request {
    Request::new(method, path, Headers::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways_and_come_back_whole() {
    // The build's fingerprint, and that of a build without a browser's. They are equal if there is only one.
    let plain = || Node::client().unwrap().with_fingerprint(Arc::new(Plain));
    move_bodies(Node::client().unwrap(), None).await;
    move_bodies(plain(), None).await;
    let jitter = Duration::from_millis(1);
    move_bodies(plain().with_transport(Transport::Tcp), Some(jitter)).await;
}

async fn move_bodies(node: Node, jitter: Option<Duration>) {
    let fixture = Fixture::start(|c| {
        c.folder.writable = true;
        c.traffic.jitter = jitter;
    });
    let fixture = fixture.await;
    let session = node
        .session(&fixture.gateway.listening().peer())
        .await
        .unwrap();
    let bytes = content(3_000_000);
    let upload = session
        .upload(request(Method::Put, "/up/file.bin"))
        .await
        .unwrap();
    for part in bytes.chunks(50_000) {
        upload.send(Bytes::copy_from_slice(part)).await.unwrap();
    }
    assert_eq!(upload.finish().await.unwrap().head.status, 201);
    assert_eq!(std::fs::read(fixture.served("up/file.bin")).unwrap(), bytes);
    let mut answer = session
        .ask(request(Method::Get, "/up/file.bin"))
        .await
        .unwrap();
    assert_eq!(answer.body.all(4_000_000).await.unwrap().unwrap(), bytes);
    // Many at once over one session.
    let all = (0..20).map(|_| async {
        let mut answer = session
            .ask(request(Method::Get, "/up/file.bin"))
            .await
            .unwrap();
        answer.body.all(4_000_000).await.unwrap().unwrap() == bytes
    });
    let mut set = Vec::new();
    for one in all {
        set.push(one.await);
    }
    assert!(set.iter().all(|ok| *ok));
    assert_eq!(
        session
            .ask(request(Method::Del, "/up/file.bin"))
            .await
            .unwrap()
            .head
            .status,
        204
    );
    session.close().await;
    assert!(fixture.gateway.shutdown().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_frees_its_stream_and_a_slow_reader_stops_the_sender() {
    let fixture = Fixture::start(|c| {
        c.limits.opens = Some(1000);
        c.limits.opens_per_second = Some(1000);
    })
    .await;
    write(&fixture.served("big.bin"), &content(8_000_000));
    let node = Node::client().unwrap();
    let session = node
        .session(&fixture.gateway.listening().peer())
        .await
        .unwrap();
    let slow = session.ask(request(Method::Get, "/big.bin")).await.unwrap();
    for _ in 0..600 {
        let dropped = session.ask(request(Method::Get, "/big.bin")).await.unwrap();
        drop(dropped);
    }
    // More streams than the limit were opened one after the other, and the unread one holds only its credit.
    let sent = fixture.metric("betanet_session_bytes_total{direction=\"out\"}");
    assert!(sent < 600 * 1_000_000, "{sent}");
    let mut hello = session
        .ask(request(Method::Get, "/hello.txt"))
        .await
        .unwrap();
    assert_eq!(hello.body.all(10).await.unwrap().unwrap(), b"hello");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_identities_write() {
    let writer = Identity::from_seed(&[31; 32]);
    let name = writer.public().node_id().into();
    let fixture = Fixture::start(|c| c.folder.allow = vec![name]).await;
    let peer = fixture.gateway.listening().peer();
    for (identity, want) in [(Some(writer), 201), (None, 403)] {
        let node = Node::new(identity, Config::default()).unwrap();
        let session = node.session(&peer).await.unwrap();
        let upload = session.upload(request(Method::Put, "/x")).await.unwrap();
        // A refusal may arrive before the body is taken.
        let _ = upload.send(Bytes::from_static(b"x")).await;
        assert_eq!(upload.finish().await.unwrap().head.status, want);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_bodys_end_wakes_who_sends_it() {
    let fixture = Fixture::start(|c| {
        c.folder.writable = true;
        c.folder.quota = 100_000;
        {
            c.limits.opens = Some(1000);
            c.limits.opens_per_second = Some(1000);
        }
    })
    .await;
    let peer = fixture.gateway.listening().peer();
    for transport in [Transport::Tcp, Transport::Quic] {
        let node = Node::client().unwrap().with_transport(transport);
        let session = node.session(&peer).await.unwrap();
        // More requests than a session has streams: none is left over.
        for n in 0..300 {
            let upload = session.upload(request(Method::Put, "/x")).await.unwrap();
            let sent = async {
                loop {
                    match upload.send(content(150_000).into()).await {
                        Ok(()) => {}
                        Err(e) => return e,
                    }
                }
            };
            let error = tokio::time::timeout(Duration::from_secs(20), sent).await;
            assert!(
                matches!(error, Ok(SessionError::Answered)),
                "{n}: {error:?}"
            );
            let mut answer = upload.finish().await.unwrap();
            let why = answer.body.all(1000).await.unwrap().unwrap();
            assert_eq!(answer.head.status, 403, "{n}");
            assert_eq!(why, b"the quota is used up");
        }
        // A sender that has nothing to send yet is notified too, and an abandoned request leaves nothing.
        let refused = session.upload(request(Method::Put, "/x")).await.unwrap();
        refused.send(vec![1; 100_001].into()).await.unwrap();
        let told = tokio::time::timeout(Duration::from_secs(20), refused.answered()).await;
        assert!(told.is_ok());
        let given_up = session.upload(request(Method::Put, "/y")).await.unwrap();
        given_up.send(Bytes::from_static(b"half")).await.unwrap();
        given_up.abandon().await;
        let got = session.ask(request(Method::Get, "/y")).await.unwrap();
        assert_eq!(got.head.status, 404);
        session.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_pins_wrong_keys_and_dead_addresses_are_told_apart() {
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let node = Node::client().unwrap();
    let source = |e: DialError| match e {
        DialError::Outer { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    let mut pin = peer.clone();
    pin.pin = Some([1; 32]);
    let said = source(node.connect(&pin).await.unwrap_err());
    assert!(said.contains("pinned"), "{said}");
    let mut web = peer.clone();
    web.pin = None;
    let said = source(node.connect(&web).await.unwrap_err());
    assert!(said.contains("does not verify"), "{said}");
    let mut key = peer.clone();
    key.key = *Identity::from_seed(&[3; 32]).public();
    let said = source(node.connect(&key).await.unwrap_err());
    assert!(said.contains("405"), "{said}");
    let mut dead = peer;
    dead.addrs = vec!["127.0.0.1:1".into()];
    let said = source(node.connect(&dead).await.unwrap_err());
    assert!(said.contains("cannot connect"), "{said}");
    assert_eq!(fixture.metric("betanet_tickets_refused_total"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_a_running_transfer_end() {
    let fixture = Fixture::start(|_| {}).await;
    let bytes = content(20_000_000);
    write(&fixture.served("big.bin"), &bytes);
    let node = Node::client().unwrap();
    let session = node
        .session(&fixture.gateway.listening().peer())
        .await
        .unwrap();
    let mut answer = session.ask(request(Method::Get, "/big.bin")).await.unwrap();
    let first = answer.body.chunk().await.unwrap().unwrap();
    let rest = async {
        let mut got = first.to_vec();
        while let Some(more) = answer.body.chunk().await.unwrap() {
            got.extend_from_slice(&more);
        }
        got
    };
    let (stopped, got) = tokio::join!(fixture.gateway.shutdown(), rest);
    assert!(stopped);
    assert!(got == bytes, "{} of {}", got.len(), bytes.len());
    let after = session.ask(request(Method::Get, "/hello.txt")).await;
    assert!(after.is_err(), "the session is closed");
}
