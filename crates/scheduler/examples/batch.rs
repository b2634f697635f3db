//! The batch planner on a part of a real cluster: 200 tasks, 50 nodes, 11 seeds.
//!
//! `cargo run --release -p betanet-scheduler --example batch` prints the volume and the processor time of each search. With the argument
//! `json` it prints the problem and the fronts instead, which `compare.py` beside it reads to compare.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "measuring is looking at the clock"
)]

use std::error::Error;
use std::time::Duration;

use betanet_fog::{Amounts, Resources};
use betanet_scheduler::batch::{
    BatchNode, BatchTask, Effort, Method, Objectives, hypervolume, plan,
};
use serde_json::json;

const NODES: usize = 50;
const TASKS: usize = 200;
const SEEDS: u64 = 11;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Rows of the trace that begin with a word, as numbers; other words are 0.
fn rows<'t>(text: &'t str, kind: &'t str) -> impl Iterator<Item = Vec<u64>> + 't {
    let of_kind = text.lines().filter_map(move |l| l.strip_prefix(kind));
    of_kind.map(|l| l.split(' ').map(|w| w.parse().unwrap_or(0)).collect())
}

fn problem() -> Result<(Vec<BatchNode>, Vec<BatchTask>), Box<dyn Error>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/openb.txt");
    let text = std::fs::read_to_string(path)?;
    let amounts = |cpu, memory: u64, gpu| {
        Resources::new(Amounts {
            cpu,
            memory: memory << 20,
            gpu,
            ..Amounts::default()
        })
    };
    let mut dice = Dice(3);
    let mut all = Vec::new();
    for row in rows(&text, "node ") {
        for _ in 0..row[0] {
            all.push(amounts(row[1], row[2], row[3] * 1_000).map_err(|e| format!("{e:?}"))?);
        }
    }
    let step = all.len() / NODES;
    let mut nodes = Vec::new();
    for (i, capacity) in all.into_iter().step_by(step).take(NODES).enumerate() {
        nodes.push(BatchNode {
            free: capacity,
            capacity,
            factor: 500_000 + dice.below(1_000_000),
            rep: u32::try_from(dice.below(1_000_000))?,
            org: u32::try_from(i)?,
        });
    }
    let shapes: Vec<Vec<u64>> = rows(&text, "task ").collect();
    let mut tasks = Vec::new();
    let order = text.lines().filter_map(|l| l.strip_prefix("order "));
    for word in order.flat_map(|l| l.split(' ')).take(TASKS) {
        let number: usize = word.split('x').next().unwrap_or(word).parse()?;
        let row = &shapes[number];
        tasks.push(BatchTask {
            resources: amounts(row[0], row[1].max(1), row[2] * row[3])
                .map_err(|e| format!("{e:?}"))?,
            replicas: 1,
            latency: (0..NODES)
                .map(|_| u32::try_from(1 + dice.below(200)))
                .collect::<Result<_, _>>()?,
            within: 190,
        });
    }
    Ok((nodes, tasks))
}

/// Time that this thread had on a processor, in ns.
fn processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|w| w.parse().ok())
        .unwrap_or(0)
}

/// Worse than any plan that keeps the bounds.
fn reference(tasks: &[BatchTask]) -> Objectives {
    let hourly = tasks
        .iter()
        .map(|t| betanet_scheduler::money::hourly(&t.resources) as f64);
    [200.0, hourly.sum::<f64>() * 1.5, 0.5, 1e6]
}

/// The searches of one method, one for each seed.
struct Searches {
    fronts: Vec<Vec<Objectives>>,
    volumes: Vec<f64>,
    times: Vec<Duration>,
    /// Replicas without a node, over all plans.
    missing: Vec<usize>,
}

fn search(nodes: &[BatchNode], tasks: &[BatchTask], method: Method) -> Searches {
    let reference = reference(tasks);
    let mut out = Searches {
        fronts: Vec::new(),
        volumes: Vec::new(),
        times: Vec::new(),
        missing: Vec::new(),
    };
    for seed in 1..=SEEDS {
        let effort = Effort {
            seed,
            method,
            ..Effort::default()
        };
        let start = processor();
        let front = plan(nodes, tasks, &effort);
        out.times.push(Duration::from_nanos(processor() - start));
        let points: Vec<Objectives> = front.plans().iter().map(|p| *p.objectives()).collect();
        let places = front.plans().iter().flat_map(|p| p.places()).flatten();
        out.missing.push(places.filter(|n| n.is_none()).count());
        out.volumes.push(hypervolume(&points, &reference));
        out.fronts.push(points);
    }
    out
}

fn main() -> Result<(), Box<dyn Error>> {
    let (nodes, tasks) = problem()?;
    let methods = [("NSGA-II", Method::Nsga2), ("NSGA-III", Method::Nsga3)];
    let found = methods.map(|(name, method)| (name, search(&nodes, &tasks, method)));
    if std::env::args().nth(1).as_deref() == Some("json") {
        let amounts = |r: &Resources| json!([r.cpu(), r.memory(), r.gpu()]);
        let seconds = |s: &Searches| {
            s.times
                .iter()
                .map(Duration::as_secs_f64)
                .collect::<Vec<_>>()
        };
        let all = found.iter().map(|(name, s)| {
            json!({ "name": name, "fronts": s.fronts, "volumes": s.volumes, "seconds": seconds(s) })
        });
        println!(
            "{}",
            json!({
                "nodes": nodes.iter().map(|n| json!([amounts(&n.free), n.factor, n.rep])).collect::<Vec<_>>(),
                "tasks": tasks.iter().map(|t| json!([
                    amounts(&t.resources), t.latency, t.within,
                    betanet_scheduler::money::hourly(&t.resources),
                ])).collect::<Vec<_>>(),
                "reference": reference(&tasks), "searches": all.collect::<Vec<_>>(),
            })
        );
        return Ok(());
    }
    for (name, mut s) in found {
        for i in 0..s.fronts.len() {
            println!(
                "{name}, seed {}: volume {:.4e}, {} plans, {} without a node, {:.0?}",
                i + 1,
                s.volumes[i],
                s.fronts[i].len(),
                s.missing[i],
                s.times[i],
            );
        }
        s.volumes.sort_by(f64::total_cmp);
        println!(
            "{name}: median volume {:.4e}",
            s.volumes[s.volumes.len() / 2]
        );
    }
    Ok(())
}
