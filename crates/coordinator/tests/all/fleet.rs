//! Tokens, quotas, silence and levels.

use betanet_coordinator::{Input, Quota, Reply, Request};
use betanet_fog::bodies::StateRequest;
use betanet_fog::{
    Level, List, NodeState, Offline, Policy, RefusalCode, Resources, Signed, TaskState,
};
use betanet_machine::Machine as _;

use crate::dangers::{W, beats, world};
use crate::world::{amounts, caller, identity, node_of, node_state, task_of};

#[test]
fn tokens_are_used_once_in_time_and_for_what_they_name() {
    let mut w = W::new(7);
    let (a, b) = (identity(10), identity(11));
    let text = |t: Signed<betanet_fog::Token>| t.to_text().unwrap();
    let exp = w.unix() + 10_000;
    let token = text(w.token([1; 16], "acme", exp));
    let again = text(w.token([1; 16], "acme", exp));
    assert_eq!(token, again, "the same request gives the same token");
    let join = |w: &mut W, id, org: &str, token: &betanet_fog::Text| {
        w.join_with(id, node_of(id, "z", org), token.clone())
    };
    assert_eq!(
        join(&mut w, &b, "other", &token).unwrap_err().code,
        RefusalCode::TokenScope
    );
    assert!(matches!(
        join(&mut w, &a, "acme", &token),
        Ok(Reply::Joined(_, true))
    ));
    assert!(matches!(
        join(&mut w, &a, "acme", &token),
        Ok(Reply::Joined(_, false))
    ));
    assert_eq!(
        join(&mut w, &b, "acme", &token).unwrap_err().code,
        RefusalCode::TokenUsed
    );
    let late = text(w.token([2; 16], "", exp));
    w.pass(10_001);
    assert_eq!(
        join(&mut w, &b, "acme", &late).unwrap_err().code,
        RefusalCode::TokenExpired
    );
    let operator = caller(&w.operator.clone(), true);
    let exp = w.unix() + 10_000;
    let revoked = text(w.token([3; 16], "", exp));
    assert_eq!(
        w.refused(caller(&a, false), Request::RevokeToken([3; 16])),
        RefusalCode::Role
    );
    w.ask(operator.clone(), Request::RevokeToken([3; 16]))
        .unwrap();
    assert_eq!(
        join(&mut w, &b, "acme", &revoked).unwrap_err().code,
        RefusalCode::TokenUsed
    );
    assert_eq!(
        w.refused(operator, Request::RevokeToken([4; 16])),
        RefusalCode::Unknown
    );
    let foreign = Signed::sign(
        betanet_fog::Token {
            key: *b.public().as_bytes(),
            ..(*w.token([5; 16], "", exp)).clone()
        },
        &b,
    );
    let foreign = text(foreign.unwrap());
    assert_eq!(
        join(&mut w, &b, "acme", &foreign).unwrap_err().code,
        RefusalCode::TokenInvalid
    );
    let request = Request::Beat(
        a.public().node_id(),
        Box::new(betanet_fog::bodies::Beat {
            rtt: List::new(),
            seq: 1,
            gone: List::new(),
            have: List::new(),
            work: true,
        }),
    );
    assert_eq!(w.refused(caller(&b, false), request), RefusalCode::NotYours);
    w.check();
}

#[test]
fn quotas_make_tasks_wait_or_refuse_them() {
    let quota = Quota {
        copies: 1,
        waiting: 2,
        ..Quota::default()
    };
    let mut w = W::with_quota(8, quota);
    let (node, user) = (identity(10), identity(20));
    w.join(&node, node_of(&node, "a", "acme"));
    let first = w.put(&user, task_of(&user, 1));
    let second = w.put(&user, task_of(&user, 2));
    assert_eq!(&*w.status(second).why[0].reason, "quota");
    w.put(&user, task_of(&user, 3));
    assert_eq!(
        w.submit(&user, task_of(&user, 4)).1.unwrap_err().code,
        RefusalCode::Quota
    );
    w.ask(caller(&user, false), Request::Cancel(first)).unwrap();
    w.pass(1);
    assert_eq!(
        (w.state(first), w.state(second)),
        (TaskState::Cancelled, TaskState::Assigned)
    );
    w.check();
    let mut w = W::with_quota(9, Quota { spend: 1, ..quota });
    w.join(&node, node_of(&node, "a", "acme"));
    assert_eq!(
        w.submit(&user, task_of(&user, 1)).1.unwrap_err(),
        RefusalCode::Quota.of("ns")
    );
}

#[test]
fn offline_policies_let_fences_die_at_their_time() {
    for (rule, ms, dies) in [
        (Offline::Stop, 0, 90_000),
        (Offline::Stop, 200_000, 212_000),
        (Offline::Keep, 60_000, 150_000),
        (Offline::Replace, 0, 90_000),
    ] {
        let (mut w, ids) = world(3);
        let user = identity(20);
        let mut task = task_of(&user, 1);
        task.offline = Policy { rule, ms };
        task.run_ms = 1_000_000;
        task.deadline = w.unix() + 2_000_000;
        let id = w.put(&user, task);
        let silent = w.items[0].0;
        let (mut seq, mut passed) = (10_000, 0_u64);
        while w.status(id).attempts == 1 {
            w.pass(1_000);
            passed += 1_000;
            if passed % 20_000 == 0 {
                seq += 1;
                for other in ids.iter().filter(|i| i.public().node_id() != silent) {
                    w.beat(other, seq, &[]).unwrap();
                }
            }
            assert!(passed < 300_000);
        }
        // The last beat came with the last of the world's.
        assert!(passed.abs_diff(dies) <= 1_000, "{rule:?} {ms}: {passed}");
        w.check();
    }
}

#[test]
fn a_zone_that_falls_silent_loses_its_copies_slowly() {
    let mut w = W::new(10);
    let user = identity(20);
    let ids: Vec<_> = (0..9).map(|n| identity(100 + n)).collect();
    for (n, id) in ids.iter().enumerate() {
        let zone = if n < 4 { "a" } else { "b" };
        let mut node = node_of(id, zone, &format!("org{n}"));
        node.cap = Resources::capacity(amounts(1_000, 8 << 30)).unwrap();
        w.join(id, node);
    }
    let mut seq = 1;
    beats(&mut w, &ids, &mut seq, 300_000);
    let tasks: Vec<_> = (0..9)
        .map(|n| {
            let mut task = task_of(&user, n);
            task.run_ms = 1_000_000;
            w.put(&user, task)
        })
        .collect();
    w.take_items(&ids[0]);
    let node_of_task: Vec<_> = tasks
        .iter()
        .map(|t| w.status(*t).copies[0].clone())
        .collect();
    let lost = |w: &mut W| -> usize {
        let gone = tasks
            .iter()
            .filter(|t| w.status(**t).copies[0].state == *"down");
        gone.count()
    };
    let mut counts = Vec::new();
    for step in 0..130 {
        w.pass(1_000);
        if step % 20 == 0 {
            seq += 1;
            for id in &ids[4..] {
                let have: Vec<_> = tasks
                    .iter()
                    .zip(&node_of_task)
                    .filter(|(_, c)| c.node == id.public().node_id())
                    .map(|(t, c)| (*t, c.fence))
                    .collect();
                w.beat(id, seq, &have).unwrap();
            }
        }
        counts.push(lost(&mut w));
    }
    // Four of four are more than three tenths: one node each 10 s.
    assert_eq!(counts[88], 0, "{counts:?}");
    assert_eq!(
        [91, 101, 111, 121].map(|s| counts[s]),
        [1, 2, 3, 4],
        "{counts:?}"
    );
    w.check();
}

#[test]
fn no_fence_dies_while_no_node_is_left_anywhere() {
    let (mut w, ids) = world(2);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    w.pass(200_000);
    assert_eq!(node_state(&mut w, &ids[0]), Some(NodeState::Offline));
    // The run's own time has passed, and that is a fault of its own.
    assert_eq!(w.status(id).attempts, 1);
    w.check();
}

#[test]
fn a_broken_journal_stops_the_machine_and_is_named() {
    let (w, _) = world(1);
    let mut other = W::new(3);
    let now = other.clock();
    let mut machine = other.fresh();
    for stored in w.journal.entries.iter().filter(|e| e.kind != "joined") {
        let entry = Input::Entry {
            index: stored.index,
            kind: stored.kind.into(),
            body: stored.body.clone().into(),
        };
        machine.handle_input(now, entry).unwrap();
    }
    assert!(machine.get().is_broken());
    let bug = std::iter::from_fn(|| machine.poll_event()).count();
    assert_eq!(bug, 1);
    let lead = Input::Lead { epoch: 9, last: 99 };
    machine.handle_input(now, lead).unwrap();
    assert!(!machine.get().leads());
}

#[test]
fn a_private_task_needs_a_node_that_proved_its_level() {
    let mut w = W::new(11);
    let (node, user) = (identity(10), identity(20));
    let mut relay = node_of(&node, "a", "acme");
    let mut cap = amounts(4_000, 8 << 30);
    cap.relay = 10_000_000;
    relay.cap = Resources::capacity(cap).unwrap();
    relay.level = Level::Confidential;
    w.join(&node, relay);
    let mut task = task_of(&user, 1);
    task.level = Level::Private;
    let mut res = amounts(1_000, 1 << 30);
    res.relay = 1_000_000;
    task.res = Resources::demand(res).unwrap();
    let (_, answer) = w.submit(&user, task.clone());
    assert_eq!(
        answer.unwrap_err(),
        RefusalCode::PrivacyUnavailable.of("level")
    );
    let now = w.clock();
    let reached = Input::Reached(node.public().node_id(), Level::Confidential);
    w.members[0].machine.handle_input(now, reached).unwrap();
    let id = w.put(&user, task.clone());
    assert_eq!(w.state(id), TaskState::Assigned);
    // A day later the proof is too old.
    w.pass(86_400_001);
    task.deadline = w.unix() + 1_000_000;
    let (_, answer) = w.submit(&user, task);
    assert_eq!(answer.unwrap_err().code, RefusalCode::PrivacyUnavailable);
    w.check();
}

#[test]
fn each_resource_of_a_quota_makes_tasks_wait() {
    for quota in [
        Quota {
            cpu: 1_500,
            ..Quota::default()
        },
        Quota {
            memory: 3 << 29,
            ..Quota::default()
        },
        Quota {
            gpu: 1_500,
            ..Quota::default()
        },
    ] {
        let mut w = W::with_quota(12, quota);
        let (node, user) = (identity(10), identity(20));
        let mut with = node_of(&node, "a", "acme");
        let mut cap = amounts(4_000, 8 << 30);
        cap.gpu = 4_000;
        with.cap = Resources::capacity(cap).unwrap();
        w.join(&node, with);
        let task = |nonce| {
            let mut task = task_of(&user, nonce);
            let mut res = amounts(1_000, 1 << 30);
            res.gpu = 1_000;
            task.res = Resources::demand(res).unwrap();
            task
        };
        let [first, second] = [1, 2].map(|nonce| w.put(&user, task(nonce)));
        let states = (w.state(first), w.state(second));
        assert_eq!(
            states,
            (TaskState::Assigned, TaskState::Queued),
            "{quota:?}"
        );
        let why = w.status(second).why;
        assert_eq!((&*why[0].reason, why[0].nodes), ("quota", 1), "{quota:?}");
        // The node has room: what is missing is the namespace's own.
        w.ask(caller(&user, false), Request::Cancel(first)).unwrap();
        w.pass(1);
        assert_eq!(w.state(second), TaskState::Assigned, "{quota:?}");
        w.check();
    }
}

#[test]
fn what_a_namespace_spends_is_bounded_each_day_anew() {
    let (node, user) = (identity(10), identity(20));
    let mut w = W::new(13);
    w.join(&node, node_of(&node, "a", "acme"));
    let id = w.put(&user, task_of(&user, 1));
    let cost = w.status(id).cost;
    assert!(cost > 0);
    let quota = Quota {
        spend: cost,
        ..Quota::default()
    };
    let mut w = W::with_quota(13, quota);
    w.join(&node, node_of(&node, "a", "acme"));
    w.put(&user, task_of(&user, 1));
    let (_, more) = w.submit(&user, task_of(&user, 2));
    assert_eq!(more.unwrap_err(), RefusalCode::Quota.of("ns"));
    w.jump(86_400_000);
    let mut next = task_of(&user, 2);
    next.deadline = w.unix() + 1_000_000;
    assert_eq!(w.submit(&user, next).1, Ok(Reply::Created));
    w.check();
}

#[test]
fn copies_yield_at_once_where_a_node_is_in_maintenance_or_quarantine() {
    let (mut w, ids) = world(2);
    let (user, operator) = (identity(20), caller(&w.operator.clone(), true));
    for (nonce, to) in [(1, NodeState::Maintenance), (2, NodeState::Quarantined)] {
        let id = w.put(&user, task_of(&user, nonce));
        let on = w.status(id).copies[0].node;
        let place = ids
            .iter()
            .position(|id| id.public().node_id() == on)
            .unwrap();
        let (mine, other) = (&ids[place], &ids[1 - place]);
        let state = |to| Request::State(on, StateRequest { to, until: 0 });
        w.ask(operator.clone(), state(to)).unwrap();
        w.pass(1);
        assert_eq!(node_state(&mut w, mine), Some(to));
        let status = w.status(id);
        assert_eq!(status.attempts, 2, "{to:?}: {status:?}");
        assert!(status.copies[0].state == *"drained", "{status:?}");
        assert_eq!(status.copies[1].node, other.public().node_id());
        // The node itself ends its maintenance, and not its quarantine.
        let itself = w.ask(caller(mine, false), state(NodeState::Active));
        if to == NodeState::Maintenance {
            assert_eq!(itself, Ok(Reply::Done));
        } else {
            assert_eq!(itself.unwrap_err().code, RefusalCode::Role);
            w.ask(operator.clone(), state(NodeState::Active)).unwrap();
        }
        assert_eq!(node_state(&mut w, mine), Some(NodeState::Active));
        w.check();
    }
}
