//! The state under a simulated clock: months of votes in a moment.

mod back;

use std::sync::Arc;

use betanet_durable::{Now, State as _};
use betanet_journal::Record as Journaled;
use betanet_keys::Identity;
use betanet_log::{Head, SignedHead};
use betanet_machine::Time;
use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, USER, address};
use betanet_tokenomics::records::proposal_id;
use betanet_tokenomics::request::{Effect, Op};
use betanet_tokenomics::{
    Answer as Decided, Code, Economy, Envelope, Genesis, GenesisDraft, Param, Request, Role,
};
use betanet_wire::NodeId;
use tokio::sync::watch;

use super::heads::{Fault, Taken};
use super::{AnchorFault, Answer, Ask, Books, Facts, Setup};
use crate::body::records;
use crate::rows::{Proposal, parameter, table};

const T0: u64 = 1_700_000_000_000;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn account(n: u8) -> NodeId {
    address(identity(n).public().as_bytes())
}

fn genesis() -> Vec<u8> {
    let kinds = [(1, USER), (2, USER), (3, NODE)];
    let alloc = kinds.map(|(n, kind)| (*identity(n).public().as_bytes(), kind, 10_000 * MICRO));
    let signers = [11, 12].map(|n| identity(n).public().as_bytes().to_vec());
    GenesisDraft {
        name: "a state",
        t0: T0,
        epoch_ms: DAY_MS,
        cap: 1_000_000 * MICRO,
        base: MICRO,
        halving: 365,
        alloc: &alloc,
        roles: &[(Role::Signers, signers.to_vec())],
        ..GenesisDraft::default()
    }
    .to_bytes()
}

/// A state with its clock, and what it journaled.
struct World {
    books: Books,
    now: u64,
    made: u64,
    journal: Vec<Journaled>,
}

impl World {
    fn new(signers: &[u8]) -> Self {
        Self {
            books: empty(signers),
            now: T0,
            made: 0,
            journal: Vec::new(),
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let now = Now::new(Time::from_micros(self.now * 1000), self.now);
        self.books.decide(now, ask, &mut self.journal)
    }

    fn send(&mut self, by: u8, op: &Op) -> (Decided, Request) {
        self.made += 1;
        let mut id = [7; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        let nonce = self.books.economy.nonce(&account(by)).unwrap();
        let request = Request::new(&[(account(by), nonce)], self.now + 1_000, id, op).unwrap();
        let g = *self.books.setup.genesis.id();
        let envelope = Envelope::sign(request, &g, &[&identity(by)]);
        match self.ask(Ask::Request(envelope.to_bytes())) {
            Answer::Answered(body) => (body.answer, envelope.request),
            other => panic!("{other:?}"),
        }
    }

    fn ok(&mut self, by: u8, op: &Op) -> Request {
        let (answer, request) = self.send(by, op);
        assert_eq!(answer.code, Code::Ok, "{op:?}");
        request
    }

    /// Lets time pass, ticks what is due, and makes a head.
    fn wait(&mut self, ms: u64) {
        self.now += ms;
        while self.books.facts().next_due <= self.now {
            self.ask(Ask::Tick);
        }
        self.ask(Ask::Propose);
        assert_eq!(self.books.final_size(), self.books.economy.records());
    }

    fn row(&mut self, table: u8, key: &[u8]) -> Vec<u8> {
        self.books.served.value(table, key).unwrap()
    }
}

fn empty(signers: &[u8]) -> Books {
    let bytes = genesis();
    let (facts, _) = watch::channel(Facts::default());
    let setup = Setup {
        genesis: Genesis::from_bytes(&bytes).unwrap(),
        signers: signers.iter().map(|n| identity(*n)).collect(),
        facts,
    };
    Books::new(Arc::new(setup), Economy::new(&bytes).unwrap())
}

#[test]
fn a_proposal_is_voted_through_its_time_lock_and_executed() {
    let mut world = World::new(&[11, 12]);
    world.ok(
        3,
        &Op::Bond {
            amt: 2_000 * MICRO,
            comm: 0,
        },
    );
    let node = account(3);
    world.ok(
        1,
        &Op::Delegate {
            amt: 5_000 * MICRO,
            node,
        },
    );
    world.wait(DAY_MS);
    let param = Param::FeeTx;
    let effects = vec![Effect::Param { param, value: 200 }];
    let request = world.ok(1, &Op::propose(effects, [0; 32]));
    let pid = proposal_id(request.body());
    let vote = Op::Vote { pid, v: 1 };
    assert_eq!(world.send(3, &vote).0.code, Code::TooEarly);
    world.wait(DAY_MS);
    world.ok(3, &vote);
    assert_eq!(world.send(3, &vote).0.code, Code::Once);
    assert_eq!(world.send(1, &Op::Execute { pid }).0.code, Code::TooEarly);
    world.wait(7 * DAY_MS);
    let row = Proposal::read(&world.row(table::PROPOSALS, &pid)).unwrap();
    assert_eq!((row.word(), row.yes), ("passed", 7_000 * MICRO));
    world.wait(3 * DAY_MS);
    assert_eq!(parameter(&world.row(table::PARAMETERS, b"fee_tx")), Ok(100));
    world.ok(2, &Op::Execute { pid });
    world.wait(1);
    assert_eq!(parameter(&world.row(table::PARAMETERS, b"fee_tx")), Ok(200));
    let row = Proposal::read(&world.row(table::PROPOSALS, &pid)).unwrap();
    assert_eq!(row.word(), "executed");

    // The journal gives the same state again, with a snapshot at any place and without one.
    let state = world.books.economy.root();
    for at in [0, 3, world.journal.len() / 2, world.journal.len()] {
        let mut books = empty(&[11, 12]);
        let (before, after) = world.journal.split_at(at);
        before.iter().for_each(|r| books.apply(r).unwrap());
        if at > 0 {
            let parts = books.snapshot();
            books = empty(&[11, 12]);
            books.restore(parts).unwrap();
        }
        after.iter().for_each(|r| books.apply(r).unwrap());
        assert_eq!(books.economy.root(), state);
        assert_eq!(books.head, world.books.head);
        assert_eq!(books.log.root(), world.books.log.root());
        assert_eq!(books.served.root(), world.books.served.root());
    }
    // The whole journal verifies, with its head.
    let mut all = Vec::new();
    for n in 0.. {
        match world.ask(Ask::Journal(n * 1024, 1024)) {
            Answer::Body(Some(bytes)) if !bytes.is_empty() => all.extend(bytes),
            _ => break,
        }
    }
    let head = world.books.head.clone().unwrap();
    let verified = crate::verify(&all, Some(&genesis()), vec![head]).unwrap();
    assert_eq!(verified.state, state);
}

#[test]
fn a_snapshot_whose_rows_are_not_those_of_its_head_is_refused() {
    let mut world = World::new(&[11, 12]);
    world.wait(DAY_MS);
    let parts = world.books.snapshot().concat();
    let mut books = empty(&[11, 12]);
    assert!(books.read_snapshot(&parts).is_some());
    // A byte of the name in the genesis of record 0 or of a key: whatever it is, the whole does not count.
    let at = parts.windows(20).position(|w| w == account(2).0).unwrap();
    let mut flipped = parts;
    flipped[at] ^= 1;
    assert!(empty(&[11, 12]).read_snapshot(&flipped).is_none());
}

#[test]
fn maintainers_sign_no_record_of_an_older_head_than_before() {
    let mut world = World::new(&[11, 12]);
    world.wait(DAY_MS);
    let old = world.books.head.clone().unwrap();
    world.wait(2 * DAY_MS);
    let new = world.books.head.clone().unwrap();
    assert!(old.head().size < new.head().size);
    let genesis = *world.books.setup.genesis.id();
    let countersign = |world: &mut World, head: &SignedHead| {
        let epoch = world.books.served.epoch();
        let record = crate::anchor::anchor(&genesis, epoch, head, [5; 32]);
        match world.ask(Ask::Countersign(record)) {
            Answer::Anchored(taken) => taken.map_err(|fault| fault.to_string()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(countersign(&mut world, &new), Ok(()));
    world.wait(DAY_MS);
    let older = AnchorFault::Older(old.head().size).to_string();
    assert_eq!(countersign(&mut world, &old), Err(older));
    // The same head again is of as many records.
    assert_eq!(countersign(&mut world, &new), Ok(()));
}

/// A leader with one record more than the genesis, its proposed head, and its records.
fn led() -> (World, SignedHead, Vec<Vec<u8>>) {
    let mut leader = World::new(&[11]);
    leader.ok(
        1,
        &Op::Open {
            key: *identity(9).public().as_bytes(),
            kind: USER,
        },
    );
    leader.ask(Ask::Propose);
    let head = leader.books.proposed.clone().unwrap();
    let Answer::Body(Some(bytes)) = leader.ask(Ask::Journal(1, 9)) else {
        panic!("no records");
    };
    let list = records(&bytes).unwrap();
    let list = list.into_iter().map(<[u8]>::to_vec).collect();
    (leader, head, list)
}

fn cosigned(world: &mut World, head: &SignedHead) -> Result<usize, Fault> {
    match world.ask(Ask::Cosign(head.clone())) {
        Answer::Signed(signed) => signed.map(|s| s.len()),
        other => panic!("{other:?}"),
    }
}

fn followed(world: &mut World, list: Vec<Vec<u8>>) -> Result<u64, Fault> {
    match world.ask(Ask::Follow(list)) {
        Answer::Followed(followed) => followed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signer_signs_what_it_replayed_and_nothing_else() {
    let (mut leader, head, list) = led();
    let mut signer = World::new(&[12]);
    let early = cosigned(&mut signer, &head);
    assert_eq!(early, Err(Fault::Size { head: 2, here: 1 }));
    let mut forged = list.clone();
    let last = forged[0].len() - 1;
    forged[0][last] ^= 1;
    assert!(followed(&mut signer, forged).is_err());
    assert_eq!(followed(&mut signer, list.clone()), Ok(2));
    // The same again has another place by now.
    assert!(followed(&mut signer, list.clone()).is_err());
    let good = *head.head();
    let wrong = [
        Head {
            root: [1; 32],
            ..good
        },
        Head {
            state: Some([1; 32]),
            ..good
        },
        Head {
            state: None,
            ..good
        },
        Head {
            ts: good.ts + 1,
            ..good
        },
        Head {
            set: [1; 32],
            ..good
        },
    ];
    for head in wrong.map(SignedHead::new) {
        assert_eq!(cosigned(&mut signer, &head), Err(Fault::Differs(2)));
    }
    assert_eq!(cosigned(&mut signer, &head), Ok(1));
    let journaled = signer.journal.iter().map(|r| r.kind.as_str());
    assert!(journaled.clone().any(|kind| kind == "eco.signed"));
    let mut stranger = World::new(&[13]);
    followed(&mut stranger, list).unwrap();
    assert_eq!(cosigned(&mut stranger, &head), Err(Fault::NotListed));
    // The leader makes it final with the signature, and the signer takes it.
    let signed = signer.books.proposed.clone().unwrap();
    let done = leader.ask(Ask::Sign(signed));
    let made = Taken {
        is_final: true,
        is_new: true,
    };
    assert!(matches!(done, Answer::Taken(Ok(taken)) if taken == made));
    let last = leader.books.head.clone().unwrap();
    let alone = SignedHead::new(*last.head());
    let taken = signer.ask(Ask::Final(alone));
    assert!(matches!(taken, Answer::Final(Err(Fault::Head(_)))));
    let taken = signer.ask(Ask::Final(last));
    assert!(matches!(taken, Answer::Final(Ok(true))));
    assert_eq!(signer.books.final_size(), 2);
}

#[test]
fn a_signer_refuses_records_off_its_clock_unless_it_catches_up() {
    const MIN: u64 = 60_000;
    // Ahead of the clock is never right.
    let (_, _, list) = led();
    let mut signer = World::new(&[12]);
    signer.now = T0 - 11 * MIN;
    assert_eq!(followed(&mut signer, list.clone()), Err(Fault::Clock(1)));
    // Late is right for one that just began.
    signer.now = T0 + DAY_MS;
    assert_eq!(followed(&mut signer, list), Ok(2));
    // One that signed a moment ago knows that the record is late.
    let (mut leader, head, list) = led();
    let mut signer = World::new(&[12]);
    followed(&mut signer, list).unwrap();
    signer.now += 9 * MIN;
    cosigned(&mut signer, &head).unwrap();
    leader.ok(
        1,
        &Op::Open {
            key: *identity(8).public().as_bytes(),
            kind: USER,
        },
    );
    let Answer::Body(Some(late)) = leader.ask(Ask::Journal(2, 1)) else {
        panic!("no record");
    };
    signer.now += 2 * MIN;
    assert_eq!(followed(&mut signer, vec![late]), Err(Fault::Clock(2)));
}

#[test]
fn answers_of_several_records_are_bounded() {
    let mut world = World::new(&[11, 12]);
    // Records need not be of the machine here: only their number and length count.
    world.books.records = vec![vec![0xa0]; 2_000];
    assert_eq!(world.books.list(0, u64::MAX).len(), 1_024);
    assert_eq!(world.books.list(1_999, 9).len(), 1);
    assert!(world.books.list(2_000, 9).is_empty() && world.books.list(u64::MAX, 9).is_empty());
    world.books.records = vec![vec![0; 64 << 10]; 9];
    assert_eq!(world.books.list(0, 9).len(), 256 << 10);
    world.books.records = vec![vec![0; 1 << 20]; 2];
    assert_eq!(world.books.list(0, 9).len(), 1 << 20);
}

#[test]
fn requests_that_are_checked_together_are_answered_as_each_alone() {
    let (mut one, mut two) = (World::new(&[11, 12]), World::new(&[11, 12]));
    let g = *one.books.setup.genesis.id();
    let envelope = |n: u8, nonce, op: &Op, by: u8| {
        let request = Request::new(&[(account(1), nonce)], T0 + 1_000, [n; 16], op).unwrap();
        Envelope::sign(request, &g, &[&identity(by)]).to_bytes()
    };
    let bond = Op::Delegate {
        amt: MICRO,
        node: account(3),
    };
    let key = *identity(5).public().as_bytes();
    let rekey = Op::Rekey { key };
    let requests = [
        envelope(1, 0, &bond, 2),
        envelope(2, 0, &rekey, 1),
        // Signed before the key was replaced, and with the new one, which is not known when they are checked.
        envelope(3, 1, &bond, 1),
        envelope(4, 1, &bond, 5),
        envelope(2, 0, &rekey, 1),
        b"no envelope".to_vec(),
    ];
    let now = Now::new(Time::from_micros(T0 * 1000), T0);
    let mut asks = requests.clone().map(Ask::Request);
    one.books.prepare(&mut asks.iter_mut());
    let checked = asks.iter().filter(|ask| matches!(ask, Ask::Checked(..)));
    assert_eq!(checked.count(), 3);
    let mut answers = Vec::new();
    for (ask, alone) in asks.into_iter().zip(requests.map(Ask::Request)) {
        let together = one.books.decide(now, ask, &mut one.journal);
        let alone = two.books.decide(now, alone, &mut two.journal);
        match (together, alone) {
            (Answer::Answered(a), Answer::Answered(b)) => {
                assert_eq!((&a.answer, a.req), (&b.answer, b.req));
                answers.push((a.answer.code, a.answer.repeat));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(one.journal, two.journal);
    assert_eq!(
        answers[..3],
        [
            (Code::BadSignature, false),
            (Code::Ok, false),
            (Code::BadSignature, false)
        ]
    );
    assert_ne!(answers[3].0, Code::BadSignature);
    assert_eq!(
        answers[4..],
        [(Code::BadSignature, false), (Code::Malformed, false)]
    );
}
