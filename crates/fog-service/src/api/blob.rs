//! Blobs: modules, inputs, outputs.

use std::time::Duration;

use betanet_bar::parse_range;
use betanet_blobs::{BLOB_MAX, Digest as BlobDigest, Error as BlobError, Holder};
use betanet_coordinator::Request;
use betanet_fog::{DAY_MS, Digest, Refusal, RefusalCode, TaskId};
use futures_util::stream::unfold;

use super::{Answer, Api, Body, Verified};
use crate::settings::SWEEP;

/// Holders of pins: whoever stored a blob, and the tasks that name it.
const UPLOADED: Holder = [1; 32];
pub(super) const NAMED: Holder = [2; 32];

/// Time for an upload: a minute, and a second for each 16 KiB.
const fn upload_time(length: u64) -> Duration {
    Duration::from_secs(60 + length / (16 << 10))
}

impl Api {
    pub(super) async fn put_blob(
        &self,
        by: &Verified,
        digest: Digest,
        length: Option<u64>,
        body: Body,
    ) -> Result<Answer, Refusal> {
        self.may_use_blobs(by).await?;
        // Room is taken before the first byte arrives.
        let length = length.ok_or(RefusalCode::Malformed.of("content-length"))?;
        if length > BLOB_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        let digest = BlobDigest(digest);
        let put = self.blobs.put(digest, length, body);
        let stored = match tokio::time::timeout(upload_time(length), put).await {
            Ok(stored) => stored.map_err(refusal)?,
            Err(_) => return Err(RefusalCode::Rate.bare()),
        };
        self.hold(digest, UPLOADED);
        Ok(Answer::Bare(if stored.new { 201 } else { 204 }))
    }

    pub(super) async fn get_blob(
        &self,
        by: &Verified,
        digest: Digest,
        range: Option<&str>,
    ) -> Result<Answer, Refusal> {
        self.may_use_blobs(by).await?;
        let digest = BlobDigest(digest);
        let size = self.blobs.has(digest);
        let size = size.ok_or(RefusalCode::Unknown.of("digest"))?;
        let span = match range {
            None => 0..size,
            Some(text) => {
                let span = parse_range(text, size).ok_or(RefusalCode::BadValue.of("range"))?;
                span.start..span.end
            }
        };
        let mut headers = vec![("content-length", (span.end - span.start).to_string())];
        if range.is_some() && span.end > span.start {
            let last = span.end - 1;
            headers.push((
                "content-range",
                format!("bytes {}-{last}/{size}", span.start),
            ));
        }
        headers.push(("content-type", "application/octet-stream".to_owned()));
        let content = self.blobs.get(digest, span).await.map_err(refusal)?;
        let pieces = unfold(content, |mut content| async move {
            let piece = content.part().await?;
            Some((piece.map_err(std::io::Error::other), content))
        });
        Ok(Answer::Bytes(200, headers, Box::pin(pieces)))
    }

    /// Blobs are for operators, listed users, and nodes of the cluster. In a bucket, they are the leader's alone: it knows what is
    /// stored and what tasks name.
    async fn may_use_blobs(&self, by: &Verified) -> Result<(), Refusal> {
        if self.blobs.is_shared() {
            // Only a leader answers, and only within its lease.
            self.ask(by.caller.clone(), Request::Price).await?;
        }
        if self.is_known(by).await? {
            Ok(())
        } else {
            Err(RefusalCode::Role.bare())
        }
    }

    /// Keeps a blob until a day after the next sweep, by which its task may have ended.
    pub(super) fn hold(&self, digest: BlobDigest, holder: Holder) {
        let sweep = u64::try_from(SWEEP.as_millis()).unwrap_or(DAY_MS);
        let until = self.now_ms().saturating_add(DAY_MS + sweep);
        // A blob that is gone meanwhile is asked for again.
        let _ = self.blobs.pin(digest, holder, until);
    }

    /// Keeps a blob that this process stored.
    pub(crate) fn hold_upload(&self, digest: BlobDigest) {
        self.hold(digest, UPLOADED);
    }

    /// Keeps the blobs that tasks name, and lets go of pins that have ended and of logs of forgotten tasks.
    pub(crate) async fn sweep(&self) {
        // In a bucket, the leader before this one may have stored more.
        if let Err(error) = self.blobs.refresh().await {
            tracing::warn!(error = crate::driver::told(&error), "blobs were not listed");
        }
        // A task that has a log now is known, or was forgotten.
        let logged = self.logs.tasks();
        match self.handle.named().await {
            Some((blobs, tasks)) => {
                for digest in blobs {
                    self.hold(BlobDigest(digest), NAMED);
                }
                for task in logged.into_iter().filter(|t| !tasks.contains(&TaskId(t.0))) {
                    self.remove_logs(task).await;
                }
            }
            // The tasks of the leader may name what would be evicted here.
            None if self.blobs.is_shared() => return,
            None => {}
        }
        if let Err(error) = self.blobs.sweep(self.now_ms()).await {
            tracing::warn!(error = crate::driver::told(&error), "blobs were not swept");
        }
    }
}

impl Api {
    async fn remove_logs(&self, task: BlobDigest) {
        for fence in self.logs.fences(task) {
            if let Err(error) = self.logs.remove(task, fence).await {
                tracing::warn!(error = crate::driver::told(&error), "a log was not removed");
            }
        }
    }
}

/// The refusal for an error of the store.
#[allow(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
pub(crate) fn refusal(error: BlobError) -> Refusal {
    let code = error.code().and_then(RefusalCode::from_word);
    match (code, &error) {
        (Some(code), _) => code.bare(),
        // The body broke off.
        (None, BlobError::Body(_)) => RefusalCode::Malformed.bare(),
        (None, _) => {
            tracing::error!(error = crate::driver::told(&error), "the blob store failed");
            RefusalCode::DiskFloor.bare()
        }
    }
}

#[cfg(test)]
#[cfg(feature = "s3")]
mod tests;
