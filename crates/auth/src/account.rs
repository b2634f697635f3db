//! Accounts: names, grants, passwords and passkeys.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_fog::Word;
use betanet_wire::{cbor, message};

use crate::webauthn::Passkey;
use crate::{AccountId, Error, Grant, Grants, PasskeyFault, PasswordHash, Role};

/// Most accounts.
pub const ACCOUNTS_MAX: usize = 1 << 14;
/// Most passkeys of one account.
pub const PASSKEYS_MAX: usize = 16;

message! {
    /// An account, as it is stored.
    pub struct Account {
        /// ID.
        req "id" id: AccountId,
        /// Number of the account's credentials. It rises with each change of password or of being disabled, which ends all sessions
        /// and tokens of earlier numbers.
        req "gen" generation: u64,
        /// Whether it cannot be used.
        req "off" disabled: bool,
        /// Creation, in UNIX milliseconds.
        req "made" made: u64,
        /// Name: a word of 1 to 63 characters.
        req "name" name: String,
        /// Grants.
        req "grants" grants: Grants,
        /// Passkeys.
        req "passkeys" passkeys: Vec<Passkey>,
        /// Hash of the password; `None` if it logs in by passkeys only.
        opt "password" password: PasswordHash,
    }
}

impl Account {
    /// The record to store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(self)
    }

    /// Reads a stored record.
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::Name`] or [`Error::Full`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let account: Self = cbor::from_slice(bytes).map_err(Error::Form)?;
        name(&account.name)?;
        match account.passkeys.len() <= PASSKEYS_MAX {
            true => Ok(account),
            false => Err(Error::Full(PASSKEYS_MAX)),
        }
    }

    const fn renew(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }
}

fn name(text: &str) -> Result<(), Error> {
    match Word::is(text) && !text.is_empty() {
        true => Ok(()),
        false => Err(Error::Name),
    }
}

/// The accounts. A change returns the account, which the caller stores by its ID.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    all: BTreeMap<AccountId, Account>,
    names: BTreeMap<String, AccountId>,
    credentials: BTreeMap<Vec<u8>, AccountId>,
}

impl Accounts {
    /// Puts a stored account back.
    ///
    /// # Errors
    ///
    /// Those of [`Account::from_bytes`], [`Error::Exists`] or [`Error::Full`].
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.insert(Account::from_bytes(bytes)?).map(drop)
    }

    /// Replays a stored account over an older state of it, or puts it back if there is none.
    ///
    /// # Errors
    ///
    /// Those of [`Accounts::restore`], and [`Error::Form`] for an account whose name or credentials are another's.
    pub fn replay(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let account = Account::from_bytes(bytes)?;
        let Some(old) = self.all.get(&account.id) else {
            return self.insert(account).map(drop);
        };
        let other = |p: &Passkey| {
            let of = self.credentials.get(&p.id);
            of.is_some_and(|of| *of != account.id)
        };
        if old.name != account.name || account.passkeys.iter().any(other) {
            let range = cbor::Error::Range("a later state of the account");
            return Err(Error::Form(range));
        }
        self.credentials.retain(|_, of| *of != account.id);
        for passkey in &account.passkeys {
            self.credentials.insert(passkey.id.clone(), account.id);
        }
        self.all.insert(account.id, account);
        Ok(())
    }

    fn insert(&mut self, account: Account) -> Result<&Account, Error> {
        let (id, name) = (account.id, account.name.clone());
        if self.names.contains_key(&name) || self.all.contains_key(&id) {
            return Err(Error::Exists);
        }
        if self.all.len() >= ACCOUNTS_MAX {
            return Err(Error::Full(ACCOUNTS_MAX));
        }
        let known = |p: &Passkey| self.credentials.contains_key(&p.id);
        if account.passkeys.iter().any(known) {
            return Err(Error::Exists);
        }
        for passkey in &account.passkeys {
            self.credentials.insert(passkey.id.clone(), id);
        }
        self.names.insert(name, id);
        Ok(self.all.entry(id).or_insert(account))
    }

    /// Makes an account without passkeys. `id` is random.
    ///
    /// # Errors
    ///
    /// [`Error::Name`], [`Error::Exists`] or [`Error::Full`].
    pub fn add(
        &mut self,
        now_ms: u64,
        id: [u8; 16],
        text: &str,
        grants: Grants,
        password: Option<PasswordHash>,
    ) -> Result<&Account, Error> {
        name(text)?;
        self.insert(Account {
            id: AccountId(id),
            generation: 0,
            disabled: false,
            made: now_ms,
            name: text.into(),
            grants,
            passkeys: Vec::new(),
            password,
        })
    }

    /// Makes the first administrator. The caller has checked the code of the console.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], or those of [`Accounts::add`].
    pub fn add_first(
        &mut self,
        now_ms: u64,
        id: [u8; 16],
        text: &str,
        password: PasswordHash,
    ) -> Result<&Account, Error> {
        if self.has_admin() {
            return Err(Error::Closed);
        }
        let grants = Grants::new([Grant::everywhere(Role::Admin)].into())?;
        self.add(now_ms, id, text, grants, Some(password))
    }

    /// Whether an administrator can log in.
    #[must_use]
    pub fn has_admin(&self) -> bool {
        self.admins().next().is_some()
    }

    /// Administrators that can log in: one without password and passkey cannot.
    fn admins(&self) -> impl Iterator<Item = &Account> {
        let admin = |a: &&Account| {
            let can = a.password.is_some() || !a.passkeys.is_empty();
            can && !a.disabled && a.grants.are_admin()
        };
        self.all.values().filter(admin)
    }

    /// Whether this account is the only administrator.
    fn is_last(&self, id: AccountId) -> bool {
        let mut admins = self.admins().map(|a| a.id);
        (admins.next(), admins.next()) == (Some(id), None)
    }

    /// An account by its ID.
    #[must_use]
    pub fn get(&self, id: AccountId) -> Option<&Account> {
        self.all.get(&id)
    }

    /// An account by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Account> {
        self.all.get(self.names.get(name)?)
    }

    /// A passkey and its account.
    #[must_use]
    pub fn find_passkey(&self, credential: &[u8]) -> Option<(&Account, &Passkey)> {
        let account = self.all.get(self.credentials.get(credential)?)?;
        let mut all = account.passkeys.iter();
        Some((account, all.find(|p| p.id == credential)?))
    }

    /// All accounts, by ID.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.all.values()
    }

    /// The account of credentials, as long as they count.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] if it is gone, disabled, or of another generation.
    pub fn live(&self, id: AccountId, generation: u64) -> Result<&Account, Error> {
        let account = self.get(id).ok_or(Error::Expired)?;
        match !account.disabled && account.generation == generation {
            true => Ok(account),
            false => Err(Error::Expired),
        }
    }

    fn of(&mut self, id: AccountId) -> Result<&mut Account, Error> {
        self.all.get_mut(&id).ok_or(Error::Unknown)
    }

    /// Replaces the password, and ends sessions and tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn set_password(&mut self, id: AccountId, hash: PasswordHash) -> Result<&Account, Error> {
        let account = self.of(id)?;
        account.password = Some(hash);
        account.renew();
        Ok(account)
    }

    /// Replaces the grants. Sessions go on, with the new grants from the next request.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::LastAdmin`].
    pub fn set_grants(&mut self, id: AccountId, grants: Grants) -> Result<&Account, Error> {
        if self.is_last(id) && !grants.are_admin() {
            return Err(Error::LastAdmin);
        }
        let account = self.of(id)?;
        account.grants = grants;
        Ok(account)
    }

    /// Disables or enables an account; either ends sessions and tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::LastAdmin`].
    pub fn set_disabled(&mut self, id: AccountId, disabled: bool) -> Result<&Account, Error> {
        if self.is_last(id) && disabled {
            return Err(Error::LastAdmin);
        }
        let account = self.of(id)?;
        account.disabled = disabled;
        account.renew();
        Ok(account)
    }

    /// Ends all sessions and tokens of an account.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn end_sessions(&mut self, id: AccountId) -> Result<&Account, Error> {
        let account = self.of(id)?;
        account.renew();
        Ok(account)
    }

    /// Removes an account.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::LastAdmin`].
    pub fn remove(&mut self, id: AccountId) -> Result<Account, Error> {
        if self.is_last(id) {
            return Err(Error::LastAdmin);
        }
        let account = self.all.remove(&id).ok_or(Error::Unknown)?;
        self.names.remove(&account.name);
        self.credentials.retain(|_, of| *of != id);
        Ok(account)
    }

    /// Adds a passkey. No two accounts have one credential.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], [`Error::Exists`] or [`Error::Full`].
    pub fn add_passkey(&mut self, id: AccountId, passkey: Passkey) -> Result<&Account, Error> {
        if self.find_passkey(&passkey.id).is_some() {
            return Err(Error::Exists);
        }
        let account = self.of(id)?;
        if account.passkeys.len() >= PASSKEYS_MAX {
            return Err(Error::Full(PASSKEYS_MAX));
        }
        let credential = passkey.id.clone();
        account.passkeys.push(passkey);
        self.credentials.insert(credential, id);
        self.get(id).ok_or(Error::Unknown)
    }

    /// Replaces a passkey after it was used. Another use may have been stored since its login was checked: of two with the same counter,
    /// only the first counts.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`]; [`PasskeyFault::Counter`] if its counter has not risen.
    pub fn use_passkey(&mut self, id: AccountId, used: Passkey) -> Result<&Account, Error> {
        let account = self.of(id)?;
        let mut all = account.passkeys.iter_mut();
        let old = all.find(|p| p.id == used.id).ok_or(Error::Unknown)?;
        if !old.counts_up_to(used.count) {
            return Err(PasskeyFault::Counter.into());
        }
        *old = used;
        Ok(account)
    }

    /// Removes a passkey, and ends sessions and tokens.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or [`Error::LastAdmin`] if the last administrator has nothing else to log in with.
    pub fn remove_passkey(&mut self, id: AccountId, credential: &[u8]) -> Result<&Account, Error> {
        let last = self.is_last(id);
        let account = self.of(id)?;
        if account.passkeys.iter().all(|p| p.id != credential) {
            return Err(Error::Unknown);
        }
        if last && account.password.is_none() && account.passkeys.len() == 1 {
            return Err(Error::LastAdmin);
        }
        account.passkeys.retain(|p| p.id != credential);
        account.renew();
        self.credentials.remove(credential);
        self.get(id).ok_or(Error::Unknown)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::{format, vec};

    use super::*;

    pub(crate) fn account(name: &str) -> Account {
        let mut all = Accounts::default();
        all.add(1, [7; 16], name, Grants::default(), None)
            .unwrap()
            .clone()
    }

    fn hash() -> PasswordHash {
        let bytes = cbor::to_vec(&[1_u8; 49]);
        cbor::from_slice(&bytes).unwrap()
    }

    #[test]
    fn the_first_administrator_is_made_once_and_never_lost() {
        let mut all = Accounts::default();
        assert!(!all.has_admin());
        let first = all.add_first(5, [1; 16], "root", hash()).unwrap().id;
        assert_eq!(
            all.add_first(5, [2; 16], "evil", hash()),
            Err(Error::Closed)
        );
        let last = Error::LastAdmin;
        assert_eq!(all.set_grants(first, Grants::default()).err(), Some(last));
        assert_eq!(all.set_disabled(first, true).err(), Some(last));
        assert_eq!(all.remove(first).err(), Some(last));
        // With a second one, each of them can go.
        let admin = Grants::new(vec![Grant::everywhere(Role::Admin)]).unwrap();
        let second = all.add(6, [3; 16], "two", admin, None).unwrap().id;
        // One that cannot log in is none.
        assert_eq!(all.set_disabled(first, true).err(), Some(last));
        assert_eq!(all.remove(first).err(), Some(last));
        let passkey = Passkey {
            id: b"c".to_vec(),
            algorithm: crate::webauthn::Algorithm::EdDsa,
            key: vec![1; 32],
            made: 0,
            name: "key".into(),
            count: 0,
            backup: false,
        };
        all.add_passkey(second, passkey).unwrap();
        assert!(all.set_disabled(first, true).is_ok());
        assert_eq!(all.remove_passkey(second, b"c").err(), Some(last));
        assert_eq!(all.remove(second).err(), Some(last));
        assert!(all.set_disabled(first, false).is_ok());
        assert!(all.remove(second).is_ok());
        assert_eq!(all.find("two"), None);
    }

    #[test]
    fn a_change_of_credentials_ends_what_went_before() {
        let mut all = Accounts::default();
        let id = all
            .add(1, [1; 16], "a", Grants::default(), None)
            .unwrap()
            .id;
        assert!(all.live(id, 0).is_ok());
        all.set_password(id, hash()).unwrap();
        assert_eq!(all.live(id, 0).err(), Some(Error::Expired));
        assert!(all.live(id, 1).is_ok());
        all.set_disabled(id, true).unwrap();
        assert_eq!(all.live(id, 2).err(), Some(Error::Expired));
        all.set_disabled(id, false).unwrap();
        assert!(all.live(id, 3).is_ok());
        all.end_sessions(id).unwrap();
        assert_eq!(all.live(id, 3).err(), Some(Error::Expired));
        all.remove(id).unwrap();
        assert_eq!(all.live(id, 4).err(), Some(Error::Expired));
    }

    #[test]
    fn names_are_words_and_stand_once() {
        let mut all = Accounts::default();
        let mut add = |n: u8, name: &str| {
            let added = all.add(1, [n; 16], name, Grants::default(), None);
            added.map(drop).err()
        };
        assert_eq!(add(1, "amelie"), None);
        assert_eq!(add(2, "amelie"), Some(Error::Exists));
        assert_eq!(add(1, "other"), Some(Error::Exists));
        for bad in ["", "Amelie", "<b>", "a b", &"x".repeat(64)] {
            assert_eq!(add(3, bad), Some(Error::Name), "{bad}");
        }
    }

    #[test]
    fn a_stored_account_is_the_account() {
        let mut all = Accounts::default();
        let grants = Grants::new(vec![Grant::everywhere(Role::Viewer)]).unwrap();
        let account = all.add(9, [4; 16], "a", grants, Some(hash())).unwrap();
        let bytes = account.to_bytes();
        let mut again = Accounts::default();
        again.restore(&bytes).unwrap();
        assert_eq!(again.find("a"), Some(account));
        assert_eq!(again.restore(&bytes), Err(Error::Exists));
        assert!(Account::from_bytes(&bytes[1..]).is_err());
    }

    #[test]
    fn accounts_are_bounded() {
        let mut all = Accounts::default();
        for n in 0..=ACCOUNTS_MAX {
            let id = (n as u128).to_be_bytes();
            let added = all.add(1, id, &format!("n{n}"), Grants::default(), None);
            let full = (n == ACCOUNTS_MAX).then_some(Error::Full(ACCOUNTS_MAX));
            assert_eq!(added.err(), full);
        }
    }

    #[test]
    fn a_later_state_is_replayed_over_an_earlier_one() {
        let mut accounts = Accounts::default();
        let admin = Grants::new(vec![Grant::everywhere(Role::Admin)]).unwrap();
        let first = accounts
            .add(1, [1; 16], "root", admin, None)
            .unwrap()
            .clone();
        let mut later = first.clone();
        (later.disabled, later.generation) = (true, 7);
        let mut again = Accounts::default();
        again.replay(&first.to_bytes()).unwrap();
        again.replay(&later.to_bytes()).unwrap();
        assert_eq!(again.get(first.id), Some(&later));
        assert_eq!(again.find("root"), Some(&later));
        later.name = "other".into();
        assert!(matches!(
            again.replay(&later.to_bytes()),
            Err(Error::Form(_))
        ));
    }
}
