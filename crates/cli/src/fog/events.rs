//! Events of the cluster, and those of one task.

use betanet_fog::bodies::Event;
use betanet_fog::{TaskId, TaskState};
use betanet_fog_client::FogClient;

use super::text::{name, reason, task_id};
use super::{print_json, with};
use crate::Fail;
use crate::args::{EventArgs, HistoryArgs};
use crate::output;

fn print(event: &Event, json: bool) -> Result<(), Fail> {
    if json {
        return print_json(event);
    }
    let mut line = format!("{:<8} {} {:<10}", event.at, time(event.ts), event.kind);
    if let Some(task) = event.task {
        line.push_str(&format!(" task {task}"));
    }
    if let Some(node) = event.node {
        line.push_str(&format!(" node {}", name(node)));
    }
    if !event.reason.is_empty() {
        line.push_str(&format!(" {}: {}", event.reason, reason(&event.reason)));
    }
    say!("{line}");
    Ok(())
}

/// Time of day in UTC.
fn time(ms: u64) -> String {
    let s = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}Z", s / 3600, s / 60 % 60, s % 60)
}

pub(super) async fn events(args: EventArgs) -> Result<(), Fail> {
    with(&args.fog, async |fog| {
        let most = args.n.unwrap_or(u64::MAX);
        let mut shown = 0;
        let mut after = args.after;
        loop {
            let mut events = fog.events(after, args.follow);
            let before = shown;
            while shown < most && !output::is_closed() {
                let Some(event) = events.next().await? else {
                    break;
                };
                print(&event, args.fog.json)?;
                shown += 1;
            }
            after = events.after();
            // One request brings up to 256 events. The last one brings none.
            if shown == before || shown >= most || output::is_closed() {
                return Ok(());
            }
        }
    })
    .await
}

pub(super) async fn history(args: HistoryArgs) -> Result<(), Fail> {
    let id = task_id(&args.task)?;
    with(&args.fog, async |fog| {
        let json = args.fog.json;
        // An unknown task is refused here, where no events would say nothing.
        fog.status(&id).await?;
        let (mut after, mut found) = past(fog, &id, json).await?;
        while args.follow && !fog.status(&id).await?.state.ended() && !output::is_closed() {
            let mut events = fog.events(after, true);
            while let Some(event) = events.next().await? {
                after = event.at;
                if event.task == Some(id) {
                    found = true;
                    print(&event, json)?;
                    if TaskState::from_word(&event.kind).is_some() || &*event.kind == "ended" {
                        break;
                    }
                }
            }
        }
        if !found {
            note!("note: the coordinator has no events of this task any more");
        }
        Ok(())
    })
    .await
}

/// Prints a task's events so far. Returns the position after them, and whether there were any.
async fn past(fog: &FogClient, id: &TaskId, json: bool) -> Result<(u64, bool), Fail> {
    let (mut after, mut found) = (0, false);
    loop {
        let mut events = fog.events(after, false);
        let mut any = false;
        while let Some(event) = events.next().await? {
            any = true;
            if event.task == Some(*id) {
                found = true;
                print(&event, json)?;
            }
        }
        after = events.after();
        if !any {
            return Ok((after, found));
        }
    }
}
