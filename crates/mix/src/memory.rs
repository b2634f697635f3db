//! The packets that a node remembers under one key, counted by session and by payer.

use alloc::collections::BTreeMap;

use betanet_wire::{ChargeTo, NodeId};

use crate::replay::{Noted, Replays, Taken};

/// Sessions, and payers, whose part of a key's replay memory is counted apart; those after them share one part.
const SHARES_MAX: usize = 65_536;

/// The tags that were seen under one key.
#[derive(Debug)]
pub struct Memory {
    replays: Replays,
    sessions: BTreeMap<NodeId, usize>,
    payers: BTreeMap<ChargeTo, usize>,
}

impl Memory {
    /// Room for so many packets' tags, which `key` hashes.
    #[must_use]
    pub fn new(packets: usize, key: &[u8; 16]) -> Self {
        Self {
            replays: Replays::with_capacity(packets, key),
            sessions: BTreeMap::new(),
            payers: BTreeMap::new(),
        }
    }

    /// How many tags there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.replays.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether three quarters are used: then a relay publishes a further key.
    #[must_use]
    pub const fn wants_another_key(&self) -> bool {
        self.replays.wants_another_key()
    }

    /// Notes a tag that a peer's session brought, and `charge` pays for.
    pub fn take(&mut self, (peer, charge): (NodeId, ChargeTo), tag: &[u8; 16]) -> Taken {
        let mut noted = Noted {
            of_session: part(&mut self.sessions, peer, NodeId([0; 20])),
            of_charge: part(&mut self.payers, charge, ChargeTo::Unknown),
        };
        self.replays.take(tag, &mut noted)
    }
}

/// The count of one of these; those beyond [`SHARES_MAX`] count as `others`.
fn part<K: Ord + Copy>(all: &mut BTreeMap<K, usize>, who: K, others: K) -> &mut usize {
    let crowd = all.len() >= SHARES_MAX && !all.contains_key(&who);
    all.entry(if crowd { others } else { who }).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_of_one_payer_have_one_part_and_others_theirs() {
        let mut memory = Memory::new(1_600, &[1; 16]);
        let tag = |n: usize| {
            let mut tag = [7; 16];
            tag[..8].copy_from_slice(&n.to_be_bytes());
            tag
        };
        let payer = ChargeTo::V4([192, 0, 2, 1]);
        let mut by = NodeId([0; 20]);
        let new = (0..1_600).filter(|n| {
            by.0[..8].copy_from_slice(&(n / 10_usize).to_be_bytes());
            memory.take((by, payer), &tag(*n)) == Taken::New
        });
        assert_eq!(new.count(), 100, "a sixteenth");
        let other = (NodeId([9; 20]), ChargeTo::V4([192, 0, 2, 2]));
        assert_eq!(memory.take(other, &[9; 16]), Taken::New);
        assert_eq!(memory.take(other, &[9; 16]), Taken::Again);
        assert_eq!(memory.len(), 101);
    }
}
