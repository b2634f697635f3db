//! A fog whose tasks are paid from a ledger, in one process, stopped at each point between the two journals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Caller, Item, Reply, Request};
use betanet_economy_service::{EconomyService, Ledger, Settings as LedgerSettings};
use betanet_escrow_service::{LedgerEscrow, Paying, Settings as EscrowSettings, When};
use betanet_fog::bodies::{Beat, TokenText};
use betanet_fog::{
    Assignment, List, Outcome, Receipt, Received, RefusalCode, Signed, Task, TaskId, TaskState,
};
use betanet_fog_client::testkit;
use betanet_fog_service::{
    Claim, Coordinator, Escrow, Local, Namespace, Purpose, Role, Running, Settings, Stores, Untold,
};
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, Peer};
use betanet_session::Clock;
use betanet_store::State;
use betanet_tokenomics::account::{ESCROW, MICRO, NODE, USER, address};
use betanet_tokenomics::{Asset, GenesisDraft, Role as TokenRole};

/// The coordinator, which is a client of its own fog; a second key of the ledger's coordinators; a worker.
const ME: u8 = 10;
const OTHER: u8 = 11;
const WORKER: u8 = 30;
const BUDGET: u64 = 5 * MICRO;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn key(n: u8) -> [u8; 32] {
    *identity(n).public().as_bytes()
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

fn genesis() -> Vec<u8> {
    let alloc = [
        (key(ME), USER, 20 * MICRO),
        (key(OTHER), USER, MICRO),
        (key(WORKER), NODE, MICRO),
    ];
    let mut accounts: Vec<Vec<u8>> = [ME, OTHER].map(|n| address(&key(n)).0.to_vec()).into();
    accounts.sort_unstable();
    let mut signers: Vec<Vec<u8>> = [ME, OTHER].map(|n| key(n).to_vec()).into();
    signers.sort_unstable();
    GenesisDraft {
        name: "a fog",
        t0: now_ms(),
        epoch_ms: 86_400_000,
        cap: 1_000 * MICRO,
        halving: 365,
        alloc: &alloc,
        roles: &[
            (TokenRole::Coordinators, accounts),
            (TokenRole::Signers, signers),
        ],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

/// What outlives a process.
struct Disk {
    home: tempfile::TempDir,
    genesis: Vec<u8>,
    fog: MemoryStore,
    books: MemoryStore,
}

impl Disk {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            genesis: genesis(),
            fog: MemoryStore::new(),
            books: MemoryStore::new(),
        }
    }

    /// A process, which settles if it is asked to.
    async fn start(&self, pays: bool) -> Process {
        let mut settings = LedgerSettings::new(self.genesis.clone());
        settings.signers = vec![identity(ME), identity(OTHER)];
        settings.head_every = Duration::from_millis(20);
        let service = EconomyService::new(identity(ME), settings).unwrap();
        let books = service.start(Arc::new(self.books.open("one"))).await;
        let books = books.unwrap();
        books.leads().await;
        // Before a head is final, nothing can be told.
        let ledger = service.ledger();
        while !ledger.look(|view| view.covered.is_some()).await.unwrap() {
            ledger.changed(Duration::from_millis(50)).await;
        }
        let escrow = EscrowSettings {
            own: identity(ME),
            keys: vec![identity(ME), identity(OTHER)],
            when: When::AtOnce,
            open_max: betanet_escrow_service::OPEN_MAX,
        };
        let escrow = LedgerEscrow::new(service.ledger(), escrow);
        let home = self.home.path().join("state");
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
        let fog = Coordinator::new(identity(ME), settings, stores);
        fog.pay_from(escrow.clone());
        let peer = Peer {
            key: *identity(ME).public(),
            addrs: vec!["127.0.0.1:1".into()],
            pin: None,
        };
        let journal = Arc::new(self.fog.open("one"));
        let running = fog.start(&peer, journal.clone()).await.unwrap();
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let paying = pays.then(|| escrow.start(fog.handle(), journal));
        let local = fog.local();
        let module = bytes::Bytes::from_static(testkit::MODULE);
        local.store(module).await.unwrap();
        Process {
            local,
            ledger: service.ledger(),
            escrow,
            running,
            books,
            _paying: paying,
        }
    }

    /// Ends a process as a crash does, and lets its leases pass.
    fn crash(&self, process: Process) {
        drop(process);
        self.fog.pass(10_000);
        self.books.pass(10_000);
    }
}

struct Process {
    local: Local,
    ledger: Ledger,
    escrow: Arc<LedgerEscrow>,
    running: Running,
    books: betanet_economy_service::Running,
    _paying: Option<Paying>,
}

fn task(nonce: u64, budget: u64) -> Task {
    let mut task = testkit::task(&identity(ME), nonce, now_ms());
    task.budget = budget;
    task
}

fn worker() -> Caller {
    Caller {
        key: key(WORKER),
        node: identity(WORKER).public().node_id(),
        operator: false,
        namespaces: Vec::new(),
    }
}

impl Process {
    /// Available FOG of an account under the final head, in µ.
    async fn has(&self, n: u8) -> u128 {
        self.of(address(&key(n))).await
    }

    async fn of(&self, id: betanet_wire::NodeId) -> u128 {
        let look = self.ledger.look(move |view| {
            view.covered
                .map(|s| s.counters(&id, Asset::Fog).available())
        });
        look.await.unwrap().unwrap_or(0)
    }

    async fn held(&self, id: TaskId) -> bool {
        let client = address(&key(ME));
        let look = self.ledger.look(move |view| {
            let state = view.covered.unwrap();
            state.reserved(&client, 0, &id.0).is_some()
        });
        look.await.unwrap()
    }

    async fn settled(&self, id: TaskId) {
        let settled = async {
            while self.held(id).await {
                self.ledger.changed(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled)
            .await
            .unwrap();
    }

    async fn ask(&self, request: Request) -> Reply {
        let answer = self.running.handle().ask(worker(), request).await;
        answer.unwrap()
    }

    /// The worker joins, and beats.
    async fn join(&self) {
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

    async fn beat(&self, seq: u64) {
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

    /// The worker takes the one copy that it was given, and returns a receipt.
    async fn work(&self, id: TaskId) {
        let assignment = async {
            loop {
                let node = worker().node;
                let Reply::Work(items) = self.ask(Request::Work { node, after: 0 }).await else {
                    panic!("other than work");
                };
                let found = items.into_iter().find_map(|item| match item {
                    Item::Run { work, .. } if work.task == id => Some(work),
                    _ => None,
                });
                match found {
                    Some(work) => return work,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let work: Box<Assignment> = tokio::time::timeout(Duration::from_secs(20), assignment)
            .await
            .unwrap();
        self.ask(Request::Start(id, work.fence)).await;
        let receipt = Receipt {
            inputs: work.inputs_digest(),
            key: key(WORKER),
            end: now_ms(),
            out: Some([8; 32]),
            copy: work.copy,
            fuel: 1_000_000,
            task: id,
            epoch: work.epoch,
            fence: work.fence,
            start: now_ms(),
            engine: "test".parse().unwrap(),
            module: betanet_keys::hash(&[testkit::MODULE]),
            status: Outcome::Ok,
        };
        let receipt = Signed::sign(receipt, &identity(WORKER)).unwrap();
        self.ask(Request::Done(id, Box::new(receipt))).await;
    }

    async fn stop(self) {
        self.running.stop().await;
        self.books.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_held_paid_once_and_released_whenever_the_process_is_killed() {
    let disk = Disk::new();
    let fee = 100;

    // Nothing is accepted that its owner cannot cover, and what was refused holds nothing.
    let one = disk.start(false).await;
    one.join().await;
    let refused = one.local.submit(task(1, 21 * MICRO)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.key),
        (RefusalCode::Budget, "reservation")
    );
    assert_eq!(one.has(ME).await, 20 * u128::from(MICRO));

    // Killed between the hold and the acceptance: the same task is accepted, and held once.
    let first = task(2, BUDGET);
    let id = Signed::sign(first.clone(), &identity(ME)).unwrap().id();
    let claim = Claim {
        purpose: Purpose::Task,
        of: id.0,
        owner: key(ME),
        amount: BUDGET,
        until_ms: first.deadline + 3 * 86_400_000,
    };
    // Until the first head is final, nothing can be told.
    while one.escrow.covers(claim).await == Err(Untold) {
        one.ledger.changed(Duration::from_secs(1)).await;
    }
    assert_eq!(one.escrow.covers(claim).await, Ok(true));
    let stranger = Claim {
        owner: key(OTHER),
        ..claim
    };
    assert_eq!(one.escrow.covers(stranger).await, Ok(false));
    let rest = 20 * u128::from(MICRO) - u128::from(BUDGET) - fee;
    assert_eq!(one.has(ME).await, rest);
    disk.crash(one);
    let two = disk.start(false).await;
    assert_eq!(two.local.submit(first.clone()).await, Ok(id));
    assert_eq!(two.local.submit(first.clone()).await, Ok(id));
    assert_eq!(two.has(ME).await, rest);
    assert_eq!(two.of(ESCROW).await, u128::from(BUDGET));

    // Killed between the result and the settlement: another process settles from the journal.
    two.beat(2).await;
    two.work(id).await;
    let status = two.local.status(id).await.unwrap();
    assert_eq!(status.state, TaskState::Succeeded);
    assert!(status.cost > 0, "{status:?}");
    assert!(two.held(id).await);
    disk.crash(two);
    let three = disk.start(true).await;
    three.settled(id).await;
    let cost = u128::from(status.cost);
    assert_eq!(three.has(ME).await, rest + u128::from(BUDGET) - cost);
    let paid = three.has(WORKER).await - u128::from(MICRO);
    assert_eq!(
        paid,
        cost - cost * 20_000 / 1_000_000,
        "the default fee is 2 %"
    );
    assert_eq!(three.of(ESCROW).await, 0);
    // A repeat of the submission finds the task, though its hold is gone.
    assert_eq!(three.local.submit(first).await, Ok(id));

    // Killed after the settlement: nothing is paid twice.
    disk.crash(three);
    let four = disk.start(true).await;
    let again = task(3, BUDGET);
    let id = four.local.submit(again).await.unwrap();
    four.local.ask(Request::Cancel(id)).await.unwrap();
    // It died unplaced or unpaid: all of it comes back, but for the fee of the hold.
    four.settled(id).await;
    assert_eq!(four.has(WORKER).await, paid + u128::from(MICRO));
    assert_eq!(four.has(ME).await, rest + u128::from(BUDGET) - cost - fee);
    let audited = four.ledger.look(|view| view.latest.audit().is_ok());
    assert!(audited.await.unwrap());
    four.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_not_settled_are_bounded() {
    let disk = Disk::new();
    let one = disk.start(false).await;
    let mut full = EscrowSettings::new(identity(ME));
    full.open_max = 0;
    let full = LedgerEscrow::new(one.ledger.clone(), full);
    let claim = Claim {
        purpose: Purpose::Task,
        of: [1; 32],
        owner: key(ME),
        amount: 1,
        until_ms: now_ms(),
    };
    assert_eq!(full.covers(claim).await, Err(Untold));
    // Until the first head is final, nothing can be told.
    while one.escrow.covers(claim).await == Err(Untold) {
        one.ledger.changed(Duration::from_secs(1)).await;
    }
    assert_eq!(one.escrow.covers(claim).await, Ok(true));
    one.stop().await;
}

#[tokio::test]
async fn without_a_final_head_nothing_can_be_told() {
    let disk = Disk::new();
    let mut settings = LedgerSettings::new(disk.genesis.clone());
    settings.signers = vec![identity(ME)];
    let service = EconomyService::new(identity(ME), settings).unwrap();
    let books = service
        .start(Arc::new(disk.books.open("one")))
        .await
        .unwrap();
    books.leads().await;
    let escrow = LedgerEscrow::new(service.ledger(), EscrowSettings::new(identity(OTHER)));
    let claim = Claim {
        purpose: Purpose::Bid,
        of: [1; 32],
        owner: key(ME),
        amount: 1,
        until_ms: now_ms(),
    };
    assert_eq!(escrow.covers(claim).await, Err(Untold));
    assert_eq!(escrow.needs_from(), 0);
    books.stop().await;
}
