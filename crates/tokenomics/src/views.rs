//! What services read of the state: reservations, paid receipts, and rows by page.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{CLOSED, NODE};
use crate::govern::effects;
use crate::records::Receipt;
use crate::request::Effect;
use crate::slash::{WRONG, offence_mark};
use crate::state::Economy;
use crate::work::receipt_mark;
use crate::{Code, Hash, Id};

/// Effects of a proposal's row.
#[must_use]
pub fn effects_of(raw: &[u8]) -> Vec<Effect> {
    let all = effects(raw).into_iter();
    all.map(|(effect, _)| effect).collect()
}

/// A reservation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reserved {
    /// µ that are left in it, credits included.
    pub amt: u64,
    /// When what is left returns, in UNIX ms.
    pub due: u64,
}

impl Economy {
    /// The reservation that the request with this ID made, if it is this client's for this task (`kind` 0) or bid (1).
    #[must_use]
    pub fn reservation(
        &self,
        id: &Id,
        client: &NodeId,
        (kind, of): (u64, &Hash),
    ) -> Option<Reserved> {
        let row = self.t.reservations.get(&(*id,))?;
        let same = row.client == *client && row.kind == kind && row.of == *of;
        same.then_some(Reserved {
            amt: row.amt,
            due: row.due,
        })
    }

    /// Whether there is a reservation of this ID.
    #[must_use]
    pub fn has_reservation(&self, id: &Id) -> bool {
        self.t.reservations.has(&(*id,))
    }

    /// Whether a task's receipt, encoded as in an item of a settlement, was paid.
    #[must_use]
    pub fn is_paid_receipt(&self, record: &[u8]) -> bool {
        let receipt = Receipt::from_bytes(record);
        receipt.is_some_and(|r| self.t.once.has(&(receipt_mark(&r),)))
    }

    /// Whether evidence that this receipt is wrong would count: its node has bonded, and was not punished for the task before.
    #[must_use]
    pub fn is_open_offence(&self, receipt: &[u8]) -> bool {
        let open = || {
            let key = Receipt::from_bytes(receipt)?.key;
            let (id, _) = self.node_of(&key)?;
            let mark = offence_mark(WRONG, &id, receipt)?;
            Some(!self.t.once.has(&(mark,)))
        };
        open().unwrap_or(false)
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
