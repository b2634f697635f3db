//! Refresh tokens: `bnrt_` and 80 letters. Each use gives a successor and spends the token; a token that is used again later ends its
//! family, because then two parties have it.
//!
//! A token is its family, its number, and a keyed hash of both. So the successor that was given within the last 20 s is given again, to
//! requests that run in parallel or whose answer was lost, although no token is stored.

use alloc::vec::Vec;

use betanet_keys::same;
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use crate::owned::{ByAccount, Owned};
use crate::secret::{Secret, ServerKey, from_token, to_token};
use crate::{AccountId, Error, Permissions};

/// Prefix of a refresh token.
pub const PREFIX: &str = "bnrt_";
/// Life of a refresh token, in ms.
pub const LIFE: u64 = 30 * 86_400_000;
/// Longest life of a family, in ms.
pub const FAMILY_LIFE: u64 = 180 * 86_400_000;
/// Time within which a spent token gives its successor again, in ms.
pub const AGAIN: u64 = 20_000;
/// Most families of one account; a further login ends the oldest.
pub const FAMILIES_AN_ACCOUNT: usize = 16;
/// Most families.
pub const FAMILIES_MAX: usize = 1 << 16;
const ID: usize = 10;
const NUMBER: usize = 5;
const BODY: usize = ID + NUMBER + 32;

/// ID of a family of refresh tokens.
pub type FamilyId = [u8; ID];

message! {
    /// A family, as it is stored.
    pub struct Family {
        /// ID.
        req "id" id: FamilyId,
        /// Number of the newest token.
        req "no" number: u64,
        /// Generation of the account's credentials at login.
        req "gen" generation: u64,
        /// Login, in UNIX milliseconds.
        req "made" made: u64,
        /// Permissions that its tokens leave of their account's.
        req "scopes" scopes: Permissions,
        /// Issue of the newest token, in UNIX milliseconds.
        req "turned" turned: u64,
        /// Account.
        req "account" account: AccountId,
    }
}

impl Family {
    /// The record to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    const fn lives(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.turned) < LIFE && now_ms.saturating_sub(self.made) < FAMILY_LIFE
    }
}

/// Outcome of a refresh.
#[derive(Debug)]
pub struct Refreshed {
    /// The successor.
    pub token: Secret,
    /// The family as it is now. Store it before the answer leaves.
    pub family: Family,
}

/// A family that has ended: the reason, and its ID, whose record the caller removes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// [`Error::Credentials`], [`Error::Expired`] or [`Error::Reused`].
    pub why: Error,
    /// The family that ended just now; `None` if none did.
    pub family: Option<FamilyId>,
}

const fn refused(why: Error) -> Ended {
    Ended { why, family: None }
}

/// The families of refresh tokens.
#[derive(Clone, Debug)]
pub struct Families {
    key: ServerKey,
    all: ByAccount<Family>,
}

impl Owned for Family {
    type Id = FamilyId;
    const BOUNDS: (usize, usize) = (FAMILIES_MAX, FAMILIES_AN_ACCOUNT);

    fn id(&self) -> FamilyId {
        self.id
    }

    fn account(&self) -> AccountId {
        self.account
    }

    fn since(&self) -> u64 {
        self.turned
    }
}

impl Families {
    /// No families, under this key.
    #[must_use]
    pub const fn new(key: ServerKey) -> Self {
        Self {
            key,
            all: ByAccount::new(),
        }
    }

    /// Puts a stored family back.
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::Exists`] or [`Error::Full`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.all
            .restore(cbor::from_slice(bytes).map_err(Error::Form)?)
    }

    fn body(&self, id: &FamilyId, number: u64) -> Zeroizing<[u8; BODY]> {
        let number = number.to_be_bytes();
        let mut out = Zeroizing::new([0; BODY]);
        out[..ID].copy_from_slice(id);
        out[ID..ID + NUMBER].copy_from_slice(&number[8 - NUMBER..]);
        let mac = self.key.mac("refresh", &[&out[..ID + NUMBER]]);
        out[ID + NUMBER..].copy_from_slice(mac.as_slice());
        out
    }

    fn token(&self, id: &FamilyId, number: u64) -> Secret {
        to_token(PREFIX, self.body(id, number).as_slice())
    }

    /// Begins a family after a login: its first token, its record, and the family that ended because the account had the most. `id` is
    /// random.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] or [`Error::Full`].
    pub fn begin(
        &mut self,
        now_ms: u64,
        account: AccountId,
        generation: u64,
        scopes: Permissions,
        id: FamilyId,
    ) -> Result<(Refreshed, Option<FamilyId>), Error> {
        if self.all.get(&id).is_some() {
            return Err(Error::Exists);
        }
        let ended = self.all.make_room(account);
        let family = Family {
            id,
            number: 0,
            generation,
            made: now_ms,
            turned: now_ms,
            scopes,
            account,
        };
        self.all.add(family.clone())?;
        let token = self.token(&id, 0);
        Ok((Refreshed { token, family }, ended))
    }

    /// Uses a refresh token. The caller goes on with [`crate::Accounts::live`].
    ///
    /// # Errors
    ///
    /// [`Ended`]. A token with a wrong keyed hash ends nothing, so that a stranger ends no family by its ID.
    pub fn refresh(&mut self, now_ms: u64, token: &str) -> Result<Refreshed, Ended> {
        let body = from_token::<BODY>(PREFIX, token).map_err(refused)?;
        let mut id = [0; ID];
        id.copy_from_slice(&body[..ID]);
        let digits = body[ID..ID + NUMBER].iter();
        let number = digits.fold(0, |n: u64, d| n << 8 | u64::from(*d));
        if !same(self.body(&id, number).as_slice(), body.as_slice()) {
            return Err(refused(Error::Credentials));
        }
        let family = self.all.get_mut(&id).ok_or(refused(Error::Expired))?;
        let why = if !family.lives(now_ms) {
            Some(Error::Expired)
        } else if number == family.number {
            family.number = family.number.saturating_add(1);
            family.turned = now_ms;
            None
        } else if number + 1 == family.number && now_ms.saturating_sub(family.turned) <= AGAIN {
            None
        } else {
            Some(Error::Reused)
        };
        if let Some(why) = why {
            self.end(&id);
            let family = Some(id);
            return Err(Ended { why, family });
        }
        let family = family.clone();
        let token = self.token(&id, family.number);
        Ok(Refreshed { token, family })
    }

    /// Ends a family, at a logout.
    pub fn end(&mut self, id: &FamilyId) -> Option<Family> {
        self.all.remove(id)
    }

    /// Ends families that have expired, and those that `live` refuses; their IDs.
    pub fn sweep(&mut self, now_ms: u64, live: impl Fn(&Family) -> bool) -> Vec<FamilyId> {
        self.all.sweep(|f| !f.lives(now_ms) || !live(f))
    }

    /// Number of families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString as _};

    use proptest::prelude::*;

    use super::*;

    const A: AccountId = AccountId([1; 16]);

    fn families() -> Families {
        Families::new(ServerKey::new([6; 32]))
    }

    fn begin(all: &mut Families, now: u64, n: u8) -> String {
        let begun = all.begin(now, A, 3, Permissions::ALL, [n; ID]).unwrap();
        begun.0.token.expose().to_string()
    }

    fn turn(all: &mut Families, now: u64, token: &str) -> Result<String, Ended> {
        let done = all.refresh(now, token)?;
        assert_eq!((done.family.account, done.family.generation), (A, 3));
        Ok(done.token.expose().to_string())
    }

    fn reused(n: u8) -> Result<String, Ended> {
        let (why, family) = (Error::Reused, Some([n; ID]));
        Err(Ended { why, family })
    }

    #[test]
    fn twenty_parallel_refreshes_get_one_successor() {
        let mut all = families();
        let first = begin(&mut all, 0, 1);
        let second = turn(&mut all, 1_000, &first).unwrap();
        assert_ne!(first, second);
        for n in 0..20 {
            assert_eq!(
                turn(&mut all, 1_000 + n * 1_000, &first),
                Ok(second.clone())
            );
        }
        assert_eq!(turn(&mut all, 21_000, &first), Ok(second.clone()));
        let third = turn(&mut all, 21_000, &second).unwrap();
        // The one before the last is spent for good, however early it comes.
        assert_eq!(turn(&mut all, 21_000, &first), reused(1));
        let gone = Err(refused(Error::Expired));
        assert_eq!(turn(&mut all, 21_000, &third), gone);
        assert!(all.is_empty());
    }

    #[test]
    fn a_late_reuse_ends_the_family_and_no_other() {
        let mut all = families();
        let (one, two) = (begin(&mut all, 0, 1), begin(&mut all, 0, 2));
        let next = turn(&mut all, 1_000, &one).unwrap();
        assert_eq!(turn(&mut all, 21_001, &one), reused(1));
        assert_eq!(turn(&mut all, 21_001, &next), Err(refused(Error::Expired)));
        assert!(turn(&mut all, 21_001, &two).is_ok());
    }

    #[test]
    fn a_token_ends_after_30_days_and_a_family_after_180() {
        let mut all = families();
        let mut token = begin(&mut all, 0, 1);
        let ended = |n: u8| {
            Err(Ended {
                why: Error::Expired,
                family: Some([n; ID]),
            })
        };
        for n in 1..=6 {
            let now = n * (LIFE - 1);
            token = turn(&mut all, now, &token).unwrap();
        }
        assert_eq!(turn(&mut all, FAMILY_LIFE, &token), ended(1));
        let token = begin(&mut all, 0, 2);
        assert_eq!(turn(&mut all, LIFE, &token), ended(2));
        begin(&mut all, 0, 3);
        assert_eq!(all.sweep(LIFE, |_| true), [[3; ID]]);
    }

    #[test]
    fn a_forged_token_ends_nothing() {
        let mut all = families();
        let first = begin(&mut all, 0, 1);
        let second = turn(&mut all, 0, &first).unwrap();
        let mut body = *from_token::<BODY>(PREFIX, &first).unwrap();
        body[BODY - 1] ^= 1;
        let forged = to_token(PREFIX, &body);
        let wrong = Err(refused(Error::Credentials));
        assert_eq!(turn(&mut all, 99_000, forged.expose()), wrong);
        // A number that was never given, under another key.
        let other = Families::new(ServerKey::new([7; 32])).token(&[1; ID], 9);
        assert_eq!(turn(&mut all, 99_000, other.expose()), wrong);
        assert_eq!(turn(&mut all, 99_000, "bnrt_"), wrong);
        assert!(turn(&mut all, 99_000, &second).is_ok());
    }

    #[test]
    fn a_restored_family_goes_on_and_a_rolled_back_one_ends() {
        let mut all = families();
        let first = begin(&mut all, 0, 1);
        let old = all.all.get(&[1; ID]).unwrap().to_bytes();
        let second = all.refresh(5, &first).unwrap();
        let mut again = families();
        again.restore(&second.family.to_bytes()).unwrap();
        assert_eq!(again.restore(&old), Err(Error::Exists));
        assert!(turn(&mut again, 6, second.token.expose()).is_ok());
        let mut back = families();
        back.restore(&old).unwrap();
        assert_eq!(turn(&mut back, 6, second.token.expose()), reused(1));
    }

    #[test]
    fn families_are_bounded_and_the_oldest_of_an_account_makes_room() {
        let mut all = families();
        for n in 0..16 {
            begin(&mut all, u64::from(n), n);
        }
        let more = all.begin(99, A, 0, Permissions::ALL, [99; ID]).unwrap();
        assert_eq!(more.1, Some([0; ID]));
        assert_eq!(all.len(), FAMILIES_AN_ACCOUNT);
        let mut n = 0_u64;
        while all.len() < FAMILIES_MAX {
            n += 1;
            let mut id = [0xff; ID];
            id[..8].copy_from_slice(&n.to_be_bytes());
            let account = AccountId((u128::from(n) << 64).to_be_bytes());
            all.begin(0, account, 0, Permissions::ALL, id).unwrap();
        }
        let full = all.begin(0, AccountId([9; 16]), 0, Permissions::ALL, [98; ID]);
        assert_eq!(full.err(), Some(Error::Full(FAMILIES_MAX)));
    }

    proptest! {
        /// A thief who has any token of the owner: as soon as both have used their tokens, with more than 20 s between, the family ends.
        #[test]
        fn a_thief_and_an_owner_are_not_both_served(
            before in 0_usize..5, gap in 20_001_u64..1_000_000, more in 1_u64..20_000,
        ) {
            let mut all = families();
            let mut now = 0;
            let mut token = begin(&mut all, now, 1);
            for _ in 0..before {
                now += 30_000;
                token = turn(&mut all, now, &token).unwrap();
            }
            let stolen = token.clone();
            now += more;
            let one = turn(&mut all, now, &token).unwrap();
            now += gap;
            // Whoever comes second with the old token ends it for both.
            prop_assert_eq!(turn(&mut all, now, &stolen), reused(1));
            prop_assert!(turn(&mut all, now, &one).is_err());
            prop_assert!(all.is_empty());
        }
    }
}
