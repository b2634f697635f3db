//! Round trips that nodes measured.

use alloc::collections::{BTreeMap, VecDeque};

use betanet_wire::NodeId;

/// How long a measurement counts, in ms.
const FRESH: u64 = 600_000;

/// Most measurements of one node that are remembered: the newest.
pub const TRIPS_MAX: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Trip {
    ms: u64,
    at: u64,
}

/// Measurements by the far end, then by the node that measured.
#[derive(Debug, Default)]
pub(crate) struct Trips {
    to: BTreeMap<NodeId, BTreeMap<u32, Trip>>,
    by: BTreeMap<u32, VecDeque<(u64, NodeId)>>,
}

impl Trips {
    /// A node measured the way to another.
    pub(crate) fn add(&mut self, now: u64, slot: u32, to: NodeId, ms: u64) {
        let own = self.by.entry(slot).or_default();
        while let Some((at, old)) = own.front().copied() {
            if at.saturating_add(FRESH) >= now && own.len() < TRIPS_MAX {
                break;
            }
            own.pop_front();
            drop_trip(&mut self.to, &old, slot, at);
        }
        own.push_back((now, to));
        self.to
            .entry(to)
            .or_default()
            .insert(slot, Trip { ms, at: now });
    }

    /// A node is gone, with all that it measured.
    pub(crate) fn remove(&mut self, slot: u32) {
        for (at, to) in self.by.remove(&slot).into_iter().flatten() {
            drop_trip(&mut self.to, &to, slot, at);
        }
    }

    /// Fresh measurements of the way to a node: slot and ms, by slot.
    pub(crate) fn to(&self, now: u64, to: &NodeId) -> impl Iterator<Item = (u32, u64)> {
        let found = self.to.get(to).into_iter().flatten();
        found
            .filter(move |(_, t)| t.at.saturating_add(FRESH) >= now)
            .map(|(slot, t)| (*slot, t.ms))
    }

    /// The fresh measurement of one node.
    pub(crate) fn between(&self, now: u64, slot: u32, to: &NodeId) -> Option<u64> {
        let trip = self.to.get(to)?.get(&slot)?;
        (trip.at.saturating_add(FRESH) >= now).then_some(trip.ms)
    }
}

/// Removes a measurement unless a newer one took its place.
fn drop_trip(to: &mut BTreeMap<NodeId, BTreeMap<u32, Trip>>, id: &NodeId, slot: u32, at: u64) {
    if let Some(trips) = to.get_mut(id) {
        if trips.get(&slot).is_some_and(|t| t.at == at) {
            trips.remove(&slot);
        }
        if trips.is_empty() {
            to.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> NodeId {
        let mut out = [0; 20];
        out[..8].copy_from_slice(&(n as u64).to_be_bytes());
        NodeId(out)
    }

    #[test]
    fn the_newest_measurements_of_a_node_are_remembered() {
        let mut trips = Trips::default();
        for n in 0..=TRIPS_MAX {
            trips.add(5, 1, id(n), 7);
        }
        assert_eq!(trips.between(5, 1, &id(0)), None);
        assert_eq!(trips.between(5, 1, &id(1)), Some(7));
        trips.add(6, 1, id(1), 9);
        assert_eq!(trips.between(6 + FRESH, 1, &id(1)), Some(9));
        assert_eq!(trips.between(7 + FRESH, 1, &id(1)), None);
        assert!(trips.to.len() <= TRIPS_MAX);
        trips.add(7 + FRESH, 1, id(3), 1);
        assert_eq!(trips.to.len(), 1, "old ones are gone");
        trips.remove(1);
        assert!(trips.to.is_empty() && trips.by.is_empty());
    }
}
