//! The order in which waiting tasks are placed.

use core::cmp::Reverse;

use betanet_fog::Tier;

/// Place in the queue, smallest first: higher tier, then higher priority, then lower index of the record `ready`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place(Reverse<Tier>, Reverse<u8>, u64);

impl Place {
    /// The place of a task.
    #[must_use]
    pub const fn new(tier: Tier, prio: u8, ready: u64) -> Self {
        Self(Reverse(tier), Reverse(prio), ready)
    }
}
