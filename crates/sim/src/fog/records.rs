//! Identities, callers and records of the world.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Caller, Reply, Request};
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Map, Module, Node, NodeState, Offline, Outcome, Placement,
    Policy, Receipt, Resources, Retry, Strategy, Task, Tier, Verification,
};
use betanet_keys::Identity;

use super::world::World;

/// UNIX time at which worlds begin, in ms.
pub const UNIX_MS: u64 = 1_790_000_000_000;

/// So many ms.
#[must_use]
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The identity with this number.
#[must_use]
pub fn identity(n: u64) -> Identity {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    Identity::from_seed(&seed)
}

/// A caller: an operator, or a user of the namespace `lab`.
#[must_use]
pub fn caller(id: &Identity, operator: bool) -> Caller {
    Caller {
        key: *id.public().as_bytes(),
        node: id.public().node_id(),
        operator,
        namespaces: if operator {
            Vec::new()
        } else {
            ["lab".parse().unwrap()].into()
        },
    }
}

/// Processor in thousandths of a core, and memory in bytes.
#[must_use]
pub fn amounts(cpu: u64, memory: u64) -> Amounts {
    Amounts {
        cpu,
        memory,
        ..Amounts::default()
    }
}

/// A node with 4 cores.
#[must_use]
pub fn node_of(id: &Identity, zone: &str, org: &str) -> Node {
    Node {
        cap: Resources::capacity(amounts(4_000, 8 << 30)).unwrap(),
        key: *id.public().as_bytes(),
        org: org.parse().unwrap(),
        seq: 1,
        kind: Kind::Compute,
        zone: zone.parse().unwrap(),
        level: Level::Public,
        model: "".parse().unwrap(),
        price: 500_000,
        engine: "wasmtime/48".parse().unwrap(),
        labels: Labels::default(),
        region: "eu".parse().unwrap(),
    }
}

/// A plain task of one core for at most a minute.
#[must_use]
pub fn task_of(owner: &Identity, nonce: u64) -> Task {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&nonce.to_be_bytes());
    Task {
        ns: "lab".parse().unwrap(),
        env: Map::new(),
        res: Resources::demand(amounts(1_000, 1 << 30)).unwrap(),
        rsv: None,
        args: List::new(),
        fuel: 1_000_000_000_000,
        prio: 5,
        tier: Tier::Bronze,
        after: List::new(),
        group: "".parse().unwrap(),
        level: Level::Public,
        nonce: bytes,
        owner: *owner.public().as_bytes(),
        place: Placement::default(),
        retry: Retry {
            most: 3,
            base: 5_000,
            cap: 300_000,
        },
        start: 0,
        budget: 1 << 40,
        grants: List::new(),
        inputs: List::new(),
        module: Module {
            digest: [9; 32],
            size: 100,
        },
        run_ms: 60_000,
        verify: Verification::NONE,
        offline: Policy {
            rule: Offline::Stop,
            ms: 0,
        },
        out_max: 1 << 20,
        deadline: UNIX_MS + 3_600_000,
        strategy: Strategy::LeastLoaded,
    }
}

/// A receipt of an honest node.
#[must_use]
pub fn receipt(id: &Identity, work: &betanet_fog::Assignment, status: Outcome) -> Receipt {
    Receipt {
        inputs: work.inputs_digest(),
        end: work.end,
        key: *id.public().as_bytes(),
        out: status.has_output().then_some(work.task.0),
        copy: work.copy,
        fuel: 1_000_000,
        task: work.task,
        epoch: work.epoch,
        fence: work.fence,
        start: work.end,
        engine: "wasmtime/48".parse().unwrap(),
        module: [9; 32],
        status,
    }
}

/// The word of a node's state.
pub fn node_state<P: Placer + Default>(world: &mut World<P>, id: &Identity) -> Option<NodeState> {
    let request = Request::Nodes {
        state: None,
        after: None,
        n: 1_000,
    };
    let anyone = caller(&identity(99), false);
    match world.ask(anyone, request) {
        Ok(Reply::Nodes(list)) => list
            .items
            .iter()
            .find(|n| n.id == id.public().node_id())
            .map(|n| n.state),
        other => panic!("{other:?}"),
    }
}
