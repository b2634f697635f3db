//! Events of the cluster, and those of one task.

use betanet_fog::bodies::Event;
use betanet_fog::{TaskId, TaskState, Word};
use betanet_fog_client::FogClient;
use betanet_runtime::NodeId;

use super::text::{name, node, reason, task_id, word};
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

/// The events that a command line asks for.
struct Wanted {
    kind: Option<Word>,
    task: Option<TaskId>,
    node: Option<NodeId>,
}

impl Wanted {
    fn of(args: &EventArgs) -> Result<Self, Fail> {
        let kind = word("--only", args.only.as_deref())?;
        Ok(Self {
            kind: Some(kind).filter(|kind| !kind.is_empty()),
            task: args.task.as_deref().map(task_id).transpose()?,
            node: args.node.as_deref().map(node).transpose()?,
        })
    }

    fn has(&self, event: &Event) -> bool {
        self.kind.as_ref().is_none_or(|kind| event.kind == *kind)
            && self.task.is_none_or(|task| event.task == Some(task))
            && self.node.is_none_or(|node| event.node == Some(node))
    }
}

pub(super) async fn events(args: EventArgs) -> Result<(), Fail> {
    let wanted = Wanted::of(&args)?;
    with(&args.fog, async |fog| {
        let most = args.n.unwrap_or(u64::MAX);
        let mut shown = 0;
        let mut after = args.after;
        loop {
            let mut events = fog.events(after, args.follow);
            let mut any = false;
            while shown < most && !output::is_closed() {
                let Some(event) = events.next().await? else {
                    break;
                };
                any = true;
                if wanted.has(&event) {
                    print(&event, args.fog.json)?;
                    shown += 1;
                }
            }
            after = events.after();
            // One request brings up to 256 events. The last one brings none.
            if !any || shown >= most || output::is_closed() {
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
        let most = args.n.unwrap_or(u64::MAX);
        // An unknown task is refused here, where no events would say nothing.
        fog.status(&id).await?;
        let (mut after, mut shown) = past(fog, &id, &args).await?;
        while args.follow
            && shown < most
            && !fog.status(&id).await?.state.ended()
            && !output::is_closed()
        {
            let mut events = fog.events(after, true);
            while let Some(event) = events.next().await? {
                after = event.at;
                if event.task == Some(id) {
                    shown += 1;
                    print(&event, json)?;
                    let last = TaskState::from_word(&event.kind).is_some();
                    if last || &*event.kind == "ended" || shown >= most {
                        break;
                    }
                }
            }
        }
        if shown == 0 {
            note!("note: the coordinator has no such events of this task any more");
        }
        Ok(())
    })
    .await
}

/// Prints a task's events so far. Returns the position after them, and their number.
async fn past(fog: &FogClient, id: &TaskId, args: &HistoryArgs) -> Result<(u64, u64), Fail> {
    let most = args.n.unwrap_or(u64::MAX);
    let (mut after, mut shown) = (args.after, 0);
    loop {
        let mut events = fog.events(after, false);
        let mut any = false;
        while let Some(event) = events.next().await? {
            any = true;
            if event.task == Some(*id) && shown < most {
                shown += 1;
                print(&event, args.fog.json)?;
            }
        }
        after = events.after();
        if !any || shown >= most {
            return Ok((after, shown));
        }
    }
}
