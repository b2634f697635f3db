//! Nodes that are kept for tasks which waited long, so that small tasks do not hold up a big one for ever.

use alloc::vec::Vec;

use betanet_fog::{NodeState, TaskId};
use betanet_scheduler::Place;
use betanet_wire::NodeId;

use super::Coordinator;
use super::placing::Past;
use crate::lead::Claim;
use crate::placer::{Placer, Wanted};

/// Time in ms for which a task waits before nodes are kept for it.
const PATIENCE: u64 = 600_000;

/// Time in ms for which nodes are kept for a task at most.
const CLAIM_MS: u64 = 3_600_000;

/// Time in ms between two searches, which go over all nodes.
const SEARCH_MS: u64 = 1_000;

/// Most tasks for which nodes are kept.
const CLAIMS_MAX: usize = 8;

/// Of so many active nodes, one may be kept; one in any case.
const SHARE: usize = 8;

/// Nodes among which those are chosen that are free first.
const COMPARED: usize = 64;

impl<P: Placer> Coordinator<P> {
    /// Whether a node is kept for another task than the one that is being placed.
    pub(super) fn is_kept(&self, id: &NodeId) -> bool {
        let claims = self.lead.as_ref().map_or(&[][..], |l| &l.agenda.claims);
        claims.iter().any(|c| c.closed && c.nodes.contains(id))
    }

    /// Keeps nodes for a task that waits for free resources since long. Nothing happens where that is not so.
    pub(super) fn claim(&mut self, id: &TaskId, ms: u64) {
        let Some(row) = self.state.tasks.get(id) else {
            return;
        };
        let placed = row.life.copies.iter().map(|c| c.placed).max().unwrap_or(0);
        let since = row.ready_ts.max(row.backoff).max(placed);
        let copies = usize::try_from(row.life.wanted(&row.rules)).unwrap_or(usize::MAX);
        let active = usize::try_from(self.state.nodes.count(NodeState::Active));
        let share = (active.unwrap_or(usize::MAX) / SHARE).max(1);
        let Some(lead) = &self.lead else {
            return;
        };
        let kept: usize = lead.agenda.claims.iter().map(|c| c.nodes.len()).sum();
        let claimed = lead.agenda.claims.iter().any(|c| c.task == *id);
        // A task of several copies may take more than the share, if nothing else is kept.
        let too_many = kept > 0 && kept.saturating_add(copies) > share;
        if claimed
            || too_many
            || copies == 0
            || lead.agenda.claims.len() >= CLAIMS_MAX
            || lead.agenda.next_claim > ms
            || since.saturating_add(PATIENCE) > ms
            || !self.within_quota(row, row.life.wanted(&row.rules))
        {
            return;
        }
        let place = Place::new(row.rules.tier, row.prio, row.ready_at);
        if let Some(lead) = &mut self.lead {
            lead.agenda.next_claim = ms.saturating_add(SEARCH_MS);
        }
        let nodes = self.nodes_to_keep(id, copies, ms);
        if nodes.len() < copies {
            return;
        }
        if let Some(lead) = &mut self.lead {
            lead.agenda.claims.push(Claim {
                task: *id,
                place,
                nodes,
                until: ms.saturating_add(CLAIM_MS),
                closed: false,
            });
        }
    }

    /// Nodes of different organisations that could hold the task's copies: those whose copies end first.
    fn nodes_to_keep(&mut self, id: &TaskId, copies: usize, ms: u64) -> Vec<NodeId> {
        let secret = self.secret();
        let Some(row) = self.state.tasks.get(id) else {
            return Vec::new();
        };
        let Ok(task) = row.task() else {
            return Vec::new();
        };
        let past = Past::of(row, &self.state.nodes);
        let wanted = Wanted {
            id,
            task: &task,
            secret: &secret,
            factor: self.placer.factor(&row.resources),
            apart: &past.apart,
            failed: &past.failed,
            preempted: row.preempted,
        };
        let most = COMPARED.saturating_mul(copies);
        let mut found: Vec<(u64, usize, NodeId)> = Vec::new();
        for (at, node) in self
            .placer
            .could_hold(ms, &wanted, most)
            .into_iter()
            .enumerate()
        {
            let ends = self.state.nodes.get(&node).into_iter().flat_map(|n| {
                n.copies.iter().filter_map(|(fence, task)| {
                    Some(self.state.tasks.get(task)?.life.copy(*fence)?.end)
                })
            });
            found.push((ends.max().unwrap_or(0), at, node));
        }
        found.sort_unstable();
        let mut orgs: Vec<Option<&str>> = Vec::new();
        let mut nodes = Vec::new();
        for (_, _, node) in found {
            let org = self.state.nodes.get(&node).filter(|n| n.vouched);
            let org = org.map(|n| n.org.as_str());
            if nodes.len() < copies && !orgs.contains(&org) {
                orgs.push(org);
                nodes.push(node);
            }
        }
        nodes
    }

    /// Opens kept nodes to a task and to those before it in the queue, and closes them to all others.
    pub(super) fn show_kept(&mut self, id: &TaskId, place: Option<Place>) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        let mut changed = Vec::new();
        for claim in &mut lead.agenda.claims {
            let before = place.is_some_and(|p| p < claim.place);
            let closed = claim.task != *id && !before;
            if core::mem::replace(&mut claim.closed, closed) != closed {
                changed.extend(claim.nodes.iter().copied());
            }
        }
        for node in changed {
            self.seat(node);
        }
    }

    /// Ends claims of tasks that wait no longer, of nodes that are not active, and those that are too old.
    pub(super) fn drop_claims(&mut self, ms: u64) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        if lead.agenda.claims.is_empty() {
            return;
        }
        let (tasks, nodes, rated) = (&self.state.tasks, &self.state.nodes, &self.state.rated);
        let holds = |claim: &Claim| {
            let active = |id: &NodeId| {
                nodes
                    .get(id)
                    .is_some_and(|n| n.state() == NodeState::Active && !rated.is_jailed(id))
            };
            claim.until > ms
                && tasks.get(&claim.task).is_some_and(|t| t.wants())
                && claim.nodes.iter().all(active)
        };
        let (kept, ended) = core::mem::take(&mut lead.agenda.claims)
            .into_iter()
            .partition(holds);
        lead.agenda.claims = kept;
        let ended: Vec<Claim> = ended;
        lead.agenda.stirred |= !ended.is_empty();
        for claim in ended.into_iter().filter(|c| c.closed) {
            for node in claim.nodes {
                self.seat(node);
            }
        }
    }
}
