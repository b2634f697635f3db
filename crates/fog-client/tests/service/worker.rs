//! A node at work, against a coordinator that assigns one copy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_fog::bodies::{Beat, BeatAnswer, JoinAnswer, RunCopy, Start, WorkItem};
use betanet_fog::{
    Amounts, Assignment, Level, List, Map, Module, Offline, Outcome, Placement, Policy, Receipt,
    RefusalCode, Resources, Retry, Signed, Strategy, Task, Tier, Verification, from_slice,
    to_message,
};
use betanet_fog_client::node::{
    Control, Ended, Engine, Intake, MemoryReceipts, Receipts, Report, Run, Running, StoreFailed,
    Worker,
};
use betanet_keys::Identity;
use betanet_runtime::Reply;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{Coordinator, body, client, me, refuse};

const FENCE: u64 = 77;

fn leader() -> Identity {
    Identity::from_seed(&[30; 32])
}

fn task(now_ms: u64) -> Signed<Task> {
    task_of(now_ms, Level::Public)
}

fn task_of(now_ms: u64, level: Level) -> Signed<Task> {
    let owner = Identity::from_seed(&[3; 32]);
    let res = Amounts {
        cpu: 100,
        memory: 1 << 20,
        relay: if level == Level::Public { 0 } else { 1_000_000 },
        ..Amounts::default()
    };
    let task = Task {
        ns: "acme".parse().unwrap(),
        env: Map::new(),
        res: Resources::demand(res).unwrap(),
        rsv: None,
        args: List::new(),
        fuel: 1_000,
        prio: 5,
        tier: Tier::Bronze,
        after: List::new(),
        group: "".parse().unwrap(),
        level,
        nonce: [0; 16],
        owner: *owner.public().as_bytes(),
        place: Placement::default(),
        retry: Retry {
            most: 3,
            base: 1000,
            cap: 60_000,
        },
        start: 0,
        budget: 1_000_000,
        grants: List::new(),
        inputs: List::new(),
        module: Module {
            digest: [7; 32],
            size: 10,
        },
        run_ms: 60_000,
        verify: Verification::NONE,
        offline: Policy {
            rule: Offline::Replace,
            ms: 0,
        },
        out_max: 1 << 20,
        deadline: now_ms + 3_600_000,
        strategy: match level {
            Level::Public => Strategy::LeastLoaded,
            _ => Strategy::PrivacyAware,
        },
    };
    Signed::sign(task, &owner).unwrap()
}

fn run_item(now_ms: u64) -> WorkItem {
    run_item_of(&task(now_ms), now_ms)
}

fn run_item_of(task: &Signed<Task>, now_ms: u64) -> WorkItem {
    let work = Assignment {
        inputs: List::new(),
        end: now_ms + 60_000,
        key: *leader().public().as_bytes(),
        copy: 1,
        devs: List::new(),
        node: me().public().node_id(),
        task: task.id(),
        epoch: 5,
        fence: FENCE,
    };
    let work = Signed::sign(work, &leader()).unwrap();
    WorkItem::Run(RunCopy {
        at: FENCE,
        task: task.envelope().clone(),
        work: work.envelope().clone(),
    })
}

struct Instant;

impl Engine for Instant {
    fn name(&self) -> &str {
        "test 1"
    }

    fn run(&self, run: Arc<Run>) -> Running {
        Box::pin(async move {
            Ended {
                status: Outcome::Ok,
                out: Some([8; 32]),
                fuel: run.task.fuel + 1,
            }
        })
    }
}

/// Receipts that count how many are stored.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<MemoryReceipts>>, Arc<Mutex<usize>>);

impl Receipts for Counted {
    fn put(&mut self, fence: u64, receipt: &[u8]) -> Result<(), StoreFailed> {
        *self.1.lock().unwrap() += 1;
        self.0.lock().unwrap().put(fence, receipt)
    }

    fn remove(&mut self, fence: u64) -> Result<(), StoreFailed> {
        self.0.lock().unwrap().remove(fence)
    }

    fn all(&mut self) -> Result<Vec<(u64, Vec<u8>)>, StoreFailed> {
        self.0.lock().unwrap().all()
    }
}

#[tokio::test]
async fn a_worker_beats_runs_a_copy_and_delivers_its_receipt_once() {
    let receipts = Counted::default();
    let stored = receipts.clone();
    let now_ms = betanet_runtime::Clock::start().now().unix_ms;
    let one = Coordinator::start(30, move |_, target, sent, _| {
        let parts: Vec<&str> = target.split(['/', '?']).collect();
        match parts.get(5).copied() {
            Some("beat") => {
                from_slice::<Beat>(sent).unwrap();
                body(&BeatAnswer {
                    ttl: 60_000,
                    down: 180_000,
                    epoch: 5,
                })
            }
            // The item comes with each request, as after reconnections.
            Some("work") => Reply::new(200).with_body(to_message(&run_item(now_ms))),
            Some("start") => {
                assert_eq!(from_slice::<Start>(sent).unwrap().fence, FENCE);
                Reply::new(204)
            }
            Some("done") => {
                let receipt = Signed::<Receipt>::open(sent, now_ms).unwrap();
                // Stored before it is sent; never more fuel than the task allows.
                let held = stored.0.lock().unwrap().all().unwrap();
                assert_eq!(held, [(FENCE, sent.to_vec())]);
                assert_eq!((receipt.fence, receipt.fuel), (FENCE, 1_000));
                Reply::new(204)
            }
            _ => refuse(RefusalCode::Unknown, ""),
        }
    })
    .await;
    let joined = JoinAnswer {
        ttl: 30_000,
        down: 90_000,
        join: 3,
        epoch: 5,
        coords: vec![*leader().public().as_bytes()].try_into().unwrap(),
    };
    let (told, mut reports) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let fog = client(&[&one]);
    let worker =
        Worker::new(fog.clone(), &joined, Instant, receipts.clone()).with_reports(move |report| {
            let _ = told.send(report);
        });
    let running = tokio::spawn(worker.run(stop.clone()));
    let mut returned = 0;
    let id = task(now_ms).id();
    let mut seen = Vec::new();
    while returned == 0 {
        let report = tokio::time::timeout(Duration::from_secs(20), reports.recv());
        let report = report.await.unwrap().unwrap();
        returned += usize::from(report == Report::Returned(id, FENCE));
        seen.push(report);
    }
    assert!(seen.contains(&Report::Beaten), "{seen:?}");
    assert!(seen.contains(&Report::Started(id, FENCE)), "{seen:?}");
    stop.cancel();
    running.await.unwrap();
    assert_eq!(*receipts.1.lock().unwrap(), 1);
    assert!(receipts.0.lock().unwrap().all().unwrap().is_empty());
    let done = one.seen().iter().filter(|t| t.ends_with("/done")).count();
    assert_eq!(done, 1);
    fog.close().await;
}

fn joined() -> JoinAnswer {
    JoinAnswer {
        ttl: 30_000,
        down: 90_000,
        join: 3,
        epoch: 5,
        coords: vec![*leader().public().as_bytes()].try_into().unwrap(),
    }
}

/// A coordinator that assigns one copy with each request for work, and takes everything.
async fn generous(now_ms: u64) -> Coordinator {
    generous_of(task(now_ms), now_ms).await
}

async fn generous_of(task: Signed<Task>, now_ms: u64) -> Coordinator {
    Coordinator::start(30, move |_, target, _, _| {
        let parts: Vec<&str> = target.split(['/', '?']).collect();
        match parts.get(5).copied() {
            Some("beat") => body(&BeatAnswer {
                ttl: 60_000,
                down: 180_000,
                epoch: 5,
            }),
            Some("work") => Reply::new(200).with_body(to_message(&run_item_of(&task, now_ms))),
            _ => Reply::new(204),
        }
    })
    .await
}

/// Waits for a request that ends so.
async fn wait_for(one: &Coordinator, end: &str) {
    let seen = async {
        while !one.seen().iter().any(|t| t.ends_with(end)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), seen).await;
    seen.unwrap_or_else(|_| panic!("no {end}: {:?}", one.seen()));
}

#[tokio::test]
async fn a_copy_whose_receipt_an_earlier_run_stored_is_not_run_again() {
    let now_ms = betanet_runtime::Clock::start().now().unix_ms;
    let one = generous(now_ms).await;
    let task = task(now_ms);
    let receipt = Receipt {
        inputs: [0; 32],
        end: now_ms,
        key: *me().public().as_bytes(),
        out: Some([8; 32]),
        copy: 1,
        fuel: 1,
        task: task.id(),
        epoch: 5,
        fence: FENCE,
        start: now_ms,
        engine: "test 1".parse().unwrap(),
        module: task.module.digest,
        status: Outcome::Ok,
    };
    let receipt = Signed::sign(receipt, &me()).unwrap();
    let receipts = Counted::default();
    receipts
        .0
        .lock()
        .unwrap()
        .put(FENCE, &receipt.to_bytes())
        .unwrap();
    let stop = CancellationToken::new();
    let fog = client(&[&one]);
    let worker = Worker::new(fog.clone(), &joined(), Instant, receipts.clone());
    let running = tokio::spawn(worker.run(stop.clone()));
    wait_for(&one, "/done").await;
    wait_for(&one, "wait=60000").await;
    // The stream repeats the copy with each of these requests.
    for _ in 0..100 {
        let asked = one.seen().iter().filter(|t| t.contains("/work")).count();
        if asked >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    running.await.unwrap();
    let seen = one.seen();
    assert_eq!(seen.iter().filter(|t| t.ends_with("/done")).count(), 1);
    assert!(!seen.iter().any(|t| t.ends_with("/start")), "{seen:?}");
    assert!(receipts.0.lock().unwrap().all().unwrap().is_empty());
    fog.close().await;
}

#[tokio::test]
async fn a_node_that_refuses_copies_gives_them_back_and_says_so_with_a_beat_at_once() {
    let now_ms = betanet_runtime::Clock::start().now().unix_ms;
    let one = generous(now_ms).await;
    let control = Control::default();
    let stop = CancellationToken::new();
    let fog = client(&[&one]);
    control.set_intake(Intake::Refusing);
    let worker = Worker::new(fog.clone(), &joined(), Instant, MemoryReceipts::default())
        .with_control(control.clone());
    let running = tokio::spawn(worker.run(stop.clone()));
    wait_for(&one, "/nack").await;
    assert!(!one.seen().iter().any(|t| t.ends_with("/start")));
    stop.cancel();
    running.await.unwrap();
    fog.close().await;
}

#[tokio::test]
async fn a_copy_of_a_level_that_the_engine_does_not_serve_is_given_back() {
    let now_ms = betanet_runtime::Clock::start().now().unix_ms;
    let one = generous_of(task_of(now_ms, Level::Private), now_ms).await;
    let stop = CancellationToken::new();
    let fog = client(&[&one]);
    let worker = Worker::new(fog.clone(), &joined(), Instant, MemoryReceipts::default());
    let running = tokio::spawn(worker.run(stop.clone()));
    wait_for(&one, "/nack").await;
    let seen = one.seen();
    assert!(
        !seen
            .iter()
            .any(|t| t.ends_with("/start") || t.ends_with("/done")),
        "{seen:?}"
    );
    stop.cancel();
    running.await.unwrap();
    fog.close().await;
}
