//! More dangers that were found on paper, and wrong inputs that reach the machine.

use betanet_coordinator::{Coordinator, Item, Reply, Request};
use betanet_fog::bodies::{StateRequest, TokenRequest};
use betanet_fog::{
    Amounts, Attribute, Kind, List, Need, NodeState, Op, Outcome, Placement, RefusalCode,
    Resources, Signed, Task, TaskId, TaskState, Text, Tier, Verification,
};
use betanet_keys::Identity;
use betanet_scheduler::Placer;

use crate::dangers::{W, beats, world};
use crate::world::{amounts, caller, identity, node_of, node_state, receipt, task_of};

fn runs(w: &mut W, id: &Identity) -> Vec<betanet_fog::Assignment> {
    let items = w.take_items(id).into_iter();
    let runs = items.filter_map(|i| match i {
        Item::Run { work, .. } => Some(*work),
        Item::Drop { .. } => None,
    });
    runs.collect()
}

#[test]
fn a_big_task_waits_ten_minutes_behind_small_ones_and_then_a_node_is_kept_for_it() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut held = Vec::new();
    let (mut nonce, mut seq) = (100, 5_000);
    let mut small = |w: &mut W, tier| {
        nonce += 1;
        let mut task = task_of(&user, nonce);
        task.tier = tier;
        task.run_ms = 120_000;
        w.put(&user, task)
    };
    for _ in 0..4 {
        small(&mut w, Tier::Bronze);
    }
    let mut big = task_of(&user, 1);
    big.res = Resources::demand(amounts(4_000, 1 << 30)).unwrap();
    let big = w.put(&user, big);
    let (mut queue, mut passed, mut silver) = (Vec::new(), 0, None);
    // Each 15 s the oldest copy ends, and a new small task comes.
    while w.state(big) == TaskState::Queued {
        held.extend(runs(&mut w, &ids[0]));
        w.pass(15_000);
        passed += 15_000;
        if !held.is_empty() {
            let work = held.remove(0);
            w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok))
                .unwrap();
        }
        queue.push(small(&mut w, Tier::Bronze));
        seq += 1;
        let have: Vec<_> = held.iter().map(|r| (r.task, r.fence)).collect();
        w.beat(&ids[0], seq, &have).unwrap();
        if passed == 630_000 {
            // What comes before it in the queue is not held up.
            let task = small(&mut w, Tier::Silver);
            assert_eq!(w.state(task), TaskState::Assigned);
            silver = Some(task);
        }
        assert!(passed < 800_000, "it starves");
        w.machine().audit_capacity().unwrap();
    }
    assert!(passed >= 600_000, "nobody is held up before: {passed}");
    assert!(silver.is_some());
    let waits = *queue.last().unwrap();
    assert_eq!(w.state(waits), TaskState::Queued);
    let work = runs(&mut w, &ids[0]).pop().unwrap();
    assert_eq!(work.task, big);
    w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok))
        .unwrap();
    w.pass(1);
    let placed = queue
        .iter()
        .filter(|t| w.state(**t) == TaskState::Assigned)
        .count();
    assert_eq!(placed, 4, "the node takes others");
    w.check();
}

#[test]
fn credits_are_not_farmed_by_junk_tasks() {
    let (mut w, ids) = world(1);
    let (node, user) = (&ids[0], identity(20));
    let mut seq = 10_000;
    let run = |w: &mut W, outcome| {
        for work in runs(w, node) {
            w.start(node, &work).unwrap();
            w.done(node, receipt(node, &work, outcome)).unwrap();
        }
    };
    for n in 0..30 {
        w.put(&user, task_of(&user, n));
        run(&mut w, Outcome::Ok);
    }
    let soon = w.unix() + 100_000;
    let mut end_badly: Vec<TaskId> = Vec::new();
    for n in 1_000..1_100 {
        // Programs that fail by themselves.
        let mut task = task_of(&user, n);
        task.grants = List::new();
        w.put(&user, task);
        run(&mut w, Outcome::Trap);
        // Demands that nobody can meet.
        let mut task = task_of(&user, n + 1_000);
        task.res = Resources::demand(amounts(1_000_000, 1 << 30)).unwrap();
        task.deadline = w.unix() + 300_000;
        end_badly.push(w.put(&user, task));
        // Reputation that nobody has.
        let mut task = task_of(&user, n + 2_000);
        task.place.rep = 999_999;
        task.deadline = w.unix() + 300_000;
        end_badly.push(w.put(&user, task));
        // Tasks that are cancelled before they start.
        let mut task = task_of(&user, n + 3_000);
        task.start = w.unix() + 50_000;
        let id = w.put(&user, task);
        w.ask(caller(&user, false), Request::Cancel(id)).unwrap();
    }
    // A deadline that leaves no time for the run. The node refuses work, so these do not start.
    let me = caller(node, false);
    let drain = StateRequest {
        to: NodeState::Draining,
        until: soon + 1_000_000,
    };
    let name = node.public().node_id();
    w.ask(me, Request::State(name, drain)).unwrap();
    for n in 5_000..5_100 {
        let mut task = task_of(&user, n);
        task.deadline = soon;
        end_badly.push(w.put(&user, task));
    }
    beats(&mut w, &ids, &mut seq, 350_000);
    for id in end_badly {
        assert_eq!(w.state(id), TaskState::Expired);
    }
    let day = w.unix() / 86_400_000;
    assert_eq!(w.machine().credit("lab", day, Tier::Bronze), (0, 0));
    // Tasks that the cluster failed are counted: 70 of 200 are lost with their node.
    let active = StateRequest {
        to: NodeState::Active,
        until: 0,
    };
    w.ask(caller(node, false), Request::State(name, active))
        .unwrap();
    for n in 6_000..6_070 {
        let mut task = task_of(&user, n);
        task.retry.most = 0;
        task.deadline = w.unix() + 1_000_000;
        w.put(&user, task);
        run(&mut w, Outcome::Internal);
        w.pass(60_001);
        seq += 1;
        w.beat(node, seq, &[]).unwrap();
    }
    let (percent, _) = w.machine().credit("lab", day, Tier::Bronze);
    assert!(percent > 0, "what the cluster failed is credited");
    w.check();
}

fn zone(name: &str) -> Placement {
    Placement {
        need: List::try_from(vec![Need {
            attribute: Attribute::Zone,
            op: Op::In,
            values: List::try_from(vec![name.parse().unwrap()]).unwrap(),
        }])
        .unwrap(),
        ..Placement::default()
    }
}

#[test]
fn full_gold_nodes_hide_no_node_that_can_be_preempted() {
    let mut w = W::new(17);
    let user = identity(20);
    let ids: Vec<_> = (0..402).map(|n| identity(1_000 + n)).collect();
    for (n, id) in ids.iter().enumerate() {
        let zone = if n < 66 { "gold" } else { "bronze" };
        w.join(id, node_of(id, zone, &format!("org{n}")));
    }
    for n in 0..22 {
        let mut task = task_of(&user, n);
        task.tier = Tier::Gold;
        task.res = Resources::demand(amounts(3_500, 1 << 30)).unwrap();
        task.place = zone("gold");
        let id = w.put(&user, task);
        assert_eq!(w.status(id).copies.len(), 3);
    }
    let mut bronze = Vec::new();
    for n in 100..436 {
        let mut task = task_of(&user, n);
        task.res = Resources::demand(amounts(4_000, 1 << 30)).unwrap();
        task.place = zone("bronze");
        bronze.push(w.put(&user, task));
    }
    assert!(bronze.iter().all(|t| w.status(*t).copies.len() == 1));
    // The 66 gold nodes are less loaded than the others, and nothing on them yields.
    let mut task = task_of(&user, 1_000);
    task.tier = Tier::Silver;
    let silver = w.put(&user, task);
    assert_eq!(w.state(silver), TaskState::Assigned);
    let queued = bronze
        .iter()
        .filter(|t| w.state(**t) == TaskState::Queued)
        .count();
    assert_eq!(queued, 1);
    w.machine().audit_capacity().unwrap();
    w.check();
}

#[test]
fn an_answer_to_a_beat_that_is_lost_loses_no_copy() {
    let (mut w, ids) = world(1);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.run_ms = 300_000;
    let id = w.put(&user, task);
    let work = w.take_run(&ids[0]);
    let have = [(id, work.fence)];
    w.start(&ids[0], &work).unwrap();
    // The answer is lost: the node sends the same again, with a new seq each time.
    for seq in 9_000..9_010 {
        w.beat(&ids[0], seq, &have).unwrap();
        let again = w.beat(&ids[0], seq, &have).unwrap_err();
        assert_eq!(again.code, RefusalCode::SeqOld);
        w.pass(5_000);
    }
    assert_eq!(w.status(id).attempts, 1);
    // The node has heard nothing for 50 s. Its copy stops 72 s after the last answer; the fence dies 90 s after the last beat.
    w.pass(84_000);
    assert_eq!(w.state(id), TaskState::Running);
    w.beat(&ids[0], 9_100, &have).unwrap();
    assert_eq!(
        w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok)),
        Ok(Reply::Done)
    );
    w.check();
}

#[test]
fn an_operators_or_a_coordinators_key_change_ends_what_the_old_key_may() {
    let (mut w, ids) = world(1);
    let (old, node) = (w.operator.clone(), ids[0].public().node_id());
    let quarantine = |to| Request::State(node, StateRequest { to, until: 0 });
    w.ask(caller(&old, true), quarantine(NodeState::Quarantined))
        .unwrap();
    let exp = w.unix() + 1_000_000;
    let token = w.token([7; 16], "acme", exp).to_text().unwrap();
    // The configuration lists another key now.
    assert_eq!(
        w.refused(caller(&old, false), quarantine(NodeState::Active)),
        RefusalCode::NotYours
    );
    let asked = TokenRequest {
        id: [8; 16],
        exp,
        org: "acme".parse().unwrap(),
        node: None,
        kinds: List::try_from(vec![Kind::Compute]).unwrap(),
    };
    assert_eq!(
        w.refused(caller(&old, false), Request::IssueToken(asked)),
        RefusalCode::Role
    );
    // What the old one decided stands, and the new one may end it.
    assert_eq!(node_state(&mut w, &ids[0]), Some(NodeState::Quarantined));
    let new = identity(3);
    w.ask(caller(&new, true), quarantine(NodeState::Active))
        .unwrap();
    // Tokens hold as long as the cluster lists the coordinator's key that signed them.
    w.coordinator = identity(4);
    let mut next = w.setup();
    next.coordinators.push(*identity(1).public());
    for (listed, code) in [(false, Some(RefusalCode::TokenInvalid)), (true, None)] {
        let setup = if listed { next.clone() } else { w.setup() };
        let seed = w.rng.seed();
        let machine = Coordinator::new(setup, Placer::default(), &seed);
        w.rebuild(0);
        w.members[0].machine = betanet_machine::testkit::Checked::since(machine, w.now);
        w.members[0].fed = 0;
        w.elect(0);
        let b = identity(50);
        let answer = w.join_with(&b, node_of(&b, "z", "acme"), token.clone());
        assert_eq!(answer.err().map(|r| r.code), code, "listed: {listed}");
    }
    w.check();
}

#[test]
fn a_task_belongs_to_its_owner_whoever_sends_it() {
    let (mut w, ids) = world(1);
    let (ann, bob) = (identity(20), identity(21));
    let signed = Signed::sign(task_of(&ann, 1), &ann).unwrap();
    let send = |task: &Signed<Task>| Request::Submit {
        task: Box::new(task.clone()),
        missing: None,
    };
    assert_eq!(
        w.ask(caller(&bob, false), send(&signed)).unwrap_err(),
        RefusalCode::NotYours.of("owner")
    );
    assert!(Signed::sign(task_of(&ann, 1), &bob).is_err());
    let own = Signed::sign(task_of(&bob, 1), &bob).unwrap();
    assert_ne!(own.id(), signed.id(), "the owner is part of the hash");
    assert_eq!(
        w.ask(caller(&ann, false), send(&signed)),
        Ok(Reply::Created)
    );
    assert_eq!(
        w.refused(caller(&bob, false), Request::Cancel(signed.id())),
        RefusalCode::NotYours
    );
    // A receipt after the end.
    let work = w.take_run(&ids[0]);
    w.ask(caller(&ann, false), Request::Cancel(signed.id()))
        .unwrap();
    let late = w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok));
    assert_eq!(late.unwrap_err().code, RefusalCode::Ended);
    w.check();
}

#[test]
fn paths_with_dots_cycles_and_impossible_numbers_cannot_be_signed() {
    let user = identity(20);
    for path in ["../x", "a/../b", "/a", "a//b", "./a", "a\\b"] {
        let mut task = task_of(&user, 1);
        let text: Result<Text, _> = path.parse();
        if let Ok(text) = text {
            task.inputs = List::try_from(vec![betanet_fog::Input {
                path: text,
                source: betanet_fog::Source::Blob {
                    digest: [1; 32],
                    size: 1,
                },
            }])
            .unwrap();
            let refused = Signed::sign(task, &user).unwrap_err();
            assert_eq!(refused.code, RefusalCode::BadValue, "{path}");
        }
    }
    // A task that names itself would need its own hash; any other guess is a task that nobody knows.
    let (mut w, _) = world(1);
    let mut task = task_of(&user, 2);
    let own = Signed::sign(task.clone(), &user).unwrap().id();
    task.after = List::try_from(vec![own]).unwrap();
    let (_, answer) = w.submit(&user, task);
    assert_eq!(answer.unwrap_err(), RefusalCode::Unknown.of("after"));
    assert!(List::<TaskId, 1024>::try_from(vec![own; 10_000]).is_err());
    let huge = Amounts {
        cpu: 1 << 40,
        memory: 1 << 60,
        ..Amounts::default()
    };
    assert_eq!(
        Resources::capacity(huge).unwrap_err().code,
        RefusalCode::BadValue
    );
    assert!(Resources::demand(Amounts::default()).is_err());
    let mut task = task_of(&user, 3);
    task.fuel = (1 << 60) + 1;
    assert!(Signed::sign(task, &user).is_err());
    let mut task = task_of(&user, 3);
    task.verify = Verification {
        rule: betanet_fog::Verify::Quorum,
        k: 2,
        n: 4,
    };
    assert!(Signed::sign(task, &user).is_err(), "2k must be more than n");
    let token = TokenRequest {
        id: [9; 16],
        exp: w.unix() + 1_000,
        org: "".parse().unwrap(),
        node: Some(identity(60).public().node_id()),
        kinds: List::try_from(vec![Kind::Compute]).unwrap(),
    };
    let operator = caller(&w.operator.clone(), true);
    let Ok(Reply::Token(token)) = w.ask(operator, Request::IssueToken(token)) else {
        panic!("no token");
    };
    let text = Signed::sign(*token, &w.coordinator).unwrap().to_text();
    let other = identity(61);
    let answer = w.join_with(&other, node_of(&other, "z", "acme"), text.unwrap());
    assert_eq!(answer.unwrap_err().code, RefusalCode::TokenScope);
    w.check();
}
