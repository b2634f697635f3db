//! A small ledger whose requests are sent as if their signatures were checked.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part of it, and stops where it is surprised"
)]

use betanet_keys::Identity;
use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, USER, address};
use betanet_tokenomics::request::{Effect, Kind, Op, Proof, Transfer};
use betanet_tokenomics::{Answer, Asset, Code, Economy, GenesisDraft, Id, Param, Request, Role};
use betanet_wire::NodeId;
use betanet_wire::cbor::Writer;

pub(crate) const FOG: u64 = MICRO;
pub(crate) const T0: u64 = 1_700_000_000_000;

pub(crate) struct Town {
    pub(crate) economy: Economy,
    pub(crate) now: u64,
    made: u64,
}

/// Key of the account with this number. Numbers below 1 000 are users, others nodes. Only workers have keys that sign.
pub(crate) fn key(n: u64) -> [u8; 32] {
    if n >= WORKERS {
        return *worker(n).public().as_bytes();
    }
    bytes(n)
}

fn bytes(n: u64) -> [u8; 32] {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// Four nodes that sign receipts and requests.
pub(crate) const WORKERS: u64 = 2_000_000;

pub(crate) fn worker(n: u64) -> Identity {
    Identity::from_seed(&bytes(n))
}

/// A worker's receipt of an assignment, a copy and its fence, with a status and an output.
pub(crate) fn receipt(
    node: u64,
    task: &[u8; 32],
    (copy, fence): (u64, u64),
    (status, out): (&str, u8),
) -> Proof {
    let signer = worker(node);
    let key = *signer.public().as_bytes();
    let mut w = Writer::default();
    w.map(8);
    w.text("key");
    w.bytes(&key);
    w.text("out");
    w.bytes(&[out; 32]);
    w.text("copy");
    w.unsigned(copy);
    w.text("fuel");
    w.unsigned(5_000_000);
    w.text("task");
    w.bytes(task);
    w.text("epoch");
    w.unsigned(1);
    w.text("fence");
    w.unsigned(fence);
    w.text("status");
    w.text(status);
    let record = w.into_vec();
    let sig = signer.sign("BN-FOG-DONE1", &[&record]);
    Proof { record, key, sig }
}

pub(crate) fn account(n: u64) -> NodeId {
    address(&key(n))
}

pub(crate) const NODES: u64 = 1_000_000;
/// Accounts that hold every role.
pub(crate) const OFFICERS: [u64; 3] = [900_001, 900_002, 900_003];

impl Town {
    /// So many users and nodes with 10 000 FOG each.
    pub(crate) fn new(users: u64, nodes: u64) -> Self {
        Self::with(users, nodes, &[(Param::MinBond, 100 * FOG)])
    }

    pub(crate) fn with(users: u64, nodes: u64, params: &[(Param, u64)]) -> Self {
        let users = (0..users)
            .chain(OFFICERS)
            .map(|n| (key(n), USER, 10_000 * FOG));
        let nodes = (0..nodes).map(|n| NODES + n);
        let nodes = nodes.chain((0..4).map(|n| WORKERS + n));
        let nodes = nodes.map(|n| (key(n), NODE, 10_000 * FOG));
        let alloc: Vec<_> = users.chain(nodes).collect();
        let officers: Vec<Vec<u8>> = OFFICERS.iter().map(|n| account(*n).0.to_vec()).collect();
        let draft = GenesisDraft {
            name: "a town",
            t0: T0,
            epoch_ms: DAY_MS,
            cap: 1 << 62,
            base: 1_000 * FOG,
            halving: 365,
            treasury: 1_000_000 * FOG,
            alloc: &alloc,
            params,
            roles: &[
                (Role::Auditors, officers.clone()),
                (Role::Coordinators, officers.clone()),
                (Role::Guardians, officers),
            ],
            keysets: &[],
        };
        let economy = Economy::new(&draft.to_bytes()).unwrap();
        Self {
            economy,
            now: T0,
            made: 0,
        }
    }

    pub(crate) fn id(&mut self) -> Id {
        self.made += 1;
        let mut id = [3; 16];
        id[..8].copy_from_slice(&self.made.to_be_bytes());
        id
    }

    /// Sends a request of these accounts. The sums must hold after it.
    pub(crate) fn send(&mut self, by: &[u64], op: &Op) -> Answer {
        let (answer, _) = self.send_kept(by, op);
        answer
    }

    /// The same, and the request.
    pub(crate) fn send_kept(&mut self, by: &[u64], op: &Op) -> (Answer, Request) {
        let signer = |n: &u64| {
            let id = account(*n);
            (id, self.economy.nonce(&id).unwrap())
        };
        let by: Vec<_> = by.iter().map(signer).collect();
        let id = self.id();
        let request = Request::new(&by, self.now + 1_000, id, op).unwrap();
        let answer = self.economy.apply_unsigned(self.now, &request).unwrap();
        self.economy.audit().unwrap();
        (answer, request)
    }

    pub(crate) fn ok(&mut self, by: &[u64], op: &Op) {
        assert_eq!(self.send(by, op).code, Code::Ok, "{op:?}");
    }

    pub(crate) fn code(&mut self, by: &[u64], op: &Op) -> Code {
        self.send(by, op).code
    }

    /// Moves the clock and lets all that is due happen.
    pub(crate) fn wait(&mut self, ms: u64) {
        self.now += ms;
        while self.economy.tick(self.now).unwrap().code == Code::Ok {
            self.economy.audit().unwrap();
        }
    }

    pub(crate) fn fog(&self, n: u64) -> u128 {
        self.economy.counters(&account(n), Asset::Fog).available()
    }

    pub(crate) fn pay(&mut self, from: u64, to: u64, amt: u64) -> Op {
        let kind = Kind::Plain {
            from: account(from),
            to: account(to),
            asset: Asset::Fog,
            amt,
        };
        let id = self.id();
        let list = Vec::from([Transfer::new(id, false, &kind).unwrap()]);
        Op::Transfers { list }
    }

    /// Proposes effects, and returns the proposal's ID.
    pub(crate) fn propose(&mut self, by: u64, effects: Vec<Effect>) -> Result<Id, Code> {
        let (answer, request) = self.send_kept(&[by], &Op::propose(effects, [0; 32]));
        match answer.code {
            Code::Ok => Ok(betanet_tokenomics::records::proposal_id(request.body())),
            code => Err(code),
        }
    }
}

pub(crate) fn bond(amt: u64) -> Op {
    Op::Bond { amt, comm: 0 }
}

pub(crate) fn delegate(node: u64, amt: u64) -> Op {
    let node = account(node);
    Op::Delegate { amt, node }
}

pub(crate) fn unbond(node: u64, amt: u64) -> Op {
    let node = account(node);
    Op::Unbond { amt, node }
}
