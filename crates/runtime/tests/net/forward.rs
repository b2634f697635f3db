//! Sessions over relays, each with its own keys and sockets.

use betanet_path::Failure;
use betanet_runtime::{DialError, Error, Headers, Identity, Method, Name, Node, Peer, Request};
use bytes::Bytes;

use crate::{Fixture, content, write};

fn request(method: Method, path: &str) -> Request {
    Request::new(method, path, Headers::default())
}

/// Starts gateways 10, 11, …, each of which relays paths to the next. Returns the peers in this order.
async fn chain(len: u8) -> (Vec<Fixture>, Vec<Peer>) {
    let mut fixtures: Vec<Fixture> = Vec::new();
    for i in (0..len).rev() {
        let next = fixtures.last().map(|f| f.gateway.listening().peer());
        let fixture = Fixture::start_as(10 + i, |c| {
            c.relay.onward = next.into_iter().collect();
            c.folder.writable = true;
        });
        fixtures.push(fixture.await);
    }
    fixtures.reverse();
    let peers = fixtures.iter().map(|f| f.gateway.listening().peer());
    let peers = peers.collect();
    (fixtures, peers)
}

fn name(seed: u8) -> Name {
    Identity::from_seed(&[seed; 32]).public().node_id().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_go_both_ways_over_one_to_seven_relays() {
    let (fixtures, peers) = chain(8).await;
    let bytes = content(3_000_000);
    for relays in [1, 2, 3, 7] {
        let node = Node::client().unwrap();
        let (exit, before) = peers[..=relays].split_last().unwrap();
        let session = node.session_over(before, exit).await.unwrap();
        assert_eq!(session.peer(), &exit.key);
        let upload = session
            .upload(request(Method::Put, "/up.bin"))
            .await
            .unwrap();
        for part in bytes.chunks(70_000) {
            upload.send(Bytes::copy_from_slice(part)).await.unwrap();
        }
        let status = upload.finish().await.unwrap().head.status;
        assert!(matches!(status, 201 | 204), "{status}");
        assert_eq!(
            std::fs::read(fixtures[relays].served("up.bin")).unwrap(),
            bytes
        );
        let mut answer = session.ask(request(Method::Get, "/up.bin")).await.unwrap();
        assert_eq!(answer.body.all(4_000_000).await.unwrap().unwrap(), bytes);
        session.rekey().await.unwrap();
        session.ping().await.unwrap();
        // The same path again gives the same session.
        let again = node.session_over(before, exit).await.unwrap();
        let transcript = session.facts().await.unwrap().transcript;
        assert_eq!(again.facts().await.unwrap().transcript, transcript);
        session.close().await;
    }
    let counted = |i: usize, what: &str| fixtures[i].metric(what);
    assert_eq!(counted(0, "betanet_streams_forwarded_total"), 4);
    assert_eq!(counted(0, "betanet_paths_total{outcome=\"onward\"}"), 4);
    assert_eq!(counted(7, "betanet_paths_total{outcome=\"exit\"}"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_does_not_learn_the_identity_that_the_entry_sees() {
    let (_relay, peers) = chain(2).await;
    // Only the client's identity for the exit may write there. Its identity for the entry has no access.
    let me = Identity::from_seed(&[77; 32]);
    let allowed: Name = me.public().node_id().into();
    let exit = Fixture::start_as(20, |c| c.folder.allow = vec![allowed]).await;
    let exit_peer = exit.gateway.listening().peer();
    let entry = Fixture::start_as(21, |c| c.relay.onward = vec![exit_peer.clone()]).await;
    let entry_peer = entry.gateway.listening().peer();
    let put = |node: Node| {
        let (entry, exit) = (entry_peer.clone(), exit_peer.clone());
        async move {
            let session = node.connect_over(&[entry], &exit).await.unwrap();
            let upload = session.upload(request(Method::Put, "/x")).await.unwrap();
            upload.finish().await.unwrap().head.status
        }
    };
    assert_eq!(put(Node::client().unwrap()).await, 403);
    let config = betanet_htx::Config::default();
    assert_eq!(put(Node::new(Some(me), config).unwrap()).await, 201);
    drop(peers);
}

async fn failed(node: &Node, relays: &[Peer], exit: &Peer) -> (Name, Failure) {
    match node.connect_over(relays, exit).await {
        Err(DialError::PathEnded { by, why }) => (by, why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hop_that_cannot_go_on_is_named() {
    let (fixtures, peers) = chain(4).await;
    let node = Node::client().unwrap();
    // 11 knows only 12.
    let got = failed(&node, &[peers[0].clone(), peers[1].clone()], &peers[3]).await;
    assert_eq!(got, (name(11), Failure::NoRoute));
    // The last one relays nothing.
    let got = failed(&node, &peers, &stranger()).await;
    assert_eq!(got, (name(13), Failure::PolicyDeny));
    // 13 has stopped.
    fixtures[3].gateway.shutdown().await;
    let got = failed(&node, &peers[..3], &peers[3]).await;
    assert_eq!(got, (name(12), Failure::PeerDown));
    // A path cannot contain a node twice.
    let twice = node
        .connect_over(&[peers[0].clone(), peers[1].clone()], &peers[0])
        .await;
    assert!(matches!(twice, Err(DialError::Path(_))), "{twice:?}");
    // Shorter paths over the same relays still work.
    let session = node.connect_over(&peers[..2], &peers[2]).await.unwrap();
    let mut answer = session
        .ask(request(Method::Get, "/hello.txt"))
        .await
        .unwrap();
    assert_eq!(answer.body.all(100).await.unwrap().unwrap(), b"hello");
}

fn stranger() -> Peer {
    Peer {
        key: *Identity::from_seed(&[99; 32]).public(),
        addrs: vec!["127.0.0.1:1".into()],
        pin: Some([0; 32]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_ends_cuts_its_sessions_and_another_way_resumes_by_range() {
    let exit = Fixture::start_as(30, |_| {}).await;
    let bytes = content(40_000_000);
    write(&exit.served("big.bin"), &bytes);
    let exit_peer = exit.gateway.listening().peer();
    let relay = |seed| {
        let onward = vec![exit_peer.clone()];
        Fixture::start_as(seed, |c| c.relay.onward = onward)
    };
    let (first, second) = (relay(31).await, relay(32).await);
    let node = Node::client().unwrap();
    let way = [first.gateway.listening().peer()];
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    let mut answer = session.ask(request(Method::Get, "/big.bin")).await.unwrap();
    let etag = answer.head.headers.get("etag").unwrap().clone();
    let mut got = answer.body.chunk().await.unwrap().unwrap().to_vec();
    // A dropped gateway closes its sockets at once, like a failed machine.
    let Fixture { gateway, home, .. } = first;
    drop(gateway);
    while let Ok(Some(more)) = answer.body.chunk().await {
        got.extend_from_slice(&more);
    }
    assert!(got.len() < bytes.len(), "nothing was cut");
    let way = [second.gateway.listening().peer()];
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    let mut headers = Headers::default();
    headers.set("range", format!("bytes={}-{}", got.len(), bytes.len() - 1));
    headers.set("if-match", etag);
    let get = Request::new(Method::Get, "/big.bin", headers);
    let mut answer = session.ask(get).await.unwrap();
    while let Some(more) = answer.body.chunk().await.unwrap() {
        got.extend_from_slice(&more);
    }
    assert!(got == bytes);
    drop(home);
}

/// A TCP proxy that falls silent on a signal, and closes nothing.
pub(crate) async fn proxy(to: String) -> (String, tokio::sync::watch::Sender<bool>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    let (silent, told) = tokio::sync::watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        let (near, far) = (near.into_split(), far.into_split());
        for (mut from, mut to) in [(near.0, far.1), (far.0, near.1)] {
            let told = told.clone();
            tokio::spawn(async move {
                let mut buf = vec![0; 64 << 10];
                while let Ok(n @ 1..) = from.read(&mut buf).await {
                    if *told.borrow() {
                        std::future::pending::<()>().await;
                    }
                    to.write_all(&buf[..n]).await.unwrap();
                }
            });
        }
    });
    (address, silent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_falls_silent_is_found_by_a_probe_long_before_a_ping_would() {
    let exit = Fixture::start_as(50, |_| {}).await;
    write(&exit.served("big.bin"), &content(30_000_000));
    let (address, silent) = proxy(exit.address()).await;
    let mut exit_peer = exit.gateway.listening().peer();
    exit_peer.addrs = vec![address];
    let entry = Fixture::start_as(51, |c| c.relay.onward = vec![exit_peer.clone()]).await;
    let node = Node::client().unwrap();
    let way = [entry.gateway.listening().peer()];
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    let mut answer = session.ask(request(Method::Get, "/big.bin")).await.unwrap();
    assert!(answer.body.chunk().await.unwrap().is_some());
    silent.send_replace(true);
    // Send bytes that need an answer. PING alone would take 30 s of silence and twice 5 s.
    let cut = async {
        assert!(session.ping().await.is_err());
        while let Ok(Some(_)) = answer.body.chunk().await {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), cut)
        .await
        .unwrap();
    assert!(session.ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_many_streams_to_a_next_hop_leaves_some_for_others() {
    let exit = Fixture::start_as(70, |_| {}).await;
    let peer = exit.gateway.listening().peer();
    let entry = Fixture::start_as(71, |c| {
        c.relay.onward = vec![peer.clone()];
        {
            c.limits.opens = Some(1000);
            c.limits.opens_per_second = Some(1000);
        }
    })
    .await;
    let way = [entry.gateway.listening().peer()];
    let greedy = Node::client().unwrap();
    let mut standing = Vec::new();
    while standing.len() < 256
        && let Ok(session) = greedy.connect_over(&way, &peer).await
    {
        standing.push(session);
    }
    let elsewhere = Some([127, 8, 0, 1].into());
    let other = Node::client().unwrap().with_source_address(elsewhere);
    let asked = async {
        let session = other.connect_over(&way, &peer).await?;
        let mut answer = session.ask(request(Method::Get, "/hello.txt")).await?;
        Ok::<_, Error>(answer.body.all(100).await?)
    };
    let got = tokio::time::timeout(std::time::Duration::from_secs(20), asked).await;
    assert_eq!(got.unwrap().unwrap().unwrap(), b"hello");
    assert_eq!(standing.len(), 64);
    // A closed path makes room for another one.
    standing.pop().unwrap().close().await;
    // This works once the relay has noticed the close.
    let again = async { while greedy.connect_over(&way, &peer).await.is_err() {} };
    let again = tokio::time::timeout(std::time::Duration::from_secs(20), again).await;
    assert!(again.is_ok());
}
