//! The interface between the data plane and the metrics of packets.

use std::time::Duration;

use betanet_mix::Refusal;

/// Counts packets of a node's data plane. `()` counts nothing.
pub trait CountMix: Send + Sync {
    /// This many packets arrived.
    fn packets_in(&self, _n: u64) {}

    /// Packets were sent; `late` has the time since each was due.
    fn sent(&self, _late: &mut dyn Iterator<Item = Duration>) {}

    /// A payload for this node was delivered.
    fn delivered(&self) {}

    /// A packet was dropped for this cause.
    fn dropped(&self, cause: &'static str) {
        self.dropped_all(cause, 1);
    }

    /// Packets were dropped for this cause.
    fn dropped_all(&self, _cause: &'static str, _n: u64) {}

    /// A packet was refused.
    fn refused(&self, _refusal: Refusal) {}

    /// Packets were unwrapped together. The replay memory had no room for `full` of them.
    fn batch(&self, _packets: usize, _full: u64) {}

    /// Packets were delayed; `ms` has the delay of each, in milliseconds.
    fn delayed(&self, _ms: &mut dyn Iterator<Item = u16>) {}

    /// Numbers of buffers since the start: taken from the pool, and allocated.
    fn pool(&self, _hits: u64, _misses: u64) {}

    /// Number of packets that wait to be unwrapped.
    fn unread(&self, _n: usize) {}

    /// Number of delayed packets.
    fn waiting(&self, _n: usize) {}

    /// Number of tags in the replay memory.
    fn replays(&self, _n: usize) {}

    /// Number of open links.
    fn links(&self, _n: usize) {}

    /// Number of exchanges with clients.
    fn exchanges(&self, _n: usize) {}
}

impl CountMix for () {}
