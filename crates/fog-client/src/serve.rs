//! Blobs of this node for its peers.

use std::sync::Arc;

use betanet_bar::{Client, Method, parse_range};
use betanet_blobs::{Blobs, Digest, Error as BlobError};
use betanet_fog::bodies::RefusalBody;
use betanet_fog::{Refusal, RefusalCode, to_vec};
use betanet_runtime::{Call, Reply, Service, ServiceFuture};
use betanet_wire::text;
use futures_util::stream::unfold;
use tokio::sync::Semaphore;

/// Blobs that peers read at a time: the others of the store's reads are this node's own.
pub const SERVED_MAX: usize = 32;

/// Prefix of the paths that a [`BlobService`] answers.
pub const BLOB_PREFIX: &str = "/fog/1/blob/";

type May = dyn Fn(Client, &Digest) -> bool + Send + Sync;

/// Gives a store's blobs to peers, and takes none: `GET /fog/1/blob/<sha256>`, whole or from a range.
#[derive(Clone)]
pub struct BlobService {
    blobs: Blobs,
    may: Arc<May>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for BlobService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobService")
    }
}

impl BlobService {
    /// Serves the blobs that `may` allows a client. One that may not have a blob is told that there is none.
    #[must_use]
    pub fn new(
        blobs: Blobs,
        may: impl Fn(Client, &Digest) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            blobs,
            may: Arc::new(may),
            places: Arc::new(Semaphore::new(SERVED_MAX)),
        }
    }

    async fn answer(&self, call: &Call) -> Result<Reply, Refusal> {
        let name = call.request.path().strip_prefix(BLOB_PREFIX);
        let digest = name.and_then(text::unhex_array::<32>).map(Digest);
        let digest = digest.ok_or(RefusalCode::Unknown.of("digest"))?;
        if call.request.method != Method::Get {
            return Err(RefusalCode::Role.bare());
        }
        let size = Some(digest).filter(|digest| (self.may)(call.client, digest));
        let size = size.and_then(|digest| self.blobs.has(digest));
        let size = size.ok_or(RefusalCode::Unknown.of("digest"))?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| RefusalCode::Rate.bare())?;
        let mut reply = Reply::new(betanet_bar::status::OK)
            .with_header("content-type", "application/octet-stream");
        let mut span = 0..size;
        if let Some(range) = call.request.headers.text("range") {
            let part = parse_range(range, size).ok_or(RefusalCode::BadValue.of("range"))?;
            span = part.start..part.end;
            let last = span.end - 1;
            let range = format!("bytes {}-{last}/{size}", span.start);
            reply = reply.with_header("content-range", range);
        }
        let reply = reply.with_header("content-length", (span.end - span.start).to_string());
        let content = self.blobs.get(digest, span).await;
        let content = content.map_err(|error| refusal(&error))?;
        Ok(reply.streaming(unfold(
            (content, place),
            |(mut content, place)| async move {
                let piece = content.part().await?;
                Some((piece, (content, place)))
            },
        )))
    }
}

/// The refusal for an error of the store.
fn refusal(error: &BlobError) -> Refusal {
    let code = error.code().and_then(RefusalCode::from_word);
    if code.is_none() {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the blob store failed"
        );
    }
    code.unwrap_or(RefusalCode::DiskFloor).bare()
}

impl Service for BlobService {
    fn call(&self, call: Call) -> ServiceFuture {
        let service = self.clone();
        Box::pin(async move {
            let refusal = match service.answer(&call).await {
                Ok(reply) => return reply,
                Err(refusal) => refusal,
            };
            let (status, again) = (refusal.code.status(), refusal.code.retry_after());
            let body = to_vec(&RefusalBody::from(refusal));
            let reply = Reply::new(status)
                .with_header("content-type", "application/cbor")
                .with_header("content-length", body.len().to_string())
                .with_body(body);
            match again {
                true => reply.with_header("retry-after", "1"),
                false => reply,
            }
        })
    }
}
