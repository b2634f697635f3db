//! Answers about aliases, verified and shown; and proofs in files.

use betanet_keys::Name;
use betanet_naming::{Finalized, PROOF_BYTES_MAX, Proof, Status};
use betanet_naming_service::client::{self, Resolved, Trust};
use betanet_store::disk;
use betanet_wire::text::hex;
use serde_json::{Value, json};

use super::claim::{facts, warn};
use super::ledgers::{Ledgers, of_node};
use super::{alias, genesis, now_ms};
use crate::Fail;
use crate::args::{AliasArgs, ProveArgs, VerifyNameArgs};

pub(super) const fn word(status: Status) -> &'static str {
    match status {
        Status::Unknown => "unknown",
        Status::Bound => "bound",
        Status::Expired => "expired",
        Status::Retired => "retired",
        Status::Conflicted => "conflicted",
    }
}

fn told(finalized: &Finalized, proof: &Proof, status: Status) -> Value {
    let mut value = facts(finalized);
    let head = proof.head().head();
    value["status"] = json!(word(status));
    value["index"] = json!(proof.index());
    value["expires_ms"] = json!(
        finalized
            .record()
            .ts
            .saturating_add(betanet_naming::LIFE_MS)
    );
    value["head"] = json!({ "size": head.size, "root": hex(&head.root), "ts_ms": head.ts });
    value
}

fn lines(finalized: &Finalized, proof: &Proof, status: Status) {
    let (record, head) = (finalized.record(), proof.head().head());
    say!(
        "alias      {} ({})",
        record.alias,
        record.alias.to_unicode()
    );
    say!("status     {}", word(status));
    say!("node       {}", Name::from(finalized.owner()));
    say!("seq        {}", record.seq);
    say!("index      {} of {}", proof.index(), head.size);
    let left = record
        .ts
        .saturating_add(betanet_naming::LIFE_MS)
        .saturating_sub(now_ms());
    say!("expires    in {} days", left / (24 * 3600 * 1000));
    let age = now_ms().saturating_sub(head.ts) / 1000;
    say!("head       {} s old, root {}", age, hex(&head.root));
}

/// The failure for an alias that leads nowhere.
pub(super) fn nowhere(text: &str, resolved: &Resolved) -> Option<Fail> {
    let why = match resolved.status {
        Status::Bound => return None,
        Status::Unknown => "the ledger has no record of this alias",
        Status::Expired => "the alias has expired",
        Status::Retired => "the alias is retired: its node gave it up",
        Status::Conflicted => {
            "the alias is conflicted: signers made two records of one seq final, so none is trusted"
        }
    };
    Some(Fail::Peer(format!("{text}: {why}")))
}

pub(super) async fn resolve(args: &AliasArgs) -> Result<(), Fail> {
    let alias = alias(&args.alias)?;
    warn(&alias);
    let mut ledgers = Ledgers::open(&args.ledger).await?;
    let found = ledgers.resolve(&alias).await;
    ledgers.close().await;
    let (found, from) = found?;
    match &found.latest {
        Some((latest, proof)) if args.json => {
            let mut value = told(latest, proof, found.status);
            value["from"] = json!(from.to_string());
            say!("{value}");
        }
        Some((latest, proof)) => lines(latest, proof, found.status),
        None if args.json => say!(
            "{}",
            json!({ "alias": alias.as_str(), "status": word(found.status), "from": from.to_string() })
        ),
        None => {}
    }
    nowhere(alias.as_str(), &found).map_or(Ok(()), Err)
}

pub(super) async fn history(args: &AliasArgs) -> Result<(), Fail> {
    let alias = alias(&args.alias)?;
    let mut ledgers = Ledgers::open(&args.ledger).await?;
    let (mut best, mut last) = (None, Fail::Peer("no ledger node answered".into()));
    for node in ledgers.nodes.clone() {
        let read = match ledgers.get(&node, client::history_request(&alias)).await {
            Ok(bytes) => client::history(&bytes, &alias, &mut ledgers.trust)
                .map_err(|error| of_node(&node, &error)),
            Err(fail) => Err(fail),
        };
        match read {
            Ok(list) => {
                let seq = list.first().map_or(0, |(f, _)| f.record().seq);
                if best.as_ref().is_none_or(|(known, _)| *known < seq) {
                    best = Some((seq, list));
                }
            }
            Err(fail) => last = fail,
        }
    }
    ledgers.close().await;
    let (_, list) = best.ok_or(last)?;
    let each = list
        .iter()
        .map(|(finalized, proof)| (finalized, proof, client::condition(finalized, now_ms())));
    if args.json {
        let each = each.map(|(f, proof, status)| told(f, proof, status));
        say!(
            "{}",
            json!({ "alias": alias.as_str(), "records": each.collect::<Vec<_>>() })
        );
    } else if list.is_empty() {
        return Err(Fail::Peer(format!(
            "{alias}: the ledger has no record of this alias"
        )));
    } else {
        for (f, proof, status) in each {
            let (node, record) = (Name::from(f.owner()), f.record());
            say!(
                "seq {} index {} {node} {} {} ms",
                record.seq,
                proof.index(),
                word(status),
                record.ts
            );
        }
    }
    Ok(())
}

pub(super) async fn prove(args: &ProveArgs) -> Result<(), Fail> {
    let alias = alias(&args.of.alias)?;
    let mut ledgers = Ledgers::open(&args.of.ledger).await?;
    let found = ledgers.resolve(&alias).await;
    ledgers.close().await;
    let (found, _) = found?;
    let Some((latest, proof)) = &found.latest else {
        return Err(Fail::Peer(format!(
            "{alias}: the ledger has no record of this alias"
        )));
    };
    disk::write_shared(&args.output, proof.to_bytes()).map_err(Fail::file(&args.output))?;
    if args.of.json {
        let mut value = told(latest, proof, found.status);
        value["file"] = json!(args.output.display().to_string());
        say!("{value}");
    } else {
        lines(latest, proof, found.status);
        say!("file       {}", args.output.display());
    }
    Ok(())
}

pub(super) fn verify(args: &VerifyNameArgs) -> Result<(), Fail> {
    let genesis = genesis(
        args.offline.trust.signers.as_deref(),
        args.offline.network.as_deref(),
    )?;
    let trust = Trust::new(&genesis);
    let bytes = disk::read_bounded(&args.file, PROOF_BYTES_MAX as u64);
    let bytes = bytes.map_err(Fail::file(&args.file))?;
    let wrong =
        |why: &dyn std::fmt::Display| Fail::Local(format!("{}: {why}", args.file.display()));
    let proof = Proof::from_bytes(&bytes).map_err(|e| wrong(&e))?;
    let finalized = trust.verify(&proof, None).map_err(|e| wrong(&e))?;
    warn(&finalized.record().alias);
    let status = client::condition(&finalized, now_ms());
    if args.offline.json {
        say!("{}", told(&finalized, &proof, status));
    } else {
        lines(&finalized, &proof, status);
        say!("verified: it was final at the head's time; a later record may exist");
    }
    Ok(())
}
