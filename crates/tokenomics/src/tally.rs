//! Tallies of open proposals, counted anew.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Id;
use crate::audit::{Imbalance, equal};
use crate::govern::{ABSTAIN, FOR, effects};
use crate::request::Effect;
use crate::rows::{Proposal, Vote, stage};
use crate::stake::{FIRST, LAST};
use crate::state::Economy;

impl Economy {
    /// Counts the votes of all open proposals anew, from their snapshots and from who voted how.
    ///
    /// # Errors
    ///
    /// The first vote or sum that is other than the state says.
    pub fn audit_tallies(&self) -> Result<(), Imbalance> {
        let open = self.t.proposals.iter();
        let mut open = open.filter(|(_, row)| row.stage == stage::OPEN);
        open.try_for_each(|(key, row)| self.audit_tally(&key.0, row))
    }

    fn audit_tally(&self, pid: &Id, row: &Proposal) -> Result<(), Imbalance> {
        let epoch = u32::try_from(row.epoch).unwrap_or(u32::MAX);
        let effects = effects(&row.eff.0);
        let paid = effects.iter().filter_map(|(effect, _)| match effect {
            Effect::Spend { to, .. } => Some(*to),
            _ => None,
        });
        let paid: Vec<NodeId> = paid.collect();
        let votes = self.t.votes.range((*pid, FIRST)..=(*pid, LAST));
        let votes: Vec<(NodeId, &Vote)> = votes.map(|(key, vote)| (key.1, vote)).collect();
        let has_voted = |id: &NodeId| votes.binary_search_by_key(id, |(voter, _)| *voter).is_ok();
        let [mut no, mut yes, mut abstain] = [0_u128; 3];
        for (voter, vote) in &votes {
            let own = self.parts(epoch, *voter);
            let own: u64 = own.iter().map(|(_, amt)| *amt).sum();
            let lent = self.lent(epoch, *voter, |id| paid.contains(id) || has_voted(id));
            equal("a voter's power is its stake", vote.own.into(), own.into())?;
            equal("lent power is lent stake", vote.lent.into(), lent.into())?;
            let power = u128::from(own) + u128::from(lent);
            match vote.vote {
                FOR => yes += power,
                ABSTAIN => abstain += power,
                _ => no += power,
            }
        }
        equal("votes for a proposal are their sum", row.yes.into(), yes)?;
        equal("votes against a proposal are their sum", row.no.into(), no)?;
        equal("abstentions are their sum", row.abstain.into(), abstain)
    }

    /// Adds votes for a proposal that nobody gave, so that tests can find them.
    #[cfg(any(test, feature = "testkit"))]
    pub fn miscount(&mut self, pid: &Id, votes: u64) {
        if let Some(mut row) = self.t.proposals.get(&(*pid,)).cloned() {
            row.yes = row.yes.saturating_add(votes);
            self.t.proposals.set((*pid,), row);
        }
    }
}
