//! Shares of a common resource: one part for each session, two for each address.

use alloc::collections::BTreeMap;

use betanet_wire::ChargeTo;

/// The session that brought a packet, and the charged party.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Via {
    /// ID of the session.
    pub session: u64,
    /// Charged party. A session is not one, because identities and their sessions are free.
    pub charge: ChargeTo,
}

/// The share that is exhausted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spent {
    /// The session's share.
    Session,
    /// The share of the charged party, for all of its sessions.
    Charge,
}

/// Counts the items of each session and charged party. It has no more entries than items.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    sessions: BTreeMap<u64, usize>,
    charges: BTreeMap<ChargeTo, usize>,
}

fn less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(n) = counts.get_mut(key) {
        *n -= 1;
        if *n == 0 {
            counts.remove(key);
        }
    }
}

impl Shares {
    /// Creates counters without items.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sessions: BTreeMap::new(),
            charges: BTreeMap::new(),
        }
    }

    /// Checks whether one more item fits, if a session may have `part`.
    ///
    /// # Errors
    ///
    /// The exhausted share.
    pub fn check(&self, via: Via, part: usize) -> Result<(), Spent> {
        let of = |n: Option<&usize>| n.copied().unwrap_or(0);
        if of(self.sessions.get(&via.session)) >= part {
            return Err(Spent::Session);
        }
        if of(self.charges.get(&via.charge)) >= part.saturating_mul(2) {
            return Err(Spent::Charge);
        }
        Ok(())
    }

    /// Adds an item.
    pub fn add(&mut self, via: Via) {
        *self.sessions.entry(via.session).or_default() += 1;
        *self.charges.entry(via.charge).or_default() += 1;
    }

    /// Removes an item.
    pub fn remove(&mut self, via: Via) {
        less(&mut self.sessions, &via.session);
        less(&mut self.charges, &via.charge);
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.charges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts_whatever_its_sessions() {
        let mut shares = Shares::new();
        let via = |session, d| Via {
            session,
            charge: ChargeTo::V4([192, 0, 2, d]),
        };
        for session in 0..9 {
            for _ in 0..4 {
                if shares.check(via(session, 1), 4).is_ok() {
                    shares.add(via(session, 1));
                }
            }
        }
        assert_eq!(shares.check(via(0, 1), 4), Err(Spent::Session));
        assert_eq!(shares.check(via(9, 1), 4), Err(Spent::Charge));
        assert_eq!(shares.check(via(9, 2), 4), Ok(()));
        shares.remove(via(0, 1));
        assert_eq!(shares.check(via(9, 1), 4), Ok(()));
        for _ in 0..3 {
            shares.remove(via(0, 1));
        }
        for _ in 0..4 {
            shares.remove(via(1, 1));
        }
        assert!(shares.is_empty());
    }
}
