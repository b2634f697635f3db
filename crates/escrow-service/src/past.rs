//! What the ledger's records say of a reservation that was settled in parts, or is gone.

use std::collections::BTreeSet;

use betanet_tokenomics::journal::Record;
use betanet_tokenomics::request::Op;
use betanet_tokenomics::{Envelope, Id};
use betanet_wire::NodeId;

/// Records of one look: the ledger stands still meanwhile.
const LOOKED: usize = 2_048;

/// Earlier settlements of a reservation.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Past {
    /// Who was paid.
    pub(crate) paid: BTreeSet<NodeId>,
    /// Whether one ended it.
    pub(crate) ended: bool,
}

impl Past {
    /// Looks at the records before number `below`, newest first, down to those from before `since_ms`. Returns where to go on.
    pub(crate) fn look(
        &mut self,
        records: &[Vec<u8>],
        below: usize,
        (res, since_ms): (&Id, u64),
    ) -> Option<usize> {
        let top = below.min(records.len());
        let from = top.saturating_sub(LOOKED);
        let looked = records.get(from..top).unwrap_or_default();
        for bytes in looked {
            // Few records name the reservation, and only these are decoded.
            if bytes.windows(res.len()).any(|w| w == res) {
                self.take(bytes, res);
            }
        }
        let oldest = looked.first().and_then(|b| Record::from_bytes(b));
        let on = from > 0 && oldest.is_none_or(|r| r.ts >= since_ms);
        on.then_some(from)
    }

    fn take(&mut self, record: &[u8], of: &Id) {
        let record = Record::from_bytes(record);
        let envelope = record.and_then(|r| Envelope::from_bytes(&r.req));
        let Some(op) = envelope.map(|e| e.request.op) else {
            return;
        };
        if let Op::Settle { end, list, res, .. } = op
            && res == *of
        {
            self.paid.extend(list.iter().map(|item| item.to));
            self.ended |= end;
        }
    }
}
