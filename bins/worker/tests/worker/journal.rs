//! What coordinators wrote down.

use std::collections::BTreeMap;

use betanet_coordinator::{Change, Record};
use betanet_fog::{Receipt, Signed};
use betanet_journal::{Batch, Journal};

use crate::now_ms;

/// All records, by index.
pub(crate) async fn records(journal: &dyn Journal) -> BTreeMap<u64, Change> {
    let (mut all, mut after) = (BTreeMap::new(), 0);
    loop {
        let more = journal.read(after, Batch::default()).await.unwrap();
        if more.is_empty() {
            return all;
        }
        for entry in more {
            after = entry.index;
            let read = Record::read(entry.record.kind.as_str(), &entry.record.body);
            all.insert(entry.index, read.unwrap().change);
        }
    }
}

/// The signed receipts of copies, by fence.
pub(crate) fn receipts(records: &BTreeMap<u64, Change>) -> BTreeMap<u64, Receipt> {
    let of = |change: &Change| match change {
        Change::Returned { fence, receipt, .. } => {
            let receipt = Signed::<Receipt>::open(receipt, now_ms()).unwrap();
            Some((*fence, (*receipt).clone()))
        }
        _ => None,
    };
    records.values().filter_map(of).collect()
}
