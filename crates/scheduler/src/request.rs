//! A task as the placer sees it.

use betanet_fog::{Digest, Level, Placement, Resources, Strategy, TaskId, Tier};
use betanet_wire::NodeId;

/// A task that is to be placed. Its copies differ in their numbers only.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// ID of the task.
    pub task: &'a TaskId,
    /// Namespace.
    pub ns: &'a str,
    /// Group in the namespace, for [`Placement::spread`].
    pub group: &'a str,
    /// Tier.
    pub tier: Tier,
    /// 0 to 9, 9 first.
    pub prio: u8,
    /// Least level of its nodes. Above public, placement is always by draw.
    pub level: Level,
    /// Rule by which a node is chosen.
    pub strategy: Strategy,
    /// Resources of one copy.
    pub resources: &'a Resources,
    /// Conditions and preferences.
    pub wishes: &'a Placement,
    /// Module and inputs, with their sizes in bytes.
    pub blobs: &'a [(Digest, u64)],
    /// The day's secret seed S, of which draws are made.
    pub seed: &'a [u8; 32],
    /// Price factor that is paid, in ppm.
    pub factor: u64,
    /// Organisations of this task's other copies that are live or have a result; `None` for nodes whose token names none.
    pub apart: &'a [Option<&'a str>],
    /// Nodes where this task had a fault or a loss: they count only if no other passes.
    pub failed: &'a [NodeId],
    /// How often copies of this task were preempted.
    pub preempted: u8,
    /// Reservation in whose lots it runs.
    pub reservation: Option<&'a [u8; 16]>,
}

impl Request<'_> {
    /// The rule that holds: above public it is always the draw.
    #[must_use]
    pub fn rule(&self) -> Strategy {
        if self.level > Level::Public {
            Strategy::PrivacyAware
        } else {
            self.strategy
        }
    }
}
