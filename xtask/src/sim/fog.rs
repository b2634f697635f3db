//! Scenarios of the fog: many seeds of one fleet, its coordinators and its weather.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use betanet_fog::{Reason, Strategy};
use betanet_scheduler::Placer;
use betanet_sim::fog::{Outcome, Scenario, Storm};
use serde::Deserialize;
use serde_json::json;

/// Failed seeds that are named.
const NAMED: usize = 10;

/// A scenario as its file gives it. Keys that are left out have the values of [`Scenario::default`].
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    fog: Fog,
    #[serde(default)]
    expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fog {
    /// The first seed.
    #[serde(default)]
    seed: u64,
    /// Number of seeds.
    seeds: u64,
    nodes: Option<u64>,
    zones: Option<u64>,
    per_org: Option<u64>,
    tasks: Option<u64>,
    burst: Option<u64>,
    steps: Option<u64>,
    calm: Option<u64>,
    step_ms: Option<u64>,
    run_ms: Option<u64>,
    strategies: Option<Vec<String>>,
    liars_percent: Option<u64>,
    crashes: Option<u64>,
    partitions: Option<u64>,
    depositions: Option<u64>,
    slow: Option<u64>,
    lost: Option<u64>,
    unheard: Option<u64>,
    skew_ms: Option<u64>,
    shrinks: Option<u64>,
    orders: Option<u64>,
    compare: Option<u64>,
}

/// What has to come out, summed over all seeds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    /// Of 100 accepted tasks, those that succeed, at least.
    ok_percent: Option<u64>,
    /// Reasons by which some tasks end.
    reasons: Vec<String>,
    /// What happens at least once: a field of the printed JSON.
    happens: Vec<String>,
}

/// Seeds of a scenario, and what they cost.
#[derive(Debug)]
pub struct Ran {
    seeds: u64,
    outcome: Outcome,
    wall: Duration,
    /// Seeds that broke an invariant, and how.
    failed: Vec<(u64, String)>,
    /// Expectations that do not hold.
    pub missed: Vec<String>,
}

impl Fog {
    fn scenario(&self) -> Result<Scenario, String> {
        let usual = Scenario::default();
        let strategies = match &self.strategies {
            None => usual.strategies.clone(),
            Some(words) => words
                .iter()
                .map(|w| Strategy::from_word(w).ok_or(format!("fog.strategies: {w:?} is none")))
                .collect::<Result<_, _>>()?,
        };
        let scenario = Scenario {
            nodes: self.nodes.unwrap_or(usual.nodes),
            zones: self.zones.unwrap_or(usual.zones),
            per_org: self.per_org.unwrap_or(usual.per_org),
            tasks: self.tasks.unwrap_or(usual.tasks),
            burst: self.burst.unwrap_or(usual.burst),
            steps: self.steps.unwrap_or(usual.steps),
            calm: self.calm.unwrap_or(usual.calm),
            step_ms: self.step_ms.unwrap_or(usual.step_ms),
            run_ms: self.run_ms.unwrap_or(usual.run_ms),
            strategies,
            liars_percent: self.liars_percent.unwrap_or(usual.liars_percent),
            crashes: self.crashes.unwrap_or(usual.crashes),
            partitions: self.partitions.unwrap_or(usual.partitions),
            depositions: self.depositions.unwrap_or(usual.depositions),
            slow: self.slow.unwrap_or(usual.slow),
            lost: self.lost.unwrap_or(usual.lost),
            unheard: self.unheard.unwrap_or(usual.unheard),
            skew_ms: self.skew_ms.unwrap_or(usual.skew_ms),
            shrinks: self.shrinks.unwrap_or(usual.shrinks),
            orders: self.orders.unwrap_or(usual.orders),
            compare: self.compare.unwrap_or(usual.compare),
        };
        if !(1..=10_000).contains(&scenario.nodes) || scenario.zones == 0 || scenario.per_org == 0 {
            return Err("fog: nodes are 1 to 10000, zones and per_org at least 1".into());
        }
        if !(1..=20_000).contains(&scenario.step_ms) {
            return Err("fog.step_ms: 1 to 20000, so that nodes beat in time".into());
        }
        if scenario.skew_ms > 86_400_000 {
            return Err("fog.skew_ms: at most a day".into());
        }
        Ok(scenario)
    }
}

/// Reads a scenario, if the text is one of the fog.
///
/// # Errors
///
/// It does not read; the text says where.
pub fn read(text: &str) -> Result<Option<File>, String> {
    let table: toml::Table = text.parse().map_err(|e| format!("{e}"))?;
    if !table.contains_key("fog") {
        return Ok(None);
    }
    let file: File = toml::from_str(text).map_err(|e| format!("{e}"))?;
    file.fog.scenario()?;
    for word in &file.expect.reasons {
        if Reason::from_word(word).is_none() {
            return Err(format!("expect.reasons: {word:?} is none"));
        }
    }
    let known = counts(&Outcome::default());
    for word in &file.expect.happens {
        if !known.iter().any(|(name, _)| name == word) {
            return Err(format!("expect.happens: {word:?} is not counted"));
        }
    }
    Ok(Some(file))
}

/// The counted numbers by name.
fn counts(o: &Outcome) -> [(&'static str, u64); 14] {
    [
        ("accepted", o.accepted),
        ("open", o.open),
        ("copies", o.copies),
        ("lost", o.lost),
        ("lies", o.lies),
        ("fooled", o.fooled),
        ("elections", o.elections),
        ("unheard", o.unheard),
        ("restored", o.restored),
        ("records", o.records),
        ("checks", o.checks),
        ("rents", o.rents),
        ("voided", o.voided),
        ("paid", o.paid),
    ]
}

/// Runs the seeds of a scenario.
///
/// # Errors
///
/// The scenario is none.
pub fn simulate(file: &File, seeds: Option<u64>, quiet: bool) -> Result<Ran, String> {
    let scenario = file.fog.scenario()?;
    let seeds = seeds.unwrap_or(file.fog.seeds);
    let began = Instant::now();
    let mut outcome = Outcome::default();
    let mut failed = Vec::new();
    for n in 0..seeds {
        let seed = file.fog.seed.wrapping_add(n);
        let run = AssertUnwindSafe(|| Storm::<Placer>::new(seed, &scenario).run());
        match catch_unwind(run) {
            Ok(one) => outcome.add(&one),
            Err(why) => {
                let text = why.downcast_ref::<String>().cloned();
                let text = text.or_else(|| why.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                failed.push((seed, text.unwrap_or_default()));
            }
        }
        if !quiet && n % 100 == 99 {
            eprint!("\r{} of {seeds} seeds", n + 1);
        }
    }
    if !quiet && seeds >= 100 {
        eprintln!();
    }
    let missed = missed(&file.expect, &outcome, &failed);
    Ok(Ran {
        seeds,
        outcome,
        wall: began.elapsed(),
        failed,
        missed,
    })
}

fn missed(expect: &Expect, o: &Outcome, failed: &[(u64, String)]) -> Vec<String> {
    let mut missed: Vec<String> = failed
        .iter()
        .take(NAMED)
        .map(|(seed, why)| format!("seed {seed}: {why}"))
        .collect();
    if failed.len() > NAMED {
        missed.push(format!("{} more seeds", failed.len() - NAMED));
    }
    let ended = |reason| o.ended.get(&reason).copied().unwrap_or(0);
    if let Some(least) = expect.ok_percent {
        let got = ended(Reason::Ok) * 100 / o.accepted.max(1);
        if got < least {
            missed.push(format!(
                "{got} % of tasks succeeded, where {least} are expected"
            ));
        }
    }
    for word in &expect.reasons {
        if Reason::from_word(word).is_none_or(|r| ended(r) == 0) {
            missed.push(format!("no task ended by {word}"));
        }
    }
    let known = counts(o);
    for word in &expect.happens {
        if known.iter().any(|(name, n)| name == word && *n == 0) {
            missed.push(format!("{word} is 0"));
        }
    }
    missed
}

fn seeds_an_hour(ran: &Ran) -> u64 {
    (ran.seeds as f64 * 3_600.0 / ran.wall.as_secs_f64().max(0.001)) as u64
}

/// Where the tests write how many seeds they ran, for CI to print.
#[must_use]
pub fn report() -> PathBuf {
    crate::target().join("fog-seeds.txt")
}

/// The outcome in lines.
#[must_use]
pub fn text(ran: &Ran) -> String {
    let o = &ran.outcome;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<22} {value}");
    };
    line(
        "seeds",
        format!(
            "{} in {:.1} s: {} an hour; {} failed",
            ran.seeds,
            ran.wall.as_secs_f64(),
            seeds_an_hour(ran),
            ran.failed.len()
        ),
    );
    line("simulated", format!("{} s", o.seconds));
    let ended: Vec<String> = o
        .ended
        .iter()
        .map(|(reason, n)| format!("{reason} {n}"))
        .collect();
    line("ended", ended.join(", "));
    for (name, n) in counts(o) {
        line(name, n.to_string());
    }
    for m in &ran.missed {
        line("MISSED", m.clone());
    }
    out
}

/// The outcome for scripts.
#[must_use]
pub fn json(path: &Path, ran: &Ran) -> serde_json::Value {
    let o = &ran.outcome;
    let ended: serde_json::Map<_, _> = o
        .ended
        .iter()
        .map(|(reason, n)| (reason.as_str().to_owned(), json!(n)))
        .collect();
    let mut out = json!({
        "scenario": path.display().to_string(),
        "seeds": ran.seeds,
        "failed": ran.failed.iter().map(|(seed, why)| json!({ "seed": seed, "why": why })).collect::<Vec<_>>(),
        "wall_s": ran.wall.as_secs_f64(),
        "seeds_per_hour": seeds_an_hour(ran),
        "simulated_s": o.seconds,
        "ended": ended,
        "missed": ran.missed,
    });
    for (name, n) in counts(o) {
        out[name] = json!(n);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_files_are_named_and_others_are_left_to_the_network() {
        assert!(read("seed = 1\nnodes = 2").unwrap().is_none());
        for (text, why) in [
            ("[fog]\nseeds = 1\nnode = 3", "node"),
            ("[fog]\nseeds = 1\nnodes = 0", "nodes"),
            ("[fog]\nseeds = 1\nstrategies = [\"best\"]", "best"),
            ("[fog]\nseeds = 1\nstep_ms = 30000", "step_ms"),
            ("[fog]\nseeds = 1\n[expect]\nreasons = [\"luck\"]", "luck"),
            ("[fog]\nseeds = 1\n[expect]\nhappens = [\"luck\"]", "luck"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn every_scenario_holds_and_counts_the_same_twice() {
        let dir = crate::root().join("scenarios/fog");
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        assert!(files.len() >= 5);
        let mut told = String::new();
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let file = read(&text).unwrap().unwrap();
            let ran = simulate(&file, None, true).unwrap();
            assert_eq!(ran.missed, Vec::<String>::new(), "{}", path.display());
            let name = path.file_stem().unwrap().to_string_lossy();
            let (seeds, records) = (ran.seeds, ran.outcome.records);
            let hour = seeds_an_hour(&ran);
            let _ = writeln!(
                told,
                "{name}: {seeds} seeds, {records} records, {hour} seeds an hour"
            );
            let once = match seeds {
                1 => ran.outcome,
                _ => simulate(&file, Some(1), true).unwrap().outcome,
            };
            let twice = simulate(&file, Some(1), true).unwrap().outcome;
            assert_eq!(once, twice, "{}", path.display());
        }
        let path = report();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, told).unwrap();
    }
}
