//! A node's counts of what it forwards for peers, and of what relays forward for it, until they are written down.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::{ChargeTo, Code, NodeId};

use crate::account::PERIOD;

/// Most counts of peers at once.
pub const METERED_MAX: usize = 1 << 16;
/// Most of them of peers for whom one party is charged.
pub const METERED_EACH: usize = METERED_MAX / 16;

/// What a relay asks of peers that do not countersign what it forwarded for them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tariff {
    /// Units for 2^20 bytes, which its peer record says; 0: free.
    pub price: u64,
    /// Bytes that a peer may have open before it is refused. Without a price, nobody is.
    pub allowance: u64,
}

/// What was counted of one peer in one period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counted {
    /// Number of the UTC day since 1970.
    pub period: u64,
    /// The peer.
    pub peer: NodeId,
    /// Bytes that this node forwarded for the peer.
    pub given: u64,
    /// Bytes that the peer was sent to forward for this node.
    pub taken: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    given: u64,
    taken: u64,
    charge: Option<ChargeTo>,
}

/// Counts bytes by peer and period, and says who may begin a stream.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    tariff: Tariff,
    of: BTreeMap<(u64, NodeId), Usage>,
    by: BTreeMap<ChargeTo, usize>,
    /// Bytes that are written down and not countersigned.
    open: BTreeMap<NodeId, u64>,
    /// Bytes that were not counted, because too many peers are.
    pub uncounted: u64,
}

impl Meter {
    /// Begins to count.
    #[must_use]
    pub fn new(tariff: Tariff) -> Self {
        Self {
            tariff,
            ..Self::default()
        }
    }

    fn has_room(&self, charge: Option<ChargeTo>) -> bool {
        let own = charge.and_then(|c| self.by.get(&c));
        self.of.len() < METERED_MAX && own.is_none_or(|n| *n < METERED_EACH)
    }

    fn entry(&mut self, key: (u64, NodeId), charge: Option<ChargeTo>) -> Option<&mut Usage> {
        if !self.of.contains_key(&key) {
            if !self.has_room(charge) {
                return None;
            }
            if let Some(charge) = charge {
                *self.by.entry(charge).or_default() += 1;
            }
        }
        let fresh = Usage {
            charge,
            ..Usage::default()
        };
        Some(self.of.entry(key).or_insert(fresh))
    }

    /// Bytes that a peer has open: forwarded for it, and not countersigned. What was not written down counts for its period alone.
    #[must_use]
    pub fn open(&self, unix_ms: u64, peer: &NodeId) -> u64 {
        let fresh = self.of.get(&(unix_ms / PERIOD, *peer));
        let written = self.open.get(peer).copied().unwrap_or_default();
        written.saturating_add(fresh.map_or(0, |u| u.given))
    }

    /// Whether a peer may begin a stream. One that runs is never cut: it takes what it takes, and the next has to wait.
    ///
    /// # Errors
    ///
    /// [`Code::POLICY_REJECTED`]: the peer's allowance is used up, or too many peers are counted.
    pub fn admits(&self, unix_ms: u64, peer: &NodeId, charge: ChargeTo) -> Result<(), Code> {
        if self.tariff.price == 0 {
            return Ok(());
        }
        let known = self.of.contains_key(&(unix_ms / PERIOD, *peer));
        let fits = known || self.has_room(Some(charge));
        match fits && self.open(unix_ms, peer) < self.tariff.allowance {
            true => Ok(()),
            false => Err(Code::POLICY_REJECTED),
        }
    }

    /// Counts bytes that this node forwarded for a peer.
    pub fn given(&mut self, unix_ms: u64, peer: &NodeId, charge: ChargeTo, bytes: u64) {
        match self.entry((unix_ms / PERIOD, *peer), Some(charge)) {
            Some(usage) => usage.given = usage.given.saturating_add(bytes),
            None => self.uncounted = self.uncounted.saturating_add(bytes),
        }
    }

    /// Counts bytes that a peer was sent to forward for this node.
    pub fn taken(&mut self, unix_ms: u64, peer: &NodeId, bytes: u64) {
        match self.entry((unix_ms / PERIOD, *peer), None) {
            Some(usage) => usage.taken = usage.taken.saturating_add(bytes),
            None => self.uncounted = self.uncounted.saturating_add(bytes),
        }
    }

    /// Takes at most so many counts out, of peers that are worth writing down. The counts of others are forgotten with their period.
    pub fn take(
        &mut self,
        unix_ms: u64,
        most: usize,
        worth: impl Fn(&NodeId) -> bool,
    ) -> Vec<Counted> {
        let (now, mut out) = (unix_ms / PERIOD, Vec::new());
        let by = &mut self.by;
        self.of.retain(|(period, peer), usage| {
            let goes = worth(peer);
            if goes && out.len() < most {
                out.push(Counted {
                    period: *period,
                    peer: *peer,
                    given: usage.given,
                    taken: usage.taken,
                });
            } else if goes || *period >= now {
                return true;
            }
            if let Some(charge) = usage.charge
                && let Some(n) = by.get_mut(&charge)
            {
                *n = n.saturating_sub(1);
            }
            false
        });
        by.retain(|_, n| *n > 0);
        out
    }

    /// Puts counts back that could not be written down.
    pub fn put_back(&mut self, counts: &[Counted]) {
        for count in counts {
            let bytes = count.given.saturating_add(count.taken);
            match self.entry((count.period, count.peer), None) {
                Some(usage) => {
                    usage.given = usage.given.saturating_add(count.given);
                    usage.taken = usage.taken.saturating_add(count.taken);
                }
                None => self.uncounted = self.uncounted.saturating_add(bytes),
            }
        }
    }

    /// Replaces what is written down and not countersigned.
    pub fn set_open(&mut self, open: BTreeMap<NodeId, u64>) {
        self.open = open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId([1; 20]);
    const BY: ChargeTo = ChargeTo::V4([9; 4]);
    const DAY: u64 = 5 * PERIOD;
    const REFUSED: Result<(), Code> = Err(Code::POLICY_REJECTED);

    fn meter(price: u64) -> Meter {
        let allowance = 1_000;
        Meter::new(Tariff { price, allowance })
    }

    #[test]
    fn an_unpaid_peer_is_refused_after_its_allowance_and_never_in_a_stream() {
        let mut m = meter(2);
        m.given(DAY, &A, BY, 999);
        assert_eq!(m.admits(DAY, &A, BY), Ok(()));
        // The stream that it began goes on beyond.
        m.given(DAY, &A, BY, 5_000);
        assert_eq!((m.admits(DAY, &A, BY), m.open(DAY, &A)), (REFUSED, 5_999));
        assert_eq!(m.admits(DAY, &NodeId([2; 20]), BY), Ok(()));
        // What is written down stays open until it is countersigned.
        let counted = Counted {
            period: 5,
            peer: A,
            given: 5_999,
            taken: 0,
        };
        assert_eq!(m.take(DAY + PERIOD, 9, |_| true), [counted]);
        m.set_open([(A, 5_999)].into());
        assert_eq!(m.admits(DAY + PERIOD, &A, BY), REFUSED);
        m.set_open([(A, 999)].into());
        assert_eq!(m.admits(DAY + PERIOD, &A, BY), Ok(()));
        let mut free = meter(0);
        free.given(DAY, &A, BY, u64::MAX);
        assert_eq!(free.admits(DAY, &A, BY), Ok(()));
    }

    #[test]
    fn counts_of_others_are_never_written_down_and_end_with_their_period() {
        let mut m = meter(1);
        let guest = NodeId([2; 20]);
        m.given(DAY, &A, BY, 10);
        m.given(DAY, &guest, BY, 2_000);
        m.taken(DAY, &A, 3);
        let out = m.take(DAY, 9, |peer| *peer == A);
        assert_eq!(
            out.iter().map(|c| (c.given, c.taken)).collect::<Vec<_>>(),
            [(10, 3)]
        );
        m.put_back(&out);
        m.taken(DAY, &A, 1);
        let out = m.take(DAY, 9, |peer| *peer == A);
        assert_eq!(
            out.iter().map(|c| (c.given, c.taken)).collect::<Vec<_>>(),
            [(10, 4)]
        );
        assert_eq!(m.admits(DAY, &guest, BY), REFUSED);
        assert!(m.take(DAY + PERIOD, 9, |peer| *peer == A).is_empty());
        assert_eq!(m.admits(DAY + PERIOD, &guest, BY), Ok(()));
        assert!(m.of.is_empty() && m.by.is_empty());
    }

    #[test]
    fn peers_are_bounded_and_one_address_has_a_sixteenth() {
        let mut m = meter(1);
        for n in 0..u32::try_from(METERED_MAX).unwrap() {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let [a, ..] = n.to_be_bytes();
            let by = n / u32::try_from(METERED_EACH).unwrap();
            let by = ChargeTo::V4([a, 0, 0, u8::try_from(by).unwrap()]);
            m.given(DAY, &NodeId(id), by, 1);
        }
        assert_eq!((m.of.len(), m.uncounted), (METERED_MAX, 0));
        assert_eq!(m.admits(DAY, &A, BY), REFUSED);
        m.given(DAY, &A, BY, 7);
        m.taken(DAY, &A, 7);
        assert_eq!((m.of.len(), m.uncounted), (METERED_MAX, 14));
        // Counts go out in parts, and the rest stays.
        assert_eq!(m.take(DAY, 1_000, |_| true).len(), 1_000);
        assert_eq!(m.of.len(), METERED_MAX - 1_000);
        m.take(DAY + PERIOD, 0, |_| false);
        assert_eq!(m.admits(DAY, &A, BY), Ok(()));

        let mut one = meter(1);
        for n in 0..5_000_u32 {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            one.given(DAY, &NodeId(id), BY, 1);
        }
        assert_eq!(one.of.len(), METERED_EACH);
        assert_eq!(one.admits(DAY, &A, BY), REFUSED);
        assert_eq!(one.admits(DAY, &A, ChargeTo::V4([8; 4])), Ok(()));
    }
}
