//! Who has how much of what peers share. A session has a part; an address, whatever the sessions that come from it, has two.

use alloc::collections::BTreeMap;

use betanet_wire::ChargeTo;

/// What a packet came over, and who pays for what becomes of it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Via {
    /// The session.
    pub session: u64,
    /// Who pays: sessions are as free as the identities that they are opened with.
    pub charge: ChargeTo,
}

/// Which part of a share has been had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spent {
    /// The session's.
    Session,
    /// That of all sessions that one pays for.
    Charge,
}

/// Counts what each session, and each of those who pay for sessions, has of one thing. It holds no more entries than there are things.
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
    /// Nobody has anything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sessions: BTreeMap::new(),
            charges: BTreeMap::new(),
        }
    }

    /// Whether one more may be had, where a session may have `part`.
    ///
    /// # Errors
    ///
    /// Whose part is spent.
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

    /// One more.
    pub fn add(&mut self, via: Via) {
        *self.sessions.entry(via.session).or_default() += 1;
        *self.charges.entry(via.charge).or_default() += 1;
    }

    /// One less.
    pub fn remove(&mut self, via: Via) {
        less(&mut self.sessions, &via.session);
        less(&mut self.charges, &via.charge);
    }

    /// Whether nobody has anything.
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
