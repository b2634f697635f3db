use alloc::collections::BTreeMap;

use betanet_machine::{Rng, Time};
use betanet_wire::ChargeTo;

use crate::{AccountId, Error};

/// Most challenges that wait for their answer.
pub const CHALLENGES_MAX: usize = 4096;
/// Most challenges that one address waits with; a further one ends its oldest.
pub const CHALLENGES_AN_ADDRESS: usize = 8;
/// Life of a challenge.
const LIFE: core::time::Duration = core::time::Duration::from_secs(300);

/// The ceremony that a challenge is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A login.
    LogIn,
    /// The registration of a passkey for an account that is logged in.
    Register(AccountId),
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    purpose: Purpose,
    address: ChargeTo,
    made: Time,
}

/// Challenges that were given out. Each is taken once, within five minutes, for its own purpose. Soft state: it is not journaled.
#[derive(Debug, Default)]
pub struct Challenges {
    all: BTreeMap<[u8; 32], Waiting>,
    by_address: BTreeMap<ChargeTo, usize>,
}

impl Challenges {
    /// Gives out a challenge.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`] while too many wait.
    pub fn issue(
        &mut self,
        now: Time,
        purpose: Purpose,
        address: ChargeTo,
        rng: &mut Rng,
    ) -> Result<[u8; 32], Error> {
        let own = self.by_address.get(&address).copied().unwrap_or(0);
        if own >= CHALLENGES_AN_ADDRESS {
            let of = |(_, w): &(&[u8; 32], &Waiting)| w.address == address;
            let oldest = self.all.iter().filter(of).min_by_key(|(_, w)| w.made);
            if let Some(oldest) = oldest.map(|(c, _)| *c) {
                self.remove(&oldest);
            }
        }
        if self.all.len() >= CHALLENGES_MAX {
            self.sweep(now);
        }
        if self.all.len() >= CHALLENGES_MAX {
            return Err(Error::Wait(1000));
        }
        let challenge = rng.array();
        let made = now;
        let waiting = Waiting {
            purpose,
            address,
            made,
        };
        self.all.insert(challenge, waiting);
        *self.by_address.entry(address).or_default() += 1;
        Ok(challenge)
    }

    /// Takes a challenge that an answer names.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] for one that was not given out, was taken, is older than five minutes, or is of another purpose.
    pub fn take(&mut self, now: Time, challenge: &[u8; 32], purpose: Purpose) -> Result<(), Error> {
        let waiting = self.remove(challenge).ok_or(Error::Expired)?;
        match waiting.purpose == purpose && now - waiting.made < LIFE {
            true => Ok(()),
            false => Err(Error::Expired),
        }
    }

    fn remove(&mut self, challenge: &[u8; 32]) -> Option<Waiting> {
        let waiting = self.all.remove(challenge)?;
        if let Some(n) = self.by_address.get_mut(&waiting.address) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                self.by_address.remove(&waiting.address);
            }
        }
        Some(waiting)
    }

    fn sweep(&mut self, now: Time) {
        let old = self.all.iter().filter(|(_, w)| now - w.made >= LIFE);
        let old: alloc::vec::Vec<[u8; 32]> = old.map(|(c, _)| *c).collect();
        for challenge in &old {
            self.remove(challenge);
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_machine::Seed;

    use super::*;

    fn v4(n: u32) -> ChargeTo {
        ChargeTo::V4(n.to_be_bytes())
    }

    #[test]
    fn a_challenge_is_taken_once_in_time_for_its_purpose() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut all = Challenges::default();
        let account = Purpose::Register(AccountId([1; 16]));
        let other = Purpose::Register(AccountId([2; 16]));
        let late = Time::ZERO + LIFE;
        let mut issue = |all: &mut Challenges, purpose| {
            all.issue(Time::ZERO, purpose, v4(1), &mut rng).unwrap()
        };
        let c = issue(&mut all, account);
        assert_eq!(all.take(Time::ZERO, &c, account), Ok(()));
        assert_eq!(all.take(Time::ZERO, &c, account), Err(Error::Expired));
        for (purpose, now) in [
            (other, Time::ZERO),
            (Purpose::LogIn, Time::ZERO),
            (account, late),
        ] {
            let c = issue(&mut all, account);
            assert_eq!(all.take(now, &c, purpose), Err(Error::Expired));
        }
        assert_eq!(all.take(Time::ZERO, &[0; 32], account), Err(Error::Expired));
        assert!(all.by_address.is_empty());
    }

    #[test]
    fn challenges_are_bounded_and_an_address_ends_only_its_own() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut all = Challenges::default();
        let own = all
            .issue(Time::ZERO, Purpose::LogIn, v4(0), &mut rng)
            .unwrap();
        for _ in 0..1_000 {
            all.issue(Time::ZERO, Purpose::LogIn, v4(1), &mut rng)
                .unwrap();
        }
        assert_eq!(all.all.len(), 1 + CHALLENGES_AN_ADDRESS);
        let mut n = 1;
        while all.all.len() < CHALLENGES_MAX {
            n += 1;
            all.issue(Time::ZERO, Purpose::LogIn, v4(n), &mut rng)
                .unwrap();
        }
        let full = all.issue(Time::ZERO, Purpose::LogIn, v4(n + 1), &mut rng);
        assert_eq!(full, Err(Error::Wait(1000)));
        assert_eq!(all.take(Time::ZERO, &own, Purpose::LogIn), Ok(()));
        let late = Time::ZERO + LIFE;
        assert!(all.issue(late, Purpose::LogIn, v4(n + 1), &mut rng).is_ok());
        assert!(all.issue(late, Purpose::LogIn, v4(n + 2), &mut rng).is_ok());
        assert_eq!(all.all.len(), 2);
    }
}
