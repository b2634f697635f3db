use betanet_fog::{Outcome, to_vec};
use betanet_fog_client::testkit;
use betanet_keys::Identity;

use super::*;
use crate::items::of_bid;

const ROUND: u64 = 7;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn order(n: u8, side: Side, price: u64) -> Order {
    Order {
        by: *identity(n).public().as_bytes(),
        qty: 1,
        salt: [n; 16],
        side,
        tier: Tier::Bronze,
        price,
        round: ROUND,
    }
}

fn key(order: &Order) -> BidKey {
    BidKey {
        round: order.round,
        tier: order.tier,
        commit: order.commit(),
        by: order.by,
    }
}

fn note(bills: &mut Bills, change: Change) -> Vec<News> {
    let index = bills.last + 1;
    bills.take(index, &Record { ts: 1, change })
}

fn seal(bills: &mut Bills, n: u8, order: &Order, hold: u64) {
    seal_as(bills, n, (order.commit(), order.side), (key(order), hold));
}

fn seal_as(bills: &mut Bills, n: u8, (commit, side): (Digest, Side), (of, hold): (BidKey, u64)) {
    let commitment = Commitment {
        by: *identity(n).public().as_bytes(),
        hold,
        side,
        tier: of.tier,
        round: of.round,
        commit,
    };
    let signed = Signed::sign(commitment, &identity(n)).unwrap();
    let claim = Claim::of_bid(&signed);
    let commitment = signed.to_bytes().into();
    let news = note(bills, Change::Sealed { commitment });
    let opened = (side == Side::Bid).then_some(News::Opened(claim));
    assert_eq!(news, Vec::from_iter(opened));
}

fn clear(bills: &mut Bills, round: u64, tier: Tier, spared: bool) -> Vec<News> {
    let change = Change::Cleared {
        round,
        tier,
        spared,
    };
    note(bills, change)
}

fn reveal(bills: &mut Bills, order: &Order) {
    let order = to_vec(order).into();
    note(bills, Change::Revealed { order });
}

#[test]
fn a_bid_pays_for_lots_that_were_served_and_for_its_silence() {
    let mut bills = Bills::after(4);
    assert_eq!(bills.needs_from(), 5);
    let (bid, ask) = (order(1, Side::Bid, 900), order(2, Side::Ask, 700));
    let silent = order(3, Side::Bid, 500);
    seal(&mut bills, 1, &bid, 1_000);
    seal(&mut bills, 2, &ask, 1);
    seal(&mut bills, 3, &silent, 600);
    reveal(&mut bills, &bid);
    reveal(&mut bills, &ask);
    assert_eq!(bills.needs_from(), 5);
    let news = clear(&mut bills, ROUND, Tier::Bronze, false);
    assert_eq!(news, [News::Ended(Bill::Bid(key(&silent)))]);
    let lots = bills.bids[&key(&bid)].lots.clone();
    assert_eq!(
        (lots.len(), lots[0].node),
        (1, identity(2).public().node_id())
    );
    // The hour is not over.
    assert!(!bills.bids[&key(&bid)].is_over());
    // The one that was silent owes a hundredth of its hold, at once.
    let owed = of_bid(&bills.bids[&key(&silent)]).items;
    assert!(bills.bids[&key(&silent)].is_over());
    assert_eq!(owed.iter().map(|i| i.pay).sum::<u64>(), 6);
    assert_eq!(owed[0].to, betanet_tokenomics::account::TREASURY);

    let news = note(&mut bills, Change::Over { id: lots[0].id });
    assert_eq!(news, [News::Ended(Bill::Bid(key(&bid)))]);
    let row = &bills.bids[&key(&bid)];
    let paid = of_bid(row).items;
    assert!(row.is_over());
    assert_eq!(
        (paid.len(), paid[0].pay, paid[0].to),
        (1, lots[0].amount, lots[0].node)
    );
    assert!((700..=900).contains(&paid[0].pay));

    // Lots that were paid back cost nothing.
    let mut void = row.clone();
    void.lots[0].void = true;
    assert!(of_bid(&void).items.is_empty());
}

#[test]
fn a_spared_bid_owes_nothing() {
    let mut bills = Bills::default();
    let silent = order(3, Side::Bid, 500);
    seal(&mut bills, 3, &silent, 600);
    clear(&mut bills, ROUND, Tier::Bronze, true);
    assert!(of_bid(&bills.bids[&key(&silent)]).items.is_empty());
}

#[test]
fn a_hash_that_is_sealed_elsewhere_or_by_others_leaves_a_bid_as_it_is() {
    let (bid, ask) = (order(1, Side::Bid, 900), order(2, Side::Ask, 700));
    let of = |round, tier| BidKey {
        round,
        tier,
        ..key(&bid)
    };
    let decoys = [
        (1, of(ROUND, Tier::Gold)),
        (1, of(ROUND + 1, Tier::Bronze)),
        (3, of(ROUND, Tier::Silver)),
    ];
    // The decoys are cleared before, or after.
    for first in [true, false] {
        let mut bills = Bills::default();
        seal(&mut bills, 1, &bid, 1_000);
        seal(&mut bills, 2, &ask, 1);
        for (n, decoy) in decoys {
            seal_as(&mut bills, n, (bid.commit(), Side::Bid), (decoy, 1));
        }
        reveal(&mut bills, &bid);
        reveal(&mut bills, &ask);
        let clear_decoys = |bills: &mut Bills| {
            for (n, decoy) in decoys {
                let by = *identity(n).public().as_bytes();
                let ended = News::Ended(Bill::Bid(BidKey { by, ..decoy }));
                let news = clear(bills, decoy.round, decoy.tier, false);
                assert_eq!(news, [ended]);
            }
        };
        if first {
            clear_decoys(&mut bills);
        }
        assert_eq!(clear(&mut bills, ROUND, Tier::Bronze, false), []);
        if !first {
            clear_decoys(&mut bills);
        }
        let row = &bills.bids[&key(&bid)];
        assert_eq!((row.lots.len(), row.is_over()), (1, false));
        assert_eq!(row.claim.amount, 1_000);
        let id = row.lots[0].id;
        let news = note(&mut bills, Change::Over { id });
        assert_eq!(news, [News::Ended(Bill::Bid(key(&bid)))]);
        let row = &bills.bids[&key(&bid)];
        assert_eq!(of_bid(row).items[0].pay, row.lots[0].amount);
        assert_eq!(bills.bids.len(), 4);
    }
}

#[test]
fn a_bid_needs_the_records_of_all_orders_of_its_round() {
    let mut bills = Bills::after(4);
    let (ask, bid) = (order(2, Side::Ask, 700), order(1, Side::Bid, 900));
    seal(&mut bills, 2, &ask, 1);
    seal(&mut bills, 1, &bid, 1_000);
    reveal(&mut bills, &bid);
    reveal(&mut bills, &ask);
    clear(&mut bills, ROUND, Tier::Bronze, false);
    assert_eq!(bills.bids[&key(&bid)].lots.len(), 1);
    assert_eq!(bills.needs_from(), 5);
}

#[test]
fn what_began_in_records_that_are_gone_is_told_and_dropped_by_name() {
    let mut bills = Bills::after(4);
    let (bid, ask) = (order(1, Side::Bid, 900), order(2, Side::Ask, 700));
    seal(&mut bills, 1, &bid, 1_000);
    seal(&mut bills, 2, &ask, 1);
    // A round that is not cleared keeps its orders.
    assert_eq!(bills.began_by(6), []);
    reveal(&mut bills, &bid);
    reveal(&mut bills, &ask);
    clear(&mut bills, ROUND, Tier::Bronze, false);
    let bill = Bill::Bid(key(&bid));
    assert_eq!(bills.began_by(4), []);
    let began = bills.began_by(5);
    assert_eq!(
        (began.len(), began[0].0, began[0].1.amount),
        (1, bill, 1_000)
    );
    // Its lots are in memory.
    assert!(!bills.pays_by(&bill, 9));
    bills.drop_all(&[bill]);
    assert!(!bills.has(&bill) && bills.rents.is_empty());
    assert_eq!(bills.needs_from(), 10);
}

/// A receipt of a task's copy with this fence and number, by a node.
fn receipt(task: &Signed<Task>, n: u8, fence: u64, copy: u64) -> Signed<Receipt> {
    let receipt = Receipt {
        inputs: [1; 32],
        key: *identity(n).public().as_bytes(),
        end: 2,
        out: Some([8; 32]),
        copy,
        fuel: 1_000,
        task: task.id(),
        epoch: 1,
        fence,
        start: 1,
        engine: "test".parse().unwrap(),
        module: task.module.digest,
        status: Outcome::Ok,
    };
    Signed::sign(receipt, &identity(n)).unwrap()
}

#[test]
fn a_receipt_counts_for_a_copy_that_was_assigned_to_its_node() {
    let owner = identity(1);
    let of = |nonce| Signed::sign(testkit::task(&owner, nonce, 1), &owner).unwrap();
    let (task, other) = (of(1), of(2));
    let mut bills = Bills::default();
    for task in [&task, &other] {
        let accepted = Change::Accepted {
            task: task.to_bytes().into(),
            cost: 5,
        };
        note(&mut bills, accepted);
    }
    // The copies 0 and 1 go to the nodes 2 and 3: their fences are 3 and 4.
    for (no, n) in [(0, 2), (1, 3)] {
        let assigned = Change::Assigned {
            task: task.id(),
            no,
            node: identity(n).public().node_id(),
            devices: 0,
            end: 9,
            factor: 500_000,
            cost: 5,
            elsewhere: false,
        };
        note(&mut bills, assigned);
    }
    let returned = |task: &Signed<Task>, fence, receipt: &Signed<Receipt>| Change::Returned {
        task: task.id(),
        fence,
        receipt: receipt.to_bytes().into(),
        alone: false,
    };
    // A leader that lies writes down receipts of copies, nodes and tasks that were not assigned.
    let lies = [
        returned(&task, 9, &receipt(&task, 2, 9, 0)),
        returned(&task, 3, &receipt(&task, 4, 3, 0)),
        returned(&task, 3, &receipt(&task, 2, 3, 1)),
        returned(&task, 3, &receipt(&task, 2, 4, 0)),
        returned(&task, 4, &receipt(&task, 2, 4, 1)),
        returned(&task, 3, &receipt(&other, 2, 3, 0)),
        returned(&other, 3, &receipt(&other, 2, 3, 0)),
        Change::Evidence {
            task: task.id(),
            fence: 9,
            receipt: receipt(&task, 2, 9, 0).to_bytes().into(),
        },
        Change::Returned {
            task: task.id(),
            fence: 3,
            receipt: [0xff; 9].into(),
            alone: false,
        },
    ];
    for lie in lies {
        note(&mut bills, lie);
        assert_eq!(bills.tasks[&task.id()].returned, []);
        assert_eq!(bills.tasks[&other.id()].returned, []);
    }
    let last = bills.last;
    note(&mut bills, returned(&task, 3, &receipt(&task, 2, 3, 0)));
    let late = Change::Evidence {
        task: task.id(),
        fence: 4,
        receipt: receipt(&task, 3, 4, 1).to_bytes().into(),
    };
    note(&mut bills, late);
    let work = &bills.tasks[&task.id()];
    assert_eq!(work.returned, [(3, last + 1), (4, last + 2)]);
}
