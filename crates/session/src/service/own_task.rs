//! A service wrapper that runs each call in its own task.

use std::sync::Arc;

use betanet_bar::status;
use tokio_util::task::AbortOnDropHandle;

use super::{Call, Reply, Service, ServiceFuture};

/// Runs each call in its own task. A service that works long between two awaits then does not delay other exchanges of the
/// session.
pub struct OwnTask(Arc<dyn Service>);

impl OwnTask {
    /// Wraps this service.
    pub fn new(service: impl Service) -> Self {
        Self(Arc::new(service))
    }
}

impl Service for OwnTask {
    fn call(&self, call: Call) -> ServiceFuture {
        let service = Arc::clone(&self.0);
        Box::pin(async move {
            let task = tokio::spawn(async move { service.call(call).await });
            // Dropping the handle ends the task.
            let answered = AbortOnDropHandle::new(task).await;
            // The panic hook has already reported a panic of the service.
            answered.unwrap_or_else(|_| Reply::new(status::INTERNAL))
        })
    }
}

#[cfg(test)]
mod tests {
    use betanet_bar::{Client, Headers, Method, Request};
    use betanet_wire::ChargeTo;

    use super::*;
    use crate::service::{CallBody, RequestSource};

    fn call() -> Call {
        Call {
            request: Request::new(Method::Get, "/", Headers::default()),
            client: Client::Anonymous,
            body: CallBody::whole("".into()),
            from: RequestSource::of(ChargeTo::Unknown),
        }
    }

    #[tokio::test]
    async fn each_call_is_another_task_and_ends_with_who_waits_for_it() {
        let service = OwnTask::new(|_: Call| async {
            Reply::text(200, format!("{:?}", tokio::task::try_id()))
        });
        let [one, other] = [service.call(call()).await, service.call(call()).await];
        assert_eq!((one.head.status, other.head.status), (200, 200));
        assert_ne!(
            one.head.headers.content_length(),
            Ok(Some("None".len() as u64))
        );

        let (kept, gone) = tokio::sync::oneshot::channel::<()>();
        let kept = Arc::new(std::sync::Mutex::new(Some(kept)));
        let service = OwnTask::new(move |_: Call| {
            let kept = kept.lock().unwrap().take();
            async move {
                let _kept = kept;
                std::future::pending::<Reply>().await
            }
        });
        let mut answering = service.call(call());
        let polled = futures_util::poll!(&mut answering);
        assert!(polled.is_pending());
        // The task begins.
        tokio::task::yield_now().await;
        drop(answering);
        assert!(gone.await.is_err(), "its future was dropped");
        // This acts like a panic but skips the panic count, which other tests check.
        let service = OwnTask::new(|_: Call| async move {
            std::panic::resume_unwind(Box::new("on purpose"));
            #[allow(unreachable_code, reason = "the type of what is never said")]
            Reply::new(200)
        });
        assert_eq!(service.call(call()).await.head.status, status::INTERNAL);
    }
}
