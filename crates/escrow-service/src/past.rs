//! What the ledger's records say of a reservation that was settled in parts, or is gone.

use std::collections::BTreeSet;

use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Envelope, Id};
use betanet_wire::NodeId;

/// A settlement's name in its record.
const SETTLE: &[u8] = b"settle";
/// Records of one look: the ledger stands still meanwhile.
const LOOKED: usize = 2_048;

/// Earlier settlements of a reservation.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Past {
    /// Who was paid.
    pub(crate) paid: BTreeSet<NodeId>,
}

/// Which of some reservations a settlement ended.
#[derive(Debug)]
pub(crate) struct Ended {
    sought: BTreeSet<Id>,
    pub(crate) found: BTreeSet<Id>,
    /// Number of records that were searched.
    pub(crate) searched: u64,
}

impl Past {
    /// Looks at the records before number `below`, newest first, down to those from before `since_ms`. Returns where to go on.
    pub(crate) fn look(
        &mut self,
        records: &[Vec<u8>],
        below: usize,
        (res, since_ms): (&Id, u64),
    ) -> Option<usize> {
        let (from, looked) = slice(records, below);
        // Few records name the reservation, and only these are decoded.
        for (_, paid, of) in looked.iter().filter_map(|b| settlement(b, res)) {
            if of == *res {
                self.paid.extend(paid);
            }
        }
        goes_on(from, looked, since_ms)
    }
}

impl Ended {
    pub(crate) const fn of(sought: BTreeSet<Id>) -> Self {
        Self {
            sought,
            found: BTreeSet::new(),
            searched: 0,
        }
    }

    /// Looks as [`Past::look`] does, until all are found.
    pub(crate) fn look(
        &mut self,
        records: &[Vec<u8>],
        below: usize,
        since_ms: u64,
    ) -> Option<usize> {
        if self.sought.is_empty() {
            return None;
        }
        let (from, looked) = slice(records, below);
        self.searched += looked.len() as u64;
        for (end, _, of) in looked.iter().filter_map(|b| settlement(b, SETTLE)) {
            if end && self.sought.remove(&of) {
                self.found.insert(of);
            }
        }
        goes_on(from, looked, since_ms)
    }
}

/// The records of one look, and the number of the first.
fn slice(records: &[Vec<u8>], below: usize) -> (usize, &[Vec<u8>]) {
    let top = below.min(records.len());
    let from = top.saturating_sub(LOOKED);
    (from, records.get(from..top).unwrap_or_default())
}

fn goes_on(from: usize, looked: &[Vec<u8>], since_ms: u64) -> Option<usize> {
    let oldest = looked.first().and_then(|b| Record::from_bytes(b));
    let on = from > 0 && oldest.is_none_or(|r| r.ts >= since_ms);
    on.then_some(from)
}

/// Whether a settlement ends its reservation, whom it pays, and which one that is; of a record with these bytes in it.
fn settlement(record: &[u8], with: &[u8]) -> Option<(bool, Vec<NodeId>, Id)> {
    if !record.windows(with.len()).any(|w| w == with) {
        return None;
    }
    let record = Record::from_bytes(record)?;
    match Envelope::from_bytes(&record.req)?.request.op {
        Op::Settle { end, list, res, .. } => {
            let paid = list.iter().map(|item| item.to).collect();
            Some((end, paid, res))
        }
        _ => None,
    }
}
