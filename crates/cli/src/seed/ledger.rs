//! A simulated ledger with a past of thirty days: accounts, payments, stakes, and five proposals at different stages. Each record is
//! signed and accepted as any other is, so whoever verifies ledgers verifies this one.

use std::path::Path;

use betanet_economy_service::words::effect as words;
use betanet_keys::Identity;
use betanet_log::SignedHead;
use betanet_machine::Rng;
use betanet_runtime::{Clock, Error, new_identity};
use betanet_tokenomics::account::{DAY_MS, MICRO, NODE, TREASURY, USER};
use betanet_tokenomics::records::proposal_id;
use betanet_tokenomics::request::{Effect, Kind, Op, Transfer};
use betanet_tokenomics::{Asset, Code, GenesisDraft, Id, Param, Role};
use betanet_wire::NodeId;
use betanet_wire::text::hex;
use serde_json::{Value, json};

use crate::Fail;
use crate::economy::keep;
use crate::economy::past::{Past, account, id_of, public, sorted};
use crate::fail::chain;

/// Length of the past.
const DAYS: u64 = 30;
const TENTH_MS: u64 = DAY_MS / 10;
/// Folder of the keys, beside the files of a saved ledger.
const KEYS: &str = "keys";
const NAMES: [&str; 8] = [
    "one", "two", "alice", "bob", "carol", "node1", "node2", "node3",
];
/// Votes.
const AGAINST: u64 = 0;
const FOR: u64 = 1;

/// Two who sign heads and are guardians, coordinators and auditors; three people; three nodes.
pub(crate) struct Cast {
    pub(crate) officers: [Identity; 2],
    people: [Identity; 3],
    nodes: [Identity; 3],
}

impl Cast {
    /// Fresh keys, but for those of the signers.
    pub(crate) fn with(officers: [Identity; 2], rng: &mut Rng) -> Self {
        let mut fresh = |_| Identity::from_seed(&rng.array::<32>());
        Self {
            officers,
            people: [0; 3].map(&mut fresh),
            nodes: [0; 3].map(&mut fresh),
        }
    }

    /// Fresh keys in files.
    fn in_folder(folder: &Path) -> Result<Self, Fail> {
        std::fs::create_dir_all(folder).map_err(Fail::file(folder))?;
        let make = |name: &str| {
            let made = new_identity(&folder.join(format!("{name}.pem")));
            made.map_err(|e| Fail::from(Error::from(e)))
        };
        let [one, two, alice, bob, carol, a, b, c] = NAMES;
        Ok(Self {
            officers: [make(one)?, make(two)?],
            people: [make(alice)?, make(bob)?, make(carol)?],
            nodes: [make(a)?, make(b)?, make(c)?],
        })
    }
}

/// A ledger up to now.
pub(crate) struct History {
    pub(crate) genesis: Vec<u8>,
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) head: SignedHead,
    /// Proposals, their stages, and their effects in words.
    proposals: Vec<(Id, &'static str, String)>,
}

fn local(error: &(dyn std::error::Error + 'static)) -> Fail {
    Fail::Local(format!("the simulated ledger: {}", chain(error)))
}

/// A past that is being made.
struct Making {
    past: Past,
    start: u64,
    made: u64,
    proposals: Vec<(Id, &'static str, String)>,
}

impl Making {
    /// Lets time pass until a tenth of a day since the start.
    fn at(&mut self, tenths: u64) {
        let at = self.start + tenths * TENTH_MS;
        self.past.wait(at.saturating_sub(self.past.now));
    }

    fn ask(&mut self, by: &[&Identity], op: &Op) -> Result<Vec<u8>, Fail> {
        let asked = self.past.ask(by, op);
        asked.map_err(|code: Code| {
            Fail::Local(format!(
                "the simulated ledger: {}: {}",
                op.name(),
                code.name()
            ))
        })
    }

    fn id(&mut self) -> Id {
        self.made += 1;
        let mut id = [1; 16];
        id[8..].copy_from_slice(&self.made.to_be_bytes());
        id
    }

    fn transfer(&mut self, by: &Identity, kind: &Kind) -> Result<(), Fail> {
        let transfer = Transfer::new(self.id(), false, kind);
        let list = transfer.into_iter().collect();
        self.ask(&[by], &Op::Transfers { list }).map(drop)
    }

    fn pay(&mut self, from: &Identity, to: NodeId, amt: u64) -> Result<(), Fail> {
        let kind = Kind::Plain {
            from: id_of(from),
            to,
            asset: Asset::Fog,
            amt,
        };
        self.transfer(from, &kind)
    }

    fn propose(&mut self, by: &Identity, effect: Effect, stage: &'static str) -> Result<Id, Fail> {
        let line = words(&effect, None);
        let body = self.ask(&[by], &Op::propose(vec![effect], [0; 32]))?;
        let pid = proposal_id(&body);
        self.proposals.push((pid, stage, line));
        Ok(pid)
    }

    fn vote(&mut self, pid: Id, v: u64, by: &[&Identity]) -> Result<(), Fail> {
        for by in by {
            self.ask(&[by], &Op::Vote { pid, v })?;
        }
        Ok(())
    }
}

/// Makes the ledger of these people up to `now_ms`.
pub(crate) fn history(cast: &Cast, now_ms: u64) -> Result<History, Fail> {
    let start = now_ms.saturating_sub(DAYS * DAY_MS);
    let officers = cast.officers.each_ref();
    let accounts = sorted(&officers, account);
    let row = |key: &Identity, kind, fog: u64| (*key.public().as_bytes(), kind, fog * MICRO);
    let alloc = officers.iter().map(|key| row(key, USER, 10));
    let alloc = alloc.chain(cast.people.iter().map(|key| row(key, USER, 2_000)));
    let alloc = alloc.chain(cast.nodes.iter().map(|key| row(key, NODE, 5_000)));
    let alloc: Vec<_> = alloc.collect();
    let draft = GenesisDraft {
        name: "simulated",
        t0: start,
        epoch_ms: DAY_MS,
        cap: 1_000_000 * MICRO,
        base: 100 * MICRO,
        halving: 1_460,
        treasury: 10_000 * MICRO,
        alloc: &alloc,
        params: &[(Param::Deposit, 10 * MICRO)],
        roles: &[
            (Role::Auditors, accounts.clone()),
            (Role::Coordinators, accounts.clone()),
            (Role::Guardians, accounts),
            (Role::Signers, sorted(&officers, public)),
        ],
        ..GenesisDraft::default()
    };
    let mut making = Making {
        past: Past::new(&draft).map_err(|e| local(&e))?,
        start,
        made: 0,
        proposals: Vec::new(),
    };
    stakes(&mut making, cast)?;
    votes(&mut making, cast)?;
    lately(&mut making, cast)?;
    making.at(DAYS * 10);
    let head = making.past.head(&officers).map_err(|e| local(&e))?;
    Ok(History {
        genesis: draft.to_bytes(),
        records: making.past.journal,
        head,
        proposals: making.proposals,
    })
}

/// Stakes, payments, and probes that came back.
fn stakes(making: &mut Making, cast: &Cast) -> Result<(), Fail> {
    let [alice, bob, carol] = &cast.people;
    for (node, fog) in cast.nodes.iter().zip([3_000, 2_000, 1_500]) {
        let (amt, comm) = (fog * MICRO, 50_000);
        making.ask(&[node], &Op::Bond { amt, comm })?;
    }
    for ((by, node), fog) in cast.people.iter().zip(&cast.nodes).zip([800, 600, 400]) {
        let (amt, node) = (fog * MICRO, id_of(node));
        making.ask(&[by], &Op::Delegate { amt, node })?;
    }
    making.pay(alice, id_of(bob), 12 * MICRO + MICRO / 2)?;
    making.pay(bob, id_of(carol), 3 * MICRO)?;
    making.pay(carol, TREASURY, MICRO)?;
    making.at(15);
    let probes = cast.nodes.iter().zip([99, 98, 95]);
    let list = probes
        .map(|(node, back)| (id_of(node), 100, back))
        .collect();
    let [one, two] = &cast.officers;
    making.ask(&[one, two], &Op::Audit { list }).map(drop)
}

/// Five proposals: executed, defeated, passed and ready, passed and locked, and open.
fn votes(making: &mut Making, cast: &Cast) -> Result<(), Fail> {
    let [alice, bob, carol] = &cast.people;
    let [a, b, c] = &cast.nodes;
    let param = |param, value| Effect::Param { param, value };
    making.at(20);
    let done = making.propose(a, param(Param::FeeTx, 200), "executed")?;
    making.at(31);
    making.vote(done, FOR, &[a, b])?;
    making.vote(done, AGAINST, &[carol])?;
    making.at(80);
    let lost = making.propose(b, param(Param::FeeOpen, 200_000), "defeated")?;
    making.at(91);
    making.vote(lost, AGAINST, &[a])?;
    making.vote(lost, FOR, &[bob])?;
    making.at(120);
    let (to, amt) = (id_of(carol), 25 * MICRO);
    let ready = making.propose(c, Effect::Spend { to, amt }, "passed, to be executed")?;
    making.at(131);
    making.vote(ready, FOR, &[a, b])?;
    making.vote(ready, AGAINST, &[alice])?;
    making.at(135);
    making.ask(&[alice], &Op::Execute { pid: done })?;
    making.at(205);
    let quorum = param(Param::QuorumPpm, 210_000);
    let locked = making.propose(alice, quorum, "passed, in its time lock")?;
    making.at(216);
    making.vote(locked, FOR, &[a, b, c])?;
    making.at(270);
    let upgrade = Effect::Upgrade {
        name: "simulated".to_owned(),
        at: making.past.now + DAYS * DAY_MS,
    };
    let open = making.propose(b, upgrade, "open")?;
    making.at(281);
    making.vote(open, FOR, &[a])?;
    making.vote(open, AGAINST, &[bob])
}

/// What is still under way: stake that unbonds, and a hold.
fn lately(making: &mut Making, cast: &Cast) -> Result<(), Fail> {
    let [alice, bob, _] = &cast.people;
    let [a, b, _] = &cast.nodes;
    making.at(290);
    let (amt, node) = (100 * MICRO, id_of(b));
    making.ask(&[bob], &Op::Unbond { amt, node })?;
    let kind = Kind::Pending {
        from: id_of(alice),
        to: id_of(a),
        asset: Asset::Fog,
        amt: 5 * MICRO,
        ttl: DAYS * DAY_MS / 1_000,
        arb: None,
        price: MICRO / 100,
    };
    making.transfer(alice, &kind)
}

/// `betanet seed --ledger`: the ledger as `ledger save` leaves one, and the keys of everybody.
pub(super) fn write(folder: &Path, as_json: bool) -> Result<(), Fail> {
    std::fs::create_dir(folder).map_err(Fail::file(folder))?;
    let keys = folder.join(KEYS);
    let cast = Cast::in_folder(&keys)?;
    let history = history(&cast, Clock::start().now().unix_ms)?;
    let (journal, head) = (history.records.concat(), history.head.to_bytes());
    keep(folder, &journal, &head, &history.genesis)?;
    let records = history.records.len();
    if as_json {
        let proposals = history.proposals.iter();
        let proposals = proposals.map(
            |(pid, stage, line)| json!({ "proposal": hex(pid), "stage": stage, "effect": line }),
        );
        let proposals: Vec<Value> = proposals.collect();
        say!(
            "{}",
            json!({ "folder": folder, "records": records, "keys": NAMES, "proposals": proposals })
        );
        return Ok(());
    }
    say!(
        "{}: {records} records of a simulated ledger",
        folder.display()
    );
    for (pid, stage, line) in &history.proposals {
        say!("proposal {}  {stage}: {line}", hex(pid));
    }
    let (place, keys) = (folder.display(), keys.display());
    note!(
        "betanet ledger restore {place} --state STATE --genesis {place}/genesis.cbor puts it into a coordinator's state;\n\
         coordinator --state STATE --key {keys}/one.pem --economy-signer {keys}/two.pem --economy {place}/genesis.cbor serves it"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use betanet_economy_service::verify;

    use super::*;

    #[test]
    fn a_simulated_ledger_verifies_and_its_proposals_are_at_the_stages_that_are_told() {
        let mut rng = Rng::new(&betanet_machine::Seed::new([7; 32]));
        let officers = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
        let cast = Cast::with(officers, &mut rng);
        let now = 40 * DAY_MS;
        let history = history(&cast, now).unwrap();
        let journal = history.records.concat();
        let heads = vec![history.head.clone()];
        let mut verified = verify(&journal, Some(&history.genesis), heads).unwrap();
        assert_eq!(verified.covered, history.records.len() as u64);
        assert!(verified.economy.time() <= now);
        let row = |economy: &mut betanet_tokenomics::Economy, pid: &Id| {
            let row = economy.value(10, pid).unwrap();
            betanet_economy_service::rows::Proposal::read(&row).unwrap()
        };
        let told: Vec<&str> = history.proposals.iter().map(|p| p.1).collect();
        let mut found = Vec::new();
        for (pid, _, _) in &history.proposals {
            let row = row(&mut verified.economy, pid);
            found.push(match row.word() {
                "passed" if row.eta <= now => "passed, to be executed",
                "passed" => "passed, in its time lock",
                word => word,
            });
        }
        assert_eq!(found, told);
        assert_eq!(verified.economy.parameter(Param::FeeTx), 200);
        let [open, ready] = [4, 2].map(|at: usize| history.proposals[at].0);
        let open = row(&mut verified.economy, &open);
        assert!(open.open <= now && now < open.end && open.yes > open.no);
        // What is ready can be executed.
        let tried = verified.economy.try_effects(&ready, now);
        assert_eq!(tried, Some(Code::Ok));
    }
}
