//! The life of one task: which copies it has, and what their ends decide.

mod copy;

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_fog::{Digest, Fate, Outcome, Reason, Refusal, RefusalCode, TaskState, Tier, Verify};

use crate::codec::row;

pub use copy::{Copy, CopyState, Returned};

/// Most losses of a task that goes on.
const LOSSES_MAX: u8 = 8;

/// Results after which a spot check without two equal ones fails.
const SPOT_RESULTS: usize = 4;

/// Most ended copies without a result that a task remembers: the newest.
const DEAD_MAX: usize = 32;

/// The values of a task that its life depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Service tier.
    pub tier: Tier,
    /// How results decide.
    pub verify: Verify,
    /// Equal results that decide under quorum.
    pub k: u8,
    /// Copies under quorum.
    pub n: u8,
    /// Most faults of a task that goes on.
    pub retry_max: u8,
    /// Whether the program has access to the world outside it.
    pub grants: bool,
}

row!(Rules {
    tier,
    verify,
    k,
    n,
    retry_max,
    grants
});

impl Rules {
    /// Number of copies that are placed at first.
    #[must_use]
    pub fn copies(&self) -> u64 {
        let asked = match self.verify {
            Verify::Quorum => u64::from(self.n),
            Verify::None | Verify::Spot => 1,
        };
        asked.max(self.tier.least_copies())
    }

    /// Number of results after which a task without a decision fails.
    const fn most_results(&self) -> usize {
        match self.verify {
            Verify::Quorum => 2 * self.n as usize,
            Verify::None | Verify::Spot => SPOT_RESULTS,
        }
    }
}

/// The end that a task comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// State of the ended task.
    pub state: TaskState,
    /// Why it ended.
    pub reason: Reason,
    /// Fences of the copies whose result it is, ascending by copy.
    pub deciding: Vec<u64>,
}

impl End {
    /// An end that no result decides.
    #[must_use]
    pub const fn without(state: TaskState, reason: Reason) -> Self {
        Self {
            state,
            reason,
            deciding: Vec::new(),
        }
    }
}

/// What is known of a receipt's fence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fence {
    /// The copy awaits its receipt.
    Live,
    /// This receipt was accepted before.
    Again,
    /// The fence is dead, and this receipt is the first under it.
    Evidence,
    /// The fence is dead, and this receipt is kept already, or there is nothing to keep it under.
    Stale,
}

/// State and copies of a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Life {
    /// The task's state.
    pub state: TaskState,
    /// Why it ended.
    pub reason: Option<Reason>,
    /// Faults so far.
    pub faults: u8,
    /// Losses so far.
    pub losses: u8,
    /// Copies placed so far.
    pub placed: u32,
    /// Live copies, results, and the newest of the others; ascending by number.
    pub copies: Vec<Copy>,
}
row!(Life {
    state,
    reason,
    faults,
    losses,
    placed,
    copies
});

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

const ENDED: Refusal = RefusalCode::Ended.bare();

impl Life {
    /// The life of an accepted task.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: TaskState::Accepted,
            reason: None,
            faults: 0,
            losses: 0,
            placed: 0,
            copies: Vec::new(),
        }
    }

    /// The live copies.
    pub fn live(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter().filter(|c| c.state.is_live())
    }

    /// The copies with a result.
    pub fn results(&self) -> impl Iterator<Item = &Copy> {
        self.copies.iter().filter(|c| c.result().is_some())
    }

    /// The copy under a fence.
    #[must_use]
    pub fn copy(&self, fence: u64) -> Option<&Copy> {
        self.copies.iter().find(|c| c.fence == fence)
    }

    fn copy_mut(&mut self, fence: u64) -> Option<&mut Copy> {
        self.copies.iter_mut().find(|c| c.fence == fence)
    }

    /// Number of copies that are to be placed next.
    #[must_use]
    pub fn wanted(&self, rules: &Rules) -> u64 {
        let waits = matches!(self.state, TaskState::Queued | TaskState::Verifying);
        if !waits || self.live().next().is_some() {
            0
        } else if self.placed == 0 {
            rules.copies()
        } else {
            1
        }
    }

    /// Checks the fence of a start or a nack. Returns the live copy.
    ///
    /// # Errors
    ///
    /// `ended`, or `fence_stale`.
    pub fn check_fence(&self, fence: u64) -> Result<&Copy, Refusal> {
        if self.state.ended() {
            return Err(ENDED);
        }
        self.copy(fence)
            .filter(|c| c.state.is_live())
            .ok_or(RefusalCode::FenceStale.bare())
    }

    /// Finds out what a receipt under a fence is, by its hash.
    ///
    /// # Errors
    ///
    /// `receipt_conflict` for a second receipt under one fence, `ended` after the task's end.
    pub fn check_receipt(&self, fence: u64, hash: &Digest) -> Result<Fence, Refusal> {
        let copy = self.copy(fence);
        let first = copy.and_then(|c| c.returned.as_ref());
        let lost = copy.is_some_and(|c| matches!(c.state, CopyState::Lost(_)));
        match first {
            Some(first) if first.hash != *hash => Err(RefusalCode::ReceiptConflict.bare()),
            Some(_) if lost => Ok(Fence::Stale),
            Some(_) => Ok(Fence::Again),
            None if self.state.ended() => Err(ENDED),
            None if lost => Ok(Fence::Evidence),
            None if copy.is_some() => Ok(Fence::Live),
            None => Ok(Fence::Stale),
        }
    }

    /// All tasks that it comes after have succeeded, and its start is reached.
    pub const fn ready(&mut self) {
        self.state = TaskState::Queued;
    }

    /// A copy got a node.
    pub fn assigned(&mut self, copy: Copy) {
        self.placed = self.placed.max(copy.no.saturating_add(1));
        self.copies.push(copy);
        if self.state == TaskState::Queued {
            self.state = TaskState::Assigned;
        }
    }

    /// A copy runs. Returns whether that is new.
    pub fn started(&mut self, fence: u64) -> bool {
        let Some(copy) = self.copy_mut(fence) else {
            return false;
        };
        if copy.state != CopyState::Assigned {
            return false;
        }
        copy.state = CopyState::Running;
        if self.state == TaskState::Assigned {
            self.state = TaskState::Running;
        }
        true
    }

    /// A live copy ended with a receipt.
    pub fn returned(&mut self, rules: &Rules, fence: u64, outcome: Outcome, receipt: Returned) {
        let fate = outcome.fate(rules.grants);
        let Some(copy) = self.copy_mut(fence).filter(|c| c.state.is_live()) else {
            return;
        };
        copy.returned = Some(Box::new(receipt));
        match fate {
            Fate::Result => {
                copy.state = CopyState::Result(outcome);
                if rules.verify != Verify::None {
                    self.state = TaskState::Verifying;
                }
            }
            Fate::Fault => {
                copy.state = CopyState::Fault(outcome);
                self.faults = self.faults.saturating_add(1);
                self.requeue();
            }
        }
    }

    /// A live copy ended without a receipt: by a loss, a yield, or the fault `time`.
    pub fn lost(&mut self, fence: u64, why: Reason) {
        let Some(copy) = self.copy_mut(fence).filter(|c| c.state.is_live()) else {
            return;
        };
        copy.state = CopyState::Lost(why);
        if why == Reason::Time {
            self.faults = self.faults.saturating_add(1);
        } else if is_loss(why) {
            self.losses = self.losses.saturating_add(1);
        }
        self.requeue();
    }

    fn requeue(&mut self) {
        if self.state != TaskState::Verifying && self.live().next().is_none() {
            self.state = TaskState::Queued;
        }
        let dead = |c: &Copy| !c.state.is_live() && c.result().is_none();
        if self.copies.iter().filter(|c| dead(c)).count() > DEAD_MAX
            && let Some(oldest) = self.copies.iter().position(dead)
        {
            self.copies.remove(oldest);
        }
    }

    /// Keeps the hash of a receipt under a dead fence.
    pub fn evidence(&mut self, fence: u64, receipt: Returned) {
        if let Some(copy) = self.copy_mut(fence)
            && copy.returned.is_none()
        {
            copy.returned = Some(Box::new(receipt));
        }
    }

    /// The task has ended. Its live copies are dropped.
    pub fn ended(&mut self, state: TaskState, reason: Reason) {
        self.state = state;
        self.reason = Some(reason);
        for copy in self.copies.iter_mut().filter(|c| c.state.is_live()) {
            copy.state = CopyState::Lost(Reason::Ended);
        }
    }

    /// The end that the copy under `fence` brings, which has just ended.
    #[must_use]
    pub fn verdict(&self, rules: &Rules, fence: u64) -> Option<End> {
        if self.state.ended() {
            return None;
        }
        let copy = self.copy(fence)?;
        let none_live = self.live().next().is_none();
        match copy.state {
            CopyState::Result(outcome) => self.decided(rules, copy, outcome, none_live),
            CopyState::Fault(outcome) if none_live => self.exhausted(rules, Some(outcome)),
            CopyState::Lost(Reason::Time) if none_live => {
                self.exhausted(rules, Some(Outcome::Time))
            }
            CopyState::Lost(why) if none_live && is_loss(why) => self.exhausted(rules, None),
            _ => None,
        }
    }

    fn decided(&self, rules: &Rules, copy: &Copy, outcome: Outcome, last: bool) -> Option<End> {
        let result = copy.result();
        let equal = || self.copies.iter().filter(|c| c.result() == result);
        let alone = copy.returned.as_ref().is_some_and(|r| r.alone);
        let results = self.results().count();
        let decides = match rules.verify {
            Verify::None => outcome == Outcome::Ok || last,
            Verify::Quorum => equal().count() >= usize::from(rules.k),
            Verify::Spot => equal().count() >= 2 || (results == 1 && alone),
        };
        if decides {
            let deciding = match rules.verify {
                Verify::None => [copy.fence].into(),
                Verify::Quorum | Verify::Spot => equal().map(|c| c.fence).collect(),
            };
            let state = match outcome {
                Outcome::Ok => TaskState::Succeeded,
                _ => TaskState::Failed,
            };
            return Some(End {
                state,
                reason: outcome.into(),
                deciding,
            });
        }
        let over = rules.verify != Verify::None && last && results >= rules.most_results();
        over.then(|| End::without(TaskState::Failed, Reason::NoQuorum))
    }

    fn exhausted(&self, rules: &Rules, fault: Option<Outcome>) -> Option<End> {
        let faults = self.faults > rules.retry_max;
        let losses = self.losses > LOSSES_MAX;
        let last_fault = || {
            self.copies.iter().rev().find_map(|c| match c.state {
                CopyState::Fault(outcome) => Some(outcome),
                CopyState::Lost(Reason::Time) => Some(Outcome::Time),
                _ => None,
            })
        };
        let reason = match fault {
            Some(outcome) if faults => outcome.into(),
            _ if losses => Reason::Lost,
            _ if faults => last_fault().map_or(Reason::Internal, Reason::from),
            _ => return None,
        };
        Some(End::without(TaskState::Failed, reason))
    }
}

/// Whether the end of a copy counts as a loss. Yields do not.
#[must_use]
pub const fn is_loss(why: Reason) -> bool {
    matches!(why, Reason::Down | Reason::Lease | Reason::Nack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_wire::NodeId;

    const RULES: Rules = Rules {
        tier: Tier::Bronze,
        verify: Verify::None,
        k: 0,
        n: 0,
        retry_max: 1,
        grants: false,
    };

    fn assigned(fences: &[u64]) -> Life {
        let mut life = Life::new();
        life.ready();
        for fence in fences {
            life.assigned(Copy {
                fence: *fence,
                no: life.placed,
                node: NodeId([0; 20]),
                placed: 0,
                end: 0,
                devices: 0,
                state: CopyState::Assigned,
                returned: None,
            });
        }
        life
    }

    fn receipt(n: u8) -> Returned {
        Returned {
            hash: [n; 32],
            out: None,
            fuel: 0,
            alone: false,
        }
    }

    #[test]
    fn a_copy_that_ran_out_of_time_takes_no_receipt_but_evidence() {
        for why in [Reason::Time, Reason::Down, Reason::Drained] {
            let mut life = assigned(&[7]);
            life.lost(7, why);
            assert_eq!(life.state, TaskState::Queued);
            assert_eq!(
                life.check_receipt(7, &[1; 32]),
                Ok(Fence::Evidence),
                "{why}"
            );
            life.evidence(7, receipt(1));
            assert_eq!(life.check_receipt(7, &[1; 32]), Ok(Fence::Stale));
            let other = life.check_receipt(7, &[2; 32]).map_err(|r| r.code);
            assert_eq!(other, Err(RefusalCode::ReceiptConflict));
        }
    }

    #[test]
    fn time_counts_as_a_fault_and_a_yield_as_nothing() {
        let mut life = assigned(&[1, 2, 3]);
        life.lost(1, Reason::Time);
        assert_eq!(life.verdict(&RULES, 1), None, "others live");
        life.lost(2, Reason::Preempted);
        life.lost(3, Reason::Time);
        assert_eq!((life.faults, life.losses), (2, 0));
        let end = End::without(TaskState::Failed, Reason::Time);
        assert_eq!(life.verdict(&RULES, 3), Some(end));
    }

    #[test]
    fn ended_copies_without_a_result_are_remembered_up_to_a_bound() {
        let mut life = assigned(&[]);
        for fence in 1..200 {
            let mut one = assigned(&[fence]).copies;
            one[0].no = life.placed;
            life.assigned(one.remove(0));
            life.lost(fence, Reason::Drained);
        }
        assert_eq!((life.copies.len(), life.placed), (DEAD_MAX, 199));
        assert_eq!(life.check_receipt(1, &[1; 32]), Ok(Fence::Stale));
    }
}
