//! Records of a network of three signers, and nodes that have them.

use std::path::Path;
use std::sync::Arc;

use betanet_bar::Request;
use betanet_journal::{Journal, Kind, Lead, Record};
use betanet_keys::{Identity, Peer};
use betanet_log::{Head, Log, Memory, SignedHead};
use betanet_naming::testkit::Network;
use betanet_naming::{Alias, AliasRecord};
use betanet_naming_service::client::{self, Trust};
use betanet_naming_service::{NameService, PREFIX, Running, Settings};
use betanet_runtime::{Clock, Gateway, GatewayConfig, SessionHandle};
use betanet_wire::cbor;
use bytes::Bytes;

/// Records of the ledger in one record of the serving node's journal.
const TOGETHER: usize = 2000;

pub(crate) fn alias(n: usize) -> Alias {
    Alias::from_wire(&format!("name-{n}.example")).unwrap()
}

fn owner(n: usize) -> Identity {
    let mut seed = [0x6f; 32];
    seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
    Identity::from_seed(&seed)
}

/// A network, its records, and a head of them.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) records: Vec<Bytes>,
    head: SignedHead,
}

impl World {
    pub(crate) fn new(records: usize, owners: usize) -> Self {
        let network = Network::new(3, 0);
        let ts = Clock::start().now().unix_ms;
        let part = records.div_ceil(std::thread::available_parallelism().map_or(1, usize::from));
        let sign = |from: usize| -> Vec<Bytes> {
            let shared: Vec<Identity> = match owners < records {
                true => (0..owners).map(owner).collect(),
                false => Vec::new(),
            };
            let one = |n: usize| {
                let own = shared.get(n % owners.max(1)).cloned();
                let own = own.unwrap_or_else(|| owner(n));
                let record = AliasRecord::bind(alias(n), &own, 1, ts);
                network.finalized(record, own.public(), &[n % 3, (n + 1) % 3])
            };
            (from..records.min(from + part)).map(one).collect()
        };
        let records: Vec<Bytes> = std::thread::scope(|scope| {
            let parts = (0..records).step_by(part.max(1));
            let threads: Vec<_> = parts.map(|from| scope.spawn(move || sign(from))).collect();
            let all = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            all.collect()
        });
        let mut log = Log::new(Memory::default());
        for record in &records {
            log.append(record).unwrap();
        }
        let head = Head {
            ts,
            set: *network.genesis().signers.hash(),
            root: log.root(),
            size: log.size(),
            state: None,
        };
        Self {
            head: network.sign(head, &[0, 1]),
            network,
            records,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }

    /// Writes the records and the head as a node's journal has them.
    pub(crate) async fn write(&self, journal: &dyn Journal) {
        let Ok(Lead::Leads(term)) = journal.lead().await else {
            unreachable!("nobody else has it")
        };
        for part in self.records.chunks(TOGETHER) {
            journal
                .append(term.epoch, vec![finals(part)])
                .await
                .unwrap();
        }
        let head = Record::new(Kind::new("head").unwrap(), self.head.to_bytes());
        journal.append(term.epoch, vec![head]).await.unwrap();
        journal.resign(term.epoch).await.unwrap();
    }
}

/// Records of the ledger as one record of the journal.
pub(crate) fn finals(records: &[Bytes]) -> Record {
    let list: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
    Record::new(Kind::new("final").unwrap(), cbor::to_vec(&list))
}

/// A ledger node.
pub(crate) struct Node {
    gateway: Gateway,
    pub(crate) running: Running,
    pub(crate) peer: Peer,
    genesis: betanet_naming::Genesis,
}

impl Node {
    pub(crate) async fn start(
        world: &World,
        home: &Path,
        journal: Arc<dyn Journal>,
        peers: Vec<Peer>,
        snapshot_every: u64,
    ) -> Self {
        let mut config = GatewayConfig::in_state(home.join("state"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        config.limits.opens = Some(1 << 20);
        config.limits.opens_per_second = Some(1 << 20);
        let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
        let genesis = world.network.genesis();
        let mut settings = Settings::new(genesis.clone());
        settings.peers = peers;
        settings.snapshot_every = snapshot_every;
        let names = NameService::new(settings).unwrap();
        let gateway = Gateway::builder(identity.clone(), &config)
            .service(PREFIX, names.service())
            .stream_type(NameService::STREAMS, names.streams())
            .extension(names.extension())
            .start()
            .await
            .unwrap();
        let running = names.start(&identity, journal, |node| node).await.unwrap();
        running.leads().await;
        Self {
            peer: gateway.listening().peer(),
            gateway,
            running,
            genesis,
        }
    }

    /// Asks it one thing, after which it looks whether a snapshot is due.
    pub(crate) async fn touch(&self) {
        let mut asker = Asker::new(&self.genesis, &self.peer).await;
        asker.get(client::head_request()).await;
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
    }
}

/// A client's session.
pub(crate) struct Asker {
    _node: betanet_runtime::Node,
    session: SessionHandle,
    pub(crate) trust: Trust,
}

impl Asker {
    pub(crate) async fn of(world: &World, peer: &Peer) -> Self {
        Self::new(&world.network.genesis(), peer).await
    }

    async fn new(genesis: &betanet_naming::Genesis, peer: &Peer) -> Self {
        let node = betanet_runtime::Node::client().unwrap();
        let session = node.session_over(&[], peer).await.unwrap();
        Self {
            _node: node,
            session,
            trust: Trust::new(genesis),
        }
    }

    pub(crate) async fn get(&mut self, request: Request) -> Vec<u8> {
        let answer = self.session.ask(request).await.unwrap();
        client::body(answer, 4 << 20).await.unwrap()
    }
}
