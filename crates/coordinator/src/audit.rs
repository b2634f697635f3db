//! The invariants of the durable state, computed anew.

use alloc::collections::{BTreeMap, BTreeSet};

use betanet_fog::{Amounts, Resource, TaskState, Word};

use crate::coordinator::Coordinator;
use crate::placer::Placer;
use crate::state::State;
use crate::state::market::resources;

/// A broken invariant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("broken invariant: {0}")]
pub struct Broken(pub &'static str);

fn check(good: bool, what: &'static str) -> Result<(), Broken> {
    if good { Ok(()) } else { Err(Broken(what)) }
}

impl State {
    /// Checks that the parts of the state agree.
    pub(crate) fn audit(&self) -> Result<(), Broken> {
        let mut fences = BTreeSet::new();
        let mut waiting: BTreeMap<&Word, u64> = BTreeMap::new();
        let mut copies: BTreeMap<&Word, u64> = BTreeMap::new();
        let mut reserved: BTreeMap<_, Amounts> = BTreeMap::new();
        let mut rented = BTreeMap::new();
        for (id, task) in self.tasks.iter() {
            let life = &task.life;
            for copy in life.live() {
                check(fences.insert(copy.fence), "one live copy a fence")?;
                let node = self.nodes.get(&copy.node);
                let known = node.is_some_and(|n| n.copies.get(&copy.fence) == Some(id));
                check(known, "a live copy's node counts it")?;
                let sum = reserved.entry(copy.node).or_default();
                sum.add(&task.takes().amounts());
                if let Some(rsv) = task.rsv {
                    let (count, sum): &mut (u64, Amounts) = rented.entry(rsv).or_default();
                    *count += 1;
                    sum.add(&task.resources.amounts());
                }
                *copies.entry(&task.ns).or_default() += 1;
            }
            let live = life.live().count();
            let fits = match life.state {
                TaskState::Accepted | TaskState::Queued => live == 0,
                TaskState::Assigned | TaskState::Running => live > 0,
                TaskState::Verifying => true,
                _ => live == 0 && task.envelope.is_empty(),
            };
            check(fits, "a task's state follows from its copies")?;
            check(
                life.state.ended() == life.reason.is_some(),
                "an end has a reason",
            )?;
            let numbers: BTreeSet<u32> = life.copies.iter().map(|c| c.no).collect();
            check(numbers.len() == life.copies.len(), "one number a copy")?;
            *waiting.entry(&task.ns).or_default() += u64::from(task.is_waiting());
        }
        let mut lots: BTreeMap<_, u64> = BTreeMap::new();
        for (node, _, n) in self.market.asks() {
            *lots.entry(node).or_default() += n;
        }
        for (id, rent) in &self.market.rents {
            let (count, sum) = rented.remove(id).unwrap_or_default();
            check(count == rent.live, "a reservation counts its live copies")?;
            let has = resources(rent.lots);
            check(
                Resource::ALL.iter().all(|r| sum.get(*r) <= has.get(*r)),
                "copies of a reservation fit its lots",
            )?;
            if rent.held() {
                *lots.entry(rent.node).or_default() += rent.lots;
            }
        }
        check(rented.is_empty(), "a copy's reservation is known")?;
        for (id, node) in self.nodes.iter() {
            let n = lots.remove(id).unwrap_or(0);
            check(n == node.lots, "a node counts lots that are set aside")?;
            reserved
                .entry(*id)
                .or_default()
                .add(&resources(n).amounts());
            check(
                node.copies.keys().all(|f| fences.contains(f)),
                "a node counts live copies only",
            )?;
            let sum = reserved.get(id).copied().unwrap_or_default();
            check(
                sum == node.reserved,
                "what a node reserves is what its copies and lots ask for",
            )?;
        }
        check(lots.is_empty(), "lots are those of known nodes")?;
        for (name, ns) in &self.namespaces {
            let of = |map: &BTreeMap<&Word, u64>| map.get(name).copied().unwrap_or(0);
            check(
                ns.waiting == of(&waiting),
                "a namespace counts its waiting tasks",
            )?;
            check(
                ns.copies == of(&copies),
                "a namespace counts its live copies",
            )?;
        }
        Ok(())
    }

    /// Checks that no node has more reserved than it has.
    pub(crate) fn overcommitted(&self) -> Result<(), Broken> {
        for (_, node) in self.nodes.iter() {
            let fits = |r: &Resource| node.reserved.get(*r) <= node.cap.get(*r);
            check(
                Resource::ALL.iter().all(fits),
                "no node has more reserved than it has",
            )?;
        }
        Ok(())
    }
}

impl<P: Placer> Coordinator<P> {
    /// Checks that the parts of the durable state agree. The cost grows with the number of tasks and nodes.
    ///
    /// # Errors
    ///
    /// The first invariant that is broken.
    pub fn audit(&self) -> Result<(), Broken> {
        self.durable().audit()
    }

    /// Checks that no node has more reserved than it has, which a node that lowers its capacity may break until copies end.
    ///
    /// # Errors
    ///
    /// Some node is over-committed.
    pub fn audit_capacity(&self) -> Result<(), Broken> {
        self.durable().overcommitted()
    }
}
