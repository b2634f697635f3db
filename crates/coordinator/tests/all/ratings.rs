//! What a ledger of tokens says of nodes.

use betanet_coordinator::{RATED_MAX, Rating, Ratings, Reply, Request};
use betanet_fog::{NodeState, Outcome, RefusalCode, TaskState};
use betanet_keys::Identity;
use betanet_wire::NodeId;

use crate::dangers::W;
use crate::world::{caller, identity, node_of, node_state, receipt, task_of};

fn rate(w: &mut W, of: &[(&Identity, u32, bool)]) {
    let mut nodes: Vec<(NodeId, Rating)> = of
        .iter()
        .map(|(id, rep, jailed)| {
            let (rep, jailed) = (*rep, *jailed);
            (id.public().node_id(), Rating { rep, jailed })
        })
        .collect();
    nodes.sort_by_key(|(id, _)| *id);
    let page = Ratings {
        after: None,
        nodes,
        end: true,
    };
    let operator = caller(&w.operator.clone(), true);
    assert_eq!(w.ask(operator, Request::Rate(page)), Ok(Reply::Done));
}

fn kinds(w: &W) -> usize {
    let entries = w.journal.entries.iter();
    entries.filter(|e| e.kind == "rated").count()
}

#[test]
fn a_jailed_node_gets_no_task_and_one_whose_jail_ended_does() {
    let mut w = W::new(31);
    let (node, user) = (identity(10), identity(20));
    // The ledger may know a node before the fog does.
    rate(&mut w, &[(&node, 50_000, true)]);
    w.join(&node, node_of(&node, "a", "acme"));
    assert_eq!(node_state(&mut w, &node), Some(NodeState::Active));
    let id = w.put(&user, task_of(&user, 1));
    w.pass(1_000);
    assert_eq!(w.state(id), TaskState::Queued);
    rate(&mut w, &[(&node, 50_000, false)]);
    w.pass(1);
    assert_eq!(w.state(id), TaskState::Assigned);
    let work = w.take_run(&node);
    w.start(&node, &work).unwrap();
    assert_eq!(
        w.done(&node, receipt(&node, &work, Outcome::Ok)),
        Ok(Reply::Done)
    );
    assert_eq!(w.state(id), TaskState::Succeeded);
    w.check();
}

#[test]
fn copies_of_a_node_that_is_jailed_go_to_another() {
    let mut w = W::new(32);
    let (a, b, user) = (identity(10), identity(11), identity(20));
    w.join(&a, node_of(&a, "a", "acme"));
    let id = w.put(&user, task_of(&user, 1));
    let work = w.take_run(&a);
    w.join(&b, node_of(&b, "b", "beta"));
    rate(&mut w, &[(&a, 0, true), (&b, 100_000, false)]);
    w.pass(1);
    let again = w.take_run(&b);
    assert_eq!((again.task, again.copy), (id, 1));
    let late = w.done(&a, receipt(&a, &work, Outcome::Ok));
    assert_eq!(late.unwrap_err().code, RefusalCode::FenceStale);
    w.check();
}

#[test]
fn reputation_is_at_most_that_of_the_ledger() {
    let mut w = W::new(33);
    let (node, user) = (identity(10), identity(20));
    w.join(&node, node_of(&node, "a", "acme"));
    let seen = |w: &mut W| {
        let all = Request::Nodes {
            state: None,
            after: None,
            n: 10,
        };
        match w.ask(caller(&user, false), all) {
            Ok(Reply::Nodes(list)) => list.items[0].rep,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen(&mut w), 0);
    // What the ledger says alone earns nothing here.
    rate(&mut w, &[(&node, 900_000, false)]);
    assert_eq!(seen(&mut w), 0);
    w.check();
}

#[test]
fn only_what_changes_is_journaled_and_who_is_not_listed_is_forgotten() {
    let mut w = W::new(34);
    let (a, b) = (identity(10), identity(11));
    w.join(&a, node_of(&a, "a", "acme"));
    let both = [(&a, 1, true), (&b, 2, false)];
    rate(&mut w, &both);
    assert_eq!(kinds(&w), 1);
    rate(&mut w, &both);
    assert_eq!(kinds(&w), 1);
    rate(&mut w, &[(&b, 2, false)]);
    assert_eq!(kinds(&w), 2);
    let user = identity(20);
    let id = w.put(&user, task_of(&user, 1));
    assert_eq!(w.state(id), TaskState::Assigned);
    w.check();
}

#[test]
fn ratings_come_from_the_operator_in_pages_in_order() {
    let mut w = W::new(35);
    let rating = Rating {
        rep: 1,
        jailed: true,
    };
    let page = |nodes: Vec<(NodeId, Rating)>| {
        Request::Rate(Ratings {
            after: None,
            nodes,
            end: true,
        })
    };
    let operator = caller(&w.operator.clone(), true);
    let one = page(vec![(NodeId([1; 20]), rating)]);
    assert_eq!(
        w.refused(caller(&identity(20), false), one),
        RefusalCode::Role
    );
    let back = [2, 1].map(|n| (NodeId([n; 20]), rating));
    assert_eq!(
        w.refused(operator.clone(), page(back.into())),
        RefusalCode::BadValue
    );
    let long = (0..=u8::MAX).map(|n| (NodeId([n; 20]), rating));
    let mut long: Vec<_> = long.collect();
    assert_eq!(long.len(), RATED_MAX);
    let mut last = [u8::MAX; 20];
    last[19] -= 1;
    long.insert(RATED_MAX - 1, (NodeId(last), rating));
    assert_eq!(w.refused(operator, page(long)), RefusalCode::BadValue);
    assert_eq!(kinds(&w), 0);
    w.check();
}
