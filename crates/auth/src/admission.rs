//! The checks of a request in their order: host, credentials, limit, origin and form token, rights.

use betanet_machine::Now;
use betanet_wire::ChargeTo;

use crate::jwt::Keyring;
use crate::limit::Limits;
use crate::routes::{Access, Rights, Route, decide};
use crate::session::{SessionId, SessionToken, Sessions, Site};
use crate::token::{ApiTokens, PREFIX, Shown, TokenId};
use crate::{AccountId, Accounts, Error, Permission, Permissions};

/// Fields of a request that decide on its admission.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// `Host`, or `:authority`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Authorization`. A server refuses a request with several.
    pub authorization: Option<&'a str>,
    /// `Cookie`; several are joined by `; `.
    pub cookie: Option<&'a str>,
    /// Form token: from the field `X-Form-Token`, or from the form itself.
    pub form_token: Option<&'a str>,
    /// Party that pays if no account does, by [`crate::client::Proxies::charge`].
    pub address: ChargeTo,
}

/// Means by which a caller showed who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Means {
    /// A browser's session.
    Session(SessionId),
    /// An API token.
    Token(TokenId),
    /// An access token.
    Access,
}

/// A caller whose credentials count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Account.
    pub account: AccountId,
    /// Generation of the account's credentials, to see later whether they still count.
    pub generation: u64,
    /// Scopes of the token; all for a session.
    pub scopes: Permissions,
    /// Means.
    pub means: Means,
}

impl Caller {
    /// Checks a permission in the namespace of a target, once a handler knows it.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] or [`Error::Denied`].
    pub fn check(
        &self,
        accounts: &Accounts,
        permission: Permission,
        namespace: Option<&str>,
    ) -> Result<(), Error> {
        let account = accounts.get(self.account).filter(|a| !a.disabled);
        let rights = Rights {
            grants: &account.ok_or(Error::Expired)?.grants,
            scopes: self.scopes,
        };
        match rights.allow(permission, namespace) {
            true => Ok(()),
            false => Err(Error::Denied),
        }
    }
}

/// The parts that decide on admission.
#[derive(Debug)]
pub struct Admission<'a> {
    /// Names of this site.
    pub site: &'a Site,
    /// Accounts.
    pub accounts: &'a Accounts,
    /// Sessions.
    pub sessions: &'a Sessions,
    /// API tokens.
    pub tokens: &'a ApiTokens,
    /// Keys of access tokens.
    pub keyring: &'a mut Keyring,
    /// Limits.
    pub limits: &'a mut Limits,
}

/// The token of a field `Authorization` of the scheme `Bearer`.
fn bearer(field: &str) -> Result<&str, Error> {
    let (scheme, token) = field.split_once(' ').ok_or(Error::Credentials)?;
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(token),
        false => Err(Error::Credentials),
    }
}

impl Admission<'_> {
    /// The caller that the credentials name; `None` without any. If there is an `Authorization`, only it counts: a wrong one is not
    /// made good by a cookie.
    fn caller(&mut self, now_ms: u64, fields: &Fields<'_>) -> Result<Option<Caller>, Error> {
        let caller = if let Some(field) = fields.authorization {
            let text = bearer(field)?;
            if text.starts_with(PREFIX) {
                let token = self.tokens.get(now_ms, &Shown::from_text(text)?)?;
                let means = Means::Token(token.id);
                caller(token.account, token.generation, token.scopes, means)
            } else {
                let claims = self.keyring.check(now_ms, text)?;
                let (account, generation) = (claims.account, claims.generation);
                caller(account, generation, claims.scopes, Means::Access)
            }
        } else if let Some(token) = fields.cookie.and_then(SessionToken::from_cookies) {
            let session = self.sessions.get(now_ms, &token)?;
            let means = Means::Session(session.id);
            caller(session.account, session.generation, Permissions::ALL, means)
        } else {
            return Ok(None);
        };
        self.accounts.live(caller.account, caller.generation)?;
        Ok(Some(caller))
    }

    /// Decides whether a request is let through to its handler. `None` is an anonymous caller of an open route.
    ///
    /// For a route that needs a permission in a namespace, this asks whether the caller has it anywhere. The handler goes on with
    /// [`Caller::check`] as soon as it knows the namespace.
    ///
    /// `free` tells whether the request of a caller was allowed for by an earlier one, and is not charged. It is asked only for a caller
    /// whose credentials count.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`], [`Error::Wait`], [`Error::Credentials`], [`Error::Expired`] or [`Error::Denied`]. The audit log has a
    /// record of each but [`Error::Wait`] and those of requests without credentials, which are counted: so the limits bound the log.
    pub fn admit(
        &mut self,
        now: Now,
        route: &Route,
        fields: &Fields<'_>,
        free: impl FnOnce(&Caller) -> bool,
    ) -> Result<Option<Caller>, Error> {
        let host = self.site.check_host(fields.host);
        let caller = match (host, route.access) {
            (Err(e), _) => Err(e),
            // Old credentials keep nobody from logging in.
            (Ok(()), Access::Open) => Ok(None),
            (Ok(()), _) => self.caller(now.unix_ms, fields),
        };
        // Wrong hosts and credentials are charged to the address: each has a record.
        let known = caller.ok().flatten();
        if !known.as_ref().is_some_and(free) {
            let account = known.map(|c| c.account);
            self.limits
                .charge(now.mono, route.class, account, fields.address)?;
        }
        let caller = caller?;
        self.check_page(route, fields, caller)?;
        let Some(caller) = caller else {
            return decide(route, None, None).map(|()| None);
        };
        if route.needs_session() && !matches!(caller.means, Means::Session(_)) {
            return Err(Error::Denied);
        }
        let account = self.accounts.get(caller.account).ok_or(Error::Expired)?;
        let rights = Rights {
            grants: &account.grants,
            scopes: caller.scopes,
        };
        let anywhere = match route.access {
            Access::Needs(permission) => Route {
                access: Access::Lists(permission),
                ..*route
            },
            _ => *route,
        };
        decide(&anywhere, Some(rights), None).map(|()| Some(caller))
    }

    /// Checks that a request that writes comes from a page of this site, or from a program. A program has no cookie, and no `Origin`.
    fn check_page(
        &self,
        route: &Route,
        fields: &Fields<'_>,
        caller: Option<Caller>,
    ) -> Result<(), Error> {
        if !route.writes() {
            return Ok(());
        }
        let by_session = matches!(caller.map(|c| c.means), Some(Means::Session(_)));
        let form = !route.is_api() && caller.is_none();
        if by_session || form || fields.origin.is_some() {
            self.site.check_origin(fields.host, fields.origin)?;
        }
        match fields.cookie.and_then(SessionToken::from_cookies) {
            Some(token) if by_session => token.check_form(fields.form_token),
            _ => Ok(()),
        }
    }
}

const fn caller(account: AccountId, generation: u64, scopes: Permissions, means: Means) -> Caller {
    Caller {
        account,
        generation,
        scopes,
        means,
    }
}

#[cfg(test)]
mod tests;
