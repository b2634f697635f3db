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
fn a_reservation_is_found_by_its_id_whatever_others_its_client_makes() {
    let mut town = Town::new(2, 0);
    let reserve = |amt: u64, of: u8, kind: u64| Op::Reserve {
        amt,
        credit: 0,
        of: [of; 32],
        kind,
        ttl: 600,
    };
    let (me, other) = (account(0), account(1));
    // Smaller ones and larger ones for the same task, with lower and higher IDs.
    for n in 0..40 {
        town.ok(&[0], &reserve(1 + n, 1, 0));
    }
    let (answer, named) = town.send_kept(&[0], &reserve(9, 1, 0));
    assert_eq!(answer.code, Code::Ok);
    let named = named.id;
    for n in 0..40 {
        town.ok(&[0], &reserve(1 + n, 1, 0));
    }
    let found = |town: &Town, client, kind, of: u8| {
        let found = town.economy.reservation(&named, client, (kind, &[of; 32]));
        found.map(|r| (r.amt, r.due))
    };
    assert_eq!(found(&town, &me, 0, 1), Some((9, town.now + 600_000)));
    // It is nobody else's, and for nothing else.
    assert_eq!(found(&town, &other, 0, 1), None);
    assert_eq!(found(&town, &me, 1, 1), None);
    assert_eq!(found(&town, &me, 0, 2), None);
    town.wait(600_000);
    assert_eq!(found(&town, &me, 0, 1), None);
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
