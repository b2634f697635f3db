//! Privacy levels: what a node claims and proves, where tasks go, and for how long a proof counts.

use betanet_coordinator::{Input, Reply, Request};
use betanet_fog::{Level, NodeState, Outcome, RefusalCode, Resources, Task, TaskState};
use betanet_keys::Identity;
use betanet_machine::Machine as _;

use crate::ways::W;
use crate::world::{amounts, caller, identity, node_of, node_state, receipt, task_of};

const HOUR: u64 = 3_600_000;

fn joins(w: &mut W, n: u64, level: Level) -> Identity {
    let id = identity(n);
    let mut node = node_of(&id, "a", &format!("org{n}"));
    let mut cap = amounts(4_000, 8 << 30);
    cap.relay = 100_000_000;
    node.cap = Resources::capacity(cap).unwrap();
    node.level = level;
    w.join(&id, node);
    id
}

fn reached(w: &mut W, id: &Identity, level: Level) {
    let (now, leader) = (w.clock(), w.leader());
    let reached = Input::Reached(id.public().node_id(), level);
    w.members[leader]
        .machine
        .handle_input(now, reached)
        .unwrap();
    w.settle(leader);
}

fn of_level(w: &W, user: &Identity, nonce: u64, level: Level) -> Task {
    let mut task = task_of(user, nonce);
    task.level = level;
    let mut res = amounts(100, 1 << 20);
    res.relay = 1_000_000;
    task.res = Resources::demand(res).unwrap();
    task.deadline = w.unix() + 4 * HOUR;
    task
}

fn refused(w: &mut W, user: &Identity, nonce: u64, level: Level) -> bool {
    let task = of_level(w, user, nonce, level);
    match w.submit(user, task).1 {
        Ok(Reply::Created) => false,
        answer => {
            let refusal = RefusalCode::PrivacyUnavailable.of("level");
            assert_eq!(answer, Err(refusal));
            true
        }
    }
}

/// Lets time pass while these nodes beat.
fn live(w: &mut W, ids: &[&Identity], seq: &mut u64, ms: u64) {
    let end = w.unix() + ms;
    while w.unix() < end {
        w.pass((end - w.unix()).min(80_000));
        *seq += 1;
        for id in ids {
            w.beat(id, *seq, &[]).unwrap();
        }
    }
}

#[test]
fn each_level_goes_to_nodes_that_proved_as_much_and_to_all_of_them() {
    let mut w = W::new(31);
    let user = identity(20);
    let nodes: Vec<(Identity, Level)> = (100..112)
        .zip(Level::ALL.iter().copied().cycle())
        .map(|(n, level)| (joins(&mut w, n, level), level))
        .collect();
    for (id, level) in &nodes {
        reached(&mut w, id, *level);
    }
    let mut nonce = 0;
    for level in [Level::Private, Level::Confidential, Level::Secret] {
        let mut used = std::collections::BTreeSet::new();
        for _ in 0..60 {
            nonce += 1;
            let task = of_level(&w, &user, nonce, level);
            let id = w.put(&user, task);
            let at = w.status(id).copies[0].node;
            let (node, has) = nodes
                .iter()
                .find(|(id, _)| id.public().node_id() == at)
                .unwrap();
            assert!(*has >= level, "{level} on a node of {has}");
            used.insert(at);
            let work = w.take_run(node);
            w.done(node, receipt(node, &work, Outcome::Ok)).unwrap();
            assert_eq!(w.state(id), TaskState::Succeeded);
        }
        // It is drawn: whoever watches one node cannot wait for the task there.
        let able = nodes.iter().filter(|(_, has)| *has >= level).count();
        assert_eq!(used.len(), able, "{level}");
    }
    w.check();
}

#[test]
fn a_claim_without_a_proof_and_a_proof_beyond_the_claim_are_no_level() {
    let mut w = W::new(32);
    let user = identity(20);
    let node = joins(&mut w, 100, Level::Confidential);
    assert!(refused(&mut w, &user, 1, Level::Private));
    reached(&mut w, &node, Level::Private);
    assert!(!refused(&mut w, &user, 2, Level::Private));
    assert!(refused(&mut w, &user, 3, Level::Confidential));
    reached(&mut w, &node, Level::Secret);
    assert!(!refused(&mut w, &user, 4, Level::Confidential));
    assert!(refused(&mut w, &user, 5, Level::Secret));
    // An answer over fewer relays takes nothing away.
    reached(&mut w, &node, Level::Private);
    assert!(!refused(&mut w, &user, 6, Level::Confidential));
    // A stranger's answer is nobody's.
    reached(&mut w, &identity(200), Level::Secret);
    assert!(refused(&mut w, &user, 7, Level::Secret));
    let claims = w.machine().level_claims(None);
    let id = node.public().node_id();
    assert_eq!(claims.nodes, [(id, Level::Confidential)]);
    assert_eq!(w.machine().level_claims(claims.next).nodes, []);
    w.check();
}

#[test]
fn a_proof_counts_for_a_day_and_a_task_waits_for_the_next_one() {
    let mut w = W::new(33);
    let user = identity(20);
    let (first, other) = (
        joins(&mut w, 100, Level::Private),
        joins(&mut w, 101, Level::Private),
    );
    let both = [&first, &other];
    let mut seq = 10;
    reached(&mut w, &first, Level::Private);
    live(&mut w, &both, &mut seq, 20 * HOUR);
    reached(&mut w, &first, Level::Private);
    live(&mut w, &both, &mut seq, 24 * HOUR - 1_000);
    assert!(!refused(&mut w, &user, 1, Level::Private));
    w.pass(1_001);
    assert!(refused(&mut w, &user, 2, Level::Private));
    // One that was accepted in time, and comes back, is placed nowhere.
    let work = w.take_run(&first);
    w.nack(&first, &work).unwrap();
    w.pass(20_000);
    let id = work.task;
    assert_eq!(w.state(id), TaskState::Queued);
    let why = &w.status(id).why;
    assert_eq!((&*why[0].reason, why[0].nodes), ("level", 2));
    reached(&mut w, &other, Level::Private);
    w.pass(1_000);
    assert_eq!(
        w.status(id).copies.last().unwrap().node,
        other.public().node_id()
    );
    w.check();
}

#[test]
fn a_new_leader_knows_no_level_until_it_has_asked() {
    let mut w = W::new(34);
    let user = identity(20);
    let node = joins(&mut w, 100, Level::Secret);
    reached(&mut w, &node, Level::Secret);
    assert!(!refused(&mut w, &user, 1, Level::Secret));
    let second = w.add_member();
    w.elect(second);
    w.pass(11_000);
    w.beat(&node, 50, &[]).unwrap();
    assert!(refused(&mut w, &user, 2, Level::Secret));
    assert!(!w.journal.entries.iter().any(|e| e.kind == "reached"));
    reached(&mut w, &node, Level::Secret);
    assert!(!refused(&mut w, &user, 3, Level::Secret));
    w.check();
}

#[test]
fn a_node_that_left_takes_its_level_along() {
    let mut w = W::new(35);
    let user = identity(20);
    let node = joins(&mut w, 100, Level::Private);
    reached(&mut w, &node, Level::Private);
    let id = node.public().node_id();
    w.ask(caller(&node, false), Request::Leave(id)).unwrap();
    assert_eq!(node_state(&mut w, &node), None::<NodeState>);
    assert!(refused(&mut w, &user, 1, Level::Private));
    assert_eq!(w.machine().level_claims(None).nodes, []);
    w.check();
}
