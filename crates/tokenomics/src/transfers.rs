//! Transfers: plain, pending, posted, voided, and chains of them.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Asset;
use crate::Id;
use crate::account::{BURN, TREASURY, is_system};
use crate::apply::{Context, Refused};
use crate::code::{Code, Lowest};
use crate::request::{Kind, Transfer};
use crate::rows::Hold;
use crate::state::Economy;

/// Milliseconds in a second.
const SECOND: u64 = 1_000;

/// A pending transfer, as it is made.
struct Pending {
    asset: Asset,
    amt: u64,
    due: u64,
    arb: Option<NodeId>,
    price: u64,
}

impl Economy {
    /// Runs a list. It is accepted if one item is.
    pub(crate) fn transfers(
        &mut self,
        c: &Context<'_>,
        list: &[Transfer],
    ) -> Result<Vec<Code>, Refused> {
        let mut codes = Vec::with_capacity(list.len());
        let mut rest = list;
        while !rest.is_empty() {
            let linked = rest.iter().take_while(|t| t.linked).count();
            if linked == rest.len() {
                // The list leaves the chain open.
                codes.resize(codes.len() + linked - 1, Code::LinkFailed);
                codes.push(Code::LinkOpen);
                break;
            }
            let (chain, others) = rest.split_at(linked + 1);
            self.chain(c, chain, &mut codes);
            rest = others;
        }
        if codes.contains(&Code::Ok) {
            return Ok(codes);
        }
        let first = codes.iter().find(|code| **code != Code::LinkFailed);
        let code = first.copied().unwrap_or(Code::LinkFailed);
        Err(Refused { code, codes })
    }

    /// Runs a chain: all of it or nothing.
    fn chain(&mut self, c: &Context<'_>, chain: &[Transfer], codes: &mut Vec<Code>) {
        if let [one] = chain {
            let seen = self.t.seen.get(&(one.id,));
            let known = seen.map(|seen| seen.hash == one.digest);
            codes.push(match known {
                Some(true) => Code::Ok,
                Some(false) => Code::IdReused,
                // What is refused has changed nothing.
                None => self.fresh(c, one).err().unwrap_or(Code::Ok),
            });
            return;
        }
        let is_known = |t: &Transfer| {
            let seen = self.t.seen.get(&(t.id,));
            seen.is_some_and(|seen| seen.hash == t.digest)
        };
        if chain.iter().all(is_known) {
            codes.resize(codes.len() + chain.len(), Code::Ok);
            return;
        }
        let start = self.t.mark();
        for (i, transfer) in chain.iter().enumerate() {
            if let Err(code) = self.transfer(c, transfer) {
                self.t.back(start);
                let first = codes.len();
                codes.resize(first + chain.len(), Code::LinkFailed);
                codes[first + i] = code;
                return;
            }
        }
        codes.resize(codes.len() + chain.len(), Code::Ok);
    }

    fn transfer(&mut self, c: &Context<'_>, transfer: &Transfer) -> Result<(), Code> {
        match self.t.seen.has(&(transfer.id,)) {
            true => Err(Code::IdReused),
            false => self.fresh(c, transfer),
        }
    }

    /// Runs a transfer whose ID is not known. All checks come before the first change.
    fn fresh(&mut self, c: &Context<'_>, transfer: &Transfer) -> Result<(), Code> {
        if transfer.id == c.request.id {
            return Err(Code::IdReused);
        }
        match &transfer.kind {
            Kind::Plain {
                from,
                to,
                asset,
                amt,
            } => {
                self.check_ends(c, from, to, *asset)?;
                self.payer(from, *asset, u128::from(*amt))?;
                self.shift(*from, *to, *asset, *amt);
            }
            Kind::Pending {
                from,
                to,
                asset,
                amt,
                ttl,
                arb,
                price,
            } => {
                let mut lowest = Lowest::default();
                lowest.join(self.check_ends(c, from, to, *asset));
                let known = arb.is_none_or(|arb| self.has_account(&arb));
                lowest.when(!known, Code::Unknown);
                lowest.done()?;
                self.payer(from, *asset, u128::from(*amt))?;
                let pending = Pending {
                    asset: *asset,
                    amt: *amt,
                    due: c.now.saturating_add(ttl.saturating_mul(SECOND)),
                    arb: *arb,
                    price: *price,
                };
                self.pend(transfer.id, *from, *to, &pending);
            }
            Kind::Post { pend, amt } => {
                let hold = self.find_hold(pend)?;
                if !self.is_party(c, &hold.from, &hold) {
                    return Err(Code::NotAllowed);
                }
                if self.is_frozen(&hold.from) {
                    return Err(Code::Frozen);
                }
                if *amt > hold.amt {
                    return Err(Code::Exceeds);
                }
                self.post(pend, &hold, *amt);
            }
            Kind::Void { pend } => {
                let hold = self.find_hold(pend)?;
                if !self.is_party(c, &hold.to, &hold) {
                    return Err(Code::NotAllowed);
                }
                self.post(pend, &hold, 0);
            }
        }
        self.note_seen(transfer.id, transfer.digest, &[Code::Ok]);
        Ok(())
    }

    /// Whether payer and payee of a transfer may be such.
    fn check_ends(
        &self,
        c: &Context<'_>,
        from: &NodeId,
        to: &NodeId,
        asset: Asset,
    ) -> Result<(), Code> {
        let gift = *to == TREASURY || *to == BURN;
        let closed_system = is_system(to) && !gift;
        if !c.request.signed_by(from) || closed_system || asset == Asset::Credits {
            return Err(Code::NotAllowed);
        }
        match gift {
            true => Ok(()),
            false => self.payee(to),
        }
    }

    fn pend(&mut self, id: Id, from: NodeId, to: NodeId, pending: &Pending) {
        self.hold(from, to, pending.asset, pending.amt);
        let hold = Hold {
            from,
            to,
            asset: pending.asset,
            amt: pending.amt,
            due: pending.due,
            arb: pending.arb.map_or_else(Vec::new, |arb| arb.0.to_vec()),
            price: pending.price,
        };
        self.t.holds.set((id,), hold);
    }

    pub(crate) fn find_hold(&self, id: &Id) -> Result<Hold, Code> {
        let hold = self.t.holds.get(&(*id,)).cloned();
        hold.ok_or_else(|| self.ended(id))
    }

    /// Whether a signer is this party of a hold, or its arbiter.
    fn is_party(&self, c: &Context<'_>, party: &NodeId, hold: &Hold) -> bool {
        let is = |id: &NodeId| id == party || hold.arb[..] == id.0;
        c.request.by.iter().any(|(id, _)| is(id))
    }

    /// Ends a hold: moves an amount of it, and frees the rest.
    pub(crate) fn post(&mut self, id: &Id, hold: &Hold, amt: u64) {
        self.free(hold.from, hold.to, hold.asset, hold.amt);
        self.shift(hold.from, hold.to, hold.asset, amt);
        self.t.holds.remove(&(*id,));
    }
}
