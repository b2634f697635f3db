//! Levels that nodes have proved. They are kept in memory alone: the proof is an answer to this coordinator, and it gets no older
//! than a day. A new leader asks anew, so no clock of another machine has to be believed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_fog::{Level, NodeState, Refusal, RefusalCode, TaskId};
use betanet_machine::Time;
use betanet_wire::NodeId;

use super::Coordinator;
use crate::placer::Placer;
use crate::request::Request;

/// Time for which a proof counts.
const LEVEL_KEPT: Duration = Duration::from_secs(86_400);

/// Nodes that one look for claims goes over.
const LOOKS: usize = 8_192;

/// Levels above public.
const ABOVE: usize = Level::ALL.len() - 1;

/// Position among the levels above public. Public needs no proof.
const fn position(level: Level) -> Option<usize> {
    match level {
        Level::Public => None,
        Level::Private => Some(0),
        Level::Confidential => Some(1),
        Level::Secret => Some(2),
    }
}

/// Proofs by node and level.
#[derive(Debug, Default)]
pub(super) struct Levels {
    /// When the proof of each level ends.
    of: BTreeMap<NodeId, [Option<Time>; ABOVE]>,
    /// Nodes by the highest level that they have proved.
    by_level: BTreeSet<(Level, NodeId)>,
    ends: BTreeSet<(Time, NodeId, Level)>,
}

impl Levels {
    /// The highest level that a node has proved.
    pub(super) fn proved(&self, id: &NodeId) -> Level {
        let Some(proofs) = self.of.get(id) else {
            return Level::Public;
        };
        let mut all = Level::ALL.iter().rev().copied();
        let proved = all.find(|l| position(*l).is_some_and(|n| proofs[n].is_some()));
        proved.unwrap_or(Level::Public)
    }

    fn set(&mut self, id: NodeId, level: Level, end: Option<Time>) {
        let Some(n) = position(level) else { return };
        let before = self.proved(&id);
        let proofs = self.of.entry(id).or_default();
        let old = core::mem::replace(&mut proofs[n], end);
        let none = proofs.iter().all(Option::is_none);
        if none {
            self.of.remove(&id);
        }
        if let Some(old) = old {
            self.ends.remove(&(old, id, level));
        }
        if let Some(end) = end {
            self.ends.insert((end, id, level));
        }
        self.by_level.remove(&(before, id));
        let now = self.proved(&id);
        if now != Level::Public {
            self.by_level.insert((now, id));
        }
    }

    /// Forgets all proofs of a node.
    pub(super) fn forget(&mut self, id: NodeId) {
        for level in Level::ALL {
            self.set(id, *level, None);
        }
    }

    /// When the next proof ends.
    pub(super) fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(at, ..)| *at)
    }

    /// Takes a node whose proof of some level has ended.
    fn ended(&mut self, now: Time) -> Option<NodeId> {
        let (_, id, level) = *self.ends.first().filter(|(at, ..)| *at <= now)?;
        self.set(id, level, None);
        Some(id)
    }
}

/// Nodes that say they serve a level above public.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LevelClaims {
    /// Each node that may get work, with the level of its description.
    pub nodes: Vec<(NodeId, Level)>,
    /// The last node that was looked at; `None` after the last of all.
    pub next: Option<NodeId>,
}

impl<P: Placer> Coordinator<P> {
    /// Nodes after this one that claim a level above public. One call looks at 8 192 nodes.
    #[must_use]
    pub fn level_claims(&self, after: Option<NodeId>) -> LevelClaims {
        let mut claims = LevelClaims::default();
        for (id, row) in self.state.nodes.after(after).take(LOOKS) {
            claims.next = Some(*id);
            let counts = matches!(row.state(), NodeState::Joining | NodeState::Active);
            if counts && row.level > Level::Public {
                claims.nodes.push((*id, row.level));
            }
        }
        claims
    }

    /// Highest level among the tasks that a user's request is about.
    #[must_use]
    pub fn level_of(&self, request: &Request) -> Level {
        let of = |id: &TaskId| {
            let row = self.state.tasks.get(id);
            row.map_or(Level::Public, |row| row.level)
        };
        match request {
            Request::Submit { task, .. } | Request::Plan(task) => task.level,
            Request::Status(id) | Request::Cancel(id) => of(id),
            Request::PutJob(job) => {
                let levels = job.tasks.iter().map(of);
                levels.max().unwrap_or(Level::Public)
            }
            _ => Level::Public,
        }
    }

    /// A node proved a level.
    pub(super) fn reached(&mut self, now: Time, id: NodeId, level: Level) {
        if self.state.nodes.get(&id).is_none() {
            return;
        }
        self.levels.set(id, level, Some(now + LEVEL_KEPT));
        self.seat(id);
        self.stir();
    }

    /// Forgets levels that were proved too long ago.
    pub(super) fn prove_levels(&mut self, now: Time) {
        while let Some(id) = self.levels.ended(now) {
            self.seat(id);
        }
    }

    /// Checks that some node has a level: it claims it, and has proved it.
    pub(super) fn check_level(&self, level: Level) -> Result<(), Refusal> {
        let least = (level, NodeId([0; 20]));
        let claims = |id: &NodeId| self.state.nodes.get(id).is_some_and(|n| n.level >= level);
        let mut proved = self.levels.by_level.range(least..);
        if level == Level::Public || proved.any(|(_, id)| claims(id)) {
            Ok(())
        } else {
            Err(RefusalCode::PrivacyUnavailable.of("level"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Time {
        Time::ZERO + Duration::from_secs(3_600 * hours)
    }

    fn id(n: u8) -> NodeId {
        NodeId([n; 20])
    }

    fn proves(levels: &mut Levels, now: Time, id: NodeId, level: Level) {
        levels.set(id, level, Some(now + LEVEL_KEPT));
    }

    #[test]
    fn a_proof_counts_for_24_h_and_a_newer_one_for_longer() {
        let mut levels = Levels::default();
        assert_eq!(levels.proved(&id(1)), Level::Public);
        proves(&mut levels, at(0), id(1), Level::Private);
        assert_eq!(levels.next_end(), Some(at(24)));
        proves(&mut levels, at(6), id(1), Level::Private);
        assert_eq!(levels.next_end(), Some(at(30)));
        let just_before = Time::from_micros(at(30).as_micros() - 1);
        assert_eq!(levels.ended(just_before), None);
        assert_eq!(levels.proved(&id(1)), Level::Private);
        assert_eq!(levels.ended(at(30)), Some(id(1)));
        assert_eq!(levels.proved(&id(1)), Level::Public);
        assert_eq!((levels.ended(at(99)), levels.next_end()), (None, None));
        assert!(levels.of.is_empty() && levels.by_level.is_empty());
    }

    #[test]
    fn an_answer_over_fewer_relays_takes_nothing_from_one_over_more() {
        let mut levels = Levels::default();
        proves(&mut levels, at(0), id(1), Level::Secret);
        proves(&mut levels, at(20), id(1), Level::Private);
        assert_eq!(levels.proved(&id(1)), Level::Secret);
        assert_eq!(levels.ended(at(24)), Some(id(1)));
        // The level that the second answer proved is left.
        assert_eq!(levels.proved(&id(1)), Level::Private);
        assert_eq!(levels.ended(at(44)), Some(id(1)));
        assert_eq!(levels.proved(&id(1)), Level::Public);
    }

    #[test]
    fn a_node_that_is_gone_leaves_nothing() {
        let mut levels = Levels::default();
        for level in Level::ALL {
            proves(&mut levels, at(1), id(1), *level);
        }
        proves(&mut levels, at(1), id(2), Level::Private);
        levels.forget(id(1));
        assert_eq!(levels.proved(&id(1)), Level::Public);
        assert_eq!((levels.of.len(), levels.ends.len()), (1, 1));
        assert_eq!(levels.by_level.len(), 1);
    }
}
