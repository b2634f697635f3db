use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{AdminRequest, Extension, Gateway};

/// Maximum number of concurrent admin connections.
const CONNECTIONS: usize = 64;
/// Maximum number of requests to extensions, which may wait long. The other connections are for the node's own pages.
const EXTENDED: usize = CONNECTIONS - 16;
/// Time that an answer waits for the node's tasks.
const PATIENCE: Duration = Duration::from_secs(5);

/// An admin address. It is served until this is dropped.
#[derive(Debug)]
pub struct Admin(#[allow(dead_code, reason = "dropping it is what it is for")] DropGuard);

/// Serves `/metrics`, `/healthz`, `/status` and `/peers` on a local port until the returned value is dropped. It runs on its own
/// thread, so a node whose executor is stuck can still report the cause.
///
/// # Errors
///
/// The system cannot start a thread, or the socket cannot be used.
pub fn serve_admin(listener: std::net::TcpListener, gateway: Arc<Gateway>) -> io::Result<Admin> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    let listener = {
        let _in = runtime.enter();
        TcpListener::from_std(listener)?
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || {
            runtime.block_on(stop.run_until_cancelled_owned(serve(listener, gateway)));
            // Do not wait for a disk check that does not return.
            runtime.shutdown_background();
        })?;
    Ok(Admin(guard))
}

async fn serve(listener: TcpListener, gateway: Arc<Gateway>) {
    let local = listener.local_addr().is_ok_and(|a| a.ip().is_loopback());
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let extended = Arc::new(Semaphore::new(EXTENDED));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((tcp, _)) = listener.accept().await else {
            // The process is probably out of file descriptors, which is no reason to spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (gateway, extended) = (Arc::clone(&gateway), Arc::clone(&extended));
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let (gateway, extended) = (Arc::clone(&gateway), Arc::clone(&extended));
                async move { Ok::<_, Infallible>(reply(&gateway, request, local, extended).await) }
            });
            // An error here means that the visitor has left.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(tcp), service)
                .await;
            drop(permit);
        });
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// Returns whether a request names this machine, or no host. A web page that rebinds its name to this address names its own host.
#[must_use]
pub fn is_for_here(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else { return true };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Body of an answer.
type AnyBody = UnsyncBoxBody<Bytes, io::Error>;

/// Returns the extension that answers a path.
fn extension<'a>(gateway: &'a Gateway, path: &str) -> Option<&'a Arc<dyn Extension>> {
    let is_below = |of: &&str| {
        let rest = path.strip_prefix(*of);
        rest.is_some_and(|r| r.is_empty() || r.starts_with('/'))
    };
    let mut all = gateway.extensions.iter();
    all.find(|e| e.paths().iter().any(is_below))
}

fn refused(status: StatusCode, why: &'static str) -> Response<AnyBody> {
    let body = Full::new(Bytes::from_static(why.as_bytes()));
    let mut response = Response::new(body.map_err(|e| match e {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

async fn reply(
    gateway: &Gateway,
    request: Request<Incoming>,
    local: bool,
    extended: Arc<Semaphore>,
) -> Response<AnyBody> {
    // A browser names the page that sends a request which changes something.
    if request.method() != Method::GET && request.headers().contains_key(ORIGIN) {
        let why = "web pages may not change anything here\n";
        return refused(StatusCode::FORBIDDEN, why);
    }
    let here = !local || is_for_here(request.headers().get(HOST));
    let Some(extension) = extension(gateway, request.uri().path()).filter(|_| here) else {
        let answered = answer(gateway, &request, local).await;
        return answered.map(|body| body.map_err(|e| match e {}).boxed_unsync());
    };
    let Ok(permit) = extended.try_acquire_owned() else {
        let why = "48 requests are open here: try again once one has ended\n";
        return refused(StatusCode::SERVICE_UNAVAILABLE, why);
    };
    let (head, body) = request.into_parts();
    let frames = TryStreamExt::map_err(BodyStream::new(body), io::Error::other);
    let data = frames.try_filter_map(|f| std::future::ready(Ok(f.into_data().ok())));
    let answered = Arc::clone(extension)
        .answer(AdminRequest {
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            body: Box::pin(data),
        })
        .await;
    // Its place is free once the answer has left.
    let data = answered.body.map_ok(move |bytes| {
        let _ = &permit;
        Frame::data(bytes)
    });
    let body = StreamBody::new(data);
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answered.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn answer(
    gateway: &Gateway,
    request: &Request<Incoming>,
    local: bool,
) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        _ if local && !is_for_here(request.headers().get(HOST)) => (
            StatusCode::FORBIDDEN,
            TEXT,
            "this address is asked by its number or as localhost, not by another name\n".to_owned(),
        ),
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            gateway.render_metrics(),
        ),
        (&Method::GET, "/healthz") => {
            let faults = gateway.faults().await;
            if faults.is_empty() {
                (StatusCode::OK, TEXT, "ok\n".to_owned())
            } else {
                let lines = faults.iter().map(|f| format!("{f}\n")).collect();
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
            }
        }
        (&Method::GET, "/status") => {
            let status = gateway.status().await;
            (StatusCode::OK, JSON, format!("{status}\n"))
        }
        (&Method::GET, "/peers") => match tokio::time::timeout(PATIENCE, gateway.view()).await {
            Ok(Some(view)) => (StatusCode::OK, JSON, format!("{}\n", view.to_json())),
            Ok(None) => (
                StatusCode::NOT_FOUND,
                TEXT,
                "this node is part of no network: gateway --network FILE\n".to_owned(),
            ),
            Err(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "the node's tasks do not answer: see /healthz\n".to_owned(),
            ),
        },
        _ => (StatusCode::NOT_FOUND, TEXT, {
            let more = gateway.extensions.iter().flat_map(|e| e.paths());
            let more: String = more.map(|path| format!(", {path}")).collect();
            format!("try /metrics, /healthz, /status, /peers{more}\n")
        }),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(kind) = kind.parse() {
        response.headers_mut().insert("content-type", kind);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_under_another_name_is_refused() {
        let named = |host: &str| is_for_here(Some(&HeaderValue::from_str(host).unwrap()));
        assert!(is_for_here(None));
        for host in [
            "localhost",
            "LOCALHOST:9464",
            "127.0.0.1:9464",
            "[::1]:9464",
        ] {
            assert!(named(host), "{host}");
        }
        for host in [
            "rebound.example",
            "rebound.example:9464",
            "127.0.0.1.example",
            "",
            "localhost.evil",
        ] {
            assert!(!named(host), "{host}");
        }
    }
}
