//! From a request to its answer: host, credentials, limits, form token and rights by the table of routes; then the handler; then the
//! audit log.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, ORIGIN,
};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use betanet_auth::admission::{Caller, Fields as Shown};
use betanet_auth::audit::{Entry, Verdict};
use betanet_auth::limit::Class;
use betanet_auth::routes::{Access, Method, ROUTES, Route, find, is_api};
use betanet_auth::session::SessionToken;
use betanet_auth::{Error as AuthError, Kind};
use betanet_wire::ChargeTo;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};

use crate::cx::{Cx, Input, Who, request_id};
use crate::fault::Fault;
use crate::form::{Fields, QUERY_MAX};
use crate::handlers::{self, Handler};
use crate::page;
use crate::pages::login;
use crate::reply::{self, Done};
use crate::shared::{MODULE_MAX, Shared};

/// Longest body of a form or a JSON request.
pub(crate) const BODY_MAX: usize = 64 << 10;
/// Longest first field of a form with a file.
const FIRST_MAX: usize = 256;
/// Time for a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// The address of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

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
}

/// Reads a body up to a bound, in time.
async fn read(body: Body, most: usize) -> Result<Bytes, Fault> {
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, most).collect()).await;
    match whole.map_err(|_| Fault::Slow)? {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Fault::TooLarge),
        Err(_) => Err(Fault::Slow),
    }
}

fn content_type(parts: &Parts) -> &str {
    let value = parts.headers.get(CONTENT_TYPE);
    let text = value.and_then(|v| v.to_str().ok()).unwrap_or("");
    text.split(';').next().unwrap_or("").trim()
}

/// Reads the body of a form, and takes its form token out. A file stays unread.
async fn form(parts: &Parts, body: Body, head: &mut Head) -> Result<Input, Fault> {
    match content_type(parts) {
        "application/x-www-form-urlencoded" => {
            let bytes = read(body, BODY_MAX).await?;
            let all = Fields::read(&bytes)?;
            let token = all.raw("form_token");
            head.form_token = Some(token.to_owned()).filter(|t| !t.is_empty());
            Ok(Input::Fields(all.without("form_token")))
        }
        "multipart/form-data" => {
            let mut request = Request::from_parts(parts.clone(), body);
            *request.body_mut() = Body::new(Limited::new(
                std::mem::take(request.body_mut()),
                MODULE_MAX + BODY_MAX,
            ));
            let form = Multipart::from_request(request, &()).await;
            let mut form = form.map_err(|_| Fault::Type)?;
            let first = tokio::time::timeout(BODY_TIME, first(&mut form)).await;
            head.form_token = Some(first.map_err(|_| Fault::Slow)??);
            Ok(Input::File(Box::new(form)))
        }
        _ => Err(Fault::Type),
    }
}

/// The form token, which is the first field of a form with a file.
async fn first(form: &mut Multipart) -> Result<String, Fault> {
    let field = form.next_field().await.map_err(|_| Fault::Slow)?;
    let mut field = field.ok_or(Fault::Field("form_token"))?;
    if field.name() != Some("form_token") {
        return Err(Fault::Field("form_token"));
    }
    let mut text = String::new();
    while let Some(piece) = field.chunk().await.map_err(|_| Fault::Slow)? {
        text += std::str::from_utf8(&piece).map_err(|_| Fault::Type)?;
        if text.len() > FIRST_MAX {
            return Err(Fault::Field("form_token"));
        }
    }
    Ok(text)
}

/// Reads the body of a request of the API, after it was admitted.
async fn api_body(cx: &mut Cx, parts: &Parts, body: Body) -> Result<Input, Fault> {
    if cx.route.id == "putModule" {
        cx.uploads()?;
        return Ok(Input::Bytes(read(body, MODULE_MAX).await?));
    }
    let bytes = read(body, BODY_MAX).await?;
    if bytes.is_empty() {
        return Ok(Input::Fields(Fields::default()));
    }
    if content_type(parts) != "application/json" {
        return Err(Fault::Type);
    }
    let value = serde_json::from_slice(&bytes).map_err(|_| Fault::Field("body"))?;
    Ok(Input::Fields(Fields::of_json(&value)?))
}

/// Admits a request; `None` is an anonymous caller of an open route. A refusal comes with the actor for the audit log, if the
/// credentials name one.
async fn admit(
    shared: &Shared,
    route: &'static Route,
    head: &Head,
    address: ChargeTo,
) -> Result<Option<Who>, (Fault, Option<String>)> {
    let owned = head.clone();
    let admitted = shared.desk.with(move |core, now, tx| {
        let shown = owned.shown(address);
        let caller: Option<Caller> = match core.admit(now, route, &shown, tx) {
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
    let session = head.cookie.as_deref().and_then(SessionToken::from_cookies);
    let form = session.map_or_else(String::new, |s| s.form_token().expose().to_owned());
    Ok(Some(Who {
        caller,
        name,
        grants,
        form,
    }))
}

/// Decoded segments of the path.
fn variables(method: Method, path: &str) -> Vec<String> {
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

/// A request that was not admitted, or cannot be read.
struct Refused {
    cx: Cx,
    fault: Fault,
    /// The actor for the audit log, if it is not the caller.
    actor: Option<String>,
}

fn refused(cx: Cx, fault: Fault, actor: Option<String>) -> Box<Refused> {
    Box::new(Refused { cx, fault, actor })
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
    let mut cx = Cx {
        shared: Arc::clone(shared),
        route,
        vars: variables(route.method, &path),
        path,
        query: Fields::default(),
        input: Input::None,
        who: None,
        client,
        charge: address,
        request,
        cookie: head.cookie.clone(),
        last_event: last.and_then(|v| v.to_str().ok()).map(str::to_owned),
        gzip,
        now_ms: shared.now_ms(),
        upload: None,
    };
    let query = parts.uri.query().unwrap_or("");
    let read_query = match query.len() <= QUERY_MAX {
        true => Fields::read(query.as_bytes()),
        false => Err(Fault::TooLarge),
    };
    // A form has its token in its body, so that is read first. It is bounded, and each connection has one.
    let (mut body, mut early) = (Some(body), Ok(Input::None));
    if route.writes()
        && !route.is_api()
        && let Some(body) = body.take()
    {
        early = form(parts, body, &mut head).await;
    }
    match admit(shared, route, &head, address).await {
        Ok(who) => cx.who = who,
        Err((fault, actor)) => {
            cx.input = early.unwrap_or(Input::None);
            return Err(refused(cx, fault, actor));
        }
    }
    match read_query {
        Ok(query) => cx.query = query,
        Err(fault) => return Err(refused(cx, fault, None)),
    }
    let input = match body {
        Some(body) if route.writes() => api_body(&mut cx, parts, body).await,
        _ => early,
    };
    match input {
        Ok(input) => {
            cx.input = input;
            Ok(cx)
        }
        Err(fault) => Err(refused(cx, fault, None)),
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
        Ok(cx) => {
            let rest = rest(&cx);
            (rest, handler(cx).await)
        }
        Err(refused) => {
            let Refused { cx, fault, actor } = *refused;
            let mut rest = rest(&cx);
            if let Some(actor) = actor {
                rest.actor = actor;
            }
            (rest, Err(fault))
        }
    };
    let done = match audited(&shared, route, &rest, done).await {
        Ok(done) => done,
        Err(fault) => Err(fault),
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

fn rest(cx: &Cx) -> Rest {
    Rest {
        actor: cx.actor(),
        shown: Cx {
            shared: Arc::clone(&cx.shared),
            route: cx.route,
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
            last_event: None,
            gzip: cx.gzip,
            now_ms: cx.now_ms,
            upload: None,
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
) -> Result<Result<Done, Fault>, Fault> {
    let verdict = match &done {
        Ok(d) if d.audited || !route.audited => return Ok(done),
        Ok(_) => Verdict::Done,
        Err(Fault::Auth(AuthError::Wait(_)) | Fault::Unavailable | Fault::Busy) => return Ok(done),
        Err(fault) => {
            let refused =
                matches!(fault, Fault::Auth(e) if matches!(e.kind(), Kind::LogIn | Kind::Refused));
            if !route.audited && !refused {
                return Ok(done);
            }
            fault.verdict()
        }
    };
    let (actor, request) = (rest.actor.clone(), rest.shown.request);
    let (target, before, after) = match &done {
        Ok(done) => (done.target.clone(), done.before, done.after),
        Err(_) => (rest.shown.vars.join("/"), None, None),
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
    Ok(done)
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
