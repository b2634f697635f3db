//! `betanet task logs`.

use std::time::Duration;

use crate::Fail;
use crate::args::LogArgs;
use crate::fog::text::task_id;
use crate::fog::with;
use crate::output;

/// Interval at which a log that is followed is fetched again.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(args: LogArgs) -> Result<(), Fail> {
    let id = task_id(&args.task)?;
    if args.fog.json {
        return Err(Fail::Usage("--json: a log is bytes of the program".into()));
    }
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
                    printed += bytes.len() as u64;
                    output::print(&bytes);
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
