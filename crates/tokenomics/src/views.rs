//! What services read of the state: reservations by purpose, and rows by page.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{CLOSED, NODE};
use crate::govern::effects;
use crate::request::Effect;
use crate::rows::purpose;
use crate::state::Economy;
use crate::{Code, Hash, Id};

/// Effects of a proposal's row.
#[must_use]
pub fn effects_of(raw: &[u8]) -> Vec<Effect> {
    let all = effects(raw).into_iter();
    all.map(|(effect, _)| effect).collect()
}

/// Reservations of one client and purpose that are looked at.
const SAME_MAX: usize = 16;

/// A reservation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// ID of the request that made it.
    pub id: Id,
    /// µ that are left in it, credits included.
    pub amt: u64,
    /// When what is left returns, in UNIX ms.
    pub due: u64,
}

impl Economy {
    /// A client's reservation for a task (`kind` 0) or a bid (1). Of several, the one with most left; ties to the lower ID.
    #[must_use]
    pub fn reserved(&self, client: &NodeId, kind: u64, of: &Hash) -> Option<Reserved> {
        let name = purpose(client, kind, of);
        let keys = self.t.reservations.owned(name, ([0; 16],)).take(SAME_MAX);
        let found = keys.filter_map(|key| {
            let row = self.t.reservations.get(key)?;
            Some(Reserved {
                id: key.0,
                amt: row.amt,
                due: row.due,
            })
        });
        let mut best: Option<Reserved> = None;
        for one in found {
            if best.is_none_or(|b| one.amt > b.amt) {
                best = Some(one);
            }
        }
        best
    }

    /// What would come of a proposal's effects if they were executed at this time. The state stays as it is.
    pub fn try_effects(&mut self, pid: &Id, now: u64) -> Option<Code> {
        let raw = self.t.proposals.get(&(*pid,))?.eff.0.clone();
        let start = self.t.mark();
        let tried = self.take_effect(now, &raw);
        self.t.back(start);
        Some(tried.err().unwrap_or(Code::Ok))
    }

    /// Whether an account is a node's and open, so that work is paid to it.
    #[must_use]
    pub fn is_paid_node(&self, id: &NodeId) -> bool {
        let account = self.t.accounts.get(&(*id,));
        account.is_some_and(|a| a.kind == NODE && a.flags & CLOSED == 0)
    }

    /// Up to `n` rows of a table whose keys follow `after`, as encoded keys and values.
    #[must_use]
    pub fn page(&self, table: u8, after: Option<&[u8]>, n: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let t = &self.t;
        match table {
            1 => t.accounts.page(after, n),
            3 => t.holds.page(after, n),
            4 => t.reservations.page(after, n),
            5 => t.nodes.page(after, n),
            10 => t.proposals.page(after, n),
            12 => t.parameters.page(after, n),
            13 => t.roles.page(after, n),
            _ => Vec::new(),
        }
    }

    /// Number of accounts, holds, reservations and proposals.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        let t = &self.t;
        [
            t.accounts.len(),
            t.holds.len(),
            t.reservations.len(),
            t.proposals.len(),
        ]
    }
}
