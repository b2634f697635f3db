//! Compares the ledgers of several nodes.

use betanet_log::{Link, SignedHead, Split, Verdict, Witness};
use betanet_naming::DOMAIN;
use betanet_naming_service::client::{self, Newest};
use betanet_runtime::Name;
use betanet_store::disk;
use betanet_wire::text::hex;
use serde_json::{Value, json};

use super::ledgers::{Ledgers, Node, of_node};
use crate::Fail;
use crate::args::AuditNameArgs;

/// Exit code for two views of the ledger.
const SPLIT: u8 = 6;

/// The result for one node.
struct Audited {
    node: Name,
    head: Option<SignedHead>,
    verdict: &'static str,
}

pub(super) async fn audit(args: &AuditNameArgs) -> Result<(), Fail> {
    let mut ledgers = Ledgers::open(&args.ledger).await?;
    if ledgers.nodes.len() < 2 {
        let why =
            "an audit compares several ledger nodes: name at least two, --from PEER --from PEER";
        return Err(Fail::Usage(why.into()));
    }
    let done = compare(&mut ledgers).await;
    ledgers.close().await;
    let (audited, split, failed) = done?;
    let evidence = match &split {
        Some(split) => Some(keep(args, split)?),
        None => None,
    };
    if args.json {
        let nodes = audited.iter().map(|a| {
            json!({
                "node": a.node.to_string(),
                "size": a.head.as_ref().map_or(0, |h| h.head().size),
                "root": a.head.as_ref().map(|h| hex(&h.head().root)),
                "ts_ms": a.head.as_ref().map(|h| h.head().ts),
                "verdict": a.verdict,
            })
        });
        let nodes: Vec<Value> = nodes.collect();
        say!(
            "{}",
            json!({ "nodes": nodes, "split": split.is_some(), "evidence": evidence })
        );
    } else {
        for a in &audited {
            let size = a.head.as_ref().map_or(0, |h| h.head().size);
            say!("{} {size} records: {}", a.node, a.verdict);
        }
    }
    if split.is_some() {
        let files = evidence.unwrap_or_default().join(", ");
        let why = format!("signers showed two views of the ledger: evidence is in {files}");
        return Err(Fail::Coded(SPLIT, why));
    }
    failed.map_or(Ok(()), Err)
}

/// Files of both heads, and of the whole evidence.
fn keep(args: &AuditNameArgs, split: &Split) -> Result<Vec<String>, Fail> {
    std::fs::create_dir_all(&args.evidence).map_err(Fail::file(&args.evidence))?;
    let files = [
        ("names-split.cbor", split.to_bytes()),
        ("names-split-old.head", split.older().to_bytes()),
        ("names-split-new.head", split.newer().to_bytes()),
    ];
    let mut names = Vec::new();
    for (name, bytes) in files {
        let path = args.evidence.join(name);
        disk::write_shared(&path, bytes).map_err(Fail::file(&path))?;
        names.push(path.display().to_string());
    }
    Ok(names)
}

type Compared = (Vec<Audited>, Option<Split>, Option<Fail>);

async fn compare(ledgers: &mut Ledgers) -> Result<Compared, Fail> {
    let mut heads: Vec<(Node, Newest)> = Vec::new();
    let (mut audited, mut failed, mut split) = (Vec::new(), None, None);
    for node in ledgers.nodes.clone() {
        let newest = match ledgers.get(&node, client::head_request()).await {
            Ok(bytes) => {
                client::newest(&bytes, &mut ledgers.trust).map_err(|error| of_node(&node, &error))
            }
            Err(fail) => Err(fail),
        };
        match newest {
            Ok(newest) => {
                split = split.or_else(|| newest.split.clone());
                heads.push((node, newest));
            }
            Err(fail @ Fail::Peer(_)) => {
                note!("note: {}", fail.why());
                audited.push(Audited {
                    node: node.0,
                    head: None,
                    verdict: "no answer that counts",
                });
                failed = Some(fail);
            }
            Err(fail) => return Err(fail),
        }
    }
    // From the smallest on: each is compared with the one before it, by a proof of its own node.
    heads.sort_by_key(|(_, n)| n.head.as_ref().map_or(0, |h| h.head().size));
    let mut witness = Witness::default();
    for (node, newest) in heads {
        let verdict = match &newest.head {
            None => "empty",
            Some(head) => match check(ledgers, &mut witness, &node, head).await {
                Ok(Verdict::Extends) => "extends the others",
                Ok(Verdict::Same) => "same as the others",
                Ok(Verdict::Older) => "the beginning of the others",
                Ok(Verdict::Split) => "another view",
                Ok(Verdict::Unproven { .. }) => {
                    failed = Some(Fail::Peer(format!(
                        "{}: it does not prove its head",
                        node.0
                    )));
                    "not proved"
                }
                Err(fail @ Fail::Peer(_)) => {
                    note!("note: {}", fail.why());
                    failed = Some(fail);
                    "not proved"
                }
                Err(fail) => return Err(fail),
            },
        };
        audited.push(Audited {
            node: node.0,
            head: newest.head,
            verdict,
        });
    }
    let found = witness.split().cloned();
    Ok((audited, split.or(found), failed))
}

async fn check(
    ledgers: &mut Ledgers,
    witness: &mut Witness,
    node: &Node,
    head: &SignedHead,
) -> Result<Verdict, Fail> {
    let known = witness.newest().map(|h| *h.head());
    let mut head = head.clone();
    let mut link = None;
    if let Some(known) = known.filter(|k| k.size < head.head().size) {
        let request = client::consistency_request(known.size);
        let bytes = ledgers.get(node, request).await?;
        let read = client::consistency(&bytes, &ledgers.trust);
        let (of, proof): (SignedHead, Link) = read.map_err(|e| of_node(node, &e))?;
        // The node may have a newer head by now; the proof leads to that one.
        (head, link) = (of, Some(proof));
    }
    let set = ledgers
        .trust
        .sets()
        .iter()
        .find(|s| *s.hash() == head.head().set);
    let set = set.ok_or_else(|| Fail::Peer(format!("{}: its signers are not known", node.0)))?;
    let verdict = witness.offer(DOMAIN, set, head, link);
    verdict.map_err(|e| Fail::Peer(format!("{}: {e}", node.0)))
}
