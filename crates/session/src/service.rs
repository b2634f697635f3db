//! Services of a node: asynchronous request handlers, chosen by path prefix.
//!
//! A service receives a [`Call`] and returns a [`Reply`] later. It may wait for minutes, read the request's body as it arrives,
//! and stream its answer. Unread bytes give the client no credit, and the answer's source is polled only while there is room.
//!
//! When the client gives up or its session ends, the service's future is dropped.

mod allowance;
mod body;
mod exchange;
mod handler;
mod own_task;
mod reply;
mod router;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use betanet_bar::{Client, Request, Response, status};
use betanet_wire::ChargeTo;

use crate::streams::session_id;

pub use body::{BodyError, CallBody};
pub use handler::HandlerService;
pub use reply::{BodySource, Broken, Next, Reply, ReplyBody};
pub use router::Router;
pub use tower_service::Service as TowerService;

pub use allowance::{Allowance, CHUNK, Lent, TRICKLE};
pub use exchange::{Exchange, Running};
pub use own_task::OwnTask;

/// The future that a service returns.
pub type ServiceFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers requests.
///
/// Each call to a registered service runs in its own task: one that waits, or panics, does not delay any other. Work that
/// occupies a processor or waits for a disk belongs on another thread ([`tokio::task::spawn_blocking`]).
///
/// An async function or closure is a service:
///
/// ```
/// use betanet_session::{Call, Reply, Service};
///
/// async fn greet(call: Call) -> Reply {
///     Reply::text(200, format!("hello from {}", call.request.path()))
/// }
///
/// fn is_service(_: impl Service) {}
/// is_service(greet);
/// ```
pub trait Service: Send + Sync + 'static {
    /// Starts to answer a request.
    fn call(&self, call: Call) -> ServiceFuture;
}

impl<F, T, R> Service for F
where
    F: Fn(Call) -> T + Send + Sync + 'static,
    T: Future<Output = R> + Send + 'static,
    R: Into<Reply>,
{
    fn call(&self, call: Call) -> ServiceFuture {
        let reply = self(call);
        Box::pin(async move { reply.await.into() })
    }
}

impl Service for Arc<dyn Service> {
    fn call(&self, call: Call) -> ServiceFuture {
        (**self).call(call)
    }
}

/// Adapts a tower service to a [`Service`], so that layers for limits, timeouts and tracing can wrap it. An error is answered
/// with 500.
#[derive(Clone, Debug)]
pub struct Tower<S>(pub S);

impl<S> Service for Tower<S>
where
    S: TowerService<Call> + Clone + Send + Sync + 'static,
    S::Response: Into<Reply>,
    S::Error: std::fmt::Display + Send,
    S::Future: Send,
{
    fn call(&self, call: Call) -> ServiceFuture {
        let mut service = self.0.clone();
        Box::pin(async move {
            let ready = std::future::poll_fn(|cx| service.poll_ready(cx)).await;
            let answered = match ready {
                Ok(()) => service.call(call).await,
                Err(error) => Err(error),
            };
            match answered {
                Ok(reply) => reply.into(),
                Err(error) => {
                    tracing::warn!(%error, "a service failed");
                    Response::new(status::INTERNAL).into()
                }
            }
        })
    }
}

/// A request and its client.
#[derive(Debug)]
pub struct Call {
    /// Method, path and headers.
    pub request: Request,
    /// The client: the peer of a direct session, or an unknown client.
    pub client: Client,
    /// The body, readable as it arrives.
    pub body: CallBody,
    /// The session on which the request arrived.
    pub from: RequestSource,
}

/// Origin of a request, for limiting the resources that one client occupies.
#[derive(Clone, Debug)]
pub struct RequestSource {
    /// Number of the session.
    pub session: u64,
    /// The party charged for the request.
    pub charge: ChargeTo,
    /// Memory allowance of the session's answers.
    pub allowance: Allowance,
}

impl RequestSource {
    /// Creates the source for a new session charged to this party.
    pub fn of(charge: ChargeTo) -> Self {
        Self {
            session: session_id(),
            charge,
            allowance: Allowance::default(),
        }
    }
}
