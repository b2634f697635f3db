//! The face at the admin address: totals of each keyset as JSON.

use std::sync::Arc;

use betanet_runtime::{AdminFuture, AdminReply, AdminRequest, Extension, Fault, Measure};
use betanet_tokenomics::Code as LedgerCode;
use betanet_vouchers::Keyset;
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::bridge::Bridge;
use crate::desk::{Desk, Refusal};
use crate::state::{KeysetView, View};

const JSON: &str = "application/json";

/// The service's part of a node: its page at the admin address, its metrics, its health.
pub(crate) struct AdminFace(pub(crate) Arc<Desk>);

impl Extension for AdminFace {
    fn paths(&self) -> &'static [&'static str] {
        &["/vouchers/1"]
    }

    fn answer(self: Arc<Self>, request: AdminRequest) -> AdminFuture {
        let path = request.uri.path().to_owned();
        let gets = request.method.as_str() == "GET";
        Box::pin(async move { reply(&self.0, &path, gets).await })
    }

    fn measures(&self) -> Vec<Measure> {
        crate::measures::measures(&self.0)
    }

    fn faults(&self) -> Vec<Fault> {
        crate::measures::faults(&self.0)
    }
}

async fn reply(desk: &Desk, path: &str, gets: bool) -> AdminReply {
    if path != "/vouchers/1/keysets" {
        return refused(Refusal::elsewhere());
    }
    if !gets {
        return refused(Refusal::malformed());
    }
    match desk.view().await {
        Ok(view) => AdminReply::whole(200, JSON, keysets(desk, &view).to_string() + "\n"),
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> AdminReply {
    let body = json!({ "code": refusal.code.0, "reason": refusal.code.to_string() });
    let mut reply = AdminReply::whole(refusal.status, JSON, body.to_string() + "\n");
    if let Some(seconds) = refusal.retry_after {
        reply.headers.push(("retry-after", seconds.to_string()));
    }
    reply
}

fn keysets(desk: &Desk, view: &View) -> Value {
    let now_ms = desk.clock.now().unix_ms;
    let of = |keyset: &Keyset| {
        let seen = view.keysets.iter().find(|k| k.id == keyset.id());
        one(desk, keyset, seen, now_ms)
    };
    let balances: serde_json::Map<String, Value> = view
        .balances
        .iter()
        .map(|(unit, sum)| (unit.clone(), number(*sum)))
        .collect();
    json!({
        "balances": balances,
        "keysets": desk.keysets.iter().map(of).collect::<Vec<_>>(),
        "ledger": desk.bridge.get().map(ledger),
        "node": hex(&desk.identity.public().node_id().0),
    })
}

/// The ledger that the service is connected to, and what it has not paid out.
fn ledger(bridge: &Bridge) -> Value {
    let seen = bridge.seen();
    let refused = seen.refused.iter().map(|owed| {
        let code = owed.code.map(u64::from).and_then(LedgerCode::from_number);
        json!({
            "at_ms": owed.at,
            "answer": hex(&owed.ans),
            "code": code.map(LedgerCode::name),
            "keyset": hex(&owed.keyset),
            "to": hex(&owed.to.0),
            "units": owed.units,
        })
    });
    json!({
        "fault": seen.fault,
        "genesis": hex(bridge.remote.genesis().id()),
        "refusals": seen.refusals,
        "refused": refused.collect::<Vec<_>>(),
        "size": bridge.remote.newest().map(|head| head.head().size),
        "waiting": seen.waiting,
    })
}

/// A number, or its text where it exceeds 64 bits.
fn number(n: u128) -> Value {
    u64::try_from(n).map_or_else(|_| Value::from(n.to_string()), Value::from)
}

fn one(desk: &Desk, keyset: &Keyset, seen: Option<&KeysetView>, now_ms: u64) -> Value {
    let counts = seen.map_or(&[][..], |s| &s.counts);
    let reported = seen.and_then(|s| s.reported.as_ref());
    let most = reported.and_then(|r| r.most.as_ref());
    let denominations = counts.iter().map(|c| {
        json!({
            "e": c.denomination.exponent(),
            "issued": c.issued,
            "most": most.and_then(|most| most.get(&c.denomination)),
            "redeemed": c.redeemed,
            "signed": c.signed,
        })
    });
    json!({
        "alarm": seen.is_some_and(|s| s.alarm),
        "denominations": denominations.collect::<Vec<_>>(),
        "exp": keyset.exp(),
        "id": keyset.id().to_string(),
        "n": keyset.shares(),
        "not_before": keyset.not_before(),
        "reported": reported.map(|r| &r.shares),
        "phase": crate::keysets::word(keyset.phase(now_ms)),
        "share": desk.mints.get(&keyset.id()),
        "spends": keyset.spender() == desk.identity.public(),
        "t": keyset.threshold(),
        "unit": keyset.unit(),
    })
}
