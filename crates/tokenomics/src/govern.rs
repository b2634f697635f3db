//! Governance: proposals, votes, and the guardians' brake.

use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_wire::NodeId;
use betanet_wire::cbor::Reader;

use crate::account::{BURN, DAY_MS, ESCROW};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::math::{PPM, narrow, share};
use crate::params::{Param, Role};
use crate::read;
use crate::records::proposal_id;
use crate::request::{EFFECTS_MAX, Effect};
use crate::rows::{Cooling, Flag, Item, Proposal, Vote, stage};
use crate::stake::{FIRST, LAST};
use crate::state::Economy;
use crate::{Asset, Hash, Id};

/// Length of a pause.
const PAUSE_MS: u64 = 3 * DAY_MS;
/// So many pauses start within [`PAUSES_MS`].
const PAUSES_MAX: usize = 2;
const PAUSES_MS: u64 = 30 * DAY_MS;
/// A vote for a proposal, and one that abstains; 0 is against.
pub(crate) const FOR: u64 = 1;
pub(crate) const ABSTAIN: u64 = 2;

/// Effects as they are proposed: read, encoded together, and each.
type Effects<'a> = (&'a [Effect], &'a [u8], &'a [Vec<u8>]);

/// Effects of a proposal with the encoding of each.
pub(crate) fn effects(raw: &[u8]) -> Vec<(Effect, Vec<u8>)> {
    let one = |r: &mut Reader<'_>| {
        let item = r.skip()?;
        let effect = Effect::read(&mut Reader::new(item))?;
        Ok((effect, item.to_vec()))
    };
    // It was checked before it was stored.
    read::list(&mut Reader::new(raw), (1, EFFECTS_MAX), one).unwrap_or_default()
}

impl Economy {
    /// Whether an account has an open proposal, or an open or passed one.
    pub(crate) fn is_proposing(&self, id: &NodeId, only_open: bool) -> bool {
        let mut keys = self.t.proposals.owned(*id, ([0; 16],));
        keys.any(|key| {
            let row = self.t.proposals.get(key);
            row.is_some_and(|row| !only_open || row.stage == stage::OPEN)
        })
    }

    /// Power of all stake in an epoch's snapshot.
    fn all_power(&self, epoch: u32) -> u64 {
        let rows = self.t.snapshots.range((epoch, FIRST)..=(epoch, LAST));
        rows.flat_map(|(_, row)| &row.holders)
            .map(|part| part.1)
            .sum()
    }

    /// Nodes with which an account has stake in a snapshot, with the amounts.
    pub(crate) fn parts(&self, epoch: u32, id: NodeId) -> Vec<(NodeId, u64)> {
        let keys = self.t.snapshots.owned(id, (epoch, FIRST));
        let keys = keys.take_while(|key| key.0 == epoch);
        let part = |key: &(u32, NodeId)| {
            let holders = &self.t.snapshots.get(key)?.holders;
            let at = holders.binary_search_by_key(&id, |part| part.0).ok()?;
            Some((key.1, holders.get(at)?.1))
        };
        keys.filter_map(part).collect()
    }

    /// What others lend a node in a snapshot, but for holders that `leave_out` names. A jailed node is lent nothing.
    pub(crate) fn lent(&self, epoch: u32, id: NodeId, leave_out: impl Fn(&NodeId) -> bool) -> u64 {
        match self.t.snapshots.get(&(epoch, id)) {
            Some(row) if !row.jailed.0 => {
                let lenders = row.holders.iter().filter(|part| part.0 != id);
                let lenders = lenders.filter(|part| !leave_out(&part.0));
                lenders.map(|part| part.1).sum()
            }
            _ => 0,
        }
    }

    pub(crate) fn propose(
        &mut self,
        c: &Context<'_>,
        (eff, raw, each): Effects<'_>,
        text: &Hash,
    ) -> Result<(), Code> {
        let meta = self.meta();
        let last = meta.epoch.checked_sub(1);
        let epoch = last.and_then(|epoch| u32::try_from(epoch).ok());
        let all = epoch.map_or(0, |epoch| self.all_power(epoch));
        let own = epoch.map_or(0, |epoch| self.power(epoch, c.by));
        let needed = u128::from(all) * u128::from(self.parameter(Param::PropPpm));
        let mut lowest = Lowest::default();
        lowest.when(all == 0 || u128::from(own) * PPM < needed, Code::LowPower);
        for (effect, encoded) in eff.iter().zip(each) {
            lowest.join(self.check_proposed(effect));
            let cooling = self.t.cooling.get(&(hash(&[encoded]),));
            let rests = cooling.is_some_and(|row| row.until > c.now);
            lowest.when(*effect != Effect::Text && rests, Code::Cooldown);
        }
        lowest.when(self.is_proposing(&c.by, false), Code::Limit);
        let deposit = self.parameter(Param::Deposit);
        lowest.join(self.payer(&c.by, Asset::Fog, u128::from(deposit)));
        lowest.done()?;
        self.shift(c.by, ESCROW, Asset::Fog, deposit);
        let open = c.now.saturating_add(self.parameter(Param::DelayMs));
        let quorum = u128::from(all) * u128::from(self.parameter(Param::QuorumPpm));
        let pass = match eff.iter().any(Effect::is_constitutional) {
            true => Param::SuperPpm,
            false => Param::PassPpm,
        };
        let proposal = Proposal {
            proposer: c.by,
            stage: stage::OPEN,
            epoch: last.unwrap_or(0),
            before: meta.before_epoch,
            open,
            end: open.saturating_add(self.parameter(Param::VoteMs)),
            extended: Flag(false),
            eta: 0,
            need: narrow(quorum.div_ceil(PPM)),
            pass: self.parameter(pass),
            yes: 0,
            no: 0,
            abstain: 0,
            deposit,
            lock_ms: self.parameter(Param::LockMs),
            grace_ms: self.parameter(Param::GraceMs),
            cool_ms: self.parameter(Param::CoolMs),
            ext_ms: self.parameter(Param::ExtMs),
            eff: Item(raw.to_vec()),
            text: *text,
        };
        let pid = proposal_id(c.request.body());
        self.t.proposals.set((pid,), proposal);
        Ok(())
    }

    /// Own and lent power of an account.
    fn power(&self, epoch: u32, id: NodeId) -> u64 {
        let own: u64 = self.parts(epoch, id).iter().map(|(_, amt)| *amt).sum();
        own.saturating_add(self.lent(epoch, id, |_| false))
    }

    pub(crate) fn vote(&mut self, c: &Context<'_>, pid: Id, v: u64) -> Result<(), Code> {
        let row = self.t.proposals.get(&(pid,)).ok_or(Code::Unknown)?;
        let mut row = row.clone();
        let paid: Vec<NodeId> = effects(&row.eff.0)
            .iter()
            .filter_map(|(effect, _)| match effect {
                Effect::Spend { to, .. } => Some(*to),
                _ => None,
            })
            .collect();
        let epoch = u32::try_from(row.epoch).unwrap_or(u32::MAX);
        let parts = self.parts(epoch, c.by);
        let own: u64 = parts.iter().map(|(_, amt)| *amt).sum();
        let lent = {
            let may_have_voted = self.voters.of(&pid);
            self.lent(epoch, c.by, |holder| {
                let voted = || self.t.votes.has(&(pid, *holder));
                paid.contains(holder) || may_have_voted(holder) && voted()
            })
        };
        let mut lowest = Lowest::default();
        lowest.when(row.stage != stage::OPEN || c.now >= row.end, Code::Over);
        lowest.when(c.now < row.open, Code::TooEarly);
        lowest.when(self.t.votes.has(&(pid, c.by)), Code::Once);
        lowest.when(paid.contains(&c.by), Code::Conflict);
        lowest.when(own == 0 && lent == 0, Code::LowPower);
        lowest.done()?;
        let before = row.turnout();
        if before == 0 {
            // A vote has power, which stays counted as somebody's: this is the first one.
            self.voters.begin(pid);
        }
        self.voters.note(&pid, &c.by);
        for (node, amt) in parts {
            if node != c.by {
                self.take_back(pid, &mut row, (epoch, node), amt);
            }
        }
        *row.count(v) += own.saturating_add(lent);
        let vote = Vote { vote: v, own, lent };
        self.t.votes.set((pid, c.by), vote);
        let need = u128::from(row.need);
        let reached = before < need && row.turnout() >= need;
        if reached && !row.extended.0 && row.end - c.now < row.ext_ms {
            row.end = c.now.saturating_add(row.ext_ms);
            row.extended = Flag(true);
        }
        self.t.proposals.set((pid,), row);
        Ok(())
    }

    /// Takes a holder's stake out of its node's vote, if the node voted with it.
    fn take_back(&mut self, pid: Id, row: &mut Proposal, at: (u32, NodeId), amt: u64) {
        let jailed = self.t.snapshots.get(&at).is_none_or(|row| row.jailed.0);
        let vote = self.t.votes.get(&(pid, at.1)).cloned();
        if let (false, Some(mut vote)) = (jailed, vote) {
            vote.lent = vote.lent.saturating_sub(amt);
            let count = row.count(vote.vote);
            *count = count.saturating_sub(amt);
            self.t.votes.set((pid, at.1), vote);
        }
    }

    /// Counts a vote that ended at `at`.
    pub(crate) fn end_vote(&mut self, pid: Id, mut row: Proposal, at: u64) {
        self.voters.end(&pid);
        let quorum = row.turnout() >= u128::from(row.need);
        let to = match quorum {
            true => row.proposer,
            false => BURN,
        };
        self.shift(ESCROW, to, Asset::Fog, row.deposit);
        row.deposit = 0;
        let decided = u128::from(row.yes) + u128::from(row.no);
        let passed = u128::from(row.yes) * PPM > u128::from(row.pass) * decided;
        if quorum && passed {
            row.stage = stage::PASSED;
            row.eta = at.saturating_add(row.lock_ms);
        } else {
            row.stage = stage::DEFEATED;
            self.cool(&row, at);
        }
        self.t.proposals.set((pid,), row);
    }

    /// Lets the effects of a proposal rest.
    fn cool(&mut self, row: &Proposal, at: u64) {
        let until = at.saturating_add(row.cool_ms);
        for (effect, encoded) in effects(&row.eff.0) {
            if effect != Effect::Text {
                let key = (hash(&[&encoded]),);
                self.t.cooling.set(key, Cooling { until });
            }
        }
    }

    pub(crate) fn cancel(&mut self, c: &Context<'_>, pid: &Id) -> Result<(), Code> {
        let row = self.t.proposals.get(&(*pid,)).ok_or(Code::Unknown)?;
        let mut row = row.clone();
        if row.proposer != c.by {
            return Err(Code::NotAllowed);
        }
        if row.stage != stage::OPEN || c.now >= row.open {
            return Err(Code::Over);
        }
        let half = row.deposit / 2;
        self.shift(ESCROW, row.proposer, Asset::Fog, half);
        self.shift(ESCROW, BURN, Asset::Fog, row.deposit - half);
        row.deposit = 0;
        row.stage = stage::CANCELLED;
        self.t.proposals.set((*pid,), row);
        Ok(())
    }

    pub(crate) fn veto(&mut self, c: &Context<'_>, pid: &Id) -> Result<(), Code> {
        let mut lowest = Lowest::default();
        lowest.join(self.quorum(c.request, Role::Guardians));
        let Some(mut row) = self.t.proposals.get(&(*pid,)).cloned() else {
            lowest.add(Code::Unknown);
            return lowest.done();
        };
        let of_guardians = |(effect, _): &(Effect, Vec<u8>)| matches!(effect, Effect::Role { role, .. } if *role == Role::Guardians);
        let own = effects(&row.eff.0).iter().any(of_guardians);
        lowest.when(own, Code::NotAllowed);
        lowest.when(row.stage == stage::OPEN, Code::TooEarly);
        let ended = row.stage > stage::PASSED || row.stage == stage::PASSED && c.now >= row.eta;
        lowest.when(ended, Code::Over);
        lowest.done()?;
        row.stage = stage::VETOED;
        self.cool(&row, c.now);
        self.t.proposals.set((*pid,), row);
        Ok(())
    }

    pub(crate) fn pause(&mut self, c: &Context<'_>) -> Result<(), Code> {
        self.quorum(c.request, Role::Guardians)?;
        let mut meta = self.meta();
        meta.pauses.retain(|start| c.now - start < PAUSES_MS);
        if meta.pauses.len() >= PAUSES_MAX {
            return Err(Code::Limit);
        }
        meta.pauses.push(c.now);
        meta.paused = c.now.saturating_add(PAUSE_MS);
        self.set_meta(meta);
        Ok(())
    }

    /// µFOG that one proposal may spend.
    pub(crate) fn spendable(&self) -> u64 {
        let treasury = self.held(&crate::account::TREASURY, Asset::Fog);
        share(treasury, self.parameter(Param::SpendPpm))
    }
}

impl Proposal {
    /// All votes, abstentions included.
    fn turnout(&self) -> u128 {
        u128::from(self.yes) + u128::from(self.no) + u128::from(self.abstain)
    }

    fn count(&mut self, vote: u64) -> &mut u64 {
        match vote {
            FOR => &mut self.yes,
            ABSTAIN => &mut self.abstain,
            _ => &mut self.no,
        }
    }
}
