//! The table of attacks, one test for each row. Each attack must fail.
//!
//! | attack | test |
//! |---|---|
//! | flash bond | `flash_bond` |
//! | transfer, then vote again | `transfer_then_vote` |
//! | delegate, then vote again | `delegate_then_vote` |
//! | delegation cycles | `delegation_cycles` |
//! | last-minute quorum | `last_minute_quorum` |
//! | quorum lowered to revive a dead proposal | `quorum_lowered_to_revive_a_dead_proposal` |
//! | a copied proposal cancelled by its copier | `copied_proposal_cancelled_by_its_copier` |
//! | hidden effect | `hidden_effect` |
//! | re-queue around the timelock | `requeue_around_the_timelock` |
//! | execution failing half way | `execution_failing_half_way` |
//! | vote replay | `vote_replay` |
//! | proposal spam | `proposal_spam` |
//! | low-turnout capture | `low_turnout_capture` |
//! | reward farming by self-dealing | `reward_farming_by_self_dealing` |
//! | double slash of one offence | `double_slash_of_one_offence` |
//! | guardian takeover | `guardian_takeover` |
//! | votes doubled by key rotation | `votes_doubled_by_key_rotation` |
//! | nondeterministic task slashing the honest | `nondeterministic_task_slashing_the_honest` |
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

mod common;

use betanet_keys::hash;
use betanet_tokenomics::account::{DAY_MS, POOL};
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::{Effect, Item, Op, Proof};
use betanet_tokenomics::{Asset, Code, Envelope, Error, Id, Param, Request, Role};
use betanet_wire::cbor::Writer;
use common::{
    FOG, NODES, OFFICERS, Town, WORKERS, account, bond, delegate, key, receipt, unbond, worker,
};

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
fn flash_bond() {
    let mut town = voters();
    town.ok(&[4], &delegate(NODES, 9_000 * FOG));
    assert_eq!(town.propose(4, fee(10_000)), Err(Code::LowPower));
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(DAY);
    assert_eq!(town.code(&[4], &vote(pid, 1)), Code::LowPower);
}

#[test]
fn transfer_then_vote() {
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
fn delegate_then_vote() {
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
fn delegation_cycles() {
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
    let mut w = Writer::default();
    w.unsigned(all);
    let all = w.into_vec();
    assert!(row.windows(all.len()).any(|part| part == all));
}

#[test]
fn last_minute_quorum() {
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
fn quorum_lowered_to_revive_a_dead_proposal() {
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
fn copied_proposal_cancelled_by_its_copier() {
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
fn hidden_effect() {
    // A payment behind a text excludes its payee too.
    let mut town = voters();
    let effects = Vec::from([Effect::Text, spend(0, FOG)]);
    let pid = town.propose(9, effects).unwrap();
    town.wait(DAY);
    assert_eq!(town.code(&[0], &vote(pid, 1)), Code::Conflict);
    // 62 % are for, which passes a payment and no role, wherever in the list it stands.
    let mut members = [0, 1, 2].map(|n| account(n).0.to_vec()).to_vec();
    members.sort();
    let role = Role::Guardians;
    let role = Effect::Role { role, members };
    for (hidden, passes) in [(spend(5, FOG), true), (role, false)] {
        let mut town = voters();
        let pid = town.propose(9, Vec::from([Effect::Text, hidden])).unwrap();
        town.wait(DAY);
        town.ok(&[NODES], &vote(pid, 1));
        town.ok(&[NODES + 1], &vote(pid, 0));
        town.wait(10 * DAY);
        let code = match passes {
            true => Code::Ok,
            false => Code::Over,
        };
        assert_eq!(town.code(&[6], &Op::Execute { pid }), code);
    }
}

#[test]
fn requeue_around_the_timelock() {
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
fn execution_failing_half_way() {
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
fn votes_doubled_by_key_rotation() {
    let mut town = voters();
    let pid = town.propose(9, fee(10_000)).unwrap();
    town.wait(DAY);
    town.ok(&[0], &vote(pid, 1));
    town.ok(&[0], &Op::Rekey { key: key(77) });
    assert_eq!(town.code(&[0], &vote(pid, 0)), Code::Once);
}

#[test]
fn proposal_spam() {
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
fn low_turnout_capture() {
    let mut town = voters();
    let pid = town.propose(9, Vec::from([spend(5, FOG)])).unwrap();
    town.wait(DAY);
    town.ok(&[9], &vote(pid, 1));
    town.wait(7 * DAY);
    assert_eq!(town.code(&[9], &Op::Execute { pid }), Code::Over);
}

#[test]
fn guardian_takeover() {
    let mut town = voters();
    let officers = &OFFICERS[..2];
    let brake = |pid: Option<Id>| Op::Brake { pid };
    // Fewer than more than half, or anybody besides them, can do nothing.
    assert_eq!(town.code(&OFFICERS[..1], &brake(None)), Code::NotAllowed);
    let with_another = [OFFICERS[0], OFFICERS[1], 0];
    assert_eq!(town.code(&with_another, &brake(None)), Code::NotAllowed);
    // Their role gives no vote.
    assert_eq!(town.propose(OFFICERS[0], fee(10_000)), Err(Code::LowPower));
    let mut members: Vec<Vec<u8>> = [0, 1, 2].map(|n| account(n).0.to_vec()).to_vec();
    members.sort();
    let role = Role::Guardians;
    let pid = passed(&mut town, Vec::from([Effect::Role { role, members }]));
    // They do not keep their seats by a veto.
    assert_eq!(town.code(officers, &brake(Some(pid))), Code::NotAllowed);
    // Nor do they pause for ever.
    town.ok(officers, &brake(None));
    town.ok(officers, &brake(None));
    assert_eq!(town.code(officers, &brake(None)), Code::Limit);
    assert_eq!(town.code(&[5], &Op::Execute { pid }), Code::Paused);
    town.wait(3 * DAY);
    town.ok(&[5], &Op::Execute { pid });
    assert_eq!(town.code(officers, &brake(None)), Code::NotAllowed);
    // Those who were elected have the seats, and the same limit.
    assert_eq!(town.code(&[0, 1], &brake(None)), Code::Limit);
    town.wait(30 * DAY);
    town.ok(&[0, 1], &brake(None));
}

#[test]
fn vote_replay() {
    let mut town = Town::new(2, 0);
    for n in 0..2 {
        town.ok(&[WORKERS + n], &bond(2_000 * FOG));
    }
    town.wait(DAY);
    let pid = town.propose(WORKERS, fee(10_000)).unwrap();
    let other = town.propose(WORKERS + 1, fee(30_000)).unwrap();
    town.wait(DAY);
    let genesis = *town.economy.genesis().id();
    let voter = worker(WORKERS + 1);
    let by = account(WORKERS + 1);
    let request = |town: &Town, id: u8, pid: Id| {
        let nonce = town.economy.nonce(&by).unwrap();
        let request = Request::new(&[(by, nonce)], town.now + 1_000, [id; 16], &vote(pid, 1));
        request.unwrap()
    };
    let first = Envelope::sign(request(&town, 1, pid), &genesis, &[&voter]);
    let bytes = first.to_bytes();
    assert!(town.economy.apply(town.now, &bytes).unwrap().is_new());
    let tally = town.economy.value(10, &pid);
    // The same bytes, at once and once they are no longer valid: the answer of before, and no record.
    for _ in 0..2 {
        let root = town.economy.root();
        let again = town.economy.apply(town.now, &bytes).unwrap();
        assert_eq!((again.code, again.is_new()), (Code::Ok, false));
        assert_eq!(town.economy.root(), root);
        town.now += 2_000;
    }
    let (req, seq, ts) = (bytes, town.economy.records(), town.now);
    let copied = Record { req, seq, ts }.to_bytes();
    let refused = town.economy.replay(&copied).unwrap_err();
    assert!(matches!(refused, Error::Refused { code, .. } if code == Code::IdReused));
    // The signature covers ID, nonce and proposal.
    for copied in [request(&town, 2, pid), request(&town, 3, other)] {
        let sigs = first.sigs.clone();
        let request = copied.clone();
        let bent = Envelope { request, sigs }.to_bytes();
        let answer = town.economy.apply(town.now, &bent).unwrap();
        assert_eq!(answer.code, Code::BadSignature);
    }
    // Nor does a new signature vote again.
    let again = Envelope::sign(request(&town, 4, pid), &genesis, &[&voter]).to_bytes();
    let answer = town.economy.apply(town.now, &again).unwrap();
    assert_eq!(answer.code, Code::Once);
    assert_eq!(town.economy.value(10, &pid), tally);
    town.economy.audit_tallies().unwrap();
}

#[test]
fn reward_farming_by_self_dealing() {
    // The attacker is client and node: it pays itself for as much work as one job can be.
    const PAY: u64 = 4_000 * FOG;
    let (client, node) = (5, WORKERS);
    let mut town = Town::new(6, 0);
    town.ok(&[node], &bond(1_000 * FOG));
    let wealth = |town: &Town| {
        let stake = town.economy.node_stake(&account(node));
        town.fog(client) + town.fog(node) + u128::from(stake)
    };
    let before = wealth(&town);
    let of = [7; 32];
    let reserve = Op::Reserve {
        amt: PAY,
        credit: 0,
        of,
        kind: 0,
        ttl: 3_600,
    };
    let (answer, request) = town.send_kept(&[client], &reserve);
    assert_eq!(answer.code, Code::Ok);
    let receipt = receipt(node, &of, (0, 1), ("ok", 1));
    let item = Item {
        to: account(node),
        pay: PAY,
        sla: 0,
        kib: 1 << 40,
        mibh: 0,
        record: receipt.record,
        sig: Some(receipt.sig),
    };
    let settle = Op::Settle {
        status: "ok".into(),
        out: [1; 32].into(),
        end: true,
        list: Vec::from([item]),
        res: request.id,
    };
    town.ok(&OFFICERS[..2], &settle);
    let fee = u128::from(PAY / 50);
    assert_eq!(wealth(&town), before - fee - 100);
    let pool = |town: &Town| town.economy.counters(&POOL, Asset::Fog);
    // It is the only node that worked, and the pool's part for work is more than six times the fee.
    town.wait(DAY);
    assert_eq!(pool(&town).debits, fee);
    assert_eq!(wealth(&town), before - 100);
    assert!(pool(&town).credits * 60 / 100 > 6 * fee);
    // The receipt is paid once.
    let (answer, request) = town.send_kept(&[client], &reserve);
    assert_eq!(answer.code, Code::Ok);
    let Op::Settle {
        status,
        out,
        end,
        list,
        ..
    } = settle
    else {
        unreachable!("it is a settlement");
    };
    let again = Op::Settle {
        status,
        out,
        end,
        list,
        res: request.id,
    };
    assert_eq!(town.code(&OFFICERS[..2], &again), Code::Once);
}

#[test]
fn double_slash_of_one_offence() {
    let node = WORKERS;
    let mut town = Town::new(3, 0);
    town.ok(&[node], &bond(1_000 * FOG));
    let of = [7; 32];
    let said = |out: u8| receipt(node, &of, (0, 1), ("ok", out));
    let evidence = |list: [Proof; 2]| Op::Evidence {
        kind: 1,
        list: list.into(),
        task: Vec::new(),
    };
    let standing = |town: &Town| {
        let stake = town.economy.node_stake(&account(node));
        (stake, town.fog(0), town.fog(1))
    };
    let (_, mine, other) = standing(&town);
    town.ok(&[0], &evidence([said(1), said(2)]));
    // A twentieth of it, of which the reporter gets a tenth.
    let after = (950 * FOG, mine + u128::from(5 * FOG), other);
    assert_eq!(standing(&town), after);
    // Again, by another, turned around, and with a third receipt of the same assignment.
    for (by, list) in [
        (0, [said(1), said(2)]),
        (1, [said(1), said(2)]),
        (1, [said(2), said(1)]),
        (1, [said(3), said(1)]),
        (2, [said(2), said(3)]),
    ] {
        assert_eq!(town.code(&[by], &evidence(list)), Code::Once);
    }
    assert_eq!(standing(&town), after);
    // Another assignment is another offence.
    let later = [1, 2].map(|out| receipt(node, &of, (0, 2), ("ok", out)));
    town.ok(&[1], &evidence(later));
    assert!(standing(&town).0 < after.0);
}

#[test]
fn nondeterministic_task_slashing_the_honest() {
    let [honest, a, b, c] = [0, 1, 2, 3].map(|n| WORKERS + n);
    let mut town = Town::new(1, 0);
    for node in [honest, a, b, c] {
        town.ok(&[node], &bond(1_000 * FOG));
    }
    let task = |rule: &str, k: u64| {
        let mut w = Writer::default();
        w.map(1);
        w.text("verify");
        w.array(3);
        w.text(rule);
        w.unsigned(k);
        w.unsigned(3);
        w.into_vec()
    };
    let id = |task: &[u8]| hash(&[b"BN-FOG-TASK1", task]);
    let said = |node, task: &[u8], out| receipt(node, &id(task), (0, node), ("ok", out));
    let evidence = |list: &[Proof], task: &[u8]| Op::Evidence {
        kind: 2,
        list: list.into(),
        task: task.into(),
    };
    let officers = &OFFICERS[..2];
    let random = task("none", 0);
    let exact = task("quorum", 2);
    let differ = |task: &[u8]| [said(honest, task, 1), said(a, task, 2), said(b, task, 2)];
    let before = town.economy.root();
    // Two agree, and yet nobody promised that a third would: the task's record says so, and no other record counts.
    let failed = [a, b].map(|n| receipt(n, &id(&exact), (0, n), ("timeout", 2)));
    let [f, g] = failed;
    for (list, task) in [
        (differ(&random).to_vec(), &random),
        (differ(&random).to_vec(), &exact),
        (differ(&task("median", 2)).to_vec(), &task("median", 2)),
        // Two others are no quorum of three, and one key counts once.
        (differ(&task("quorum", 3)).to_vec(), &task("quorum", 3)),
        (
            vec![
                said(honest, &exact, 1),
                said(a, &exact, 2),
                said(a, &exact, 2),
            ],
            &exact,
        ),
        // Those who disagree with each other, and those who only failed.
        (
            vec![
                said(honest, &exact, 1),
                said(a, &exact, 2),
                said(b, &exact, 3),
            ],
            &exact,
        ),
        (vec![said(honest, &exact, 1), f, g], &exact),
    ] {
        assert_eq!(
            town.code(officers, &evidence(&list, task)),
            Code::BadEvidence
        );
    }
    assert_eq!(town.economy.root(), before);
    // Of a deterministic task, the same three receipts count.
    town.ok(officers, &evidence(&differ(&exact), &exact));
    assert_eq!(town.economy.node_stake(&account(honest)), 990 * FOG);
    let (_, jailed) = town.economy.standing(&account(honest)).unwrap();
    assert!(jailed);
}
