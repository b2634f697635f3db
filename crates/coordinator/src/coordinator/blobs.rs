//! Which blobs must be kept.

use alloc::vec::Vec;

use betanet_fog::{DAY_MS, Digest, Source, TaskId};

use super::Coordinator;
use crate::placer::Placer;
use crate::state::tasks::TaskRow;

/// Tasks that one call looks at.
const LOOKS: usize = 4_096;

/// The blobs that some tasks name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NamedBlobs {
    /// Modules and inputs of tasks that have not ended, and outputs of those that ended within the last 24 h. One may come more
    /// than once.
    pub digests: Vec<Digest>,
    /// The tasks that were looked at: all that are known, ended ones too.
    pub tasks: Vec<TaskId>,
    /// The last task that was looked at; `None` after the last of all.
    pub next: Option<TaskId>,
}

impl<P: Placer> Coordinator<P> {
    /// Blobs of the tasks after this one. One call looks at 4 096 tasks.
    ///
    /// An ended task's record is no longer known. A caller that keeps its module and inputs for longer
    /// counts from the last call that named them.
    #[must_use]
    pub fn named_blobs(&self, now_ms: u64, after: Option<TaskId>) -> NamedBlobs {
        let mut named = NamedBlobs::default();
        for (id, row) in self.state.tasks.after(after).take(LOOKS) {
            named.next = Some(*id);
            named.tasks.push(*id);
            if !row.life.state.ended() || row.ended_ts.saturating_add(DAY_MS) > now_ms {
                name(row, &mut named.digests);
            }
        }
        named
    }
}

fn name(row: &TaskRow, digests: &mut Vec<Digest>) {
    digests.extend(row.out);
    let returned = row.life.copies.iter().filter_map(|c| c.returned.as_ref());
    digests.extend(returned.filter_map(|r| r.out));
    let Ok(task) = row.task() else {
        return;
    };
    digests.push(task.module.digest);
    digests.extend(task.inputs.iter().filter_map(|input| match &input.source {
        Source::Blob { digest, .. } => Some(*digest),
        Source::File { .. } => None,
    }));
}
