//! Limits on the relay resources that others' paths use: dials, lookups, and idle sessions. The clock is stopped while any task
//! has work, and advances in steps.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_path::Failure;
use betanet_runtime::{
    DialError, Headers, Identity, Method, Node, Peer, Request, Role, SessionHandle, Transport,
};
use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance, pause, resume};

use crate::Fixture;

/// Time limit of a relay for reaching a next hop.
const NEXT_HOP: Duration = Duration::from_secs(10);

fn stranger(n: u8) -> Peer {
    Peer {
        key: *Identity::from_seed(&[n; 32]).public(),
        addrs: vec!["127.0.0.1:1".into()],
        pin: Some([0; 32]),
    }
}

/// Returns a client with a separate address.
fn client(n: u8) -> Arc<Node> {
    let at = IpAddr::from([127, 60, 0, n]);
    let node = Node::client().unwrap().with_transport(Transport::Tcp);
    Arc::new(node.with_source_address(Some(at)))
}

/// Lets all tasks finish their current work, including sockets, while the clock is stopped.
async fn turns() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        turns().await;
    }
}

/// Advances the stopped clock.
async fn pass(seconds: u64) {
    for _ in 0..2 * seconds {
        advance(Duration::from_millis(500)).await;
        turns().await;
    }
}

/// A path that fails, with the reason and the time taken.
type Failing = JoinHandle<(Failure, Duration)>;

/// Begins paths of a client over a relay to these hops.
fn begin(client: &Arc<Node>, relay: &Peer, hops: Vec<Peer>) -> Vec<Failing> {
    let paths = hops.into_iter().map(|hop| {
        let (client, relay, began) = (Arc::clone(client), relay.clone(), Instant::now());
        tokio::spawn(async move {
            let way = std::slice::from_ref(&relay);
            match client.connect_over(way, &hop).await {
                Err(DialError::PathEnded { why, by }) if by == relay.name() => {
                    (why, began.elapsed())
                }
                other => panic!("{other:?}"),
            }
        })
    });
    paths.collect()
}

/// Removes the paths that have failed by now, each at once. Returns their reasons.
fn refused(paths: &mut Vec<Failing>) -> Vec<Failure> {
    let mut all = Vec::new();
    paths.retain_mut(|path| match path.now_or_never() {
        Some(failed) => {
            let (why, took) = failed.unwrap();
            assert_eq!(took, Duration::ZERO, "{why:?}");
            all.push(why);
            false
        }
        None => true,
    });
    all
}

/// Waits until all paths have failed at the time limit for a next hop.
async fn given_up(paths: Vec<Failing>) {
    pass(11).await;
    for path in paths {
        let (why, took) = path.now_or_never().expect("given up").unwrap();
        assert_eq!(why, Failure::PeerDown);
        assert!(
            (NEXT_HOP..NEXT_HOP + Duration::from_secs(1)).contains(&took),
            "{took:?}"
        );
    }
}

async fn hello(session: &SessionHandle) -> Vec<u8> {
    let get = Request::new(Method::Get, "/hello.txt", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    answer.body.all(100).await.unwrap().unwrap()
}

#[tokio::test]
async fn dials_for_paths_are_16_of_an_address_and_128_in_all() {
    // The next hop accepts connections and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hop = stranger(99);
    hop.addrs = vec![silent.local_addr().unwrap().to_string()];
    let exit = Fixture::start_as(61, |c| c.listener.quic = false).await;
    let exit_peer = exit.gateway.listening().peer();
    let relay = Fixture::start_as(60, |c| {
        c.relay.onward = vec![hop.clone(), exit_peer.clone()];
        c.listener.quic = false;
    })
    .await;
    let entry = relay.gateway.listening().peer();
    let paths =
        |outcome: &str| relay.metric(&format!("betanet_paths_total{{outcome=\"{outcome}\"}}"));
    // One client asks for more than its share, one asks for a single path, and nine ask for a share each, of which there are
    // eight.
    let (greedy, other) = (client(1), client(2));
    let many: Vec<Arc<Node>> = (10..19).map(client).collect();
    for node in many.iter().chain([&greedy, &other]) {
        node.session(&entry).await.unwrap();
    }
    pause();
    let mut waiting = begin(&greedy, &entry, vec![hop.clone(); 20]);
    until(|| paths("onward") + paths("refused") == 20).await;
    turns().await;
    assert_eq!(refused(&mut waiting), [Failure::PolicyDeny; 4]);
    assert_eq!(waiting.len(), 16);
    let way = [entry.clone()];
    let session = tokio::spawn({
        let (other, exit) = (Arc::clone(&other), exit_peer.clone());
        async move { other.connect_over(&way, &exit).await.unwrap() }
    });
    until(|| session.is_finished()).await;
    let session = session.await.unwrap();
    given_up(waiting).await;
    let before = paths("onward") + paths("refused");
    let mut waiting: Vec<Failing> = many
        .iter()
        .flat_map(|node| begin(node, &entry, vec![hop.clone(); 16]))
        .collect();
    until(|| paths("onward") + paths("refused") == before + 144).await;
    turns().await;
    assert_eq!(refused(&mut waiting), [Failure::PolicyDeny; 16]);
    assert_eq!(waiting.len(), 128);
    given_up(waiting).await;
    // All places are released.
    let mut again = begin(&greedy, &entry, vec![hop; 16]);
    turns().await;
    assert_eq!(refused(&mut again), []);
    given_up(again).await;
    resume();
    assert_eq!(hello(&session).await, b"hello");
}

/// Writes the file of a network whose seeds do not answer, so that lookups in it take the maximum time.
fn network(home: &Path) -> PathBuf {
    let key = |n: u8| format!("\"{}\"", Identity::from_seed(&[n; 32]).public());
    let keys = |from: u8, n: u8| (from..from + n).map(key).collect::<Vec<_>>().join(", ");
    let (signers, maintainers) = (keys(160, 3), keys(170, 5));
    let mut file = format!(
        "name = \"test\"\nsigners = [{signers}]\nmaintainers = [{maintainers}]\n[policy]\nprivate = true\n"
    );
    for n in 180..185 {
        let key = key(n);
        file += &format!("[[seed]]\nkey = {key}\naddrs = [\"/ip4/127.0.0.1/tcp/1/tls\"]\n");
    }
    let path = home.join("NETWORK.toml");
    std::fs::write(&path, file).unwrap();
    path
}

#[tokio::test]
async fn lookups_for_paths_to_random_hops_are_2_of_an_address_and_8_in_all() {
    let home = tempfile::tempdir().unwrap();
    let network = network(home.path());
    let relay = Fixture::start_as(62, |c| {
        c.mesh.network = Some(network);
        c.mesh.roles = [Role::Core].into_iter().collect();
        c.listener.quic = false;
    })
    .await;
    let entry = relay.gateway.listening().peer();
    let onward = || relay.metric("betanet_paths_total{outcome=\"onward\"}");
    let mut next = 200;
    let mut hops = || -> Vec<Peer> {
        next += 3;
        (next - 3..next).map(stranger).collect()
    };
    let nodes: Vec<Arc<Node>> = (20..25).map(client).collect();
    let fresh = client(30);
    for node in nodes.iter().chain([&fresh]) {
        node.session(&entry).await.unwrap();
    }
    pause();
    let mut waiting = Vec::new();
    for (n, node) in (1..).zip(&nodes) {
        let mut three = begin(node, &entry, hops());
        until(|| onward() == 3 * n).await;
        turns().await;
        let none = refused(&mut three);
        let places = if n <= 4 { 2 } else { 0 };
        assert_eq!(none, vec![Failure::NoRoute; 3 - places], "{n}");
        waiting.extend(three);
    }
    assert_eq!(waiting.len(), 8);
    given_up(waiting).await;
    // The paths have ended. The lookups have not, and keep their places until then.
    let mut early = begin(&fresh, &entry, hops());
    until(|| onward() == 18).await;
    turns().await;
    assert_eq!(refused(&mut early), [Failure::NoRoute; 3]);
    pass(10).await;
    let mut late = begin(&fresh, &entry, hops());
    until(|| onward() == 21).await;
    turns().await;
    assert_eq!(refused(&mut late), [Failure::NoRoute]);
    given_up(late).await;
}

#[tokio::test]
async fn a_session_that_a_relay_dialled_for_others_ends_once_nobody_used_it_for_200_s() {
    let exit = Fixture::start_as(64, |c| c.listener.quic = false).await;
    let exit_peer = exit.gateway.listening().peer();
    let relay = Fixture::start_as(63, |c| {
        c.relay.onward = vec![exit_peer.clone()];
        c.listener.quic = false;
    })
    .await;
    let way = [relay.gateway.listening().peer()];
    let node = client(1);
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    assert_eq!(hello(&session).await, b"hello");
    // The relay's own session, and the one that it relays.
    assert_eq!(exit.gateway.sessions(), 2);
    pause();
    pass(400).await;
    assert_eq!(exit.gateway.sessions(), 2, "while it is used it stays");
    resume();
    session.close().await;
    session.over().await;
    pause();
    until(|| exit.gateway.sessions() == 1).await;
    pass(198).await;
    assert_eq!(exit.gateway.sessions(), 1);
    pass(3).await;
    assert_eq!(exit.gateway.sessions(), 0);
    resume();
    // The next path dials again.
    let session = node.connect_over(&way, &exit_peer).await.unwrap();
    assert_eq!(hello(&session).await, b"hello");
}
