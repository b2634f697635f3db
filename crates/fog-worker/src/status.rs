//! Reports of a node to its operator: status as JSON, metrics as text.

use std::sync::atomic::AtomicU64;

use betanet_fog::Outcome;
use betanet_harvest::{Entry, Used};
use betanet_keys::Name;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::counters::Counts;
use crate::service::Handle;

impl Handle {
    /// Why the node is not healthy; empty if it is.
    #[must_use]
    pub fn faults(&self) -> Vec<&'static str> {
        let counts = self.0.counters.counts();
        let now_ms = self.0.clock.now().unix_ms;
        let mut faults = Vec::new();
        match &self.0.phase().joined {
            None => faults.push("the node has not joined"),
            // Silence after which the coordinator takes the node for offline.
            Some(joined) if counts.beaten_ms.saturating_add(joined.down) < now_ms => {
                faults.push("no coordinator answers its beats");
            }
            Some(_) => {}
        }
        faults
    }

    /// The node's state as a JSON object.
    pub async fn status(&self) -> Value {
        let shared = &self.0;
        let counts = shared.counters.counts();
        let copies = shared.copies();
        let blobs = shared.holdings.blobs().facts().await;
        let phase = shared.phase().clone();
        let settings = &shared.settings;
        let amounts = settings.described.amounts(&settings.measured);
        let faults = self.faults();
        let harvest = phase.harvest.as_ref().map(|harvest| {
            let stats = harvest.stats();
            json!({
                "decision": harvest.standing().map(|d| d.as_str()),
                "share": harvest.standing().and_then(share),
                "causes": harvest.causes().map(|c| c.to_string()).collect::<Vec<_>>(),
                "readings": harvest.seen(),
                "ran_s": stats.ran.as_secs(),
                "paused_s": stats.paused.as_secs(),
                "given_back": stats.given_back,
            })
        });
        let questions = shared.answers.questions();
        let answered = questions.by_level();
        let answered: serde_json::Map<String, Value> = answered
            .map(|(level, n)| (level.relays().to_string(), n.into()))
            .collect();
        json!({
            "name": Name::from(shared.client.me().public().node_id()).to_string(),
            "engine": shared.sandbox.engine(),
            "joined": phase.joined.is_some(),
            "draining": phase.draining,
            "healthy": faults.is_empty(),
            "faults": faults,
            "org": &*settings.described.org,
            "announced": {
                "cpu": amounts.cpu,
                "memory": amounts.memory,
                "storage": amounts.storage,
                "gpu": amounts.gpu,
                "bandwidth": amounts.bandwidth,
                "relay": amounts.relay,
            },
            "level": settings.described.level.as_str(),
            "questions": {
                "answered": answered,
                "answered_ms": questions.answered_ms,
                "refused": questions.refused,
                "refused_ms": questions.refused_ms,
            },
            "devices": devices(&settings.measured.devices, &settings.described.devices),
            "copies": { "running": copies.running, "held": copies.held },
            "counts": told(&counts),
            "blobs": {
                "number": blobs.blobs,
                "bytes": blobs.bytes,
                "quota": blobs.quota,
                "evicted": blobs.evicted,
                "free": blobs.free,
            },
            "harvest": harvest,
            "given": shared.usage.entries(),
        })
    }

    /// The node's metrics in the text format of OpenMetrics.
    #[must_use]
    pub fn metrics(&self) -> String {
        let shared = &self.0;
        let counts = shared.counters.counts();
        let copies = shared.copies();
        let mut registry = Registry::with_prefix("betanet_worker");
        let outcomes = Family::<Vec<(&str, &str)>, Counter>::default();
        for (outcome, n) in Outcome::ALL.iter().zip(counts.outcomes) {
            let of = outcomes.get_or_create(&vec![("outcome", outcome.as_str())]);
            of.inc_by(n);
        }
        registry.register("programs", "Programs that ended, by outcome", outcomes);
        let questions = shared.answers.questions();
        let answered = Family::<Vec<(&str, String)>, Counter>::default();
        for (level, n) in questions.by_level() {
            let of = vec![("relays", level.relays().to_string())];
            answered.get_or_create(&of).inc_by(n);
        }
        registry.register(
            "questions_answered",
            "Questions of coordinators over the mix that were answered, by number of relays",
            answered,
        );
        for (name, help, n) in [
            (
                "questions_refused",
                "Questions for the node's level that were refused",
                questions.refused,
            ),
            ("copies_started", "Copies that began", counts.started),
            (
                "receipts_taken",
                "Receipts that a coordinator took",
                counts.returned,
            ),
            (
                "receipts_refused",
                "Receipts that were refused for good",
                counts.refused,
            ),
            (
                "copies_stopped",
                "Copies that were stopped without a receipt",
                counts.stopped,
            ),
            ("beats", "Beats that were answered", counts.beats),
            ("fuel", "Fuel that programs burned", counts.fuel),
            ("blobs_fetched", "Blobs that were fetched", counts.fetched),
            (
                "blobs_fetched_bytes",
                "Bytes of blobs that were fetched",
                counts.fetched_bytes,
            ),
            ("blobs_here", "Blobs that were here already", counts.hits),
            (
                "output_bytes",
                "Bytes of outputs that were stored",
                counts.output_bytes,
            ),
        ] {
            let counter = Counter::<u64>::default();
            counter.inc_by(n);
            registry.register(name, help, counter);
        }
        contribution(&mut registry, &shared.usage.entries());
        let harvest = shared.phase().harvest.clone();
        let share = harvest
            .as_ref()
            .and_then(|h| h.standing())
            .map_or(100, |d| share(d).unwrap_or(0));
        for (name, help, n) in [
            (
                "copies_running",
                "Copies whose programs run",
                copies.running as u64,
            ),
            (
                "copies_held",
                "Copies whose receipts no coordinator has taken",
                copies.held as u64,
            ),
            (
                "share_percent",
                "Share of a core that each program gets",
                u64::from(share),
            ),
            (
                "last_beat_ms",
                "UNIX ms of the last beat that was answered",
                counts.beaten_ms,
            ),
            (
                "level_relays",
                "Relays of the level that the node claims; 0 is public",
                shared.settings.described.level.relays() as u64,
            ),
            (
                "last_answer_ms",
                "UNIX ms of the last question that was answered; 0 before the first",
                questions.answered_ms,
            ),
        ] {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(n).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

/// Days whose contribution is in the metrics. The ledger has more of them.
const DAYS: u64 = 31;

/// Registers what each device gave on each of the last days that have a line in the ledger.
fn contribution(registry: &mut Registry, entries: &[Entry]) {
    let newest = entries.iter().map(|entry| entry.day).max().unwrap_or(0);
    let last: Vec<&Entry> = entries
        .iter()
        .filter(|entry| newest - entry.day < DAYS)
        .collect();
    for (name, help, of) in GIVEN {
        let family = Family::<Vec<(&str, String)>, Counter<f64, AtomicU64>>::default();
        for entry in &last {
            let labels = vec![
                ("day", entry.day.to_string()),
                ("device", entry.device.clone()),
            ];
            family.get_or_create(&labels).inc_by(of(&entry.used));
        }
        registry.register(name, help, family);
    }
}

/// A counter of contribution: its name, its help, and how a line of the ledger tells it.
type Given = (&'static str, &'static str, fn(&Used) -> f64);

/// Counters of contribution, by day since 1970 and by device.
#[allow(
    clippy::cast_precision_loss,
    reason = "a reader of metrics has floating point, and no sum is made of these"
)]
const GIVEN: [Given; 5] = [
    (
        "given_tasks",
        "Copies of tasks that ended, by day since 1970 and device",
        |used| used.tasks as f64,
    ),
    (
        "given_fuel",
        "Fuel that tasks burned, by day since 1970 and device",
        |used| used.fuel as f64,
    ),
    (
        "given_processor_seconds",
        "Processor time of the node and its programs, by day since 1970 and device",
        |used| used.cpu_ms as f64 / 1e3,
    ),
    (
        "given_gb_hours",
        "Memory of tasks times the time for which they ran, in GB-hours, by day since 1970 and device",
        |used| used.memory_kib_ms as f64 * 1024.0 / 3.6e15,
    ),
    (
        "given_joules",
        "Estimate of the energy, as far as the machine tells it, by day since 1970 and device",
        |used| used.energy_mj as f64 / 1e3,
    ),
];

fn share(decision: betanet_harvest::Decision) -> Option<u8> {
    match decision {
        betanet_harvest::Decision::Run { share } => Some(share),
        _ => None,
    }
}

fn told(counts: &Counts) -> Value {
    let outcomes = Outcome::ALL.iter().zip(counts.outcomes);
    let outcomes: serde_json::Map<String, Value> = outcomes
        .map(|(outcome, n)| (outcome.as_str().to_owned(), n.into()))
        .collect();
    json!({
        "outcomes": outcomes,
        "started": counts.started,
        "returned": counts.returned,
        "refused": counts.refused,
        "stopped": counts.stopped,
        "beats": counts.beats,
        "fuel": counts.fuel,
        "fetched": counts.fetched,
        "fetched_bytes": counts.fetched_bytes,
        "here": counts.hits,
        "output_bytes": counts.output_bytes,
        "beaten_ms": counts.beaten_ms,
    })
}

/// Devices, and whether tasks may have them.
fn devices(found: &[String], granted: &[String]) -> Vec<Value> {
    let one = |name: &String| {
        json!({
            "name": name,
            "granted": granted.contains(name),
            "note": "programs of WASI cannot use devices",
        })
    };
    found.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_device_gave_on_each_day_is_in_the_metrics() {
        let used = Used {
            tasks: 2,
            fuel: 70,
            cpu_ms: 1_500,
            // A GB for half an hour.
            memory_kib_ms: 1_000_000_000 / 1024 * 1_800_000,
            energy_mj: 2_500,
            energy_cpu_ms: 1_500,
        };
        let entry = |day, device: &str| Entry {
            day,
            device: device.to_owned(),
            used,
        };
        let entries = [entry(9, "cpu"), entry(20_000, "cpu"), entry(20_001, "gpu0")];
        let mut registry = Registry::with_prefix("w");
        contribution(&mut registry, &entries);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (name, value) in [
            ("tasks", "2.0"),
            ("fuel", "70.0"),
            ("processor_seconds", "1.5"),
            ("joules", "2.5"),
        ] {
            for of in [
                r#"day="20000",device="cpu""#,
                r#"day="20001",device="gpu0""#,
            ] {
                let line = format!("w_given_{name}_total{{{of}}} {value}\n");
                assert!(text.contains(&line), "{line}: {text}");
            }
        }
        let hours = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            name.starts_with("w_given_gb_hours_total")
                .then(|| value.parse::<f64>().unwrap())
        });
        let hours: Vec<f64> = hours.collect();
        assert_eq!(hours.len(), 2);
        assert!(hours.iter().all(|n| (n - 0.5).abs() < 1e-3), "{hours:?}");
        // That day is long past.
        assert!(!text.contains(r#"day="9""#), "{text}");
        let mut none = Registry::default();
        contribution(&mut none, &[]);
    }
}
