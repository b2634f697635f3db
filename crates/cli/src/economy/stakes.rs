//! `stake`: bonds, delegations, and the standing of nodes.

use std::path::PathBuf;

use betanet_economy_service::rows::{Node, number, stake_key, table};
use betanet_keys::Identity;
use betanet_runtime::{Error, NodeId, load_identity};
use betanet_tokenomics::request::{Op, SENT_MAX};
use serde_json::json;

use super::amount::{account as named, fog, micro, shown};
use super::net::{Ledger, account, fresh_id, identity, under, with_ledger};
use super::tokens::told;
use crate::Fail;
use crate::args::{AccountArgs, AskArgs, BondArgs, MoveStakeArgs, ProbesArgs, RedelegateArgs};

async fn submit(ask: &AskArgs, op: &Op, what: &str) -> Result<(), Fail> {
    submit_with(ask, &[], op, what).await
}

/// Sends what the keys of these files sign besides --key.
async fn submit_with(ask: &AskArgs, more: &[PathBuf], op: &Op, what: &str) -> Result<(), Fail> {
    let mut signers = vec![identity(&ask.books.dial)?];
    for file in more {
        signers.push(load_identity(file).map_err(Error::from)?);
    }
    let (signers, id): (Vec<&Identity>, _) = (signers.iter().collect(), fresh_id()?);
    let accepted = with_ledger!(Ledger::open(&ask.books), |ledger| {
        ledger.submit(ask, &signers, op, id).await
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

pub(super) async fn redelegate(args: &RedelegateArgs) -> Result<(), Fail> {
    let (amt, from, to) = (micro(&args.amount)?, named(&args.from)?, named(&args.to)?);
    let (away, here) = (shown(&from), shown(&to));
    let what = format!("{} FOG moved from {away} to {here}", fog(amt.into()));
    submit(&args.ask, &Op::Redelegate { amt, from, to }, &what).await
}

pub(super) async fn unjail(ask: &AskArgs) -> Result<(), Fail> {
    submit(ask, &Op::Unjail, "the node's jail has ended").await
}

/// Reads a node with its probes: those sent and those that came back.
fn probed(text: &str) -> Result<(NodeId, u64, u64), Fail> {
    let read = || {
        let (node, counts) = text.rsplit_once('=')?;
        let (sent, back) = counts.split_once('/')?;
        Some((node, sent.parse::<u64>().ok()?, back.parse::<u64>().ok()?))
    };
    let (node, sent, back) = read()
        .filter(|(_, sent, back)| (1..=SENT_MAX).contains(sent) && back <= sent)
        .ok_or_else(|| {
            let why = "a node with its probes, such as bn1:…=200/198; at least one is sent, and no more come back";
            Fail::Usage(format!("{text}: {why}"))
        })?;
    Ok((named(node)?, sent, back))
}

pub(super) async fn audit(args: &ProbesArgs) -> Result<(), Fail> {
    let list: Result<Vec<_>, Fail> = args.probes.iter().map(|text| probed(text)).collect();
    let list = list?;
    let what = format!("probes of {} nodes reported", list.len());
    submit_with(&args.ask, &args.auditor, &Op::Audit { list }, &what).await
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
