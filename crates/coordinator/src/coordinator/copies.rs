//! Copies: what their nodes report, and how they end.

use alloc::sync::Arc;

use betanet_fog::{Assignment, Fetched, List, Source, Task};
use betanet_fog::{
    Fate, Reason, Receipt, Refusal, RefusalCode, Signed, TaskId, Verify, from_slice, to_vec,
};
use betanet_keys::hash;
use betanet_wire::{NodeId, PeerId};

use super::tasks::devices;
use super::{Coordinator, Served, UNKNOWN};
use crate::life::{Copy, Fence};
use crate::placer::Placer;
use crate::record::Change;
use crate::request::{Caller, Item, Reply};
use crate::state::Known;
use crate::state::tasks::TaskRow;

/// Longest log of a copy, in bytes.
const LOG_MAX: u64 = 16 << 20;

/// Longest piece of a log, in bytes.
const PIECE_MAX: u64 = 64 << 10;

impl<P: Placer> Coordinator<P> {
    /// The live copy under a fence, which its node names.
    fn own_copy(&self, caller: &Caller, id: &TaskId, fence: u64) -> Result<&Copy, Refusal> {
        let row = self.state.tasks.get(id).ok_or(UNKNOWN)?;
        if row.life.copy(fence).is_some_and(|c| c.node != caller.node) {
            return Err(RefusalCode::NotYours.bare());
        }
        row.life.check_fence(fence)
    }

    pub(super) fn start(&mut self, caller: &Caller, id: &TaskId, fence: u64) -> Served {
        let copy = self.own_copy(caller, id, fence)?;
        if copy.state == crate::life::CopyState::Assigned {
            self.commit(Change::Started { task: *id, fence });
        }
        Ok(Reply::Done)
    }

    pub(super) fn nack(&mut self, caller: &Caller, id: &TaskId, fence: u64) -> Served {
        self.own_copy(caller, id, fence)?;
        self.lose(*id, fence, Reason::Nack);
        Ok(Reply::Done)
    }

    pub(super) fn done(
        &mut self,
        caller: &Caller,
        id: &TaskId,
        receipt: Signed<Receipt>,
    ) -> Served {
        let row = self.state.tasks.get(id).ok_or(UNKNOWN)?;
        // Its signature was verified, so the key need not be checked again, which is slow.
        let signer = PeerId::from_hash(hash(&[&receipt.key])).node_id();
        let node = row.life.copy(receipt.fence).map(|c| c.node);
        if signer != caller.node || node.is_some_and(|n| n != caller.node) {
            return Err(RefusalCode::NotYours.of("key"));
        }
        let hash = hash(&[receipt.rec()]);
        let fence = match row.life.check_receipt(receipt.fence, &hash) {
            Err(refusal) => {
                if refusal.code == RefusalCode::ReceiptConflict {
                    self.quarantine(caller.node);
                }
                return Err(refusal);
            }
            Ok(fence) => fence,
        };
        match fence {
            Fence::Again => Ok(Reply::Done),
            Fence::Stale => Err(RefusalCode::FenceStale.bare()),
            Fence::Evidence => {
                self.commit(Change::Evidence {
                    task: *id,
                    fence: receipt.fence,
                    receipt: receipt.to_bytes().into(),
                });
                Err(RefusalCode::FenceStale.bare())
            }
            Fence::Live => {
                self.check_receipt(id, &receipt)?;
                self.take_receipt(id, receipt);
                Ok(Reply::Done)
            }
        }
    }

    /// Checks a receipt under a live fence against task and assignment. A wrong module or wrong inputs quarantine the node.
    fn check_receipt(&mut self, id: &TaskId, receipt: &Signed<Receipt>) -> Result<(), Refusal> {
        let row = self.state.tasks.get(id).ok_or(UNKNOWN)?;
        let (task, work) = row
            .life
            .copy(receipt.fence)
            .and_then(|copy| self.assignment(id, row, copy))
            .ok_or(RefusalCode::FenceStale.bare())?;
        let checked = receipt.answers(&task, &work);
        if let Err(refusal) = checked
            && refusal.code == RefusalCode::BadValue
            && matches!(refusal.key, "module" | "in")
        {
            self.quarantine(work.node);
        }
        checked
    }

    fn take_receipt(&mut self, id: &TaskId, receipt: Signed<Receipt>) {
        let Some(row) = self.state.tasks.get(id) else {
            return;
        };
        let copy = row.life.copy(receipt.fence);
        let first = row.life.results().next().is_none();
        let is_result = receipt.status.fate(row.rules.grants) == Fate::Result;
        let alone = match (row.rules.verify, copy) {
            (Verify::Spot, Some(copy)) if first && is_result => {
                let trust = self.state.nodes.get(&copy.node).map(|n| n.trust);
                let trust = trust.unwrap_or_default();
                trust.stands_alone(&self.secret(), id, u64::from(copy.no))
            }
            _ => false,
        };
        let fence = receipt.fence;
        let returned = Change::Returned {
            task: *id,
            fence,
            receipt: receipt.to_bytes().into(),
            alone,
        };
        self.commit_known(returned, Some(Known::Receipt(Arc::new(receipt))));
        self.conclude(*id, fence);
    }

    /// A live copy ends without a receipt.
    pub(super) fn lose(&mut self, id: TaskId, fence: u64, why: Reason) {
        let row = self.state.tasks.get(&id);
        if row
            .and_then(|t| t.life.copy(fence))
            .is_some_and(|c| c.state.is_live())
        {
            self.commit(Change::Lost {
                task: id,
                fence,
                why,
            });
            self.conclude(id, fence);
        }
    }

    /// The task ends, if the end of this copy decides it.
    fn conclude(&mut self, id: TaskId, fence: u64) {
        let row = self.state.tasks.get(&id);
        if let Some(end) = row.and_then(|t| t.life.verdict(&t.rules, fence)) {
            self.end_task(id, &end);
        }
    }

    /// Whether bytes may be appended to the log of a copy. Each fence has a log of its own.
    pub(super) fn log(
        &mut self,
        caller: &Caller,
        id: &TaskId,
        fence: u64,
        (off, len, stored): (u64, u64, u64),
    ) -> Served {
        self.own_copy(caller, id, fence)?;
        let end = off.saturating_add(len);
        if len > PIECE_MAX || end > LOG_MAX {
            return Err(RefusalCode::TooLarge.bare());
        }
        // A piece that was sent again is stored already.
        let store = off == stored;
        if !store && end > stored {
            return Err(RefusalCode::Offset.of("off"));
        }
        let next = if store { end } else { stored };
        Ok(Reply::Log { next, store })
    }

    /// The assignment of a copy, with its task.
    pub(super) fn assignment(
        &self,
        id: &TaskId,
        row: &TaskRow,
        copy: &Copy,
    ) -> Option<(Arc<Signed<Task>>, Assignment)> {
        let task = row.task().ok()?;
        let inputs = if row.inputs.is_empty() {
            let blobs = task.inputs.iter().filter_map(|input| match &input.source {
                Source::Blob { digest, size } => Some(Fetched {
                    path: input.path.clone(),
                    digest: *digest,
                    size: *size,
                }),
                Source::File { .. } => None,
            });
            List::try_from(blobs.collect::<alloc::vec::Vec<_>>()).ok()?
        } else {
            from_slice(&row.inputs).ok()?
        };
        let work = Assignment {
            inputs,
            end: copy.end,
            key: *self.setup.key.as_bytes(),
            copy: u64::from(copy.no),
            devs: devices(copy.devices),
            node: copy.node,
            task: *id,
            epoch: self.state.epoch,
            fence: copy.fence,
        };
        Some((task, work))
    }

    /// The item that tells a node to run a copy.
    pub(super) fn run_item(&self, id: TaskId, fence: u64) -> Option<(NodeId, Item)> {
        let row = self.state.tasks.get(&id)?;
        let copy = row.life.copy(fence).filter(|c| c.state.is_live())?;
        let (_, work) = self.assignment(&id, row, copy)?;
        let item = Item::Run {
            work: work.into(),
            task: row.envelope.clone(),
        };
        Some((copy.node, item))
    }
}

/// The encoding of resolved inputs.
pub(super) fn resolved(inputs: alloc::vec::Vec<Fetched>) -> Option<alloc::boxed::Box<[u8]>> {
    let list: List<Fetched> = List::try_from(inputs).ok()?;
    Some(to_vec(&list).into())
}
