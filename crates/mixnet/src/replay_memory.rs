//! Size of a mix node's replay memory.

use betanet_mix::{AFTER_MS, EPOCH_MS, Replays};

/// Returns the number of tags in the lifetime of one key, at this rate in packets per second. A key is published one epoch before
/// its own.
pub(crate) const fn tags(rate: u32) -> usize {
    (rate as usize).saturating_mul(((EPOCH_MS + AFTER_MS) / 1000) as usize)
}

/// Number of keys for whose replay memories a node needs room. In an epoch's first ten minutes, these are the previous key, the
/// current one, and the next one, which is already published.
pub(crate) const KEYS: usize = 3;

/// Returns the replay memory that a node needs at this rate in packets per second, in bytes.
pub(crate) const fn memory(rate: u32) -> usize {
    Replays::bytes(tags(rate)).saturating_mul(KEYS)
}

/// Returns the replay memory that a node needs at this rate in packets per second, in mebibytes.
#[must_use]
pub fn needed(rate: u32) -> usize {
    memory(rate).div_ceil(1 << 20)
}
