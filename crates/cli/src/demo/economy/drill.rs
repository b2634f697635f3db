//! A ledger under a simulated clock: a lie of the demo's fog costs stake, a vote changes a parameter, and an audit finds a flipped byte.

use betanet_economy_service::verify;
use betanet_economy_service::words::fog as shown;
use betanet_keys::Identity;
use betanet_tokenomics::account::{BURN, DAY_MS, MICRO, NODE, STAKE, TREASURY, USER};
use betanet_tokenomics::records::proposal_id;
use betanet_tokenomics::request::{Effect, Op, Proof};
use betanet_tokenomics::{Code, GenesisDraft, Param, Role};

use super::wrong;
use crate::Fail;
use crate::demo::fog::Lie;
use crate::demo::{Steps, failed};
use crate::economy::past::{Past, account, public, sorted};

/// Own stake of each node.
const BOND: u64 = 2_000 * MICRO;
/// One byte of so many is flipped, one after the other.
const FLIPS: usize = 61;

struct Drill(Past);

impl Drill {
    fn new(nodes: &[Identity], officers: [&Identity; 2]) -> Result<Self, Fail> {
        let key = |of: &Identity| *of.public().as_bytes();
        let mut alloc: Vec<([u8; 32], u64, u64)> = Vec::new();
        alloc.extend(nodes.iter().map(|n| (key(n), NODE, 2 * BOND)));
        alloc.extend(officers.iter().map(|o| (key(o), USER, MICRO)));
        let genesis = GenesisDraft {
            name: "drill",
            t0: DAY_MS,
            epoch_ms: DAY_MS,
            cap: 1_000_000 * MICRO,
            base: 100 * MICRO,
            halving: 365,
            alloc: &alloc,
            roles: &[
                (Role::Coordinators, sorted(&officers, account)),
                (Role::Signers, sorted(&officers, public)),
            ],
            ..GenesisDraft::default()
        };
        Ok(Self(Past::new(&genesis).map_err(|e| wrong(&e))?))
    }

    fn ask(&mut self, signers: &[&Identity], op: &Op) -> Result<Vec<u8>, Code> {
        self.0.ask(signers, op)
    }

    fn must(&mut self, what: &str, signers: &[&Identity], op: &Op) -> Result<Vec<u8>, Fail> {
        let done = self.ask(signers, op);
        done.map_err(|code| failed(format!("economy: {what}: {}", code.name())))
    }

    fn parameter(&self, param: Param) -> u64 {
        self.0.economy.parameter(param)
    }
}

/// Runs the steps.
pub(super) fn run(steps: &mut Steps, lie: Lie, officers: [&Identity; 2]) -> Result<(), Fail> {
    let mut drill = Drill::new(&lie.keys, officers)?;
    for node in &lie.keys {
        let op = Op::Bond { amt: BOND, comm: 0 };
        drill.must("bond", &[node], &op)?;
    }
    slash(steps, &mut drill, &lie, officers)?;
    vote(steps, &mut drill, &lie.keys)?;
    audit(steps, drill, officers)
}

/// The receipts of the fog's lie are evidence.
fn slash(
    steps: &mut Steps,
    drill: &mut Drill,
    lie: &Lie,
    officers: [&Identity; 2],
) -> Result<(), Fail> {
    let proof = |of: &betanet_fog::Signed<betanet_fog::Receipt>| Proof {
        record: of.rec().to_vec(),
        key: of.key,
        sig: of.envelope().sig,
    };
    let mut list = vec![proof(&lie.wrong)];
    list.extend(lie.agreed.iter().map(proof));
    let evidence = |list: Vec<Proof>| Op::Evidence {
        kind: 2,
        list,
        task: lie.task.clone(),
    };
    // The same receipts the other way round accuse an honest node.
    let mut turned = list.clone();
    turned.swap(0, 1);
    let refused = drill.ask(&officers, &evidence(turned));
    let one = drill.ask(&officers[..1], &evidence(list.clone()));
    if refused != Err(Code::BadEvidence) || one != Err(Code::NotAllowed) {
        return Err(failed(format!(
            "economy: an honest node was slashed: {refused:?}, {one:?}"
        )));
    }
    let before = [STAKE, BURN, TREASURY].map(|id| drill.0.fog(&id));
    drill.must("evidence", &officers, &evidence(list.clone()))?;
    let after = [STAKE, BURN, TREASURY].map(|id| drill.0.fog(&id));
    let lost = before[0].saturating_sub(after[0]);
    let burned = after[1].saturating_sub(before[1]);
    let treasury = after[2].saturating_sub(before[2]);
    if lost == 0 || burned + treasury != lost {
        return Err(failed(format!(
            "economy: {lost} lost, {burned} burned, {treasury} kept"
        )));
    }
    let again = drill.ask(&officers, &evidence(list));
    if again != Err(Code::Once) {
        return Err(failed(format!(
            "economy: the same offence twice: {again:?}"
        )));
    }
    steps.done(&format!(
        "the liar's receipts, shown to a ledger, cost it {} of {} FOG of stake, of which {} burned; turned around, or shown twice, they were refused",
        shown(lost),
        shown(BOND.into()),
        shown(burned)
    ));
    Ok(())
}

/// A parameter is changed by a vote, through its time lock.
fn vote(steps: &mut Steps, drill: &mut Drill, nodes: &[Identity]) -> Result<(), Fail> {
    let (param, day) = (Param::FeeTx, DAY_MS);
    // A snapshot of the stake is taken when an epoch ends.
    drill.0.wait(2 * day);
    let before = drill.parameter(param);
    let value = before * 2;
    let effects = vec![Effect::Param { param, value }];
    let Some(first) = nodes.first() else {
        return Err(failed("economy: there are no nodes"));
    };
    let started = drill.0.now;
    let body = drill.must("propose", &[first], &Op::propose(effects, [7; 32]))?;
    let pid = proposal_id(&body);
    let early = drill.ask(&[first], &Op::Vote { pid, v: 1 });
    drill.0.wait(drill.parameter(Param::DelayMs));
    for node in nodes.iter().take(3) {
        drill.must("vote", &[node], &Op::Vote { pid, v: 1 })?;
    }
    drill.0.wait(drill.parameter(Param::VoteMs));
    let locked = drill.ask(&[first], &Op::Execute { pid });
    if early != Err(Code::TooEarly) || locked != Err(Code::TooEarly) {
        return Err(failed(format!(
            "economy: a vote or an execution came too early: {early:?}, {locked:?}"
        )));
    }
    drill.0.wait(drill.parameter(Param::LockMs));
    drill.must("execute", &[first], &Op::Execute { pid })?;
    let twice = drill.ask(&[first], &Op::Execute { pid });
    let after = drill.parameter(param);
    if after != value || twice != Err(Code::Over) {
        return Err(failed(format!(
            "economy: fee_tx is {after}, again: {twice:?}"
        )));
    }
    steps.done(&format!(
        "three nodes voted fee_tx from {before} to {after}: {} days of a simulated clock from the proposal to its execution, which happened once",
        (drill.0.now - started) / day
    ));
    Ok(())
}

/// The journal is verified as a stranger does, whole and with flipped bytes.
fn audit(steps: &mut Steps, mut drill: Drill, officers: [&Identity; 2]) -> Result<(), Fail> {
    let head = drill.0.head(&officers).map_err(|e| wrong(&e))?;
    let genesis = drill.0.economy.genesis().as_bytes().to_vec();
    let records = drill.0.journal.len();
    let mut journal = drill.0.journal.concat();
    let holds = |journal: &[u8]| verify(journal, Some(&genesis), vec![head.clone()]);
    let verified = holds(&journal).map_err(|e| wrong(&e))?;
    if verified.covered != records as u64 {
        return Err(failed("economy: the audit left out records"));
    }
    let (mut flips, mut found) = (0, 0);
    for at in (0..journal.len()).step_by(FLIPS) {
        if let Some(byte) = journal.get_mut(at) {
            *byte ^= 1;
        }
        flips += 1;
        found += usize::from(holds(&journal).is_err());
        if let Some(byte) = journal.get_mut(at) {
            *byte ^= 1;
        }
    }
    if found != flips || holds(&journal).is_err() {
        return Err(failed(format!(
            "economy: {found} of {flips} flipped bytes were found"
        )));
    }
    steps.done(&format!(
        "audited the journal of {records} records and {} bytes: it holds, and each of {flips} flipped bytes was found",
        journal.len()
    ));
    Ok(())
}
