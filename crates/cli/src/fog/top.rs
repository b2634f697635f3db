//! `betanet top`: the cluster in the terminal, redrawn.

use std::io::IsTerminal as _;
use std::time::Duration;

use betanet_fog::NodeState;
use betanet_fog::bodies::NodeSummary;
use betanet_fog_client::{FogClient, Lists};
use betanet_runtime::Clock;
use serde_json::{Value, json};

use super::lists::cores;
use super::text::{ago, name, table};
use super::{view, with};
use crate::Fail;
use crate::args::TopArgs;
use crate::output;

/// Moves the cursor to the first place and clears what is below.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";
/// Nodes that are shown.
const NODES: usize = 20;
/// Nodes that are looked at.
const LOOKED: u64 = 1000;

pub(super) async fn run(args: TopArgs) -> Result<(), Fail> {
    let once = args.once || args.fog.json || !std::io::stdout().is_terminal();
    with(&args.fog, async |fog| {
        loop {
            if args.fog.json {
                say!("{}", facts(fog).await?);
                return Ok(());
            }
            let lines = screen(fog).await?;
            if !once {
                output::print(CLEAR);
            }
            for line in lines {
                say!("{line}");
            }
            if once || output::is_closed() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(args.every)).await;
        }
    })
    .await
}

fn json_of<T: betanet_fog::Item>(body: &T) -> Result<Value, Fail> {
    let text = betanet_fog::json::to_string(body).map_err(|e| Fail::Peer(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| Fail::Peer(e.to_string()))
}

async fn facts(fog: &FogClient) -> Result<Value, Fail> {
    let topology = fog.topology().await?;
    let last = topology.items.last().map(json_of).transpose()?;
    let price = json_of(&fog.price().await?)?;
    let nodes = json_of(&fog.nodes(&lists()).await?)?;
    Ok(json!({ "topology": last, "price": price, "nodes": nodes["items"] }))
}

fn lists() -> Lists {
    Lists {
        n: LOOKED,
        ..Lists::default()
    }
}

async fn screen(fog: &FogClient) -> Result<Vec<String>, Fail> {
    let now_ms = Clock::start().now().unix_ms;
    let topology = fog.topology().await?;
    let price = fog.price().await?;
    let nodes = fog.nodes(&lists()).await?;
    let mut lines = match topology.items.last() {
        Some(last) => {
            let mut lines = vec![format!("snapshot of {} ago", ago(now_ms, last.ts))];
            lines.extend(view::lines(last));
            lines
        }
        None => vec!["no snapshot yet; one is made every 60 s".to_owned()],
    };
    lines.push("demand factors:".to_owned());
    lines.extend(view::prices(&price).iter().map(|line| format!("  {line}")));
    lines.push(String::new());
    let items: Vec<&NodeSummary> = nodes.items.iter().collect();
    lines.extend(busiest(items, now_ms));
    if nodes.next.is_some() {
        lines.push(format!(
            "of the first {LOOKED} nodes; betanet node ls lists all"
        ));
    }
    Ok(lines)
}

/// Rows of the nodes with the most copies; those that are not active come first.
fn busiest(mut items: Vec<&NodeSummary>, now_ms: u64) -> Vec<String> {
    items.sort_by_key(|n| {
        (
            n.state == NodeState::Active,
            std::cmp::Reverse(n.live),
            n.id,
        )
    });
    let head = ["NODE", "STATE", "COPIES", "CPU FREE", "SEEN"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(items.iter().take(NODES).map(|n| {
        vec![
            name(n.id),
            n.state.to_string(),
            n.live.to_string(),
            format!("{}/{}", cores(n.free.cpu), cores(n.cap.cpu)),
            if n.seen == 0 {
                "never".to_owned()
            } else {
                ago(now_ms, n.seen)
            },
        ]
    }));
    table(&rows)
}
