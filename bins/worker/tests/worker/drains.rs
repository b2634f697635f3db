//! Workers that end: killed, told to stop, started again.

use std::time::{Duration, Instant};

use betanet_fog::{NodeState, TaskState};
use betanet_fog_client::Lists;
use rustix::process::Signal;

use crate::Fog;
use crate::process::Worker;

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_lets_its_program_end_and_takes_nothing_new() {
    let fog = Fog::start().await;
    let mut worker = fog.worker("one").await;
    let id = fog.submit(fog.task(1, &["spin", "400"])).await;
    fog.copy(&id, "running").await;
    worker.signal(Signal::TERM);
    while worker.status()["draining"] != true {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let late = fog.submit(fog.task(2, &["spin", "1"])).await;
    assert_eq!(worker.wait(), 0);
    let status = fog.end(&id).await;
    assert_eq!((status.state, status.attempts), (TaskState::Succeeded, 1));
    let waits = fog.user.status(&late).await.unwrap();
    assert!(!waits.state.ended(), "{waits:?}");
    let nodes = fog.operator.nodes(&Lists::default()).await.unwrap();
    let state = nodes.items[0].state;
    assert!(
        matches!(state, NodeState::Draining | NodeState::Maintenance),
        "{state:?}"
    );
    // The next start needs no token, and takes work again.
    worker.start(&[]);
    assert_eq!(fog.end(&late).await.state, TaskState::Succeeded);
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_in_time_is_given_back_and_ends_elsewhere() {
    let fog = Fog::start().await;
    let token = fog.token("one", betanet_fog::Kind::Compute).await;
    let mut one = Worker::new("one");
    one.start(&["--token", &token, "--drain", "1 s"]);
    let id = fog.submit(fog.task(1, &["spin", "2000"])).await;
    fog.copy(&id, "running").await;
    let began = Instant::now();
    one.signal(Signal::TERM);
    assert_eq!(one.wait(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(one.left(), 0);
    let _two = fog.worker("two").await;
    let status = fog.end(&id).await;
    assert_eq!(
        (status.state, status.attempts),
        (TaskState::Succeeded, 2),
        "{status:?}"
    );
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_killed_runs_its_live_copies_again_under_their_fences() {
    let fog = Fog::start().await;
    let mut worker = fog.worker("one").await;
    let id = fog.submit(fog.task(1, &["spin", "1000"])).await;
    let fence = fog.copy(&id, "running").await;
    worker.kill();
    worker.start(&[]);
    let status = fog.end(&id).await;
    assert_eq!(
        (status.state, status.attempts),
        (TaskState::Succeeded, 1),
        "{status:?}"
    );
    assert_eq!(status.copies.last().unwrap().fence, fence);
    Worker::kept(&[&worker], 1).await;
    // The log is that of one run.
    let all = fog.log(&id, fence).await;
    let wanted: String = (1..=10).map(|tenth| format!("{tenth}0 %\n")).collect();
    assert_eq!(all, wanted);
    fog.stop().await;
}
