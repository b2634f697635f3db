//! `stake`: bonds, delegations, and the standing of nodes.

use betanet_economy_service::rows::{Node, number, stake_key, table};
use betanet_tokenomics::request::Op;
use serde_json::json;

use super::amount::{account as named, fog, micro, shown};
use super::net::{Ledger, account, fresh_id, identity, under, with_ledger};
use super::tokens::told;
use crate::Fail;
use crate::args::{AccountArgs, AskArgs, BondArgs, MoveStakeArgs};

async fn submit(ask: &AskArgs, op: &Op, what: &str) -> Result<(), Fail> {
    let (me, id) = (identity(&ask.books.dial)?, fresh_id()?);
    let accepted = with_ledger!(Ledger::open(&ask.books), |ledger| {
        ledger.submit(ask, &[&me], op, id).await
    })?;
    told(&accepted, ask.books.json, what, json!({}));
    Ok(())
}

pub(super) async fn bond(args: &BondArgs) -> Result<(), Fail> {
    let amt = micro(&args.amount)?;
    let comm = args.commission;
    let what = format!("{} FOG bonded", fog(amt.into()));
    submit(&args.ask, &Op::Bond { amt, comm }, &what).await
}

pub(super) async fn delegate(args: &MoveStakeArgs) -> Result<(), Fail> {
    let (amt, node) = (micro(&args.amount)?, named(&args.node)?);
    let what = format!("{} FOG delegated to {}", fog(amt.into()), shown(&node));
    submit(&args.ask, &Op::Delegate { amt, node }, &what).await
}

pub(super) async fn unbond(args: &MoveStakeArgs) -> Result<(), Fail> {
    let (amt, node) = (micro(&args.amount)?, named(&args.node)?);
    let what = format!("{} FOG unbond from {}", fog(amt.into()), shown(&node));
    submit(&args.ask, &Op::Unbond { amt, node }, &what).await
}

pub(super) async fn status(args: &AccountArgs) -> Result<(), Fail> {
    let node = account(args.account.as_deref(), &args.books.dial)?;
    // Without a key of one's own, only the node's stake is shown.
    let me = account(None, &args.books.dial).unwrap_or(node);
    let keys = [
        (table::NODES, node.0.to_vec()),
        (table::STAKES, stake_key(&node, &node)),
        (table::STAKES, stake_key(&node, &me)),
    ];
    let (head, rows) = with_ledger!(Ledger::open(&args.books), |ledger| ledger.rows(&keys).await)?;
    let unread = |e| Fail::Peer(format!("a row of the ledger does not read: {e}"));
    let [row, own, mine] = &rows[..] else {
        return Err(Fail::Peer("the ledger's node left out a row".into()));
    };
    let Some(row) = row else {
        let why = "it has no stake and never had under the final head";
        return Err(Fail::Peer(format!("{}: {why}", shown(&node))));
    };
    let row = Node::read(row).map_err(unread)?;
    let stake = |row: &Option<Vec<u8>>| row.as_deref().map_or(Ok(0), number).map_err(unread);
    let (own, mine) = (stake(own)?, stake(mine)?);
    let standing = match (row.banned, row.jailed) {
        (true, _) => "banned",
        (false, 0) => "good",
        (false, _) => "jailed",
    };
    let size = head.head().size;
    if args.books.json {
        say!(
            "{}",
            json!({
                "node": shown(&node),
                "standing": standing,
                "jailed_until_ms": row.jailed,
                "commission_ppm": row.comm,
                "reputation": row.reputation,
                "own_micro": own.to_string(),
                "mine_micro": mine.to_string(),
                "size": size,
            })
        );
        return Ok(());
    }
    say!("node        {}", shown(&node));
    say!("standing    {standing}, reputation {}", row.reputation);
    say!("commission  {} ppm", row.comm);
    say!("own stake   {} FOG", fog(own.into()));
    if me != node {
        say!("yours       {} FOG", fog(mine.into()));
    }
    say!("proven      {}", under(&head));
    Ok(())
}
