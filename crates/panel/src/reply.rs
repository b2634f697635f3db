//! Answers: pages, JSON, problems, redirections, and the fields that all of them have.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use maud::Markup;
use serde_json::Value;

use crate::fault::Fault;

/// A digest in the audit log.
pub(crate) type Hash = [u8; 32];

/// Rules for the browser: only files of this site, no inline script or style, no frame.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                   form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// An answer, and what the audit log has to tell about it.
pub(crate) struct Done {
    pub(crate) response: Response,
    /// Target of the action; empty for none.
    pub(crate) target: String,
    pub(crate) before: Option<Hash>,
    pub(crate) after: Option<Hash>,
    /// Whether the record stands already, in the transaction of the change.
    pub(crate) audited: bool,
}

impl From<Response> for Done {
    fn from(response: Response) -> Self {
        Self {
            response,
            target: String::new(),
            before: None,
            after: None,
            audited: false,
        }
    }
}

impl Done {
    /// The answer to an action on a target.
    pub(crate) fn on(target: impl Into<String>, response: Response) -> Self {
        Self {
            target: target.into(),
            ..response.into()
        }
    }

    /// The answer to a change whose audit record was committed with it.
    pub(crate) fn audited(response: Response) -> Self {
        Self {
            audited: true,
            ..response.into()
        }
    }
}

/// An answer with a body.
pub(crate) fn whole(status: u16, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// A page.
pub(crate) fn page(status: u16, markup: Markup) -> Response {
    whole(status, "text/html; charset=utf-8", markup.into_string())
}

/// JSON.
pub(crate) fn json(status: u16, value: &Value) -> Response {
    whole(status, "application/json", format!("{value}\n"))
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

/// Leads to a page by GET.
pub(crate) fn see_other(path: &str) -> Response {
    let mut response = empty(303);
    if let Ok(value) = HeaderValue::from_str(path) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// A problem of RFC 9457.
pub(crate) fn problem(fault: Fault, request: &str) -> Response {
    let body = format!("{}\n", fault.problem(request));
    whole(fault.status(), "application/problem+json", body)
}

/// Adds a field of an answer.
pub(crate) fn set(response: &mut Response, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response
            .headers_mut()
            .append(HeaderName::from_static(name), value);
    }
}

/// Adds the header fields of every answer. Private answers are not to be cached.
pub(crate) fn finish(response: &mut Response, fault: Option<Fault>, request: &str) {
    if let Some(seconds) = fault.and_then(Fault::retry_after) {
        set(response, "retry-after", &seconds.to_string());
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        set(response, "www-authenticate", "Bearer");
    }
    let fields: &mut HeaderMap = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", CSP),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        fields.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    fields
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    set(response, "x-request-id", request);
}
