#![allow(clippy::panic, reason = "a model stops where it differs")]

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_wire::NodeId;

use super::world::{Dice, World};
use crate::account::{BURN, TREASURY, is_system};
use crate::request::{Kind, Op, Transfer};
use crate::{Asset, Code, Hash, Id, Param, Request};

type Hold = (NodeId, NodeId, Asset, u64, Option<NodeId>, u64);

/// A ledger of transfers, written without regard to speed: it copies itself before each chain, and gathers every code that
/// applies to a transfer before it takes the lowest.
#[derive(Clone, Debug, Default)]
pub struct Naive {
    accounts: BTreeSet<NodeId>,
    /// What is available, as a signed number.
    money: BTreeMap<(NodeId, Asset), i128>,
    holds: BTreeMap<Id, Hold>,
    used: BTreeMap<Id, Hash>,
}

impl Naive {
    fn add(&mut self, id: NodeId, asset: Asset, amt: i128) {
        *self.money.entry((id, asset)).or_default() += amt;
    }

    /// What an account can spend.
    #[must_use]
    pub fn money(&self, id: &NodeId, asset: Asset) -> i128 {
        self.money.get(&(*id, asset)).copied().unwrap_or(0)
    }

    fn expire(&mut self, now: u64) {
        let ended = self.holds.iter().filter(|(_, hold)| hold.5 <= now);
        let ended: Vec<Id> = ended.map(|(id, _)| *id).collect();
        for id in ended {
            if let Some((from, _, asset, amt, _, _)) = self.holds.remove(&id) {
                self.add(from, asset, i128::from(amt));
            }
        }
    }

    fn codes(&self, request: &Request, transfer: &Transfer) -> Vec<Code> {
        let mut codes = Vec::new();
        if transfer.id == request.id || self.used.contains_key(&transfer.id) {
            codes.push(Code::IdReused);
        }
        let signs = |id: &NodeId| request.by.iter().any(|(by, _)| by == id);
        match &transfer.kind {
            Kind::Plain {
                from,
                to,
                asset,
                amt,
            }
            | Kind::Pending {
                from,
                to,
                asset,
                amt,
                ..
            } => {
                let gift = *to == TREASURY || *to == BURN;
                if !signs(from) || *asset == Asset::Credits || is_system(to) && !gift {
                    codes.push(Code::NotAllowed);
                }
                if !gift && !self.accounts.contains(to) {
                    codes.push(Code::Unknown);
                }
                if let Kind::Pending { arb: Some(arb), .. } = &transfer.kind
                    && !self.accounts.contains(arb)
                {
                    codes.push(Code::Unknown);
                }
                if self.money(from, *asset) < i128::from(*amt) {
                    codes.push(Code::Funds);
                }
            }
            Kind::Post { pend, amt } => match self.holds.get(pend) {
                None => codes.push(self.gone(pend)),
                Some((from, _, _, held, arb, _)) => {
                    if !signs(from) && !arb.as_ref().is_some_and(signs) {
                        codes.push(Code::NotAllowed);
                    }
                    if amt > held {
                        codes.push(Code::Exceeds);
                    }
                }
            },
            Kind::Void { pend } => match self.holds.get(pend) {
                None => codes.push(self.gone(pend)),
                Some((_, to, _, _, arb, _)) => {
                    if !signs(to) && !arb.as_ref().is_some_and(signs) {
                        codes.push(Code::NotAllowed);
                    }
                }
            },
        }
        codes
    }

    fn gone(&self, pend: &Id) -> Code {
        match self.used.contains_key(pend) {
            true => Code::Over,
            false => Code::Unknown,
        }
    }

    fn happen(&mut self, now: u64, transfer: &Transfer) {
        match &transfer.kind {
            Kind::Plain {
                from,
                to,
                asset,
                amt,
            } => {
                self.add(*from, *asset, -i128::from(*amt));
                self.add(*to, *asset, i128::from(*amt));
            }
            Kind::Pending {
                from,
                to,
                asset,
                amt,
                ttl,
                arb,
                ..
            } => {
                self.add(*from, *asset, -i128::from(*amt));
                let hold = (*from, *to, *asset, *amt, *arb, now + ttl * 1_000);
                self.holds.insert(transfer.id, hold);
            }
            Kind::Post { pend, amt } => {
                if let Some((from, to, asset, held, _, _)) = self.holds.remove(pend) {
                    self.add(to, asset, i128::from(*amt));
                    self.add(from, asset, i128::from(held) - i128::from(*amt));
                }
            }
            Kind::Void { pend } => {
                if let Some((from, _, asset, held, _, _)) = self.holds.remove(pend) {
                    self.add(from, asset, i128::from(held));
                }
            }
        }
        self.used.insert(transfer.id, transfer.digest);
    }

    /// Codes of a list's transfers.
    fn run(&mut self, now: u64, request: &Request, list: &[Transfer]) -> Vec<Code> {
        let mut codes = Vec::new();
        let mut chains: Vec<Vec<&Transfer>> = Vec::new();
        let mut open = false;
        for transfer in list {
            match chains.last_mut() {
                Some(chain) if open => chain.push(transfer),
                _ => chains.push(Vec::from([transfer])),
            }
            open = transfer.linked;
        }
        let last = chains.len().saturating_sub(1);
        for (i, chain) in chains.iter().enumerate() {
            let mut own = alloc::vec![Code::LinkFailed; chain.len()];
            if i == last && open {
                own[chain.len() - 1] = Code::LinkOpen;
                codes.extend(own);
                continue;
            }
            let known = |t: &&Transfer| self.used.get(&t.id) == Some(&t.digest);
            if chain.iter().all(known) {
                codes.extend(chain.iter().map(|_| Code::Ok));
                continue;
            }
            let copy = self.clone();
            let mut failed = false;
            for (at, transfer) in chain.iter().enumerate() {
                if let Some(lowest) = self.codes(request, transfer).into_iter().min() {
                    own[at] = lowest;
                    failed = true;
                    break;
                }
                self.happen(now, transfer);
            }
            match failed {
                true => *self = copy,
                false => own = chain.iter().map(|_| Code::Ok).collect(),
            }
            codes.extend(own);
        }
        codes
    }
}

/// Sends lists of transfers to the machine and to the naive ledger, and compares codes and money after each.
///
/// No parameter changes and no epoch ends, so the naive ledger needs only holds, payments and fees. Returns the number of transfers.
pub fn compare_with_naive(data: &[u8]) -> u64 {
    let Some(mut world) = World::new() else {
        panic!("the genesis of the world is not one");
    };
    let mut naive = Naive::default();
    let mut ids = Vec::new();
    for (id, asset, counters) in world.economy.balances() {
        if !is_system(&id) {
            ids.push(id);
            naive.accounts.insert(id);
        }
        let available = i128::try_from(counters.available()).unwrap_or(0);
        naive.add(id, asset, available);
    }
    let fee = world.economy.parameter(Param::FeeTx);
    let mut dice = Dice::new(data);
    let (mut sent, mut compared) = (0_u64, 0);
    while !dice.is_empty() {
        let at = usize::try_from(dice.below(ids.len() as u64)).unwrap_or(0);
        let payer = ids[at];
        // A day and more would end an epoch.
        world.now += dice
            .below(20_000)
            .min(world.economy.next_due() - world.now - 1);
        if world.economy.genesis().epoch_end(0) <= world.now + 1 {
            break;
        }
        let list = world.transfers(&mut dice, payer);
        let nonce = world.economy.nonce(&payer).unwrap_or(0);
        sent += 1;
        let mut id = [0xaa; 16];
        id[..8].copy_from_slice(&sent.to_be_bytes());
        let op = Op::Transfers { list: list.clone() };
        let Some(request) = Request::new(&[(payer, nonce)], world.now + 1_000, id, &op) else {
            continue;
        };
        let Ok(answer) = world.economy.apply_unsigned(world.now, &request) else {
            panic!("the clock of the world never falls");
        };
        naive.expire(world.now);
        compared += list.len() as u64;
        let copy = naive.clone();
        let poor = naive.money(&payer, Asset::Fog) < i128::from(fee);
        naive.add(payer, Asset::Fog, -i128::from(fee));
        let codes = naive.run(world.now, &request, &list);
        if poor {
            naive = copy;
            assert_eq!(answer.code, Code::Funds);
        } else {
            assert_eq!(answer.codes, codes);
            let accepted = codes.contains(&Code::Ok);
            assert_eq!(answer.code == Code::Ok, accepted);
            match accepted {
                true => drop(naive.used.insert(id, request.digest())),
                false => naive = copy,
            }
        }
        if answer.code == Code::Ok {
            for id in &ids {
                for asset in [Asset::Fog, Asset::Units] {
                    let available = world.economy.counters(id, asset).available();
                    assert_eq!(i128::try_from(available), Ok(naive.money(id, asset)));
                }
            }
        }
    }
    compared
}
