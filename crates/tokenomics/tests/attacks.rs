//! Attacks on the economy, each of which must fail.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod common;

use betanet_tokenomics::account::DAY_MS;
use betanet_tokenomics::request::{Effect, Op};
use betanet_tokenomics::{Code, Id, Param, Role};
use common::{FOG, NODES, OFFICERS, Town, account, bond, delegate, key, unbond};

const DAY: u64 = DAY_MS;

fn vote(pid: Id, v: u64) -> Op {
    Op::Vote { pid, v }
}

/// Two nodes with stake of users 0 to 3, a day later. User 9 has stake of its own to propose with.
fn voters() -> Town {
    let mut town = Town::new(10, 3);
    town.ok(&[NODES], &bond(2_000 * FOG));
    town.ok(&[NODES + 1], &bond(1_000 * FOG));
    town.ok(&[0], &delegate(NODES, 3_000 * FOG));
    town.ok(&[1], &delegate(NODES, 1_700 * FOG));
    town.ok(&[2], &delegate(NODES + 1, 2_000 * FOG));
    town.ok(&[9], &delegate(NODES + 1, 1_000 * FOG));
    town.wait(DAY);
    town
}

fn fee(value: u64) -> Vec<Effect> {
    let param = Param::FeePpm;
    Vec::from([Effect::Param { param, value }])
}

fn spend(to: u64, amt: u64) -> Effect {
    let to = account(to);
    Effect::Spend { to, amt }
}

/// A proposal that both nodes vote for, at the moment when its vote has ended.
fn passed(town: &mut Town, effects: Vec<Effect>) -> Id {
    let pid = town.propose(9, effects).unwrap();
    town.wait(DAY);
    town.ok(&[NODES], &vote(pid, 1));
    town.ok(&[NODES + 1], &vote(pid, 1));
    town.wait(7 * DAY);
    pid
}

#[test]
fn stake_that_was_bonded_for_a_vote_does_not_count() {
    let mut town = voters();
    town.ok(&[4], &delegate(NODES, 9_000 * FOG));
    assert_eq!(town.propose(4, fee(10_000)), Err(Code::LowPower));
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(DAY);
    assert_eq!(town.code(&[4], &vote(pid, 1)), Code::LowPower);
}

#[test]
fn coins_that_move_after_a_vote_do_not_vote_again() {
    let mut town = voters();
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(DAY);
    town.ok(&[0], &vote(pid, 1));
    town.ok(&[0], &unbond(NODES, 3_000 * FOG));
    let pay = town.pay(0, 5, 6_000 * FOG);
    town.ok(&[0], &pay);
    town.ok(&[5], &delegate(NODES, 6_000 * FOG));
    assert_eq!(town.code(&[5], &vote(pid, 1)), Code::LowPower);
    assert_eq!(town.code(&[0], &vote(pid, 1)), Code::Once);
}

#[test]
fn stake_counts_once_whether_holder_or_node_votes_first() {
    let tally = |holder_first: bool| {
        let mut town = voters();
        let pid = town.propose(9, fee(10_000)).unwrap();
        town.wait(DAY);
        let order: [u64; 2] = if holder_first { [0, NODES] } else { [NODES, 0] };
        for by in order {
            town.ok(&[by], &vote(pid, u64::from(by == NODES)));
        }
        let mut key = pid.to_vec();
        key.extend_from_slice(&account(NODES).0);
        town.economy.value(11, &key).unwrap()
    };
    assert_eq!(tally(true), tally(false));
}

#[test]
fn a_node_that_delegates_to_a_node_lends_no_stake_on() {
    let mut town = Town::new(10, 3);
    for n in 0..3 {
        town.ok(&[NODES + n], &bond(1_000 * FOG));
    }
    // A circle of delegations.
    for n in 0..3 {
        town.ok(&[NODES + n], &delegate(NODES + (n + 1) % 3, 500 * FOG));
    }
    town.ok(&[0], &delegate(NODES, 700 * FOG));
    town.wait(DAY);
    let pid = town.propose(NODES, fee(10_000)).unwrap();
    town.wait(DAY);
    for n in 0..3 {
        town.ok(&[NODES + n], &vote(pid, 1));
    }
    // All votes together are all stake: nothing counted twice.
    let row = town.economy.value(10, &pid).unwrap();
    let all = 3 * 1_000 * FOG + 3 * 500 * FOG + 700 * FOG;
    let mut w = betanet_wire::cbor::Writer::default();
    w.unsigned(all);
    let all = w.into_vec();
    assert!(row.windows(all.len()).any(|part| part == all));
}

#[test]
fn a_quorum_at_the_last_minute_gives_the_others_time() {
    let mut town = voters();
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(8 * DAY - 1);
    town.ok(&[NODES], &vote(pid, 1));
    // Two days more for those who are against.
    town.wait(2 * DAY - 1);
    for by in [0, 1, 2, 9] {
        town.ok(&[by], &vote(pid, 0));
    }
    town.wait(1);
    assert_eq!(town.code(&[0], &Op::Execute { pid }), Code::Over);
}

#[test]
fn a_lower_quorum_revives_no_proposal() {
    let mut town = voters();
    let param = Param::QuorumPpm;
    let value = 150_000;
    let lower = Vec::from([Effect::Param { param, value }]);
    let lower = passed(&mut town, lower);
    // 16 % vote for this one, under 20 %.
    let pid = town.propose(0, Vec::from([Effect::Text])).unwrap();
    town.wait(3 * DAY);
    town.ok(&[0], &Op::Execute { pid: lower });
    assert_eq!(town.economy.parameter(param), value);
    town.ok(&[1], &vote(pid, 1));
    town.wait(5 * DAY);
    assert_eq!(town.code(&[0], &Op::Execute { pid }), Code::Over);
}

#[test]
fn a_copy_of_a_proposal_is_cancelled_alone() {
    let mut town = voters();
    let pid = town.propose(9, fee(10_000)).unwrap();
    let copy = town.propose(0, fee(10_000)).unwrap();
    assert_ne!(pid, copy);
    assert_eq!(town.code(&[0], &Op::Cancel { pid }), Code::NotAllowed);
    town.ok(&[0], &Op::Cancel { pid: copy });
    town.wait(DAY);
    town.ok(&[NODES], &vote(pid, 1));
    // Neither did the cancelled effect begin a rest.
    assert!(town.propose(0, fee(10_000)).is_ok());
}

#[test]
fn a_payment_behind_a_text_excludes_its_payee_too() {
    let mut town = voters();
    let pid = town
        .propose(9, Vec::from([Effect::Text, spend(0, FOG)]))
        .unwrap();
    town.wait(DAY);
    assert_eq!(town.code(&[0], &vote(pid, 1)), Code::Conflict);
}

#[test]
fn nothing_shortens_the_timelock() {
    let mut town = voters();
    let pid = passed(&mut town, Vec::from([spend(5, FOG)]));
    town.wait(3 * DAY - 1);
    assert_eq!(town.code(&[5], &Op::Execute { pid }), Code::TooEarly);
    // The same again is another proposal, with times of its own.
    let again = town.propose(0, Vec::from([spend(5, FOG)])).unwrap();
    assert_eq!(town.code(&[5], &Op::Execute { pid: again }), Code::TooEarly);
    town.wait(1);
    town.ok(&[5], &Op::Execute { pid });
    assert_eq!(town.code(&[5], &Op::Execute { pid }), Code::Over);
}

#[test]
fn an_execution_that_fails_half_way_does_nothing() {
    let mut town = voters();
    let freeze = Effect::Freeze {
        id: account(6),
        on: true,
    };
    let too_much = spend(5, 900_000 * FOG);
    let pid = passed(&mut town, Vec::from([freeze, spend(5, FOG), too_much]));
    town.wait(3 * DAY);
    let (root, before) = (town.economy.root(), town.fog(5));
    assert_eq!(town.code(&[6], &Op::Execute { pid }), Code::Bounds);
    assert_eq!((town.economy.root(), town.fog(5)), (root, before));
    let pay = town.pay(6, 5, 1);
    town.ok(&[6], &pay);
}

#[test]
fn a_new_key_gives_no_second_vote() {
    let mut town = voters();
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(DAY);
    town.ok(&[0], &vote(pid, 1));
    town.ok(&[0], &Op::Rekey { key: key(77) });
    assert_eq!(town.code(&[0], &vote(pid, 0)), Code::Once);
}

#[test]
fn proposals_cost_and_are_few() {
    let mut town = voters();
    let before = town.fog(9);
    town.propose(9, fee(10_000)).unwrap();
    assert_eq!(before - town.fog(9), u128::from(500 * FOG + 100));
    assert_eq!(town.propose(9, fee(20_000)), Err(Code::Limit));
    // Nobody votes: the deposit burns, and the effect rests.
    town.wait(8 * DAY);
    assert_eq!(before - town.fog(9), u128::from(500 * FOG + 100));
    assert_eq!(town.propose(9, fee(10_000)), Err(Code::Cooldown));
}

#[test]
fn few_voters_decide_nothing() {
    let mut town = voters();
    let pid = town.propose(9, Vec::from([spend(5, FOG)])).unwrap();
    town.wait(DAY);
    town.ok(&[9], &vote(pid, 1));
    town.wait(7 * DAY);
    assert_eq!(town.code(&[9], &Op::Execute { pid }), Code::Over);
}

#[test]
fn guardians_cannot_keep_their_seats_nor_pause_for_ever() {
    let mut town = voters();
    let mut members: Vec<Vec<u8>> = [0, 1, 2].map(|n| account(n).0.to_vec()).to_vec();
    members.sort();
    let role = Role::Guardians;
    let pid = passed(&mut town, Vec::from([Effect::Role { role, members }]));
    let brake = |pid: Option<Id>| Op::Brake { pid };
    let officers = &OFFICERS[..2];
    assert_eq!(town.code(officers, &brake(Some(pid))), Code::NotAllowed);
    town.ok(officers, &brake(None));
    town.ok(officers, &brake(None));
    assert_eq!(town.code(officers, &brake(None)), Code::Limit);
    town.wait(3 * DAY);
    town.ok(&[5], &Op::Execute { pid });
    assert_eq!(town.code(officers, &brake(None)), Code::NotAllowed);
}

#[test]
fn signatures_of_a_replaced_key_count_no_more_even_if_they_were_checked_before() {
    use betanet_keys::Identity;
    use betanet_tokenomics::account::{TREASURY, address};
    use betanet_tokenomics::journal::Record;
    use betanet_tokenomics::request::{Kind, Transfer};
    use betanet_tokenomics::{Asset, Economy, Envelope, GenesisDraft, Request};
    let [old, new] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
    let draft = GenesisDraft {
        name: "keys",
        epoch_ms: DAY_MS,
        cap: 100 * FOG,
        halving: 1,
        alloc: &[(*old.public().as_bytes(), 0, 10 * FOG)],
        ..GenesisDraft::default()
    };
    let mut economy = Economy::new(&draft.to_bytes()).unwrap();
    let (id, genesis) = (address(old.public().as_bytes()), *economy.genesis().id());
    let signed = |n: u8, nonce: u64, op: &Op, by: &Identity| {
        let request = Request::new(&[(id, nonce)], 500, [n; 16], op).unwrap();
        Envelope::sign(request, &genesis, &[by])
    };
    // The second request is checked before the first is applied, as a server does on several threads.
    let key = *new.public().as_bytes();
    let rekey = economy.verify(signed(1, 0, &Op::Rekey { key }, &old));
    let kind = Kind::Plain {
        from: id,
        to: TREASURY,
        asset: Asset::Fog,
        amt: FOG,
    };
    let list = vec![Transfer::new([9; 16], false, &kind).unwrap()];
    let op = Op::Transfers { list };
    let late = economy.verify(signed(2, 1, &op, &old)).unwrap();
    assert_eq!(
        economy.apply_verified(1, &rekey.unwrap()).unwrap().code,
        Code::Ok
    );
    assert_eq!(
        economy.apply_verified(2, &late).unwrap().code,
        Code::BadSignature
    );
    // So the journal has what a replay accepts.
    let envelope = signed(3, 1, &op, &new);
    let bytes = envelope.to_bytes();
    let good = economy.verify(envelope).unwrap();
    let answer = economy.apply_verified(2, &good).unwrap();
    assert_eq!(answer.code, Code::Ok);
    let mut again = Economy::new(&draft.to_bytes()).unwrap();
    let first = signed(1, 0, &Op::Rekey { key }, &old).to_bytes();
    for (seq, ts, req) in [(1, 1, first), (2, 2, bytes)] {
        again.replay(&Record { req, seq, ts }.to_bytes()).unwrap();
    }
    assert_eq!(again.root(), economy.root());
}

#[test]
fn an_envelope_for_another_ledger_counts_nothing() {
    use betanet_keys::Identity;
    use betanet_tokenomics::{Economy, Envelope, GenesisDraft, Request};
    let alice = Identity::from_seed(&[1; 32]);
    let alloc = [(*alice.public().as_bytes(), 0, 10 * FOG)];
    let ledger = |name: &'static str| {
        let draft = GenesisDraft {
            name,
            epoch_ms: DAY,
            cap: 100 * FOG,
            halving: 1,
            alloc: &alloc,
            ..GenesisDraft::default()
        };
        Economy::new(&draft.to_bytes()).unwrap()
    };
    let (mut one, mut other) = (ledger("one"), ledger("other"));
    let id = alice.public().node_id();
    let request = Request::new(&[(id, 0)], 500, [1; 16], &Op::Rekey { key: [1; 32] }).unwrap();
    let envelope = Envelope::sign(request, one.genesis().id(), &[&alice]).to_bytes();
    assert_eq!(other.apply(1, &envelope).unwrap().code, Code::BadSignature);
    assert_eq!(one.apply(1, &envelope).unwrap().code, Code::Ok);
    for at in 0..envelope.len() {
        let mut bent = envelope.clone();
        bent[at] ^= 1;
        let code = one.apply(1, &bent).unwrap().code;
        assert!(
            code == Code::Malformed || code == Code::BadSignature || code == Code::UnknownSigner
        );
    }
}

#[test]
fn many_signatures_are_judged_together_as_each_is_alone() {
    use betanet_keys::Identity;
    use betanet_tokenomics::account::address;
    use betanet_tokenomics::{CheckedKeys, Economy, Envelope, GenesisDraft, Request};
    let keys: Vec<Identity> = (1..=20).map(|n| Identity::from_seed(&[n; 32])).collect();
    let alloc: Vec<_> = keys[..19]
        .iter()
        .map(|key| (*key.public().as_bytes(), 0, FOG))
        .collect();
    let draft = GenesisDraft {
        name: "many",
        epoch_ms: DAY_MS,
        cap: 100 * FOG,
        halving: 1,
        alloc: &alloc,
        ..GenesisDraft::default()
    };
    let economy = Economy::new(&draft.to_bytes()).unwrap();
    let genesis = *economy.genesis().id();
    let signed = |n: u8, by: &[usize], with: &[usize]| {
        let by = by
            .iter()
            .map(|k| (address(keys[*k].public().as_bytes()), 0));
        let mut by: Vec<_> = by.collect();
        by.sort_unstable();
        let op = Op::Brake { pid: None };
        let request = Request::new(&by, 500, [n; 16], &op).unwrap();
        // Each signs at the place of its account.
        let of = |key: &Identity| {
            let account = address(key.public().as_bytes());
            by.iter().position(|(id, _)| *id == account)
        };
        let mut with: Vec<&Identity> = with.iter().map(|k| &keys[*k]).collect();
        with.sort_by_key(|key| of(key));
        Envelope::sign(request, &genesis, &with)
    };
    let mut all: Vec<Envelope> = (0..19_u8)
        .map(|n| signed(n, &[n.into()], &[n.into()]))
        .collect();
    // Several signers, of whom one is not who it says; one that is unknown; and signatures that are altered.
    all.insert(3, signed(30, &[1, 2, 3], &[1, 2, 3]));
    all.insert(5, signed(31, &[4, 5], &[4, 6]));
    all.insert(9, signed(32, &[19], &[19]));
    for at in [0, 31, 32, 62_u8] {
        let mut envelope = signed(40 + at, &[7, 8], &[7, 8]);
        envelope.sigs[1][usize::from(at)] ^= 1;
        all.push(envelope);
    }
    let mut above = signed(50, &[7], &[7]);
    above.sigs[0][63] |= 0xe0;
    all.push(above);
    let alone: Vec<_> = all.iter().map(|e| economy.verify(e.clone())).collect();
    let good = alone.iter().filter(|v| v.is_ok()).count();
    assert_eq!((good, alone.len()), (20, 27));
    let mut checked = CheckedKeys::default();
    // The second time, the keys are known.
    for n in [27, 27, 1, 2, 7, 9] {
        let together = economy.verify_all(all[..n].to_vec(), &mut checked);
        assert_eq!(together, alone[..n]);
    }
}
