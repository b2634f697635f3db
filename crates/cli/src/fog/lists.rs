//! Lists with filters and paging: tasks, failed tasks, nodes.

use betanet_fog::bodies::{NodeSummary, TaskList, TaskSummary};
use betanet_fog_client::{Error as FogError, FogClient, Lists};
use betanet_runtime::Clock;

use super::spec::in_bytes;
use super::text::{ago, name, table, word};
use super::{print_json, with};
use crate::Fail;
use crate::args::{DeadArgs, FogArgs, ListArgs, NodeListArgs, TaskListArgs};

/// Most items of one page.
const PAGE: u64 = 1000;

fn lists(args: &ListArgs) -> Result<Lists, Fail> {
    let after = args.after.clone().unwrap_or_default();
    if after.len() > 64 || !after.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Fail::Usage(format!("--after {after}: an ID in hex")));
    }
    Ok(Lists {
        after: after.parse().unwrap_or_default(),
        n: args.n.min(PAGE),
        ..Lists::default()
    })
}

/// Names the place at which the next list continues.
fn more(left: bool, last: Option<&[u8]>) {
    if let (true, Some(last)) = (left, last) {
        let last = betanet_wire::text::hex(last);
        note!("note: there is more; --after {last} continues, and -n shows more at once");
    }
}

async fn print_tasks(
    args: (&FogArgs, &ListArgs),
    (ns, state): (Option<&str>, Option<&str>),
    page: impl AsyncFn(&FogClient, &Lists) -> Result<TaskList, FogError>,
) -> Result<(), Fail> {
    let (fog_args, list) = args;
    let mut lists = lists(list)?;
    lists.ns = word("--ns", ns)?;
    lists.state = word("--only", state)?;
    with(fog_args, async |fog| {
        let (mut left, mut rows) = (list.n, Vec::new());
        let mut next = None;
        let mut last = None;
        while left > 0 {
            lists.n = left.min(PAGE);
            let found = page(fog, &lists).await?;
            for item in &found.items {
                last = Some(item.id);
                if fog_args.json {
                    print_json(item)?;
                } else {
                    rows.push(task_row(item));
                }
            }
            left = left.saturating_sub(found.items.len() as u64);
            next = found.next;
            let Some(id) = next else {
                break;
            };
            lists.turn(&id.0);
        }
        if !fog_args.json {
            let head = ["TASK", "NS", "STATE", "TIER", "PRIO", "REASON"];
            print_table(&head, rows);
        }
        more(next.is_some(), last.or(next).as_ref().map(|id| &id.0[..]));
        Ok(())
    })
    .await
}

fn print_table(head: &[&str], mut rows: Vec<Vec<String>>) {
    rows.insert(0, head.iter().map(|cell| (*cell).to_owned()).collect());
    for line in table(&rows) {
        say!("{line}");
    }
}

fn task_row(item: &TaskSummary) -> Vec<String> {
    vec![
        item.id.to_string(),
        item.ns.to_string(),
        item.state.to_string(),
        item.tier.to_string(),
        item.prio.to_string(),
        item.reason.to_string(),
    ]
}

pub(super) async fn tasks(args: TaskListArgs) -> Result<(), Fail> {
    let filters = (args.ns.as_deref(), args.only.as_deref());
    let page = async |fog: &FogClient, lists: &Lists| fog.tasks(lists).await;
    print_tasks((&args.fog, &args.list), filters, page).await
}

pub(super) async fn dead(args: DeadArgs) -> Result<(), Fail> {
    let page = async |fog: &FogClient, lists: &Lists| fog.dead(lists).await;
    print_tasks((&args.fog, &args.list), (args.ns.as_deref(), None), page).await
}

pub(super) async fn nodes(args: NodeListArgs) -> Result<(), Fail> {
    let mut lists = lists(&args.list)?;
    lists.state = word("--only", args.only.as_deref())?;
    with(&args.fog, async |fog| {
        let now_ms = Clock::start().now().unix_ms;
        let (mut left, mut rows) = (args.list.n, Vec::new());
        let mut next = None;
        let mut last = None;
        while left > 0 {
            lists.n = left.min(PAGE);
            let found = fog.nodes(&lists).await?;
            for item in &found.items {
                last = Some(item.id);
                if args.fog.json {
                    print_json(item)?;
                } else {
                    rows.push(node_row(item, now_ms));
                }
            }
            left = left.saturating_sub(found.items.len() as u64);
            next = found.next;
            let Some(id) = next else {
                break;
            };
            lists.turn(&id.0);
        }
        if !args.fog.json {
            let head = [
                "NODE",
                "STATE",
                "KIND",
                "LEVEL",
                "ORG",
                "ZONE",
                "COPIES",
                "CPU FREE",
                "MEMORY FREE",
                "REP",
                "SEEN",
            ];
            print_table(&head, rows);
        }
        more(next.is_some(), last.or(next).as_ref().map(|id| &id.0[..]));
        Ok(())
    })
    .await
}

/// Cores of thousandths.
pub(super) fn cores(milli: u64) -> String {
    match milli % 1000 {
        0 => (milli / 1000).to_string(),
        _ => format!("{milli}m"),
    }
}

fn node_row(item: &NodeSummary, now_ms: u64) -> Vec<String> {
    let seen = match item.seen {
        0 => "never".to_owned(),
        at => ago(now_ms, at),
    };
    vec![
        name(item.id),
        item.state.to_string(),
        item.kind.to_string(),
        item.level.to_string(),
        item.org.to_string(),
        item.zone.to_string(),
        item.live.to_string(),
        format!("{}/{}", cores(item.free.cpu), cores(item.cap.cpu)),
        format!(
            "{}/{}",
            in_bytes(item.free.memory),
            in_bytes(item.cap.memory)
        ),
        format!("{}.{}%", item.rep / 10_000, item.rep / 1000 % 10),
        seen,
    ]
}
