//! Tallies of open proposals, counted anew.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod common;

use betanet_tokenomics::account::DAY_MS;
use betanet_tokenomics::request::{Effect, Op};
use betanet_tokenomics::{Id, Param};
use common::{FOG, NODES, Town, account, bond, delegate};

/// A vote that is open, on a payment to user 3, who holds stake.
fn open() -> (Town, Id) {
    let mut town = Town::new(10, 3);
    for n in 0..3 {
        town.ok(&[NODES + n], &bond(1_000 * FOG));
    }
    for (user, node, amt) in [
        (0, 0, 700),
        (1, 0, 500),
        (2, 1, 300),
        (3, 1, 900),
        (9, 2, 400),
    ] {
        town.ok(&[user], &delegate(NODES + node, amt * FOG));
    }
    town.wait(DAY_MS);
    let to = account(3);
    let effects = Vec::from([Effect::Spend { to, amt: FOG }]);
    let pid = town.propose(9, effects).unwrap();
    town.wait(DAY_MS);
    (town, pid)
}

#[test]
fn every_order_of_votes_counts_the_same_and_a_wrong_tally_is_found() {
    let votes = [
        (0, 0),
        (NODES, 1),
        (1, 2),
        (NODES + 1, 0),
        (2, 1),
        (NODES + 2, 2),
    ];
    for from in 0..votes.len() {
        let (mut town, pid) = open();
        for step in 0..votes.len() {
            let (by, v) = votes[(from + step) % votes.len()];
            town.ok(&[by], &Op::Vote { pid, v });
            town.economy.audit_tallies().unwrap();
            // Stake that comes or goes later changes nothing.
            town.ok(&[8], &delegate(NODES, FOG));
            town.economy.audit_tallies().unwrap();
        }
    }
    let (mut town, pid) = open();
    town.ok(&[0], &Op::Vote { pid, v: 1 });
    town.economy.audit_tallies().unwrap();
    town.economy.miscount(&pid, 1);
    // No sum of money is wrong, so only a count of the votes finds it.
    town.economy.audit().unwrap();
    let found = town.economy.audit_tallies().unwrap_err();
    assert_eq!(found.law, "votes for a proposal are their sum");
    assert_eq!(found.left, found.right + 1);
}

#[test]
fn an_ended_vote_is_not_counted_again() {
    let (mut town, pid) = open();
    town.ok(&[0], &Op::Vote { pid, v: 1 });
    town.wait(9 * DAY_MS);
    assert!(town.economy.parameter(Param::VoteMs) < 9 * DAY_MS);
    town.economy.audit_tallies().unwrap();
}
