//! The newest events and the history of the cluster.

use alloc::collections::VecDeque;

use betanet_fog::{Amounts, Digest, Kind, NodeState, Reason, TaskId, TaskState};
use betanet_wire::NodeId;

use crate::codec::{Damaged, Row, row};
use crate::record::Change;

/// Events that are kept.
pub(crate) const EVENTS: usize = 4_096;

/// Snapshots of the cluster that are kept.
pub(crate) const TOPOLOGIES: usize = 100;

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Happened {
    pub(crate) at: u64,
    pub(crate) ts: u64,
    pub(crate) kind: u8,
    pub(crate) reason: Option<Reason>,
    pub(crate) node: Option<NodeId>,
    pub(crate) task: Option<TaskId>,
}
row!(Happened {
    at,
    ts,
    kind,
    reason,
    node,
    task
});

impl Happened {
    pub(crate) fn kind(&self) -> &'static str {
        Change::KINDS
            .get(usize::from(self.kind))
            .copied()
            .unwrap_or("")
    }
}

/// Counts of the cluster at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) at: u64,
    pub(crate) ts: u64,
    pub(crate) epoch: u64,
    pub(crate) cap: Amounts,
    pub(crate) free: Amounts,
    pub(crate) seed: Digest,
    pub(crate) kinds: [u64; Kind::ALL.len()],
    pub(crate) nodes: [u64; NodeState::ALL.len()],
    pub(crate) tasks: [u64; TaskState::ALL.len()],
}
row!(Counts {
    at,
    ts,
    epoch,
    cap,
    free,
    seed,
    kinds,
    nodes,
    tasks
});

impl Row for Amounts {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        [
            self.cpu,
            self.memory,
            self.storage,
            self.gpu,
            self.bandwidth,
            self.relay,
        ]
        .put(w);
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, Damaged> {
        let [cpu, memory, storage, gpu, bandwidth, relay] = Row::get(r)?;
        Ok(Self {
            cpu,
            memory,
            storage,
            gpu,
            bandwidth,
            relay,
        })
    }
}

/// A list of the newest, oldest first.
pub(super) fn keep<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}
