//! Bounds of what accounts can make the machine hold or do.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod common;

use betanet_tokenomics::request::{
    BODY_MAX, EFFECTS_MAX, EVIDENCE_MAX, Effect, Kind, Op, Proof, RECORD_MAX, SIGNERS_MAX,
    TASK_MAX, TRANSFERS_MAX, Transfer,
};
use betanet_tokenomics::{Asset, Code, EVENTS_MAX, HOLDERS_MAX, Request, UNBONDINGS_MAX};
use common::{FOG, NODES, Town, account, bond, delegate, unbond};

fn hold(town: &mut Town, from: u64, ttl: u64) -> Transfer {
    let kind = Kind::Pending {
        from: account(from),
        to: account(from + 1),
        asset: Asset::Fog,
        amt: 1,
        ttl,
        arb: None,
        price: 0,
    };
    Transfer::new(town.id(), false, &kind).unwrap()
}

#[test]
fn requests_are_bounded() {
    let mut town = Town::new(2, 0);
    let fits = |by: &[u64], op: &Op| {
        let by: Vec<_> = by.iter().map(|n| (account(*n), 0)).collect();
        Request::new(&by, 1, [0; 16], op).is_some()
    };
    let list: Vec<Transfer> = (0..=TRANSFERS_MAX).map(|_| hold(&mut town, 0, 1)).collect();
    let of = |n: usize| Op::Transfers {
        list: list[..n].to_vec(),
    };
    assert!(fits(&[0], &of(TRANSFERS_MAX)) && !fits(&[0], &of(TRANSFERS_MAX + 1)));
    let signers: Vec<u64> = (0..=16).collect();
    assert!(fits(&signers[..SIGNERS_MAX], &of(1)) && !fits(&signers, &of(1)));
    let effects = |n: usize| Op::propose(vec![Effect::Text; n], [0; 32]);
    assert!(fits(&[0], &effects(EFFECTS_MAX)) && !fits(&[0], &effects(EFFECTS_MAX + 1)));
    let evidence = |n: usize, record: usize, task: usize| {
        let proof = Proof {
            record: vec![0; record],
            key: [0; 32],
            sig: [0; 64],
        };
        Op::Evidence {
            kind: 2,
            list: vec![proof; n],
            task: vec![0; task],
        }
    };
    assert!(fits(&[0], &evidence(EVIDENCE_MAX, 9, 9)));
    assert!(!fits(&[0], &evidence(EVIDENCE_MAX + 1, 9, 9)));
    assert!(fits(&[0], &evidence(3, RECORD_MAX, TASK_MAX)));
    assert!(!fits(&[0], &evidence(3, RECORD_MAX + 1, 9)));
    assert!(!fits(&[0], &evidence(3, 9, TASK_MAX + 1)));
    assert!(
        !fits(&[0], &evidence(EVIDENCE_MAX, RECORD_MAX, 9)),
        "a body is bounded"
    );
    assert!(Request::from_bytes(&vec![0; BODY_MAX + 1]).is_none());
}

#[test]
fn events_of_a_record_are_bounded() {
    let mut town = Town::new(2, 0);
    // 1 000 holds end in one instant.
    for _ in 0..20 {
        let list: Vec<Transfer> = (0..50).map(|_| hold(&mut town, 0, 60)).collect();
        town.ok(&[0], &Op::Transfers { list });
    }
    town.now += 60_000;
    let pay = town.pay(0, 1, 1);
    let mut ticks = 0;
    while town.code(&[0], &pay) == Code::Busy {
        let before = town
            .economy
            .counters(&account(0), Asset::Fog)
            .debits_pending;
        assert_eq!(town.economy.tick(town.now).unwrap().code, Code::Ok);
        let after = town
            .economy
            .counters(&account(0), Asset::Fog)
            .debits_pending;
        assert_eq!(before - after, EVENTS_MAX as u128);
        ticks += 1;
    }
    // The last 232 happened before the payment.
    assert_eq!(ticks, 3);
    assert_eq!(town.economy.tick(town.now).unwrap().code, Code::TooEarly);
}

#[test]
fn holders_and_unbondings_are_bounded() {
    let mut town = Town::new(HOLDERS_MAX as u64, 1);
    town.ok(&[NODES], &bond(100 * FOG));
    for n in 1..HOLDERS_MAX as u64 {
        town.ok(&[n], &delegate(NODES, FOG));
    }
    assert_eq!(town.code(&[0], &delegate(NODES, FOG)), Code::Limit);
    town.ok(&[1], &delegate(NODES, FOG));
    for n in 0..UNBONDINGS_MAX as u64 {
        town.wait(n + 1);
        town.ok(&[1], &unbond(NODES, 1));
    }
    town.wait(1);
    assert_eq!(town.code(&[1], &unbond(NODES, 1)), Code::Limit);
    town.wait(15 * 86_400_000);
    town.ok(&[1], &unbond(NODES, 1));
}

#[test]
fn of_reservations_for_one_task_the_largest_counts() {
    let mut town = Town::new(2, 0);
    let reserve = |amt: u64, of: u8| Op::Reserve {
        amt,
        credit: 0,
        of: [of; 32],
        kind: 0,
        ttl: 600,
    };
    let me = account(0);
    assert_eq!(town.economy.reserved(&me, 0, &[1; 32]), None);
    for amt in [5, 9, 7] {
        town.ok(&[0], &reserve(amt, 1));
    }
    town.ok(&[0], &reserve(100, 2));
    town.ok(&[1], &reserve(100, 1));
    let found = town.economy.reserved(&me, 0, &[1; 32]).unwrap();
    assert_eq!((found.amt, found.due), (9, town.now + 600_000));
    assert_eq!(town.economy.reserved(&me, 1, &[1; 32]), None);
    // Sixteen are looked at, however many there are.
    for _ in 0..40 {
        town.ok(&[0], &reserve(3, 3));
    }
    assert!(town.economy.reserved(&me, 0, &[3; 32]).is_some());
    town.wait(600_000);
    assert_eq!(town.economy.reserved(&me, 0, &[1; 32]), None);
}

#[test]
fn trying_effects_changes_nothing() {
    let mut town = Town::new(2, 1);
    town.ok(&[NODES], &bond(2_000 * FOG));
    town.wait(2 * betanet_tokenomics::account::DAY_MS);
    let param = betanet_tokenomics::Param::FeeTx;
    let value = town.economy.parameter(param) + 100;
    let pid = town
        .propose(NODES, vec![Effect::Param { param, value }])
        .unwrap();
    let before = town.economy.root();
    assert_eq!(town.economy.try_effects(&pid, town.now), Some(Code::Ok));
    assert_eq!(town.economy.root(), before);
    assert_ne!(town.economy.parameter(param), value);
    assert_eq!(town.economy.try_effects(&[9; 16], town.now), None);
}
