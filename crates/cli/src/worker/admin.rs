//! The admin address of a worker: `/status`, `/metrics`, `/healthz`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog_worker::Handle;
use betanet_runtime::{Gateway, is_for_here};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Maximum number of concurrent connections.
const CONNECTIONS: usize = 16;
/// Time in which a request's head must arrive.
const HEAD: Duration = Duration::from_secs(5);

/// A running worker, and its listener if it has one.
#[derive(Clone)]
pub(super) struct View {
    pub(super) handle: Handle,
    pub(super) gateway: Option<Arc<Gateway>>,
}

impl View {
    /// Why the node is not healthy; empty if it is.
    async fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .handle
            .faults()
            .into_iter()
            .map(str::to_owned)
            .collect();
        if let Some(gateway) = &self.gateway {
            let more = gateway.faults().await;
            faults.extend(more.into_iter().map(|f| format!("{}: {}", f.what, f.why)));
        }
        faults
    }

    /// The status of the worker as a JSON object, with that of its listener.
    pub(super) async fn status(&self) -> Value {
        let mut status = self.handle.status().await;
        let faults = self.faults().await;
        status["healthy"] = faults.is_empty().into();
        status["faults"] = faults.into();
        if let Some(gateway) = &self.gateway {
            let listening = gateway.listening();
            status["listening"] = json!({
                "peer": listening.peer().to_string(),
                "addresses": listening.addresses,
                "sessions": gateway.sessions(),
            });
        }
        status
    }

    fn metrics(&self) -> String {
        let text = self.handle.metrics();
        match &self.gateway {
            // One mark ends both.
            Some(gateway) => {
                let own = text.strip_suffix("# EOF\n").unwrap_or(&text);
                format!("{own}{}", gateway.render_metrics())
            }
            None => text,
        }
    }
}

/// Serves the address until the returned value is dropped.
pub(super) fn serve(
    listener: std::net::TcpListener,
    view: View,
) -> io::Result<AbortOnDropHandle<()>> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let serving = tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let Ok((tcp, _)) = listener.accept().await else {
                // The process is probably out of file descriptors, which is no reason to spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let view = view.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let view = view.clone();
                    async move { Ok::<_, Infallible>(answer(&view, &request).await) }
                });
                // An error here means that the visitor has left.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .serve_connection(TokioIo::new(tcp), service)
                    .await;
                drop(permit);
            });
        }
    });
    Ok(AbortOnDropHandle::new(serving))
}

async fn answer(view: &View, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain";
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        _ if !is_for_here(request.headers().get(HOST)) => (
            StatusCode::FORBIDDEN,
            TEXT,
            "this address is asked by its number or as localhost, not by another name\n".to_owned(),
        ),
        (&Method::GET, "/status") => {
            let status = view.status().await;
            (StatusCode::OK, "application/json", format!("{status}\n"))
        }
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            view.metrics(),
        ),
        (&Method::GET, "/healthz") => {
            let faults = view.faults().await;
            if faults.is_empty() {
                (StatusCode::OK, TEXT, "ok\n".to_owned())
            } else {
                let lines = faults.iter().map(|f| format!("{f}\n")).collect();
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
            }
        }
        _ => (
            StatusCode::NOT_FOUND,
            TEXT,
            "GET /status, /metrics or /healthz\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
