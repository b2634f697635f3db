//! Nodes that fall silent, the fences of their copies, the brake, and a new leader's clemency.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_fog::{Interval, Policy, Reason, TaskId, Word, amnesty};
use betanet_machine::{Now, Time};
use betanet_scheduler::{Brake, brake};
use betanet_wire::NodeId;

use super::Coordinator;
use crate::lead::{Pulse, TAKEOVER};
use crate::placer::Placer;
use crate::record::Change;

/// Interval in ms between two steps of the brake.
const STEP: u64 = 10_000;

/// Time in ms for which a node that went offline counts for the brake.
const RECENT: u64 = 600_000;

impl<P: Placer> Coordinator<P> {
    /// Begins to count the beats of all nodes.
    pub(super) fn take_over(&mut self, now: Now) {
        let ms = self.clock.ms();
        let known = u64::try_from(self.state.nodes.len()).unwrap_or(u64::MAX);
        let down = Interval::after(NodeId([0; 20]), 0, known).down;
        let begin = now.mono + Duration::from_millis(TAKEOVER);
        let granted = now.mono + Duration::from_millis(amnesty(TAKEOVER, down));
        let Some(lead) = &mut self.lead else {
            return;
        };
        lead.counts_from = begin;
        let mut offline = Vec::new();
        for (id, row) in self.state.nodes.iter() {
            let silent = row.silent.map(|(since, _)| {
                let ago = Duration::from_millis(ms.saturating_sub(since));
                // A beat before the machine's own time counts from its begin: later is safe.
                Time::ZERO + (now.mono - (Time::ZERO + ago))
            });
            let fresh = || Pulse {
                seq: None,
                last: granted,
                downs: [down; 3],
                work: true,
                lacks: BTreeMap::new(),
            };
            let pulse = lead.pulses.beat(*id, silent.unwrap_or(granted), fresh);
            pulse.downs = [down; 3];
            match silent {
                Some(_) => offline.push(*id),
                None if row.beaten => lead.pulses.watch(*id),
                None => {}
            }
        }
        for id in offline {
            self.doom(id, begin);
        }
    }

    /// Nodes whose silence is over the bound are offline.
    pub(super) fn find_silent(&mut self, now: Now) {
        while self.has_room() {
            let Some(lead) = &mut self.lead else {
                return;
            };
            let Some((_, id)) = lead
                .pulses
                .silence
                .first()
                .copied()
                .filter(|(at, _)| *at <= now.mono)
            else {
                return;
            };
            lead.pulses.unwatch(id);
            let last = lead.pulses.of.get(&id).map_or(now.mono, |p| p.last);
            let silent = now.mono - last;
            let ago = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            let since = self.clock.ms().saturating_sub(ago);
            if self
                .state
                .nodes
                .get(&id)
                .is_some_and(|n| n.beaten && n.silent.is_none())
            {
                self.commit(Change::Offline { node: id, since });
                self.doom(id, Time::ZERO);
            }
        }
    }

    /// Sets the time at which each fence of an offline node dies, not before `least`.
    fn doom(&mut self, id: NodeId, least: Time) {
        let Some(row) = self.state.nodes.get(&id) else {
            return;
        };
        let Some(lead) = &mut self.lead else {
            return;
        };
        let Some((last, down)) = lead.pulses.of.get(&id).map(|p| (p.last, p.longest_down())) else {
            return;
        };
        for (fence, task) in &row.copies {
            let Some(task) = self.state.tasks.get(task) else {
                continue;
            };
            let policy = Policy {
                rule: task.offline,
                ms: task.offline_ms,
            };
            let silence = Duration::from_millis(policy.fence_dies(0, down));
            lead.pulses.doom(*fence, (last + silence).max(least), id);
        }
    }

    /// A node is back: its fences live.
    pub(super) fn spare_all(&mut self, id: NodeId) {
        let (Some(row), Some(lead)) = (self.state.nodes.get(&id), &mut self.lead) else {
            return;
        };
        for fence in row.copies.keys() {
            lead.pulses.spare(*fence);
        }
        for braked in lead.pulses.braked.values_mut() {
            braked.nodes.retain(|(_, node)| *node != id);
        }
    }

    fn brake_of(&self, zone: &Word) -> Brake {
        let since = self.clock.ms().saturating_sub(RECENT);
        let left = self.state.nodes.zone(zone).map_or(0, |z| z.left);
        brake(
            self.state.went_offline(zone, since),
            left,
            self.state.nodes.left(),
        )
    }

    /// Fences whose time has come die, as fast as the brake lets them.
    pub(super) fn let_fences_die(&mut self, now: Now) {
        let mut brakes: BTreeMap<Word, Brake> = BTreeMap::new();
        while self.has_room() {
            let Some(lead) = &mut self.lead else {
                return;
            };
            let Some((_, fence)) = lead
                .pulses
                .deaths
                .first()
                .copied()
                .filter(|(at, _)| *at <= now.mono)
            else {
                break;
            };
            lead.pulses.deaths.pop_first();
            let Some((_, id)) = lead.pulses.death_of.get(&fence).copied() else {
                continue;
            };
            let Some(row) = self.state.nodes.get(&id) else {
                continue;
            };
            let (zone, task) = (row.zone.clone(), row.copies.get(&fence).copied());
            let brake = *brakes
                .entry(zone.clone())
                .or_insert_with(|| self.brake_of(&zone));
            match (brake, task) {
                (Brake::All, Some(task)) => self.lose(task, fence, Reason::Down),
                (Brake::All, None) => {}
                _ => self.hold_back(zone, id, now.mono),
            }
        }
        self.step_brakes(now);
    }

    /// Holds the due fences of a node back.
    fn hold_back(&mut self, zone: Word, id: NodeId, now: Time) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        let last = lead.pulses.of.get(&id).map_or(now, |p| p.last);
        let braked = lead.pulses.braked.entry(zone).or_default();
        braked.nodes.insert((last, id));
    }

    fn step_brakes(&mut self, now: Now) {
        let zones: Vec<Word> = match &mut self.lead {
            Some(lead) => {
                let due = lead
                    .pulses
                    .braked
                    .iter()
                    .filter(|(_, b)| b.next <= now.mono);
                due.map(|(zone, _)| zone.clone()).collect()
            }
            None => return,
        };
        for zone in zones {
            if !self.has_room() {
                return;
            }
            let quota = match self.brake_of(&zone) {
                Brake::None => 0,
                Brake::Slow(n) => usize::try_from(n).unwrap_or(usize::MAX),
                Brake::All => usize::MAX,
            };
            self.step_brake(now.mono, &zone, quota);
        }
        // A zone's next step stays known for as long as it matters.
        if let Some(lead) = &mut self.lead {
            lead.pulses
                .braked
                .retain(|_, b| !b.nodes.is_empty() || b.next > now.mono);
        }
    }

    /// Lets the fences of up to `quota` nodes die, the longest silent first. A call's records are bounded: the rest follows at once.
    fn step_brake(&mut self, now: Time, zone: &Word, quota: usize) {
        loop {
            let has_room = self.has_room();
            let Some(braked) = self
                .lead
                .as_mut()
                .and_then(|l| l.pulses.braked.get_mut(zone))
            else {
                return;
            };
            let left = *braked.left.get_or_insert(quota);
            if left > 0 && !has_room {
                return;
            }
            let next = if left > 0 {
                braked.nodes.pop_first()
            } else {
                None
            };
            let Some((_, id)) = next else {
                braked.left = None;
                braked.next = now + Duration::from_millis(STEP);
                return;
            };
            braked.left = Some(left - 1);
            self.lose_due(id, now);
        }
    }

    /// Loses the fences of a node whose time has come.
    fn lose_due(&mut self, id: NodeId, now: Time) {
        let (Some(row), Some(lead)) = (self.state.nodes.get(&id), &self.lead) else {
            return;
        };
        let is_due = |fence: &u64| {
            lead.pulses
                .death_of
                .get(fence)
                .is_some_and(|(at, _)| *at <= now)
        };
        let due: Vec<(u64, TaskId)> = row
            .copies
            .iter()
            .filter(|(fence, _)| is_due(fence))
            .map(|(f, t)| (*f, *t))
            .collect();
        for (fence, task) in due {
            self.lose(task, fence, Reason::Down);
        }
    }
}
