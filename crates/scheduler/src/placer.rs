//! Placement of copies, one decision at a time.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use betanet_fog::{Digest, Reason, Resource, Resources, Strategy};
use betanet_wire::NodeId;

use crate::account::Released;
use crate::answer::{AT_ONCE, Ended, Error, NewCopy, Placed, Placement, Usage, Why};
use crate::class::Bounds;
use crate::drawn::drawn;
use crate::fleet::Fleet;
use crate::node::{Live, Node, NodeSpec};
use crate::preempt::preempt;
use crate::query::Query;
use crate::request::Request;
use crate::select;
use crate::totals::Totals;

/// What an attempt has done so far.
enum Step {
    Inserted(u64),
    Dropped(Box<Dropped>),
    Turned(u32, u64),
}

struct Dropped {
    fence: u64,
    live: Live,
    released: Released,
    names: (Box<str>, Box<str>),
}

/// The placer: nodes, their live copies, and what is free.
#[derive(Debug)]
pub struct Placer {
    pub(crate) fleet: Fleet,
}

impl Default for Placer {
    fn default() -> Self {
        Self::new()
    }
}

impl Placer {
    /// A placer without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_bounds(Bounds::USUAL)
    }

    pub(crate) fn with_bounds(bounds: Bounds) -> Self {
        Self {
            fleet: Fleet::new(bounds),
        }
    }

    /// Adds a node, which is not active yet, or replaces the description of one.
    ///
    /// A new node gets the last place in join order and the next turn. A known one keeps both, and its copies.
    pub fn put(&mut self, spec: &NodeSpec) {
        self.fleet.put(spec);
    }

    /// Forgets a node. Returns the fences of its live copies, and its reservations.
    pub fn remove(&mut self, id: &NodeId) -> (Vec<u64>, Vec<[u8; 16]>) {
        let Some(slot) = self.fleet.slot(id) else {
            return (Vec::new(), Vec::new());
        };
        let fences = self
            .fleet
            .node(slot)
            .map_or(Vec::new(), |n| n.copies.clone());
        for fence in &fences {
            self.fleet.remove(*fence);
        }
        let here = self.fleet.lots.iter().filter(|(_, l)| l.slot == slot);
        let lots: Vec<[u8; 16]> = here.map(|(id, _)| *id).collect();
        for id in &lots {
            self.fleet.lots.remove(id);
        }
        self.fleet.forget(slot);
        (fences, lots)
    }

    /// Sets whether a node is active, and whether its last beat asked for work.
    ///
    /// # Errors
    ///
    /// The node is not known.
    pub fn set_active(&mut self, id: &NodeId, active: bool, work: bool) -> Result<(), Error> {
        self.change(id, |n| {
            n.active = active;
            n.work = work;
        })
    }

    /// Sets the reputation of a node, in ppm.
    ///
    /// # Errors
    ///
    /// The node is not known.
    pub fn set_reputation(&mut self, id: &NodeId, rep: u32) -> Result<(), Error> {
        self.change(id, |n| n.rep = rep)
    }

    fn change(&mut self, id: &NodeId, change: impl FnOnce(&mut Node)) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        self.fleet.change(slot, change);
        Ok(())
    }

    /// Round trips that a node measured, in ms.
    ///
    /// # Errors
    ///
    /// The node is not known.
    pub fn measured(
        &mut self,
        now: u64,
        id: &NodeId,
        trips: &[(NodeId, u64)],
    ) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        for (to, ms) in trips {
            self.fleet.trips.add(now, slot, *to, *ms);
        }
        Ok(())
    }

    /// Blobs that a node holds no longer.
    ///
    /// # Errors
    ///
    /// The node is not known.
    pub fn gone(&mut self, id: &NodeId, blobs: &[Digest]) -> Result<(), Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        for blob in blobs {
            self.fleet.held.forget(blob, slot);
        }
        Ok(())
    }

    /// Ends a live copy. Returns its node, or `None` if no live copy has the fence.
    pub fn end(&mut self, now: u64, fence: u64, how: Ended<'_>) -> Option<NodeId> {
        self.fleet.advance(now);
        let (live, _) = self.fleet.remove(fence)?;
        let slot = live.slot;
        let id = self.fleet.node(slot)?.id;
        match how {
            Ended::Result(blobs) => {
                for blob in blobs {
                    self.fleet.held.add(now, blob, slot);
                }
                self.fleet.ended(now, slot, false);
            }
            Ended::Failed => self.fleet.ended(now, slot, true),
            Ended::Fault => self.fleet.ended(now, slot, false),
            Ended::Dropped => {}
        }
        if let Some(id) = live.lots {
            self.fleet.close_lots(&id);
        }
        Some(id)
    }

    /// Places all copies, or none and returns `None`.
    ///
    /// # Errors
    ///
    /// No copies or too many, or a fence that is in use. Nothing has changed.
    pub fn place(
        &mut self,
        now: u64,
        request: &Request<'_>,
        copies: &[NewCopy],
    ) -> Result<Option<Placement>, Error> {
        self.check(copies)?;
        Ok(self
            .attempt(now, request, copies, false)
            .ok()
            .map(|(p, _)| p))
    }

    /// Where the copies would go now, or why the first that finds no node finds none. Changes nothing.
    ///
    /// # Errors
    ///
    /// No copies or too many.
    pub fn plan(
        &mut self,
        now: u64,
        request: &Request<'_>,
        first_copy: u64,
        count: usize,
    ) -> Result<Result<Placement, Why>, Error> {
        if count == 0 || count > AT_ONCE {
            return Err(Error::Copies);
        }
        // No journal gets so far: indices are below 2^63.
        let copies: Vec<NewCopy> = (first_copy..)
            .zip((0..=u64::MAX).rev())
            .take(count)
            .map(|(number, fence)| NewCopy { number, fence })
            .collect();
        self.check(&copies)?;
        Ok(self
            .attempt(now, request, &copies, true)
            .map(|(placement, steps)| {
                self.undo(steps);
                placement
            }))
    }

    /// Sums over active nodes, from which the price factor comes.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.fleet.totals
    }

    /// What a node has and what is used of it.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<Usage> {
        let node = self.fleet.node(self.fleet.slot(id)?)?;
        Some(Usage {
            capacity: *node.account.cap(),
            reserved: *node.account.reserved(),
            copies: node.copies.len(),
            load: node.account.load(),
        })
    }

    /// Number of known nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.fleet.len()
    }

    /// Number of live copies.
    #[must_use]
    pub fn live(&self) -> usize {
        self.fleet.copies.len()
    }

    /// Fences of a node's live copies, ascending.
    #[must_use]
    pub fn fences(&self, id: &NodeId) -> &[u64] {
        let node = self.fleet.slot(id).and_then(|s| self.fleet.node(s));
        node.map_or(&[], |n| &n.copies)
    }

    /// Sets resources of a node aside for the tasks of a reservation. `false`: they are not free.
    ///
    /// # Errors
    ///
    /// The node is not known, or the reservation exists.
    pub fn set_aside(
        &mut self,
        id: &NodeId,
        reservation: [u8; 16],
        amounts: &Resources,
    ) -> Result<bool, Error> {
        let slot = self.fleet.slot(id).ok_or(Error::Node)?;
        if self.fleet.lots.contains_key(&reservation) {
            return Err(Error::Reservation);
        }
        Ok(self.fleet.open_lots(slot, reservation, amounts))
    }

    /// Ends a reservation: it takes no more copies, and its resources are free once its live ones have ended.
    pub fn give_back(&mut self, reservation: &[u8; 16]) {
        if let Some(lots) = self.fleet.lots.get_mut(reservation) {
            lots.over = true;
        }
        self.fleet.close_lots(reservation);
    }

    fn check(&self, copies: &[NewCopy]) -> Result<(), Error> {
        if copies.is_empty() || copies.len() > AT_ONCE {
            return Err(Error::Copies);
        }
        for (i, c) in copies.iter().enumerate() {
            let twice = copies.iter().take(i).any(|o| o.fence == c.fence);
            if twice || self.fleet.copies.contains_key(&c.fence) {
                return Err(Error::Fence(c.fence));
            }
        }
        Ok(())
    }

    fn attempt(
        &mut self,
        now: u64,
        request: &Request<'_>,
        copies: &[NewCopy],
        explain: bool,
    ) -> Result<(Placement, Vec<Step>), Why> {
        self.fleet.advance(now);
        for order in select::orders(request) {
            self.fleet.keep(order);
        }
        let mut query = Query::new(&mut self.fleet, request, now);
        let mut steps = Vec::new();
        let mut placement = Placement::default();
        for copy in copies {
            let placed = self
                .choose(&query, copy.number)
                .and_then(|(slot, lost)| self.settle(&query, slot, copy.fence, &lost, &mut steps))
                .map(|(slot, placed, dropped)| {
                    placement.copies.push(placed);
                    placement.dropped.extend(dropped);
                    slot
                });
            let Some(slot) = placed else {
                let why = if explain {
                    self.why(&query)
                } else {
                    Why::new()
                };
                self.undo(steps);
                return Err(why);
            };
            if placement.copies.len() < copies.len() {
                query.placed(&mut self.fleet, slot);
            }
        }
        Ok((placement, steps))
    }

    /// The node of the next copy, and the copies that make room for it.
    fn choose(&self, query: &Query<'_>, number: u64) -> Option<(u32, Vec<u64>)> {
        let rounds: &[bool] = if query.has_failed() {
            &[false, true]
        } else {
            &[false]
        };
        let free = rounds
            .iter()
            .find_map(|second| self.free(query, number, *second));
        free.map(|slot| (slot, Vec::new())).or_else(|| {
            rounds
                .iter()
                .find_map(|second| preempt(&self.fleet, query, *second))
        })
    }

    fn free(&self, query: &Query<'_>, number: u64, second: bool) -> Option<u32> {
        if let Some(slot) = query.lots {
            return Some(slot).filter(|s| query.passes(&self.fleet, *s, second));
        }
        match query.rule {
            Strategy::PrivacyAware => drawn(&self.fleet, query, number, second),
            rule => select::best(&self.fleet, query, rule, second),
        }
    }

    /// Reserves and counts a copy on its node.
    fn settle(
        &mut self,
        query: &Query<'_>,
        slot: u32,
        fence: u64,
        lost: &[u64],
        steps: &mut Vec<Step>,
    ) -> Option<(u32, Placed, Vec<u64>)> {
        let r = query.request;
        for fence in lost {
            let group = self.fleet.copies.get(fence)?.0.group;
            let names = self.fleet.groups.names(group);
            let (live, released) = self.fleet.remove(*fence)?;
            steps.push(Step::Dropped(Box::new(Dropped {
                fence: *fence,
                live,
                released,
                names,
            })));
        }
        let grant = self.fleet.reserve(slot, r.reservation, r.resources)?;
        let devices = match r.resources.get(Resource::Gpu) {
            0 => Vec::new(),
            _ => grant.devices(),
        };
        let live = Live {
            slot,
            group: self.fleet.groups.enter(r.ns, r.group),
            tier: r.tier,
            prio: r.prio,
            preempted: r.preempted,
            drawn: query.rule == Strategy::PrivacyAware,
            lots: r.reservation.copied(),
        };
        if query.rule == Strategy::RoundRobin {
            steps.push(Step::Turned(slot, self.fleet.next_turn(slot)));
        }
        self.fleet.insert(fence, live, grant);
        steps.push(Step::Inserted(fence));
        let node = self.fleet.node(slot)?.id;
        Some((slot, Placed { node, devices }, lost.to_vec()))
    }

    fn undo(&mut self, steps: Vec<Step>) {
        for step in steps.into_iter().rev() {
            match step {
                Step::Inserted(fence) => {
                    self.fleet.remove(fence);
                }
                Step::Dropped(d) => {
                    let mut live = d.live;
                    live.group = self.fleet.groups.enter(&d.names.0, &d.names.1);
                    self.fleet.restore(d.fence, live, d.released);
                }
                Step::Turned(slot, old) => self.fleet.turn_back(slot, old),
            }
        }
    }

    fn why(&self, query: &Query<'_>) -> Why {
        let mut counts: BTreeMap<&str, (Reason, u64)> = BTreeMap::new();
        for (slot, _) in self.fleet.nodes() {
            if query.lots.is_some_and(|only| only != slot) {
                continue;
            }
            if let Some(reason) = query.why(&self.fleet, slot) {
                counts.entry(reason.as_str()).or_insert((reason, 0)).1 += 1;
            }
        }
        let mut why: Why = counts.into_values().collect();
        // Stable: equal counts stay in the order of their words.
        why.sort_by_key(|reason| Reverse(reason.1));
        why
    }
}
