//! What the coordinator asks of a placer.

use alloc::vec::Vec;

use betanet_fog::{Digest, Level, Node, Reason, Resources, Task, TaskId};
use betanet_wire::NodeId;

/// A node as the placer sees it.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Its ID.
    pub id: NodeId,
    /// Its description.
    pub node: &'a Node,
    /// Whether its token names its organisation.
    pub vouched: bool,
    /// Highest level that it serves now.
    pub level: Level,
    /// Whether it is active.
    pub open: bool,
    /// Whether its last beat asked for work, and it is not kept for a task.
    pub work: bool,
    /// Its reputation, in ppm.
    pub rep: u32,
}

/// A task that is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its ID.
    pub id: &'a TaskId,
    /// Its record.
    pub task: &'a Task,
    /// S of the day.
    pub secret: &'a [u8; 32],
    /// Demand factor that it pays, in ppm.
    pub factor: u64,
    /// Organisations of its copies that are live or have a result; `None` for nodes whose token names none. Other copies are kept
    /// apart from them.
    pub apart: &'a [Option<&'a str>],
    /// Nodes where it had a fault or a loss: they count only if no other passes.
    pub failed: &'a [NodeId],
    /// How often its copies were preempted.
    pub preempted: u8,
}

/// A copy that is to be placed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewCopy {
    /// Its number among the task's copies.
    pub no: u32,
    /// Its fence.
    pub fence: u64,
}

/// Place of a copy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seat {
    /// The node.
    pub node: NodeId,
    /// Its devices, one bit each.
    pub devices: u64,
}

/// Places of all copies that were wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seats {
    /// One for each copy.
    pub seats: Vec<Seat>,
    /// Fences of copies that made room.
    pub dropped: Vec<u64>,
}

/// Why no node takes a copy: the number of nodes by the first test that each fails.
pub type Why = Vec<(Reason, u64)>;

/// How a copy ended, as far as its node is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Freed<'a> {
    /// With a result: the node holds these blobs.
    Result(&'a [Digest]),
    /// By a loss or an internal fault.
    Failed,
    /// By another fault.
    Fault,
    /// By a yield, or because its task ended.
    Dropped,
}

/// Nodes, their live copies, and what is free.
///
/// A placer reserves what it places. Its choices become records, so another placer that is told of them agrees with it.
pub trait Placer {
    /// Adds a node, or describes it anew.
    fn put(&mut self, site: &Site<'_>);

    /// Forgets a node.
    fn remove(&mut self, id: &NodeId);

    /// Round-trip times that a node measured, in ms.
    fn measured(&mut self, now: u64, id: &NodeId, trips: &[(NodeId, u64)]);

    /// Blobs that a node no longer holds.
    fn gone(&mut self, id: &NodeId, blobs: &[Digest]);

    /// Places all copies and reserves their resources, or returns `None`.
    fn place(&mut self, now: u64, wanted: &Wanted<'_>, copies: &[NewCopy]) -> Option<Seats>;

    /// Where so many copies would go, the first of which has the number `no`; or why the first that does not fit does not.
    ///
    /// # Errors
    ///
    /// The reasons.
    fn plan(
        &mut self,
        now: u64,
        wanted: &Wanted<'_>,
        no: u32,
        copies: usize,
    ) -> Result<Vec<Seat>, Why>;

    /// Nodes that could hold a copy once those that run there have ended: up to `most`, the least loaded first.
    fn could_hold(&mut self, now: u64, wanted: &Wanted<'_>, most: usize) -> Vec<NodeId>;

    /// What choices depend on beside nodes and copies: a node's turn, its failures in a row, the end of its rest in UNIX ms.
    fn standing(&self, id: &NodeId) -> [u64; 3];

    /// Sets what [`Self::standing`] gave.
    fn set_standing(&mut self, id: &NodeId, standing: [u64; 3]);

    /// The last turn that was given.
    fn counter(&self) -> u64;

    /// Sets the last turn that was given.
    fn set_counter(&mut self, turn: u64);

    /// Counts a copy that a record placed. Nothing happens where [`Self::place`] placed it.
    fn adopt(&mut self, now: u64, wanted: &Wanted<'_>, copy: NewCopy, seat: Seat);

    /// Frees the resources of a copy that ended.
    fn end(&mut self, now: u64, fence: u64, how: Freed<'_>);

    /// Sets lots of a node aside, whatever is free there, for the copies of a reservation.
    fn set_aside(&mut self, id: &NodeId, reservation: [u8; 16], lots: &Resources);

    /// Ends a reservation: it takes no more copies, and its lots are free once its live ones have ended.
    fn give_back(&mut self, reservation: &[u8; 16]);

    /// Demand factor for these resources, in ppm.
    fn factor(&self, resources: &Resources) -> u64;

    /// Lowest price of an active node, in ppm; 0 without one.
    fn lowest_price(&self) -> u64;
}
