//! `cargo xtask sim FILE`: a scenario from its file, its outcome as text, JSON and SVG.

mod fog;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use betanet_htx::handshake::{MESSAGE_1, MESSAGE_2, MESSAGE_3};
use betanet_machine::testkit::Checked;
use betanet_mesh::Policy;
use betanet_sim::net::{Attack, AttackKind, Links, Outcome, Partition, Scenario, run};
use betanet_stack::Node;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

pub(crate) use fog::report as seeds_report;

/// A scenario as its file gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Of all dice.
    seed: u64,
    /// Nodes, attackers among them.
    nodes: usize,
    /// Of them, seeds.
    seeds: usize,
    /// Simulated minutes.
    minutes: u64,
    /// Seconds within which they join.
    join_over_s: u64,
    /// Of 100 nodes, those that paths may lead over.
    #[serde(default = "thirty")]
    relays_percent: u32,
    /// The network.
    #[serde(default)]
    links: LinksFile,
    /// Of 100 nodes, those replaced in an hour.
    #[serde(default)]
    churn_percent: u32,
    /// The world in two halves.
    partition: Option<PartitionFile>,
    /// Attackers.
    attack: Option<AttackFile>,
    /// Clocks are off by up to this many milliseconds.
    #[serde(default)]
    skew_ms: u64,
    /// Seeds with an uplink of 4 kB/s.
    #[serde(default)]
    slow_seeds: usize,
    /// Of 100 nodes, relays that seem nearer than they are.
    #[serde(default)]
    liars_percent: u32,
    /// Minutes at which a record is issued and a node joins.
    #[serde(default)]
    announce_min: Vec<u64>,
    /// Other bounds of what a node keeps than the profile's.
    view: Option<ViewFile>,
    /// What has to come out.
    #[serde(default)]
    expect: Expect,
}

const fn thirty() -> u32 {
    30
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LinksFile {
    latency_ms: Vec<Vec<u32>>,
    jitter_percent: u32,
    loss_permille: u32,
    bandwidth: u64,
}

impl Default for LinksFile {
    /// Europe, North America, Asia: one-way delays as between large data centres.
    fn default() -> Self {
        Self {
            latency_ms: vec![vec![10, 45, 90], vec![45, 20, 80], vec![90, 80, 30]],
            jitter_percent: 20,
            loss_permille: 5,
            bandwidth: 1_250_000,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartitionFile {
    from_min: u64,
    until_min: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttackFile {
    kind: String,
    percent: u32,
    prefixes: u32,
    per_second: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewFile {
    /// Tested records above which a node keeps those near its NodeID.
    records: usize,
    /// Relays that it keeps from afar.
    relays: usize,
    /// Records that wait for their test.
    untested: usize,
}

impl ViewFile {
    fn policy(&self) -> Policy {
        Policy {
            view_max: self.records,
            relays_max: self.relays,
            untested_max: self.untested,
            ..Policy::default()
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expect {
    /// The worst node knows at least this share of the peers it should know, percent.
    known_percent: Option<f64>,
    /// Control bytes a node sends and receives a second, at most.
    control_bytes: Option<u64>,
    /// Seconds within which an issued record has reached 95 %.
    spread_s: Option<u64>,
    /// Attackers among tested records, percent, at most: over all honest nodes, and at the worst of them.
    attackers_percent: Option<f64>,
    /// Liars among first hops, percent, at most.
    liars_percent: Option<f64>,
    /// Lookups that find their peer, percent, at least.
    found_percent: Option<f64>,
    /// The golden trace.
    trace: Option<String>,
    /// The golden trace of the same with 100 nodes.
    trace_100: Option<String>,
}

/// Arguments of `sim`.
#[derive(Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub options: Options,
    /// Number of seeds of fog scenarios, instead of the file's.
    #[arg(long, value_name = "N")]
    pub seeds: Option<u64>,
    /// Print JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Scenario files, such as scenarios/join.toml or scenarios/fog/rough.toml.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// What else the command line may say.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Number of nodes, instead of the file's.
    #[arg(long, value_name = "N")]
    pub nodes: Option<usize>,
    /// Simulated minutes, instead of the file's.
    #[arg(long, value_name = "N")]
    pub minutes: Option<u64>,
    /// Verify each signature again, under the contract checker.
    #[arg(long)]
    pub checked: bool,
    /// Output folder for the JSON and the SVG.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print no progress.
    #[arg(long)]
    pub quiet: bool,
}

/// A run, and what it cost.
#[derive(Debug)]
pub struct Ran {
    /// What came of it.
    pub outcome: Outcome,
    /// Simulated minutes.
    pub minutes: u64,
    /// How long it took.
    pub wall: Duration,
    /// The process's largest memory, KiB.
    pub peak_kib: u64,
    /// Expectations that do not hold.
    pub missed: Vec<String>,
}

/// Reads a scenario's file.
///
/// # Errors
///
/// It cannot be read, or does not read; the text says where.
pub fn read(path: &Path) -> Result<File, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let wrong = |key: &str, why: &str| Err(format!("{}: {key}: {why}", path.display()));
    let n = file.links.latency_ms.len();
    if n == 0 || file.links.latency_ms.iter().any(|row| row.len() != n) {
        return wrong("links.latency_ms", "a square matrix of milliseconds");
    }
    if !(1..=200_000).contains(&file.nodes) || !(1..=file.nodes).contains(&file.seeds) {
        return wrong("nodes", "1 to 200000, of which seeds are at least 1");
    }
    if !(1..=24 * 60).contains(&file.minutes) {
        return wrong("minutes", "1 to 1440");
    }
    if file.links.loss_permille > 900 {
        return wrong("links.loss_permille", "at most 900");
    }
    if let Some(a) = &file.attack {
        if !matches!(a.kind.as_str(), "eclipse" | "storm") {
            return wrong("attack.kind", "eclipse or storm");
        }
        if a.percent > 90 || a.prefixes == 0 || a.per_second == 0 {
            return wrong(
                "attack",
                "percent is at most 90, prefixes and per_second are at least 1",
            );
        }
    }
    if file
        .view
        .as_ref()
        .is_some_and(|v| v.records < 8 || v.untested < 8)
    {
        return wrong("view", "records and untested are at least 8");
    }
    Ok(file)
}

impl File {
    /// Whether it says what its run, and that with 100 nodes, has to send to the byte.
    #[must_use]
    pub const fn has_golden_traces(&self) -> bool {
        self.expect.trace.is_some() && self.expect.trace_100.is_some()
    }

    /// The scenario, with what the command line says.
    fn scenario(&self, options: &Options) -> Scenario {
        Scenario {
            seed: self.seed,
            nodes: options.nodes.unwrap_or(self.nodes),
            seeds: self.seeds,
            minutes: options.minutes.unwrap_or(self.minutes),
            join_over_s: self.join_over_s,
            relays_percent: self.relays_percent,
            links: Links {
                latency_ms: self.links.latency_ms.clone(),
                jitter_percent: self.links.jitter_percent,
                loss_permille: self.links.loss_permille,
                bandwidth: self.links.bandwidth,
            },
            churn_percent: self.churn_percent,
            partition: self.partition.as_ref().map(|p| Partition {
                from_min: p.from_min,
                until_min: p.until_min,
            }),
            attack: self.attack.as_ref().map(|a| Attack {
                kind: if a.kind == "storm" {
                    AttackKind::Storm
                } else {
                    AttackKind::Eclipse
                },
                percent: a.percent,
                prefixes: a.prefixes,
                per_second: a.per_second,
            }),
            skew_ms: self.skew_ms,
            slow_seeds: self.slow_seeds,
            liars_percent: self.liars_percent,
            announce_min: self.announce_min.clone(),
            policy: self.view.as_ref().map(ViewFile::policy).unwrap_or_default(),
            cache: !options.checked,
        }
    }

    fn missed(&self, options: &Options, o: &Outcome) -> Vec<String> {
        // Bounds are for the file's own size; of other runs the golden trace is left.
        let own_size = options.nodes.is_none_or(|n| n == self.nodes) && options.minutes.is_none();
        let none = Expect::default();
        let e = if own_size { &self.expect } else { &none };
        let mut missed = Vec::new();
        let mut hold = |holds: bool, what: String| {
            if !holds {
                missed.push(what);
            }
        };
        if let Some(least) = e.known_percent {
            let got = percent(o.known_least);
            hold(
                got >= least,
                format!("the worst node knows {got} %, where {least} are expected"),
            );
        }
        if let Some(most) = e.control_bytes {
            let got = o.sent_per_s + o.received_per_s;
            hold(
                got < most,
                format!("{got} control bytes/s, where less than {most} are expected"),
            );
        }
        if let Some(most) = e.spread_s {
            for s in &o.spreads {
                let in_time = s.seconds.is_some_and(|n| n <= most);
                hold(
                    in_time,
                    format!(
                        "the record of {} s took {:?} s, where {most} are expected",
                        s.at_s, s.seconds
                    ),
                );
            }
        }
        if let Some(most) = e.attackers_percent {
            let (all, worst) = (percent(o.attackers.0), percent(o.attackers.1));
            hold(
                worst < most,
                format!(
                    "attackers hold {all} % and {worst} % of the worst table, where less than {most} are expected"
                ),
            );
        }
        if let Some(most) = e.liars_percent {
            let got = percent(o.liars_first);
            hold(
                got < most,
                format!("{got} % of first hops lie, where less than {most} are expected"),
            );
        }
        if let Some(least) = e.found_percent {
            let got = o.lookups.1 as f64 * 100.0 / o.lookups.0.max(1) as f64;
            hold(
                got >= least,
                format!("{got} % of lookups found their peer, where {least} are expected"),
            );
        }
        if self.attack.is_some() {
            hold(
                o.faults.is_empty(),
                format!(
                    "records in honest tables that should not be there: {:?}",
                    o.faults
                ),
            );
        }
        let golden = match options.nodes {
            _ if own_size => e.trace.as_deref(),
            Some(100) if options.minutes.is_none() => self.expect.trace_100.as_deref(),
            _ => None,
        };
        if let Some(golden) = golden {
            hold(
                o.trace.to_string() == golden,
                format!("trace {}, where {golden} is expected", o.trace),
            );
        }
        missed
    }
}

fn percent(hundredths: u64) -> f64 {
    hundredths as f64 / 100.0
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Runs a scenario.
#[must_use]
pub fn simulate(file: &File, options: &Options) -> Ran {
    let scenario = file.scenario(options);
    let began = Instant::now();
    let quiet = options.quiet;
    let mut progress = |at: Duration| {
        if !quiet {
            eprint!("\r{} of {} minutes", at.as_secs() / 60, scenario.minutes);
        }
    };
    let outcome = if options.checked {
        run::<Checked<Node>>(&scenario, &mut progress)
    } else {
        run::<Node>(&scenario, &mut progress)
    };
    if !quiet {
        eprintln!();
    }
    let missed = file.missed(options, &outcome);
    Ran {
        outcome,
        minutes: scenario.minutes,
        wall: began.elapsed(),
        peak_kib: peak_kib(),
        missed,
    }
}

/// Bytes a second of the Noise messages with ML-KEM of so many handshakes, where each node begins as many as it answers. What
/// TLS sends around them is the carrier's.
fn handshake_bytes(begun: u64, minutes: u64) -> u64 {
    let one = MESSAGE_1[1] + MESSAGE_2[1] + MESSAGE_3;
    2 * begun * one as u64 / (minutes * 60).max(1)
}

/// The outcome in lines.
#[must_use]
pub fn text(ran: &Ran) -> String {
    let o = &ran.outcome;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<22} {value}");
    };
    line("live nodes", o.live.to_string());
    line(
        "known",
        format!(
            "{:.2} % by the worst node, {:.2} % on average",
            percent(o.known_least),
            percent(o.known_mean)
        ),
    );
    line(
        "tested",
        format!("{:.2} % on average", percent(o.tested_mean)),
    );
    line(
        "records kept",
        format!(
            "{} a node, share narrowed by {} bits",
            o.records_mean, o.share_bits
        ),
    );
    line(
        "control traffic",
        format!(
            "{} B/s: {} sent, {} received, a node",
            o.sent_per_s + o.received_per_s,
            o.sent_per_s,
            o.received_per_s
        ),
    );
    line(
        "handshakes",
        format!(
            "{} begun by a node: {} B/s of inner messages, those that it answers included",
            o.handshakes,
            handshake_bytes(o.handshakes, ran.minutes)
        ),
    );
    for s in &o.spreads {
        let who = if s.newcomer {
            "newcomer's record"
        } else {
            "renewed record"
        };
        let took = s
            .seconds
            .map_or_else(|| "never".to_owned(), |n| format!("{n} s"));
        line(who, format!("issued at {} s, at 95 % after {took}", s.at_s));
    }
    if o.attackers.1 > 0 || o.attackers_untested > 0 {
        line(
            "attackers",
            format!(
                "{:.2} % of tested records, {:.2} % at the worst node, {:.2} % of all records",
                percent(o.attackers.0),
                percent(o.attackers.1),
                percent(o.attackers_untested)
            ),
        );
    }
    line("wrong records", format!("{:?}", o.faults));
    if o.not_admitted > 0 {
        line("streams refused", o.not_admitted.to_string());
    }
    line(
        "lookups",
        format!("{} of {} found", o.lookups.1, o.lookups.0),
    );
    if o.liars_first > 0 {
        line(
            "liars as first hop",
            format!("{:.2} %", percent(o.liars_first)),
        );
    }
    line("signatures checked", o.checked.to_string());
    line("trace", o.trace.to_string());
    line(
        "wall, memory",
        format!(
            "{:.1} s, {} MiB",
            ran.wall.as_secs_f64(),
            ran.peak_kib / 1024
        ),
    );
    for m in &ran.missed {
        line("MISSED", m.clone());
    }
    out
}

/// The outcome for scripts.
#[must_use]
pub fn json(ran: &Ran) -> serde_json::Value {
    let o = &ran.outcome;
    json!({
        "trace": o.trace.to_string(),
        "live": o.live,
        "known_percent": { "least": percent(o.known_least), "mean": percent(o.known_mean) },
        "tested_percent": percent(o.tested_mean),
        "records_per_node": o.records_mean,
        "share_bits": o.share_bits,
        "control_bytes_per_s": { "sent": o.sent_per_s, "received": o.received_per_s },
        "handshakes_per_node": o.handshakes,
        "handshake_bytes_per_s": handshake_bytes(o.handshakes, ran.minutes),
        "signatures_checked": o.checked,
        "spreads": o.spreads.iter().map(|s| json!({
            "at_s": s.at_s, "newcomer": s.newcomer, "seconds_to_95_percent": s.seconds,
        })).collect::<Vec<_>>(),
        "attackers_percent": {
            "tested": percent(o.attackers.0), "worst": percent(o.attackers.1), "all": percent(o.attackers_untested),
        },
        "wrong_records": o.faults,
        "streams_refused": o.not_admitted,
        "lookups": { "begun": o.lookups.0, "found": o.lookups.1 },
        "liars_first_percent": percent(o.liars_first),
        "wall_s": ran.wall.as_secs_f64(),
        "peak_kib": ran.peak_kib,
        "minutes": o.minutes.iter().map(|m| json!({
            "known_percent": percent(m.known), "tested_percent": percent(m.tested), "control_bytes_per_s": m.bytes_per_s,
        })).collect::<Vec<_>>(),
        "missed": ran.missed,
    })
}

/// The minutes of a run as a picture: what nodes know, what they have tested, and what that costs.
#[must_use]
pub fn svg(name: &str, o: &Outcome) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 320.0;
    const EDGE: f64 = 48.0;
    let most = o
        .minutes
        .iter()
        .map(|m| m.bytes_per_s)
        .max()
        .unwrap_or(1)
        .max(1) as f64;
    let last = o.minutes.len().max(1) as f64;
    let at = |minute: usize, share: f64| {
        let x = EDGE + (minute + 1) as f64 / last * (WIDTH - 2.0 * EDGE);
        let y = HEIGHT - EDGE - share * (HEIGHT - 2.0 * EDGE);
        format!("{x:.1},{y:.1}")
    };
    let line = |colour: &str, share: &dyn Fn(&betanet_sim::net::Minute) -> f64| {
        let points: Vec<String> = o
            .minutes
            .iter()
            .enumerate()
            .map(|(i, m)| at(i, share(m)))
            .collect();
        format!(
            "<polyline fill='none' stroke='{colour}' stroke-width='2' points='{}'/>\n",
            points.join(" ")
        )
    };
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='{EDGE}' y='20'>{name}: {} nodes</text>\n",
        o.live
    );
    let (left, right, top, bottom) = (EDGE, WIDTH - EDGE, EDGE, HEIGHT - EDGE);
    let _ = writeln!(
        out,
        "<path d='M{left} {top}V{bottom}H{right}V{top}' fill='none' stroke='#999'/>"
    );
    for (y, share, bytes) in [(bottom, 0, 0.0), (top, 100, most)] {
        let _ = writeln!(
            out,
            "<text x='{}' y='{y}' text-anchor='end'>{share} %</text>",
            left - 4.0
        );
        let _ = writeln!(
            out,
            "<text x='{}' y='{y}'>{bytes:.0} B/s</text>",
            right + 4.0
        );
    }
    let _ = writeln!(
        out,
        "<text x='{right}' y='{}' text-anchor='end'>{last} min</text>",
        bottom + 16.0
    );
    for (i, (colour, what)) in [
        ("#1b6ca8", "known"),
        ("#2e8b57", "tested"),
        ("#c0392b", "control traffic"),
    ]
    .iter()
    .enumerate()
    {
        let x = left + 120.0 * i as f64;
        let _ = writeln!(
            out,
            "<text x='{x}' y='{}' fill='{colour}'>{what}</text>",
            bottom + 32.0
        );
    }
    out += &line("#1b6ca8", &|m| m.known as f64 / 10_000.0);
    out += &line("#2e8b57", &|m| m.tested as f64 / 10_000.0);
    out += &line("#c0392b", &|m| m.bytes_per_s as f64 / most);
    out + "</svg>\n"
}

/// Runs and prints a scenario of the fog, if the file is one.
fn fog_scenario(path: &Path, args: &Arguments) -> Result<Option<fog::Ran>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let wrong = |e| format!("{}: {e}", path.display());
    let Some(file) = fog::read(&text).map_err(wrong)? else {
        return Ok(None);
    };
    let options = &args.options;
    if options.nodes.is_some() || options.minutes.is_some() || options.out.is_some() {
        return Err(wrong(
            "fog scenarios take --seeds, --json and --quiet alone".into(),
        ));
    }
    let ran = fog::simulate(&file, args.seeds, options.quiet)?;
    if args.json {
        println!("{:#}", fog::json(path, &ran));
    } else {
        println!("{}", path.display());
        print!("{}", fog::text(&ran));
    }
    Ok(Some(ran))
}

/// Runs the files that the command line names.
///
/// # Errors
///
/// A file does not read, or an expectation does not hold.
pub fn command(args: &Arguments) -> Result<(), String> {
    let options = &args.options;
    let mut missed = 0;
    for path in &args.files {
        if let Some(ran) = fog_scenario(path, args)? {
            missed += ran.missed.len();
            continue;
        }
        let file = read(path)?;
        if args.seeds.is_some() {
            return Err(format!("{}: --seeds is for fog scenarios", path.display()));
        }
        let ran = simulate(&file, options);
        if args.json {
            println!("{:#}", json(&ran));
        } else {
            println!("{}", path.display());
            print!("{}", text(&ran));
        }
        missed += ran.missed.len();
        if let Some(dir) = &options.out {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            let write = |ending: &str, text: String| {
                let to = dir.join(format!("{name}.{ending}"));
                std::fs::write(&to, text).map_err(|e| format!("{}: {e}", to.display()))
            };
            write("json", format!("{:#}\n", json(&ran)))?;
            write("svg", svg(&name, &ran.outcome))?;
        }
    }
    if missed > 0 {
        return Err(format!("{missed} expectations do not hold"));
    }
    Ok(())
}
