//! What a storm is made of, and what came of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::{Reason, Strategy};

/// A scenario. Frequencies are events in 1 000 steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Number of nodes.
    pub nodes: u64,
    /// Number of zones, over which nodes are spread.
    pub zones: u64,
    /// Nodes of one organisation.
    pub per_org: u64,
    /// Tasks that are submitted.
    pub tasks: u64,
    /// Tasks of one step, at most.
    pub burst: u64,
    /// Steps with weather.
    pub steps: u64,
    /// Steps without, at the end.
    pub calm: u64,
    /// Longest step, in ms.
    pub step_ms: u64,
    /// Tasks may run for 30 s and up to so many ms more.
    pub run_ms: u64,
    /// Strategies of tasks.
    pub strategies: Vec<Strategy>,
    /// Of 100 nodes, those that lie about every second output.
    pub liars_percent: u64,
    /// Nodes that crash or come back.
    pub crashes: u64,
    /// Zones and nodes that are cut off or linked again.
    pub partitions: u64,
    /// Leaders that die, or go on believing.
    pub depositions: u64,
    /// Times at which the journal is slow for up to 3 s.
    pub slow: u64,
    /// Answers that are lost, of 1 000.
    pub lost: u64,
    /// Of 1 000 appends that are under way when a leader dies, those that the journal has all the same. The others are lost.
    pub unheard: u64,
    /// Most by which the system's clock is wrong, in ms.
    pub skew_ms: u64,
    /// Nodes that describe less capacity.
    pub shrinks: u64,
    /// Orders that are committed to.
    pub orders: u64,
    /// Steps between two comparisons of the leader's state with a replay's.
    pub compare: u64,
}

impl Default for Scenario {
    /// Rough weather over a small fleet.
    fn default() -> Self {
        Self {
            nodes: 7,
            zones: 3,
            per_org: 2,
            tasks: 30,
            burst: 1,
            steps: 150,
            calm: 120,
            step_ms: 3_000,
            run_ms: 60_000,
            strategies: Strategy::ALL.to_vec(),
            liars_percent: 15,
            crashes: 30,
            partitions: 25,
            depositions: 12,
            slow: 40,
            lost: 30,
            unheard: 500,
            skew_ms: 0,
            shrinks: 0,
            orders: 0,
            compare: 1,
        }
    }
}

/// What was counted. Sums over several runs are sums of the fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Tasks that were accepted.
    pub accepted: u64,
    /// Tasks that ended, by reason.
    pub ended: BTreeMap<Reason, u64>,
    /// Tasks that wait at the end, each with a reason or a live copy.
    pub open: u64,
    /// Copies that were placed.
    pub copies: u64,
    /// Copies that ended without a receipt.
    pub lost: u64,
    /// Outputs that were lies.
    pub lies: u64,
    /// Tasks without verification that a lie decided.
    pub fooled: u64,
    /// Leaders that were elected.
    pub elections: u64,
    /// Appends that the journal has and nobody heard of.
    pub unheard: u64,
    /// Leaders that were rebuilt from a snapshot.
    pub restored: u64,
    /// Records of the journal.
    pub records: u64,
    /// Checks of all invariants.
    pub checks: u64,
    /// What tasks paid, in µ.
    pub paid: u64,
    /// Reservations that were sold.
    pub rents: u64,
    /// Reservations that were paid back.
    pub voided: u64,
    /// Simulated time, in s.
    pub seconds: u64,
}

impl Outcome {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        for (reason, n) in &other.ended {
            *self.ended.entry(*reason).or_default() += n;
        }
        self.accepted += other.accepted;
        self.open += other.open;
        self.copies += other.copies;
        self.lost += other.lost;
        self.lies += other.lies;
        self.fooled += other.fooled;
        self.elections += other.elections;
        self.unheard += other.unheard;
        self.restored += other.restored;
        self.records += other.records;
        self.checks += other.checks;
        self.paid += other.paid;
        self.rents += other.rents;
        self.voided += other.voided;
        self.seconds += other.seconds;
    }
}
