//! Coordinators in several processes: the leader lacks the keys of a quorum, and the others sign what is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_coordinator::Request;
use betanet_economy_service::{EconomyService, Ledger, Running, Settings as LedgerSettings};
use betanet_escrow_service::{
    Check, Cosigning, LedgerEscrow, PREFIX, Paying, Settings as EscrowSettings, When,
    reservation_id,
};
use betanet_fog::{Receipt, Signed, Task};
use betanet_fog_service::Purpose;
use betanet_journal::MemoryStore;
use betanet_keys::Peer;
use betanet_runtime::{Gateway, Headers, Method, Node, Request as BarRequest, SessionConfig};
use betanet_scheduler::money::Bill;
use betanet_session::{Call, Reply, Service, ServiceFuture};
use betanet_tokenomics::account::{ESCROW, MICRO, address};
use betanet_tokenomics::request::{Item, Op, REQUEST_LABEL};
use betanet_tokenomics::{Asset, Request as Asked};
use betanet_wire::cbor::{self, Encode, Writer};
use betanet_wire::{NodeId, message};

use crate::world::{
    BUDGET, Disk, How, ME, NONE, OTHER, Process, SPARE, WORKER, genesis_of, identity, key, now_ms,
    nowhere, task,
};

/// Coordinators in other processes; with the leader, they are three.
pub(crate) const SECOND: u8 = 12;
const THIRD: u8 = 13;

/// Another coordinator's process.
pub(crate) struct Second {
    escrow: Arc<LedgerEscrow>,
    ledger: Ledger,
    books: Running,
    cosigning: Cosigning,
    gateway: Gateway,
    _fog: Option<(betanet_fog_service::Running, Paying)>,
}

/// A service that answers first that it cannot tell now.
struct Busy<S> {
    service: S,
    left: Arc<AtomicU64>,
}

impl<S: Service> Service for Busy<S> {
    fn call(&self, call: Call) -> ServiceFuture {
        let less = |left: u64| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        {
            Ok(_) => Box::pin(async { Reply::new(503) }),
            Err(_) => self.service.call(call),
        }
    }
}

/// Where it keeps what it signed, and where it is reached.
pub(crate) struct Place {
    n: u8,
    /// Questions to which it answers that it cannot tell.
    pub(crate) busy: Arc<AtomicU64>,
    signed: MemoryStore,
    books: MemoryStore,
    pub(crate) peer: Peer,
}

impl Place {
    pub(crate) async fn new(disk: &Disk, n: u8) -> Self {
        // Its address and certificate stay.
        let gateway = disk.gateway(n, "", NONE, NONE).await;
        let peer = gateway.listening().peer();
        gateway.shutdown().await;
        Self {
            n,
            busy: Arc::default(),
            signed: MemoryStore::new(),
            books: MemoryStore::new(),
            peer,
        }
    }

    /// Starts it. It follows the leader's ledger, or shares both of the leader's journals.
    pub(crate) async fn start(&self, disk: &Disk, leader: Option<&Peer>) -> Second {
        let mut settings = LedgerSettings::new(disk.genesis.clone());
        settings.leaders = leader.into_iter().cloned().collect();
        settings.look_every = Duration::from_millis(20);
        let service = EconomyService::new(identity(self.n), settings).unwrap();
        let books = match leader {
            Some(_) => self.books.open("own"),
            None => disk.books.open("two"),
        };
        let books = service.start(Arc::new(books)).await.unwrap();
        let check = match leader {
            Some(_) => Check::Proposal,
            None => Check::Journal,
        };
        let settings = EscrowSettings {
            when: When::AtOnce,
            check,
            ..EscrowSettings::new(identity(self.n))
        };
        let escrow = LedgerEscrow::new(service.ledger(), settings);
        let at = &self.peer.addrs[0];
        let signs = Busy {
            service: escrow.service(),
            left: Arc::clone(&self.busy),
        };
        let gateway = disk.gateway(self.n, at, NONE, Some(signs)).await;
        assert_eq!(gateway.listening().peer(), self.peer);
        let kept = Arc::new(self.signed.open("own"));
        let cosigning = escrow.cosign(kept).await.unwrap();
        let fog = match leader {
            Some(_) => None,
            None => {
                let fog = disk.fog_of(self.n).await;
                let journal = Arc::new(disk.fog.open("two"));
                let running = fog.start(&nowhere(self.n), journal.clone()).await.unwrap();
                Some((running, escrow.start(fog.handle(), journal)))
            }
        };
        Second {
            escrow,
            ledger: service.ledger(),
            books,
            cosigning,
            gateway,
            _fog: fog,
        }
    }
}

impl Second {
    pub(crate) async fn stop(self) {
        self.cosigning.stop().await;
        self.gateway.shutdown().await;
        self.books.stop().await;
    }

    fn measure(&self, name: &str) -> u64 {
        let all = self.escrow.extension().measures();
        all.iter().find(|m| m.name == name).unwrap().values[0].1
    }

    /// Waits until it has the reservation of a task under the final head.
    async fn knows(&self, id: &betanet_fog::TaskId) {
        let id = reservation_id(&key(ME), Purpose::Task, &id.0);
        let known = async || {
            let look = self
                .ledger
                .peek(move |view| view.covered.is_some_and(|s| s.has_reservation(&id)));
            look.await == Ok(true)
        };
        let all = async {
            while !known().await {
                self.ledger.changed(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .unwrap();
    }
}

pub(crate) fn three() -> Disk {
    Disk {
        genesis: genesis_of(&[ME, SECOND, THIRD]),
        ..Disk::new()
    }
}

pub(crate) async fn leader(disk: &Disk, pays: bool, cosigners: Vec<Peer>) -> Process {
    let how = How {
        pays,
        keys: vec![ME],
        cosigners,
        serves: true,
        ..How::default()
    };
    disk.start_with(how).await
}

/// What a task of the tests costs: its receipt's fuel at the lowest factor.
fn cost(task: &Task, fuel: u64) -> u64 {
    let bill = Bill {
        resources: task.res,
        tier: task.tier,
        quorum: task.verify.n,
        factor: 500_000,
    };
    bill.for_fuel(fuel)
}

async fn paid(process: &Process) -> u128 {
    process.has(WORKER).await - u128::from(MICRO)
}

fn after_fee(cost: u64) -> u128 {
    u128::from(cost - cost * 20_000 / 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_processes_settle_once_and_none_alone() {
    let disk = three();
    let places = [
        Place::new(&disk, SECOND).await,
        Place::new(&disk, THIRD).await,
    ];
    let cosigners = places.iter().map(|p| p.peer.clone()).collect();
    let one = leader(&disk, true, cosigners).await;
    let at = one.gateway.as_ref().unwrap().listening().peer();
    let second = places[0].start(&disk, Some(&at)).await;
    let third = places[1].start(&disk, Some(&at)).await;
    one.join().await;

    // All are there: it pays once, with two signatures.
    let first = task(1, BUDGET);
    let id = one.local.submit(first.clone()).await.unwrap();
    second.knows(&id).await;
    third.knows(&id).await;
    let fuel = one.work(id).await.fuel;
    one.settled(id).await;
    let each = after_fee(cost(&first, fuel));
    assert_eq!(paid(&one).await, each);
    let signed = second.measure("escrow_cosigned") + third.measure("escrow_cosigned");
    assert_eq!(signed, 1);

    // One is gone: the other signs.
    let gone = second;
    gone.stop().await;
    let id = one.local.submit(task(2, BUDGET)).await.unwrap();
    third.knows(&id).await;
    one.beat(2).await;
    one.work(id).await;
    one.settled(id).await;
    assert_eq!(paid(&one).await, 2 * each);
    assert!(one.escrow.extension().faults().is_empty());

    // Both are gone: nothing is paid, and that is told.
    third.stop().await;
    let id = one.local.submit(task(3, BUDGET)).await.unwrap();
    one.beat(3).await;
    one.work(id).await;
    let told = async {
        while one.escrow.extension().faults().is_empty() {
            one.ledger.changed(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told)
        .await
        .unwrap();
    assert!(one.measure("escrow_unsigned") >= 1);
    assert_eq!(paid(&one).await, 2 * each);
    assert!(one.held(id).await);

    // One returns: it is paid, and the fault is over.
    let second = places[0].start(&disk, Some(&at)).await;
    one.settled(id).await;
    assert_eq!(paid(&one).await, 3 * each);
    assert_eq!(one.of(ESCROW).await, 0);
    assert!(one.escrow.extension().faults().is_empty());
    let audited = one.ledger.look(|view| view.latest.audit().is_ok());
    assert!(audited.await.unwrap());
    second.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_the_same_journal_signs_what_that_says() {
    let disk = three();
    let place = Place::new(&disk, SECOND).await;
    let one = leader(&disk, true, vec![place.peer.clone(), nowhere(THIRD)]).await;
    let second = place.start(&disk, None).await;
    one.join().await;
    let paying = task(1, BUDGET);
    let id = one.local.submit(paying.clone()).await.unwrap();
    let receipt = one.work(id).await;
    one.settled(id).await;
    let each = after_fee(cost(&paying, receipt.fuel));
    assert_eq!(paid(&one).await, each);
    // One that pays nobody is given back.
    let id = one.local.submit(task(2, BUDGET)).await.unwrap();
    one.local.ask(Request::Cancel(id)).await.unwrap();
    one.settled(id).await;
    assert_eq!(paid(&one).await, each);
    assert_eq!(one.of(ESCROW).await, 0);
    assert_eq!(second.measure("escrow_cosigned"), 2);
    // A task that runs is not given back behind the back of its node, and a receipt that the journal does not have is not paid.
    let running = task(3, BUDGET);
    let id = one.local.submit(running.clone()).await.unwrap();
    second.knows(&id).await;
    let lie = Lie::of(&one, &running, vec![]).await;
    let (status, why) = lie.told(ME, &place.peer).await;
    assert_eq!((status, &why[..]), (503, UNKNOWN));
    let made_up = signed_receipt(&running, WORKER, |_| {});
    let lie = Lie::of(&one, &running, vec![made_up]).await;
    let (status, why) = lie.told(ME, &place.peer).await;
    assert_eq!((status, &why[..]), (503, UNKNOWN));
    second.stop().await;
    one.stop().await;
}

const UNKNOWN: &str = "the journal here does not have the end of this task or bid";

/// A receipt as it stands in a proposal.
struct Shown(Signed<Receipt>);

impl Encode for Shown {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(self.0.rec());
        w.bytes(&self.0.envelope().sig);
    }
}

struct All(Vec<Shown>);

impl Encode for All {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        for shown in &self.0 {
            shown.encode(w);
        }
    }
}

// As the profile has it, written here anew.
struct Body<'a> {
    req: &'a [u8],
    sla: u64,
    task: &'a [u8],
    rcpts: All,
    factor: u64,
}

impl Encode for Body<'_> {
    fn encode(&self, w: &mut Writer) {
        w.map(5);
        w.text("req");
        w.bytes(self.req);
        w.text("sla");
        w.unsigned(self.sla);
        w.text("task");
        w.bytes(self.task);
        w.text("rcpts");
        self.rcpts.encode(w);
        w.text("factor");
        w.unsigned(self.factor);
    }
}

message! {
    struct Sig {
        req "sig" sig: [u8; 64],
    }
}

message! {
    struct Why<'a> {
        req "why" why: &'a str,
    }
}

/// A proposal, right until it is changed.
struct Lie {
    task: Vec<u8>,
    receipts: Vec<Signed<Receipt>>,
    factor: u64,
    percent: u64,
    items: Vec<Item>,
    status: String,
    out: Vec<u8>,
    end: bool,
    by: Vec<(NodeId, u64)>,
    exp: u64,
    res: [u8; 16],
    genesis: [u8; 32],
}

/// A receipt of a task that was not assigned, with a change.
fn signed_receipt(task: &Task, n: u8, change: impl Fn(&mut Receipt)) -> Signed<Receipt> {
    let signed = Signed::sign(task.clone(), &identity(ME)).unwrap();
    let mut receipt = Receipt {
        inputs: [1; 32],
        key: key(n),
        end: now_ms(),
        out: Some([8; 32]),
        copy: 0,
        fuel: 1_000_000,
        task: signed.id(),
        epoch: 1,
        fence: 9,
        start: now_ms(),
        engine: "test".parse().unwrap(),
        module: task.module.digest,
        status: betanet_fog::Outcome::Ok,
    };
    change(&mut receipt);
    Signed::sign(receipt, &identity(n)).unwrap()
}

impl Lie {
    async fn of(process: &Process, task: &Task, receipts: Vec<Signed<Receipt>>) -> Self {
        let signed = Signed::sign(task.clone(), &identity(ME)).unwrap();
        let by = [ME, SECOND].map(|n| address(&key(n)));
        let nonces = process.ledger.look(move |view| {
            let nonce = |id: &NodeId| (*id, view.latest.nonce(id).unwrap());
            by.iter().map(nonce).collect::<Vec<_>>()
        });
        let mut this = Self {
            task: signed.to_bytes(),
            factor: 500_000,
            percent: 0,
            items: Vec::new(),
            status: "drop".to_owned(),
            out: Vec::new(),
            end: true,
            by: nonces.await.unwrap(),
            exp: now_ms() + 600_000,
            res: reservation_id(&key(ME), Purpose::Task, &signed.id().0),
            genesis: *process.ledger.genesis().id(),
            receipts,
        };
        this.pay(task);
        this
    }

    /// Pays by the receipts.
    fn pay(&mut self, task: &Task) {
        let Some(first) = self.receipts.first() else {
            return;
        };
        self.status = first.status.as_str().to_owned();
        self.out = first.out.map_or(Vec::new(), |out| out.to_vec());
        let bill = Bill {
            resources: task.res,
            tier: task.tier,
            quorum: task.verify.n,
            factor: self.factor,
        };
        let least = self.receipts.iter().map(|r| r.fuel).min().unwrap();
        let n = self.receipts.len() as u64;
        let each = self.receipts.iter().map(|r| Item {
            to: address(&r.key),
            pay: bill.for_fuel(least) / n,
            sla: self.percent * 10_000,
            kib: 0,
            mibh: 0,
            record: r.rec().to_vec(),
            sig: Some(r.envelope().sig),
        });
        self.items = each.collect();
    }

    /// The status, and the signature or the reason, of this node's answer to another.
    async fn told(&self, asker: u8, peer: &Peer) -> (u16, String) {
        let op = Op::Settle {
            status: self.status.clone(),
            out: self.out.clone(),
            end: self.end,
            list: self.items.clone(),
            res: self.res,
        };
        let request = Asked::new(&self.by, self.exp, [7; 16], &op).unwrap();
        let shown = self.receipts.iter().cloned().map(Shown);
        let body = cbor::to_vec(&Body {
            req: request.body(),
            sla: self.percent,
            task: &self.task,
            rcpts: All(shown.collect()),
            factor: self.factor,
        });
        let (status, body) = post(asker, peer, body).await;
        if status == 200 {
            let Sig { sig } = cbor::from_slice(&body).unwrap();
            let signed = [&self.genesis[..], request.body()];
            assert!(peer.key.verify(REQUEST_LABEL, &signed, &sig).is_ok());
            return (status, String::new());
        }
        let Why { why } = cbor::from_slice(&body).unwrap();
        (status, why.to_owned())
    }
}

async fn post(asker: u8, peer: &Peer, body: Vec<u8>) -> (u16, Vec<u8>) {
    let node = Node::new(Some(identity(asker)), SessionConfig::default()).unwrap();
    let session = node.session(peer).await.unwrap();
    let headers = Headers::default().with("content-length", body.len().to_string());
    let request = BarRequest::new(Method::Post, &format!("{PREFIX}/sign"), headers);
    let upload = session.upload(request).await.unwrap();
    let _ = upload.send(body.into()).await;
    let mut answer = upload.finish().await.unwrap();
    let status = answer.head.status;
    let bytes = answer.body.all(4_096).await.unwrap().unwrap();
    node.close().await;
    (status, bytes.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lying_leader_proposes_is_not_signed() {
    let disk = three();
    let place = Place::new(&disk, SECOND).await;
    let one = leader(&disk, false, Vec::new()).await;
    let at = one.gateway.as_ref().unwrap().listening().peer();
    let second = place.start(&disk, Some(&at)).await;
    one.join().await;
    let of = task(1, BUDGET);
    let id = one.local.submit(of.clone()).await.unwrap();
    second.knows(&id).await;
    let receipt = one.work(id).await;
    let honest = async || Lie::of(&one, &of, vec![receipt.clone()]).await;
    let refused = async |lie: &Lie, why: &str| {
        let (status, said) = lie.told(ME, &place.peer).await;
        assert!(status == 409 || status == 503, "{status}");
        assert!(said.contains(why), "{said:?}: {why}");
    };

    // More than follows from the receipt, less, and another's money.
    let pays = "payees and amounts";
    let mut lie = honest().await;
    lie.items[0].pay += 1;
    refused(&lie, pays).await;
    lie.factor = 1_000_000_000_000;
    lie.pay(&of);
    lie.items[0].pay -= 1;
    refused(&lie, pays).await;
    let mut lie = honest().await;
    lie.items[0].to = address(&key(SPARE));
    refused(&lie, pays).await;
    let mut lie = honest().await;
    lie.items[0].kib = 1 << 30;
    refused(&lie, pays).await;
    let mut lie = honest().await;
    lie.end = false;
    refused(&lie, pays).await;
    let mut lie = honest().await;
    (lie.status, lie.out) = ("trap".to_owned(), Vec::new());
    refused(&lie, pays).await;
    let mut lie = honest().await;
    lie.items[0].sla = 990_000;
    refused(&lie, pays).await;

    // Receipts that no node signed, of another task or module, of more fuel, and more than decide.
    let forged = "a receipt is not signed by its node";
    let mut lie = honest().await;
    let mut bytes = receipt.to_bytes();
    let at = bytes.len() - 9;
    bytes[at] ^= 1;
    lie.receipts = vec![Signed::restore(&bytes).unwrap()];
    lie.pay(&of);
    refused(&lie, forged).await;
    let other = signed_receipt(&task(9, BUDGET), WORKER, |_| {});
    refused(&Lie::of(&one, &of, vec![other]).await, forged).await;
    let changes: [fn(&mut Receipt); 2] = [|r| r.fuel = 1 << 60, |r| r.module = [3; 32]];
    for change in changes {
        let other = signed_receipt(&of, WORKER, change);
        refused(&Lie::of(&one, &of, vec![other]).await, forged).await;
    }
    let verdict = "do not decide the task";
    let more = signed_receipt(&of, SPARE, |r| {
        r.copy = 1;
        r.fence = u64::MAX >> 2;
    });
    let mut lie = Lie::of(&one, &of, vec![receipt.clone(), more]).await;
    lie.factor = 1_000_000_000_000;
    lie.pay(&of);
    refused(&lie, verdict).await;
    let fault = signed_receipt(&of, WORKER, |r| {
        (r.status, r.out) = (betanet_fog::Outcome::Internal, None);
    });
    refused(&Lie::of(&one, &of, vec![fault]).await, verdict).await;

    // A price that the budget does not cover, and a credit that there is not.
    let mut lie = honest().await;
    lie.factor = u64::MAX >> 1;
    lie.pay(&of);
    refused(&lie, "more than its budget").await;
    let mut lie = honest().await;
    lie.percent = 99;
    lie.pay(&of);
    refused(&lie, "no missed service level").await;

    // Another's task, another reservation, other signers, and a signature for ever.
    let mut lie = honest().await;
    lie.task[20] ^= 1;
    refused(&lie, "the task is not signed").await;
    let mut lie = honest().await;
    lie.res[0] ^= 1;
    refused(&lie, "no reservation").await;
    let unheld = task(5, BUDGET);
    let lie = Lie::of(&one, &unheld, vec![signed_receipt(&unheld, WORKER, |_| {})]).await;
    refused(&lie, "no reservation").await;
    let mut lie = honest().await;
    lie.by[0].0 = address(&key(OTHER));
    refused(&lie, "the request's signers").await;
    lie.by = lie.by[..1].to_vec();
    refused(&lie, "the request's signers").await;
    let mut lie = honest().await;
    lie.exp = now_ms() + 7_200_000;
    refused(&lie, "valid for over an hour").await;

    // Nobody asks but a coordinator, and not with just anything.
    let honest_one = honest().await;
    for stranger in [OTHER, WORKER] {
        let (status, _) = honest_one.told(stranger, &place.peer).await;
        assert_eq!(status, 403);
    }
    let (status, _) = post(ME, &place.peer, vec![0; 300 << 10]).await;
    assert_eq!(status, 400);
    assert_eq!(second.measure("escrow_cosigned"), 0);

    // The right one is signed, again too, and no other right one after it: not even by the next process of this coordinator.
    assert_eq!(honest_one.told(ME, &place.peer).await.0, 200);
    let mut later = honest().await;
    later.exp += 1_000;
    assert_eq!(later.told(ME, &place.peer).await.0, 200);
    let mut dearer = honest().await;
    dearer.factor = 1_000_000_000_000;
    dearer.pay(&of);
    refused(&dearer, "another settlement").await;
    second.stop().await;
    let second = place.start(&disk, Some(&at_of(&one))).await;
    second.knows(&id).await;
    refused(&dearer, "another settlement").await;
    assert_eq!(later.told(ME, &place.peer).await.0, 200);
    let escrow = one
        .ledger
        .look(|view| view.latest.counters(&ESCROW, Asset::Fog).available());
    assert_eq!(escrow.await.unwrap(), u128::from(BUDGET));
    second.stop().await;
    one.stop().await;
}

fn at_of(process: &Process) -> Peer {
    process.gateway.as_ref().unwrap().listening().peer()
}
