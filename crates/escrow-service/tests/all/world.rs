//! What the tests share: a ledger and a fog over stores that outlive them, and a worker.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Caller, Item, Reply, Request};
use betanet_economy_service::{EconomyService, Ledger, Settings as LedgerSettings};
use betanet_escrow_service::{
    LedgerEscrow, OPEN_MAX, Paying, Settings as EscrowSettings, When, reservation_id,
};
use betanet_fog::bodies::{Beat, TokenText};
use betanet_fog::{Assignment, List, Outcome, Receipt, Received, Signed, Task, TaskId};
use betanet_fog_client::testkit;
use betanet_fog_service::{
    Claim, Coordinator, Local, Namespace, Purpose, Role, Running, Settings, Stores,
};
use betanet_journal::{Journal, MemoryStore};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Gateway, GatewayConfig};
use betanet_session::{Call, Clock, Service, ServiceFuture};
use betanet_store::State;
use betanet_tokenomics::account::{MICRO, NODE, USER, address};
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{
    Asset, Code, Envelope, GenesisDraft, Id, Param, Request as Asked, Role as TokenRole,
};

/// The coordinator, which is a client of its own fog; a second key of the ledger's coordinators; a worker.
pub(crate) const ME: u8 = 10;
pub(crate) const OTHER: u8 = 11;
pub(crate) const WORKER: u8 = 30;
/// A node that works for nobody.
pub(crate) const SPARE: u8 = 31;
/// A node that can bond.
pub(crate) const LIAR: u8 = 32;
pub(crate) const BUDGET: u64 = 5 * MICRO;

pub(crate) fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

pub(crate) fn key(n: u8) -> [u8; 32] {
    *identity(n).public().as_bytes()
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

pub(crate) fn genesis() -> Vec<u8> {
    genesis_of(&[ME, OTHER])
}

/// A ledger with these coordinators, of whom the first two sign its heads.
pub(crate) fn genesis_of(coordinators: &[u8]) -> Vec<u8> {
    genesis_made(coordinators, 20 * MICRO)
}

/// A ledger whose owner of tasks has so much.
pub(crate) fn genesis_with(purse: u64) -> Vec<u8> {
    genesis_made(&[ME, OTHER], purse)
}

fn genesis_made(coordinators: &[u8], purse: u64) -> Vec<u8> {
    let users = coordinators.iter().chain([&OTHER]);
    let users: std::collections::BTreeSet<u8> = users.copied().collect();
    let fog = |n: u8| if n == ME { purse } else { MICRO };
    let mut alloc: Vec<_> = users.iter().map(|n| (key(*n), USER, fog(*n))).collect();
    alloc.push((key(WORKER), NODE, MICRO));
    alloc.push((key(SPARE), NODE, MICRO));
    alloc.push((key(LIAR), NODE, 3 * MICRO));
    let accounts = coordinators.iter().map(|n| address(&key(*n)).0.to_vec());
    let mut accounts: Vec<Vec<u8>> = accounts.collect();
    accounts.sort_unstable();
    let mut signers: Vec<Vec<u8>> = [ME, OTHER].map(|n| key(n).to_vec()).into();
    signers.sort_unstable();
    GenesisDraft {
        name: "a fog",
        t0: now_ms(),
        epoch_ms: 86_400_000,
        cap: 100_000_000 * MICRO,
        halving: 365,
        alloc: &alloc,
        params: &[(Param::MinBond, MICRO)],
        roles: &[
            (TokenRole::Coordinators, accounts.clone()),
            (TokenRole::Guardians, accounts[..2].to_vec()),
            (TokenRole::Signers, signers),
        ],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

/// How a process is started.
pub(crate) struct How {
    /// Whether it settles, and whether it takes only what is held.
    pub(crate) pays: bool,
    pub(crate) asks: bool,
    pub(crate) head_every: Duration,
    pub(crate) open_max: usize,
    /// Keys with which it signs settlements.
    pub(crate) keys: Vec<u8>,
    pub(crate) cosigners: Vec<Peer>,
    /// Whether its ledger is served to others.
    pub(crate) serves: bool,
}

impl Default for How {
    fn default() -> Self {
        Self {
            pays: true,
            asks: true,
            head_every: Duration::from_millis(20),
            open_max: OPEN_MAX,
            keys: vec![ME, OTHER],
            cosigners: Vec::new(),
            serves: false,
        }
    }
}

/// What outlives a process.
pub(crate) struct Disk {
    pub(crate) home: tempfile::TempDir,
    pub(crate) genesis: Vec<u8>,
    pub(crate) fog: MemoryStore,
    pub(crate) books: MemoryStore,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            genesis: genesis(),
            fog: MemoryStore::new(),
            books: MemoryStore::new(),
        }
    }

    /// A folder that outlives this value.
    pub(crate) fn within(home: &std::path::Path) -> Self {
        Self {
            home: tempfile::Builder::new().tempdir_in(home).unwrap(),
            ..Self::new()
        }
    }

    /// A process, which settles if it is asked to.
    pub(crate) async fn start(&self, pays: bool) -> Process {
        self.start_with(How {
            pays,
            ..How::default()
        })
        .await
    }

    pub(crate) async fn start_with(&self, how: How) -> Process {
        let (fog, books) = (self.fog.open("one"), self.books.open("one"));
        self.start_on(how, Arc::new(fog), Arc::new(books)).await
    }

    /// A process over these journals.
    pub(crate) async fn start_on(
        &self,
        how: How,
        journal: Arc<dyn Journal>,
        books: Arc<dyn Journal>,
    ) -> Process {
        let mut settings = LedgerSettings::new(self.genesis.clone());
        settings.signers = vec![identity(ME), identity(OTHER)];
        settings.head_every = how.head_every;
        let service = EconomyService::new(identity(ME), settings).unwrap();
        let gateway = match how.serves {
            true => Some(self.gateway(ME, "", Some(service.service()), NONE).await),
            false => None,
        };
        let books = service.start(books).await;
        let books = books.unwrap();
        books.leads().await;
        // Before a head is final, nothing can be told.
        let ledger = service.ledger();
        while !ledger.look(|view| view.covered.is_some()).await.unwrap() {
            ledger.propose().await.unwrap();
            ledger.changed(Duration::from_millis(50)).await;
        }
        let escrow = EscrowSettings {
            keys: how.keys.iter().map(|n| identity(*n)).collect(),
            cosigners: how.cosigners,
            when: When::AtOnce,
            open_max: how.open_max,
            ..EscrowSettings::new(identity(ME))
        };
        let escrow = LedgerEscrow::new(service.ledger(), escrow);
        let fog = self.fog_of(ME).await;
        if how.asks {
            fog.pay_from(escrow.clone());
        }
        let peer = nowhere(ME);
        let running = fog.start(&peer, journal.clone()).await.unwrap();
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let paying = how.pays.then(|| escrow.start(fog.handle(), journal));
        let local = fog.local();
        let module = bytes::Bytes::from_static(testkit::MODULE);
        local.store(module).await.unwrap();
        Process {
            local,
            ledger: service.ledger(),
            escrow,
            running,
            books,
            paying,
            gateway,
        }
    }

    /// A fog that is not started, of one namespace.
    pub(crate) async fn fog_of(&self, n: u8) -> Coordinator {
        let home = self.home.path().join(format!("state{n}"));
        let state = State::open_within(&home, Duration::from_secs(20)).unwrap();
        let stores = Stores::open(&Arc::new(state), 1 << 20).await.unwrap();
        let lab = Namespace {
            users: vec![*identity(ME).public()],
            ..Namespace::default()
        };
        let settings = Settings {
            operators: vec![*identity(ME).public()],
            namespaces: [("lab".parse().unwrap(), lab)].into(),
            ..Settings::default()
        };
        Coordinator::new(identity(n), settings, stores)
    }

    /// A node with these services, at an address that it had before or a new one.
    pub(crate) async fn gateway<S: Service, T: Service>(
        &self,
        n: u8,
        at: &str,
        books: Option<S>,
        escrow: Option<T>,
    ) -> Gateway {
        let mut config = GatewayConfig::in_state(self.home.path().join(format!("net{n}")));
        let at = if at.is_empty() { "127.0.0.1:0" } else { at };
        config.listener.listen = vec![at.into()];
        config.limits.per_address = Some(256);
        let mut builder = Gateway::builder(identity(n), &config);
        if let Some(books) = books {
            builder = builder.service(betanet_economy_service::PREFIX, books);
        }
        if let Some(escrow) = escrow {
            builder = builder.service(betanet_escrow_service::PREFIX, escrow);
        }
        builder.start().await.unwrap()
    }

    /// Ends a process as a crash does, and lets its leases pass.
    pub(crate) fn crash(&self, process: Process) {
        drop(process);
        self.fog.pass(10_000);
        self.books.pass(10_000);
    }
}

pub(crate) struct Process {
    pub(crate) local: Local,
    pub(crate) ledger: Ledger,
    pub(crate) escrow: Arc<LedgerEscrow>,
    pub(crate) running: Running,
    pub(crate) books: betanet_economy_service::Running,
    pub(crate) paying: Option<Paying>,
    pub(crate) gateway: Option<Gateway>,
}

/// No service.
pub(crate) const NONE: Option<NoService> = None;

/// A service that is never made.
pub(crate) enum NoService {}

impl Service for NoService {
    fn call(&self, _: Call) -> ServiceFuture {
        match *self {}
    }
}

/// A peer of this key without an address.
pub(crate) fn nowhere(n: u8) -> Peer {
    Peer {
        key: *identity(n).public(),
        addrs: vec!["127.0.0.1:1".into()],
        pin: None,
    }
}

pub(crate) fn task(nonce: u64, budget: u64) -> Task {
    let mut task = testkit::task(&identity(ME), nonce, now_ms());
    task.budget = budget;
    task
}

pub(crate) fn worker() -> Caller {
    Caller {
        key: key(WORKER),
        node: identity(WORKER).public().node_id(),
        operator: false,
        namespaces: Vec::new(),
    }
}

impl Process {
    /// Available FOG of an account under the final head, in µ.
    pub(crate) async fn has(&self, n: u8) -> u128 {
        self.of(address(&key(n))).await
    }

    pub(crate) async fn of(&self, id: betanet_wire::NodeId) -> u128 {
        let look = self.ledger.look(move |view| {
            view.covered
                .map(|s| s.counters(&id, Asset::Fog).available())
        });
        look.await.unwrap().unwrap_or(0)
    }

    pub(crate) async fn held(&self, id: TaskId) -> bool {
        let client = address(&key(ME));
        let hold = reservation_id(&key(ME), Purpose::Task, &id.0);
        let look = self.ledger.look(move |view| {
            let state = view.covered.unwrap();
            state.reservation(&hold, &client, (0, &id.0)).is_some()
        });
        look.await.unwrap()
    }

    /// Sends a request of these keys to the ledger.
    pub(crate) async fn send(&self, by: &[u8], id: Id, op: &Op) -> Code {
        let accounts: Vec<_> = by.iter().map(|n| address(&key(*n))).collect();
        let nonces = self.ledger.look(move |view| {
            let nonce = |id: &betanet_wire::NodeId| (*id, view.latest.nonce(id).unwrap());
            let mut all: Vec<_> = accounts.iter().map(nonce).collect();
            all.sort_unstable();
            all
        });
        let nonces = nonces.await.unwrap();
        let signer = |(id, _): &(betanet_wire::NodeId, u64)| {
            let found = by.iter().find(|n| address(&key(**n)) == *id);
            identity(*found.unwrap())
        };
        let keys: Vec<Identity> = nonces.iter().map(signer).collect();
        let keys: Vec<&Identity> = keys.iter().collect();
        let request = Asked::new(&nonces, now_ms() + 3_600_000, id, op).unwrap();
        let envelope = Envelope::sign(request, self.ledger.genesis().id(), &keys);
        let answered = self.ledger.submit(envelope.to_bytes()).await.unwrap();
        answered.answer.code
    }

    pub(crate) fn measure(&self, name: &str) -> u64 {
        let all = self.escrow.extension().measures();
        all.iter().find(|m| m.name == name).unwrap().values[0].1
    }

    /// Waits until a metric has this value.
    pub(crate) async fn measured(&self, name: &str, value: u64) {
        self.measured_in(name, value..=value).await;
    }

    /// Waits until a metric has this value or more.
    pub(crate) async fn measured_from(&self, name: &str, value: u64) {
        self.measured_in(name, value..=u64::MAX).await;
    }

    async fn measured_in(&self, name: &str, values: RangeInclusive<u64>) {
        let reached = async {
            while !values.contains(&self.measure(name)) {
                self.ledger.changed(Duration::from_millis(50)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{name}: {}", self.measure(name));
    }

    pub(crate) async fn settled(&self, id: TaskId) {
        let settled = async {
            while self.held(id).await {
                self.ledger.changed(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled)
            .await
            .unwrap();
    }

    pub(crate) async fn ask(&self, request: Request) -> Reply {
        let answer = self.running.handle().ask(worker(), request).await;
        answer.unwrap()
    }

    /// The worker joins, and beats.
    pub(crate) async fn join(&self) {
        let order = testkit::token_request(1, now_ms());
        let token = self.local.issue_token(order).await.unwrap();
        let node = Signed::sign(testkit::node(&identity(WORKER), 1), &identity(WORKER)).unwrap();
        let node = Received::read(&node.to_bytes()).unwrap();
        let token: betanet_fog::Text = token.parse().unwrap();
        self.ask(Request::Join {
            node: Box::new(node),
            token: TokenText::from(token),
        })
        .await;
        self.beat(1).await;
    }

    pub(crate) async fn beat(&self, seq: u64) {
        let beat = Beat {
            rtt: List::default(),
            seq,
            gone: List::default(),
            have: List::default(),
            work: true,
        };
        let me = worker().node;
        self.ask(Request::Beat(me, Box::new(beat))).await;
    }

    /// Assignments that the worker did not answer.
    pub(crate) async fn assigned(&self) -> Vec<Box<Assignment>> {
        let node = worker().node;
        let Reply::Work(items) = self.ask(Request::Work { node, after: 0 }).await else {
            panic!("other than work");
        };
        let work = items.into_iter().filter_map(|item| match item {
            Item::Run { work, .. } => Some(work),
            _ => None,
        });
        work.collect()
    }

    /// The worker takes the one copy that it was given, and returns a receipt.
    pub(crate) async fn work(&self, id: TaskId) -> Signed<Receipt> {
        let assignment = async {
            loop {
                let mut all = self.assigned().await.into_iter();
                match all.find(|work| work.task == id) {
                    Some(work) => return work,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let work = tokio::time::timeout(Duration::from_secs(20), assignment).await;
        self.answer(work.unwrap()).await
    }

    /// The worker answers an assignment with a receipt.
    pub(crate) async fn answer(&self, work: Box<Assignment>) -> Signed<Receipt> {
        self.ask(Request::Start(work.task, work.fence)).await;
        let receipt = receipt(&work);
        let done = Request::Done(work.task, Box::new(receipt.clone()));
        self.ask(done).await;
        receipt
    }

    /// The worker answers all that it finds, as far as that was not answered before.
    pub(crate) async fn answer_all(&self) {
        for work in self.assigned().await {
            let receipt = Box::new(receipt(&work));
            for request in [
                Request::Start(work.task, work.fence),
                Request::Done(work.task, receipt),
            ] {
                let _ = self.running.handle().ask(worker(), request).await;
            }
        }
    }

    /// The worker joins unless it did before, and beats.
    pub(crate) async fn return_to_work(&self) {
        let node = Signed::sign(testkit::node(&identity(WORKER), 1), &identity(WORKER)).unwrap();
        let order = testkit::token_request(now_ms(), now_ms());
        let token = self.local.issue_token(order).await.unwrap();
        let token: betanet_fog::Text = token.parse().unwrap();
        let join = Request::Join {
            node: Box::new(Received::read(&node.to_bytes()).unwrap()),
            token: TokenText::from(token),
        };
        let _ = self.running.handle().ask(worker(), join).await;
        self.beat(now_ms()).await;
    }

    pub(crate) async fn stop(self) {
        self.running.stop().await;
        self.books.stop().await;
        if let Some(gateway) = self.gateway {
            gateway.shutdown().await;
        }
    }
}

/// A claim of the coordinator itself.
pub(crate) fn own(purpose: Purpose, of: u8, amount: u64) -> Claim {
    Claim {
        purpose,
        of: [of; 32],
        owner: key(ME),
        amount,
        until_ms: now_ms() + 3_600_000,
    }
}

/// The worker's receipt of a copy that went well.
fn receipt(work: &Assignment) -> Signed<Receipt> {
    receipt_of(work, WORKER, [8; 32])
}

/// A node's receipt of a copy with this output.
pub(crate) fn receipt_of(work: &Assignment, node: u8, out: [u8; 32]) -> Signed<Receipt> {
    let receipt = Receipt {
        inputs: work.inputs_digest(),
        key: key(node),
        end: now_ms(),
        out: Some(out),
        copy: work.copy,
        fuel: 1_000_000,
        task: work.task,
        epoch: work.epoch,
        fence: work.fence,
        start: now_ms(),
        engine: "test".parse().unwrap(),
        module: betanet_keys::hash(&[testkit::MODULE]),
        status: Outcome::Ok,
    };
    Signed::sign(receipt, &identity(node)).unwrap()
}
