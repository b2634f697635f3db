//! The face over BAR: `/vouchers/…`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_bar::{Client, Method};
use betanet_session::{Call, CallBody, Part, Reply, Service, ServiceFuture};
use betanet_vouchers::message::MESSAGE_MAX;
use betanet_wire::{Code, cbor};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::desk::{Asker, Desk, Refusal};
use crate::forms::{CBOR, Refused};

/// Longest that a body takes to come.
pub(crate) const TIME: Duration = Duration::from_secs(30);

/// Reads the wire code of a refusal's body; `None` if it has none.
#[must_use]
pub fn refusal(body: &[u8]) -> Option<Code> {
    let refused = cbor::from_slice::<Refused>(body);
    refused.ok().map(|r| Code(r.code))
}

impl Refusal {
    /// The body: `{"code": u16}`.
    pub(crate) fn body(self) -> Vec<u8> {
        cbor::to_vec(&Refused { code: self.code.0 })
    }
}

/// The service for the prefix `/vouchers`.
pub(crate) struct BarService(pub(crate) Arc<Desk>);

impl Service for BarService {
    fn call(&self, call: Call) -> ServiceFuture {
        let desk = Arc::clone(&self.0);
        Box::pin(async move {
            desk.counted.requests.fetch_add(1, Ordering::Relaxed);
            match answer(&desk, call).await {
                Ok(body) => whole(200, body),
                Err(refusal) => {
                    desk.counted.refused.fetch_add(1, Ordering::Relaxed);
                    refused(refusal)
                }
            }
        })
    }
}

async fn answer(desk: &Arc<Desk>, call: Call) -> Result<Bytes, Refusal> {
    let by = match call.client {
        Client::Direct(node) => Asker {
            node: Some(node),
            charge: Some(call.from.charge),
        },
        Client::Anonymous => Asker {
            node: None,
            charge: None,
        },
    };
    let request = &call.request;
    let path = request
        .path()
        .strip_prefix(crate::PREFIX)
        .unwrap_or_default();
    match (request.method, path) {
        (Method::Get, "/keysets") => return desk.keysets(by),
        (Method::Post, "/redeem" | "/swap" | "/issue" | "/restore" | "/signed") => {}
        (_, "/keysets" | "/redeem" | "/swap" | "/issue" | "/restore" | "/signed") => {
            return Err(Refusal::malformed());
        }
        _ => return Err(Refusal::elsewhere()),
    }
    let length = request.headers.content_length().ok().flatten();
    if length.is_some_and(|n| n > MESSAGE_MAX as u64) {
        return Err(Refusal::malformed());
    }
    // It is given back once the request is answered.
    let mut part = desk.room.part(by.charge).ok_or(Refusal::busy())?;
    let read = tokio::time::timeout(TIME, read(call.body, &mut part)).await;
    let body = read.unwrap_or(Err(Refusal::malformed()))?;
    let answered = match path {
        "/redeem" => desk.redeem(by, body).await,
        "/swap" => desk.swap(by, body).await,
        "/issue" => desk.issue(by, body).await,
        "/signed" => desk.report(by, &body).await,
        _ => desk.restore(by, body).await,
    };
    answered.map(Bytes::from)
}

/// Reads the whole body into memory that is charged to `part`.
async fn read(mut body: CallBody, part: &mut Part) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let mut all = Zeroizing::new(Vec::new());
    while let Some(piece) = body.chunk().await.map_err(|_| Refusal::malformed())? {
        if all.len() + piece.len() > MESSAGE_MAX {
            return Err(Refusal::malformed());
        }
        if !part.grow(piece.len()) {
            return Err(Refusal::busy());
        }
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn whole(status: u16, body: impl Into<Bytes>) -> Reply {
    let body: Bytes = body.into();
    Reply::new(status)
        .with_header("content-type", CBOR)
        .with_header("content-length", body.len().to_string())
        .with_body(body)
}

fn refused(refusal: Refusal) -> Reply {
    let reply = whole(refusal.status, refusal.body());
    match refusal.retry_after {
        Some(seconds) => reply.with_header("retry-after", seconds.to_string()),
        None => reply,
    }
}
