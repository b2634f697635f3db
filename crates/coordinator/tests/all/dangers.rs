//! Dangers that were found on paper, each as a test.

use betanet_coordinator::{Item, Reply, Request};
use betanet_fog::bodies::StateRequest;
use betanet_fog::{
    List, NodeState, Outcome, RefusalCode, Resources, Signed, TaskState, Verification, Verify,
};
use betanet_scheduler::Placer;

use crate::world::{World, amounts, caller, identity, node_of, node_state, receipt, task_of};

pub type W = World<Placer>;

/// A world with so many nodes, each of its own organisation and zone, that have beaten for longer than a new leader's clemency.
pub fn world(nodes: u64) -> (W, Vec<betanet_keys::Identity>) {
    let mut w = W::new(3);
    let ids: Vec<_> = (0..nodes).map(|n| identity(100 + n)).collect();
    for (n, id) in ids.iter().enumerate() {
        w.join(id, node_of(id, &format!("z{n}"), &format!("org{n}")));
    }
    let mut seq = 1;
    beats(&mut w, &ids, &mut seq, 300_000);
    (w, ids)
}

/// Lets time pass while nodes beat without copies.
pub fn beats(w: &mut W, ids: &[betanet_keys::Identity], seq: &mut u64, ms: u64) {
    for _ in 0..ms.div_ceil(25_000) {
        w.pass(25_000);
        *seq += 1;
        for id in ids {
            w.beat(id, *seq, &[]).unwrap();
        }
    }
}

#[test]
fn a_deposed_leader_stops_answering_beats_before_the_next_one_counts() {
    let (mut w, ids) = world(2);
    w.add_member();
    w.members[0].cut = true;
    let began = w.now;
    let mut refused = None;
    for seq in 1_000..1_030 {
        w.pass(500);
        if let Err(refusal) = w.beat_to(0, &ids[0], seq, &[]) {
            assert_eq!(refusal.code, RefusalCode::NotLeader);
            refused.get_or_insert(w.now);
        } else {
            assert_eq!(refused, None, "once silent, it stays silent");
        }
    }
    let silent_after = refused.unwrap() - began;
    assert!(silent_after.as_millis() <= 10_500, "{silent_after:?}");
    // The lease is over, so another one may lead. Its nodes count 10 s later, with 300 s for each.
    w.elect(1);
    w.pass(299_000);
    assert_eq!(node_state(&mut w, &ids[0]), Some(NodeState::Active));
    w.pass(12_000);
    assert_eq!(node_state(&mut w, &ids[0]), Some(NodeState::Offline));
    w.check();
}

#[test]
fn what_a_deposed_leader_did_and_nobody_committed_is_not_said() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    w.held = Some(Vec::new());
    let task = Signed::sign(task_of(&user, 1), &user).unwrap();
    let id = task.id();
    let request = Request::Submit {
        task: Box::new(task),
        missing: None,
    };
    let call = w.send_to(0, caller(&user, false), request.clone());
    assert_eq!((w.answers.get(&call), w.items.len()), (None, 0));
    w.add_member();
    let held = w.held.take().unwrap();
    w.elect(1);
    // It hears that its epoch is over, and says so.
    let refused = w.answers.remove(&call).unwrap().unwrap_err();
    assert_eq!(refused.code, RefusalCode::NotLeader);
    assert!(w.members[0].machine.get().is_broken(), "it must be rebuilt");
    for (at, append, began) in held {
        w.append(at, append, began);
    }
    let unknown = w
        .ask(caller(&user, false), Request::Status(id))
        .unwrap_err();
    assert_eq!(unknown.code, RefusalCode::Unknown);
    // The same request again is the same task.
    assert_eq!(w.ask(caller(&user, false), request), Ok(Reply::Created));
    w.pass(1_000);
    assert_eq!(w.take_run(&ids[0]).task, id);
    w.rebuild(0);
    assert_eq!(w.members[0].machine.get().hash(), w.machine().hash());
    w.check();
}

#[test]
fn a_beat_in_flight_while_a_copy_is_assigned_does_not_lose_it() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let work = w.take_run(&ids[0]);
    for (seq, pass) in [(1_001, 0), (1_002, 29_000), (1_003, 29_000)] {
        w.pass(pass);
        w.beat(&ids[0], seq, &[]).unwrap();
    }
    assert_eq!(w.state(id), TaskState::Assigned);
    w.pass(3_000);
    w.beat(&ids[0], 1_004, &[]).unwrap();
    assert_eq!(w.state(id), TaskState::Assigned, "one beat is not two");
    w.beat(&ids[0], 1_005, &[(id, work.fence)]).unwrap();
    w.beat(&ids[0], 1_006, &[]).unwrap();
    assert_eq!(w.state(id), TaskState::Assigned, "two, but not in a row");
    w.beat(&ids[0], 1_007, &[]).unwrap();
    assert_eq!(w.status(id).attempts, 2, "two in a row");
    w.check();
}

#[test]
fn a_restored_snapshot_goes_on_above_every_fence() {
    let (mut w, ids) = world(2);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let parts = w.machine().snapshot();
    // After the snapshot another copy got a fence that the snapshot does not know.
    let first = if w.items[0].0 == ids[0].public().node_id() {
        0
    } else {
        1
    };
    let work = w.take_run(&ids[first]);
    w.nack(&ids[first], &work).unwrap();
    let gone = w.take_run(&ids[1 - first]);
    let last = w.machine().last();
    let setup = w.setup();
    let parts = parts.iter().map(|p| &p[..]);
    let seed = w.rng.seed();
    let restored =
        betanet_coordinator::Coordinator::restore(setup, Placer::default(), &seed, parts).unwrap();
    w.members[0].machine = betanet_machine::testkit::Checked::since(restored, w.now);
    w.journal.entries.clear();
    w.journal.last = last + (1 << 40);
    w.journal.epoch += 1 << 20;
    w.members[0].fed = 0;
    w.elect(0);
    assert!(w.machine().last() > last + (1 << 40));
    let late = w.done(
        &ids[1 - first],
        receipt(&ids[1 - first], &gone, Outcome::Ok),
    );
    assert_eq!(late.unwrap_err().code, RefusalCode::FenceStale);
    assert_eq!(
        w.done(&ids[first], receipt(&ids[first], &work, Outcome::Ok)),
        Ok(Reply::Done)
    );
    assert_eq!(w.state(id), TaskState::Succeeded);
    w.machine().audit().unwrap();
}

#[test]
fn a_node_that_beats_and_never_returns_a_copy_is_not_waited_for() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.retry.most = 0;
    let id = w.put(&user, task);
    let work = w.take_run(&ids[0]);
    w.start(&ids[0], &work).unwrap();
    for seq in 1_000..1_003 {
        w.beat(&ids[0], seq, &[(id, work.fence)]).unwrap();
        w.pass(29_900);
    }
    assert_eq!(w.state(id), TaskState::Running);
    w.pass(400);
    assert_eq!(w.end(id), (TaskState::Failed, "time".into()));
    let drops = w.take_items(&ids[0]);
    assert!(matches!(drops[..], [Item::Drop { fence, .. }] if fence == work.fence));
    assert_eq!(w.paid.get(&id), None, "nothing is paid without a result");
    w.check();
}

#[test]
fn capacity_lowered_below_what_is_reserved_ends_nothing_and_admits_nothing() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.res = Resources::demand(amounts(3_000, 1 << 30)).unwrap();
    let first = w.put(&user, task);
    let work = w.take_run(&ids[0]);
    let mut node = node_of(&ids[0], "z0", "org0");
    node.seq = 2;
    node.cap = Resources::capacity(amounts(2_000, 8 << 30)).unwrap();
    let describe = |node, id| Request::Describe(Box::new(Signed::sign(node, id).unwrap()));
    let me = caller(&ids[0], false);
    assert_eq!(
        w.ask(me.clone(), describe(node.clone(), &ids[0])),
        Ok(Reply::Done)
    );
    assert!(w.machine().audit_capacity().is_err());
    let second = w.put(&user, task_of(&user, 2));
    let status = w.status(second);
    assert_eq!(status.state, TaskState::Queued);
    assert_eq!(&*status.why[0].reason, "cpu_free");
    assert_eq!(
        w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok)),
        Ok(Reply::Done)
    );
    w.pass(1);
    assert_eq!(
        (w.state(first), w.state(second)),
        (TaskState::Succeeded, TaskState::Assigned)
    );
    w.machine().audit_capacity().unwrap();
    node.seq = 2;
    assert_eq!(
        w.ask(me.clone(), describe(node.clone(), &ids[0])),
        Ok(Reply::Done),
        "the same again"
    );
    node.price += 1;
    assert_eq!(
        w.refused(me.clone(), describe(node.clone(), &ids[0])),
        RefusalCode::SeqOld
    );
    node.seq = 3;
    node.org = "other".parse().unwrap();
    assert_eq!(
        w.refused(me, describe(node, &ids[0])),
        RefusalCode::BadValue
    );
    w.check();
}

#[test]
fn a_node_with_live_copies_stays_and_what_it_earned_survives_its_leaving() {
    let (mut w, ids) = world(2);
    let (user, id) = (identity(20), &ids[0]);
    let node = id.public().node_id();
    let task = w.put(&user, task_of(&user, 1));
    let on = if w.items[0].0 == node { 0 } else { 1 };
    let node = ids[on].public().node_id();
    let me = caller(&ids[on], false);
    assert_eq!(
        w.refused(me.clone(), Request::Leave(node)),
        RefusalCode::InUse
    );
    assert_eq!(
        w.refused(caller(&ids[1 - on], false), Request::Leave(node)),
        RefusalCode::NotYours
    );
    let drain = StateRequest {
        to: NodeState::Draining,
        until: w.unix() + 5_000,
    };
    w.ask(me.clone(), Request::State(node, drain)).unwrap();
    assert_eq!(node_state(&mut w, &ids[on]), Some(NodeState::Draining));
    w.pass(4_900);
    assert_eq!(w.status(task).attempts, 1);
    w.pass(200);
    assert_eq!(
        w.status(task).attempts,
        2,
        "its copy yields to the other node"
    );
    assert_eq!(node_state(&mut w, &ids[on]), Some(NodeState::Maintenance));
    w.ask(me.clone(), Request::Leave(node)).unwrap();
    assert_eq!(node_state(&mut w, &ids[on]), None);
    assert_eq!(
        w.ask(me, Request::Leave(node)),
        Ok(Reply::Done),
        "the same again"
    );
    let again = w.try_join(
        &ids[on],
        node_of(&ids[on], "z", &format!("org{on}")),
        true,
        [1; 16],
    );
    assert_eq!(
        again.unwrap_err().code,
        RefusalCode::SeqOld,
        "an old description"
    );
    let mut other = node_of(&ids[on], "z", "elsewhere");
    other.seq = 9;
    let changed = w.try_join(&ids[on], other.clone(), true, [2; 16]);
    assert_eq!(
        changed.unwrap_err().code,
        RefusalCode::BadValue,
        "another organisation"
    );
    other.org = format!("org{on}").parse().unwrap();
    let Ok(Reply::Joined(_, true)) = w.try_join(&ids[on], other, true, [3; 16]) else {
        panic!("not joined");
    };
    w.check();
}

#[test]
fn a_task_is_forgotten_once_it_cannot_be_sent_again() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.deadline = w.unix() + 100_000;
    let id = w.put(&user, task.clone());
    let work = w.take_run(&ids[0]);
    w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok))
        .unwrap();
    let (_, again) = w.submit(&user, task.clone());
    assert_eq!(again, Ok(Reply::Done), "the same task");
    w.pass(86_400_000 + 99_000);
    assert_eq!(w.state(id), TaskState::Succeeded);
    w.pass(2_000);
    let gone = w
        .ask(caller(&user, false), Request::Status(id))
        .unwrap_err();
    assert_eq!(gone.code, RefusalCode::Unknown);
    let (_, again) = w.submit(&user, task);
    assert_eq!(again.unwrap_err(), RefusalCode::BadValue.of("deadline"));
    w.check();
}

#[test]
fn nodes_of_one_owner_cannot_fill_a_quorum() {
    let mut w = W::new(4);
    let user = identity(20);
    let ids: Vec<_> = (0..4).map(|n| identity(100 + n)).collect();
    // Tokens that name no organisation: whatever the nodes call themselves, they count as one.
    for (n, id) in ids[..3].iter().enumerate() {
        w.join_as(id, node_of(id, "a", &format!("org{n}")), false);
    }
    let mut task = task_of(&user, 1);
    task.verify = Verification {
        rule: Verify::Quorum,
        k: 2,
        n: 2,
    };
    let id = w.put(&user, task);
    let why = w.status(id).why;
    assert_eq!((&*why[0].reason, why[0].nodes), ("org", 3));
    w.join(&ids[3], node_of(&ids[3], "a", "org3"));
    assert_eq!(w.state(id), TaskState::Assigned);
    assert_eq!(w.status(id).copies.len(), 2);
    w.check();
}

#[test]
fn tasks_of_other_namespaces_are_not_named_in_after() {
    let (mut w, _) = world(1);
    let user = identity(20);
    let mut rich = caller(&user, false);
    rich.namespaces.push("other".parse().unwrap());
    let mut foreign = task_of(&user, 1);
    foreign.ns = "other".parse().unwrap();
    let foreign = Signed::sign(foreign, &user).unwrap();
    let submit = |task: &Signed<betanet_fog::Task>| Request::Submit {
        task: Box::new(task.clone()),
        missing: None,
    };
    assert_eq!(
        w.refused(caller(&user, false), submit(&foreign)),
        RefusalCode::Role
    );
    assert_eq!(w.ask(rich, submit(&foreign)), Ok(Reply::Created));
    let mut task = task_of(&user, 2);
    task.after = List::try_from(vec![foreign.id()]).unwrap();
    let (_, answer) = w.submit(&user, task.clone());
    assert_eq!(answer.unwrap_err(), RefusalCode::Unknown.of("after"));
    let stranger = caller(&identity(21), false);
    let signed = Signed::sign(task_of(&user, 3), &user).unwrap();
    assert_eq!(w.refused(stranger, submit(&signed)), RefusalCode::NotYours);
    let missing = Request::Submit {
        task: Box::new(signed),
        missing: Some("module"),
    };
    assert_eq!(
        w.ask(caller(&user, false), missing).unwrap_err(),
        RefusalCode::Unknown.of("module")
    );
}

#[test]
fn prices_that_keep_every_node_idle_are_the_price() {
    let mut w = W::new(5);
    let (node, user) = (identity(10), identity(20));
    let mut dear = node_of(&node, "a", "acme");
    dear.price = 90_000_000;
    w.join(&node, dear);
    let cheap = {
        let mut task = task_of(&user, 1);
        task.budget = 1_000;
        task
    };
    assert_eq!(
        w.submit(&user, cheap).1.unwrap_err(),
        RefusalCode::Budget.of("budget")
    );
    let id = w.put(&user, task_of(&user, 2));
    assert_eq!(w.state(id), TaskState::Assigned);
    w.check();
}

#[test]
fn a_task_on_the_only_device_sets_the_price_of_devices_alone() {
    let mut w = W::new(6);
    let (node, user) = (identity(10), identity(20));
    let mut with = node_of(&node, "a", "acme");
    let mut cap = amounts(4_000, 8 << 30);
    cap.gpu = 1_000;
    with.cap = Resources::capacity(cap).unwrap();
    w.join(&node, with);
    let price = |w: &mut W| match w.ask(caller(&identity(9), false), Request::Price) {
        Ok(Reply::Price(price)) => ["cpu", "gpu"].map(|r| price.factor[r]),
        other => panic!("{other:?}"),
    };
    assert_eq!(price(&mut w), [500_000, 500_000]);
    let mut task = task_of(&user, 1);
    let mut res = amounts(1_000, 1 << 30);
    res.gpu = 1_000;
    task.res = Resources::demand(res).unwrap();
    w.put(&user, task);
    assert_eq!(price(&mut w), [750_000, 3_000_000]);
}

#[test]
fn a_task_that_does_not_fit_holds_up_nobody_and_goes_first_once_it_fits() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut small = Vec::new();
    for n in 0..4 {
        small.push(w.put(&user, task_of(&user, n)));
    }
    let works: Vec<_> = w
        .take_items(&ids[0])
        .into_iter()
        .map(|i| match i {
            Item::Run { work, .. } => work,
            Item::Drop { .. } => panic!("a drop"),
        })
        .collect();
    let mut big = task_of(&user, 10);
    big.prio = 9;
    big.res = Resources::demand(amounts(4_000, 1 << 30)).unwrap();
    let big = w.put(&user, big);
    let late = w.put(&user, task_of(&user, 11));
    w.done(&ids[0], receipt(&ids[0], &works[0], Outcome::Ok))
        .unwrap();
    w.pass(1);
    assert_eq!(
        (w.state(big), w.state(late)),
        (TaskState::Queued, TaskState::Assigned)
    );
    let last = w.take_run(&ids[0]);
    for work in works[1..].iter().chain([&last]) {
        w.done(&ids[0], receipt(&ids[0], work, Outcome::Ok))
            .unwrap();
    }
    w.pass(1);
    assert_eq!(w.state(big), TaskState::Assigned);
    w.check();
}

#[test]
fn a_clock_that_jumps_an_hour_expires_nothing_at_once() {
    for skew in [3_600_000, -3_600_000] {
        let (mut w, ids) = world(1);
        let user = identity(20);
        let mut task = task_of(&user, 1);
        task.deadline = w.unix() + 1_800_000;
        let id = w.put(&user, task);
        let work = w.take_run(&ids[0]);
        w.skew = skew;
        w.pass(10_000);
        assert_eq!(w.state(id), TaskState::Assigned, "{skew}");
        assert_eq!(node_state(&mut w, &ids[0]), Some(NodeState::Active));
        w.beat(&ids[0], 5_000, &[(id, work.fence)]).unwrap();
        w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok))
            .unwrap();
        assert_eq!(w.state(id), TaskState::Succeeded);
        w.check();
    }
}
