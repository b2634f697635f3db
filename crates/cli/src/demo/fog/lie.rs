//! The liar's receipts, from the coordinator's journal.

use std::collections::BTreeMap;

use betanet_coordinator::{Change, Record};
use betanet_fog::{Receipt, Signed, Task, TaskId, Verify};
use betanet_journal::Batch;
use betanet_keys::Identity;

use super::{Fog, fog_failed};
use crate::Fail;
use crate::demo::failed;

/// A task that a quorum decided against a node, with its receipts.
pub(in crate::demo) struct Lie {
    /// The task's record.
    pub(in crate::demo) task: Vec<u8>,
    pub(in crate::demo) wrong: Signed<Receipt>,
    pub(in crate::demo) agreed: Vec<Signed<Receipt>>,
    /// Keys of the nodes.
    pub(in crate::demo) keys: Vec<Identity>,
}

impl Fog {
    /// The lie of which the coordinator's journal has the receipts.
    pub(in crate::demo) async fn lie(&self) -> Result<Lie, Fail> {
        let mut after = 0;
        let mut tasks: BTreeMap<TaskId, Vec<u8>> = BTreeMap::new();
        let mut returned: BTreeMap<TaskId, Vec<Signed<Receipt>>> = BTreeMap::new();
        loop {
            let entries = self
                .journal
                .read(after, Batch::default())
                .await
                .map_err(|e| fog_failed(&e))?;
            let Some(last) = entries.last() else {
                return Err(failed("fog: the journal has no lie"));
            };
            after = last.index;
            for entry in &entries {
                let kind = entry.record.kind.as_str();
                let record = Record::read(kind, &entry.record.body).map_err(|e| fog_failed(&e))?;
                match record.change {
                    Change::Accepted { task, .. } => {
                        let task = Signed::<Task>::restore(&task).map_err(|e| fog_failed(&e))?;
                        if task.verify.rule == Verify::Quorum {
                            tasks.insert(task.id(), task.rec().to_vec());
                        }
                    }
                    Change::Returned { task, receipt, .. } if tasks.contains_key(&task) => {
                        let receipt = Signed::<Receipt>::restore(&receipt);
                        let all = returned.entry(task).or_default();
                        all.push(receipt.map_err(|e| fog_failed(&e))?);
                    }
                    Change::Ended { task, deciding, .. } => {
                        let all = returned.remove(&task).unwrap_or_default();
                        let decided = |r: &Signed<Receipt>| deciding.contains(&r.fence);
                        let (agreed, wrong): (Vec<_>, Vec<_>) = all.into_iter().partition(decided);
                        let wrong = wrong.into_iter().next();
                        if let (Some(wrong), Some(task)) = (wrong, tasks.remove(&task)) {
                            let keys = self.keys.clone();
                            return Ok(Lie {
                                task,
                                wrong,
                                agreed,
                                keys,
                            });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}
