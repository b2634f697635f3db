//! What the placer is asked, and what it answers.

use alloc::vec::Vec;

use betanet_fog::{Digest, Reason, Resources};
use betanet_wire::NodeId;

/// Most copies of a task that are placed at once.
pub const AT_ONCE: usize = 64;

/// The caller asked for something that cannot be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No copy, or more than [`AT_ONCE`].
    #[error("between 1 and 64 copies are placed at once")]
    Copies,
    /// A fence that a live copy has, or one given twice.
    #[error("fence {0} is in use")]
    Fence(u64),
    /// The node is not known.
    #[error("no such node")]
    Node,
    /// A reservation with this ID exists, or has no room.
    #[error("the reservation exists already, or has no room")]
    Reservation,
    /// Not the devices of such a demand.
    #[error("not the devices of such a demand")]
    Devices,
}

/// A copy that is to be placed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NewCopy {
    /// Number of the copy in its task, counted over all attempts.
    pub number: u64,
    /// Its fence.
    pub fence: u64,
}

/// A copy's place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    /// The node.
    pub node: NodeId,
    /// Its devices, ascending.
    pub devices: Vec<u8>,
}

/// Where the copies of a task went.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Placement {
    /// One for each copy, in order.
    pub copies: Vec<Placed>,
    /// Fences of copies that made room.
    pub dropped: Vec<u64>,
}

/// Why no node takes a copy: the number of nodes by the first test that each fails; by count descending, then reason.
pub type Why = Vec<(Reason, u64)>;

/// How a copy ended, as far as placement cares.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended<'a> {
    /// With a result. The node holds these blobs: the module and the inputs.
    Result(&'a [Digest]),
    /// With an internal fault, or lost with its node.
    Failed,
    /// With another fault.
    Fault,
    /// It yielded to another copy or to a drain, or was dropped.
    Dropped,
}

/// What a node has and what is used of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Capacity.
    pub capacity: Resources,
    /// What is reserved, lots of the auction included.
    pub reserved: Resources,
    /// Number of live copies.
    pub copies: usize,
    /// Fullest resource, in ppm.
    pub load: u64,
}
