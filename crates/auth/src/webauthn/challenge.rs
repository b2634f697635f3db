use alloc::collections::BTreeMap;

use betanet_keys::same;
use betanet_machine::{Rng, Time};

use crate::{AccountId, Error, ServerKey};

/// Most answered challenges that are remembered: of logins, and as many of registrations.
pub const CHALLENGES_MAX: usize = 1 << 16;
/// Most of them that are registrations of one account.
pub const REGISTRATIONS_MAX: usize = 32;
/// Life of a challenge.
const LIFE: core::time::Duration = core::time::Duration::from_secs(300);
/// Bytes of a challenge before its keyed hash: when it was made, and 8 random ones.
const PLAIN: usize = 16;

/// The ceremony that a challenge is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A login.
    LogIn,
    /// The registration of a passkey for an account that is logged in.
    Register(AccountId),
}

/// Challenges that this process gives out. Each counts for five minutes, for its own purpose, until it was answered.
///
/// A challenge carries its time under a keyed hash, so one that waits takes no room, and nobody can keep others from theirs.
/// Only answered ones are remembered. A passkey signed each answer to a login. With the attestation `none`, nothing signs a registration:
/// those are counted apart, and for each account.
#[derive(Debug)]
pub struct Challenges {
    key: ServerKey,
    logins: BTreeMap<[u8; 32], Time>,
    registrations: BTreeMap<(AccountId, [u8; 32]), Time>,
}

impl Challenges {
    /// Begins with a key that is drawn at each start, so that nothing given out before counts.
    #[must_use]
    pub const fn new(key: ServerKey) -> Self {
        Self {
            key,
            logins: BTreeMap::new(),
            registrations: BTreeMap::new(),
        }
    }

    fn seal(&self, plain: [u8; PLAIN], purpose: Purpose) -> [u8; 32] {
        let (name, account) = match &purpose {
            Purpose::LogIn => ("passkey login", [0; 16]),
            Purpose::Register(id) => ("passkey registration", id.0),
        };
        let mac = self.key.mac(name, &[&account, &plain]);
        let mut challenge = [0; 32];
        let all = plain.iter().chain(mac.iter());
        for (to, from) in challenge.iter_mut().zip(all) {
            *to = *from;
        }
        challenge
    }

    /// Gives out a challenge.
    #[must_use]
    pub fn issue(&self, now: Time, purpose: Purpose, rng: &mut Rng) -> [u8; 32] {
        let mut plain = [0; PLAIN];
        let made = now.as_micros().to_be_bytes();
        let random: [u8; 8] = rng.array();
        for (to, from) in plain.iter_mut().zip(made.iter().chain(&random)) {
            *to = *from;
        }
        self.seal(plain, purpose)
    }

    /// Checks a challenge that an answer names, before the answer's signature.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] for one that was not given out, was answered, is older than five minutes, or is of another purpose.
    pub fn check(&self, now: Time, challenge: &[u8; 32], purpose: Purpose) -> Result<(), Error> {
        let (made, plain) = (challenge.first_chunk(), challenge.first_chunk());
        let (Some(made), Some(plain)) = (made, plain) else {
            return Err(Error::Expired);
        };
        let made = Time::from_micros(u64::from_be_bytes(*made));
        let ours = same(&self.seal(*plain, purpose), challenge);
        let in_time = made <= now && now - made < LIFE;
        let answered = match purpose {
            Purpose::LogIn => self.logins.contains_key(challenge),
            Purpose::Register(id) => self.registrations.contains_key(&(id, *challenge)),
        };
        match ours && in_time && !answered {
            true => Ok(()),
            false => Err(Error::Expired),
        }
    }

    /// Ends a challenge whose answer is right. Of two equal answers, only the first passes.
    ///
    /// # Errors
    ///
    /// Those of [`Challenges::check`]; [`Error::Wait`] while too many were answered, at all or by the account.
    pub fn end(&mut self, now: Time, challenge: &[u8; 32], purpose: Purpose) -> Result<(), Error> {
        self.check(now, challenge, purpose)?;
        let full = match purpose {
            Purpose::LogIn => full(&mut self.logins, now),
            Purpose::Register(id) => {
                let own = (id, [0; 32])..=(id, [0xff; 32]);
                let lives = |at: &Time| now - *at < LIFE;
                let own = self.registrations.range(own).filter(|(_, at)| lives(at));
                own.count() >= REGISTRATIONS_MAX || full(&mut self.registrations, now)
            }
        };
        if full {
            return Err(Error::Wait(1000));
        }
        match purpose {
            Purpose::LogIn => self.logins.insert(*challenge, now),
            Purpose::Register(id) => self.registrations.insert((id, *challenge), now),
        };
        Ok(())
    }
}

/// Whether there is no room, once those that have expired are forgotten.
fn full<K: Ord>(answered: &mut BTreeMap<K, Time>, now: Time) -> bool {
    if answered.len() >= CHALLENGES_MAX {
        answered.retain(|_, at| now - *at < LIFE);
    }
    answered.len() >= CHALLENGES_MAX
}

#[cfg(test)]
mod tests {
    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn a_challenge_is_answered_once_in_time_for_its_purpose() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut all = Challenges::new(ServerKey::new([1; 32]));
        let account = Purpose::Register(AccountId([1; 16]));
        let other = Purpose::Register(AccountId([2; 16]));
        let (made, late) = (Time::from_micros(5), Time::from_micros(5) + LIFE);
        let c = all.issue(made, account, &mut rng);
        assert_ne!(c, all.issue(made, account, &mut rng));
        // A bad signature ends nothing: the check alone changes nothing.
        assert_eq!(all.check(made, &c, account), Ok(()));
        for (purpose, now) in [
            (other, made),
            (Purpose::LogIn, made),
            (account, late),
            (account, Time::ZERO),
        ] {
            assert_eq!(all.check(now, &c, purpose), Err(Error::Expired));
            assert_eq!(all.end(now, &c, purpose), Err(Error::Expired));
        }
        for bit in 0..256 {
            let mut changed = c;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(all.check(made, &changed, account), Err(Error::Expired));
        }
        let elsewhere = Challenges::new(ServerKey::new([2; 32]));
        assert_eq!(elsewhere.check(made, &c, account), Err(Error::Expired));
        assert_eq!(all.end(made, &c, account), Ok(()));
        assert_eq!(all.check(made, &c, account), Err(Error::Expired));
        assert_eq!(all.end(made, &c, account), Err(Error::Expired));
    }

    #[test]
    fn waiting_challenges_take_no_room_and_answered_ones_are_bounded() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut all = Challenges::new(ServerKey::new([1; 32]));
        let own = all.issue(Time::ZERO, Purpose::LogIn, &mut rng);
        for _ in 0..CHALLENGES_MAX {
            let c = all.issue(Time::ZERO, Purpose::LogIn, &mut rng);
            assert_eq!(all.end(Time::ZERO, &c, Purpose::LogIn), Ok(()));
        }
        let full = all.end(Time::ZERO, &own, Purpose::LogIn);
        assert_eq!(full, Err(Error::Wait(1000)));
        let late = Time::ZERO + LIFE;
        let next = all.issue(late, Purpose::LogIn, &mut rng);
        assert_eq!(all.end(late, &next, Purpose::LogIn), Ok(()));
        assert_eq!(all.logins.len(), 1);
    }

    #[test]
    fn registrations_of_one_account_keep_no_other_and_no_login_out() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut all = Challenges::new(ServerKey::new([1; 32]));
        let mut register = |now, id: u8| {
            let purpose = Purpose::Register(AccountId([id; 16]));
            let c = all.issue(now, purpose, &mut rng);
            all.end(now, &c, purpose)
        };
        for _ in 0..REGISTRATIONS_MAX {
            assert_eq!(register(Time::ZERO, 1), Ok(()));
        }
        assert_eq!(register(Time::ZERO, 1), Err(Error::Wait(1000)));
        assert_eq!(register(Time::ZERO, 0), Ok(()));
        assert_eq!(register(Time::ZERO, 2), Ok(()));
        assert_eq!(register(Time::ZERO + LIFE, 1), Ok(()));
        assert!(all.logins.is_empty());
    }
}
