//! Adapts a handler that answers at once to a service.

use std::sync::{Arc, Mutex, PoisonError};

use betanet_bar::{Handler, Response, status};
use bytes::{Bytes, BytesMut};

use super::{Call, Reply, Service, ServiceFuture};

/// Maximum bytes read from a body at once.
const CHUNK: usize = 64 << 10;
/// Maximum length of an answer that is sent whole and not streamed.
const WHOLE: usize = 128 << 10;

/// Serves with a [`Handler`] that does no disk access, such as that of a [`MemoryStore`](betanet_bar::MemoryStore). All clients
/// share it.
pub struct HandlerService<H>(Arc<Mutex<H>>);

impl<H> std::fmt::Debug for HandlerService<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandlerService")
    }
}

impl<H> Clone for HandlerService<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> HandlerService<H> {
    /// Creates a service from this handler.
    #[must_use]
    pub fn new(handler: H) -> Self {
        Self(Arc::new(Mutex::new(handler)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut H) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<H> Service for HandlerService<H>
where
    H: Handler + Send + 'static,
    H::Exchange: Send,
{
    fn call(&self, call: Call) -> ServiceFuture {
        let this = self.clone();
        Box::pin(async move { this.answer(call).await.unwrap_or_else(Reply::from) })
    }
}

impl<H> HandlerService<H>
where
    H: Handler + Send + 'static,
    H::Exchange: Send,
{
    async fn answer(self, mut call: Call) -> Result<Reply, Response> {
        let mut exchange = self.with(|h| h.begin(call.client, call.request))?;
        loop {
            match call.body.chunk().await {
                Ok(Some(bytes)) => self.with(|h| h.body(&mut exchange, &bytes))?,
                Ok(None) => break,
                Err(_) => return Err(Response::new(status::BAD_REQUEST)),
            }
        }
        let head = self.with(|h| h.end(&mut exchange));
        let mut body = BytesMut::new();
        // A short answer is sent whole.
        while body.len() < WHOLE {
            match self.with(|h| h.read(&mut exchange, CHUNK)) {
                Ok(bytes) if bytes.is_empty() => {
                    return Ok(Reply::from(head).with_body(body.freeze()));
                }
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(_) => return Err(Response::new(status::INTERNAL)),
            }
        }
        Ok(self.stream(head, body.freeze(), exchange))
    }

    fn stream(&self, head: Response, first: Bytes, exchange: H::Exchange) -> Reply {
        let state = (self.clone(), exchange, Some(first));
        let stream = futures_util::stream::try_unfold(state, |(this, mut x, first)| async move {
            let bytes = match first {
                Some(first) => first,
                None => this.with(|h| h.read(&mut x, CHUNK))?,
            };
            let more = !bytes.is_empty();
            Ok::<_, betanet_bar::ReadFailed>(more.then_some((bytes, (this, x, None))))
        });
        Reply::from(head).streaming(stream)
    }
}
