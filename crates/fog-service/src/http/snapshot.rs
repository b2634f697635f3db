//! `POST /coordinator/snapshot` at the admin address: saves a snapshot, and answers with its file.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use betanet_fog::{Refusal, RefusalCode};
use betanet_journal::Journal;
use betanet_runtime::AdminReply;
use bytes::Bytes;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use crate::api::Api;

/// Pieces that wait for the reader.
const AHEAD: usize = 4;

/// Writes to a channel, and waits while its reader is slow. Must not be used on an executor's thread.
struct ToReader(SyncSender<io::Result<Bytes>>);

impl Write for ToReader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) async fn answer(api: &Arc<Api>, method: &http::Method) -> Result<AdminReply, Refusal> {
    if method != http::Method::POST {
        return Err(RefusalCode::Malformed.of("method"));
    }
    let saved = api.handle.snapshot().await?;
    let journal = api.journal.get().ok_or(RefusalCode::NotLeader.bare())?;
    let journal: Arc<dyn Journal> = Arc::clone(journal);
    let (to, pieces) = mpsc::channel(AHEAD);
    let (written, read) = sync_channel(AHEAD);
    let runtime = tokio::runtime::Handle::current();
    on_thread(move || {
        let mut out = ToReader(written.clone());
        let exported = betanet_journal::file::export(&*journal, saved.at, &mut out);
        if let Err(error) = runtime.block_on(exported) {
            tracing::warn!(
                error = crate::driver::told(&error),
                "a snapshot was not sent"
            );
            let _ = written.send(Err(io::Error::other(error)));
        }
    })?;
    // A thread of the executor must not wait for a slow reader.
    on_thread(move || {
        for piece in read {
            if to.blocking_send(piece).is_err() {
                return;
            }
        }
    })?;
    let body = unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    Ok(AdminReply {
        status: 200,
        headers: vec![("content-type", "application/octet-stream".to_owned())],
        body: Box::pin(body),
    })
}

fn on_thread(work: impl FnOnce() + Send + 'static) -> Result<(), Refusal> {
    let started = std::thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(work);
    started.map_err(|_| RefusalCode::Rate.bare())?;
    Ok(())
}
