//! The way back: records that neither a final head nor a signature of this node covers are dropped where the leader has others.

use betanet_journal::Record as Journaled;
use betanet_log::Hash;

use super::heads::Fault;
use super::{Books, journaled};

/// What a follower compares with its leader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Standing {
    /// Number of records here.
    pub(crate) here: u64,
    /// Number of records that are never dropped.
    pub(crate) floor: u64,
    /// Root of the first records: so many as were asked for, or all.
    pub(crate) root: Hash,
}

impl Books {
    /// Number of records under the final head, or under the last head that was signed if that is more.
    fn floor(&self) -> u64 {
        let signed = self.proposed.as_ref();
        let signed = signed.filter(|head| !head.signatures().is_empty());
        let signed = signed.map_or(0, |head| head.head().size);
        signed.max(self.final_size())
    }

    pub(super) fn standing(&self, size: u64) -> Standing {
        let here = self.economy.records();
        let root = self.log.root_at(size.min(here));
        Standing {
            here,
            floor: self.floor(),
            root: root.unwrap_or_default(),
        }
    }

    /// As a follower: drops the records from number `size` on.
    pub(super) fn drop_from(&mut self, size: u64, out: &mut Vec<Journaled>) -> Result<u64, Fault> {
        if size == self.economy.records() {
            return Ok(size);
        }
        self.take_back(size)?;
        out.extend(journaled::dropped(size));
        Ok(size)
    }

    /// Sets records, log and state to the first `size` records.
    pub(super) fn take_back(&mut self, size: u64) -> Result<(), Fault> {
        let (floor, here) = (self.floor(), self.economy.records());
        let refused = Fault::Drop { size, floor, here };
        if !(floor..=here).contains(&size) {
            return Err(refused);
        }
        let mut economy = self.served.clone();
        let place = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let kept = self.records.get(place(economy.records())..place(size));
        for record in kept.ok_or(refused)? {
            let at = economy.records();
            let replayed = economy.replay(record);
            replayed.map_err(|error| Fault::Record(at, error))?;
        }
        self.log.truncate(size)?;
        self.records.truncate(place(size));
        self.economy = economy;
        // A head that nobody signed binds nobody.
        if let Some(open) = &self.proposed
            && open.head().size > size
        {
            (self.proposed, self.since) = (None, None);
        }
        self.waiting = self.first_open();
        Ok(())
    }
}
