//! `betanet task logs`.

use std::io::Write as _;
use std::time::Duration;

use betanet_fog::TaskId;
use betanet_fog_client::FogClient;
use betanet_wire::text::hex;
use serde_json::json;

use crate::Fail;
use crate::args::LogArgs;
use crate::fog::text::task_id;
use crate::fog::with;
use crate::output;

/// Interval at which a log that is followed is fetched again.
const EVERY: Duration = Duration::from_secs(2);

/// Interval at which the log of a task that is watched is fetched again.
const WATCHED: Duration = Duration::from_millis(500);

/// The part of a log that was shown.
#[derive(Default)]
struct Shown {
    fence: Option<u64>,
    bytes: u64,
}

impl Shown {
    /// Shows what is new in the log of the newest copy, on standard error.
    async fn more(&mut self, fog: &FogClient, id: &TaskId) -> Result<(), Fail> {
        let status = fog.status(id).await?;
        let Some(fence) = status.copies.iter().map(|copy| copy.fence).max() else {
            return Ok(());
        };
        if self.fence.replace(fence).is_some_and(|old| old != fence) {
            self.bytes = 0;
            note!("copy {fence}:");
        }
        let mut log = fog.log(id, fence, self.bytes).await?;
        while let Some(bytes) = log.chunk().await? {
            self.bytes += bytes.len() as u64;
            // An error of standard error can be reported nowhere.
            let _ = std::io::stderr().write_all(&bytes);
        }
        Ok(())
    }
}

/// Shows a task's log on standard error beside other work, and its rest after that.
pub(super) async fn beside<T>(
    fog: &FogClient,
    id: &TaskId,
    work: impl Future<Output = Result<T, Fail>>,
) -> Result<T, Fail> {
    let mut shown = Shown::default();
    tokio::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done?,
            () = tokio::time::sleep(WATCHED) => {}
        }
        // A part of the log that cannot be fetched now comes with the next look.
        let _ = shown.more(fog, id).await;
    };
    if shown.more(fog, id).await.is_err() {
        note!("note: the end of the log cannot be fetched: betanet task logs {id} tries again");
    }
    Ok(done)
}

pub(super) async fn run(args: LogArgs) -> Result<(), Fail> {
    let id = task_id(&args.task)?;
    with(&args.fog, async |fog| {
        let (mut printed, mut of) = (0, None);
        loop {
            let status = fog.status(&id).await?;
            let ended = status.state.ended();
            let fence = args
                .fence
                .or_else(|| status.copies.last().map(|copy| copy.fence));
            if let Some(fence) = fence {
                // Another copy has a log of its own.
                if of.replace(fence).is_some_and(|old| old != fence) {
                    printed = 0;
                    note!("copy {fence}:");
                }
                let mut log = fog.log(&id, fence, printed).await?;
                while let Some(bytes) = log.chunk().await? {
                    if args.fog.json {
                        let piece = json!({ "fence": fence, "off": printed, "bytes": hex(&bytes) });
                        say!("{piece}");
                    } else {
                        output::print(&bytes);
                    }
                    printed += bytes.len() as u64;
                }
            } else if !args.follow {
                note!("note: no copy was placed yet, so there is no log");
            }
            if !args.follow || ended || output::is_closed() {
                return Ok(());
            }
            tokio::time::sleep(EVERY).await;
        }
    })
    .await
}
