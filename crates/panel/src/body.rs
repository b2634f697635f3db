//! Bodies of requests: bounded in length and time. A form with a file is read only after its sender was admitted.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest as _, Multipart, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use betanet_auth::Error as AuthError;
use betanet_auth::routes::Route;
use betanet_auth::session::SessionToken;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};

use crate::cx::{Cx, Input};
use crate::fault::Fault;
use crate::form::Fields;
use crate::jobs::FILE_MAX;
use crate::shared::MODULE_MAX;

/// Longest body of a form or a JSON request.
pub(crate) const BODY_MAX: usize = 64 << 10;
/// Longest body of a form or a JSON request with a job file: each of its bytes takes six at most, as a line's end does in a form.
pub(crate) const JOB_MAX: usize = 6 * FILE_MAX + (4 << 10);
/// Longest body of a form with a file.
pub(crate) const FORM_MAX: usize = MODULE_MAX + BODY_MAX;
/// Longest first field of a form with a file.
const FIRST_MAX: usize = 256;
/// Time for a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Refuses a body that is announced as longer than its bound.
fn fits(body: &Body, most: usize) -> Result<(), Fault> {
    match usize::try_from(body.size_hint().lower()) {
        Ok(n) if n <= most => Ok(()),
        _ => Err(Fault::TooLarge),
    }
}

/// Reads a body up to a bound, in time.
async fn read(body: Body, most: usize) -> Result<Bytes, Fault> {
    fits(&body, most)?;
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

/// Whether a request is a form with a file. One route takes them.
pub(crate) fn is_upload(route: &Route, parts: &Parts) -> bool {
    route.id == "submitTaskForm" && content_type(parts) == "multipart/form-data"
}

/// Whether forms of a route may be longer than those of others.
pub(crate) fn is_long(route: &Route) -> bool {
    most(route) > BODY_MAX
}

/// Bound of a form or a JSON request of a route.
fn most(route: &Route) -> usize {
    match route.id {
        "planJobForm" | "runJobForm" | "planJob" | "runJob" => JOB_MAX,
        _ => BODY_MAX,
    }
}

/// Reads a form without a file, and takes its form token out. One that may be long is so only if its session is known to count.
pub(crate) async fn form(
    route: &Route,
    parts: &Parts,
    (body, known): (Body, bool),
    form_token: &mut Option<String>,
) -> Result<Input, Fault> {
    if content_type(parts) != "application/x-www-form-urlencoded" {
        return Err(Fault::Type);
    }
    let most = if known { most(route) } else { BODY_MAX };
    let all = Fields::read(&read(body, most).await?)?;
    let token = all.raw("form_token");
    *form_token = Some(token.to_owned()).filter(|t| !t.is_empty());
    Ok(Input::Fields(all.without("form_token")))
}

/// The reason why a form with a file cannot be read.
pub(crate) fn broken(error: &MultipartError) -> Fault {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::TooLarge,
        _ => Fault::Slow,
    }
}

/// The form token, which is the first field of a form with a file.
async fn first(form: &mut Multipart) -> Result<String, Fault> {
    let field = form.next_field().await.map_err(|e| broken(&e))?;
    let mut field = field.ok_or(Fault::Field("form_token"))?;
    if field.name() != Some("form_token") {
        return Err(Fault::Field("form_token"));
    }
    let mut text = String::new();
    while let Some(piece) = field.chunk().await.map_err(|e| broken(&e))? {
        text += std::str::from_utf8(&piece).map_err(|_| Fault::Type)?;
        if text.len() > FIRST_MAX {
            return Err(Fault::Field("form_token"));
        }
    }
    Ok(text)
}

/// Begins to read a form with a file, whose sender was admitted but for the form token. The file stays unread.
pub(crate) async fn upload(cx: &mut Cx, parts: &Parts, body: Body) -> Result<Input, Fault> {
    fits(&body, FORM_MAX)?;
    cx.uploads()?;
    let request = Request::from_parts(parts.clone(), body);
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|_| Fault::Type)?;
    let token = tokio::time::timeout(BODY_TIME, first(&mut form)).await;
    let token = token.map_err(|_| Fault::Slow)??;
    let session = cx.cookie.as_deref().and_then(SessionToken::from_cookies);
    let session = session.ok_or(AuthError::Credentials)?;
    session.check_form(Some(&token))?;
    Ok(Input::File(Box::new(form)))
}

/// Reads the body of a request of the API, after it was admitted.
pub(crate) async fn api(cx: &mut Cx, parts: &Parts, body: Body) -> Result<Input, Fault> {
    if cx.route.id == "putModule" {
        cx.uploads()?;
        return Ok(Input::Bytes(read(body, MODULE_MAX).await?));
    }
    let bytes = read(body, most(cx.route)).await?;
    if bytes.is_empty() {
        return Ok(Input::Fields(Fields::default()));
    }
    if content_type(parts) != "application/json" {
        return Err(Fault::Type);
    }
    Ok(Input::Fields(Fields::of_json(&bytes)?))
}
