//! The admin address of a worker: `/status`, `/metrics`, `/healthz`.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog_worker::Handle;
use betanet_runtime::is_for_here;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Maximum number of concurrent connections.
const CONNECTIONS: usize = 16;
/// Time in which a request's head must arrive.
const HEAD: Duration = Duration::from_secs(5);

/// Serves the address until the returned value is dropped.
pub(super) fn serve(
    listener: std::net::TcpListener,
    handle: Handle,
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
            let handle = handle.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let handle = handle.clone();
                    async move { Ok::<_, Infallible>(answer(&handle, &request).await) }
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

async fn answer(handle: &Handle, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain";
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        _ if !is_for_here(request.headers().get(HOST)) => (
            StatusCode::FORBIDDEN,
            TEXT,
            "this address is asked by its number or as localhost, not by another name\n".to_owned(),
        ),
        (&Method::GET, "/status") => {
            let status = handle.status().await;
            (StatusCode::OK, "application/json", format!("{status}\n"))
        }
        (&Method::GET, "/metrics") => (
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            handle.metrics(),
        ),
        (&Method::GET, "/healthz") => {
            let faults = handle.faults();
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
