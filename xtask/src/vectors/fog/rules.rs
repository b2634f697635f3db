//! The queue, the brake, draws of second copies, and trust.

use betanet_fog::TaskId;
use betanet_scheduler::{Brake, Place, Trust, brake};
use serde_json::{Value, json};

use super::money::rows;
use super::read::{Outcome, Section, fixed, list, number, same, word};

/// The sections, and what runs a case of each.
pub(crate) const SECTIONS: &[Section] = &[
    ("brake", zones),
    ("queue", queue),
    ("spot", spot),
    ("trust", trust),
];

fn queue(case: &Value) -> Outcome {
    let tasks = list(&case["in"]["tasks"])?;
    let mut order = Vec::new();
    for (i, t) in tasks.iter().enumerate() {
        let prio = u8::try_from(number(&t[1])?).map_err(|e| e.to_string())?;
        order.push((Place::new(word(&t[0])?, prio, number(&t[2])?), i));
    }
    order.sort_unstable();
    let order: Vec<usize> = order.into_iter().map(|(_, i)| i).collect();
    same("order", &json!(order), &case["out"]["order"])
}

fn zones(case: &Value) -> Outcome {
    let zones = case["in"]["zones"].as_object().ok_or("no zones")?;
    let mut left = 0;
    for z in zones.values() {
        left += number(&z[1])?;
    }
    for (name, z) in zones {
        let got = match brake(number(&z[0])?, number(&z[1])?, left) {
            Brake::All => "all",
            Brake::Slow(_) => "slow",
            Brake::None => "none",
        };
        same(name, &json!(got), &case["out"]["zones"][name])?;
    }
    Ok(())
}

fn spot(case: &Value) -> Outcome {
    rows(case, |row| {
        let trust = Trust::kept(number(&row["v"])?, None);
        let (seed, task) = (fixed(&row["S"])?, TaskId(fixed(&row["task"])?));
        Ok(json!(!trust.stands_alone(
            &seed,
            &task,
            number(&row["copy"])?
        )))
    })
}

fn trust(case: &Value) -> Outcome {
    let mut trust = Trust::default();
    let mut quarantined = false;
    let steps = list(&case["out"]["steps"])?;
    for (c, want) in list(&case["in"]["compared"])?.iter().zip(steps) {
        quarantined |= trust.compared(number(&c[0])?, c[1] == true);
        let got = json!({
            "v": trust.agreed(), "rep": trust.reputation(), "quarantined": quarantined,
        });
        same("step", &got, want)?;
    }
    Ok(())
}
