//! `worker status`: what a running worker does, for people.

use serde_json::Value;

use crate::Fail;
use crate::admin::ask;
use crate::args::StatusArgs;
use crate::fail::interruptible;
use crate::fog::in_bytes;

/// Lines of days that are shown.
const DAYS: usize = 7;

pub(super) async fn status(args: &StatusArgs) -> Result<(), Fail> {
    interruptible(async {
        let status = ask(&args.admin, "/status").await?;
        if args.json {
            say!("{status}");
        } else {
            for line in lines(&status) {
                say!("{line}");
            }
        }
        if status["healthy"] == true {
            return Ok(());
        }
        let why = words(&status["faults"]).join(", ");
        Err(Fail::Peer(format!("{}: {why}", args.admin)))
    })
    .await
}

fn words(list: &Value) -> Vec<String> {
    let all = list.as_array().into_iter().flatten();
    all.map(text).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Thousandths as a decimal number.
fn thousandths(n: u64) -> String {
    format!("{}.{:03}", n / 1000, n % 1000)
}

/// The node's announcement.
pub(super) fn announced(status: &Value) -> Vec<String> {
    let a = &status["announced"];
    let mut lines = vec![
        format!("engine      {}", text(&status["engine"])),
        format!("org         {}", text(&status["org"])),
        format!(
            "for tasks   {} cores, {} memory, {} disk, {} devices",
            thousandths(number(&a["cpu"])),
            in_bytes(number(&a["memory"])),
            in_bytes(number(&a["storage"])),
            thousandths(number(&a["gpu"])),
        ),
    ];
    if let Some(peer) = status["listening"]["peer"].as_str() {
        lines.push(format!("peer        {peer}"));
    }
    lines.push(format!("level       {}", text(&status["level"])));
    for device in status["devices"].as_array().into_iter().flatten() {
        let granted = match device["granted"] == true {
            true => "granted",
            false => "not granted",
        };
        let note = text(&device["note"]);
        lines.push(format!(
            "device      {}: {granted}; {note}",
            text(&device["name"])
        ));
    }
    lines
}

fn lines(status: &Value) -> Vec<String> {
    let mut lines = vec![format!("name        {}", text(&status["name"]))];
    let faults = words(&status["faults"]);
    lines.push(match (faults.is_empty(), status["draining"] == true) {
        (true, false) => "health      ok".to_owned(),
        (true, true) => "health      ok, draining".to_owned(),
        (false, _) => format!("health      {}", faults.join(", ")),
    });
    lines.extend(announced(status));
    lines.extend(questions(status));
    let (copies, counts) = (&status["copies"], &status["counts"]);
    lines.push(format!(
        "copies      {} running, {} held",
        number(&copies["running"]),
        number(&copies["held"])
    ));
    lines.push(format!(
        "receipts    {} taken, {} refused; {} copies stopped without one",
        number(&counts["returned"]),
        number(&counts["refused"]),
        number(&counts["stopped"])
    ));
    let outcomes = counts["outcomes"].as_object().into_iter().flatten();
    let outcomes = outcomes.filter(|(_, n)| number(n) > 0);
    let outcomes: Vec<String> = outcomes.map(|(word, n)| format!("{n} {word}")).collect();
    if !outcomes.is_empty() {
        lines.push(format!("programs    {}", outcomes.join(", ")));
    }
    let blobs = &status["blobs"];
    lines.push(format!(
        "blobs       {}, {} of {}; {} fetched, {} were here, {} evicted",
        number(&blobs["number"]),
        in_bytes(number(&blobs["bytes"])),
        in_bytes(number(&blobs["quota"])),
        number(&counts["fetched"]),
        number(&counts["here"]),
        number(&blobs["evicted"])
    ));
    let harvest = &status["harvest"];
    if !harvest.is_null() {
        let share = match harvest["share"].as_u64() {
            Some(share) => format!(" at {share} % of a core each"),
            None => String::new(),
        };
        lines.push(format!(
            "lending     {}{share}; ran {} s, paused {} s, gave back {} times",
            text(&harvest["decision"]),
            number(&harvest["ran_s"]),
            number(&harvest["paused_s"]),
            number(&harvest["given_back"])
        ));
        let causes = words(&harvest["causes"]);
        lines.extend(causes.iter().map(|cause| format!("            {cause}")));
    }
    lines.extend(given(&status["given"]));
    lines
}

/// The coordinators' questions for the node's level, if it listens for them.
fn questions(status: &Value) -> Vec<String> {
    if status["listening"].is_null() {
        return Vec::new();
    }
    let asked = &status["questions"];
    let answered = asked["answered"].as_object().into_iter().flatten();
    let answered = answered.filter(|(_, n)| number(n) > 0);
    let answered: Vec<String> = answered
        .map(|(relays, n)| format!("{n} over {relays} relays"))
        .collect();
    let mut lines = vec![match answered.is_empty() {
        true => "questions   none answered yet".to_owned(),
        false => format!(
            "questions   answered {}, the last at {}",
            answered.join(", "),
            moment(number(&asked["answered_ms"]))
        ),
    }];
    if number(&asked["refused"]) > 0 {
        lines.push(format!(
            "            {} refused, the last at {}",
            number(&asked["refused"]),
            moment(number(&asked["refused_ms"]))
        ));
    }
    lines
}

/// UNIX ms as date and time.
fn moment(ms: u64) -> String {
    let s = ms / 1000;
    let (hour, minute) = (s / 3_600 % 24, s / 60 % 60);
    format!(
        "{} {hour:02}:{minute:02}:{:02} UTC",
        date(s / 86_400),
        s % 60
    )
}

/// The last days of the ledger.
fn given(entries: &Value) -> Vec<String> {
    let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
    let from = entries.len().saturating_sub(DAYS);
    let line = |entry: &Value| {
        // KiB · ms in thousandths of GB-hours.
        let gb_h = u128::from(number(&entry["memory_kib_ms"])) * 1024 / (3_600 * 1_000_000_000);
        let energy = match number(&entry["energy_mj"]) {
            0 => String::new(),
            mj => format!(", about {} J", mj / 1000),
        };
        format!(
            "{}  {}: {} tasks, {} G fuel, {} GB-hours{energy}",
            date(number(&entry["day"])),
            text(&entry["device"]),
            number(&entry["tasks"]),
            thousandths(number(&entry["fuel"]) / 1_000_000),
            thousandths(u64::try_from(gb_h).unwrap_or(u64::MAX)),
        )
    };
    entries[from..].iter().map(line).collect()
}

/// A day since 1970 as a date.
fn date(day: u64) -> String {
    // Howard Hinnant's civil_from_days, for days that are not negative.
    let z = day + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (d, m) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let y = yoe + era * 400 + u64::from(m <= 2);
    format!("{y}-{m:02}-{d:02}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_786), "2026-11-29");
        assert_eq!(moment(1_795_978_800_999), "2026-11-29 19:00:00 UTC");
    }

    #[test]
    fn a_status_is_told_in_lines() {
        let status = json!({
            "name": "bn1:x", "healthy": true, "faults": [], "draining": true, "engine": "wasmtime 48", "org": "acme",
            "level": "confidential", "listening": { "peer": "bnp1x" },
            "questions": {
                "answered": { "3": 0, "5": 2, "7": 0 }, "answered_ms": 1_795_978_800_000_u64, "refused": 1, "refused_ms": 1_795_978_801_000_u64,
            },
            "announced": { "cpu": 4000, "memory": 1 << 30, "storage": 0, "gpu": 0 },
            "devices": [{ "name": "rtx", "granted": false, "note": "programs of WASI cannot use devices" }],
            "copies": { "running": 1, "held": 2 },
            "counts": { "returned": 3, "outcomes": { "ok": 3, "trap": 0 } },
            "blobs": {},
            "harvest": { "decision": "pause", "share": null, "causes": ["load 40 %, goes on at 10 %"] },
            "given": [{ "day": 20_786, "device": "cpu", "tasks": 3, "fuel": 5_000_000_000_u64, "memory_kib_ms": 3_600_000_000_000_u64 }],
        });
        let all = lines(&status).join("\n");
        for part in [
            "ok, draining",
            "level       confidential",
            "peer        bnp1x",
            "answered 2 over 5 relays, the last at 2026-11-29 19:00:00 UTC",
            "1 refused, the last at 2026-11-29 19:00:01 UTC",
            "4.000 cores",
            "rtx: not granted",
            "1 running, 2 held",
            "3 ok",
            "load 40 %",
            "2026-11-29  cpu: 3 tasks, 5.000 G fuel, 1.024 GB-hours",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        assert!(!all.contains("trap"), "{all}");
    }
}
