//! A network with a mix on loopback: seeds with a directory, and mixnodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_keys::Envelope;
use betanet_mix::{BeaconSecret, epoch_at};
use betanet_runtime::{
    Certificate, Clock, Cover, DirectoryPlan, Gateway, GatewayConfig, Identity, MixClient,
    MixOptions, Network, Node, Role, build_directory, publish_directory,
};
use betanet_wire::text::hex;

const SEEDS: u8 = 5;
/// First byte after 127 of the nodes' addresses, each in its own /16.
const BASE: u8 = 200;

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[100 + n; 32])
}

fn epoch() -> u32 {
    epoch_at(Clock::start().now().unix_ms)
}

pub(crate) struct Net {
    home: tempfile::TempDir,
    port: u16,
    relays: BTreeMap<u8, Gateway>,
    beacon: BeaconSecret,
}

impl Net {
    /// Starts seeds and mixnodes, and publishes their directory.
    pub(crate) async fn start(mixnodes: u8) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind((format!("127.{BASE}.0.1"), 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let keys = |from: u8, n: u8| {
            let all: Vec<String> = (from..from + n)
                .map(|k| format!("\"{}\"", identity(k).public()))
                .collect();
            all.join(", ")
        };
        let beacon = BeaconSecret::from_seed(&[BASE; 32]).unwrap();
        let mut file = format!(
            "name = \"test\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n\
             dial_every_ms = 50\ngossip_every_s = [1, 2]\n[mix]\nbeacon_key = \"{}\"\nlayers = 1\nfirst_epoch = {}\n",
            keys(60, 3),
            keys(70, 5),
            hex(&beacon.public().to_bytes()),
            epoch(),
        );
        for n in 1..=SEEDS {
            let dir = home.path().join(format!("node{n}"));
            std::fs::create_dir_all(&dir).unwrap();
            let path = dir.join("key.pem.tls.pem");
            let certificate = Certificate::load_or_create(&path, &["localhost".into()]);
            let pin = hex(certificate.unwrap().pin());
            let key = identity(n).public().to_string();
            file += &format!(
                "[[seed]]\nkey = \"{key}\"\naddrs = [\"/ip4/127.{}.0.1/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
                BASE + n
            );
        }
        std::fs::write(home.path().join("NETWORK.toml"), file).unwrap();
        let mut this = Self {
            home,
            port,
            relays: BTreeMap::new(),
            beacon,
        };
        for n in 1..=SEEDS + mixnodes {
            let role = if n <= SEEDS { Role::Seed } else { Role::Mix };
            let gateway = Gateway::start(identity(n), &this.config(n, role)).await;
            this.relays.insert(n, gateway.unwrap());
        }
        this.publish(mixnodes.into()).await;
        this
    }

    /// The settings of a node, from its folder, which is made.
    pub(crate) fn config(&self, n: u8, role: Role) -> GatewayConfig {
        let dir = self.folder(n);
        std::fs::create_dir_all(&dir).unwrap();
        let at = format!("127.{}.0.1", BASE + n);
        let mut config = GatewayConfig::default();
        config.listener.listen = vec![format!("{at}:{}", self.port)];
        config.node.key = dir.join("key.pem");
        config.mesh.network = Some(self.file());
        config.mesh.roles = [role].into_iter().collect();
        config.mesh.org = format!("org {n}");
        config.node.dial_from = Some(at.parse().unwrap());
        config.limits.per_address = Some(64);
        config.mix.rate = 50;
        config.mix.workers = Some(1);
        config.check().unwrap();
        config
    }

    pub(crate) fn folder(&self, n: u8) -> PathBuf {
        self.home.path().join(format!("node{n}"))
    }

    fn file(&self) -> PathBuf {
        Path::join(self.home.path(), "NETWORK.toml")
    }

    pub(crate) fn network(&self) -> Network {
        Network::read(&self.file()).unwrap()
    }

    async fn publish(&self, relays: usize) {
        let plan = DirectoryPlan {
            epoch: epoch(),
            seq: 1,
            beacon_sig: self.beacon.sign(epoch()),
            wait: Duration::from_secs(60),
            enough: Some(relays),
            standing: BTreeMap::new(),
            others: betanet_runtime::LotteryWeight::default(),
        };
        let (directory, left_out) = build_directory(&self.network(), &plan).await.unwrap();
        assert_eq!((directory.relays.len(), left_out), (relays, Vec::new()));
        let mut envelope = Envelope::new(directory.to_record()).unwrap();
        for n in 70..75 {
            envelope.sign(&identity(n));
        }
        let signed = envelope.to_bytes();
        let network = self.network();
        let said = publish_directory(&network, directory.epoch, &signed);
        for (seed, said) in said.await.unwrap() {
            assert_eq!(said, Ok(201), "{seed}");
        }
    }

    /// A client over so many relays.
    pub(crate) async fn client(&self, relays: usize, cover: Option<Duration>) -> MixClient {
        let options = MixOptions {
            relays,
            cover: Cover {
                loops: None,
                packets: cover,
            },
            ..MixOptions::default()
        };
        let node = Node::client().unwrap();
        MixClient::join(node, &self.network(), &options)
            .await
            .unwrap()
    }

    /// Packets that left all relays.
    pub(crate) fn packets(&self) -> u64 {
        let out = |gateway: &Gateway| {
            let text = gateway.render_metrics();
            let line = "betanet_mix_packets_total{direction=\"out\"}";
            let found = text.lines().find(|l| l.starts_with(line));
            found.map_or(0, |l| l.rsplit_once(' ').unwrap().1.parse().unwrap())
        };
        self.relays.values().map(out).sum()
    }

    pub(crate) async fn stop(self) {
        let stopping = self.relays.values().map(Gateway::shutdown);
        futures_util::future::join_all(stopping).await;
    }
}
