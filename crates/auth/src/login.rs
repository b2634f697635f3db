//! Guesses at passwords: a growing delay for each account and source, which no stranger can turn into a lock-out.
//!
//! - A source is an address, or a device that has logged in to the account before and shows the token of [`Devices`].
//! - After three wrong guesses, a source waits 1 s before the next guess at the account, then 2, 4 and so on up to 15 minutes.
//! - All unknown sources of an account together have ten guesses a minute. A known device has a delay of its own and does not share
//!   these ten, so its owner gets in while strangers guess. Passkeys are not guessed at, and have no delay.
//! - A guess is charged before it is checked, so parallel guesses gain nothing.
//! - Names without an account are counted like others.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use betanet_keys::same;
use betanet_machine::Time;
use betanet_wire::ChargeTo;
use betanet_wire::text::{base64url, unbase64url};
use zeroize::Zeroizing;

use crate::limit::Buckets;
use crate::password::Scratch;
use crate::secret::{Secret, ServerKey};
use crate::{Account, AccountId, Error, PasswordHash, password};

/// Most sources whose wrong guesses are counted.
pub const SOURCES_MAX: usize = 1 << 14;
/// Guesses a minute that all unknown sources of an account have together.
pub const GUESSES_PER_MINUTE: u64 = 10;
/// Wrong guesses without a delay.
const FREE: u32 = 3;
/// Longest delay.
const DELAY_MAX: Duration = Duration::from_secs(900);
/// Time after which a source's wrong guesses are forgotten.
const FORGET: Duration = Duration::from_secs(86_400);
/// Wrong guesses after which a known device counts as unknown.
const DEVICE_GUESSES: u32 = 10;
/// Life of a device's token, in ms.
const DEVICE_LIFE: u64 = 180 * 86_400_000;
/// Longest name that is hashed.
const NAME_MAX: usize = 256;

/// Where a guess comes from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// An address.
    Address(ChargeTo),
    /// A device that has logged in to the account before.
    Device([u8; 16]),
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    account: [u8; 16],
    source: Source,
}

#[derive(Clone, Copy, Debug)]
struct Wrong {
    count: u32,
    last: Time,
    until: Time,
}

/// A guess that was let through. Its outcome goes to [`Logins::right`], if it was right; a wrong one is charged already.
#[derive(Debug)]
#[must_use]
pub struct Attempt(Place);

/// The counts of wrong guesses. Soft state: it is not journaled.
#[derive(Debug)]
pub struct Logins {
    key: ServerKey,
    wrong: BTreeMap<Place, Wrong>,
    strangers: Buckets<[u8; 16]>,
}

fn delay(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(n) => Duration::from_secs(1_u64 << n.min(10)).min(DELAY_MAX),
    }
}

impl Logins {
    /// Starts to count. The key hides which names are asked for from whoever sees the memory's layout or its timing.
    #[must_use]
    pub const fn new(key: ServerKey) -> Self {
        Self {
            key,
            wrong: BTreeMap::new(),
            strangers: Buckets::new(GUESSES_PER_MINUTE),
        }
    }

    fn account(&self, name: &str) -> [u8; 16] {
        let name = name.as_bytes();
        let name = name.get(..NAME_MAX).unwrap_or(name);
        let mac = self.key.mac("login", &[name]);
        let mut out = [0; 16];
        out.copy_from_slice(&mac[..16]);
        out
    }

    /// Asks whether a guess at the password of a name may be checked now, and charges it. `device` is that of [`Devices::check`].
    ///
    /// # Errors
    ///
    /// [`Error::Wait`]; nothing is charged then.
    pub fn begin(
        &mut self,
        now: Time,
        name: &str,
        address: ChargeTo,
        device: Option<[u8; 16]>,
    ) -> Result<Attempt, Error> {
        let account = self.account(name);
        let own = device
            .map(Source::Device)
            .map(|source| Place { account, source });
        let worn = |p: &Place| self.wrong.get(p).is_some_and(|w| w.count >= DEVICE_GUESSES);
        let own = own.filter(|p| !worn(p));
        let source = Source::Address(address);
        let place = own.unwrap_or(Place { account, source });
        let known = self.wrong.get(&place);
        let known = known.filter(|w| now - w.last < FORGET).copied();
        if let Some(wrong) = known.filter(|w| w.until > now) {
            let left = (wrong.until - now).as_micros().div_ceil(1000);
            return Err(Error::Wait(u64::try_from(left).unwrap_or(u64::MAX)));
        }
        if own.is_none() {
            self.strangers.take(now, account)?;
        }
        let count = known.map_or(0, |w| w.count).saturating_add(1);
        let until = now + delay(count);
        self.make_room(now, place);
        let last = now;
        self.wrong.insert(place, Wrong { count, last, until });
        Ok(Attempt(place))
    }

    /// Takes the count of a source back, because its guess was right.
    pub fn right(&mut self, attempt: Attempt) {
        self.wrong.remove(&attempt.0);
    }

    /// Number of sources that are counted.
    #[must_use]
    pub fn counted(&self) -> usize {
        self.wrong.len()
    }

    /// In a full table, the source with the fewest wrong guesses makes room, the oldest of several.
    fn make_room(&mut self, now: Time, place: Place) {
        if self.wrong.len() < SOURCES_MAX || self.wrong.contains_key(&place) {
            return;
        }
        self.wrong.retain(|_, w| now - w.last < FORGET);
        if self.wrong.len() >= SOURCES_MAX {
            let least = self.wrong.iter().min_by_key(|(_, w)| (w.count, w.last));
            if let Some(place) = least.map(|(p, _)| *p) {
                self.wrong.remove(&place);
            }
        }
    }
}

/// A guess to be checked: heavy arithmetic without state, for another thread. It is the same work for unknown and for disabled
/// accounts, and for those without a password.
pub struct Guess {
    hash: Option<PasswordHash>,
    password: Zeroizing<String>,
}

impl Guess {
    /// A guess at the password of an account; `None` if no account has the name.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] for more than 128 characters, which no password has.
    pub fn new(account: Option<&Account>, password: &str) -> Result<Self, Error> {
        if password::is_too_long(password) {
            return Err(Error::Credentials);
        }
        let live = account.filter(|a| !a.disabled);
        Ok(Self {
            hash: live.and_then(|a| a.password),
            password: Zeroizing::new(password.into()),
        })
    }

    /// Checks the guess. It takes 19 MiB and some ten milliseconds: at most two at once.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`], or [`Error::Bug`].
    pub fn check(&self, scratch: &mut Scratch) -> Result<(), Error> {
        password::check(&self.password, self.hash, scratch)
    }
}

impl fmt::Debug for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guess(…)")
    }
}

/// Tokens of devices that have logged in before. They open nothing: they only tell their owner's guesses from those of strangers.
#[derive(Clone, Debug)]
pub struct Devices(ServerKey);

const DEVICE: usize = 16 + 8 + 32;

impl Devices {
    /// Tokens under this key.
    #[must_use]
    pub const fn new(key: ServerKey) -> Self {
        Self(key)
    }

    fn tag(&self, account: AccountId, id: &[u8; 16], made: &[u8; 8]) -> [u8; 32] {
        *self.0.mac("device", &[&account.0, id, made])
    }

    /// A token for a browser that has just logged in; `id` is random.
    #[must_use]
    pub fn issue(&self, now_ms: u64, account: AccountId, id: [u8; 16]) -> Secret {
        let made = now_ms.to_be_bytes();
        let tag = self.tag(account, &id, &made);
        Secret::new(base64url(&[&id[..], &made, &tag].concat()))
    }

    /// The device that a token names for this account; `None` for another account, or none. It expires after 180 days.
    #[must_use]
    pub fn check(&self, now_ms: u64, account: Option<AccountId>, token: &str) -> Option<[u8; 16]> {
        if token.len() != (DEVICE * 4).div_ceil(3) {
            return None;
        }
        let bytes = unbase64url(token)?;
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        let (made, tag) = rest.split_first_chunk::<8>()?;
        // An unknown name costs the same.
        let right = self.tag(account.unwrap_or(AccountId([0; 16])), id, made);
        let fresh = now_ms.saturating_sub(u64::from_be_bytes(*made)) < DEVICE_LIFE;
        (same(tag, &right) && fresh && account.is_some()).then_some(*id)
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    fn logins() -> Logins {
        Logins::new(ServerKey::new([1; 32]))
    }

    fn v4(n: u32) -> ChargeTo {
        ChargeTo::V4(n.to_be_bytes())
    }

    fn ms(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn the_delay_grows_to_its_bound_and_a_right_guess_ends_it() {
        let mut logins = logins();
        let (mut now, mut waits) = (0, alloc::vec::Vec::new());
        for _ in 0..16 {
            let attempt = loop {
                match logins.begin(ms(now), "a", v4(1), None) {
                    Ok(attempt) => break attempt,
                    Err(Error::Wait(wait)) => now += wait,
                    Err(e) => panic!("{e}"),
                }
            };
            let next = logins.begin(ms(now), "a", v4(1), None);
            if let Err(Error::Wait(wait)) = next {
                waits.push(wait / 1000);
            } else if waits.len() > 13 {
                logins.right(attempt);
            }
        }
        assert_eq!(waits[..11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]);
        let late = now + 900_000;
        let attempt = logins.begin(ms(late), "a", v4(1), None).unwrap();
        logins.right(attempt);
        assert_eq!(logins.counted(), 0);
        assert!(logins.begin(ms(late), "a", v4(1), None).is_ok());
    }

    #[test]
    fn strangers_lock_nobody_out_of_a_known_device() {
        let mut logins = logins();
        let devices = Devices::new(ServerKey::new([2; 32]));
        let id = AccountId([5; 16]);
        let token = devices.issue(1_000, id, [9; 16]);
        let mut through = 0;
        // Ten thousand guesses from as many addresses within ten minutes.
        for n in 0_u32..10_000 {
            let now = ms(u64::from(n) * 60);
            through += u32::from(logins.begin(now, "owner", v4(n), None).is_ok());
            if n % 1_000 == 999 {
                let device = devices.check(2_000, Some(id), token.expose());
                let attempt = logins.begin(now, "owner", v4(n), device).unwrap();
                logins.right(attempt);
            }
        }
        assert!((100..=111).contains(&through), "{through}");
        // Another account is not touched.
        assert!(logins.begin(ms(0), "other", v4(1), None).is_ok());
    }

    #[test]
    fn a_device_that_guesses_wrong_becomes_a_stranger() {
        let mut logins = logins();
        let mut now = 0;
        let mut guesses = 0;
        while guesses < 10 {
            match logins.begin(ms(now), "a", v4(1), Some([1; 16])) {
                Ok(_) => guesses += 1,
                Err(Error::Wait(wait)) => now += wait,
                Err(e) => panic!("{e}"),
            }
        }
        // The stranger's share is untouched until now, and counts from here on.
        assert_eq!(logins.strangers.len(), 0);
        assert!(logins.begin(ms(now), "a", v4(1), Some([1; 16])).is_ok());
        assert_eq!(logins.strangers.len(), 1);
    }

    #[test]
    fn a_devices_token_is_its_accounts_and_ends() {
        let devices = Devices::new(ServerKey::new([2; 32]));
        let (id, other) = (AccountId([5; 16]), AccountId([6; 16]));
        let token = devices.issue(1_000, id, [9; 16]);
        let check = |now, account, text: &str| devices.check(now, account, text);
        assert_eq!(check(1_000, Some(id), token.expose()), Some([9; 16]));
        assert_eq!(check(1_000, Some(other), token.expose()), None);
        assert_eq!(check(1_000, None, token.expose()), None);
        assert_eq!(check(1_000 + DEVICE_LIFE, Some(id), token.expose()), None);
        for bad in [
            "",
            "x",
            &format!("{}A", token.expose()),
            &token.expose()[1..],
        ] {
            assert_eq!(check(1_000, Some(id), bad), None);
        }
        let zero = Devices::new(ServerKey::new([2; 32])).issue(1, AccountId([0; 16]), [1; 16]);
        assert_eq!(check(1, None, zero.expose()), None);
    }

    #[test]
    fn counted_sources_are_bounded_and_the_worst_stay() {
        let mut logins = logins();
        for _ in 0..3 {
            let _ = logins.begin(ms(0), "target", v4(1), None);
        }
        for n in 0..=u32::try_from(SOURCES_MAX).unwrap() {
            let _ = logins.begin(ms(1 + u64::from(n)), &format!("n{n}"), v4(2), None);
        }
        assert_eq!(logins.counted(), SOURCES_MAX);
        assert!(logins.begin(ms(100), "target", v4(1), None).is_err());
    }

    #[test]
    fn a_guess_is_right_for_its_account_only() {
        let hash = password::Password::new("xK9!rQ2#vB7z", &[], |_, _| 4).unwrap();
        let mut scratch = Scratch::default();
        let hash = hash.hash([7; 16], &mut scratch).unwrap();
        let mut account = crate::account::tests::account("amelie");
        account.password = Some(hash);
        let mut check =
            |a: Option<&Account>, p: &str| Guess::new(a, p).and_then(|g| g.check(&mut scratch));
        assert_eq!(check(Some(&account), "xK9!rQ2#vB7z"), Ok(()));
        let wrong = Err(Error::Credentials);
        assert_eq!(check(Some(&account), "xK9!rQ2#vB7Z"), wrong);
        assert_eq!(check(None, "xK9!rQ2#vB7z"), wrong);
        account.disabled = true;
        assert_eq!(check(Some(&account), "xK9!rQ2#vB7z"), wrong);
        account.disabled = false;
        account.password = None;
        assert_eq!(check(Some(&account), "xK9!rQ2#vB7z"), wrong);
        assert_eq!(check(None, ""), wrong);
        assert_eq!(
            Guess::new(None, &"x".repeat(129)).err(),
            Some(Error::Credentials)
        );
    }

    proptest! {
        /// Parallel guesses from one source gain nothing: between two instants there are only as many as the delays allow.
        #[test]
        fn guesses_from_one_source_are_few(steps in prop::collection::vec(0_u64..2_000, 1..300)) {
            let mut logins = logins();
            let (mut now, mut through) = (0, 0);
            for step in steps {
                now += step;
                through += u32::from(logins.begin(ms(now), "a", v4(1), None).is_ok());
            }
            // 1 + 2 + 4 … s of waiting: n guesses need 2^(n - 3) - 1 seconds.
            let seconds = now / 1000 + 1;
            prop_assert!(u64::from(through) <= u64::from(seconds.ilog2()) + 4, "{through} in {seconds} s");
        }
    }
}
