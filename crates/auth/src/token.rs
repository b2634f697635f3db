//! API tokens: `bnat_` and 72 letters, of which the first 16 name the token and the last ones are check digits. The secret is stored
//! hashed.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use betanet_fog::Word;
use betanet_keys::{hash, same};
use betanet_machine::Rng;
use betanet_wire::text::{base32, unbase32};
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use crate::secret::{Secret, from_token, to_token};
use crate::{AccountId, Error, Permission, Permissions};

/// Prefix of an API token, by which scanners of source code can find it.
pub const PREFIX: &str = "bnat_";
/// Most tokens of one account.
pub const TOKENS_AN_ACCOUNT: usize = 64;
/// Most tokens.
pub const TOKENS_MAX: usize = 1 << 16;
/// Longest life of a token, in ms.
pub const LIFE_MAX: u64 = 366 * 86_400_000;
/// Time between two notes of a token's use, in ms, so that not each request is stored.
const NOTED: u64 = 60_000;
const ID: usize = 10;
const BODY: usize = ID + 32;

/// Public ID of a token: the first 16 letters after the prefix.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct TokenId([u8; ID]);

impl TokenId {
    /// Reads the 16 letters; `None` for another form.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() != 16 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        unbase32(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32(&self.0))
    }
}

impl cbor::Encode for TokenId {
    fn encode(&self, w: &mut cbor::Writer) {
        self.0.encode(w);
    }
}

impl<'a> cbor::Decode<'a> for TokenId {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        cbor::Decode::decode(r).map(Self)
    }
}

message! {
    /// An API token, as it is stored.
    pub struct ApiToken {
        /// ID.
        req "id" id: TokenId,
        /// Expiry, in UNIX milliseconds.
        req "exp" expires: u64,
        /// Generation of the account's credentials when it was made.
        req "gen" generation: u64,
        /// Creation, in UNIX milliseconds.
        req "made" made: u64,
        /// Name that its owner gave it: a word.
        req "name" name: String,
        /// Last noted use, in UNIX milliseconds; `None` before the first.
        opt "used" used: u64,
        /// Permissions that it leaves of its account's.
        req "scopes" scopes: Permissions,
        /// Hash of the secret.
        req "secret" secret: [u8; 32],
        /// Account.
        req "account" account: AccountId,
    }
}

impl ApiToken {
    /// The record to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }
}

/// A token as a client shows it, with right check digits.
pub struct Shown(Zeroizing<[u8; BODY]>);

impl Shown {
    /// Reads a token. A typing error is told from an unknown token without a look at the store.
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] for another form, or [`Error::Typing`].
    pub fn from_text(text: &str) -> Result<Self, Error> {
        from_token(PREFIX, text).map(Self)
    }

    fn id(&self) -> TokenId {
        let mut id = [0; ID];
        id.copy_from_slice(&self.0[..ID]);
        TokenId(id)
    }

    fn secret(&self) -> [u8; 32] {
        hash(&[b"BN-AUTH-TOKEN", self.0.as_slice()])
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({}…)", self.id())
    }
}

/// The API tokens. A change is told by its return, for the caller to store.
#[derive(Clone, Debug, Default)]
pub struct ApiTokens {
    all: BTreeMap<TokenId, ApiToken>,
    held: BTreeMap<AccountId, usize>,
}

/// Description of a token to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// Account.
    pub account: AccountId,
    /// Generation of the account's credentials.
    pub generation: u64,
    /// Name: a word of 1 to 63 characters.
    pub name: &'a str,
    /// Permissions that it leaves of its account's.
    pub scopes: Permissions,
    /// Expiry, in UNIX milliseconds.
    pub expires: u64,
}

impl ApiTokens {
    /// Puts a stored token back.
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::Exists`] or [`Error::Full`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.insert(cbor::from_slice(bytes).map_err(Error::Form)?)
    }

    fn insert(&mut self, token: ApiToken) -> Result<(), Error> {
        if self.all.contains_key(&token.id) {
            return Err(Error::Exists);
        }
        if self.all.len() >= TOKENS_MAX {
            return Err(Error::Full(TOKENS_MAX));
        }
        let held = self.held.entry(token.account).or_default();
        if *held >= TOKENS_AN_ACCOUNT {
            return Err(Error::Full(TOKENS_AN_ACCOUNT));
        }
        *held += 1;
        self.all.insert(token.id, token);
        Ok(())
    }

    /// Makes a token: its text, which is shown once, and its record. A token cannot manage accounts, nor make further tokens, unless
    /// its scopes say so.
    ///
    /// # Errors
    ///
    /// [`Error::Name`], [`Error::Lifetime`] or [`Error::Full`].
    pub fn make(
        &mut self,
        now_ms: u64,
        new: NewToken<'_>,
        rng: &mut Rng,
    ) -> Result<(Secret, ApiToken), Error> {
        if new.name.is_empty() || !Word::is(new.name) {
            return Err(Error::Name);
        }
        let life = new.expires.checked_sub(now_ms).ok_or(Error::Lifetime)?;
        if life == 0 || life > LIFE_MAX {
            return Err(Error::Lifetime);
        }
        let shown = Shown(Zeroizing::new(rng.array()));
        let token = ApiToken {
            id: shown.id(),
            expires: new.expires,
            generation: new.generation,
            made: now_ms,
            name: new.name.into(),
            used: None,
            scopes: new.scopes,
            secret: shown.secret(),
            account: new.account,
        };
        self.insert(token.clone())?;
        Ok((to_token(PREFIX, shown.0.as_slice()), token))
    }

    /// The record of a token that a client shows. The caller goes on with [`crate::Accounts::live`].
    ///
    /// # Errors
    ///
    /// [`Error::Credentials`] or [`Error::Expired`].
    pub fn get(&self, now_ms: u64, shown: &Shown) -> Result<&ApiToken, Error> {
        let token = self.all.get(&shown.id());
        // The work is the same for unknown tokens; their ID is not secret.
        let right = same(token.map_or(&[0; 32], |t| &t.secret), &shown.secret());
        let token = token.filter(|_| right).ok_or(Error::Credentials)?;
        match now_ms < token.expires {
            true => Ok(token),
            false => Err(Error::Expired),
        }
    }

    /// Notes that a token was used; its record if it is to be stored again, once a minute at most.
    pub fn note(&mut self, now_ms: u64, id: TokenId) -> Option<&ApiToken> {
        let token = self.all.get_mut(&id)?;
        if token
            .used
            .is_some_and(|used| now_ms.saturating_sub(used) < NOTED)
        {
            return None;
        }
        token.used = Some(now_ms);
        Some(token)
    }

    /// The tokens of an account.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &ApiToken> {
        self.all.values().filter(move |t| t.account == account)
    }

    /// Ends a token of this account.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], for those of others too.
    pub fn end(&mut self, account: AccountId, id: TokenId) -> Result<ApiToken, Error> {
        let own = self.all.get(&id).is_some_and(|t| t.account == account);
        let token = own.then(|| self.remove(id)).flatten();
        token.ok_or(Error::Unknown)
    }

    fn remove(&mut self, id: TokenId) -> Option<ApiToken> {
        let token = self.all.remove(&id)?;
        if let Some(held) = self.held.get_mut(&token.account) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&token.account);
            }
        }
        Some(token)
    }

    /// Ends tokens that have expired, and those that `live` refuses; their IDs.
    pub fn sweep(&mut self, now_ms: u64, live: impl Fn(&ApiToken) -> bool) -> Vec<TokenId> {
        let dead = |t: &&ApiToken| now_ms >= t.expires || !live(t);
        let dead: Vec<TokenId> = self.all.values().filter(dead).map(|t| t.id).collect();
        for id in &dead {
            self.remove(*id);
        }
        dead
    }
}

/// Checks scopes that a caller asks for: a token or session gives on only scopes that it has itself.
///
/// # Errors
///
/// [`Error::Denied`].
pub fn narrower(own: Permissions, asked: Permissions) -> Result<(), Error> {
    let more: Option<Permission> = asked.iter().find(|p| !own.has(*p));
    match more {
        None => Ok(()),
        Some(_) => Err(Error::Denied),
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString as _;

    use betanet_machine::Seed;

    use super::*;

    const A: AccountId = AccountId([1; 16]);
    const B: AccountId = AccountId([2; 16]);

    fn new(account: AccountId) -> NewToken<'static> {
        NewToken {
            account,
            generation: 0,
            name: "ci",
            scopes: Permissions::of(&[Permission::Look]),
            expires: 5_000,
        }
    }

    fn rng() -> Rng {
        Rng::new(&Seed::from_number(5))
    }

    #[test]
    fn a_token_is_known_by_its_secret_until_it_expires() {
        let (mut all, mut rng) = (ApiTokens::default(), rng());
        let (text, record) = all.make(1_000, new(A), &mut rng).unwrap();
        let text = text.expose().to_string();
        assert_eq!(text.len(), 77);
        assert!(text.starts_with(&format!("bnat_{}", record.id)));
        assert_eq!(TokenId::from_text(&text[5..21]), Some(record.id));
        let shown = Shown::from_text(&text).unwrap();
        assert_eq!(all.get(1_000, &shown), Ok(&record));
        assert_eq!(all.get(4_999, &shown), Ok(&record));
        assert_eq!(all.get(5_000, &shown).err(), Some(Error::Expired));
        assert_eq!(format!("{shown:?}"), format!("Shown({}…)", record.id));
        // The right ID with another secret.
        let mut body = *shown.0;
        body[41] ^= 1;
        let forged = to_token(PREFIX, &body);
        let forged = Shown::from_text(forged.expose()).unwrap();
        assert_eq!(all.get(1_000, &forged).err(), Some(Error::Credentials));
        let other = ApiTokens::default();
        assert_eq!(other.get(1_000, &shown).err(), Some(Error::Credentials));
        // Neither the text nor the secret is stored.
        let bytes = record.to_bytes();
        assert!(
            !bytes
                .windows(32)
                .any(|w| *w == body[10..42] || *w == shown.0[10..42])
        );
    }

    #[test]
    fn a_typing_error_is_told_and_another_form_refused() {
        let (text, _) = ApiTokens::default().make(0, new(A), &mut rng()).unwrap();
        let text = text.expose();
        let wrong = text.replace(&text[30..31], if &text[30..31] == "a" { "b" } else { "a" });
        assert_eq!(Shown::from_text(&wrong).err(), Some(Error::Typing));
        for bad in [
            "",
            "bnat_",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}a"),
            &format!(" {text}"),
        ] {
            assert_eq!(
                Shown::from_text(bad).err(),
                Some(Error::Credentials),
                "{bad}"
            );
        }
    }

    #[test]
    fn an_account_ends_its_own_tokens_only() {
        let (mut all, mut rng) = (ApiTokens::default(), rng());
        let (text, record) = all.make(0, new(A), &mut rng).unwrap();
        assert_eq!(all.end(B, record.id), Err(Error::Unknown));
        assert_eq!(all.of(A).count(), 1);
        assert_eq!(all.end(A, record.id), Ok(record));
        let shown = Shown::from_text(text.expose()).unwrap();
        assert_eq!(all.get(0, &shown).err(), Some(Error::Credentials));
        all.make(0, new(A), &mut rng).unwrap();
        assert_eq!(all.sweep(4_999, |_| true).len(), 0);
        assert_eq!(all.sweep(5_000, |_| true).len(), 1);
        assert!(all.held.is_empty());
    }

    #[test]
    fn use_is_noted_once_a_minute() {
        let (mut all, mut rng) = (ApiTokens::default(), rng());
        let id = all.make(0, new(A), &mut rng).unwrap().1.id;
        assert_eq!(all.note(10, id).unwrap().used, Some(10));
        assert_eq!(all.note(60_009, id), None);
        assert_eq!(all.note(60_010, id).unwrap().used, Some(60_010));
    }

    #[test]
    fn lives_and_names_are_checked() {
        let (mut all, mut rng) = (ApiTokens::default(), rng());
        let mut make = |name, expires| {
            let new = NewToken {
                name,
                expires,
                ..new(A)
            };
            all.make(1_000, new, &mut rng).err()
        };
        assert_eq!(make("ci", 1_000), Some(Error::Lifetime));
        assert_eq!(make("ci", 999), Some(Error::Lifetime));
        assert_eq!(make("ci", 1_001 + LIFE_MAX), Some(Error::Lifetime));
        assert_eq!(make("ci", 1_000 + LIFE_MAX), None);
        assert_eq!(make("<b>", 2_000), Some(Error::Name));
        assert_eq!(make("", 2_000), Some(Error::Name));
        let own = Permissions::of(&[Permission::Look]);
        assert_eq!(narrower(own, own), Ok(()));
        assert_eq!(narrower(own, Permissions::ALL), Err(Error::Denied));
    }

    #[test]
    fn tokens_are_bounded_and_stored_ones_come_back() {
        let (mut all, mut rng) = (ApiTokens::default(), rng());
        for _ in 0..TOKENS_AN_ACCOUNT {
            all.make(0, new(A), &mut rng).unwrap();
        }
        let full = all.make(0, new(A), &mut rng).err();
        assert_eq!(full, Some(Error::Full(TOKENS_AN_ACCOUNT)));
        let (text, record) = all.make(0, new(B), &mut rng).unwrap();
        let mut again = ApiTokens::default();
        again.restore(&record.to_bytes()).unwrap();
        assert_eq!(again.restore(&record.to_bytes()), Err(Error::Exists));
        let shown = Shown::from_text(text.expose()).unwrap();
        assert_eq!(again.get(0, &shown), Ok(&record));
        let mut n = 0_u128;
        while all.all.len() < TOKENS_MAX {
            n += 1;
            all.make(0, new(AccountId((n << 64).to_be_bytes())), &mut rng)
                .unwrap();
        }
        let full = all.make(0, new(AccountId([7; 16])), &mut rng).err();
        assert_eq!(full, Some(Error::Full(TOKENS_MAX)));
    }
}
