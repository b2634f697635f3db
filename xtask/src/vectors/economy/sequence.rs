//! Whole runs of the machine: genesis, sequences of requests, a journal.

use betanet_tokenomics::{Answer, Economy, Request, TABLES};
use serde_json::Value;

use super::read::{Run, array, code, hashes, hex, list, machine, number, same, wide};

pub(crate) const KINDS: &[(&str, Run)] = &[("genesis", genesis), ("sequence", sequence)];

fn genesis(case: &Value, _: &Value) -> Result<(), String> {
    let bytes = hex(&case["bytes"], "bytes")?;
    let mut economy = Economy::new(&bytes).map_err(|e| e.to_string())?;
    same("id", *economy.genesis().id(), array(&case["id"], "id")?)?;
    for person in case["people"].as_object().ok_or("people")?.values() {
        let key = array(&person["key"], "key")?;
        let account = betanet_tokenomics::account::address(&key);
        same("account", account.0, array(&person["account"], "account")?)?;
        let seed = array(&person["seed"], "seed")?;
        let identity = betanet_keys::Identity::from_seed(&seed);
        same("seed", *identity.public().as_bytes(), key)?;
    }
    same("root", economy.root(), array(&case["root"], "root")?)
}

fn sequence(case: &Value, cases: &Value) -> Result<(), String> {
    let mut economy = machine(case, cases)?;
    for (i, case) in list(&case["steps"], "steps")?.iter().enumerate() {
        step(&mut economy, case).map_err(|why| format!("step {i}: {why}"))?;
        let audited = economy.audit().map_err(|e| e.to_string());
        audited.map_err(|why| format!("step {i}: {why}"))?;
    }
    last(&mut economy, &case["final"]).map_err(|why| format!("at the end: {why}"))
}

fn step(economy: &mut Economy, step: &Value) -> Result<(), String> {
    let now = number(&step["ts"], "ts")?;
    let body = hex(&step["body"], "body")?;
    let (before, records) = (economy.root(), economy.records());
    let answer = match (&body[..], Request::from_bytes(&body)) {
        ([], _) => economy.tick(now).map_err(|e| e.to_string())?,
        (_, Some(request)) => {
            let again = Request::new(&request.by, request.exp, request.id, &request.op);
            same("encoding", again.as_ref(), Some(&request))?;
            let answer = economy.apply_unsigned(now, &request);
            answer.map_err(|e| e.to_string())?
        }
        (_, None) => {
            same("code", "MALFORMED", code(&step["code"], "code")?.name())?;
            return Ok(());
        }
    };
    let Answer {
        code: got,
        codes,
        seq,
        repeat,
    } = answer;
    same("code", got.name(), code(&step["code"], "code")?.name())?;
    let codes: Vec<&str> = codes.iter().map(|code| code.name()).collect();
    let want = match step.get("codes") {
        Some(codes) => {
            let names = list(codes, "codes")?.iter();
            names.filter_map(Value::as_str).collect()
        }
        None => Vec::new(),
    };
    same("codes", codes, want)?;
    same("repeat", repeat, step["repeat"] == true)?;
    match step.get("root") {
        Some(root) => {
            same("record", seq, records)?;
            same("root", economy.root(), array(root, "root")?)
        }
        None => same("nothing changes", economy.root(), before),
    }
}

fn last(economy: &mut Economy, end: &Value) -> Result<(), String> {
    let tables = hashes(&end["tables"], "tables")?;
    same("tables", tables.len(), TABLES)?;
    for (i, (got, want)) in economy.table_roots().iter().zip(tables).enumerate() {
        same(&format!("table {i}"), *got, want)?;
    }
    let mut balances = list(&end["balances"], "balances")?.iter();
    for (id, asset, counters) in economy.balances() {
        let want = balances.next().ok_or("too few balances")?;
        same("account", id.0, array(&want[0], "account")?)?;
        same(
            "asset",
            u64::from(asset.number()),
            number(&want[1], "asset")?,
        )?;
        let got = [
            counters.debits_pending,
            counters.debits,
            counters.credits_pending,
            counters.credits,
        ];
        for (i, got) in got.into_iter().enumerate() {
            same("counter", got, wide(&want[i + 2], "counter")?)?;
        }
    }
    same("balances", balances.count(), 0)?;
    if let Some(rows) = end.get("state") {
        let mut want = list(rows, "state")?.iter();
        let mut outcome = Ok(());
        economy.dump(&mut |table, key, value| {
            let one = || -> Result<(), String> {
                let row = want.next().ok_or("too few rows")?;
                same("table", u64::from(table), number(&row[0], "table")?)?;
                same("key", key, hex(&row[1], "key")?)?;
                same("value", value, hex(&row[2], "value")?)
            };
            if outcome.is_ok() {
                outcome = one().map_err(|why| format!("table {table}: {why}"));
            }
        });
        outcome?;
        same("rows", want.count(), 0)?;
    }
    same("root", economy.root(), array(&end["root"], "root")?)?;
    same("records", economy.records(), number(&end["seq"], "seq")?)
}
