//! A relay's count of what it forwards for each peer.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::{Code, NodeId};

use crate::account::{Account, PERIOD};

/// Most peers that are counted at once.
pub const METERED_MAX: usize = 1 << 16;

/// A relay's price, as its peer record says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tariff {
    /// Units for 2^20 bytes; 0: free.
    pub price: u64,
    /// Bytes that each peer has free in each period.
    pub allowance: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    bytes: u64,
    /// Bytes that were paid for and not used.
    paid: u64,
    /// Bytes that a stream took beyond allowance and payment.
    owed: u64,
    seq: u64,
}

/// Counts bytes by peer and period, and says who may begin a stream.
#[derive(Clone, Debug)]
pub struct Meter {
    relay: NodeId,
    tariff: Tariff,
    period: u64,
    of: BTreeMap<NodeId, Usage>,
}

impl Meter {
    /// Begins to count.
    #[must_use]
    pub const fn new(relay: NodeId, tariff: Tariff, unix_ms: u64) -> Self {
        Self {
            relay,
            tariff,
            period: unix_ms / PERIOD,
            of: BTreeMap::new(),
        }
    }

    /// Whether a peer may begin a stream. One that runs is never cut: it takes what it takes, and the next has to wait.
    ///
    /// # Errors
    ///
    /// [`Code::POLICY_REJECTED`]: allowance and payment are used up, or too many peers are counted.
    pub fn admits(&self, peer: &NodeId) -> Result<(), Code> {
        if self.tariff.price == 0 {
            return Ok(());
        }
        let usage = self.of.get(peer);
        if usage.is_none() && self.of.len() >= METERED_MAX {
            return Err(Code::POLICY_REJECTED);
        }
        let usage = usage.copied().unwrap_or_default();
        let free = self.tariff.allowance.saturating_add(usage.paid);
        match usage.bytes.saturating_add(usage.owed) < free {
            true => Ok(()),
            false => Err(Code::POLICY_REJECTED),
        }
    }

    /// Counts forwarded bytes.
    pub fn count(&mut self, peer: &NodeId, bytes: u64) {
        if let Some(usage) = self.entry(peer) {
            usage.bytes = usage.bytes.saturating_add(bytes);
        }
    }

    /// Counts a payment; `false` if too many peers are counted.
    pub fn pay(&mut self, peer: &NodeId, units: u64) -> bool {
        let price = self.tariff.price.max(1);
        let bytes = (u128::from(units) << 20) / u128::from(price);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let Some(usage) = self.entry(peer) else {
            return false;
        };
        let mended = usage.owed.min(bytes);
        usage.owed -= mended;
        usage.paid = usage.paid.saturating_add(bytes - mended);
        true
    }

    fn entry(&mut self, peer: &NodeId) -> Option<&mut Usage> {
        if !self.of.contains_key(peer) && self.of.len() >= METERED_MAX {
            return None;
        }
        Some(self.of.entry(*peer).or_default())
    }

    /// Bytes of a peer in this period.
    #[must_use]
    pub fn bytes(&self, peer: &NodeId) -> u64 {
        self.of.get(peer).map_or(0, |u| u.bytes)
    }

    /// The record of a peer in this period so far.
    pub fn account(&mut self, peer: &NodeId) -> Option<Account> {
        let (relay, period) = (self.relay, self.period);
        let usage = self.of.get_mut(peer).filter(|u| u.bytes > 0)?;
        usage.seq += 1;
        Some(usage.account(relay, *peer, period))
    }

    /// Goes on to the period of this time. Gives the records of the one that ended, and forgets peers that neither paid nor owe.
    pub fn turn(&mut self, unix_ms: u64) -> Vec<Account> {
        let now = unix_ms / PERIOD;
        if now <= self.period {
            return Vec::new();
        }
        let (relay, ended, allowance) = (self.relay, self.period, self.tariff.allowance);
        self.period = now;
        let mut out = Vec::new();
        for (peer, usage) in &mut self.of {
            if usage.bytes > 0 {
                usage.seq += 1;
                out.push(usage.account(relay, *peer, ended));
            }
            // What went beyond the allowance was paid for, or is owed.
            let beyond = usage.bytes.saturating_sub(allowance);
            let paid = usage.paid.min(beyond);
            let owed = usage.owed.saturating_add(beyond - paid);
            *usage = Usage {
                bytes: 0,
                paid: usage.paid - paid,
                owed,
                seq: 0,
            };
        }
        self.of.retain(|_, u| u.paid > 0 || u.owed > 0);
        out
    }
}

impl Usage {
    fn account(&self, relay: NodeId, from: NodeId, period: u64) -> Account {
        Account {
            bytes: self.bytes.min((1 << 63) - 1),
            from,
            period,
            relay,
            seq: self.seq,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: NodeId = NodeId([9; 20]);
    const A: NodeId = NodeId([1; 20]);
    const REFUSED: Result<(), Code> = Err(Code::POLICY_REJECTED);

    fn meter(price: u64) -> Meter {
        let allowance = 1_000;
        Meter::new(RELAY, Tariff { price, allowance }, 5 * PERIOD)
    }

    #[test]
    fn an_unpaid_peer_is_refused_after_its_allowance_and_never_in_a_stream() {
        let mut m = meter(2);
        m.count(&A, 999);
        assert_eq!(m.admits(&A), Ok(()));
        // The stream that it began goes on beyond.
        m.count(&A, 5_000);
        assert_eq!((m.admits(&A), m.bytes(&A)), (REFUSED, 5_999));
        assert_eq!(m.admits(&NodeId([2; 20])), Ok(()));
        // What is owed is not forgotten with the day.
        let ended = m.turn(6 * PERIOD);
        let account = Account {
            bytes: 5_999,
            from: A,
            period: 5,
            relay: RELAY,
            seq: 1,
        };
        assert_eq!(ended, [account]);
        assert_eq!(m.admits(&A), REFUSED);
        assert!(m.pay(&A, 1));
        assert_eq!(m.admits(&A), Ok(()));
        assert_eq!(m.of[&A].paid, (1 << 19) - 4_999);
    }

    #[test]
    fn payments_last_and_idle_peers_are_forgotten() {
        let mut m = meter(1);
        assert!(m.pay(&A, 1));
        m.count(&A, 1_500);
        m.count(&NodeId([2; 20]), 10);
        assert_eq!(m.account(&A).unwrap().seq, 1);
        assert_eq!(m.turn(6 * PERIOD).len(), 2);
        assert!(m.turn(6 * PERIOD).is_empty());
        assert_eq!((m.of.len(), m.of[&A].paid), (1, (1 << 20) - 500));
        let mut free = meter(0);
        free.count(&A, u64::MAX);
        assert_eq!(free.admits(&A), Ok(()));
    }

    #[test]
    fn peers_are_bounded() {
        let mut m = meter(1);
        for n in 0..u32::try_from(METERED_MAX).unwrap() {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            m.count(&NodeId(id), 1);
        }
        assert_eq!(m.admits(&A), REFUSED);
        m.count(&A, 7);
        assert_eq!(
            (m.bytes(&A), m.pay(&A, 1), m.of.len()),
            (0, false, METERED_MAX)
        );
        m.turn(6 * PERIOD);
        assert_eq!(m.admits(&A), Ok(()));
    }
}
