//! Workers that are stopped, cut off or without room, and a coordinator that is replaced: each task ends once.
//!
//! `BETANET_CUT_SECONDS` is the length of a cut, 150 by default: a silent node is offline after 90.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use betanet_fog::bodies::Status;
use betanet_fog::{Kind, Offline, Policy, Receipt, RefusalCode, Signed, TaskId, TaskState};
use betanet_fog_client::node::{Receipts, StoreFailed};
use betanet_fog_client::testkit::{Waits, client, node};
use betanet_keys::Identity;
use rustix::process::Signal;
use tokio_util::sync::CancellationToken;

use crate::coordinators::Pair;
use crate::line::Line;
use crate::process::Worker;
use crate::{Fog, now_ms, only};

const SECOND: Duration = Duration::from_secs(1);

fn cut_time() -> Duration {
    let text = std::env::var("BETANET_CUT_SECONDS").unwrap_or_default();
    Duration::from_secs(text.parse().unwrap_or(150))
}

/// Number of records `ended` of each task.
pub(crate) async fn ends(fog: &Fog) -> BTreeMap<TaskId, usize> {
    let mut ends = BTreeMap::new();
    let mut events = fog.operator.events(0, false);
    let mut before = None;
    while before != Some(events.after()) {
        before = Some(events.after());
        while let Some(event) = events.next().await.unwrap() {
            if let Some(task) = event.task.filter(|_| &*event.kind == "ended") {
                *ends.entry(task).or_default() += 1;
            }
        }
    }
    ends
}

/// Waits until a worker's status is as wanted.
async fn until(worker: &Worker, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let began = Instant::now();
    loop {
        let status = worker.status();
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < 120 * SECOND, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Copies that a worker stopped without a receipt, and receipts that were refused.
fn over(status: &serde_json::Value) -> [u64; 2] {
    ["stopped", "refused"].map(|name| status["counts"][name].as_u64().unwrap())
}

/// Sends the receipt that another node has given for a task, in the name of this one and under its old fence.
async fn late(
    fog: &Fog,
    (worker, fence): (&Worker, u64),
    other: &Worker,
    task: &TaskId,
) -> Option<RefusalCode> {
    let files = other.receipts().into_iter();
    let read = |file| Signed::<Receipt>::open(&std::fs::read(file).unwrap(), now_ms()).unwrap();
    let receipt = files.map(read).find(|receipt| receipt.task == *task);
    let me = betanet_runtime::load_identity(&worker.state().join("key.pem")).unwrap();
    let receipt = Receipt {
        key: *me.public().as_bytes(),
        fence,
        ..(*receipt.unwrap()).clone()
    };
    let own = client(&me, std::slice::from_ref(&fog.peer));
    let sent = own.done(&Signed::sign(receipt, &me).unwrap()).await;
    own.close().await;
    sent.unwrap_err().code()
}

fn result(status: &Status) -> (TaskState, u64) {
    (status.state, status.attempts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_stopped_or_cut_off_follows_the_policy_and_its_late_result_is_refused() {
    let fog = Fog::start().await;
    let policies = [
        ("stop", Offline::Stop, 80_000),
        ("keep", Offline::Keep, 600_000),
        ("replace", Offline::Replace, 0),
        ("paused", Offline::Replace, 0),
    ];
    let (mut lines, mut workers) = (Vec::new(), Vec::new());
    let (mut tasks, mut fences) = (Vec::new(), Vec::new());
    for (n, (org, rule, ms)) in policies.into_iter().enumerate() {
        let line = Line::to(&fog.peer).await;
        let token = fog.token(org, Kind::Compute).await;
        let mut worker = Worker::new(org);
        let coordinator = line.peer.to_string();
        // Each has a zone of its own, in which it is the only one that goes offline.
        let place = ["--zone", org, "--coordinator", &coordinator];
        worker.start(&[&["--token", &token][..], &place].concat());
        let mut task = only(fog.task(n as u64, &["spin", "3000"]), &[org, "spare"]);
        task.offline = Policy { rule, ms };
        let id = fog.submit(task).await;
        fences.push(fog.copy(&id, "running").await);
        if org != "paused" {
            worker.freeze(true);
        }
        lines.push(line);
        workers.push(worker);
        tasks.push(id);
    }
    let [stop, keep, replace, paused] = &workers[..] else {
        panic!()
    };
    paused.signal(Signal::STOP);
    lines[..3].iter().for_each(Line::cut);
    let began = Instant::now();
    keep.freeze(false);
    // The program of one ends while nobody hears of it. Its output waits for a coordinator.
    until(keep, |s| s["given"][0]["tasks"] == 1).await;
    let token = fog.token("spare", Kind::Compute).await;
    let mut spare = Worker::new("spare");
    spare.start(&["--token", &token, "--zone", "spare"]);
    // That of another is stopped, before anyone else runs it.
    let stopped = until(stop, |s| s["copies"]["running"] == 0).await;
    let first = began.elapsed();
    assert!(first > 40 * SECOND && first < 90 * SECOND, "{first:?}");
    assert_eq!(over(&stopped), [1, 0], "{stopped}");
    assert_eq!(fog.user.status(&tasks[0]).await.unwrap().attempts, 1);
    for at in [0, 2, 3] {
        let status = fog.end(&tasks[at]).await;
        assert_eq!(
            result(&status),
            (TaskState::Succeeded, 2),
            "{at}: {status:?}"
        );
    }
    let others = began.elapsed();
    let waits = fog.user.status(&tasks[1]).await.unwrap();
    assert!(!waits.state.ended(), "{waits:?}");
    let cut = cut_time();
    tokio::time::sleep(cut.saturating_sub(began.elapsed())).await;
    let length = began.elapsed();
    lines.iter().for_each(Line::mend);
    replace.freeze(false);
    paused.signal(Signal::CONT);
    let kept = fog.end(&tasks[1]).await;
    assert_eq!(result(&kept), (TaskState::Succeeded, 1), "{kept:?}");
    for worker in [replace, paused] {
        let late = until(worker, |s| over(s) != [0, 0]).await;
        assert_eq!(over(&late).iter().sum::<u64>(), 1, "{late}");
    }
    // A receipt that each of them could still sign is refused.
    for (worker, at) in [(stop, 0), (replace, 2), (paused, 3)] {
        let refused = late(&fog, (worker, fences[at]), &spare, &tasks[at]).await;
        assert_eq!(refused, Some(RefusalCode::Ended));
    }
    for worker in &workers {
        until(worker, |s| s["copies"]["held"] == 0).await;
        assert_eq!(worker.left(), 0);
    }
    assert!(ends(&fog).await.values().all(|n| *n == 1));
    eprintln!(
        "cut for {:.0} s: stopped after {:.0} s, all but the kept one ended after {:.0} s, the kept one {:.1} s after the cut",
        length.as_secs_f64(),
        first.as_secs_f64(),
        others.as_secs_f64(),
        (began.elapsed() - length).as_secs_f64(),
    );
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_costs_a_worker_its_copies_and_nobody_else_anything() {
    let fog = Fog::start().await;
    let mut one = Worker::new("one").on_disk_of(400);
    let token = fog.token("one", Kind::Compute).await;
    one.start(&["--token", &token]);
    let first = fog.submit(only(fog.task(1, &["count"]), &["one"])).await;
    assert_eq!(fog.end(&first).await.state, TaskState::Succeeded);
    // The disk is full when the program ends.
    let running = fog.submit(fog.task(2, &["spin", "3000"])).await;
    fog.copy(&running, "running").await;
    one.fill(true);
    let began = Instant::now();
    until(&one, |s| s["copies"]["running"] == 0).await;
    // The disk is full when the task arrives.
    let next = fog.submit(fog.task(3, &["count"])).await;
    let _two = fog.worker("two").await;
    for id in [&running, &next] {
        let status = fog.end(id).await;
        assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
        let last = status.copies.last().unwrap();
        assert!(
            status.attempts > 1 && last.state.as_str() == "ok",
            "{status:?}"
        );
    }
    let took = began.elapsed();
    assert!(took < 100 * SECOND, "{took:?}");
    eprintln!(
        "tasks of a full disk ended elsewhere after {:.1} s",
        took.as_secs_f64()
    );
    until(&one, |s| s["copies"]["held"] == 0).await;
    assert_eq!(one.left(), 0);
    one.fill(false);
    let later = fog.submit(only(fog.task(4, &["count"]), &["one"])).await;
    assert_eq!(fog.end(&later).await.state, TaskState::Succeeded);
    assert!(ends(&fog).await.values().all(|n| *n == 1));
    fog.stop().await;
}

/// Storage without room.
struct Full;

impl Receipts for Full {
    fn put(&mut self, _: u64, _: &[u8]) -> Result<(), StoreFailed> {
        Err(StoreFailed)
    }

    fn remove(&mut self, _: u64) -> Result<(), StoreFailed> {
        Ok(())
    }

    fn all(&mut self) -> Result<Vec<(u64, Vec<u8>)>, StoreFailed> {
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_store_receipts_gives_its_copies_back_at_once() {
    let fog = Fog::start().await;
    let me = Identity::from_seed(&[78; 32]);
    let token = fog.token("acme", Kind::Compute).await;
    let own = client(&me, std::slice::from_ref(&fog.peer));
    let described = Signed::sign(node(&me, 1), &me).unwrap();
    let token: betanet_fog::Text = token.parse().unwrap();
    let joined = own.join(&described, &token.into()).await.unwrap();
    let stop = CancellationToken::new();
    let full = betanet_fog_client::node::Worker::new(own.clone(), &joined, Waits::default(), Full);
    let full = tokio::spawn(full.run(stop.clone()));
    let id = fog.submit(fog.task(1, &["count"])).await;
    while fog.user.status(&id).await.unwrap().attempts < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let began = Instant::now();
    let _two = fog.worker("two").await;
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    // A copy that a node merely stops to name is lost after a minute and two beats.
    assert!(began.elapsed() < 60 * SECOND, "{:?}", began.elapsed());
    assert!((2..8).contains(&status.attempts), "{status:?}");
    stop.cancel();
    full.await.unwrap();
    own.close().await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_on_while_the_second_coordinator_takes_over() {
    let mut pair = Pair::start().await;
    let fog = Fog::of(&pair.peers, tempfile::tempdir().unwrap()).await;
    let token = fog.token("one", Kind::Compute).await;
    let mut worker = Worker::new("one");
    let peers: Vec<String> = pair.peers.iter().map(ToString::to_string).collect();
    let coordinators = ["--coordinator", &peers[0], "--coordinator", &peers[1]];
    worker.start(&[&["--token", &token][..], &coordinators].concat());
    let id = fog.submit(fog.task(1, &["spin", "1000"])).await;
    let fence = fog.copy(&id, "running").await;
    worker.freeze(true);
    let at = pair.leader().await;
    let began = Instant::now();
    pair.both[at].kill();
    assert_eq!(pair.leader().await, 1 - at);
    let led = began.elapsed();
    worker.freeze(false);
    let status = fog.end(&id).await;
    assert_eq!(result(&status), (TaskState::Succeeded, 1), "{status:?}");
    assert_eq!(status.copies.last().unwrap().fence, fence);
    eprintln!(
        "the second led after {:.1} s, the task ended after {:.1} s",
        led.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    // It takes new work too.
    let next = fog.submit(fog.task(2, &["count"])).await;
    assert_eq!(fog.end(&next).await.state, TaskState::Succeeded);
    assert_eq!(ends(&fog).await.get(&id), Some(&1));
    fog.stop().await;
}
