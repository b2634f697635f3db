//! Users, nodes, their records, and the times of tasks.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use betanet_coordinator::Caller;
use betanet_fog::bodies::{Beat, TokenRequest};
use betanet_fog::{Assignment, List, Node, Outcome, Receipt, Signed, Task, TaskId};
use betanet_fog_client::testkit::{self, MODULE};
use betanet_keys::{Identity, hash};
use betanet_runtime::Clock;

pub(crate) const OPERATOR: u8 = 1;
pub(crate) const USER: u8 = 2;
pub(crate) const NODE: u8 = 3;
pub(crate) const COORDINATOR: u8 = 9;

pub(crate) fn identity(kind: u8, n: usize) -> Identity {
    let mut seed = [kind; 32];
    seed[1..9].copy_from_slice(&(n as u64).to_be_bytes());
    Identity::from_seed(&seed)
}

/// Somebody with a key. It is derived once, as a program does that reads it from its state folder.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) identity: Identity,
    pub(crate) caller: Caller,
    module: [u8; 32],
}

impl Who {
    pub(crate) fn new(kind: u8, n: usize) -> Self {
        let identity = identity(kind, n);
        let key = *identity.public();
        let caller = Caller {
            key: *key.as_bytes(),
            node: key.node_id(),
            operator: kind == OPERATOR,
            namespaces: if kind == USER {
                vec!["lab".parse().unwrap()]
            } else {
                Vec::new()
            },
        };
        Self {
            identity,
            caller,
            module: hash(&[MODULE]),
        }
    }

    /// Describes itself as a node.
    pub(crate) fn node(&self) -> Signed<Node> {
        Signed::sign(testkit::node(&self.identity, 1), &self.identity).unwrap()
    }

    /// Signs the receipt of a copy.
    pub(crate) fn receipt(&self, work: &Assignment) -> Signed<Receipt> {
        let now = now_ms();
        let receipt = Receipt {
            inputs: work.inputs_digest(),
            end: now,
            key: self.caller.key,
            out: Some([7; 32]),
            copy: work.copy,
            fuel: 1_000,
            task: work.task,
            epoch: work.epoch,
            fence: work.fence,
            start: now,
            engine: "load".parse().unwrap(),
            module: self.module,
            status: Outcome::Ok,
        };
        Signed::sign(receipt, &self.identity).unwrap()
    }
}

pub(crate) fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

pub(crate) fn task(owner: &Identity, nonce: u64, now_ms: u64) -> Signed<Task> {
    Signed::sign(testkit::task(owner, nonce, now_ms), owner).unwrap()
}

pub(crate) fn token() -> TokenRequest {
    testkit::token_request(0, now_ms())
}

pub(crate) fn beat(seq: u64) -> Beat {
    Beat {
        rtt: List::new(),
        seq,
        gone: List::new(),
        have: List::new(),
        work: true,
    }
}

/// Times at which tasks were sent and done.
#[derive(Default)]
pub(crate) struct Times {
    sent: Mutex<BTreeMap<TaskId, Clock>>,
    took: Mutex<Vec<Duration>>,
    done: AtomicUsize,
}

impl Times {
    pub(crate) fn sent(&self, id: TaskId) {
        self.sent.lock().unwrap().insert(id, Clock::start());
    }

    pub(crate) fn ended(&self, id: TaskId) {
        let sent = self.sent.lock().unwrap().remove(&id);
        if let Some(sent) = sent {
            self.took.lock().unwrap().push(sent.elapsed());
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of tasks that have ended.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Times from sending to the end.
    pub(crate) fn took(&self) -> Vec<Duration> {
        self.took.lock().unwrap().clone()
    }
}
