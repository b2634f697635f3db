//! Limits of requests: token buckets in bounded tables.

use alloc::collections::BTreeMap;

use betanet_machine::Time;
use betanet_wire::ChargeTo;

use crate::words::words;
use crate::{AccountId, Error};

/// Most parties that one limit counts. Those beyond share one bucket.
pub const PAYERS_MAX: usize = 1 << 14;
/// Shortest time between two searches of a full table, in µs.
const SWEEP: u64 = 1_000_000;
const MINUTE: u64 = 60_000_000;

words! {
    /// A limit.
    pub enum Class {
        /// Logins and refreshes: 30 a minute from an address. [`crate::login`] counts those of an account.
        Login = "login",
        /// Requests that may change something: 60 a minute.
        Write = "write",
        /// Other requests: 600 a minute.
        Read = "read",
    }
}

impl Class {
    /// Requests a minute.
    #[must_use]
    pub const fn per_minute(self) -> u64 {
        match self {
            Self::Login => 30,
            Self::Write => 60,
            Self::Read => 600,
        }
    }
}

/// The party that a request is charged to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Payer {
    /// A verified account.
    Account(AccountId),
    /// An address, or a /56 of IPv6.
    Address(ChargeTo),
}

/// Buckets of one rate. A full bucket holds the requests of a minute.
#[derive(Clone, Debug)]
pub struct Buckets<K> {
    /// µs between two requests at the steady rate.
    interval: u64,
    /// When each bucket is full again, in µs.
    full_at: BTreeMap<K, u64>,
    /// The bucket of those that the table has no room for.
    others: u64,
    swept: u64,
    refused: u64,
}

impl<K: Copy + Ord> Buckets<K> {
    /// Buckets of this many requests a minute.
    #[must_use]
    pub const fn new(per_minute: u64) -> Self {
        let per_minute = if per_minute == 0 { 1 } else { per_minute };
        Self {
            interval: MINUTE / per_minute,
            full_at: BTreeMap::new(),
            others: 0,
            swept: 0,
            refused: 0,
        }
    }

    /// Takes one request from a bucket.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`]; the refused request is not charged.
    pub fn take(&mut self, now: Time, key: K) -> Result<(), Error> {
        self.take_part(now, key, 1)
    }

    /// Takes one request of a party that may send `factor` times as many.
    ///
    /// # Errors
    ///
    /// See [`Buckets::take`].
    pub fn take_part(&mut self, now: Time, key: K, factor: u64) -> Result<(), Error> {
        let now = now.as_micros();
        let interval = (self.interval / factor.max(1)).max(1);
        if self.full_at.len() >= PAYERS_MAX && !self.full_at.contains_key(&key) {
            self.sweep(now);
        }
        let room = self.full_at.len() < PAYERS_MAX;
        let bucket = match self.full_at.get_mut(&key) {
            Some(bucket) => bucket,
            None if room => self.full_at.entry(key).or_insert(0),
            None => &mut self.others,
        };
        let after = (*bucket).max(now).saturating_add(interval);
        let over = after.saturating_sub(now.saturating_add(MINUTE));
        if over > 0 {
            self.refused += 1;
            return Err(Error::Wait(over.div_ceil(1000)));
        }
        *bucket = after;
        Ok(())
    }

    fn sweep(&mut self, now: u64) {
        if now < self.swept.saturating_add(SWEEP) {
            return;
        }
        self.swept = now;
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    /// Number of refused requests.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Number of buckets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Whether there are no buckets.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full_at.is_empty()
    }
}

/// The limits of all routes. Soft state: it is not journaled.
#[derive(Clone, Debug)]
pub struct Limits {
    login: Buckets<Payer>,
    write: Buckets<Payer>,
    read: Buckets<Payer>,
    /// How many times as many requests verified accounts have.
    factor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let of = |class: Class| Buckets::new(class.per_minute());
        Self {
            login: of(Class::Login),
            write: of(Class::Write),
            read: of(Class::Read),
            factor: 1,
        }
    }
}

impl Limits {
    /// Limits that give verified accounts so many times as many reads and writes, for fogs that programs manage. Logins and strangers
    /// keep theirs.
    #[must_use]
    pub fn for_accounts(factor: u64) -> Self {
        Self {
            factor,
            ..Self::default()
        }
    }

    /// Charges a request: to the account that verified credentials name, else to the address. Logins are always the address's.
    ///
    /// # Errors
    ///
    /// [`Error::Wait`].
    pub fn charge(
        &mut self,
        now: Time,
        class: Class,
        account: Option<AccountId>,
        address: ChargeTo,
    ) -> Result<(), Error> {
        let address = Payer::Address(address);
        let (payer, factor) = match account {
            Some(account) => (Payer::Account(account), self.factor),
            None => (address, 1),
        };
        match class {
            Class::Login => self.login.take(now, address),
            Class::Write => self.write.take_part(now, payer, factor),
            Class::Read => self.read.take_part(now, payer, factor),
        }
    }

    /// Number of refused requests of a class.
    #[must_use]
    pub const fn refused(&self, class: Class) -> u64 {
        match class {
            Class::Login => self.login.refused(),
            Class::Write => self.write.refused(),
            Class::Read => self.read.refused(),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn v4(n: u32) -> ChargeTo {
        ChargeTo::V4(n.to_be_bytes())
    }

    fn seconds(s: u64) -> Time {
        Time::ZERO + Duration::from_secs(s)
    }

    #[test]
    fn a_factor_is_for_accounts_alone() {
        let mut limits = Limits::for_accounts(10);
        let account = Some(AccountId([1; 16]));
        let mut count = |class, account| {
            let take = |_: &u32| limits.charge(seconds(0), class, account, v4(1)).is_ok();
            (0..10_000).take_while(take).count()
        };
        assert_eq!(count(Class::Write, account), 600);
        assert_eq!(count(Class::Read, account), 6_000);
        assert_eq!(count(Class::Write, None), 60);
        assert_eq!(count(Class::Login, account), 30);
    }

    #[test]
    fn each_class_has_its_figure_and_says_when_to_come_back() {
        for (class, figure) in [(Class::Login, 30), (Class::Write, 60), (Class::Read, 600)] {
            let mut limits = Limits::default();
            let mut taken = 0;
            let wait = loop {
                match limits.charge(seconds(5), class, None, v4(1)) {
                    Ok(()) => taken += 1,
                    Err(wait) => break wait,
                }
            };
            assert_eq!(taken, figure, "{class}");
            assert_eq!(wait, Error::Wait(60_000 / figure));
            assert_eq!(wait.retry_after(), Some((60 / figure).max(1)));
            assert!(limits.charge(seconds(5), class, None, v4(2)).is_ok());
            let later = seconds(5 + wait.retry_after().unwrap());
            assert!(limits.charge(later, class, None, v4(1)).is_ok());
            assert_eq!(limits.refused(class), 1);
        }
    }

    #[test]
    fn an_account_pays_for_itself_but_not_for_logins() {
        let mut limits = Limits::default();
        let id = Some(AccountId([1; 16]));
        for n in 0..60 {
            // Of one account from many addresses.
            assert!(limits.charge(Time::ZERO, Class::Write, id, v4(n)).is_ok());
        }
        assert!(limits.charge(Time::ZERO, Class::Write, id, v4(99)).is_err());
        assert!(
            limits
                .charge(Time::ZERO, Class::Write, None, v4(99))
                .is_ok()
        );
        for n in 0_u8..30 {
            let other = Some(AccountId([n; 16]));
            assert!(
                limits
                    .charge(Time::ZERO, Class::Login, other, v4(7))
                    .is_ok()
            );
        }
        let other = Some(AccountId([99; 16]));
        assert!(
            limits
                .charge(Time::ZERO, Class::Login, other, v4(7))
                .is_err()
        );
    }

    #[test]
    fn payers_beyond_the_bound_share_one_bucket_and_those_at_rest_are_forgotten() {
        let mut buckets = Buckets::new(2);
        let most = u32::try_from(PAYERS_MAX).unwrap();
        for n in 0..most {
            assert!(buckets.take(seconds(1), n).is_ok());
        }
        assert!(buckets.take(seconds(1), most).is_ok());
        assert!(buckets.take(seconds(1), most + 1).is_ok());
        assert!(buckets.take(seconds(1), most + 2).is_err());
        assert!(buckets.take(seconds(1), 0).is_ok(), "one that is counted");
        assert_eq!(buckets.len(), PAYERS_MAX);
        assert!(buckets.take(seconds(40), most + 2).is_ok());
        assert_eq!(buckets.len(), 2, "one that is not at rest, and the new one");
    }

    proptest! {
        /// No sequence of requests gets more than a minute's burst and the steady rate.
        #[test]
        fn a_bucket_never_gives_more_than_its_rate(
            steps in prop::collection::vec(0_u64..3_000_000, 1..400), per_minute in 1_u64..700,
        ) {
            let mut buckets = Buckets::new(per_minute);
            let (mut now, mut taken) = (0, 0_u64);
            for step in &steps {
                now += step;
                taken += u64::from(buckets.take(Time::from_micros(now), ()).is_ok());
                let most = per_minute + now / (MINUTE / per_minute);
                prop_assert!(taken <= most + 1, "{taken} > {most}");
            }
        }
    }
}
