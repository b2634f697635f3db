//! A node's counts of what it forwards for peers, and of what relays forward for it, until they are written down.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use betanet_wire::{ChargeTo, Code, NodeId};

use crate::account::PERIOD;

/// Most counts of peers at once.
pub const METERED_MAX: usize = 1 << 16;
/// Most of them that one party is charged for.
pub const METERED_EACH: usize = METERED_MAX / 16;
/// Allowances that peers without a record have in one period together, where one party is charged for them.
pub const GUESTS_EACH: u64 = 16;

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

/// Counts that go to the journal together.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Its number: one that is sent again has the same, and is counted once.
    pub number: u64,
    /// The counts.
    pub counts: Vec<Counted>,
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    given: u64,
    taken: u64,
    charge: ChargeTo,
}

/// What one party is charged for.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    counts: usize,
    /// Bytes that were forwarded for peers without a record in this period.
    period: u64,
    guests: u64,
}

/// Counts bytes by peer and period, and says who may begin a stream.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    tariff: Tariff,
    of: BTreeMap<(u64, NodeId), Usage>,
    by: BTreeMap<ChargeTo, Share>,
    /// Peers with a record. Accounts with others are not written down.
    known: BTreeSet<NodeId>,
    /// Counts that are being written down.
    under_way: Option<Batch>,
    /// The last count that was taken out: those after it are next, so that busy peers do not keep others back.
    last: Option<(u64, NodeId)>,
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

    fn has_room(&self, charge: ChargeTo) -> bool {
        let fits = match self.by.get(&charge) {
            Some(share) => share.counts < METERED_EACH,
            None => self.by.len() < METERED_MAX,
        };
        fits && self.of.len() < METERED_MAX
    }

    fn entry(&mut self, key: (u64, NodeId), charge: ChargeTo) -> Option<&mut Usage> {
        if !self.of.contains_key(&key) {
            if !self.has_room(charge) {
                return None;
            }
            self.by.entry(charge).or_default().counts += 1;
        }
        let fresh = Usage {
            given: 0,
            taken: 0,
            charge,
        };
        Some(self.of.entry(key).or_insert(fresh))
    }

    /// Replaces the peers that have a record.
    pub fn set_known(&mut self, known: BTreeSet<NodeId>) {
        self.known = known;
    }

    /// Bytes that a peer has open: forwarded for it, and not countersigned. What was not written down counts for its period alone.
    #[must_use]
    pub fn open(&self, unix_ms: u64, peer: &NodeId) -> u64 {
        let fresh = self.of.get(&(unix_ms / PERIOD, *peer));
        let written = self.open.get(peer).copied().unwrap_or_default();
        let counts = self.under_way.iter().flat_map(|batch| &batch.counts);
        counts
            .filter(|count| count.peer == *peer)
            .fold(fresh.map_or(0, |u| u.given), |sum, count| {
                sum.saturating_add(count.given)
            })
            .saturating_add(written)
    }

    /// Bytes that were forwarded in a period for peers without a record, for which this party is charged.
    fn of_guests(&self, period: u64, charge: ChargeTo) -> u64 {
        let share = self.by.get(&charge).filter(|s| s.period == period);
        share.map_or(0, |s| s.guests)
    }

    /// Whether a peer may begin a stream. One that runs is never cut: it takes what it takes, and the next has to wait.
    ///
    /// # Errors
    ///
    /// [`Code::POLICY_REJECTED`]: the allowance of the peer is used up, or of the party that is charged for peers without a record. Or
    /// too many peers are counted.
    pub fn admits(&self, unix_ms: u64, peer: &NodeId, charge: ChargeTo) -> Result<(), Code> {
        if self.tariff.price == 0 {
            return Ok(());
        }
        let (period, allowance) = (unix_ms / PERIOD, self.tariff.allowance);
        let fits = self.of.contains_key(&(period, *peer)) || self.has_room(charge);
        // An identity costs nothing, and an allowance each would have no end.
        let together = allowance.saturating_mul(GUESTS_EACH);
        let shares = self.known.contains(peer) || self.of_guests(period, charge) < together;
        match fits && shares && self.open(unix_ms, peer) < allowance {
            true => Ok(()),
            false => Err(Code::POLICY_REJECTED),
        }
    }

    /// Counts bytes that this node forwarded for a peer.
    pub fn given(&mut self, unix_ms: u64, peer: &NodeId, charge: ChargeTo, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let period = unix_ms / PERIOD;
        match self.entry((period, *peer), charge) {
            Some(usage) => usage.given = usage.given.saturating_add(bytes),
            None => self.uncounted = self.uncounted.saturating_add(bytes),
        }
        let room = self.by.len() < METERED_MAX || self.by.contains_key(&charge);
        if room && !self.known.contains(peer) {
            let share = self.by.entry(charge).or_default();
            if share.period < period {
                (share.period, share.guests) = (period, 0);
            }
            share.guests = share.guests.saturating_add(bytes);
        }
    }

    /// Counts bytes that a peer was sent to forward for this node. The party of the session that caused it is charged.
    pub fn taken(&mut self, unix_ms: u64, peer: &NodeId, charge: ChargeTo, bytes: u64) {
        if bytes == 0 {
            return;
        }
        match self.entry((unix_ms / PERIOD, *peer), charge) {
            Some(usage) => usage.taken = usage.taken.saturating_add(bytes),
            None => self.uncounted = self.uncounted.saturating_add(bytes),
        }
    }

    /// Takes at most so many counts of known peers out, as the batch after number `last`. The same batch comes again until it is
    /// [written](Self::written). Counts of other peers are forgotten with their period.
    pub fn take(&mut self, unix_ms: u64, last: u64, most: usize) -> Option<Batch> {
        let now = unix_ms / PERIOD;
        let mut counts = Vec::new();
        if self.under_way.is_none() {
            let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
            let later = self.of.range((after, Bound::Unbounded));
            let before = self.last.map(|last| self.of.range(..=last));
            let all = later.chain(before.into_iter().flatten());
            let all = all.filter(|((_, peer), _)| self.known.contains(peer));
            counts.extend(all.take(most).map(|((period, peer), usage)| Counted {
                period: *period,
                peer: *peer,
                given: usage.given,
                taken: usage.taken,
            }));
            self.last = counts.last().map(|c| (c.period, c.peer)).or(self.last);
            counts.sort_unstable_by_key(|c| (c.period, c.peer));
        }
        let taken: BTreeSet<_> = counts.iter().map(|c| (c.period, c.peer)).collect();
        let (by, known) = (&mut self.by, &self.known);
        self.of.retain(|key, usage| {
            let waits = known.contains(&key.1) || key.0 >= now;
            if waits && !taken.contains(key) {
                return true;
            }
            if let Some(share) = by.get_mut(&usage.charge) {
                share.counts = share.counts.saturating_sub(1);
            }
            false
        });
        by.retain(|_, share| share.counts > 0 || share.guests > 0 && share.period >= now);
        if !counts.is_empty() {
            let number = last.saturating_add(1);
            self.under_way = Some(Batch { number, counts });
        }
        self.under_way.clone()
    }

    /// Number of counts of known peers that are not taken out.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let peers = self.of.keys().map(|(_, peer)| peer);
        peers.filter(|peer| self.known.contains(peer)).count()
    }

    /// Forgets a batch, which is written down.
    pub fn written(&mut self, number: u64) {
        self.under_way.take_if(|batch| batch.number == number);
    }

    /// Replaces what is written down and not countersigned.
    pub fn set_open(&mut self, open: BTreeMap<NodeId, u64>) {
        self.open = open;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

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
        m.set_known([A].into());
        let batch = m.take(DAY + PERIOD, 0, 9).unwrap();
        assert_eq!((batch.number, &batch.counts[..]), (1, &[counted][..]));
        assert_eq!(m.admits(DAY + PERIOD, &A, BY), REFUSED);
        m.written(1);
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
        m.taken(DAY, &A, BY, 3);
        m.set_known([A].into());
        let pairs = |batch: &Batch| -> Vec<(u64, u64)> {
            let counts = batch.counts.iter();
            counts.map(|c| (c.given, c.taken)).collect()
        };
        let batch = m.take(DAY, 7, 9).unwrap();
        assert_eq!((batch.number, pairs(&batch)), (8, vec![(10, 3)]));
        // Without an answer the same batch is sent again, whatever was counted meanwhile.
        m.taken(DAY, &A, BY, 1);
        m.written(7);
        assert_eq!(m.take(DAY, 8, 9), Some(batch));
        m.written(8);
        let batch = m.take(DAY, 8, 9).unwrap();
        assert_eq!((batch.number, pairs(&batch)), (9, vec![(0, 1)]));
        m.written(9);
        assert_eq!(m.admits(DAY, &guest, BY), REFUSED);
        assert_eq!(m.take(DAY + PERIOD, 9, 9), None);
        assert_eq!(m.admits(DAY + PERIOD, &guest, BY), Ok(()));
        assert!(m.of.is_empty() && m.by.is_empty());
    }

    #[test]
    fn busy_peers_do_not_keep_others_from_being_written_down() {
        let mut m = meter(1);
        let peers = [1, 2, 3].map(|n| NodeId([n; 20]));
        m.set_known(peers.into());
        for peer in &peers {
            m.given(DAY, peer, BY, 1);
        }
        let mut written = Vec::new();
        for number in 0..4 {
            // The first peer has more each time.
            m.given(DAY, &peers[0], BY, 1);
            let batch = m.take(DAY, number, 1).unwrap();
            m.written(batch.number);
            written.extend(batch.counts.iter().map(|c| (c.peer, c.given)));
        }
        let [a, b, c] = peers;
        assert_eq!(written, [(a, 2), (b, 1), (c, 1), (a, 3)]);
        assert_eq!(m.waiting(), 0);
    }

    #[test]
    fn peers_are_bounded_and_one_address_has_a_sixteenth() {
        let mut m = meter(1);
        for n in 0..u32::try_from(METERED_MAX).unwrap() {
            let [a, ..] = n.to_be_bytes();
            let by = n / u32::try_from(METERED_EACH).unwrap();
            let by = ChargeTo::V4([a, 0, 0, u8::try_from(by).unwrap()]);
            m.given(DAY, &node(n), by, 1);
        }
        assert_eq!((m.of.len(), m.uncounted), (METERED_MAX, 0));
        assert_eq!(m.admits(DAY, &A, BY), REFUSED);
        m.given(DAY, &A, BY, 7);
        m.taken(DAY, &A, BY, 7);
        assert_eq!((m.of.len(), m.uncounted), (METERED_MAX, 14));
        // Counts go out in parts, and the rest stays.
        m.set_known(m.of.keys().map(|(_, peer)| *peer).collect());
        assert_eq!(m.take(DAY, 0, 1_000).unwrap().counts.len(), 1_000);
        assert_eq!(m.of.len(), METERED_MAX - 1_000);
        m.written(1);
        m.set_known(BTreeSet::new());
        assert_eq!(m.take(DAY + PERIOD, 1, 9), None);
        assert_eq!(m.admits(DAY + PERIOD, &A, BY), Ok(()));

        let mut one = meter(1);
        for n in 0..5_000_u32 {
            one.given(DAY, &node(n), BY, 1);
        }
        assert_eq!(one.of.len(), METERED_EACH);
        assert_eq!(one.admits(DAY, &A, BY), REFUSED);
        assert_eq!(one.admits(DAY, &A, ChargeTo::V4([8; 4])), Ok(()));
    }

    fn node(n: u32) -> NodeId {
        let mut id = [0; 20];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn relays_that_a_party_makes_this_node_use_are_of_its_share() {
        let mut m = meter(1);
        let most = u32::try_from(METERED_MAX).unwrap();
        (0..most).for_each(|n| m.taken(DAY, &node(n), BY, 1));
        assert_eq!(m.of.len(), METERED_EACH);
        assert_eq!(m.admits(DAY, &A, BY), REFUSED);
        // A newcomer from elsewhere has its place, and no stream without bytes takes one.
        let other = ChargeTo::V4([8; 4]);
        assert_eq!(m.admits(DAY, &A, other), Ok(()));
        (0..most).for_each(|n| m.taken(DAY, &node(n), other, 0));
        (0..most).for_each(|n| m.given(DAY, &node(n), other, 0));
        assert_eq!(m.of.len(), METERED_EACH);
        m.given(DAY, &A, other, 1);
        assert_eq!(m.of.len(), METERED_EACH + 1);
    }

    #[test]
    fn peers_without_a_record_share_the_allowances_of_their_address() {
        let mut m = meter(1);
        m.set_known([A].into());
        let fresh = (0..1_000).take_while(|n| {
            let admitted = m.admits(DAY, &node(*n), BY).is_ok();
            if admitted {
                m.given(DAY, &node(*n), BY, 1_000);
            }
            admitted
        });
        assert_eq!(fresh.count() as u64, GUESTS_EACH);
        // A relay of the same address has its own, and so has each other address.
        assert_eq!(m.admits(DAY, &A, BY), Ok(()));
        assert_eq!(m.admits(DAY, &node(1_000), ChargeTo::V4([8; 4])), Ok(()));
        // What is written down for a relay is not on its neighbours.
        let near = ChargeTo::V4([7; 4]);
        m.given(DAY, &A, near, 1_000 * GUESTS_EACH);
        assert_eq!(m.admits(DAY, &node(1_000), near), Ok(()));
        // An identity that moves is on each address with what it took there.
        (0..GUESTS_EACH).for_each(|_| m.given(DAY, &node(0), near, 1_000));
        assert_eq!(m.admits(DAY, &node(1_001), near), REFUSED);
        m.take(DAY, 0, 9);
        assert_eq!(m.admits(DAY, &node(1_000), BY), REFUSED);
        // The next day begins anew.
        assert_eq!(m.admits(DAY + PERIOD, &node(1_000), BY), Ok(()));
        m.given(DAY + PERIOD, &node(0), BY, 1);
        assert_eq!(m.of_guests(6, BY), 1);
        m.written(1);
        m.take(DAY + 2 * PERIOD, 1, 9);
        assert!(m.of.is_empty() && m.by.is_empty());
    }
}
