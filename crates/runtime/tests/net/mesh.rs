//! A network of real gateways on loopback: joining, lookups, paths, failover, admission.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_htx::Config;
use betanet_runtime::{
    Error, Gateway, GatewayConfig, Headers, Identity, Mesh, Method, Network, Node, Peer,
    RelayError, Request, Role, SessionError,
};
use betanet_wire::Code;

use super::Fixture;

fn request(method: Method, target: &str) -> Request {
    Request::new(method, target, Headers::default())
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes with separate addresses, the first five of which are seeds.
pub(crate) struct Net {
    home: tempfile::TempDir,
    pub(crate) gateways: Vec<Option<Gateway>>,
    network: PathBuf,
}

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[100 + n; 32])
}

fn folder(home: &Path, n: u8) -> PathBuf {
    let dir = home.join(format!("node{n}"));
    for sub in ["served", "cover"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("served/hello.txt"), format!("hello from {n}")).unwrap();
    std::fs::write(dir.join("cover/index.html"), "<h1>Hello</h1>").unwrap();
    dir
}

/// Returns an address of a network: one /24 per node, chosen by test, so that concurrent tests do not collide.
fn ip(test: u8, n: u8) -> String {
    format!("127.{test}.{n}.1")
}

fn free_port(test: u8) -> u16 {
    let listener = std::net::TcpListener::bind((ip(test, 1), 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl Net {
    pub(crate) async fn start(test: u8, nodes: u8) -> Self {
        let home = tempfile::tempdir().unwrap();
        let port = free_port(test);
        let key = |n: u8| identity(n).public().to_string();
        let keys = |from: u8, n: u8| {
            let all: Vec<String> = (from..from + n)
                .map(|k| format!("\"{}\"", key(k)))
                .collect();
            all.join(", ")
        };
        let mut file = format!(
            "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n\
             dial_every_ms = 50\ngossip_every_s = [1, 2]\n",
            keys(60, 3),
            keys(70, 5)
        );
        for n in 1..=5 {
            let dir = folder(home.path(), n);
            let certificate = betanet_carrier::Certificate::load_or_create(
                &dir.join("key.pem.tls.pem"),
                &["localhost".into()],
            );
            let pin = betanet_wire::text::hex(certificate.unwrap().pin());
            let at = ip(test, n);
            file += &format!(
                "[[seed]]\nkey = \"{}\"\naddrs = [\"/ip4/{at}/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
                key(n)
            );
        }
        let network = home.path().join("NETWORK.toml");
        std::fs::write(&network, file).unwrap();
        let mut this = Self {
            home,
            gateways: Vec::new(),
            network,
        };
        for n in 1..=nodes {
            this.gateways.push(Some(this.gateway(test, n, port).await));
        }
        this
    }

    async fn gateway(&self, test: u8, n: u8, port: u16) -> Gateway {
        self.gateway_as(test, n, port, |_| {}).await
    }

    async fn gateway_as(
        &self,
        test: u8,
        n: u8,
        port: u16,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Gateway {
        self.gateway_of(identity(n), test, n, port, change).await
    }

    async fn gateway_of(
        &self,
        identity: Identity,
        test: u8,
        n: u8,
        port: u16,
        change: impl FnOnce(&mut GatewayConfig),
    ) -> Gateway {
        let dir = folder(self.home.path(), n);
        let roles: &[Role] = if n <= 5 {
            &[Role::Seed]
        } else {
            &[Role::Entry, Role::Core, Role::Gateway]
        };
        let at = ip(test, n);
        let mut config = GatewayConfig::default();
        config.listener.listen = vec![format!("{at}:{port}")];
        config.folder.serve = Some(dir.join("served"));
        config.site.cover = Some(dir.join("cover"));
        config.node.key = dir.join("key.pem");
        config.mesh.network = Some(self.network.clone());
        config.mesh.roles = roles.iter().copied().collect();
        config.node.dial_from = Some(at.parse().unwrap());
        config.limits.per_address = Some(64);
        change(&mut config);
        config.check().unwrap();
        Gateway::start(identity, &config).await.unwrap()
    }

    fn client(&self) -> (Arc<Node>, Mesh) {
        let node = Arc::new(Node::new(None, Config::default()).unwrap());
        let network = Network::read(&self.network).unwrap();
        let mesh = Mesh::client(Arc::clone(&node), &network).unwrap();
        (node, mesh)
    }

    pub(crate) async fn stop(mut self) {
        for gateway in self.gateways.iter_mut().filter_map(Option::take) {
            gateway.shutdown().await;
        }
    }
}

fn name(n: u8) -> betanet_runtime::Name {
    identity(n).public().node_id().into()
}

async fn hello(session: &betanet_runtime::SessionHandle) -> String {
    let get = Request::new(Method::Get, "/hello.txt", Headers::default());
    let mut answer = session.ask(get).await.unwrap();
    String::from_utf8(answer.body.all(100).await.unwrap().unwrap()).unwrap()
}

/// Waits until a condition that others cause holds.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let tries = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tries)
        .await
        .unwrap_or_else(|_| panic!("not in 30 s: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_and_a_client_goes_over_paths_that_it_finds() {
    let mut net = Net::start(30, 10).await;
    for gateway in net.gateways.iter().flatten() {
        eventually("a node has reached the nine others", async || {
            let view = gateway.view().await.unwrap();
            view.peers.iter().filter(|p| p.reached.is_some()).count() == 9
        })
        .await;
    }
    let (node, mesh) = net.client();
    let ways = mesh.ways_to(name(10), 3, &[], PATIENCE).await.unwrap();
    let mut relays: Vec<_> = ways.iter().flat_map(|w| &w[..2]).map(Peer::name).collect();
    relays.sort();
    relays.dedup();
    assert_eq!(relays.len(), 2 * ways.len(), "no two ways share a relay");
    let way = &ways[0];
    assert_eq!(way.len(), 3);
    assert_eq!(way[2].name(), name(10));
    let session = node.session_over(&way[..2], &way[2]).await.unwrap();
    assert_eq!(hello(&session).await, "hello from 10");
    // The first relay dies. The path reports it, and another path leads over other nodes.
    let dead = (6..=9).find(|n| way[0].name() == name(*n)).unwrap();
    let gateway = net.gateways[usize::from(dead) - 1].take().unwrap();
    gateway.shutdown().await;
    eventually("the session is over", async || session.is_closed()).await;
    mesh.down(way[0].key.node_id()).await;
    let used: Vec<_> = way[..2].iter().map(|p| p.key.node_id()).collect();
    let mut others = mesh.ways_to(name(10), 3, &used, PATIENCE).await.unwrap();
    let other = others.remove(0);
    assert!(other[..2].iter().all(|p| !used.contains(&p.key.node_id())));
    let session = node.session_over(&other[..2], &other[2]).await.unwrap();
    assert_eq!(hello(&session).await, "hello from 10");
    mesh.stop().await;
    node.close().await;
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_and_paths_too_long_are_said_so() {
    let net = Net::start(31, 7).await;
    let (node, mesh) = net.client();
    let ways = mesh.ways_to(name(7), 2, &[], PATIENCE).await.unwrap();
    assert_eq!(ways[0].len(), 2);
    match mesh.ways_to(name(7), 5, &[], Duration::from_secs(5)).await {
        Err(RelayError::NoRelays { to, relays: 4, .. }) => assert_eq!(to, name(7)),
        other => panic!("{other:?}"),
    }
    match mesh.ways_to(name(50), 1, &[], Duration::from_secs(2)).await {
        Err(RelayError::Unknown(unknown)) => assert_eq!(unknown, name(50)),
        other => panic!("{other:?}"),
    }
    mesh.stop().await;
    node.close().await;
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_sessions_of_one_address_stand_and_a_peer_that_opens_too_fast_is_slowed() {
    let fixture = Fixture::start(|_| {}).await;
    let peer = fixture.gateway.listening().peer();
    let node = Node::client().unwrap();
    let mut standing = Vec::new();
    for _ in 0..8 {
        let session = node.connect(&peer).await.unwrap();
        session
            .ask(request(Method::Get, "/hello.txt"))
            .await
            .unwrap();
        standing.push(session);
    }
    let ninth = async {
        let session = node.connect(&peer).await?;
        Ok::<_, Error>(session.ask(request(Method::Get, "/hello.txt")).await?)
    };
    let ninth = ninth.await;
    assert!(
        ninth.is_err(),
        "{ninth:?} {}",
        fixture.gateway.render_metrics()
    );
    assert_eq!(fixture.metric("betanet_sessions_not_admitted_total"), 1);
    // A closed session makes room for a new one.
    standing.pop().unwrap().close().await;
    eventually("the place is free", async || {
        let Ok(session) = node.connect(&peer).await else {
            return false;
        };
        session
            .ask(request(Method::Get, "/hello.txt"))
            .await
            .is_ok()
    })
    .await;
    let mut refused = 0;
    for _ in 0..200 {
        match standing[0].ask(request(Method::Get, "/hello.txt")).await {
            Err(SessionError::Exchange(betanet_runtime::ExchangeError::Ended {
                code: Code::POLICY_REJECTED,
                ..
            })) => refused += 1,
            other => drop(other.unwrap()),
        }
    }
    assert!(refused > 0, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_header_of_1_1_leads_over_a_relay_that_the_network_finds() {
    use super::legacy::{Place, client, header, server, ticket_for};
    let server = server().await;
    let mut net = Net::start(32, 6).await;
    let port = free_port(32);
    let far = net.gateway_as(32, 7, port, |s| {
        s.legacy.accept = true;
        s.legacy.dial = Some(server.at.clone());
    });
    let far = far.await;
    let tickets = net.home.path().join("tickets11.key");
    let near = net.gateway_as(32, 8, port, |s| {
        s.legacy.tickets = Some(tickets);
        s.legacy.to = Some(far.listening().peer());
    });
    let near = near.await;
    let header = header(&[6, 7].map(|n| identity(n).public().node_id()));
    let mut seed = 0;
    // The nodes' records have not all arrived yet.
    eventually("the relay is found", async || {
        seed += 1;
        let ticket = ticket_for(&near, seed);
        let at = &near.listening().addresses[0];
        let Ok(mut end) = client(at, &ticket, Place::Cookie).await else {
            return false;
        };
        for part in header.chunks(70) {
            end.stream(1, part);
        }
        end.stream(3, b"found");
        while end.next().await.is_some() {
            if end.got.get(&3).is_some_and(|got| got == b"FOUND") {
                return true;
            }
        }
        false
    })
    .await;
    net.gateways.extend([Some(far), Some(near)]);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_of_one_key_is_a_fault_that_the_first_tells() {
    let mut net = Net::start(33, 6).await;
    let port = free_port(33);
    let first = net.gateways[5].take().unwrap();
    assert_eq!(first.faults().await, []);
    let second = net.gateway_of(identity(6), 33, 7, port, |_| {}).await;
    eventually("the first knows of the second", async || {
        !first.faults().await.is_empty()
    })
    .await;
    let told = first.status().await["faults"].to_string();
    let at = format!("/ip4/{}/tcp/{port}", ip(33, 7));
    assert!(
        told.contains(&at) && told.contains("a second node"),
        "{told}"
    );
    // The later one is the one that peers prefer.
    assert_eq!(second.faults().await, []);
    net.gateways.extend([Some(first), Some(second)]);
    net.stop().await;
}
