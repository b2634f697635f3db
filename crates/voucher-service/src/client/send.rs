//! One request, with its repetitions.

use std::sync::PoisonError;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_keys::Peer;
use betanet_runtime::{Answer, Error as RuntimeError, ErrorKind, SessionError};
use betanet_wire::{Code, cbor};
use bytes::Bytes;
use tokio::time::timeout;

use super::{ClientError, LINKS_MAX, Link, Part, VoucherClient};
use crate::forms::Refused;

/// First pause before a repetition; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that a node may ask for.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Longest body that travels in a request's head.
const INLINE: usize = 32 << 10;
/// Bytes of a body that are sent at once.
const PIECE: usize = 64 << 10;
/// Longest body of a refusal that is read.
const REFUSAL_MAX: usize = 4_096;
/// Factor on the time limits over the mix, whose packets wait at each relay.
const MIX_FACTOR: u32 = 6;

impl VoucherClient {
    /// Sends a request until the node answers; the same bytes each time. Returns the answer's body of at most `max` bytes.
    pub(super) async fn send(
        &self,
        what: &'static str,
        at: &Peer,
        asked: (Method, &str, &[u8]),
        max: usize,
    ) -> Result<Vec<u8>, ClientError> {
        let began = self.0.clock.elapsed();
        let mut pause = PAUSE;
        for attempt in 1.. {
            let error = match self.attempt(what, at, asked, max).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            };
            let wait = match &error {
                ClientError::Refused { retry_after, .. } if error.kind() == ErrorKind::Network => {
                    retry_after.unwrap_or(pause).min(PAUSE_MAX).max(PAUSE)
                }
                error if error.kind() == ErrorKind::Network => pause,
                _ => return Err(error),
            };
            let waited = self.0.clock.elapsed().saturating_sub(began);
            let patience = self.0.patience;
            if attempt >= patience.tries || waited.saturating_add(wait) > patience.repeat {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(ClientError::Answer {
            what,
            part: Part::Request,
        })
    }

    async fn attempt(
        &self,
        what: &'static str,
        at: &Peer,
        (method, path, body): (Method, &str, &[u8]),
        max: usize,
    ) -> Result<Vec<u8>, ClientError> {
        let limit = self.0.patience.answer;
        let late = |after| ClientError::Late { what, after };
        let connected = timeout(limit * MIX_FACTOR, self.link(what, at)).await;
        let link = connected.map_err(|_| late(limit * MIX_FACTOR))??;
        let limit = match &link {
            Link::Direct(_) => limit,
            Link::Mix(_) => limit * MIX_FACTOR,
        };
        let session = |source: RuntimeError| ClientError::Session {
            what,
            source: Box::new(source),
        };
        let exchanged = async {
            let answered = exchange(&link, method, path, body).await;
            let mut answer = answered.map_err(|e| session(e.into()))?;
            let status = answer.head.status;
            let max = if status == 200 { max } else { REFUSAL_MAX };
            let read = answer.body.all(max).await.map_err(|e| session(e.into()))?;
            let read = read.ok_or(ClientError::Answer {
                what,
                part: Part::Body,
            })?;
            Ok((status, answer.head.headers, read))
        };
        let (status, headers, read) =
            timeout(limit, exchanged).await.map_err(|_| late(limit))??;
        if status == 200 {
            return Ok(read);
        }
        let code = cbor::from_slice::<Refused>(&read)
            .ok()
            .map(|r| Code(r.code));
        let seconds = headers.text("retry-after").and_then(|s| s.parse().ok());
        Err(ClientError::Refused {
            what,
            status,
            code,
            retry_after: seconds.map(Duration::from_secs),
        })
    }

    /// An open session with a node, or a new one.
    async fn link(&self, what: &'static str, at: &Peer) -> Result<Link, ClientError> {
        let name = at.name();
        {
            let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.retain(|_, link| !link.is_closed());
            if let Some(link) = links.get(&name) {
                return Ok(link.clone());
            }
        }
        let link = self
            .0
            .connect
            .connect(at)
            .await
            .map_err(|source| ClientError::Session {
                what,
                source: Box::new(source),
            })?;
        let mut links = self.0.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.len() < LINKS_MAX {
            links.insert(name, link.clone());
        }
        Ok(link)
    }
}

async fn exchange(
    link: &Link,
    method: Method,
    path: &str,
    body: &[u8],
) -> Result<Answer, SessionError> {
    let mut headers = Headers::default();
    if method.has_body() {
        headers.set("content-length", body.len().to_string());
        headers.set("content-type", crate::forms::CBOR);
    }
    let mut request = Request::new(method, &format!("{}/{path}", crate::PREFIX), headers);
    if body.len() <= INLINE {
        request.body = body.to_vec();
        return link.ask(request).await;
    }
    let upload = link.upload(request).await?;
    for piece in body.chunks(PIECE) {
        // An error means that the answer is there, or tells why there is none.
        if upload.send(Bytes::copy_from_slice(piece)).await.is_err() {
            break;
        }
    }
    upload.finish().await
}
