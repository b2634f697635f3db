//! Ledger nodes on loopback, and the questions of a client.

use std::path::Path;
use std::sync::Arc;

use betanet_bar::{Headers, Method, Request};
use betanet_journal::Journal;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_log::SignedHead;
use betanet_naming::Alias;
use betanet_naming::testkit::Network;
use betanet_naming_service::client::{self, Newest, Refusal, Resolved, Trust};
use betanet_naming_service::{ClientError, NameService, PREFIX, Running, Settings};
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, SessionHandle};
use betanet_store::State;
use bytes::Bytes;

/// A node with its ledger.
pub(crate) struct Ledger {
    pub(crate) gateway: Gateway,
    pub(crate) running: Running,
    pub(crate) peer: Peer,
}

/// A node whose ledger is not started.
pub(crate) struct Idle {
    pub(crate) names: NameService,
    pub(crate) peer: Peer,
    gateway: Gateway,
    identity: Identity,
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

pub(crate) fn alias(text: &str) -> Alias {
    Alias::from_wire(text).unwrap()
}

/// Position of a signer in ascending order of keys.
pub(crate) fn position(network: &Network, key: &PublicKey) -> usize {
    let signers = network.genesis().signers;
    signers.position(key.as_bytes()).unwrap()
}

/// The signer at a position.
pub(crate) fn signer_at(network: &Network, at: usize) -> &Identity {
    let mut all = network.signers.iter();
    all.find(|i| position(network, i.public()) == at).unwrap()
}

/// Opens a journal of its own sub-folder.
pub(crate) fn journal(home: &Path) -> Arc<dyn Journal> {
    // One that was dropped, as by a crash, gives the folder back soon.
    let patience = std::time::Duration::from_secs(20);
    let state = Arc::new(State::open_within(&home.join("names"), patience).unwrap());
    Arc::new(SqliteJournal::open(&state, SqliteSettings::default()).unwrap())
}

impl Idle {
    pub(crate) async fn new(home: &Path, network: &Network, signer: Option<&Identity>) -> Self {
        let mut config = GatewayConfig::in_state(home.join("state"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        config.limits.per_address = Some(256);
        let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
        let mut settings = Settings::new(network.genesis());
        settings.signer = signer.cloned();
        settings.snapshot_every = 5;
        let names = NameService::new(settings).unwrap();
        let gateway = Gateway::builder(identity.clone(), &config)
            .service(PREFIX, names.service())
            .stream_type(NameService::STREAMS, names.streams())
            .extension(names.extension())
            .start()
            .await
            .unwrap();
        Self {
            peer: gateway.listening().peer(),
            names,
            gateway,
            identity,
        }
    }

    pub(crate) async fn start(self, home: &Path) -> Ledger {
        let journal = journal(home);
        let running = self.names.start(&self.identity, journal, |node| node).await;
        let running = running.unwrap();
        running.leads().await;
        Ledger {
            gateway: self.gateway,
            running,
            peer: self.peer,
        }
    }
}

impl Ledger {
    /// A node that knows no other and signs nothing, unless it is given a key.
    pub(crate) async fn alone(home: &Path, network: &Network, signer: Option<&Identity>) -> Self {
        Idle::new(home, network, signer).await.start(home).await
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
    }
}

/// The signers' nodes of a network, of which some are started, each knowing all.
pub(crate) async fn signers(home: &Path, network: &Network, up: &[usize]) -> Vec<Ledger> {
    let of: Vec<Identity> = (0..network.signers.len())
        .map(|at| signer_at(network, at).clone())
        .collect();
    nodes(home, network, &of, up).await
}

/// Nodes that sign with these keys, of which some are started, each knowing all.
pub(crate) async fn nodes(
    home: &Path,
    network: &Network,
    of: &[Identity],
    up: &[usize],
) -> Vec<Ledger> {
    let mut idle = Vec::new();
    for (at, signer) in of.iter().enumerate() {
        let home = home.join(at.to_string());
        idle.push(Idle::new(&home, network, Some(signer)).await);
    }
    let known: Vec<(PublicKey, Peer)> = idle
        .iter()
        .zip(of)
        .map(|(node, signer)| (*signer.public(), node.peer.clone()))
        .collect();
    let mut all = Vec::new();
    for (at, mut node) in idle.into_iter().enumerate() {
        if up.contains(&at) {
            node.names.know(Vec::new(), known.clone());
            all.push(node.start(&home.join(at.to_string())).await);
        }
    }
    all
}

/// A client's session.
pub(crate) struct Asker {
    _node: Node,
    pub(crate) session: SessionHandle,
    pub(crate) trust: Trust,
}

impl Asker {
    pub(crate) async fn of(peer: &Peer, network: &Network) -> Self {
        let node = Node::client().unwrap();
        let session = node.session_over(&[], peer).await.unwrap();
        Self {
            _node: node,
            session,
            trust: Trust::new(&network.genesis()),
        }
    }

    pub(crate) async fn get(&self, request: Request) -> Result<Vec<u8>, ClientError> {
        let answer = self.session.ask(request).await.unwrap();
        client::body(answer, 4 << 20).await
    }

    pub(crate) async fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, ClientError> {
        let headers = Headers::default().with("content-length", body.len().to_string());
        let request = Request::new(Method::Post, &format!("{PREFIX}/{path}"), headers);
        let upload = self.session.upload(request).await.unwrap();
        let _ = upload.send(Bytes::copy_from_slice(body)).await;
        client::body(upload.finish().await.unwrap(), 4 << 20).await
    }

    pub(crate) async fn resolve(&mut self, name: &str) -> Resolved {
        let alias = alias(name);
        let bytes = self.get(client::alias_request(&alias)).await.unwrap();
        client::resolved(&bytes, &alias, &mut self.trust, now_ms()).unwrap()
    }

    pub(crate) async fn newest(&mut self) -> Newest {
        let bytes = self.get(client::head_request()).await.unwrap();
        client::newest(&bytes, &mut self.trust).unwrap()
    }

    /// Submits a record that is taken, and then a head of it.
    pub(crate) async fn make_final(&self, record: &Bytes, head: &SignedHead) {
        self.post("records", record).await.unwrap();
        self.post("head", &head.to_bytes()).await.unwrap();
    }
}

pub(crate) fn refusal<T: std::fmt::Debug>(of: Result<T, ClientError>) -> Refusal {
    match of {
        Err(ClientError::Refused(refusal)) => *refusal,
        other => panic!("{other:?}"),
    }
}
