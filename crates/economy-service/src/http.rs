//! The face at the admin address: totals, parameters and the newest head as JSON.

use std::sync::Arc;

use betanet_runtime::{AdminFuture, AdminReply, AdminRequest, Extension, Fault, Measure};
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::bar::Api;
use crate::state::{Answer, Ask};

const JSON: &str = "application/json";

/// The ledger's part of a node: its pages at the admin address, its metrics, its health.
pub(crate) struct AdminFace(pub(crate) Arc<Api>);

impl Extension for AdminFace {
    fn paths(&self) -> &'static [&'static str] {
        &["/economy/1"]
    }

    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture {
        let api = Arc::clone(&self.0);
        let is_get = request.method.as_str() == "GET";
        let path = request.uri.path().to_owned();
        Box::pin(async move {
            let replied = match is_get {
                true => reply(&api, &path).await,
                false => Err((405, "only GET is answered here")),
            };
            match replied {
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

/// A number of 128 bits, which JSON's readers would round.
fn text(n: u128) -> Value {
    n.to_string().into()
}

async fn reply(api: &Api, path: &str) -> Result<Value, (u16, &'static str)> {
    let ask = async |ask: Ask| {
        let answer = api.shared.ask(ask).await;
        answer.map_err(|_| (503, "the ledger's journal is not led here now"))
    };
    match path {
        "/economy/1/supply" => {
            let Answer::Supply(supply) = ask(Ask::Supply).await? else {
                return Err((500, "a fault of this node"));
            };
            let system = supply.system.iter().map(|(name, [fog, units, credits])| {
                let of =
                    json!({ "fog": text(*fog), "units": text(*units), "credits": text(*credits) });
                ((*name).to_owned(), of)
            });
            Ok(json!({
                "size": supply.economy.final_size,
                "ts_ms": supply.economy.final_ms,
                "epoch": supply.economy.epoch,
                "issued": text(supply.issued),
                "burned": text(supply.burned),
                "system": system.collect::<serde_json::Map<_, _>>(),
            }))
        }
        "/economy/1/head" => {
            let Answer::Body(bytes) = ask(Ask::Head).await? else {
                return Err((500, "a fault of this node"));
            };
            let head = bytes.and_then(|b| betanet_log::SignedHead::from_bytes(&b).ok());
            let facts = api.shared.facts().borrow().clone();
            let signatures = head.as_ref().map(|h| h.signatures());
            Ok(json!({
                "genesis": hex(api.shared.setup.genesis.id()),
                "name": api.shared.setup.genesis.name,
                "records": facts.records,
                "size": head.as_ref().map_or(0, |h| h.head().size),
                "root": head.as_ref().map(|h| hex(&h.head().root)),
                "state": head.as_ref().and_then(|h| h.head().state).map(|s| hex(&s)),
                "ts_ms": head.as_ref().map(|h| h.head().ts),
                "signed_by": signatures.map(|s| s.iter().map(|s| hex(&s.signer)).collect::<Vec<_>>()),
                "waiting": json!({
                    "size": facts.proposed,
                    "signatures": facts.signatures,
                    "needed": facts.needed,
                }),
                "follows": api.shared.leader().map(ToString::to_string),
            }))
        }
        _ => Err((404, "head or supply")),
    }
}
