//! Prices, the auction, service credits.

use betanet_fog::{Order, Reason, Resource, TaskState, to_vec};
use betanet_scheduler::auction::clear;
use betanet_scheduler::credit::{Day, Ending};
use betanet_scheduler::factor;
use betanet_scheduler::money::Bill;
use serde_json::{Value, json};

use super::read::{Outcome, Section, bytes, fixed, list, number, resources, same, word};

/// The sections, and what runs a case of each.
pub(crate) const SECTIONS: &[Section] = &[
    ("auction", auction),
    ("cost", cost),
    ("credit", credit),
    ("demand", demand),
];

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

fn demand(case: &Value) -> Outcome {
    rows(case, |row| {
        let of = |part: &str, r: &Resource| number(&row[part][r.as_str()]);
        let mut fullest = 0;
        for r in Resource::ALL {
            let (used, cap) = (of("used", r)?, of("cap", r)?);
            fullest = fullest.max((used * 1_000_000).checked_div(cap).unwrap_or(0));
        }
        Ok(json!(factor(fullest)))
    })
}

fn cost(case: &Value) -> Outcome {
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

fn auction(case: &Value) -> Outcome {
    let orders: Vec<Order> = list(&case["in"]["orders"])?
        .iter()
        .map(order)
        .collect::<Outcome<_>>()?;
    let out = &case["out"];
    for (i, o) in orders.iter().enumerate() {
        same("order", to_vec(o), bytes(&out["order_bytes"][i])?)?;
        same("commit", o.commit(), fixed(&out["commits"][i])?)?;
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

fn credit(case: &Value) -> Outcome {
    rows(case, |row| {
        let mut day = Day::new(word(&row["tier"])?);
        let n = number(&row["n"])?;
        let starts = list(&row["starts"])?;
        for i in 0..n {
            let bad = i >= n - number(&row["bad"])?;
            let start = usize::try_from(i).ok().and_then(|i| starts.get(i));
            day.count(&Ending {
                state: if bad {
                    TaskState::Failed
                } else {
                    TaskState::Succeeded
                },
                reason: bad.then_some(Reason::Lost),
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
