//! Decisions a second of each strategy, at 10 000 and 100 000 nodes.
//!
//! `cargo run --release -p betanet-scheduler --example decide [nodes]… [strategy]…` keeps each fleet at about half of its capacity: after
//! every decision one older copy ends. The last row of a size takes the strategies in turn. A decision holds the tests, the choice, the reservation and the change of every index.
#![allow(clippy::print_stdout, reason = "that is what an example is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "measuring is looking at the clock"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::time::Instant;

use betanet_fog::{
    Affinity, Amounts, Attribute, Kind, Level, Near, Need, Op, Placement, Resources, Strategy,
    TaskId, Tier, Word,
};
use betanet_scheduler::{Ended, NewCopy, NodeSpec, Placer, Request};
use betanet_wire::NodeId;

/// Decisions that are measured.
const MEASURED: usize = 100_000;
/// Live copies of an average node.
const COPIES: usize = 4;
const NOW: u64 = 1_790_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = Vec::new();
    let mut strategies = Vec::new();
    for arg in std::env::args().skip(1) {
        match arg.parse::<Strategy>() {
            Ok(strategy) => strategies.push(strategy),
            Err(_) => sizes.push(arg.parse()?),
        }
    }
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    if strategies.is_empty() {
        strategies = Strategy::ALL.to_vec();
    }
    println!(
        "nodes  strategy  decisions/s  median µs  p99 µs  largest µs  placed  ends/s  processor µs of a decision and an end"
    );
    for size in sizes {
        for strategy in &strategies {
            measure(size, &[*strategy], strategy.as_str())?;
        }
        if strategies.len() > 1 {
            measure(size, &strategies, "in_turn")?;
        }
    }
    Ok(())
}

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

fn word(text: &str) -> Word {
    text.parse().unwrap_or_default()
}

fn id(n: u64) -> NodeId {
    let mut id = [0; 20];
    id.copy_from_slice(&betanet_keys::hash(&[b"node", &n.to_be_bytes()])[..20]);
    NodeId(id)
}

/// One of 20 zones in 5 regions, 6 models, 200 organisations, two disks; one node in five has eight devices.
fn spec(n: u64, dice: &mut Dice) -> Result<NodeSpec, Box<dyn Error>> {
    let zone = dice.below(20);
    let gpu = dice.below(5) == 0;
    let model = if gpu { 1 + dice.below(5) } else { 0 };
    let disk = if dice.below(2) == 0 { "ssd" } else { "hdd" };
    Ok(NodeSpec {
        id: id(n),
        capacity: Resources::new(Amounts {
            cpu: 16_000 << dice.below(3),
            memory: (64 << 30) << dice.below(3),
            storage: 1 << 40,
            gpu: if gpu { 8_000 } else { 0 },
            bandwidth: 10_000_000_000,
            relay: 100_000_000 + 50_000_000 * dice.below(10),
        })?,
        kind: Kind::Compute,
        model: word(["", "t4", "a10", "v100", "a100", "h100"][usize::try_from(model)?]),
        org: word(&format!("org-{}", dice.below(200))),
        vouched: true,
        region: word(&format!("r{}", zone / 4)),
        zone: word(&format!("z{zone}")),
        labels: [(word("disk"), word(disk))].into(),
        level: Level::ALL[usize::try_from(dice.below(2))?],
        price: 400_000 + u32::try_from(dice.below(100_000))?,
    })
}

/// A task's shape: one in four asks for devices, one in four for a zone, one in four has preferences.
fn shape(dice: &mut Dice, nodes: u64) -> Result<(Resources, Placement), Box<dyn Error>> {
    let gpu = match dice.below(8) {
        0 => 1_000,
        1 => 100 + dice.below(800),
        _ => 0,
    };
    let resources = Resources::new(Amounts {
        cpu: 250 + 250 * dice.below(16),
        memory: (1 << 30) + (dice.below(16) << 30),
        storage: dice.below(8) << 30,
        gpu,
        bandwidth: 0,
        relay: 1_000_000,
    })?;
    let zone = dice.below(20);
    let mut need = Vec::new();
    if dice.below(4) == 0 {
        need.push(Need {
            attribute: Attribute::Zone,
            op: Op::In,
            values: vec![word(&format!("z{}", dice.below(20)))].try_into()?,
        });
    }
    let mut affinity = Vec::new();
    if dice.below(4) == 0 {
        for (attribute, value, weight) in [
            (Attribute::Label(word("disk")), "ssd", 30),
            (Attribute::Region, "r1", 20),
        ] {
            affinity.push(Affinity {
                attribute,
                values: vec![word(value)].try_into()?,
                weight,
            });
        }
    }
    let wishes = Placement {
        affinity: affinity.try_into()?,
        near: Near {
            node: Some(id(dice.below(nodes))),
            region: word(&format!("r{}", zone / 4)),
            zone: word(&format!("z{zone}")),
        },
        need: need.try_into()?,
        rep: 0,
        spread: None,
    };
    Ok((resources, wishes))
}

/// Time that this thread had on a processor, in ns: on a busy machine the only one that counts.
fn processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|w| w.parse().ok())
        .unwrap_or(0)
}

/// Resident memory, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|w| w.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn measure(size: usize, strategies: &[Strategy], name: &str) -> Result<(), Box<dyn Error>> {
    let nodes = u64::try_from(size)?;
    let mut dice = Dice(7);
    let mut placer = Placer::new();
    let before = resident();
    for n in 0..nodes {
        let spec = spec(n, &mut dice)?;
        placer.put(&spec);
        placer.set_active(&spec.id, true, true)?;
        let trips: Vec<_> = (0..16)
            .map(|_| (id(dice.below(nodes)), 1 + dice.below(200)))
            .collect();
        placer.measured(NOW, &spec.id, &trips)?;
    }
    let with_nodes = resident();
    let shapes: Vec<_> = (0..1_000)
        .map(|_| shape(&mut dice, nodes))
        .collect::<Result<_, _>>()?;
    let full = size * COPIES;
    let mut live: VecDeque<u64> = VecDeque::new();
    let mut times = Vec::with_capacity(MEASURED);
    let (mut placed, mut ends, mut ending) = (0usize, 0u64, std::time::Duration::ZERO);
    let blobs: Vec<_> = (0u8..50)
        .map(|i| [([i; 32], 1_000u64), ([i / 2 + 100; 32], 5_000)])
        .collect();
    let (mut with_copies, mut since) = (0, 0);
    for i in 0..full + MEASURED {
        let measured = i >= full;
        if i == full {
            with_copies = resident();
            since = processor();
        }
        let (resources, wishes) = &shapes[usize::try_from(dice.below(1_000))?];
        let fence = u64::try_from(i)?;
        let task = TaskId(betanet_keys::hash(&[&fence.to_be_bytes()]));
        let blob = &blobs[usize::try_from(dice.below(50))?];
        let request = Request {
            task: &task,
            ns: "lab",
            group: "",
            tier: Tier::Bronze,
            prio: 5,
            level: Level::Public,
            strategy: strategies[i % strategies.len()],
            resources,
            wishes,
            blobs: blob,
            seed: &[1; 32],
            factor: 1_000_000,
            apart: &[],
            failed: &[],
            preempted: 0,
            reservation: None,
        };
        let copy = [NewCopy { number: 0, fence }];
        let start = Instant::now();
        let found = placer.place(NOW, &request, &copy)?;
        let took = start.elapsed();
        if found.is_some() {
            live.push_back(fence);
        }
        if measured {
            times.push(took);
            placed += usize::from(found.is_some());
        }
        if live.len() > full
            && let Some(old) = live.pop_front()
        {
            let start = Instant::now();
            placer.end(NOW, old, Ended::Result(&[blob[0].0, blob[1].0]));
            ending += start.elapsed();
            ends += 1;
        }
    }
    let both = (processor() - since) as f64 / 1e3 / MEASURED as f64;
    let ends = ends as f64 / ending.as_secs_f64();
    report(size, name, &mut times, placed, ends, both);
    if strategies == [Strategy::RoundRobin] {
        let per = |a: u64, b: u64, n: usize| a.saturating_sub(b) / u64::try_from(n).unwrap_or(1);
        println!(
            "{size}  bytes of memory: {} a node with 16 round trips, {} a live copy",
            per(with_nodes, before, size),
            per(with_copies, with_nodes, full),
        );
    }
    Ok(())
}

fn report(
    size: usize,
    name: &str,
    times: &mut [std::time::Duration],
    placed: usize,
    ends: f64,
    both: f64,
) {
    let sum: f64 = times.iter().map(|t| t.as_secs_f64()).sum();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 1_000].as_secs_f64() * 1e6;
    println!(
        "{size}  {name}  {:.0}  {:.2}  {:.2}  {:.0}  {:.1} %  {ends:.0}  {both:.2}",
        times.len() as f64 / sum,
        at(500),
        at(990),
        at(1_000),
        placed as f64 * 100.0 / times.len() as f64,
    );
}
