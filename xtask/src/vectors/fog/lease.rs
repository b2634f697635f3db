//! Beats, retries, fences, the brake, trust and the queue.

use betanet_scheduler::lease::{
    Brake, amnesty, beat_down, beat_ttl, brake, fence_dies, retry_delay,
};
use betanet_scheduler::{Place, Trust};
use serde_json::{Value, json};

use super::money::rows;
use super::read::{Outcome, fixed, list, node, number, same, word};

pub(crate) fn queue(case: &Value) -> Outcome {
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

pub(crate) fn retry(case: &Value) -> Outcome {
    rows(case, |row| {
        let task = fixed(&row["task"])?;
        let (base, cap) = (number(&row["base"])?, number(&row["cap"])?);
        let delay = retry_delay(&task, number(&row["fault"])?, base, cap);
        Ok(json!(number(&row["now"])? + delay))
    })
}

pub(crate) fn beat(case: &Value) -> Outcome {
    rows(case, |row| {
        let known = number(&row["known"])?;
        let ttl = beat_ttl(known, &node(&row["node"])?, number(&row["seq"])?);
        Ok(json!({"ttl": ttl, "down": beat_down(known)}))
    })
}

pub(crate) fn lease(case: &Value) -> Outcome {
    rows(case, |row| {
        let down = number(&row["down"])?;
        if row["policy"].is_null() {
            return Ok(json!(amnesty(number(&row["at"])?, down)));
        }
        let (ms, last) = (number(&row["ms"])?, number(&row["last"])?);
        Ok(json!(fence_dies(word(&row["policy"])?, ms, last, down)))
    })
}

pub(crate) fn zones(case: &Value) -> Outcome {
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

pub(crate) fn spot(case: &Value) -> Outcome {
    rows(case, |row| {
        let trust = Trust::kept(number(&row["v"])?, None);
        let (seed, task) = (fixed(&row["S"])?, fixed(&row["task"])?);
        Ok(json!(!trust.stands_alone(&seed, &task, number(&row["copy"])?)))
    })
}

pub(crate) fn trust(case: &Value) -> Outcome {
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
