//! Waits until tasks have ended, and reports their progress on standard error.

use betanet_fog::TaskId;
use betanet_fog::bodies::Status;
use betanet_fog_client::{Error as FogError, FogClient};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::Fail;
use crate::fog::text::{name, why};

/// Most tasks that are watched at a time; more are watched as these end.
const STREAMS: usize = 32;

/// A task to wait for.
#[derive(Clone, Debug)]
pub(in crate::fog) struct Watched {
    pub(in crate::fog) id: TaskId,
    /// Its name in a job; empty for a single task.
    pub(in crate::fog) name: String,
}

/// Waits until all tasks have ended. Returns their last statuses, in the given order.
pub(in crate::fog) async fn watch(fog: &FogClient, tasks: &[Watched]) -> Result<Vec<Status>, Fail> {
    let mut left = tasks.iter().enumerate();
    let one = async |at: usize, task: &Watched| Ok::<_, FogError>((at, follow(fog, task).await?));
    let mut running: FuturesUnordered<_> = left
        .by_ref()
        .take(STREAMS)
        .map(|(at, task)| one(at, task))
        .collect();
    let mut ended: Vec<Option<Status>> = vec![None; tasks.len()];
    while let Some(done) = running.next().await {
        let (at, status) = done?;
        if let Some(place) = ended.get_mut(at) {
            *place = Some(status);
        }
        if let Some((at, task)) = left.next() {
            running.push(one(at, task));
        }
    }
    Ok(ended.into_iter().flatten().collect())
}

async fn follow(fog: &FogClient, task: &Watched) -> Result<Status, FogError> {
    let mut statuses = fog.watch(&task.id);
    let mut last: Option<String> = None;
    loop {
        let Some(status) = statuses.next().await? else {
            continue;
        };
        let line = line(&status);
        if last.as_ref() != Some(&line) {
            match task.name.as_str() {
                "" => note!("{line}"),
                name => note!("{name}: {line}"),
            }
            last = Some(line);
        }
        if status.state.ended() {
            return Ok(status);
        }
    }
}

/// A status in one line.
fn line(status: &Status) -> String {
    let live = status.copies.iter().filter(|copy| {
        let state = copy.state.as_str();
        state == "assigned" || state == "running"
    });
    let nodes: Vec<String> = live.map(|copy| name(copy.node)).collect();
    let mut line = status.state.to_string();
    if !nodes.is_empty() {
        line.push_str(&format!(" on {}", nodes.join(", ")));
    }
    if let Some(first) = why(&status.why).first() {
        line.push_str(&format!(": {first}"));
    }
    line
}
