//! From a request to its answer: host, credentials, limits, form token and rights by the table of routes; then the handler; then the
//! audit log.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use betanet_auth::admission::{Caller, Fields as Shown};
use betanet_auth::audit::{Entry, Verdict};
use betanet_auth::limit::Class;
use betanet_auth::routes::{Access, Method, ROUTES, Route, is_api};
use betanet_auth::session::SessionToken;
use betanet_auth::{Error as AuthError, Kind};
use betanet_wire::ChargeTo;

use crate::api::log;
use crate::body;
use crate::cx::{Cx, Handler, Input, Who, request_id, variables};
use crate::fault::Fault;
use crate::form::{Fields, QUERY_MAX};
use crate::handlers;
use crate::lease::Lease;
use crate::live::StreamId;
use crate::page;
use crate::pages::login;
use crate::reply::{self, Done};
use crate::shared::Shared;

/// A connection: the address of its other end, and the time for which it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr, pub(crate) Lease);

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Patch => MethodFilter::PATCH,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// The router: the table of routes, each with its handler.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let Some(handler) = handlers::of(route.id) else {
            // A test holds that there is none.
            tracing::error!(route = route.id, "a route of the table is not built");
            continue;
        };
        let serve = move |State(shared): State<Arc<Shared>>, request: Request| {
            serve(shared, route, handler, request)
        };
        router = router.route(route.path, on(filter(route.method), serve));
    }
    router
        .fallback(
            async |State(shared): State<Arc<Shared>>, request: Request| {
                none(&shared, &request, Fault::Missing)
            },
        )
        .method_not_allowed_fallback(
            async |State(shared): State<Arc<Shared>>, request: Request| {
                none(&shared, &request, Fault::Method)
            },
        )
        .layer(DefaultBodyLimit::max(body::FORM_MAX))
        .with_state(shared)
}

/// The answer to a request that has no route.
fn none(shared: &Shared, request: &Request, fault: Fault) -> Response {
    let id = request_id(&shared.random());
    let mut response = match is_api(request.uri().path()) {
        true => reply::problem(fault, &id),
        false => reply::page(fault.status(), page::bare(fault, &id)),
    };
    reply::finish(&mut response, Some(fault), &id);
    response
}

/// Fields of a request, owned.
#[derive(Clone, Default)]
struct Head {
    host: Option<String>,
    origin: Option<String>,
    authorization: Option<String>,
    cookie: Option<String>,
    form_token: Option<String>,
}

/// The values of a field, joined; `None` if it is missing. Text that is not ASCII is no value that counts.
fn joined(parts: &Parts, name: &HeaderName, by: &str) -> Option<String> {
    let values = parts.headers.get_all(name).iter();
    let texts: Vec<&str> = values.filter_map(|v| v.to_str().ok()).collect();
    (!texts.is_empty()).then(|| texts.join(by))
}

impl Head {
    fn of(parts: &Parts) -> Self {
        let form = HeaderName::from_static("x-form-token");
        Self {
            // Several of a kind match nothing.
            host: joined(parts, &HOST, ","),
            origin: joined(parts, &ORIGIN, ","),
            authorization: joined(parts, &AUTHORIZATION, ","),
            cookie: joined(parts, &COOKIE, "; "),
            form_token: joined(parts, &form, ","),
        }
    }

    fn shown(&self, address: ChargeTo) -> Shown<'_> {
        Shown {
            host: self.host.as_deref(),
            origin: self.origin.as_deref(),
            authorization: self.authorization.as_deref(),
            cookie: self.cookie.as_deref(),
            form_token: self.form_token.as_deref(),
            address,
        }
    }

    fn session(&self) -> Option<SessionToken> {
        self.cookie.as_deref().and_then(SessionToken::from_cookies)
    }
}

/// Admits a request; `None` is an anonymous caller of an open route. One may confirm what a stream sent. A refusal comes with the actor for the audit log, if the
/// credentials name one.
async fn admit(
    shared: &Shared,
    route: &'static Route,
    (head, confirms): (&Head, Option<StreamId>),
    address: ChargeTo,
) -> Result<Option<Who>, (Fault, Option<String>)> {
    let (owned, live) = (head.clone(), Arc::clone(&shared.live));
    let admitted = shared.desk.with(move |core, now, tx| {
        let shown = owned.shown(address);
        let free = |caller: &Caller| confirms.is_some_and(|id| live.redeem(caller.account, &id));
        let caller: Option<Caller> = match core.admit(now, route, (&shown, free), tx) {
            Ok(caller) => caller,
            Err(error) => return Err((error, core.refused(now.unix_ms, &shown))),
        };
        let Some(caller) = caller else {
            return Ok(None);
        };
        let account = core.accounts.get(caller.account);
        let account = account.ok_or((AuthError::Expired, None))?;
        Ok(Some((caller, account.name.clone(), account.grants.clone())))
    });
    let admitted = admitted.await.map_err(|e| (e.into(), None))?;
    let admitted = admitted.map_err(|(error, actor)| (Fault::Auth(error), actor))?;
    let Some((caller, name, grants)) = admitted else {
        return Ok(None);
    };
    let form = head
        .session()
        .map_or_else(String::new, |s| s.form_token().expose().to_owned());
    Ok(Some(Who {
        caller,
        name,
        grants,
        form,
    }))
}

/// A request that was not admitted, or cannot be read.
struct Refused {
    cx: Cx,
    fault: Fault,
    /// The actor for the audit log, if it is not the caller.
    actor: Option<String>,
    /// Whether it showed no credentials. Such a refusal is counted and has no record, so that strangers do not fill the log.
    anonymous: bool,
}

fn refused(cx: Cx, fault: Fault) -> Box<Refused> {
    Box::new(Refused {
        cx,
        fault,
        actor: None,
        anonymous: false,
    })
}

/// Whether a session counts, before its request is admitted.
async fn known(shared: &Shared, session: Option<SessionToken>) -> bool {
    let Some(token) = session else { return false };
    let asked = shared
        .desk
        .with(move |core, now, _| core.knows(now.unix_ms, &token));
    asked.await.unwrap_or(false)
}

/// A request until it is admitted.
async fn begun(
    shared: &Arc<Shared>,
    route: &'static Route,
    parts: &Parts,
    body: Body,
    client: IpAddr,
    request: [u8; 16],
) -> Result<Cx, Box<Refused>> {
    let address = ChargeTo::address(client);
    let mut head = Head::of(parts);
    let gzip = parts.headers.get(ACCEPT_ENCODING);
    let gzip = gzip
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.contains("gzip"));
    let last = parts.headers.get("last-event-id");
    let path = parts.uri.path().to_owned();
    let lease = parts.extensions.get::<Peer>().map(|p| p.1.clone());
    let mut cx = Cx {
        shared: Arc::clone(shared),
        route,
        handlers: handlers::of,
        vars: variables(route.method, &path),
        path,
        query: Fields::default(),
        input: Input::None,
        who: None,
        client,
        charge: address,
        request,
        cookie: head.cookie.clone(),
        host: head.host.clone(),
        last_event: last.and_then(|v| v.to_str().ok()).map(str::to_owned),
        gzip,
        now_ms: shared.now_ms(),
        upload: None,
        lease,
        part: false,
        target: Arc::default(),
    };
    let query = parts.uri.query().unwrap_or("");
    let read_query = match query.len() <= QUERY_MAX {
        true => Fields::read(query.as_bytes()),
        false => Err(Fault::TooLarge),
    };
    // A form has its token in its body, so that is read first. It is bounded, and each connection has one. A form with a file is read
    // later: until then, its token counts as right.
    let (mut body, mut early) = (Some(body), Ok(Input::None));
    let upload = body::is_upload(route, parts);
    if upload {
        head.form_token = head.session().map(|s| s.form_token().expose().to_owned());
    } else if route.writes()
        && !route.is_api()
        && let Some(body) = body.take()
    {
        let known = body::is_long(route) && known(shared, head.session()).await;
        early = body::form(route, parts, (body, known), &mut head.form_token).await;
    }
    let confirms = match &read_query {
        Ok(query) if route.id == "eventsSeen" => log::stream(query),
        _ => None,
    };
    match admit(shared, route, (&head, confirms), address).await {
        Ok(who) => cx.who = who,
        Err((fault, actor)) => {
            cx.input = early.unwrap_or(Input::None);
            let anonymous = head.authorization.is_none() && head.session().is_none();
            return Err(Box::new(Refused {
                cx,
                fault,
                actor,
                anonymous,
            }));
        }
    }
    match read_query {
        Ok(query) => cx.query = query,
        Err(fault) => return Err(refused(cx, fault)),
    }
    let input = match body {
        Some(body) if upload => body::upload(&mut cx, parts, body).await,
        Some(body) if route.writes() => body::api(&mut cx, parts, body).await,
        _ => early,
    };
    match input {
        Ok(input) => {
            cx.input = input;
            Ok(cx)
        }
        Err(fault) => Err(refused(cx, fault)),
    }
}

/// What is left of a request for its answer.
struct Rest {
    shown: Cx,
    actor: String,
}

async fn serve(
    shared: Arc<Shared>,
    route: &'static Route,
    handler: Handler,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let id: [u8; 16] = shared.random();
    let connection = parts
        .extensions
        .get::<Peer>()
        .map_or(IpAddr::from([0; 4]), |p| p.0);
    let forwarded = parts.headers.get_all("x-forwarded-for").iter();
    let forwarded: Vec<&str> = forwarded.filter_map(|v| v.to_str().ok()).collect();
    let client = shared.client(connection, &forwarded);
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |p| p.as_str())
        .to_owned();
    let (rest, done) = match begun(&shared, route, &parts, body, client, id).await {
        Ok(cx) => acted(&shared, route, handler, cx).await,
        Err(refused) => {
            let Refused {
                cx,
                fault,
                actor,
                anonymous,
            } = *refused;
            let mut rest = rest(&cx);
            if let Some(actor) = actor {
                rest.actor = actor;
            }
            let done = match anonymous {
                true => {
                    shared.anonymous.fetch_add(1, Ordering::Relaxed);
                    Err(fault)
                }
                false => audited(&shared, route, &rest, Err(fault)).await,
            };
            (rest, done)
        }
    };
    let name = request_id(&id);
    let (mut response, fault) = match done {
        Ok(done) => (done.response, None),
        Err(fault) => (
            failed(route, &rest.shown, fault, &name, &target).await,
            Some(fault),
        ),
    };
    reply::finish(&mut response, fault, &name);
    response
}

/// Runs the handler, and appends its record. What has a record runs in a task of its own: a client that leaves ends neither.
async fn acted(
    shared: &Arc<Shared>,
    route: &'static Route,
    handler: Handler,
    cx: Cx,
) -> (Rest, Result<Done, Fault>) {
    let (own, spare, of) = (rest(&cx), rest(&cx), Arc::clone(shared));
    let act = async move {
        let done = handler(cx).await;
        let done = audited(&of, route, &own, done).await;
        (own, done)
    };
    if !route.audited {
        return act.await;
    }
    match shared.actions.spawn(act).await {
        Ok(acted) => acted,
        Err(_) => (spare, Err(Fault::Auth(AuthError::Bug))),
    }
}

fn rest(cx: &Cx) -> Rest {
    Rest {
        actor: cx.actor(),
        shown: Cx {
            shared: Arc::clone(&cx.shared),
            route: cx.route,
            handlers: cx.handlers,
            path: cx.path.clone(),
            vars: cx.vars.clone(),
            query: cx.query.clone(),
            input: match &cx.input {
                Input::Fields(fields) if cx.route.class == Class::Login => {
                    Input::Fields(fields.without("password").without("code"))
                }
                _ => Input::None,
            },
            who: cx.who.clone(),
            client: cx.client,
            charge: cx.charge,
            request: cx.request,
            cookie: None,
            host: cx.host.clone(),
            last_event: None,
            gzip: cx.gzip,
            now_ms: cx.now_ms,
            upload: None,
            lease: None,
            part: false,
            target: Arc::clone(&cx.target),
        },
    }
}

/// Appends the audit record that the request is to have, unless its change has it already. Requests beyond a limit are counted by the
/// limit alone, so that a flood does not fill the log.
async fn audited(
    shared: &Shared,
    route: &'static Route,
    rest: &Rest,
    done: Result<Done, Fault>,
) -> Result<Done, Fault> {
    let verdict = match &done {
        Ok(d) if d.audited || !route.audited => return done,
        Ok(_) => Verdict::Done,
        Err(Fault::Auth(AuthError::Wait(_)) | Fault::Unavailable | Fault::Busy) => return done,
        Err(fault) => {
            let refused =
                matches!(fault, Fault::Auth(e) if matches!(e.kind(), Kind::LogIn | Kind::Refused));
            if !route.audited && !refused {
                return done;
            }
            fault.verdict()
        }
    };
    let (actor, request) = (rest.actor.clone(), rest.shown.request);
    let (target, before, after) = match &done {
        Ok(done) => (done.target.clone(), done.before, done.after),
        Err(_) => (rest.shown.tried(), None, None),
    };
    let noted = shared.desk.with(move |core, now, tx| {
        let entry = Entry {
            actor: &actor,
            action: route.id,
            target: &target,
            before,
            after,
            verdict,
            request,
        };
        core.audit(now.unix_ms, entry, tx);
    });
    noted.await?;
    done
}

/// The answer to a request that failed: a problem, a login, or a page.
async fn failed(route: &Route, shown: &Cx, fault: Fault, name: &str, target: &str) -> Response {
    let open = route.access == Access::Open;
    if route.is_api() {
        return reply::problem(fault, name);
    }
    let logs_in = matches!(fault, Fault::Auth(e) if e.kind() == Kind::LogIn);
    if logs_in && !open && !route.writes() {
        let mut next = form_urlencoded::Serializer::new(String::new());
        next.append_pair("next", target);
        return reply::see_other(&format!("/login?{}", next.finish()));
    }
    if open
        && route.class == Class::Login
        && let Ok(response) = login::refused(shown, fault).await
    {
        return response;
    }
    if shown.who.is_none() {
        return reply::page(fault.status(), page::bare(fault, name));
    }
    reply::page(fault.status(), page::fault(shown, fault))
}
