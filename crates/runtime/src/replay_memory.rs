//! How much memory the packets take that a mix remembers.

use betanet_mix::{AFTER_MS, EPOCH_MS, Replays};

/// Tags of one key's life at so many packets a second. The key is published an epoch before its own.
pub(crate) const fn tags(rate: u32) -> usize {
    (rate as usize).saturating_mul(((EPOCH_MS + AFTER_MS) / 1000) as usize)
}

/// Keys whose replay memories a node has to have room for: in an epoch's first ten minutes the last one's, its own, and the next
/// one's, which is published already.
pub(crate) const KEYS: usize = 3;

/// The replay memory that a node needs for so many packets a second, in bytes.
pub(crate) const fn memory(rate: u32) -> usize {
    Replays::bytes(tags(rate)).saturating_mul(KEYS)
}

/// The same in mebibytes.
pub(crate) fn needed(rate: u32) -> usize {
    memory(rate).div_ceil(1 << 20)
}
