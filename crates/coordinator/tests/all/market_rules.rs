//! What the auction refuses, and the bounds of its books.

use betanet_coordinator::{Reply, Request};
use betanet_fog::{Commitment, RefusalCode, Side, Signed, Tier};
use betanet_keys::Identity;

use crate::dangers::world;
use crate::market::{ROUND, commit, fleet, into_round, keep_beating, order, reveal, sealed};
use crate::world::{Answer, World, caller, identity};

#[test]
fn orders_out_of_time_or_other_than_promised_are_refused() {
    let (mut w, ids, user) = fleet::<betanet_scheduler::Placer>(1);
    let round = into_round(&mut w, &ids, 1_000);
    let node = &ids[0];
    let bid = order(&user, round, Side::Bid, 100, 2);
    let ask = order(node, round, Side::Ask, 60, 3);
    let code = |answer: Answer| answer.unwrap_err();
    let stranger = caller(&identity(21), false);
    let request = Request::Commit(Box::new(sealed(&user, &bid, 200)));
    assert_eq!(
        code(w.ask(stranger, request)),
        RefusalCode::NotYours.of("by")
    );
    let mut nobody = caller(&user, false);
    nobody.namespaces.clear();
    let request = Request::Commit(Box::new(sealed(&user, &bid, 200)));
    assert_eq!(code(w.ask(nobody, request)), RefusalCode::Role.of("by"));
    let no_node = order(&user, round, Side::Ask, 60, 1);
    assert_eq!(
        code(commit(&mut w, &user, &no_node, 1)),
        RefusalCode::Role.of("by")
    );
    // Four cores are three lots and one more, and no fifth.
    assert_eq!(
        code(commit(&mut w, node, &ask, 0)),
        RefusalCode::BadValue.of("hold")
    );
    assert_eq!(
        code(commit(&mut w, node, &ask, 5)),
        RefusalCode::InUse.of("hold")
    );
    assert_eq!(commit(&mut w, node, &ask, 3), Ok(Reply::Done));
    assert_eq!(commit(&mut w, node, &ask, 3), Ok(Reply::Done), "again");
    let more = order(node, round, Side::Ask, 61, 2);
    assert_eq!(
        code(commit(&mut w, node, &more, 2)),
        RefusalCode::InUse.of("hold")
    );
    assert_eq!(commit(&mut w, &user, &bid, 150), Ok(Reply::Done));
    assert_eq!(
        code(commit(&mut w, &user, &bid, 151)),
        RefusalCode::InUse.of("commit")
    );
    let mut late = bid.clone();
    late.round = round - 1;
    assert_eq!(
        code(commit(&mut w, &user, &late, 200)),
        RefusalCode::RoundClosed.of("round")
    );
    let mut gold = order(&user, round, Side::Bid, 7, 1);
    gold.tier = Tier::Gold;
    let lie = Commitment {
        by: gold.by,
        hold: 100,
        side: gold.side,
        tier: Tier::Bronze,
        round,
        commit: gold.commit(),
    };
    let lie = Request::Commit(Box::new(Signed::sign(lie, &user).unwrap()));
    assert_eq!(w.ask(caller(&user, false), lie), Ok(Reply::Done));
    assert_eq!(
        code(reveal(&mut w, &user, &bid)),
        RefusalCode::RoundClosed.of("round"),
        "too early"
    );
    keep_beating(&mut w, &ids, 180_000);
    let other = order(&user, round, Side::Bid, 100, 3);
    assert_eq!(
        code(commit(&mut w, &user, &other, 300)),
        RefusalCode::RoundClosed.of("round")
    );
    assert_eq!(
        code(reveal(&mut w, &user, &other)),
        RefusalCode::CommitMismatch.of("commit")
    );
    assert_eq!(
        code(reveal(&mut w, &user, &gold)),
        RefusalCode::CommitMismatch.of("tier")
    );
    assert_eq!(
        code(reveal(&mut w, &user, &bid)),
        RefusalCode::BadValue.of("hold"),
        "it holds less than its price"
    );
    assert_eq!(
        code(w.ask(caller(&user, false), Request::Reveal(ask.clone()))),
        RefusalCode::NotYours.of("by")
    );
    assert_eq!(reveal(&mut w, node, &ask), Ok(Reply::Done));
    assert_eq!(reveal(&mut w, node, &ask), Ok(Reply::Done), "again");
    keep_beating(&mut w, &ids, 60_000);
    assert_eq!(
        code(reveal(&mut w, node, &ask)),
        RefusalCode::RoundClosed.of("round")
    );
    w.check();
}

#[test]
fn one_key_commits_to_a_hash_in_one_round_and_tier_alone() {
    let (mut w, ids, user) = fleet::<betanet_scheduler::Placer>(1);
    let round = into_round(&mut w, &ids, 1_000);
    let bid = order(&user, round, Side::Bid, 100, 2);
    let in_use = Err(RefusalCode::InUse.of("commit"));
    type Fog = World<betanet_scheduler::Placer>;
    let seal = |w: &mut Fog, by: &Identity, round, tier| {
        let commitment = Commitment {
            by: *by.public().as_bytes(),
            hold: 1,
            side: Side::Bid,
            tier,
            round,
            commit: bid.commit(),
        };
        let request = Request::Commit(Box::new(Signed::sign(commitment, by).unwrap()));
        w.ask(caller(by, false), request)
    };
    assert_eq!(commit(&mut w, &user, &bid, 200), Ok(Reply::Done));
    assert_eq!(seal(&mut w, &user, round, Tier::Gold), in_use);
    // A stranger who saw the hash has no part in it, and does not keep its owner from it.
    let stranger = identity(21);
    assert_eq!(seal(&mut w, &stranger, round, Tier::Gold), Ok(Reply::Done));
    assert_eq!(seal(&mut w, &stranger, round, Tier::Silver), in_use);
    assert_eq!(commit(&mut w, &user, &bid, 200), Ok(Reply::Done), "again");
    let next = into_round(&mut w, &ids, 1_000);
    assert_eq!(next, round + 1);
    assert_eq!(seal(&mut w, &user, next, Tier::Bronze), in_use);
    assert_eq!(seal(&mut w, &user, next, Tier::Gold), in_use);
    w.check();
}

#[test]
fn books_have_bounds_and_come_in_pages_and_are_forgotten() {
    let (mut w, ids) = world(1);
    let round = into_round(&mut w, &ids, 1_000);
    let users: Vec<_> = (0..600).map(|n| identity(5_000 + n)).collect();
    let mut orders = Vec::new();
    for user in &users {
        for n in 0..2 {
            let bid = order(user, round, Side::Bid, 10 + n, 1);
            commit(&mut w, user, &bid, 100).unwrap();
            orders.push(bid);
        }
    }
    for n in 2..8 {
        let bid = order(&users[0], round, Side::Bid, 10 + n, 1);
        commit(&mut w, &users[0], &bid, 100).unwrap();
    }
    let ninth = order(&users[0], round, Side::Bid, 20, 1);
    let refused = commit(&mut w, &users[0], &ninth, 100).unwrap_err();
    assert_eq!(refused, RefusalCode::Quota.bare());
    let (mut after, mut all) = (None, Vec::new());
    loop {
        let request = Request::Market {
            tier: Tier::Bronze,
            round,
            after,
        };
        let Ok(Reply::Market(page)) = w.ask(caller(&ids[0], false), request) else {
            panic!("no page");
        };
        assert!(page.sealed.len() <= 1_000);
        all.extend(page.sealed.iter().map(|s| s.commit));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 1_206);
    assert!(all.is_sorted() && orders.iter().all(|o| all.contains(&o.commit())));
    let empty = Request::Market {
        tier: Tier::Gold,
        round,
        after: None,
    };
    assert!(w.ask(caller(&ids[0], false), empty).is_ok());
    for old in [round + 1, round - 15] {
        let request = Request::Market {
            tier: Tier::Bronze,
            round: old,
            after: None,
        };
        let refused = w.refused(caller(&ids[0], false), request);
        assert_eq!(refused, RefusalCode::Unknown);
    }
    w.jump(20 * ROUND);
    let now = into_round(&mut w, &ids, 1_000);
    let bid = order(&users[0], now, Side::Bid, 1, 1);
    commit(&mut w, &users[0], &bid, 100).unwrap();
    w.pass(240_000);
    let old = Request::Market {
        tier: Tier::Bronze,
        round,
        after: None,
    };
    assert_eq!(w.refused(caller(&ids[0], false), old), RefusalCode::Unknown);
    assert!(w.blocked.is_empty());
    w.check();
}
