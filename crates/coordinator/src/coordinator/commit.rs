//! From a change to its record, and from a committed record to what is said.

use alloc::vec::Vec;

use betanet_fog::{NodeState, Reason, TaskId};
use betanet_machine::Time;
use betanet_wire::NodeId;

use super::Coordinator;
use crate::codec::Damaged;
use crate::lead::Held;
use crate::placer::Placer;
use crate::record::{Change, Record};
use crate::request::{Event, Item, Transmit};
use crate::state::market::resources;
use crate::state::{Effect, Known};

impl<P: Placer> Coordinator<P> {
    pub(super) fn break_down(&mut self, now: Time, why: &'static str) {
        if !core::mem::replace(&mut self.broken, true) {
            self.events.push_reserved(now, Event::Bug(why));
        }
        self.depose(now);
    }

    /// Makes a change: applies its record, and appends it with the others of this call. Returns its index.
    pub(super) fn commit(&mut self, change: Change) -> u64 {
        self.commit_known(change, None)
    }

    /// Makes a change whose signed record is decoded already.
    pub(super) fn commit_known(&mut self, change: Change, known: Option<Known>) -> u64 {
        let index = self.state.last.saturating_add(1);
        let Some(lead) = &mut self.lead else {
            return index;
        };
        let record = Record {
            ts: self.clock.ms().max(self.state.ts),
            change,
        };
        lead.group.push(record.to_entry());
        if let Err(Damaged(why)) = self.state.apply_known(index, &record, known) {
            self.break_down(self.clock.mono(), why);
            return index;
        }
        self.follow(index, &record.change);
        index
    }

    /// Brings everything beside the durable state up to date with a change.
    pub(super) fn follow(&mut self, index: u64, change: &Change) {
        let mut suspects = Vec::new();
        for effect in self.state.take_effects() {
            match effect {
                Effect::Task(id) => {
                    if let Some(lead) = &mut self.lead {
                        lead.agenda.dirty.insert(id);
                        lead.held
                            .push_back((index, Held::Event(Event::Changed(id))));
                    }
                }
                Effect::Node(id) => {
                    self.seat(id);
                    self.stir();
                    if let Some(lead) = &mut self.lead {
                        lead.agenda.dirty_nodes.insert(id);
                    }
                }
                Effect::Placed { task, fence } => {
                    self.adopt(task, fence);
                    self.send_run(task, fence);
                }
                Effect::Freed {
                    fence,
                    node,
                    task,
                    how,
                } => {
                    self.release(fence, task, how);
                    self.stir();
                    self.send_drop(index, node, fence, change);
                }
                Effect::Suspect(id) => suspects.push(id),
                Effect::Aside { node, id, lots } => {
                    self.placer.set_aside(&node, id, &resources(lots));
                }
                Effect::Back(id) => {
                    self.placer.give_back(&id);
                    self.stir();
                }
            }
        }
        for id in suspects {
            self.quarantine(id);
        }
    }

    pub(super) fn stir(&mut self) {
        if let Some(lead) = &mut self.lead {
            lead.agenda.stirred = true;
        }
    }

    pub(super) fn quarantine(&mut self, id: NodeId) {
        let wish = self.state.nodes.get(&id).map(|n| n.wish);
        if self.lead.is_some() && wish.is_some_and(|w| w != NodeState::Quarantined) {
            self.commit(Change::State {
                node: id,
                to: NodeState::Quarantined,
                until: 0,
            });
        }
    }

    /// Says something once all that was done so far is committed.
    pub(super) fn hold(&mut self, said: Held) {
        let last = self.state.last;
        if let Some(lead) = &mut self.lead {
            lead.held.push_back((last, said));
        }
    }

    pub(super) fn send_run(&mut self, task: TaskId, fence: u64) {
        if let Some((node, item)) = self.run_item(task, fence) {
            self.send_item(node, item);
        }
    }

    pub(super) fn send_drop(&mut self, at: u64, node: NodeId, fence: u64, change: &Change) {
        let (task, why) = match change {
            Change::Lost { task, why, .. } => (*task, *why),
            Change::Ended { task, .. } => (*task, Reason::Ended),
            _ => return,
        };
        let item = Item::Drop {
            at,
            task,
            fence,
            why,
        };
        self.send_item(node, item);
    }

    pub(super) fn send_item(&mut self, node: NodeId, item: Item) {
        let until = Time::ZERO;
        self.hold(Held::Out(Transmit::Item { node, item, until }));
    }

    /// Appends the records of this call, and says what needs no commit.
    pub(super) fn flush(&mut self, now: Time) {
        let last = self.state.last;
        let Some(lead) = &mut self.lead else {
            return;
        };
        if !lead.group.is_empty() {
            let records = core::mem::take(&mut lead.group);
            let n = u64::try_from(records.len()).unwrap_or(0);
            let append = Transmit::Append {
                epoch: lead.epoch,
                first: last.saturating_sub(n).saturating_add(1),
                records,
            };
            lead.appended = now;
            self.out.push_reserved(now, append);
        }
        self.release_held(now);
    }

    pub(super) fn release_held(&mut self, now: Time) {
        let Some(lead) = &mut self.lead else {
            return;
        };
        let (committed, lease) = (lead.committed, lead.until);
        while lead
            .held
            .front()
            .is_some_and(|(index, _)| *index <= committed)
        {
            match lead.held.pop_front() {
                Some((_, Held::Out(mut out))) => {
                    if let Transmit::Answer { until, .. } | Transmit::Item { until, .. } = &mut out
                    {
                        *until = lease;
                    }
                    self.out.push_reserved(now, out);
                }
                // Whoever misses that a task changed asks again later.
                Some((_, Held::Event(event @ Event::Changed(_)))) => {
                    let _ = self.events.push(now, event);
                }
                Some((_, Held::Event(event))) => self.events.push_reserved(now, event),
                None => {}
            }
        }
    }
}
