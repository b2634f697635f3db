//! The state of the panel, and the records from which it is rebuilt.

use std::collections::VecDeque;

use betanet_auth::admission::{Admission, Caller, Fields, Means};
use betanet_auth::audit::{Entry, Head, Record as AuditRecord, Trail};
use betanet_auth::jwt::{Keyring, Parties};
use betanet_auth::limit::Limits;
use betanet_auth::login::{Devices, Logins};
use betanet_auth::refresh::{Families, Family, FamilyId};
use betanet_auth::routes::Route;
use betanet_auth::session::{IDLE, LIFE, Session, SessionId, SessionToken, Sessions, Site};
use betanet_auth::token::{ApiToken, ApiTokens, Shown, TokenId};
use betanet_auth::{Account, AccountId, Accounts, Error, Permission, ServerKey};
use betanet_journal::{Kind, Record};
use betanet_machine::Now;
use betanet_wire::cbor;

use crate::place::Place;

/// Most audit records that are kept in memory, for the page and its filters.
pub(crate) const RECENT_MAX: usize = 8192;

/// Kind of the records of the audit log.
pub(crate) const AUDIT: &str = "audit";

/// A record that this version does not write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// The records of a change, which are committed together.
pub(crate) struct Tx<'a>(pub(crate) &'a mut Vec<Record>);

impl Tx<'_> {
    fn put(&mut self, kind: &'static str, body: Vec<u8>) {
        self.0.extend(Kind::new(kind).map(|k| Record::new(k, body)));
    }

    pub(crate) fn account(&mut self, account: &Account) {
        self.put("account", account.to_bytes());
    }

    pub(crate) fn account_ended(&mut self, id: AccountId) {
        self.put("account-end", id.0.to_vec());
    }

    pub(crate) fn session(&mut self, session: &Session) {
        self.put("session", session.to_bytes());
    }

    pub(crate) fn session_ended(&mut self, id: &SessionId) {
        self.put("session-end", id.to_vec());
    }

    pub(crate) fn token(&mut self, token: &ApiToken) {
        self.put("token", token.to_bytes());
    }

    pub(crate) fn token_ended(&mut self, account: AccountId, id: TokenId) {
        let mut body = account.0.to_vec();
        body.extend_from_slice(id.to_string().as_bytes());
        self.put("token-end", body);
    }

    pub(crate) fn family(&mut self, family: &Family) {
        self.put("family", family.to_bytes());
    }

    pub(crate) fn family_ended(&mut self, id: &FamilyId) {
        self.put("family-end", id.to_vec());
    }
}

/// What stays the same when the state is rebuilt.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) key: ServerKey,
    pub(crate) site: Site,
    pub(crate) parties: Parties,
    /// How many times as many requests accounts have.
    pub(crate) rate_factor: u64,
}

/// The state.
pub(crate) struct Core {
    pub(crate) accounts: Accounts,
    pub(crate) sessions: Sessions,
    pub(crate) tokens: ApiTokens,
    pub(crate) families: Families,
    pub(crate) keyring: Keyring,
    pub(crate) logins: Logins,
    pub(crate) devices: Devices,
    limits: Limits,
    site: Site,
    trail: Trail,
    recent: VecDeque<AuditRecord>,
}

impl Core {
    pub(crate) fn new(fixed: Fixed) -> Self {
        let Fixed {
            key,
            site,
            parties,
            rate_factor,
        } = fixed;
        Self {
            accounts: Accounts::default(),
            sessions: Sessions::default(),
            tokens: ApiTokens::default(),
            families: Families::new(key.clone()),
            keyring: Keyring::new(key.clone(), parties),
            logins: Logins::new(key.clone()),
            devices: Devices::new(key),
            limits: Limits::for_accounts(rate_factor),
            site,
            trail: Trail::default(),
            recent: VecDeque::new(),
        }
    }

    /// Applies a committed record, at the start.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        let body = &record.body[..];
        let id = || -> Result<[u8; 32], Unreadable> { body.try_into().map_err(|_| Unreadable) };
        let done = match record.kind.as_str() {
            AUDIT => return self.replay_audit(body),
            "account" => self.accounts.replay(body),
            "account-end" => {
                let id = AccountId(body.try_into().map_err(|_| Unreadable)?);
                self.accounts.remove(id).map(drop)
            }
            "session" => {
                let session: Session = cbor::from_slice(body).map_err(|_| Unreadable)?;
                self.sessions.end(&session.id);
                self.sessions.restore(body)
            }
            "session-end" => {
                self.sessions.end(&id()?);
                Ok(())
            }
            "token" => {
                let token: ApiToken = cbor::from_slice(body).map_err(|_| Unreadable)?;
                // An older state of it, if there is one.
                let _ = self.tokens.end(token.account, token.id);
                self.tokens.restore(body)
            }
            "token-end" => {
                let (account, id) = body.split_first_chunk().ok_or(Unreadable)?;
                let id = std::str::from_utf8(id).ok().and_then(TokenId::from_text);
                let id = id.ok_or(Unreadable)?;
                self.tokens.end(AccountId(*account), id).map(drop)
            }
            "family" => {
                let family: Family = cbor::from_slice(body).map_err(|_| Unreadable)?;
                self.families.end(&family.id);
                self.families.restore(body)
            }
            "family-end" => {
                let id: FamilyId = body.try_into().map_err(|_| Unreadable)?;
                self.families.end(&id);
                Ok(())
            }
            // Job files have entries of their own now.
            "job" => Ok(()),
            _ => return Err(Unreadable),
        };
        done.map_err(|_| Unreadable)
    }

    fn replay_audit(&mut self, body: &[u8]) -> Result<(), Unreadable> {
        let record = self.trail.replay(body).map_err(|_| Unreadable)?;
        self.remember(record);
        Ok(())
    }

    fn remember(&mut self, record: AuditRecord) {
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }

    /// Appends a record to the audit log.
    pub(crate) fn audit(&mut self, now_ms: u64, entry: Entry<'_>, tx: &mut Tx<'_>) {
        let bytes = self.trail.append(now_ms, entry);
        if let Ok(record) = AuditRecord::from_bytes(&bytes) {
            self.remember(record);
        }
        tx.put(AUDIT, bytes);
    }

    /// The newest audit records, newest first.
    pub(crate) fn recent(&self) -> impl Iterator<Item = &AuditRecord> {
        self.recent.iter().rev()
    }

    /// The head of the audit log.
    pub(crate) fn head(&self, now_ms: u64) -> Head {
        self.trail.head(now_ms)
    }

    /// Decides whether a request is let through, and notes the use of its session or token. A request of a caller for which it is
    /// `free`, since an earlier one allowed for it, is not charged.
    pub(crate) fn admit(
        &mut self,
        now: Now,
        route: &Route,
        (fields, free): (&Fields<'_>, impl FnOnce(&Caller) -> bool),
        tx: &mut Tx<'_>,
    ) -> Result<Option<Caller>, Error> {
        let mut admission = Admission {
            site: &self.site,
            accounts: &self.accounts,
            sessions: &self.sessions,
            tokens: &self.tokens,
            keyring: &mut self.keyring,
            limits: &mut self.limits,
        };
        let caller = admission.admit(now, route, fields, free)?;
        match caller.map(|c| c.means) {
            Some(Means::Session(id)) => {
                let noted = self.sessions.note(now.unix_ms, &id);
                noted.iter().for_each(|s| tx.session(s));
            }
            Some(Means::Token(id)) => {
                let noted = self.tokens.note(now.unix_ms, id);
                noted.into_iter().for_each(|t| tx.token(t));
            }
            Some(Means::Access) | None => {}
        }
        Ok(caller)
    }

    /// Whether a session counts, asked before its request is admitted.
    pub(crate) fn knows(&self, now_ms: u64, token: &SessionToken) -> bool {
        let session = self.sessions.get(now_ms, token);
        session.is_ok_and(|s| self.accounts.live(s.account, s.generation).is_ok())
    }

    /// The account that credentials name, for the audit record of a request that was refused.
    pub(crate) fn refused(&mut self, now_ms: u64, fields: &Fields<'_>) -> Option<String> {
        let id = if let Some(field) = fields.authorization {
            let (_, text) = field.split_once(' ')?;
            match Shown::from_text(text) {
                Ok(shown) => self.tokens.get(now_ms, &shown).ok()?.account,
                Err(_) => self.keyring.check(now_ms, text).ok()?.account,
            }
        } else {
            let token = fields.cookie.and_then(SessionToken::from_cookies)?;
            self.sessions.get(now_ms, &token).ok()?.account
        };
        let account = self.accounts.get(id)?;
        Some(format!("{} {id}", account.name))
    }

    /// Whether credentials that were admitted earlier still count.
    fn still(&self, now_ms: u64, caller: &Caller) -> bool {
        let live = self.accounts.live(caller.account, caller.generation);
        if live.is_err() {
            return false;
        }
        let age = |since| now_ms.saturating_sub(since);
        match caller.means {
            Means::Session(id) => {
                let mut own = self.sessions.of(caller.account);
                own.any(|s| s.id == id && age(s.made) < LIFE && age(s.used) < IDLE)
            }
            Means::Token(id) => {
                let mut own = self.tokens.of(caller.account);
                own.any(|t| t.id == id && now_ms < t.expires)
            }
            // It lives for minutes, and its account and generation were looked at.
            Means::Access => true,
        }
    }

    /// Checks again that the credentials of an admitted caller count, and that it has a right.
    pub(crate) fn stands(
        &self,
        now_ms: u64,
        caller: &Caller,
        permission: Permission,
        place: &Place,
    ) -> Result<(), Error> {
        if !self.still(now_ms, caller) {
            return Err(Error::Expired);
        }
        match place {
            Place::In(namespace) => caller.check(&self.accounts, permission, namespace.as_deref()),
            Place::Somewhere => {
                let account = self.accounts.get(caller.account).ok_or(Error::Expired)?;
                let granted = account.grants.allow_somewhere(permission);
                match granted && caller.scopes.has(permission) {
                    true => Ok(()),
                    false => Err(Error::Denied),
                }
            }
        }
    }

    /// Ends what has expired or belongs to earlier credentials.
    pub(crate) fn sweep(&mut self, now_ms: u64, tx: &mut Tx<'_>) {
        let accounts = &self.accounts;
        let live = |account, generation| accounts.live(account, generation).is_ok();
        let dead = self
            .sessions
            .sweep(now_ms, |s| live(s.account, s.generation));
        dead.iter().for_each(|id| tx.session_ended(id));
        let dead = self
            .families
            .sweep(now_ms, |f| live(f.account, f.generation));
        dead.iter().for_each(|id| tx.family_ended(id));
        let ended: Vec<(AccountId, TokenId)> = accounts
            .iter()
            .flat_map(|a| self.tokens.of(a.id))
            .filter(|t| now_ms >= t.expires || !live(t.account, t.generation))
            .map(|t| (t.account, t.id))
            .collect();
        for (account, id) in ended {
            if self.tokens.end(account, id).is_ok() {
                tx.token_ended(account, id);
            }
        }
        // Those of accounts that are gone.
        self.tokens.sweep(now_ms, |t| live(t.account, t.generation));
    }
}
