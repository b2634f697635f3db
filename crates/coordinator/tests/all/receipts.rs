//! Receipts, and what nodes say of their copies.

use betanet_coordinator::{Reply, Request};
use betanet_fog::bodies::StateRequest;
use betanet_fog::{NodeState, Outcome, RefusalCode, TaskState, Tier};

use crate::dangers::world;
use crate::world::{caller, identity, node_state, receipt, task_of};

#[test]
fn receipts_are_refused_with_their_reason() {
    let (mut w, ids) = world(2);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let at = if w.items[0].0 == ids[0].public().node_id() {
        0
    } else {
        1
    };
    let (mine, other) = (&ids[at], &ids[1 - at]);
    let work = w.take_run(mine);
    let good = receipt(mine, &work, Outcome::Ok);
    let mut fuel = good.clone();
    fuel.fuel = 1_000_000_000_001;
    assert_eq!(
        w.done(mine, fuel).unwrap_err(),
        RefusalCode::BadValue.of("fuel")
    );
    let mut copy = good.clone();
    copy.copy = 1;
    assert_eq!(
        w.done(mine, copy).unwrap_err(),
        RefusalCode::FenceStale.of("fence")
    );
    assert_eq!(
        w.done(other, receipt(other, &work, Outcome::Ok))
            .unwrap_err()
            .code,
        RefusalCode::NotYours
    );
    let mut unknown = good.clone();
    unknown.fence += 1_000;
    assert_eq!(
        w.done(mine, unknown).unwrap_err(),
        RefusalCode::FenceStale.bare()
    );
    assert_eq!(
        w.state(id),
        TaskState::Assigned,
        "what is refused changes nothing"
    );
    assert_eq!(w.done(mine, good.clone()), Ok(Reply::Done));
    let mut second = good;
    second.out = Some([1; 32]);
    assert_eq!(
        w.done(mine, second).unwrap_err().code,
        RefusalCode::ReceiptConflict
    );
    assert_eq!(node_state(&mut w, mine), Some(NodeState::Quarantined));
    let active = StateRequest {
        to: NodeState::Active,
        until: 0,
    };
    let node = mine.public().node_id();
    assert_eq!(
        w.refused(caller(mine, false), Request::State(node, active.clone())),
        RefusalCode::Role
    );
    let operator = caller(&w.operator.clone(), true);
    w.ask(operator, Request::State(node, active)).unwrap();
    assert_eq!(node_state(&mut w, mine), Some(NodeState::Active));
    w.check();
}

#[test]
fn a_wrong_module_quarantines_and_the_copy_goes_elsewhere() {
    let (mut w, ids) = world(2);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let at = if w.items[0].0 == ids[0].public().node_id() {
        0
    } else {
        1
    };
    let work = w.take_run(&ids[at]);
    let mut wrong = receipt(&ids[at], &work, Outcome::Ok);
    wrong.module = [8; 32];
    assert_eq!(
        w.done(&ids[at], wrong).unwrap_err(),
        RefusalCode::BadValue.of("module")
    );
    w.pass(1);
    assert_eq!(node_state(&mut w, &ids[at]), Some(NodeState::Quarantined));
    assert_eq!(w.take_run(&ids[1 - at]).task, id);
    w.check();
}

#[test]
fn an_epoch_of_2_to_the_62_is_an_epoch() {
    let (mut w, ids) = world(1);
    w.journal.epoch = (1 << 62) - 1;
    w.rebuild(0);
    w.elect(0);
    w.items.clear();
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    let work = w.take_run(&ids[0]);
    assert_eq!(work.epoch, 1 << 62);
    assert_eq!(
        w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok)),
        Ok(Reply::Done)
    );
    assert_eq!(w.state(id), TaskState::Succeeded);
    w.check();
}

#[test]
fn each_copy_has_a_log_of_its_own() {
    let (mut w, ids) = world(3);
    let user = identity(20);
    let mut task = task_of(&user, 1);
    task.tier = Tier::Gold;
    let id = w.put(&user, task);
    let copies: Vec<_> = w
        .status(id)
        .copies
        .iter()
        .map(|c| (c.node, c.fence))
        .collect();
    assert_eq!(copies.len(), 3);
    let log = |fence, off, len, stored| Request::Log {
        task: id,
        fence,
        off,
        len,
        stored,
    };
    for (node, fence) in &copies {
        let by = |n| {
            ids.iter()
                .find(|i| i.public().node_id() == n)
                .map(|i| caller(i, false))
                .unwrap()
        };
        let me = by(*node);
        assert_eq!(
            w.ask(me.clone(), log(*fence, 0, 10, 0)),
            Ok(Reply::Log {
                next: 10,
                store: true
            })
        );
        assert_eq!(
            w.ask(me.clone(), log(*fence, 0, 10, 10)),
            Ok(Reply::Log {
                next: 10,
                store: false
            })
        );
        assert_eq!(
            w.refused(me.clone(), log(*fence, 20, 10, 10)),
            RefusalCode::Offset
        );
        assert_eq!(
            w.refused(me.clone(), log(*fence, 0, 65_537, 0)),
            RefusalCode::TooLarge
        );
        let other = copies.iter().find(|(n, _)| n != node).unwrap().0;
        assert_eq!(
            w.refused(by(other), log(*fence, 10, 10, 10)),
            RefusalCode::NotYours
        );
    }
    w.check();
}
