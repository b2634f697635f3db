//! `stake standing`: the ratings of relays by which the lottery of mixes weighs them.

use std::collections::BTreeMap;

use betanet_economy_service::rows::{Node, table};
use betanet_runtime::{LotteryWeight, NodeId};
use betanet_tokenomics::account::MICRO;
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::math::performance;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Code, Economy, Envelope};
use serde_json::json;

use super::journal::replay;
use super::net::{Ledger, with_ledger};
use crate::Fail;
use crate::args::StandingArgs;
use crate::mix::Standing;

/// Rows that are read at once.
const PAGE: usize = 256;
/// Fewest probes that tell something about a node.
const PROBES_LEAST: u64 = 20;

/// Probes of a node: epoch, sent, returned.
type Probes = BTreeMap<NodeId, (u64, u64, u64)>;

/// Notes what a record says of probes.
fn probed(probes: &mut Probes, record: &Record, economy: &Economy) {
    let envelope = Envelope::from_bytes(&record.req);
    if let Some(envelope) = envelope
        && let Op::Audit { list } = &envelope.request.op
    {
        let epoch = economy.epoch();
        probes.extend(list.iter().map(|(node, s, r)| (*node, (epoch, *s, *r))));
    }
}

fn millionths(n: u64) -> u32 {
    u32::try_from(n.min(1_000_000)).unwrap_or(u32::MAX)
}

/// The ratings of all nodes of a ledger.
fn rated(economy: &Economy, probes: &Probes) -> Result<Standing, Fail> {
    let unread = |_| Fail::Peer("a node's row of the ledger does not read".into());
    let mut all = Standing {
        relays: BTreeMap::new(),
        // Who has no stake at all is never above who has some.
        others: LotteryWeight {
            reputation: 0,
            performance: 0,
            stake: 0,
        },
    };
    let mut after: Option<Vec<u8>> = None;
    loop {
        let rows = economy.page(table::NODES, after.as_deref(), PAGE);
        let Some((last, _)) = rows.last() else {
            return Ok(all);
        };
        after = Some(last.clone());
        for (key, value) in rows {
            let node = NodeId(key.try_into().map_err(unread)?);
            let row = Node::read(&value).map_err(|_| unread(Vec::new()))?;
            let jailed = row.banned || row.jailed != 0;
            let probes = probes.get(&node).filter(|(epoch, sent, _)| {
                epoch.saturating_add(1) >= economy.epoch() && *sent >= PROBES_LEAST
            });
            let rating = LotteryWeight {
                reputation: millionths(row.reputation),
                performance: probes.map_or(0, |(_, s, r)| millionths(performance(*s, *r))),
                stake: match jailed {
                    true => 0,
                    false => economy.node_stake(&node) / MICRO,
                },
            };
            all.relays.insert(node, rating);
        }
    }
}

pub(super) async fn standing(args: &StandingArgs) -> Result<(), Fail> {
    let mut probes = Probes::new();
    let verified = with_ledger!(Ledger::open(&args.books), |ledger| {
        let each = |record: &Record, _: &[Code], economy: &Economy| {
            probed(&mut probes, record, economy);
        };
        replay(&mut ledger, &args.books, each).await
    })?;
    let all = rated(&verified.economy, &probes)?;
    all.write(&args.output)?;
    let (nodes, size) = (all.relays.len(), verified.covered);
    let file = args.output.display();
    match args.books.json {
        true => say!(
            "{}",
            json!({ "file": file.to_string(), "nodes": nodes, "size": size })
        ),
        false => say!("{file}: {nodes} nodes, under the final head of {size} records"),
    }
    Ok(())
}
