//! The usual ways of a task and of a node.

use betanet_coordinator::Reply;
use betanet_fog::{NodeState, Outcome, RefusalCode, TaskState};

use crate::world::{World, identity, node_of, node_state, receipt, task_of};

type W = World<betanet_scheduler::Placer>;

#[test]
fn a_task_is_placed_started_and_done() {
    let mut w = W::new(1);
    let (node, user) = (identity(10), identity(20));
    w.join(&node, node_of(&node, "a", "acme"));
    let id = w.put(&user, task_of(&user, 1));
    assert_eq!(w.state(id), TaskState::Assigned);
    let work = w.take_run(&node);
    assert_eq!((work.task, work.copy), (id, 0));
    assert_eq!(w.start(&node, &work), Ok(Reply::Done));
    assert_eq!(w.state(id), TaskState::Running);
    let done = receipt(&node, &work, Outcome::Ok);
    assert_eq!(w.done(&node, done.clone()), Ok(Reply::Done));
    assert_eq!(w.done(&node, done), Ok(Reply::Done));
    let status = w.status(id);
    assert_eq!(
        (status.state, status.out),
        (TaskState::Succeeded, Some(id.0))
    );
    // 1 core and 1 GiB for 100 ms at the lowest factor.
    assert_eq!(w.paid.get(&id), Some(&status.cost));
    assert!(status.cost > 0);
    w.check();
}

#[test]
fn a_silent_node_is_offline_and_its_task_goes_elsewhere() {
    let mut w = W::new(2);
    let (a, b, user) = (identity(10), identity(11), identity(20));
    w.join(&a, node_of(&a, "a", "acme"));
    w.join(&b, node_of(&b, "b", "beta"));
    // A new leader's nodes have 300 s.
    for seq in 2..14 {
        w.pass(30_000);
        w.beat(&a, seq, &[]).unwrap();
        w.beat(&b, seq, &[]).unwrap();
    }
    let id = w.put(&user, task_of(&user, 1));
    let (lost, other) = if w.items[0].0 == a.public().node_id() {
        (a, b)
    } else {
        (b, a)
    };
    let work = w.take_run(&lost);
    for seq in 20..23 {
        w.pass(29_900);
        w.beat(&other, seq, &[]).unwrap();
    }
    assert_eq!(node_state(&mut w, &lost), Some(NodeState::Active));
    w.pass(400);
    assert_eq!(node_state(&mut w, &lost), Some(NodeState::Offline));
    let again = w.take_run(&other);
    assert_eq!((again.task, again.copy), (id, 1));
    let late = w.done(&lost, receipt(&lost, &work, Outcome::Ok));
    assert_eq!(late.unwrap_err().code, RefusalCode::FenceStale);
    assert_eq!(
        w.done(&other, receipt(&other, &again, Outcome::Ok)),
        Ok(Reply::Done)
    );
    assert_eq!(w.state(id), TaskState::Succeeded);
    w.beat(&lost, 30, &[(id, work.fence)]).unwrap();
    assert_eq!(node_state(&mut w, &lost), Some(NodeState::Active));
    w.check();
}
