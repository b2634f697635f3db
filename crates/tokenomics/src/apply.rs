//! The steps that every request goes through, in the order of the codes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_keys::{Equation, PublicKey, hash};
use betanet_wire::NodeId;

use crate::account::{CLOSED, DAY_MS, NUMBER_END};
use crate::code::{Code, Lowest};
use crate::params::{Param, Role};
use crate::records::verify;
use crate::request::{Envelope, Op, REQUEST_LABEL, Request};
use crate::rows::{Account, Codes, Seen};
use crate::state::Economy;
use crate::{Error, Hash, Id};

/// Most events that happen in one record.
pub const EVENTS_MAX: usize = 256;
/// Least number of signers of a quorum.
const QUORUM_LEAST: usize = 2;

/// The answer to a request or a tick.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Whether it is accepted, or the reason why not.
    pub code: Code,
    /// For transfers, the code of each.
    pub codes: Vec<Code>,
    /// Number of its record; if it is refused, of the next one.
    pub seq: u64,
    /// It was accepted before, and nothing happened now.
    pub repeat: bool,
}

impl Answer {
    /// Whether the request was accepted now, so that it is to be journaled.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.code == Code::Ok && !self.repeat
    }
}

/// A request whose signatures were checked, and the keys that made them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    request: Request,
    keys: Vec<Hash>,
}

impl Verified {
    /// The request.
    #[must_use]
    pub const fn request(&self) -> &Request {
        &self.request
    }
}

/// Most keys that are kept, of some 200 bytes each.
const KEYS_MAX: usize = 16_384;

/// Public keys of accounts that were checked: to check one takes about as long as a signature.
#[derive(Debug, Default)]
pub struct CheckedKeys(BTreeMap<Hash, PublicKey>);

impl CheckedKeys {
    fn check(&mut self, key: &Hash) -> Option<PublicKey> {
        if let Some(known) = self.0.get(key) {
            return Some(*known);
        }
        let checked = PublicKey::from_bytes(key).ok()?;
        // Who fills it pays for its accounts.
        if self.0.len() >= KEYS_MAX {
            self.0.clear();
        }
        self.0.insert(*key, checked);
        Some(checked)
    }
}

/// Why a request counts as its signers'.
enum Proof<'a> {
    /// Signatures to check.
    Signatures(&'a [[u8; 64]]),
    /// Keys with which signatures were checked.
    Keys(&'a [Hash]),
    /// Nothing: a test of what comes after.
    #[cfg(any(test, feature = "testkit"))]
    None,
}

/// A refusal with the codes of its items.
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) codes: Vec<Code>,
}

impl From<Code> for Refused {
    fn from(code: Code) -> Self {
        Self {
            code,
            codes: Vec::new(),
        }
    }
}

/// What operations see of the request around them.
pub(crate) struct Context<'a> {
    pub(crate) now: u64,
    pub(crate) request: &'a Request,
    /// The account that pays.
    pub(crate) by: NodeId,
}

impl Economy {
    /// Applies an envelope at a time. A refused one changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Clock`]: the clock fell.
    pub fn apply(&mut self, now: u64, envelope: &[u8]) -> Result<Answer, Error> {
        self.check_clock(now)?;
        Ok(match Envelope::from_bytes(envelope) {
            Some(e) => self.decide(now, &e.request, Proof::Signatures(&e.sigs)),
            None => self.refuse(Code::Malformed),
        })
    }

    /// Applies a request whose signatures [`Economy::verify`] checked before. If a signer has another key since then, they count no
    /// more.
    ///
    /// # Errors
    ///
    /// [`Error::Clock`]: the clock fell.
    pub fn apply_verified(&mut self, now: u64, verified: &Verified) -> Result<Answer, Error> {
        self.check_clock(now)?;
        Ok(self.decide(now, &verified.request, Proof::Keys(&verified.keys)))
    }

    /// Applies a request without signatures.
    ///
    /// # Errors
    ///
    /// [`Error::Clock`]: the clock fell.
    #[cfg(any(test, feature = "testkit"))]
    pub fn apply_unsigned(&mut self, now: u64, request: &Request) -> Result<Answer, Error> {
        self.check_clock(now)?;
        Ok(self.decide(now, request, Proof::None))
    }

    /// Lets the first 256 events that are due happen, as a record of their own.
    ///
    /// # Errors
    ///
    /// [`Error::Clock`]: the clock fell.
    pub fn tick(&mut self, now: u64) -> Result<Answer, Error> {
        self.check_clock(now)?;
        if self.count_due(now) == 0 {
            return Ok(self.refuse(Code::TooEarly));
        }
        for _ in 0..EVENTS_MAX {
            if !self.happen(now) {
                break;
            }
        }
        Ok(self.accept(now, Vec::new()))
    }

    fn check_clock(&self, now: u64) -> Result<(), Error> {
        let last = self.time();
        match now >= last && now < NUMBER_END / 2 {
            true => Ok(()),
            false => Err(Error::Clock { now, last }),
        }
    }

    fn refuse(&self, code: Code) -> Answer {
        Answer {
            code,
            codes: Vec::new(),
            seq: self.records(),
            repeat: false,
        }
    }

    /// Makes a record's changes final.
    fn accept(&mut self, now: u64, codes: Vec<Code>) -> Answer {
        let mut meta = self.meta();
        let seq = meta.records;
        meta.records = seq.saturating_add(1);
        meta.ts = now;
        self.set_meta(meta);
        self.commit();
        Answer {
            code: Code::Ok,
            codes,
            seq,
            repeat: false,
        }
    }

    /// Checks the signers of an envelope and their signatures.
    ///
    /// # Errors
    ///
    /// [`Code::UnknownSigner`] or [`Code::BadSignature`].
    pub fn verify(&self, envelope: Envelope) -> Result<Verified, Code> {
        let Envelope { request, sigs } = envelope;
        self.check_signers(&request)?;
        self.check_signatures(&request, &sigs)?;
        let keys = request.by.iter().filter_map(|(id, _)| self.key(id));
        let keys = keys.collect();
        Ok(Verified { request, keys })
    }

    /// Checks several envelopes as [`Economy::verify`] does. Together, they take less time.
    ///
    /// Each signature is judged by itself.
    #[must_use]
    pub fn verify_all(
        &self,
        envelopes: Vec<Envelope>,
        keys: &mut CheckedKeys,
    ) -> Vec<Result<Verified, Code>> {
        let mut equations = Vec::new();
        let mut counts = Vec::new();
        for envelope in &envelopes {
            counts.push(self.equations(envelope, keys, &mut equations));
        }
        let mut held = Equation::hold(&equations).into_iter();
        let verified = envelopes.into_iter().zip(counts).map(|(envelope, count)| {
            let (n, keys) = count?;
            // All of them are taken.
            let bad = held.by_ref().take(n).filter(|held| !held).count();
            match bad {
                0 => Ok(Verified {
                    request: envelope.request,
                    keys,
                }),
                _ => Err(Code::BadSignature),
            }
        });
        verified.collect()
    }

    /// Adds the equations of an envelope's signatures. Returns their number, and the keys.
    fn equations(
        &self,
        envelope: &Envelope,
        keys: &mut CheckedKeys,
        all: &mut Vec<Equation>,
    ) -> Result<(usize, Vec<Hash>), Code> {
        let request = &envelope.request;
        self.check_signers(request)?;
        let digest = hash(&[REQUEST_LABEL.as_bytes(), self.genesis.id(), request.body()]);
        let equation = |((id, _), sig): (&(NodeId, u64), &[u8; 64])| {
            let key = self.key(id)?;
            let equation = Equation::of(&keys.check(&key)?, &digest, sig)?;
            Some((key, equation))
        };
        let signed = request.by.iter().zip(&envelope.sigs).map(equation);
        let signed: Option<Vec<_>> = signed.collect();
        let (keys, equations): (Vec<_>, Vec<_>) =
            signed.ok_or(Code::BadSignature)?.into_iter().unzip();
        all.extend(&equations);
        Ok((equations.len(), keys))
    }

    fn check_signers(&self, request: &Request) -> Result<(), Code> {
        let may_sign = |(id, _): &(NodeId, u64)| {
            let account = self.t.accounts.get(&(*id,));
            account.is_some_and(|account| account.flags & CLOSED == 0)
        };
        match request.by.iter().all(may_sign) {
            true => Ok(()),
            false => Err(Code::UnknownSigner),
        }
    }

    fn check_signatures(&self, request: &Request, sigs: &[[u8; 64]]) -> Result<(), Code> {
        let text: [&[u8]; 2] = [self.genesis.id(), request.body()];
        let signed = |((id, _), sig): (&(NodeId, u64), &[u8; 64])| {
            let key = self.key(id);
            key.is_some_and(|key| verify(&key, REQUEST_LABEL, &text, sig))
        };
        match request.by.iter().zip(sigs).all(signed) {
            true => Ok(()),
            false => Err(Code::BadSignature),
        }
    }

    /// Whether the keys that signatures were checked with are still the signers'.
    fn check_keys(&self, request: &Request, keys: &[Hash]) -> Result<(), Code> {
        let same = |((id, _), key): (&(NodeId, u64), &Hash)| self.key(id).as_ref() == Some(key);
        match request.by.iter().zip(keys).all(same) {
            true => Ok(()),
            false => Err(Code::BadSignature),
        }
    }

    fn decide(&mut self, now: u64, request: &Request, proof: Proof<'_>) -> Answer {
        if let Err(code) = self.check_signers(request) {
            return self.refuse(code);
        }
        let proven = match proof {
            Proof::Signatures(sigs) => self.check_signatures(request, sigs),
            Proof::Keys(keys) => self.check_keys(request, keys),
            #[cfg(any(test, feature = "testkit"))]
            Proof::None => Ok(()),
        };
        if let Err(code) = proven {
            return self.refuse(code);
        }
        let digest = request.digest();
        match self.seen(&request.id, &digest) {
            None => {}
            Some(Some(answer)) => return answer,
            Some(None) => return self.refuse(Code::IdReused),
        }
        if let Err(code) = self.check_frame(now, request) {
            return self.refuse(code);
        }
        // All that is due happens first, and is undone with a refused request.
        let start = self.t.mark();
        while self.happen(now) {}
        match self.operate(now, request) {
            Ok(codes) => {
                for (id, _) in &request.by {
                    self.raise_nonce(id);
                }
                self.note_seen(request.id, digest, &codes);
                self.accept(now, codes)
            }
            Err(Refused { code, codes }) => {
                self.t.back(start);
                Answer {
                    codes,
                    ..self.refuse(code)
                }
            }
        }
    }

    /// The checks between those of IDs and those of the operation.
    fn check_frame(&self, now: u64, request: &Request) -> Result<(), Code> {
        if request.exp <= now || request.exp > now.saturating_add(DAY_MS) {
            return Err(Code::Expired);
        }
        let is_next = |(id, nonce): &(NodeId, u64)| self.nonce(id) == Some(*nonce);
        if !request.by.iter().all(is_next) {
            return Err(Code::BadNonce);
        }
        if self.count_due(now) > EVENTS_MAX {
            return Err(Code::Busy);
        }
        if request.op.pauses() && now < self.meta().paused {
            return Err(Code::Paused);
        }
        Ok(())
    }

    /// Whether an ID is known: with its answer if the content is the same.
    fn seen(&self, id: &Id, digest: &Hash) -> Option<Option<Answer>> {
        let seen = self.t.seen.get(&(*id,))?;
        if seen.hash != *digest {
            return Some(None);
        }
        Some(Some(Answer {
            code: Code::Ok,
            codes: seen.codes.as_slice().to_vec(),
            seq: seen.record,
            repeat: true,
        }))
    }

    pub(crate) fn note_seen(&mut self, id: Id, hash: Hash, codes: &[Code]) {
        let codes = Codes::of(codes);
        let record = self.records();
        let seen = Seen {
            hash,
            codes,
            record,
        };
        self.t.seen.set((id,), seen);
    }

    fn raise_nonce(&mut self, id: &NodeId) {
        let raise = |account: &mut Account| account.nonce = account.nonce.saturating_add(1);
        self.t.accounts.edit(&(*id,), raise);
    }

    /// Takes the fee and does the operation. The caller undoes what a refused one changed.
    fn operate(&mut self, now: u64, request: &Request) -> Result<Vec<Code>, Refused> {
        let context = Context {
            now,
            request,
            by: request.payer(),
        };
        let fee = match request.op.costs_fee() {
            true => self.parameter(Param::FeeTx),
            false => 0,
        };
        if let Op::Transfers { list } = &request.op {
            self.charge(context.by, fee)?;
            return self.transfers(&context, list);
        }
        let last = matches!(request.op, Op::Swap { back: true, .. });
        let mut lowest = Lowest::default();
        if fee > 0 && !last {
            lowest.join(self.charge(context.by, fee));
        }
        lowest.join(self.one(&context, &request.op));
        if fee > 0 && last {
            lowest.join(self.charge(context.by, fee));
        }
        lowest.done()?;
        Ok(Vec::new())
    }

    fn one(&mut self, c: &Context<'_>, op: &Op) -> Result<(), Code> {
        match op {
            Op::Transfers { .. } => Ok(()),
            Op::Open { key, kind } => self.open(c, *key, *kind),
            Op::Rekey { key } => self.rekey(c, *key),
            Op::Close => self.close(c),
            Op::Bond { amt, comm } => self.bond(c, *amt, *comm),
            Op::Delegate { amt, node } => self.delegate(c, *amt, *node),
            Op::Unbond { amt, node } => self.unbond(c, *amt, *node),
            Op::Redelegate { amt, from, to } => self.redelegate(c, *amt, *from, *to),
            Op::Unjail => self.unjail(c),
            Op::Evidence { kind, list, task } => self.evidence(c, *kind, list, task),
            Op::Audit { list } => self.note_probes(c, list),
            Op::Reserve {
                amt,
                credit,
                of,
                kind,
                ttl,
            } => self.reserve(c, (*amt, *credit), (*kind, *of), *ttl),
            Op::Settle {
                status,
                out,
                end,
                list,
                res,
            } => self.settle(c, (status, out), *end, list, res),
            Op::Swap { back, vu } => self.swap(c, *back, *vu),
            Op::Buy { keyset, vu, .. } => self.buy(c, keyset, *vu),
            Op::Redeem {
                ans,
                keyset,
                to,
                vu,
            } => self.redeem(c, ans, keyset, (*to, *vu)),
            Op::Meter {
                ckey,
                csig,
                hold,
                rec,
                rkey,
                rsig,
            } => self.meter(c, hold, rec, [(ckey, csig), (rkey, rsig)]),
            Op::Propose {
                eff,
                raw,
                each,
                text,
            } => self.propose(c, (eff, raw, each), text),
            Op::Vote { pid, v } => self.vote(c, *pid, *v),
            Op::Cancel { pid } => self.cancel(c, pid),
            Op::Execute { pid } => self.execute(c, pid),
            Op::Brake { pid: Some(pid) } => self.veto(c, pid),
            Op::Brake { pid: None } => self.pause(c),
        }
    }

    /// Whether more than half of a role and at least two signed, and nobody else.
    pub(crate) fn quorum(&self, request: &Request, role: Role) -> Result<(), Code> {
        let members = self.role(role);
        let is_member = |(id, _): &(NodeId, u64)| members.iter().any(|m| m[..] == id.0);
        let signers = request.by.len();
        let enough = signers >= QUORUM_LEAST && signers * 2 > members.len();
        match enough && request.by.iter().all(is_member) {
            true => Ok(()),
            false => Err(Code::NotAllowed),
        }
    }

    fn open(&mut self, c: &Context<'_>, key: Hash, kind: u64) -> Result<(), Code> {
        let id = crate::account::address(&key);
        if self.has_account(&id) {
            return Err(Code::Exists);
        }
        let fee = self.parameter(Param::FeeOpen);
        self.charge(c.by, fee)?;
        self.open_account(id, key, kind);
        Ok(())
    }

    fn rekey(&mut self, c: &Context<'_>, key: Hash) -> Result<(), Code> {
        let account = self.t.accounts.get(&(c.by,)).ok_or(Code::UnknownSigner)?;
        let mut account = account.clone();
        account.key = key;
        self.t.accounts.set((c.by,), account);
        Ok(())
    }

    fn close(&mut self, c: &Context<'_>) -> Result<(), Code> {
        let account = self.t.accounts.get(&(c.by,)).ok_or(Code::UnknownSigner)?;
        let mut account = account.clone();
        let zero = NodeId([0; 20]);
        let staked = self.t.stakes.owned(c.by, (zero, zero)).next().is_some();
        let unbonding = self.t.unbondings.owned(c.by, (zero, zero, 0));
        let reserved = self.t.reservations.owned(c.by, ([0; 16],));
        let busy = staked
            || unbonding.count() > 0
            || reserved.count() > 0
            || self.is_proposing(&c.by, true);
        if busy || !self.is_empty(&c.by) {
            return Err(Code::NotEmpty);
        }
        account.flags |= CLOSED;
        self.t.accounts.set((c.by,), account);
        Ok(())
    }

    /// The row of a known ID that holds nothing: it was used, or it was not.
    pub(crate) fn ended(&self, id: &Id) -> Code {
        match self.t.seen.has(&(*id,)) {
            true => Code::Over,
            false => Code::Unknown,
        }
    }
}
