//! Logs of copies.

use std::sync::Arc;
use std::time::Duration;

use betanet_blobs::{Digest as BlobDigest, Error, LOG_MAX};
use betanet_coordinator::{Reply, Request};
use betanet_fog::bodies::LogAnswer;
use betanet_fog::{Refusal, RefusalCode, TaskId};
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::time::Instant;

use super::{Answer, Api, Query, Verified, odd};
use crate::Role;

/// Bytes of a log that are read at once.
const PIECE: u64 = 64 << 10;

/// Pause between two looks at a log that grows.
const LOOK: Duration = Duration::from_millis(200);

impl Api {
    pub(super) async fn append_log(
        &self,
        by: &Verified,
        task: TaskId,
        query: &Query,
        bytes: Vec<u8>,
    ) -> Result<Answer, Refusal> {
        let fence = query.number("fence")?;
        let fence = fence.ok_or(RefusalCode::Malformed.of("fence"))?;
        let off = query
            .number("off")?
            .ok_or(RefusalCode::Malformed.of("off"))?;
        let len = bytes.len() as u64;
        if off.saturating_add(len) > LOG_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        let name = BlobDigest(task.0);
        let stored = self.logs.len(name, fence).await;
        let stored = stored.map_err(super::blob::refusal)?.unwrap_or(0);
        let asked = Request::Log {
            task,
            fence,
            off,
            len,
            stored,
        };
        let Reply::Log { next, store } = self.ask(by.caller.clone(), asked).await? else {
            return Err(odd());
        };
        let next = if store {
            let appended = self.logs.append(name, fence, off, bytes.into()).await;
            appended.map_err(super::blob::refusal)?
        } else {
            next
        };
        Ok(Answer::item(200, &LogAnswer { next }))
    }

    /// The log of a copy from an offset on. With `wait`, what is appended meanwhile follows.
    pub(super) async fn read_log(
        self: &Arc<Self>,
        by: Verified,
        task: TaskId,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let place = self.place(&by).await?;
        let asked = Request::Status(task);
        let Reply::Status(status) = self.ask_as_user(by.way, by.caller, asked).await? else {
            return Err(odd());
        };
        let newest = status.copies.iter().map(|c| c.fence).max();
        let fence = query.number("fence")?.or(newest);
        let fence = fence.ok_or(RefusalCode::Unknown.of("fence"))?;
        // A status lists the newest copies; older ones may have logs.
        let is_copy = status.copies.iter().any(|c| c.fence == fence);
        if !is_copy && !self.logs.fences(BlobDigest(task.0)).contains(&fence) {
            return Err(RefusalCode::Unknown.of("fence"));
        }
        let off = query.number("after")?.unwrap_or(0);
        let wait = query.number("wait")?.unwrap_or(0).min(60_000);
        let until = Instant::now() + Duration::from_millis(wait);
        let api = Arc::clone(self);
        let pieces = unfold((off, place), move |(off, place)| {
            let api = Arc::clone(&api);
            async move {
                loop {
                    let end = off.saturating_add(PIECE);
                    match api.logs.read(BlobDigest(task.0), fence, off..end).await {
                        // Nothing was appended yet.
                        Err(Error::NoLog { .. } | Error::Range { .. }) => {}
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => {
                            let next = off + bytes.len() as u64;
                            return Some((Ok::<Bytes, std::io::Error>(bytes), (next, place)));
                        }
                        Err(error) => {
                            return Some((Err(std::io::Error::other(error)), (off, place)));
                        }
                    }
                    if Instant::now() >= until || api.handle.role() == Role::Stopped {
                        return None;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        });
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        Ok(Answer::Bytes(200, headers, Box::pin(pieces)))
    }
}
