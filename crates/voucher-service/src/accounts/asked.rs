//! How often a relay may ask this node to countersign.

use std::collections::BTreeMap;

use betanet_vouchers::accounts::{ROWS_MAX, SIGNED_MAX};
use betanet_wire::NodeId;

/// Claims of one relay in a UTC day that the state is asked about, whether it signs them or not.
pub(super) const ASKED_MAX: u64 = 2 * SIGNED_MAX;

/// Counts the claims of relays that this node used.
#[derive(Debug, Default)]
pub(super) struct Asked {
    day: u64,
    of: BTreeMap<NodeId, u64>,
}

impl Asked {
    /// Whether the state is asked about one more claim.
    pub(super) fn allows(&self, day: u64, relay: &NodeId) -> bool {
        let times = self.of.get(relay).filter(|_| day == self.day);
        times.is_none_or(|times| *times < ASKED_MAX)
    }

    /// Counts a claim of a relay that this node used. The accounts have no rows of more relays than find room.
    pub(super) fn add(&mut self, day: u64, relay: NodeId) {
        if day != self.day {
            self.day = day;
            self.of.clear();
        }
        if self.of.len() < ROWS_MAX || self.of.contains_key(&relay) {
            *self.of.entry(relay).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_a_relay_are_bounded_for_a_day() {
        let (relay, other) = (NodeId([1; 20]), NodeId([2; 20]));
        let mut asked = Asked::default();
        for _ in 0..ASKED_MAX {
            assert!(asked.allows(5, &relay));
            asked.add(5, relay);
        }
        assert!(!asked.allows(5, &relay) && asked.allows(5, &other));
        assert!(asked.allows(6, &relay));
        asked.add(6, relay);
        assert_eq!(asked.of, [(relay, 1)].into());
    }
}
