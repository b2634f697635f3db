//! A ledger of two people and two signers, nodes on loopback, and the requests of a client.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_economy_service::client::{self, Replied, Trust};
use betanet_economy_service::rows::{Account, Balance, balance_key, table};
use betanet_economy_service::{EconomyService, PREFIX, Running, Settings};
use betanet_journal::Journal;
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::{Identity, Peer};
use betanet_log::SignedHead;
use betanet_runtime::{
    Clock, Extension, Gateway, GatewayConfig, Headers, Method, Node, SessionHandle,
};
use betanet_store::State;
use betanet_tokenomics::account::{MICRO, USER, address};
use betanet_tokenomics::journal::AnswerBody;
use betanet_tokenomics::request::{Kind, Op, Transfer};
use betanet_tokenomics::{Asset, Envelope, GenesisDraft, Request, Role};
use betanet_wire::NodeId;

pub(crate) const FOG: u64 = MICRO;

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub(crate) fn account(n: u8) -> NodeId {
    address(identity(n).public().as_bytes())
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// Two people, 1 and 2, with 1 000 FOG each, and the signers 11 and 12.
pub(crate) fn genesis() -> Vec<u8> {
    let alloc = [1, 2].map(|n| (*identity(n).public().as_bytes(), USER, 1_000 * FOG));
    let signers = [11, 12].map(|n| identity(n).public().as_bytes().to_vec());
    GenesisDraft {
        name: "a town",
        t0: now_ms(),
        epoch_ms: 86_400_000,
        cap: 1_000_000 * FOG,
        halving: 365,
        alloc: &alloc,
        roles: &[(Role::Signers, signers.to_vec())],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

/// Opens the journal of a folder. One that was dropped, as by a crash, gives the folder back soon.
pub(crate) fn journal(home: &Path) -> Arc<dyn Journal> {
    let state = State::open_within(&home.join("economy"), Duration::from_secs(20)).unwrap();
    Arc::new(SqliteJournal::open(&Arc::new(state), SqliteSettings::default()).unwrap())
}

/// A node of a ledger.
pub(crate) struct Books {
    pub(crate) gateway: Gateway,
    pub(crate) running: Running,
    pub(crate) peer: Peer,
    extension: Arc<dyn Extension>,
}

impl Books {
    pub(crate) async fn start(home: &Path, settings: Settings, journal: Arc<dyn Journal>) -> Self {
        let books = Self::begin(home, settings, journal).await;
        books.running.leads().await;
        books
    }

    /// Starts a node, which may have to wait for another's lease.
    pub(crate) async fn begin(home: &Path, settings: Settings, journal: Arc<dyn Journal>) -> Self {
        let mut config = GatewayConfig::in_state(home.join("state"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        config.limits.per_address = Some(256);
        config.limits.opens = Some(100_000);
        config.limits.opens_per_second = Some(100_000);
        let identity = betanet_runtime::load_or_new_identity(&config.node.key).unwrap();
        let service = EconomyService::new(identity.clone(), settings).unwrap();
        let gateway = Gateway::builder(identity, &config)
            .service(PREFIX, service.service())
            .extension(service.extension())
            .start()
            .await
            .unwrap();
        let running = service.start(journal).await.unwrap();
        Self {
            peer: gateway.listening().peer(),
            extension: service.extension(),
            gateway,
            running,
        }
    }

    pub(crate) fn measure(&self, name: &str) -> u64 {
        let all = self.extension.measures();
        all.iter().find(|m| m.name == name).unwrap().values[0].1
    }

    /// A leader that signs with these keys.
    pub(crate) async fn leader(home: &Path, genesis: &[u8], signers: &[u8]) -> Self {
        Self::start(home, settings(genesis, signers), journal(home)).await
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.gateway.shutdown().await;
    }
}

pub(crate) fn settings(genesis: &[u8], signers: &[u8]) -> Settings {
    let mut settings = Settings::new(genesis.to_vec());
    settings.signers = signers.iter().map(|n| identity(*n)).collect();
    settings.head_every = Duration::from_millis(20);
    settings.look_every = Duration::from_millis(20);
    settings.snapshot_every = 5;
    settings
}

/// A client's session.
pub(crate) struct Asker {
    _node: Node,
    session: SessionHandle,
    pub(crate) peer: Peer,
    pub(crate) trust: Trust,
}

fn fresh() -> [u8; 16] {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0xa5; 16];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    id
}

/// A payment's request, signed.
pub(crate) fn payment(trust: &Trust, from: u8, nonce: u64, to: u8, amt: u64) -> Envelope {
    let kind = Kind::Plain {
        from: account(from),
        to: account(to),
        asset: Asset::Fog,
        amt,
    };
    let list = vec![Transfer::new(fresh(), false, &kind).unwrap()];
    signed(trust, from, nonce, &Op::Transfers { list })
}

pub(crate) fn signed(trust: &Trust, by: u8, nonce: u64, op: &Op) -> Envelope {
    let by_it = [(account(by), nonce)];
    let request = Request::new(&by_it, now_ms() + 60_000, fresh(), op).unwrap();
    Envelope::sign(request, trust.genesis().id(), &[&identity(by)])
}

impl Asker {
    pub(crate) async fn of(peer: &Peer, genesis: &[u8]) -> Self {
        let node = Node::client().unwrap();
        let session = node.session(peer).await.unwrap();
        Self {
            _node: node,
            session,
            peer: peer.clone(),
            trust: Trust::new(genesis).unwrap(),
        }
    }

    pub(crate) async fn get(&self, target: &str) -> Replied {
        let answer = self.session.ask(client::get(target)).await.unwrap();
        Replied::of(answer, 6 << 20).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: Vec<u8>) -> Replied {
        let headers = Headers::default().with("content-length", body.len().to_string());
        let target = format!("{PREFIX}/{path}");
        let request = betanet_runtime::Request::new(Method::Post, &target, headers);
        let upload = self.session.upload(request).await.unwrap();
        let _ = upload.send(body.into()).await;
        Replied::of(upload.finish().await.unwrap(), 1 << 20)
            .await
            .unwrap()
    }

    /// Sends an envelope, and verifies the signed answer.
    pub(crate) async fn send(&self, envelope: &Envelope) -> (u16, AnswerBody) {
        let replied = self.post("request", envelope.to_bytes()).await;
        let body = client::answer(&replied, &self.peer.key, envelope);
        (replied.status, body.unwrap())
    }

    /// The final head, verified.
    pub(crate) async fn head(&self) -> SignedHead {
        let bytes = self.get("head").await.good().unwrap();
        self.trust.head(&bytes).unwrap()
    }

    /// A row under the final head, verified.
    pub(crate) async fn row(&self, table: u8, key: &[u8]) -> Option<Vec<u8>> {
        for _ in 0..20 {
            let head = self.head().await;
            let answer = self.session.ask(client::state_request(table, key)).await;
            let bytes = Replied::of(answer.unwrap(), 1 << 20).await.unwrap();
            // Another head may have come in between.
            if let Ok(value) = client::state(&bytes.good().unwrap(), (table, key), &head) {
                return value;
            }
        }
        panic!("no proof counts");
    }

    pub(crate) async fn fog(&self, n: u8) -> u128 {
        let row = self
            .row(table::BALANCES, &balance_key(&account(n), Asset::Fog))
            .await;
        row.map_or(0, |row| Balance::read(&row).unwrap().available())
    }

    pub(crate) async fn nonce(&self, n: u8) -> u64 {
        let row = self.row(table::ACCOUNTS, &account(n).0).await;
        Account::read(&row.unwrap()).unwrap().nonce
    }
}
