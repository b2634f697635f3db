//! Tasks, nodes and engines for tests and measurements.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests stop where they are surprised"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_fog::bodies::TokenRequest;
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Module, Node, Offline, Outcome, Output, Placement, Policy,
    Resources, Retry, Strategy, Task, TaskId, Tier, Verification,
};
use betanet_keys::{Identity, Peer, hash};
use betanet_runtime::SessionConfig;

use crate::node::{Ended, Engine, Run, Running};
use crate::{Direct, FogClient};

/// Content of the module that the tasks name.
pub const MODULE: &[u8] = b"a module that nobody runs";

/// A public task of the namespace `lab`, which has an hour and asks for a hundredth of a core.
#[must_use]
pub fn task(owner: &Identity, nonce: u64, now_ms: u64) -> Task {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    let amounts = Amounts {
        cpu: 10,
        memory: 1 << 20,
        ..Amounts::default()
    };
    Task {
        ns: "lab".parse().unwrap(),
        env: Default::default(),
        res: Resources::demand(amounts).unwrap(),
        rsv: None,
        args: List::new(),
        fuel: 1_000_000,
        prio: 5,
        tier: Tier::Bronze,
        after: List::new(),
        group: Default::default(),
        level: Level::Public,
        nonce: bytes,
        owner: *owner.public().as_bytes(),
        place: Placement::default(),
        retry: Retry {
            most: 3,
            base: 1_000,
            cap: 60_000,
        },
        start: 0,
        budget: 1 << 40,
        grants: List::new(),
        inputs: List::new(),
        module: Module {
            digest: hash(&[MODULE]),
            size: MODULE.len() as u64,
        },
        run_ms: 600_000,
        verify: Verification::NONE,
        offline: Policy {
            rule: Offline::Replace,
            ms: 0,
        },
        out_max: 1 << 20,
        deadline: now_ms + 3_600_000,
        strategy: Strategy::LeastLoaded,
    }
}

/// A node of 64 cores of the organisation `acme`.
#[must_use]
pub fn node(me: &Identity, seq: u64) -> Node {
    let amounts = Amounts {
        cpu: 64_000,
        memory: 64 << 30,
        ..Amounts::default()
    };
    Node {
        cap: Resources::capacity(amounts).unwrap(),
        key: *me.public().as_bytes(),
        org: "acme".parse().unwrap(),
        seq,
        kind: Kind::Compute,
        zone: "z".parse().unwrap(),
        level: Level::Public,
        model: Default::default(),
        price: 1,
        engine: "test".parse().unwrap(),
        labels: Labels::default(),
        region: "eu".parse().unwrap(),
    }
}

/// An order for a token with which one node of `acme` joins within an hour.
#[must_use]
pub fn token_request(id: u64, now_ms: u64) -> TokenRequest {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    TokenRequest {
        id: bytes,
        exp: now_ms + 3_600_000,
        org: "acme".parse().unwrap(),
        node: None,
        kinds: List::try_from(vec![Kind::Compute]).unwrap(),
    }
}

/// A client that dials these coordinators.
#[must_use]
pub fn client(me: &Identity, coordinators: &[Peer]) -> FogClient {
    let node = betanet_runtime::Node::new(Some(me.clone()), SessionConfig::default()).unwrap();
    let direct = Direct::new(Arc::new(node), coordinators.to_vec());
    FogClient::new(me.clone(), direct)
}

/// Runs copies for a time, and counts those that began.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// Time of a copy.
    pub time: Duration,
    /// Copies that began, by task.
    pub begun: Arc<Mutex<BTreeMap<TaskId, u64>>>,
}

impl Engine for Waits {
    fn name(&self) -> &str {
        "test"
    }

    fn run(&self, run: Arc<Run>) -> Running {
        *self.begun.lock().unwrap().entry(run.id).or_default() += 1;
        let time = self.time;
        Box::pin(async move {
            tokio::time::sleep(time).await;
            let output = Output {
                exit: 0,
                files: List::new(),
            };
            Ended {
                status: Outcome::Ok,
                out: Some(output.digest()),
                fuel: 1_000,
            }
        })
    }
}
