//! What the ledger says of nodes, told to the coordinator that places tasks on them.

use std::time::Duration;

use betanet_coordinator::{RATED_MAX, Rating, Ratings, Request};
use betanet_economy_service::rows::{Node, table};
use betanet_economy_service::{Ledger, Unavailable};
use betanet_fog::Refusal;
use betanet_fog_service::{Local, Role};
use betanet_wire::NodeId;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Time between two looks at the ledger.
const LOOK: Duration = Duration::from_secs(1);
/// Time after which all is told again, even if no new head is final.
const AGAIN: Duration = Duration::from_secs(60);
/// Highest reputation, in ppm.
const FULL: u64 = 1_000_000;

/// Tells the ratings for as long as it lives.
#[derive(Debug)]
pub struct Rates(#[allow(dead_code, reason = "its end is the end of the task")] JoinSet<()>);

/// Why not all was told.
enum Lack {
    /// The ledger or the coordinator cannot answer now.
    Unavailable,
    /// The coordinator refused.
    Refused(Refusal),
    /// A row does not read.
    Row,
}

impl From<Unavailable> for Lack {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// Tells a coordinator the reputation of the nodes that have bonded, and which are jailed, as the final head has it. Jailed nodes get
/// no tasks.
#[must_use]
pub fn rate(ledger: Ledger, fog: Local) -> Rates {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut done: Option<(u64, Instant)> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            if !matches!(fog.handle().role(), Role::Leads(_)) {
                done = None;
                continue;
            }
            let covered = ledger.peek(|view| view.covered.map(|s| s.records())).await;
            let Ok(Some(records)) = covered else {
                continue;
            };
            if done.is_some_and(|(told, at)| told == records && at.elapsed() < AGAIN) {
                continue;
            }
            match tell(&ledger, &fog).await {
                Ok(()) => done = Some((records, Instant::now())),
                Err(Lack::Unavailable) => {}
                Err(Lack::Refused(why)) => {
                    tracing::warn!(code = ?why.code, "the coordinator takes no ratings of nodes");
                }
                Err(Lack::Row) => tracing::warn!("a node's row of the ledger does not read"),
            }
        }
    });
    Rates(tasks)
}

fn rating(row: &(Vec<u8>, Vec<u8>)) -> Option<(NodeId, Rating)> {
    let id = NodeId(row.0.as_slice().try_into().ok()?);
    let node = Node::read(&row.1).ok()?;
    let rep = u32::try_from(node.reputation.min(FULL)).ok()?;
    let jailed = node.banned || node.jailed != 0;
    Some((id, Rating { rep, jailed }))
}

/// Tells all ratings, page by page.
async fn tell(ledger: &Ledger, fog: &Local) -> Result<(), Lack> {
    let mut after: Option<NodeId> = None;
    loop {
        let rows = ledger.peek(move |view| {
            let after = after.as_ref().map(|id| &id.0[..]);
            let page =
                |state: &betanet_tokenomics::Economy| state.page(table::NODES, after, RATED_MAX);
            view.covered.map(page)
        });
        let rows = rows.await?.ok_or(Lack::Unavailable)?;
        let nodes: Option<Vec<(NodeId, Rating)>> = rows.iter().map(rating).collect();
        let nodes = nodes.ok_or(Lack::Row)?;
        let (last, end) = (nodes.last().map(|(id, _)| *id), nodes.len() < RATED_MAX);
        let page = Ratings { after, nodes, end };
        fog.ask(Request::Rate(page)).await.map_err(Lack::Refused)?;
        match (end, last) {
            (false, Some(last)) => after = Some(last),
            _ => return Ok(()),
        }
    }
}
