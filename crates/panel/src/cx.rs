//! A request that was admitted: its caller, its fields and what it may reach.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use axum::extract::Multipart;
use betanet_auth::admission::Caller;
use betanet_auth::audit::{Entry, Verdict};
use betanet_auth::routes::{Access, Method, Rights, Route, find};
use betanet_auth::{AccountId, Error as AuthError, Grants, Permission, Scope};
use betanet_fog::TaskId;
use betanet_keys::Name;
use betanet_machine::Now;
use betanet_wire::text::{hex, unhex_array};
use betanet_wire::{ChargeTo, NodeId};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::core::{Core, Tx};
use crate::fault::Fault;
use crate::form::Fields;
use crate::lease::Lease;
use crate::place::Place;
use crate::reply::{Done, Hash};
use crate::shared::Shared;

/// The answer to a request, which comes later.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Done, Fault>> + Send>>;
/// A function that answers requests.
pub(crate) type Handler = fn(Cx) -> Answer;
/// Finds the handler of a route, by the identifier of its operation.
pub(crate) type Handlers = fn(&str) -> Option<Handler>;

/// A caller that is logged in.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) caller: Caller,
    pub(crate) name: String,
    pub(crate) grants: Grants,
    /// Token for the forms of its pages; empty for programs.
    pub(crate) form: String,
}

/// The body of a request.
pub(crate) enum Input {
    None,
    Fields(Fields),
    /// A form with a file, of which the form token was read.
    File(Box<Multipart>),
    Bytes(Bytes),
}

/// A request that was admitted.
pub(crate) struct Cx {
    pub(crate) shared: Arc<Shared>,
    pub(crate) route: &'static Route,
    /// For a stream of events, which has its page drawn again.
    pub(crate) handlers: Handlers,
    pub(crate) path: String,
    /// Variables of the path, decoded.
    pub(crate) vars: Vec<String>,
    pub(crate) query: Fields,
    pub(crate) input: Input,
    pub(crate) who: Option<Who>,
    pub(crate) client: IpAddr,
    pub(crate) charge: ChargeTo,
    pub(crate) request: [u8; 16],
    pub(crate) cookie: Option<String>,
    /// `Host`, which is one of the site's names once the request is admitted.
    pub(crate) host: Option<String>,
    /// `Last-Event-ID`.
    pub(crate) last_event: Option<String>,
    /// Whether the client takes gzip.
    pub(crate) gzip: bool,
    pub(crate) now_ms: u64,
    /// The place of a module that is uploaded, until the request is answered.
    pub(crate) upload: Option<OwnedSemaphorePermit>,
    /// Lease of the connection.
    pub(crate) lease: Option<Lease>,
    /// Whether a page is drawn for a stream of events, which sends its content alone.
    pub(crate) part: bool,
    /// Target for the audit record of an attempt, as soon as it is known.
    pub(crate) target: Arc<OnceLock<String>>,
}

impl Cx {
    /// Takes a place for a module.
    pub(crate) fn uploads(&mut self) -> Result<(), Fault> {
        let permit = Arc::clone(&self.shared.uploads).try_acquire_owned();
        self.upload = Some(permit.map_err(|_| Fault::Busy)?);
        Ok(())
    }

    /// The ID of the request, as UUIDs are written.
    pub(crate) fn request_id(&self) -> String {
        request_id(&self.request)
    }

    /// The caller, on a route that is not open.
    pub(crate) fn who(&self) -> Result<&Who, Fault> {
        self.who.as_ref().ok_or(Fault::Auth(AuthError::Credentials))
    }

    /// Whether the caller may do something, in a namespace.
    pub(crate) fn may(&self, permission: Permission, ns: Option<&str>) -> bool {
        let who = self.who.as_ref();
        who.is_some_and(|w| rights(w).allow(permission, ns))
    }

    /// Whether the caller may do something in some namespace.
    pub(crate) fn may_somewhere(&self, permission: Permission) -> bool {
        let who = self.who.as_ref();
        who.is_some_and(|w| w.caller.scopes.has(permission) && w.grants.allow_somewhere(permission))
    }

    /// Whether a role of the caller holds in all namespaces. Others see no figures of the whole coordinator.
    pub(crate) fn everywhere(&self) -> bool {
        let grants = self.who.as_ref().map(|w| w.grants.as_slice());
        let mut grants = grants.unwrap_or_default().iter();
        grants.any(|g| g.scope == Scope::Everywhere)
    }

    /// What was tried, for the record of an attempt that failed.
    pub(crate) fn tried(&self) -> String {
        let known = self.target.get().cloned();
        known.unwrap_or_else(|| self.vars.join("/"))
    }

    /// Begins an action on the fog, whose effect is outside the panel's own state: the caller's rights are checked again, since they may
    /// have ended while its body was read; and a record is on disk before anything is done. Its verdict is a second record.
    pub(crate) async fn begin(
        &self,
        permission: Permission,
        place: Place,
        target: String,
    ) -> Result<(), Fault> {
        let caller = self.who()?.caller;
        let _ = self.target.set(target.clone());
        let (actor, action, request) = (self.actor(), self.route.id, self.request);
        let begun = self.shared.desk.with(move |core, now, tx| {
            core.stands(now.unix_ms, &caller, permission, &place)?;
            let entry = Entry {
                actor: &actor,
                action,
                target: &target,
                before: None,
                after: None,
                verdict: Verdict::Begun,
                request,
            };
            core.audit(now.unix_ms, entry, tx);
            Ok::<(), AuthError>(())
        });
        Ok(begun.await??)
    }

    /// Refuses what the caller may not do.
    pub(crate) fn need(&self, permission: Permission, ns: Option<&str>) -> Result<(), Fault> {
        match self.may(permission, ns) {
            true => Ok(()),
            false => Err(Fault::Auth(AuthError::Denied)),
        }
    }

    /// The first variable of the path.
    pub(crate) fn var(&self) -> &str {
        self.vars.first().map_or("", String::as_str)
    }

    /// The task that the path names.
    pub(crate) fn task(&self) -> Result<TaskId, Fault> {
        unhex_array(self.var()).map(TaskId).ok_or(Fault::Missing)
    }

    /// The node that the path names, by its NodeID or its name.
    pub(crate) fn node(&self) -> Result<NodeId, Fault> {
        let text = self.var();
        let named = || text.parse::<Name>().ok().map(|n| n.node_id());
        let id = unhex_array(text).map(NodeId).or_else(named);
        id.ok_or(Fault::Missing)
    }

    /// The account that the path names.
    pub(crate) fn account(&self) -> Result<AccountId, Fault> {
        AccountId::from_text(self.var()).ok_or(Fault::Missing)
    }

    /// The fields of the body.
    pub(crate) fn fields(&self) -> Fields {
        match &self.input {
            Input::Fields(fields) => fields.clone(),
            _ => Fields::default(),
        }
    }

    /// The actor for the audit log.
    pub(crate) fn actor(&self) -> String {
        actor(self.who.as_ref(), self.client)
    }

    /// Appends an audit record of a request that failed, and whose answer is a page of its own.
    pub(crate) async fn note(&self, fault: Fault) -> Result<(), Fault> {
        let (actor, action, request) = (self.actor(), self.route.id, self.request);
        let target = self.tried();
        let noted = self.shared.desk.with(move |core, now, tx| {
            let entry = Entry {
                actor: &actor,
                action,
                target: &target,
                before: None,
                after: None,
                verdict: fault.verdict(),
                request,
            };
            core.audit(now.unix_ms, entry, tx);
        });
        Ok(noted.await?)
    }

    /// Changes the state, with an audit record in the same transaction. The caller's rights are checked again in it. The change returns
    /// its target and the digests of it before and after.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Core, Now, &mut Tx<'_>) -> Result<(T, Noted), AuthError> + Send + 'static,
    ) -> Result<T, Fault> {
        let (actor, action, request) = (self.actor(), self.route.id, self.request);
        let caller = self.who.as_ref().map(|w| w.caller);
        let access = self.route.access;
        let done = self.shared.desk.with(move |core, now, tx| {
            if let (Some(caller), Access::Needs(permission)) = (caller, access) {
                core.stands(now.unix_ms, &caller, permission, &Place::In(None))?;
            }
            let (value, noted) = run(core, now, tx)?;
            let entry = Entry {
                actor: noted.actor.as_deref().unwrap_or(&actor),
                action,
                target: &noted.target,
                before: noted.before,
                after: noted.after,
                verdict: Verdict::Done,
                request,
            };
            core.audit(now.unix_ms, entry, tx);
            Ok(value)
        });
        done.await?.map_err(Fault::Auth)
    }
}

/// What the audit log tells about a change.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// The actor, if it is known only after the change: a login.
    pub(crate) actor: Option<String>,
    pub(crate) target: String,
    pub(crate) before: Option<Hash>,
    pub(crate) after: Option<Hash>,
}

impl Noted {
    pub(crate) fn on(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            ..Self::default()
        }
    }

    pub(crate) fn states(mut self, before: Option<&[u8]>, after: Option<&[u8]>) -> Self {
        self.before = before.map(|b| betanet_keys::hash(&[b]));
        self.after = after.map(|b| betanet_keys::hash(&[b]));
        self
    }
}

/// Decoded segments of the path.
pub(crate) fn variables(method: Method, path: &str) -> Vec<String> {
    let Ok(found) = find(method, path) else {
        return Vec::new();
    };
    let decoded = found.variables.iter().map(|(_, text)| {
        let plus = text.replace('+', "%2B");
        let mut pairs = form_urlencoded::parse(plus.as_bytes());
        pairs
            .next()
            .map_or_else(String::new, |(k, _)| k.into_owned())
    });
    decoded.collect()
}

fn rights(who: &Who) -> Rights<'_> {
    Rights {
        grants: &who.grants,
        scopes: who.caller.scopes,
    }
}

/// The actor for the audit log: an account with its ID, or an address.
pub(crate) fn actor(who: Option<&Who>, client: IpAddr) -> String {
    match who {
        Some(who) => format!("{} {}", who.name, who.caller.account),
        None => client.to_string(),
    }
}

/// The ID of a request, as UUIDs are written.
pub(crate) fn request_id(request: &[u8; 16]) -> String {
    let all = hex(request);
    let part = |from, to| all.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    parts.join("-")
}
