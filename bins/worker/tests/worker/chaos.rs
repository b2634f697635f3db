//! Many tasks while workers are killed, stopped and cut off, and coordinators are replaced, at random.
//!
//! `BETANET_TASKS` is the number of tasks, 40 by default; `BETANET_SEED` draws the faults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use betanet_coordinator::Change;
use betanet_fog::bodies::Status;
use betanet_fog::{Kind, Outcome, Receipt, Signed, TaskId, TaskState, Tier};
use betanet_runtime::NodeId;
use rustix::process::Signal;

use crate::coordinators::Pair;
use crate::faults::ends;
use crate::journal::records;
use crate::line::Line;
use crate::process::Worker;
use crate::{Fog, now_ms};

const NAMES: [&str; 3] = ["one", "two", "three"];
/// Time from one fault to the next.
const EVERY: Duration = Duration::from_millis(1_500);
/// Longest time for so many tasks, most of which run while something is broken.
const fn bound(tasks: usize) -> Duration {
    Duration::from_secs(1_200 + 2 * tasks as u64)
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    text.parse().unwrap_or(default)
}

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

/// A worker, its lines to both coordinators, and the end of the fault that it has.
struct Place {
    worker: Worker,
    lines: [Line; 2],
    args: Vec<String>,
    until: Option<(Instant, Fault)>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Fault {
    Killed,
    Stopped,
    Cut,
    Replaced,
}

impl Place {
    fn start(&mut self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        self.worker.start(&args);
    }

    fn fail(&mut self, fault: Fault, time: Duration) {
        match fault {
            Fault::Killed => self.worker.kill(),
            Fault::Stopped => self.worker.signal(Signal::STOP),
            Fault::Cut => self.lines.iter().for_each(Line::cut),
            Fault::Replaced => {}
        }
        self.until = Some((Instant::now() + time, fault));
    }

    fn heal(&mut self) {
        match self.until.take() {
            // It waits for a coordinator, and may be told that none leads yet.
            Some((_, Fault::Killed)) => self.start(),
            Some((_, Fault::Stopped)) => self.worker.signal(Signal::CONT),
            Some((_, Fault::Cut)) => self.lines.iter().for_each(Line::mend),
            Some((_, Fault::Replaced)) | None => {}
        }
    }
}

/// Lets faults happen until all tasks have ended. Returns how many there were of each kind.
async fn faults(
    pair: &mut Pair,
    places: &mut [Place],
    fog: &Fog,
    n: usize,
) -> BTreeMap<Fault, u64> {
    let mut dice = Dice(number("BETANET_SEED", 30));
    let (mut counts, mut down) = (BTreeMap::new(), None);
    let began = Instant::now();
    loop {
        tokio::time::sleep(EVERY).await;
        let ended = ends(fog).await.len();
        assert!(began.elapsed() < bound(n), "{ended} of {n} tasks ended");
        if ended == n {
            break;
        }
        if let Some(at) = down.take() {
            pair.run(at);
        }
        for place in places.iter_mut() {
            if place.until.is_some_and(|(until, _)| until < Instant::now()) {
                place.heal();
            }
        }
        let (at, kind, time) = (dice.below(3), dice.below(16), dice.below(6_000));
        let place = &mut places[usize::try_from(at).unwrap()];
        let fault = match kind {
            0..5 => Fault::Killed,
            5..10 => Fault::Stopped,
            10..15 => Fault::Cut,
            _ => Fault::Replaced,
        };
        if fault == Fault::Replaced {
            let leader = pair.leader().await;
            pair.both[leader].kill();
            pair.leader().await;
            down = Some(leader);
        } else if place.until.is_none() {
            place.fail(fault, Duration::from_millis(time));
        } else {
            continue;
        }
        *counts.entry(fault).or_default() += 1;
    }
    if let Some(at) = down {
        pair.run(at);
    }
    places.iter_mut().for_each(Place::heal);
    counts
}

/// The receipts that workers keep, by task.
fn receipts(places: &[Place]) -> BTreeMap<TaskId, Vec<Receipt>> {
    let mut all: BTreeMap<TaskId, Vec<Receipt>> = BTreeMap::new();
    for file in places.iter().flat_map(|place| place.worker.receipts()) {
        let receipt = Signed::<Receipt>::open(&std::fs::read(file).unwrap(), now_ms()).unwrap();
        all.entry(receipt.task)
            .or_default()
            .push((*receipt).clone());
    }
    all
}

/// Checks that a task ended by one receipt, and costs what that says.
fn settled(status: &Status, receipts: &[Receipt]) -> u64 {
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    let good: Vec<_> = status
        .copies
        .iter()
        .filter(|c| c.state.as_str() == "ok")
        .collect();
    assert_eq!(good.len(), 1, "{status:?}");
    let fences: BTreeSet<u64> = receipts.iter().map(|r| r.fence).collect();
    assert_eq!(fences.len(), receipts.len(), "two receipts under one fence");
    let deciding = receipts.iter().find(|r| r.fence == good[0].fence);
    let deciding = deciding.unwrap_or_else(|| panic!("no receipt of {status:?} in {receipts:?}"));
    assert_eq!((deciding.status, deciding.out), (Outcome::Ok, status.out));
    // Whatever ran a second time gave the same.
    let ok = receipts.iter().filter(|r| r.status == Outcome::Ok);
    for other in ok {
        assert_eq!((other.out, other.fuel), (deciding.out, deciding.fuel));
    }
    deciding.fuel
}

#[tokio::test(flavor = "multi_thread")]
async fn under_random_faults_each_task_ends_once_and_is_paid_once() {
    let n = number("BETANET_TASKS", 40);
    let mut pair = Pair::start().await;
    let fog = Fog::of(&pair.peers, tempfile::tempdir().unwrap()).await;
    let mut places = Vec::new();
    for org in NAMES {
        let lines = [
            Line::to(&pair.peers[0]).await,
            Line::to(&pair.peers[1]).await,
        ];
        let token = fog.token(org, Kind::Compute).await;
        let mut args = vec!["--token".to_owned(), token];
        args.extend(["--zone".to_owned(), org.to_owned()]);
        for line in &lines {
            args.extend(["--coordinator".to_owned(), line.peer.to_string()]);
        }
        let mut place = Place {
            worker: Worker::new(org),
            lines,
            args,
            until: None,
        };
        place.start();
        places.push(place);
    }
    let began = Instant::now();
    let mut tasks = Vec::new();
    for nonce in 0..n {
        let mut task = fog.task(nonce, &["spin", "100"]);
        // A part of a worker's cores, so that a fault finds several under way and many others are still to come.
        task.res = crate::core(500);
        task.retry.most = 20;
        tasks.push(task);
    }
    let w = weight(&tasks[0]);
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(fog.submit(task).await);
    }
    let counts = faults(&mut pair, &mut places, &fog, ids.len()).await;
    let took = began.elapsed();
    // Receipts that are still on their way are refused, or say the same.
    for place in &places {
        let began = Instant::now();
        while place.worker.status()["copies"]["held"] != 0 {
            assert!(began.elapsed() < bound(ids.len()));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    let kept = receipts(&places);
    let journal = pair.journal().await;
    let mut bills = bills(&records(&journal).await);
    let spent: u64 = bills.values().map(|bill| bill.cost).sum();
    let (mut attempts, mut cost, mut ran) = (0, 0, 0);
    for id in &ids {
        let status = fog.user.status(id).await.unwrap();
        let receipts = kept.get(id).map_or(&[][..], Vec::as_slice);
        let fuel = settled(&status, receipts);
        let m = u128::from(fuel.div_ceil(1_000_000).max(100));
        // For one run and not for two, at the factor of the last placement.
        let bill = bills.remove(id).unwrap();
        let factor = u128::from(bill.factor);
        let due = (w * m * 1_000 * factor).div_ceil(3_600_000 * 1_000_000_000);
        assert_eq!(u128::from(status.cost), due, "{status:?} {bill:?}");
        assert_eq!(bill.cost, status.cost, "{status:?} {bill:?}");
        // The node whose receipt decides has all of it.
        let good = status.copies.iter().find(|c| c.state.as_str() == "ok");
        assert_eq!(bill.paid, good.map(|c| c.node), "{status:?} {bill:?}");
        (attempts, cost) = (attempts + status.attempts, cost + status.cost);
        ran += receipts.len();
    }
    // Nothing else was paid.
    assert!(bills.is_empty(), "{bills:?}");
    assert_eq!(cost, spent);
    let ended = ends(&fog).await;
    assert_eq!(ended.len(), ids.len());
    assert!(ended.values().all(|n| *n == 1));
    eprintln!(
        "{n} tasks in {:.0} s under {counts:?}: {attempts} copies, {ran} receipts, {cost} µ",
        took.as_secs_f64()
    );
    fog.stop().await;
}

/// What the journal says of a task's money.
#[derive(Debug, Default)]
struct Bill {
    /// Factor of its last placement, in ppm.
    factor: u64,
    /// Nodes of its copies, by fence.
    nodes: BTreeMap<u64, NodeId>,
    /// What its namespace pays, in µ.
    cost: u64,
    /// Who gets it.
    paid: Option<NodeId>,
}

fn bills(records: &BTreeMap<u64, Change>) -> BTreeMap<TaskId, Bill> {
    let mut all: BTreeMap<TaskId, Bill> = BTreeMap::new();
    for (index, change) in records {
        match change {
            Change::Assigned {
                task, node, factor, ..
            } => {
                let bill = all.entry(*task).or_default();
                bill.factor = *factor;
                bill.nodes.insert(*index, *node);
            }
            Change::Ended {
                task,
                deciding,
                cost,
                ..
            } => {
                let bill = all.entry(*task).or_default();
                assert_eq!((bill.cost, deciding.len()), (0, 1), "{change:?}");
                bill.cost = *cost;
                bill.paid = bill.nodes.get(&deciding[0]).copied();
            }
            _ => {}
        }
    }
    all
}

/// Weight of a task's resources, in µ an hour.
fn weight(task: &betanet_fog::Task) -> u128 {
    assert_eq!(task.tier, Tier::Bronze);
    let memory = u128::from(task.res.memory());
    100 * u128::from(task.res.cpu()) + 10 * memory.div_ceil(1 << 20)
}
