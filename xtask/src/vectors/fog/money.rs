//! Prices, the auction, service credits.

use betanet_fog::{Commitment, Order, Reason, Refusal, Resource, TaskState};
use betanet_scheduler::auction::clear;
use betanet_scheduler::credit::{Day, Ending};
use betanet_scheduler::factor;
use betanet_scheduler::money::Bill;
use serde_json::{Value, json};

use super::read::{Outcome, bytes, fixed, list, number, resources, same, word};

/// Runs each row of a case, and compares the answers.
pub(crate) fn rows(case: &Value, row: impl Fn(&Value) -> Outcome<Value>) -> Outcome {
    let answers = list(&case["out"]["rows"])?;
    let rows = list(&case["in"]["rows"])?;
    same("number of rows", rows.len(), answers.len())?;
    for (i, (r, want)) in rows.iter().zip(answers).enumerate() {
        let got = row(r)?;
        // Large numbers stand as text.
        let equal = got == *want || got.as_u64().is_some_and(|n| number(want) == Ok(n));
        if !equal {
            return Err(format!("row {i}: {got} instead of {want}"));
        }
    }
    Ok(())
}

pub(crate) fn demand(case: &Value) -> Outcome {
    rows(case, |row| {
        let of = |part: &str, r: Resource| number(&row[part][r.as_str()]);
        let mut fullest = 0;
        for r in Resource::ALL {
            let (used, cap) = (of("used", r)?, of("cap", r)?);
            fullest = fullest.max((used * 1_000_000).checked_div(cap).unwrap_or(0));
        }
        Ok(json!(factor(fullest)))
    })
}

pub(crate) fn cost(case: &Value) -> Outcome {
    rows(case, |row| {
        let bill = Bill {
            resources: resources(&row["res"])?,
            tier: word(&row["tier"])?,
            quorum: number(&row["verify"][2])?,
            factor: number(&row["f"])?,
        };
        Ok(json!(bill.for_fuel(number(&row["fuel"])?)))
    })
}

fn order(v: &Value) -> Outcome<Order> {
    Ok(Order {
        by: fixed(&v["by"])?,
        price: number(&v["price"])?,
        qty: number(&v["qty"])?,
        round: number(&v["round"])?,
        salt: fixed(&v["salt"])?,
        side: word(&v["side"])?,
        tier: word(&v["tier"])?,
    })
}

pub(crate) fn auction(case: &Value) -> Outcome {
    let orders: Vec<Order> = list(&case["in"]["orders"])?
        .iter()
        .map(order)
        .collect::<Outcome<_>>()?;
    let out = &case["out"];
    for (i, o) in orders.iter().enumerate() {
        same("order", o.to_vec(), bytes(&out["order_bytes"][i])?)?;
        same("commit", o.commit(), fixed(&out["commits"][i])?)?;
        same("order read back", Order::from_slice(&o.to_vec()), Ok(*o))?;
    }
    let unrevealed = list(&case["in"]["unrevealed"])?.iter().map(fixed);
    let unrevealed: Vec<[u8; 32]> = unrevealed.collect::<Outcome<_>>()?;
    let cleared = clear(&orders, &unrevealed);
    same("price", cleared.price, number(&out["price"])?)?;
    same("lots", cleared.lots, number(&out["lots"])?)?;
    let matches = cleared.matches.iter();
    let matches: Vec<Value> = matches
        .map(|m| json!([m.bid, m.ask, m.lots, betanet_wire::text::hex(&m.id)]))
        .collect();
    same("reservations", &json!(matches), &out["reservations"])
}

pub(crate) fn reveal(case: &Value) -> Outcome {
    let (input, out) = (&case["in"], &case["out"]);
    let told = &input["commitment"];
    let commitment = Commitment {
        by: fixed(&told["by"])?,
        commit: fixed(&told["commit"])?,
        hold: number(&told["hold"])?,
        round: number(&told["round"])?,
        side: word(&told["side"])?,
        tier: word(&told["tier"])?,
    };
    let order = Order::from_slice(&bytes(&input["order"])?).map_err(|r| r.to_string())?;
    answer(commitment.reveal(&order, number(&input["now"])?), out)
}

/// Compares a refusal, or its absence, with the status, code and key that are told.
pub(crate) fn answer<T>(got: Result<T, Refusal>, out: &Value) -> Outcome {
    match got {
        Ok(_) => same("status", out["status"].as_u64().map(|s| s < 300), Some(true)),
        Err(r) => {
            let got = json!({"status": r.code.status(), "code": r.code.as_str(), "key": r.key});
            same("refusal", &got, out)
        }
    }
}

pub(crate) fn credit(case: &Value) -> Outcome {
    rows(case, |row| {
        let mut day = Day::new(word(&row["tier"])?);
        let n = number(&row["n"])?;
        let starts = list(&row["starts"])?;
        for i in 0..n {
            let bad = i >= n - number(&row["bad"])?;
            let start = usize::try_from(i).ok().and_then(|i| starts.get(i));
            day.count(&Ending {
                state: if bad { TaskState::Failed } else { TaskState::Succeeded },
                reason: if bad { "lost" } else { "" },
                ready: 0,
                started: start.map(number).transpose()?,
                deadline: 0,
                run_ms: 0,
                waited: &[Reason::CpuFree],
                cost: if i == 0 { number(&row["spend"])? } else { 0 },
            });
        }
        let credit = day.credit();
        Ok(json!({"percent": credit.percent, "credit": credit.amount}))
    })
}
