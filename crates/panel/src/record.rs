//! Nodes, tasks, accounts and audit records as JSON, for the API and for lists.

use betanet_auth::audit::Record as AuditRecord;
use betanet_auth::token::ApiToken;
use betanet_auth::{Account, Scope};
use betanet_fog::bodies::{NodeSummary, Plan, Status, TaskSummary};
use betanet_fog::{Amounts, Resource};
use betanet_wire::text::hex;
use serde_json::{Map, Value, json};

use crate::text::moment;

/// Amounts of the six resources.
pub(crate) fn amounts(of: &Amounts) -> Value {
    let all = Resource::ALL.iter();
    let all = all.map(|r| (r.as_str().to_owned(), json!(of.get(*r))));
    Value::Object(all.collect::<Map<_, _>>())
}

pub(crate) fn node(n: &NodeSummary) -> Value {
    json!({
        "id": hex(&n.id.0),
        "org": n.org.as_str(),
        "kind": n.kind.as_str(),
        "state": n.state.as_str(),
        "level": n.level.as_str(),
        "region": n.region.as_str(),
        "zone": n.zone.as_str(),
        "live": n.live,
        "reputation_ppm": n.rep,
        "price_ppm": n.price,
        "seen_ms": n.seen,
        "capacity": amounts(&n.cap),
        "free": amounts(&n.free),
    })
}

pub(crate) fn task(t: &TaskSummary) -> Value {
    json!({
        "id": hex(&t.id.0),
        "ns": t.ns.as_str(),
        "tier": t.tier.as_str(),
        "priority": t.prio,
        "state": t.state.as_str(),
        "reason": t.reason.as_str(),
        "changed": t.at,
    })
}

pub(crate) fn status(id: &str, s: &Status) -> Value {
    let why: Vec<Value> = s
        .why
        .iter()
        .map(|c| json!({"reason": c.reason.as_str(), "nodes": c.nodes}))
        .collect();
    let copies: Vec<Value> = s
        .copies
        .iter()
        .map(|c| json!({"fence": c.fence, "node": hex(&c.node.0), "state": c.state.as_str()}))
        .collect();
    json!({
        "id": id,
        "state": s.state.as_str(),
        "reason": s.reason.as_str(),
        "why": why,
        "copies": copies,
        "attempts": s.attempts,
        "cost_micro": s.cost,
        "output": s.out.map(|d| hex(&d)),
    })
}

pub(crate) fn plan(p: &Plan) -> Value {
    let why: Vec<Value> = p
        .why
        .iter()
        .map(|c| json!({"reason": c.reason.as_str(), "nodes": c.nodes}))
        .collect();
    let copies: Vec<Value> = p.copies.iter().map(|c| json!(hex(&c.node.0))).collect();
    json!({"why": why, "cost_micro": p.cost, "nodes": copies})
}

/// A record of the audit log as answers of the API show it, besides its bytes.
#[must_use]
pub fn audit(r: &AuditRecord) -> Value {
    json!({
        "seq": r.seq,
        "at": moment(r.at),
        "at_ms": r.at,
        "actor": r.actor,
        "action": r.action,
        "target": r.target,
        "verdict": r.verdict.as_str(),
        "before": r.before.map(|d| hex(&d)),
        "after": r.after.map(|d| hex(&d)),
        "request": hex(&r.request),
    })
}

/// The grants of an account: `role` or `role@namespace`, separated by spaces.
pub(crate) fn grants(account: &Account) -> String {
    let all = account.grants.as_slice().iter();
    let all: Vec<String> = all
        .map(|g| match &g.scope {
            Scope::Everywhere => g.role.as_str().to_owned(),
            Scope::Namespace(ns) => format!("{}@{ns}", g.role),
        })
        .collect();
    all.join(" ")
}

pub(crate) fn account(a: &Account) -> Value {
    json!({
        "id": a.id.to_string(),
        "name": a.name,
        "grants": grants(a),
        "disabled": a.disabled,
        "made_ms": a.made,
    })
}

pub(crate) fn token(t: &ApiToken) -> Value {
    json!({
        "id": t.id.to_string(),
        "name": t.name,
        "scopes": t.scopes.to_text(),
        "made_ms": t.made,
        "expires_ms": t.expires,
        "used_ms": t.used,
    })
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // Spreadsheets would run a cell that begins like a formula.
    let text = match text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{text}"),
        false => text,
    };
    match text.contains(['"', ',', '\n', '\r', ';']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

/// A list as CSV, with these columns.
pub(crate) fn csv(columns: &[&str], items: impl Iterator<Item = Value>) -> String {
    let mut out = columns.join(",") + "\r\n";
    for item in items {
        let cells: Vec<String> = columns.iter().map(|c| cell(&item[*c])).collect();
        out += &cells.join(",");
        out += "\r\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_one_cell() {
        for (value, text) in [
            (json!("=1+1"), "'=1+1"),
            (json!("a,b"), "\"a,b\""),
            (json!("say \"x\""), "\"say \"\"x\"\"\""),
            (json!(-5), "'-5"),
            (json!(null), ""),
            (json!(5), "5"),
        ] {
            assert_eq!(cell(&value), text);
        }
    }
}
