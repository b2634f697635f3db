//! The face at the admin address: aliases with their conditions, their records with proofs, the newest head, and evidence, as JSON.

use std::sync::Arc;

use betanet_keys::Name;
use betanet_naming::{Alias, LIFE_MS, Look};
use betanet_runtime::{AdminFuture, AdminReply, AdminRequest, Clock, Extension, Fault, Measure};
use betanet_wire::text::{base64url, hex};
use serde_json::{Value, json};

use crate::bar::Api;
use crate::body::HeadBody;
use crate::client::{self, Trust};
use crate::state::{Answer, Ask, word};

const JSON: &str = "application/json";
/// Aliases of one answer, if the request names no number, and at most.
const ALIASES: usize = 100;
const ALIASES_MAX: usize = 1000;

/// The ledger's part of a node: its pages at the admin address, its metrics, its health.
pub(crate) struct AdminFace(pub(crate) Arc<Api>);

impl Extension for AdminFace {
    fn paths(&self) -> &'static [&'static str] {
        &["/names/1"]
    }

    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture {
        let api = Arc::clone(&self.0);
        let is_get = request.method.as_str() == "GET";
        let path = request.uri.path().to_owned();
        let query = request.uri.query().unwrap_or_default().to_owned();
        Box::pin(async move {
            if !is_get {
                let why = json!({ "why": "only GET is answered here" });
                return AdminReply::whole(405, JSON, format!("{why}\n"));
            }
            match reply(&api, &path, &query).await {
                Ok(value) => AdminReply::whole(200, JSON, format!("{value}\n")),
                Err((status, why)) => {
                    AdminReply::whole(status, JSON, format!("{}\n", json!({ "why": why })))
                }
            }
        })
    }

    fn measures(&self) -> Vec<Measure> {
        crate::measures::measures(&self.0)
    }

    fn faults(&self) -> Vec<Fault> {
        crate::measures::faults(&self.0.shared)
    }
}

async fn reply(api: &Api, path: &str, query: &str) -> Result<Value, (u16, &'static str)> {
    let value = |key: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(k, _)| *k == key).map(|(_, value)| value)
    };
    let ask = async |ask: Ask| {
        let answer = api.shared.ask(ask).await;
        answer.map_err(|_| (503, "the ledger's journal is not led here now"))
    };
    match path {
        "/names/1/aliases" => {
            let after = value("after").map(Alias::from_wire).transpose();
            let after = after.map_err(|_| (400, "after is an alias"))?;
            let n = value("n").map_or(Some(ALIASES), |n| n.parse().ok());
            let n = n
                .filter(|n| (1..=ALIASES_MAX).contains(n))
                .ok_or((400, "n is 1 to 1000"))?;
            let Answer::Names(list) = ask(Ask::Names(after, n)).await? else {
                return Err((500, "a fault of this node"));
            };
            let next = list
                .last()
                .filter(|_| list.len() == n)
                .map(|l| l.alias.to_string());
            let each = list.iter().map(|listed| {
                let held = listed.held;
                json!({
                    "alias": listed.alias.as_str(),
                    "unicode": listed.alias.to_unicode(),
                    "look": look(&listed.alias),
                    "status": word(listed.status),
                    "node": held.map(|h| Name::from(h.node).to_string()),
                    "seq": held.map(|h| h.seq),
                    "index": held.map(|h| h.index),
                    "expires_ms": held.map(|h| h.expires()),
                })
            });
            Ok(json!({ "aliases": each.collect::<Vec<_>>(), "next": next }))
        }
        path @ ("/names/1/head" | "/names/1/split") => {
            let Answer::Body(Some(bytes)) = ask(Ask::Newest).await? else {
                return Err((500, "a fault of this node"));
            };
            let body: Result<HeadBody<'_>, _> = betanet_wire::cbor::from_slice(&bytes);
            let body = body.map_err(|_| (500, "a fault of this node"))?;
            if path.ends_with("split") {
                return Ok(json!({ "evidence": body.split.map(hex) }));
            }
            let head = body
                .head
                .and_then(|h| betanet_log::SignedHead::from_bytes(h).ok());
            let signers = api.shared.facts().borrow().signers.clone();
            Ok(json!({
                "size": head.as_ref().map_or(0, |h| h.head().size),
                "root": head.as_ref().map(|h| hex(&h.head().root)),
                "ts_ms": head.as_ref().map(|h| h.head().ts),
                "signed_by": head.as_ref().map(|h| {
                    h.signatures().iter().map(|s| hex(&s.signer)).collect::<Vec<_>>()
                }),
                "signers": signers.iter().map(|k| hex(k)).collect::<Vec<_>>(),
                "waiting": body.waiting,
                "split": body.split.is_some(),
            }))
        }
        path => match path.strip_prefix("/names/1/history/") {
            Some(alias) => {
                let alias = Alias::from_wire(alias).map_err(|_| (400, "no alias"))?;
                let Answer::Body(Some(bytes)) = ask(Ask::History(alias.clone())).await? else {
                    return Err((500, "a fault of this node"));
                };
                history(api, &alias, &bytes).ok_or((500, "a fault of this node"))
            }
            None => Err((404, "aliases, history/ALIAS, head or split")),
        },
    }
}

/// The records of an alias that are kept, newest first, each with its proof, which is verified here as a reader verifies it.
fn history(api: &Api, alias: &Alias, bytes: &[u8]) -> Option<Value> {
    let mut trust = Trust::new(&api.shared.setup.genesis);
    let all = client::history(bytes, alias, &mut trust).ok()?;
    let now_ms = Clock::start().now().unix_ms;
    let each = all.iter().map(|(finalized, proof)| {
        let (record, head) = (finalized.record(), proof.head().head());
        json!({
            "seq": record.seq,
            "index": proof.index(),
            "node": Name::from(finalized.owner()).to_string(),
            "from": finalized.giver().map(|n| Name::from(n).to_string()),
            "retires": record.is_retirement(),
            "status": word(client::condition(finalized, now_ms)),
            "ts_ms": record.ts,
            "expires_ms": record.ts.saturating_add(LIFE_MS),
            "digest": hex(&finalized.digest()),
            "head": { "size": head.size, "root": hex(&head.root), "ts_ms": head.ts },
            "proof": base64url(&proof.to_bytes()),
        })
    });
    Some(json!({
        "alias": alias.as_str(),
        "unicode": alias.to_unicode(),
        "look": look(alias),
        "records": each.collect::<Vec<_>>(),
    }))
}

/// What whoever shows the alias shows beside it; `null` where there is nothing to warn of.
fn look(alias: &Alias) -> Value {
    let look = Look::of(alias);
    match look.is_suspicious() {
        true => json!({
            "scripts": look.scripts,
            "mixed_scripts": look.mixed,
            "looks_like": look.like_ascii,
        }),
        false => Value::Null,
    }
}
