//! The auction: commitments, reveals, cleared rounds, reservations and their money.

use betanet_coordinator::placer::Placer as Place;
use betanet_coordinator::{Item, Reply, Request};
use betanet_fog::bodies::{MarketView, StateRequest};
use betanet_fog::{
    Commitment, NodeState, Order, Outcome, RefusalCode, Resources, Side, Signed, Task, TaskState,
    Tier,
};
use betanet_keys::Identity;

use crate::dangers::W;
use crate::naive::Naive;
use crate::world::{
    Answer, World, amounts, caller, identity, node_of, node_state, receipt, task_of,
};

pub const ROUND: u64 = 300_000;
const LOT: u64 = 2 << 30;

/// Lets time pass until so many ms into the next round.
pub fn into_round<P: Place + Default>(w: &mut World<P>, ids: &[Identity], ms: u64) -> u64 {
    let next = w.unix() / ROUND + 1;
    let left = next * ROUND + ms - w.unix();
    keep_beating(w, ids, left);
    next
}

pub fn order(by: &Identity, round: u64, side: Side, price: u64, qty: u64) -> Order {
    Order {
        by: *by.public().as_bytes(),
        qty,
        salt: [price as u8; 16],
        side,
        tier: Tier::Bronze,
        price,
        round,
    }
}

pub fn sealed(by: &Identity, order: &Order, hold: u64) -> Signed<Commitment> {
    let commitment = Commitment {
        by: order.by,
        hold,
        side: order.side,
        tier: order.tier,
        round: order.round,
        commit: order.commit(),
    };
    Signed::sign(commitment, by).unwrap()
}

pub fn commit<P: Place + Default>(
    w: &mut World<P>,
    by: &Identity,
    of: &Order,
    hold: u64,
) -> Answer {
    let request = Request::Commit(Box::new(sealed(by, of, hold)));
    w.ask(caller(by, false), request)
}

pub fn reveal<P: Place + Default>(w: &mut World<P>, by: &Identity, order: &Order) -> Answer {
    w.ask(caller(by, false), Request::Reveal(order.clone()))
}

pub fn view<P: Place + Default>(w: &mut World<P>, round: u64) -> Box<MarketView> {
    let request = Request::Market {
        tier: Tier::Bronze,
        round,
        after: None,
    };
    match w.ask(caller(&identity(99), false), request) {
        Ok(Reply::Market(view)) => view,
        other => panic!("{other:?}"),
    }
}

/// A node with storage for lots.
fn lessor(id: &Identity, org: &str) -> betanet_fog::Node {
    let mut node = node_of(id, "a", org);
    let mut cap = amounts(4_000, 16 << 30);
    cap.storage = 100 << 30;
    node.cap = Resources::capacity(cap).unwrap();
    node
}

/// A task in the lots of a reservation.
fn rented(owner: &Identity, nonce: u64, rsv: [u8; 16], cpu: u64) -> Task {
    let mut task = task_of(owner, nonce);
    task.rsv = Some(rsv);
    task.res = Resources::demand(amounts(cpu, 1 << 30)).unwrap();
    task.deadline += 20 * 3_600_000;
    task
}

/// Sells two of three lots that `node` asks for, at 60 µ. Returns the reservation.
fn sell<P: Place + Default>(w: &mut World<P>, ids: &[Identity], user: &Identity) -> [u8; 16] {
    let node = &ids[0];
    let round = into_round(w, ids, 1_000);
    let ask = order(node, round, Side::Ask, 60, 3);
    let bid = order(user, round, Side::Bid, 100, 2);
    assert_eq!(commit(w, node, &ask, 3), Ok(Reply::Done));
    assert_eq!(commit(w, user, &bid, 250), Ok(Reply::Done));
    keep_beating(w, ids, 180_000);
    assert_eq!(reveal(w, node, &ask), Ok(Reply::Done));
    assert_eq!(reveal(w, user, &bid), Ok(Reply::Done));
    keep_beating(w, ids, 60_000);
    let view = view(w, round);
    assert_eq!((view.price, view.lots), (60, 2));
    assert_eq!((w.escrow, w.blocked.len()), (120, 0));
    view.matches[0].reservation
}

/// Nodes and a user; nodes go on beating.
pub fn fleet<P: Place + Default>(nodes: u64) -> (World<P>, Vec<Identity>, Identity) {
    let mut w = World::<P>::new(21);
    let ids: Vec<_> = (0..nodes).map(|n| identity(100 + n)).collect();
    for (n, id) in ids.iter().enumerate() {
        w.join(id, lessor(id, &format!("org{n}")));
    }
    (w, ids, identity(20))
}

/// Lets time pass while nodes beat, each 25 s, with the copies that they hold.
pub fn keep_beating<P: Place + Default>(w: &mut World<P>, ids: &[Identity], ms: u64) {
    let end = w.unix() + ms;
    while w.unix() < end {
        for id in ids {
            let node = id.public().node_id();
            let work = w.ask(caller(id, false), Request::Work { node, after: 0 });
            let Ok(Reply::Work(items)) = work else {
                panic!("no stream");
            };
            let have: Vec<_> = items
                .iter()
                .filter_map(|i| match i {
                    Item::Run { work, .. } => Some((work.task, work.fence)),
                    Item::Drop { .. } => None,
                })
                .collect();
            let seq = w.unix();
            w.beat(id, seq, &have).unwrap();
        }
        w.pass(25_000.min(end - w.unix()));
    }
}

fn auction<P: Place + Default>() {
    let (mut w, ids, user) = fleet::<P>(2);
    let rsv = sell(&mut w, &ids, &user);
    let node = ids[0].public().node_id();
    // Two lots are set aside of four cores, so two cores are left for others.
    let list = w.ask(
        caller(&user, false),
        Request::Nodes {
            state: None,
            after: None,
            n: 9,
        },
    );
    let Ok(Reply::Nodes(list)) = list else {
        panic!("no list");
    };
    let free = list.items.iter().find(|n| n.id == node).unwrap().free;
    assert_eq!((free.cpu, free.memory), (2_000, (16 << 30) - 2 * LOT));
    let other = identity(21);
    let foreign = w.submit(&other, rented(&other, 1, rsv, 500)).1;
    assert_eq!(foreign.unwrap_err(), RefusalCode::NotYours.of("rsv"));
    let unknown = w.submit(&user, rented(&user, 1, [1; 16], 500)).1;
    assert_eq!(unknown.unwrap_err(), RefusalCode::Unknown.of("rsv"));
    let mut gold = rented(&user, 1, rsv, 500);
    gold.tier = Tier::Gold;
    let three = w.submit(&user, gold).1;
    assert_eq!(three.unwrap_err(), RefusalCode::BadValue.of("rsv"));
    // Before its hour a task waits for its start.
    let first = w.put(&user, rented(&user, 1, rsv, 1_500));
    assert_eq!(&*w.status(first).why[0].reason, "start");
    w.items.clear();
    let round = into_round(&mut w, &ids, 10);
    let work = w.take_run(&ids[0]);
    assert_eq!(work.task, first);
    // What does not fit the lots waits, though the node and others have room.
    let second = w.put(&user, rented(&user, 2, rsv, 1_000));
    let why = w.status(second).why;
    assert_eq!(
        (&*why[0].reason, why[0].nodes, why.len()),
        ("cpu_free", 1, 1)
    );
    let plain = w.put(&user, task_of(&user, 3));
    assert_eq!(w.state(plain), TaskState::Assigned);
    w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok))
        .unwrap();
    w.pass(1);
    assert_eq!(w.state(second), TaskState::Assigned);
    let status = w.status(first);
    assert_eq!((status.state, status.cost), (TaskState::Succeeded, 0));
    assert_eq!(w.paid.get(&first), None, "the lots are paid for");
    w.check();
    let leaves = w.refused(caller(&ids[0], false), Request::Leave(node));
    assert_eq!(leaves, RefusalCode::InUse);
    let mut small = lessor(&ids[0], "org0");
    small.seq = 2;
    small.cap = Resources::capacity(amounts(1_000, 16 << 30)).unwrap();
    let describe = Request::Describe(Box::new(Signed::sign(small, &ids[0]).unwrap()));
    let shrinks = w.ask(caller(&ids[0], false), describe).unwrap_err();
    assert_eq!(shrinks, RefusalCode::InUse.of("cap"));
    // The tasks end with the hour, and the node is paid.
    let end = round * ROUND + 3_600_000;
    let late = w.put(&user, rented(&user, 4, rsv, 4_000));
    let left = end - w.unix() - 5_000;
    keep_beating(&mut w, &ids, left);
    assert_eq!(w.rented.get(&rsv), None);
    assert_eq!(w.state(late), TaskState::Queued);
    let mut open = rented(&user, 5, rsv, 500);
    open.run_ms = 3_600_000;
    let open = w.put(&user, open);
    let run = |i: Item| match i {
        Item::Run { work, .. } => Some(work),
        Item::Drop { .. } => None,
    };
    let mut items = w.take_items(&ids[0]).into_iter().filter_map(run);
    let work = items.next_back().unwrap();
    assert_eq!(
        (work.task, work.end),
        (open, end),
        "an assignment ends with the hour"
    );
    w.pass(5_010);
    for id in [late, open] {
        assert_eq!(w.end(id), (TaskState::Expired, "deadline".into()));
    }
    assert_eq!((w.rented.get(&rsv), w.escrow), (Some(&false), 0));
    let gone = w.submit(&user, rented(&user, 6, rsv, 500)).1;
    assert_eq!(gone.unwrap_err(), RefusalCode::Unknown.of("rsv"));
    w.pass(100);
    w.check();
    w.machine().audit_capacity().unwrap();
}

#[test]
fn lots_that_were_bought_hold_tasks_for_an_hour_and_for_nothing_more() {
    auction::<betanet_scheduler::Placer>();
}

#[test]
fn a_placer_that_goes_over_all_nodes_keeps_lots_too() {
    auction::<Naive>();
}

#[test]
fn lots_of_a_node_that_fails_are_paid_back_and_its_tasks_end() {
    for state in [NodeState::Offline, NodeState::Draining] {
        let (mut w, ids, user) = fleet::<betanet_scheduler::Placer>(2);
        let rsv = sell(&mut w, &ids, &user);
        into_round(&mut w, &ids, 10);
        let mut keep = rented(&user, 1, rsv, 500);
        keep.offline = betanet_fog::Policy {
            rule: betanet_fog::Offline::Keep,
            ms: 600_000,
        };
        keep.run_ms = 3_000_000;
        let live = w.put(&user, keep);
        let waits = w.put(&user, rented(&user, 2, rsv, 2_000));
        let work = w.take_run(&ids[0]);
        let node = ids[0].public().node_id();
        if state == NodeState::Offline {
            keep_beating(&mut w, &ids[1..], 400_000);
        } else {
            let until = w.unix() + 500_000;
            let asked = StateRequest { to: state, until };
            w.ask(caller(&ids[0], false), Request::State(node, asked))
                .unwrap();
            w.pass(1);
        }
        assert_eq!(node_state(&mut w, &ids[0]), Some(state));
        assert_eq!((w.rented.get(&rsv), w.escrow), (Some(&true), 0));
        assert_eq!(w.end(waits), (TaskState::Cancelled, "dependency".into()));
        assert_eq!(w.state(live), TaskState::Assigned, "its policy says keep");
        w.check();
        let gone = w.submit(&user, rented(&user, 3, rsv, 500)).1;
        assert_eq!(gone.unwrap_err(), RefusalCode::Unknown.of("rsv"));
        // A restored snapshot and another leader agree.
        let other = w.add_member();
        w.elect(other);
        w.pass(10);
        let now = w.unix();
        w.beat(&ids[0], now, &[(live, work.fence)]).unwrap();
        assert_eq!(
            w.done(&ids[0], receipt(&ids[0], &work, Outcome::Ok)),
            Ok(Reply::Done)
        );
        assert_eq!(w.state(live), TaskState::Succeeded);
        // With its last copy the lots are free, and the node may leave.
        assert_eq!(
            w.ask(caller(&ids[0], false), Request::Leave(node)),
            Ok(Reply::Done)
        );
        w.check();
    }
}

#[test]
fn asks_withheld_after_others_were_seen_were_seen_by_nobody() {
    let (mut w, ids, user) = fleet::<betanet_scheduler::Placer>(2);
    let round = into_round(&mut w, &ids, 1_000);
    let asks = [
        order(&ids[0], round, Side::Ask, 60, 1),
        order(&ids[1], round, Side::Ask, 90, 1),
    ];
    let bids = [
        order(&user, round, Side::Bid, 100, 1),
        order(&user, round, Side::Bid, 50, 1),
    ];
    for (at, ask) in asks.iter().enumerate() {
        commit(&mut w, &ids[at], ask, 1).unwrap();
    }
    for bid in &bids {
        commit(&mut w, &user, bid, 1_000).unwrap();
    }
    keep_beating(&mut w, &ids, 180_000);
    // Until the reveals are over, a round shows hashes and sides alone.
    reveal(&mut w, &ids[0], &asks[0]).unwrap();
    reveal(&mut w, &user, &bids[0]).unwrap();
    keep_beating(&mut w, &ids, 58_990);
    let early = view(&mut w, round);
    assert_eq!((early.sealed.len(), early.revealed.len()), (4, 0));
    assert_eq!((early.price, early.lots, early.matches.len()), (0, 0, 0));
    w.pass(10);
    let shown = view(&mut w, round);
    assert_eq!((shown.revealed.len(), shown.matches.len()), (2, 1));
    // Whoever waited for them comes too late.
    let late = reveal(&mut w, &ids[1], &asks[1]).unwrap_err();
    assert_eq!(late, RefusalCode::RoundClosed.of("round"));
    // The ask that was withheld trades nothing, and its lots are free. The bid loses a hundredth of its hold.
    let free = |w: &mut W, n: usize| {
        let request = Request::Nodes {
            state: None,
            after: None,
            n: 9,
        };
        let Ok(Reply::Nodes(list)) = w.ask(caller(&identity(99), false), request) else {
            panic!("no list");
        };
        let id = ids[n].public().node_id();
        list.items.iter().find(|n| n.id == id).unwrap().free.cpu
    };
    assert_eq!([free(&mut w, 0), free(&mut w, 1)], [3_000, 4_000]);
    let lost: Vec<(u64, u64)> = w
        .events
        .iter()
        .filter_map(|e| match e {
            betanet_coordinator::Event::Settled { lost, back, .. } => Some((*lost, *back)),
            _ => None,
        })
        .collect();
    assert_eq!(lost.len(), 2);
    assert!(
        lost.contains(&(10, 990)) && lost.contains(&(0, 920)),
        "{lost:?}"
    );
    w.check();
}

#[test]
fn a_leader_that_changes_during_the_reveals_costs_nobody_a_hold() {
    let (mut w, ids, user) = fleet::<betanet_scheduler::Placer>(1);
    let round = into_round(&mut w, &ids, 1_000);
    let bid = order(&user, round, Side::Bid, 100, 1);
    commit(&mut w, &user, &bid, 1_000).unwrap();
    keep_beating(&mut w, &ids, 200_000);
    let other = w.add_member();
    w.elect(other);
    keep_beating(&mut w, &ids, 60_000);
    let settled = w.events.iter().rev().find_map(|e| match e {
        betanet_coordinator::Event::Settled { lost, back, .. } => Some((*lost, *back)),
        _ => None,
    });
    assert_eq!(settled, Some((0, 1_000)));
    assert_eq!(view(&mut w, round).revealed.len(), 0);
    w.check();
}
