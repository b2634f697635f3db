//! Constants, and functions without state.

use betanet_tokenomics::{Asset, Code, Param, account, math, params};
use serde_json::Value;

use super::read::{Run, array, list, number, same, text};

pub(crate) const KINDS: &[(&str, Run)] = &[
    ("codes", codes),
    ("params", parameters),
    ("schema", schema),
    ("ids", ids),
    ("split", split),
    ("issuance", issuance),
    ("mix_weight", mix_weight),
    ("reputation", reputation),
    ("slash_ppm", slash_ppm),
];

fn codes(case: &Value, _: &Value) -> Result<(), String> {
    let rows = list(&case["codes"], "codes")?;
    same("codes", Code::all().count(), rows.len())?;
    for (code, row) in Code::all().zip(rows) {
        same("name", code.name(), text(&row[0], "name")?)?;
        same(
            "number",
            u64::from(code.number()),
            number(&row[1], "number")?,
        )?;
        same(
            "status",
            u64::from(code.status()),
            number(&row[2], "status")?,
        )?;
    }
    Ok(())
}

fn parameters(case: &Value, _: &Value) -> Result<(), String> {
    let rows = list(&case["params"], "params")?;
    same("parameters", params::RULES.len(), rows.len())?;
    for (rule, row) in params::RULES.iter().zip(rows) {
        same("name", rule.name, text(&row[0], "name")?)?;
        let numbers = [rule.default, rule.least, rule.most, rule.step];
        for (i, got) in numbers.into_iter().enumerate() {
            same(rule.name, got, number(&row[i + 1], rule.name)?)?;
        }
        let param = Param::from_name(rule.name).ok_or(rule.name)?;
        same("order", param.rule(), rule)?;
    }
    Ok(())
}

/// The tables are checked by the roots of sequences; here only their number, and the list of operations.
fn schema(case: &Value, _: &Value) -> Result<(), String> {
    if let Some(tables) = case.get("tables") {
        return same(
            "tables",
            betanet_tokenomics::TABLES,
            list(tables, "tables")?.len(),
        );
    }
    let ops = list(&case["ops"], "ops")?;
    same(
        "operations",
        betanet_tokenomics::request::OPS.len(),
        ops.len(),
    )?;
    for (op, row) in betanet_tokenomics::request::OPS.iter().zip(ops) {
        same("name", op.name, text(&row[0], "name")?)?;
        same("least", 1, number(&row[1], "least")?)?;
        let most = if op.many { 16 } else { 1 };
        same(op.name, most, number(&row[2], "most")?)?;
        same(op.name, op.fee, row[3] == true)?;
        let keys = row[4].as_object().ok_or("keys")?;
        same(op.name, op.keys.len(), keys.len())?;
        same(
            op.name,
            op.keys.iter().all(|key| keys.contains_key(*key)),
            true,
        )?;
    }
    Ok(())
}

fn ids(case: &Value, _: &Value) -> Result<(), String> {
    let rows = list(&case["system"], "system")?;
    same("accounts", account::SYSTEM.len(), rows.len())?;
    for ((name, id), row) in account::SYSTEM.iter().zip(rows) {
        same("name", *name, text(&row[0], "name")?)?;
        same(name, id.0, array(&row[1], "account")?)?;
    }
    if let Some(assets) = case.get("assets").and_then(Value::as_array) {
        same("assets", betanet_tokenomics::ASSETS.len(), assets.len())?;
    }
    same("FOG", Asset::Fog.number(), 0)
}

fn split(case: &Value, _: &Value) -> Result<(), String> {
    let total = number(&case["total"], "total")?;
    let weights = list(&case["weights"], "weights")?.iter();
    let weights: Result<Vec<u64>, _> = weights.map(|w| number(&w[1], "weight")).collect();
    let shares = list(&case["shares"], "shares")?.iter();
    let shares: Result<Vec<u64>, _> = shares.map(|s| number(&s[1], "share")).collect();
    same("shares", math::split(total, &weights?), shares?)
}

fn issuance(case: &Value, _: &Value) -> Result<(), String> {
    let base = number(&case["base"], "base")?;
    let halving = number(&case["halving"], "halving")?;
    let mut left = number(&case["left"], "left")?;
    let mut next = 0;
    for row in list(&case["epochs"], "epochs")? {
        // The file leaves epochs out.
        let epoch = number(&row[0], "epoch")?;
        let mut issued = 0;
        while next <= epoch {
            issued = math::issuance(base, halving, next, left);
            left -= issued;
            next += 1;
        }
        same("issued", issued, number(&row[1], "issued")?)?;
        same("left", left, number(&row[2], "left")?)?;
    }
    Ok(())
}

fn numbers<const N: usize>(row: &Value) -> Result<[u64; N], String> {
    let row: Result<Vec<u64>, _> = list(row, "row")?.iter().map(|n| number(n, "row")).collect();
    row?.try_into().map_err(|_| format!("not {N} numbers"))
}

fn mix_weight(case: &Value, _: &Value) -> Result<(), String> {
    for row in list(&case["rows"], "rows")? {
        let [reputation, performance, fog, stake, weight] = numbers(row)?;
        same("stake", math::stake_ppm(fog), stake)?;
        let got = math::mix_weight(reputation, performance, fog);
        same("weight", got, weight)?;
    }
    Ok(())
}

fn reputation(case: &Value, _: &Value) -> Result<(), String> {
    for row in list(&case["rows"], "rows")? {
        let [before, jobs, sent, returned, after] = numbers(row)?;
        let got = math::reputation(before, jobs, sent, returned);
        same("after", got, after)?;
    }
    Ok(())
}

fn slash_ppm(case: &Value, _: &Value) -> Result<(), String> {
    for row in list(&case["rows"], "rows")? {
        let [base, corr, others, all, fraction] = numbers(row)?;
        let got = math::slash_ppm(base, corr, others, all);
        same("fraction", got, fraction)?;
    }
    Ok(())
}
