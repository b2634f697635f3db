//! A mix of real nodes on loopback: mixnodes, a gateway, seeds with a directory, clients.

mod load;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_keys::Envelope;
use betanet_mix::{
    BeaconSecret, ClientError, Command, Delay, Directory, Hop, PACKET, PAYLOAD, Packet, RelayKey,
    Way, build, epoch_at,
};
use betanet_runtime::{
    Call, Clock, DirectoryPlan, DirectoryProblem, Error, Gateway, GatewayConfig, Headers, Identity,
    Method, MixClient, MixOptions, MixSession, MixnetError, Network, Node, Reply, Request, Role,
    SessionHandle, Substream, Upload, build_directory, publish_directory,
};
use betanet_wire::text::hex;
use bytes::Bytes;

use super::content;

const SEEDS: u8 = 5;
/// Number of the node that serves.
const GATEWAY: u8 = 6;

/// Seeds 1 to 5, gateway 6, and mixnodes from 7 on, each in its own /16.
struct Mix {
    home: tempfile::TempDir,
    /// First byte of the addresses.
    base: u8,
    port: u16,
    nodes: BTreeMap<u8, Gateway>,
    network: PathBuf,
    beacon: BeaconSecret,
    /// Differences of a mixnode from the defaults, including some that no setting controls.
    carry: Carry,
    beyond: fn(&mut GatewayConfig),
}

type Carry = fn(&mut GatewayConfig);

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[100 + n; 32])
}

fn name(n: u8) -> betanet_runtime::Name {
    identity(n).public().node_id().into()
}

fn epoch() -> u32 {
    epoch_at(Clock::start().now().unix_ms)
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

impl Mix {
    /// Starts all nodes, with `mixnodes` mixnodes.
    async fn start(base: u8, mixnodes: u8, carry: Carry) -> Self {
        Self::start_beyond(base, mixnodes, carry, |_| ()).await
    }

    async fn start_beyond(
        base: u8,
        mixnodes: u8,
        carry: Carry,
        beyond: fn(&mut GatewayConfig),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind((format!("127.{base}.0.1"), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let keys = |from: u8, n: u8| {
            let all: Vec<String> = (from..from + n)
                .map(|k| format!("\"{}\"", identity(k).public()))
                .collect();
            all.join(", ")
        };
        let beacon = BeaconSecret::from_seed(&[base; 32]).unwrap();
        let mut file = format!(
            "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n\
             dial_every_ms = 50\ngossip_every_s = [1, 2]\n[mix]\nbeacon_key = \"{}\"\nlayers = 1\nfirst_epoch = {}\n",
            keys(60, 3),
            keys(70, 5),
            hex(&beacon.public().to_bytes()),
            epoch(),
        );
        for n in 1..=SEEDS {
            let dir = folder(home.path(), n);
            let certificate = betanet_carrier::Certificate::load_or_create(
                &dir.join("key.pem.tls.pem"),
                &["localhost".into()],
            );
            let pin = hex(certificate.unwrap().pin());
            let key = identity(n).public().to_string();
            file += &format!(
                "[[seed]]\nkey = \"{key}\"\naddrs = [\"/ip4/127.{}.0.1/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
                base + n
            );
        }
        let network = home.path().join("NETWORK.toml");
        std::fs::write(&network, file).unwrap();
        let mut this = Self {
            home,
            base,
            port,
            nodes: BTreeMap::new(),
            network,
            beacon,
            carry,
            beyond,
        };
        for n in 1..=GATEWAY + mixnodes {
            this.up(n).await;
        }
        this
    }

    async fn up(&mut self, n: u8) {
        let dir = folder(self.home.path(), n);
        let role = match n {
            1..=SEEDS => Role::Seed,
            GATEWAY => Role::Gateway,
            _ => Role::Mix,
        };
        let at = format!("127.{}.0.1", self.base + n);
        let mut config = GatewayConfig::default();
        config.listener.listen = vec![format!("{at}:{}", self.port)];
        config.folder.serve = Some(dir.join("served"));
        config.site.cover = Some(dir.join("cover"));
        config.node.key = dir.join("key.pem");
        config.mesh.network = Some(self.network.clone());
        config.mesh.roles = [role].into_iter().collect();
        config.mesh.org = format!("org {n}");
        config.node.dial_from = Some(at.parse().unwrap());
        config.limits.per_address = Some(64);
        config.folder.writable = true;
        config.mix.rate = 50;
        config.mix.workers = Some(1);
        config.mix.lose_seed = n.into();
        if n > GATEWAY {
            (self.carry)(&mut config);
        }
        config.check().unwrap();
        if n > GATEWAY {
            (self.beyond)(&mut config);
        }
        let gateway = Gateway::builder(identity(n), &config)
            .service("/late/", late)
            .start();
        self.nodes.insert(n, gateway.await.unwrap());
    }

    fn network(&self) -> Network {
        Network::read(&self.network).unwrap()
    }

    async fn directory(&self, relays: usize) -> Directory {
        let plan = DirectoryPlan {
            epoch: epoch(),
            seq: 1,
            beacon_sig: self.beacon.sign(epoch()),
            wait: Duration::from_secs(20),
            enough: Some(relays),
            standing: BTreeMap::new(),
            others: betanet_runtime::LotteryWeight::default(),
        };
        let (directory, left_out) = build_directory(&self.network(), &plan).await.unwrap();
        assert_eq!((directory.relays.len(), left_out), (relays, Vec::new()));
        directory
    }

    /// Signs a directory with so many maintainers, and publishes it to the seeds. Returns the first answer.
    async fn publish(&self, directory: &Directory, signers: u8) -> Result<u16, String> {
        let mut envelope = Envelope::new(directory.to_record()).unwrap();
        for n in 70..70 + signers {
            envelope.sign(&identity(n));
        }
        let signed = envelope.to_bytes();
        let said = publish_directory(&self.network(), directory.epoch, &signed)
            .await
            .unwrap();
        assert_eq!(said.len(), usize::from(SEEDS));
        let first = said[0].1.clone();
        assert!(
            said.iter().all(|(_, s)| s.is_ok() == first.is_ok()),
            "{said:?}"
        );
        first
    }

    /// Publishes a directory to all seeds from a separate address. Returns their common answer.
    async fn publish_from(&self, from: [u8; 4], directory: &Directory) -> Result<u16, String> {
        let mut envelope = Envelope::new(directory.to_record()).unwrap();
        for n in 70..75 {
            envelope.sign(&identity(n));
        }
        let signed = Bytes::from(envelope.to_bytes());
        let node = Node::client()
            .unwrap()
            .with_source_address(Some(from.into()));
        let mut said = Vec::new();
        for seed in 1..=SEEDS {
            let upload = self.put_to(&node, seed, directory.epoch).await;
            // A seed that refuses the head reads no body.
            let _ = upload.send(signed.clone()).await;
            said.push(answered(upload).await);
        }
        node.close().await;
        let first = said[0].clone();
        assert!(said.iter().all(|s| *s == first), "{said:?}");
        first
    }

    /// Sends the head of a directory's PUT to a seed.
    async fn put_to(&self, node: &Node, seed: u8, epoch: u32) -> Upload {
        let seed = self.nodes[&seed].listening().peer();
        let path = format!("/.bn/mix/{epoch}");
        let put = Request::new(Method::Put, &path, Headers::default());
        node.session(&seed)
            .await
            .unwrap()
            .upload(put)
            .await
            .unwrap()
    }

    async fn ready(base: u8, mixnodes: u8, carry: Carry) -> Self {
        let this = Self::start(base, mixnodes, carry).await;
        this.publish_one(mixnodes.into()).await;
        this
    }

    /// Publishes a directory of so many relays to the seeds.
    async fn publish_one(&self, relays: usize) {
        let directory = self.directory(relays).await;
        assert_eq!(self.publish(&directory, 5).await, Ok(201));
    }

    async fn client(&self, relays: usize) -> Result<MixClient, MixnetError> {
        let options = MixOptions {
            relays,
            ..MixOptions::default()
        };
        MixClient::join(Node::client().unwrap(), &self.network(), &options).await
    }

    fn metric(&self, n: u8, line: &str) -> u64 {
        let text = self.nodes[&n].render_metrics();
        let found = text.lines().find(|l| l.starts_with(line));
        found.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    fn packets_out(&self, n: u8) -> u64 {
        self.metric(n, "betanet_mix_packets_total{direction=\"out\"}")
    }

    fn dropped(&self, n: u8, cause: &str) -> u64 {
        self.metric(
            n,
            &format!("betanet_mix_dropped_total{{cause=\"{cause}\"}}"),
        )
    }

    async fn stop(self) {
        let stopping = self.nodes.values().map(Gateway::shutdown);
        futures_util::future::join_all(stopping).await;
    }
}

/// Waits, then reports the number of received bytes and their client.
async fn late(mut call: Call) -> Reply {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let body = call.body.all(1 << 20).await.unwrap().unwrap();
    Reply::text(200, format!("{} of {:?}", body.len(), call.client))
}

/// Returns the answer to an upload.
async fn answered(upload: Upload) -> Result<u16, String> {
    let mut answer = upload.finish().await.unwrap();
    let why = answer.body.all(4096).await.unwrap().unwrap_or_default();
    match answer.head.status {
        status @ 200..300 => Ok(status),
        status => Err(format!("{status}: {}", String::from_utf8_lossy(&why))),
    }
}

async fn get(session: &MixSession, path: &str) -> Vec<u8> {
    let request = Request::new(Method::Get, path, Headers::default());
    let mut answer = session.ask(request).await.unwrap();
    assert_eq!(answer.head.status, 200);
    answer.body.all(8 << 20).await.unwrap().unwrap()
}

async fn put(session: &MixSession, path: &str, body: &[u8]) -> u16 {
    let request = Request::new(Method::Put, path, Headers::default());
    let upload = session.upload(request).await.unwrap();
    for chunk in body.chunks(20_000) {
        upload.send(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    upload.finish().await.unwrap().head.status
}

/// Waits until a condition that others cause holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let tries = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tries)
        .await
        .unwrap_or_else(|_| panic!("not in 30 s: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_over_three_five_and_seven_relays_and_fewer_relays_are_an_error() {
    let mix = Mix::ready(130, 7, |_| ()).await;
    for relays in [3, 5, 7] {
        let client = mix.client(relays).await.unwrap();
        let session = client.session(name(GATEWAY)).await.unwrap();
        assert_eq!(get(&session, "/hello.txt").await, b"hello from 6");
        let file = content(60_000 + relays);
        let path = format!("/file{relays}");
        assert_eq!(put(&session, &path, &file).await, 201);
        assert!(get(&session, &path).await == file);
        // A slow service answers here as over a direct session.
        let ask = Request::new(Method::Post, "/late/x", Headers::default());
        let upload = session.upload(ask).await.unwrap();
        upload.send(Bytes::from(file)).await.unwrap();
        let mut said = upload.finish().await.unwrap();
        let said = said.body.all(99).await.unwrap().unwrap();
        let want = format!("{} of Anonymous", 60_000 + relays);
        assert_eq!(String::from_utf8(said).unwrap(), want);
        let not_there = Request::new(Method::Get, "/nothing", Headers::default());
        assert_eq!(session.ask(not_there).await.unwrap().head.status, 404);
        let unknown = client.session(name(50));
        let unknown = tokio::time::timeout(Duration::from_secs(1), unknown).await;
        assert!(unknown.is_err(), "it is still looked for");
        client.close().await;
    }
    for n in 7..=13 {
        assert!(mix.packets_out(n) > 20, "{n}: {}", mix.packets_out(n));
        // Packets that a gateway still sends to a client that has left are not an error.
        for cause in ["mac", "replay", "slot", "body", "epoch", "version"] {
            assert_eq!(mix.dropped(n, cause), 0, "{n}: {cause}");
        }
    }
    match mix.client(8).await.err() {
        Some(MixnetError::Mix(ClientError::Hops(8))) => {}
        other => panic!("{other:?}"),
    }
    mix.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_whole_while_relays_lose_packets_and_one_dies() {
    let mut mix = Mix::ready(150, 5, |s| s.mix.lose = 10).await;
    let file = content(300_000);
    std::fs::write(mix.home.path().join("node6/served/m"), &file).unwrap();
    let client = mix.client(3).await.unwrap();
    let session = client.session(name(GATEWAY)).await.unwrap();
    assert!(get(&session, "/m").await == file);
    let lost: u64 = (7..=11).map(|n| mix.dropped(n, "rehearsal")).sum();
    assert!(lost > 2, "{lost}");
    // A relay other than the guard stops. Packets for it are dropped, and later ones take other paths.
    let dead = (7..=11).find(|n| name(*n) != client.guard()).unwrap();
    mix.nodes.remove(&dead).unwrap().shutdown().await;
    let dropped = || {
        let others = (6..=11).filter(|n| *n != dead);
        others.map(|n| mix.dropped(n, "dead_hop")).sum::<u64>()
    };
    // Paths are random, so a single request may not use the stopped relay.
    let asks = async {
        while dropped() == 0 {
            assert_eq!(get(&session, "/hello.txt").await, b"hello from 6");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asks)
        .await
        .expect("what goes over it is dropped");
    client.close().await;
    mix.stop().await;
}

/// Opens a packet stream to a node, and returns it with its session.
async fn packets_to(node: &Node, gateway: &Gateway) -> (SessionHandle, Substream) {
    let session = node.connect(&gateway.listening().peer()).await.unwrap();
    let stream = session.peer_session().open(0x02).await.unwrap();
    (session, stream)
}

async fn send_all(stream: &mut Substream, packets: &[Packet]) {
    for some in packets.chunks(8) {
        std::future::poll_fn(|cx| stream.poll_ready(cx))
            .await
            .unwrap();
        let bytes: Vec<u8> = some.iter().flat_map(|p| p.0).collect();
        stream.send(bytes.into()).unwrap();
    }
    std::future::poll_fn(|cx| stream.poll_ready(cx))
        .await
        .unwrap();
}

async fn send(stream: &mut Substream, packet: &Packet) {
    send_all(stream, std::slice::from_ref(packet)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_packets_are_counted_by_cause_and_none_passes_twice_or_after_a_restart() {
    let mut mix = Mix::start(170, 2, |_| ()).await;
    let (first, second) = (7, 8);
    let node = Node::client().unwrap();
    let directory = mix.directory(2).await;
    let key_of = |n: u8| {
        let node = name(n).node_id();
        let relay = directory.relays.iter().find(|r| r.node == node).unwrap();
        RelayKey::check(relay.key).unwrap()
    };
    let (key, next_key) = (key_of(first), key_of(second));
    let packet = |x: u8, key: RelayKey, delay: u16| {
        let hops = [
            Hop {
                key,
                command: Command::Forward {
                    delay: Delay::Chosen(delay),
                    next: name(second).node_id(),
                },
            },
            Hop {
                key: next_key,
                command: Command::Drop { id: [1; 16] },
            },
        ];
        let way = Way {
            epoch: epoch().to_be_bytes()[3],
            hops: &hops,
            x: [x; 32],
            pad: [x; 320],
        };
        build(way, &[x; PAYLOAD]).unwrap()
    };
    let (session, mut stream) = packets_to(&node, &mix.nodes[&first]).await;
    let good = packet(1, key, 0);
    send(&mut stream, &good).await;
    eventually("the packet is dropped at its end", || {
        mix.dropped(second, "cover") == 1
    })
    .await;
    // Repeat the packet, then change each part of it, its epoch and its version.
    send(&mut stream, &good).await;
    let change = |at: usize, to: u8| {
        let mut bad = packet(2, key, 0);
        bad.0[at] = to;
        bad
    };
    let flip = |at: usize| change(at, packet(2, key, 0).0[at] ^ 0x10);
    for bad in [
        change(0, 2),
        change(3, 1),
        change(1, good.epoch().wrapping_add(7)),
    ] {
        send(&mut stream, &bad).await;
    }
    for at in [4, 20, 36, 52, 371] {
        send(&mut stream, &flip(at)).await;
    }
    // A point of small order.
    let mut small = packet(2, key, 0);
    small.0[4..36].fill(0);
    send(&mut stream, &small).await;
    // A delay above the maximum cannot be encoded. A changed body is detected where the packet ends, unless that node drops it
    // unread.
    let (beta, body) = (flip(371), flip(PACKET - 1));
    assert_ne!(beta, body);
    send(&mut stream, &body).await;
    let causes = |mix: &Mix| {
        let of = |cause| mix.dropped(first, cause);
        (
            of("replay"),
            of("version"),
            of("epoch"),
            of("mac"),
            of("point"),
        )
    };
    eventually("each is counted", || causes(&mix) == (1, 2, 1, 5, 1)).await;
    eventually("the changed body goes on as noise", || {
        mix.dropped(second, "cover") == 2
    })
    .await;
    // A truncated packet is ignored, and a session that sends half a packet and ends harms nobody.
    std::future::poll_fn(|cx| stream.poll_ready(cx))
        .await
        .unwrap();
    stream.send(Bytes::from(vec![1; PACKET / 2])).unwrap();
    stream.end();
    session.close().await;
    // After a restart, the node has new keys, and packets under the old ones do not open.
    mix.nodes.remove(&first).unwrap().shutdown().await;
    mix.up(first).await;
    let (session, mut stream) = packets_to(&node, &mix.nodes[&first]).await;
    send(&mut stream, &good).await;
    eventually("it is refused", || mix.dropped(first, "mac") == 1).await;
    assert_eq!(mix.dropped(second, "cover"), 2);
    session.close().await;
    mix.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_does_not_count_is_said_to_and_never_used() {
    let mix = Mix::start(190, 3, |_| ()).await;
    let none = mix.client(3).await.err();
    assert!(
        matches!(none, Some(MixnetError::NoDirectory { .. })),
        "{none:?}"
    );
    let directory = mix.directory(3).await;
    let few = mix.publish(&directory, 4).await.unwrap_err();
    assert!(
        few.contains("signed by 4 of the maintainers, where 5 are needed"),
        "{few}"
    );
    let moved = |change: fn(&mut Directory)| {
        let mut other = directory.clone();
        change(&mut other);
        other
    };
    // Four wrong directories are an address's share of a minute, at each seed.
    for (n, (change, why)) in (0..).zip([
        (
            (|d| d.epoch += 1) as fn(&mut Directory),
            "the beacon of epoch",
        ),
        (
            |d| d.relays.reverse(),
            "does not stand behind the one before it",
        ),
        (
            |d| d.relays[1].key = d.relays[0].key,
            "a key that another relay has",
        ),
        (|d| d.relays[0].key = [0; 32], "not of prime order"),
        (|d| d.layers = 200, "where 1 to 7 are allowed"),
        (
            |d| d.relays[2].proof[70] ^= 1,
            "does not prove that it stands in its layer",
        ),
        (|d| d.relays[2].weight = 0, "no weight"),
    ]) {
        let from = [127, 99, n / 4, 1];
        let said = mix.publish_from(from, &moved(change)).await.unwrap_err();
        assert!(said.contains(why), "{said}: {why}");
    }
    let rests = mix.publish_from([127, 99, 0, 1], &directory).await;
    assert!(
        rests.as_ref().is_err_and(|s| s.starts_with("429: ")),
        "{rests:?}"
    );
    // A directory of 20 epochs ago is refused at its head, before its body arrives, and uses nothing of a share.
    let early = moved(|d| d.epoch -= 20);
    let node = Node::client().unwrap();
    for seed in (1..=SEEDS).cycle().take(25) {
        let upload = mix.put_to(&node, seed, early.epoch).await;
        upload.answered().await;
        let said = answered(upload).await.unwrap_err();
        assert!(said.contains("is the epoch of now"), "{said}");
    }
    node.close().await;
    let said = mix.publish(&early, 5).await.unwrap_err();
    assert!(said.contains("is the epoch of now"), "{said}");
    // A directory of an epoch that is long over, with its own beacon and no relays.
    let mut stale = moved(|d| d.relays.clear());
    stale.epoch -= 20;
    stale.beacon_sig = mix.beacon.sign(stale.epoch);
    let said = mix.publish(&stale, 5).await.unwrap_err();
    assert!(said.contains("is the epoch of now"), "{said}");
    assert_eq!(mix.publish(&directory, 5).await, Ok(201));
    assert_eq!(mix.publish(&directory, 5).await, Ok(204), "the same again");
    match mix.client(4).await.err() {
        Some(MixnetError::Mix(ClientError::TooFew { relays: 4, have: 3 })) => {}
        other => panic!("{other:?}"),
    }
    mix.client(3).await.unwrap().close().await;
    // Another directory of the same epoch: neither counts any more.
    let rival = moved(|d| d.seq += 1);
    let said = mix.publish(&rival, 5).await.unwrap_err();
    assert!(said.contains("neither is used"), "{said}");
    match mix.client(3).await.err() {
        Some(MixnetError::Directory(DirectoryProblem::Equivocation(e))) => {
            assert_eq!(e, directory.epoch);
        }
        other => panic!("{other:?}"),
    }
    mix.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_replay_memory_does_not_fit_does_not_start() {
    let mix = Mix::start(210, 0, |_| ()).await;
    let dir = folder(mix.home.path(), 30);
    let mut config = GatewayConfig::default();
    config.folder.serve = Some(dir.join("served"));
    config.site.cover = Some(dir.join("cover"));
    config.node.key = dir.join("key.pem");
    config.mesh.network = Some(mix.network.clone());
    config.mix.rate = 25_000;
    config.check().unwrap();
    let started = Gateway::start(identity(30), &config).await;
    match started.err() {
        Some(Error::Mixnet(MixnetError::ReplayMemory {
            rate: 25_000,
            needed: 7456,
            allowed: 1024,
        })) => {}
        other => panic!("{other:?}"),
    }
    mix.stop().await;
}

/// Returns the number of this process's threads that belong to a data plane.
fn mix_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: &std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
    let of_mix = |task: &std::fs::DirEntry| name(task).is_ok_and(|n| n.starts_with("mix-"));
    tasks.flatten().filter(of_mix).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_threads_end_with_it() {
    let mix = Mix::start(220, 2, |_| ()).await;
    // Each mixnode and the gateway has a worker and a sender.
    eventually("they run", || mix_threads() >= 6).await;
    mix.stop().await;
    eventually("they are gone", || mix_threads() == 0).await;
}
