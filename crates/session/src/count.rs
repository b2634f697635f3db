//! The interface between a session's task and the metrics of sessions.

use betanet_htx::Stats;
use betanet_wire::Code;

/// Counts events of sessions. `()` counts nothing.
pub trait Count: Send + Sync {
    /// A session is open.
    fn opened(&self) {}

    /// A session was closed with this code.
    fn closed(&self, _code: Code) {}

    /// The session's counters have changed from `before` to `now` since the last call.
    fn traffic(&self, _before: &Stats, _now: &Stats) {}

    /// A request was answered with this status.
    fn served(&self, _status: u16) {}
}

impl Count for () {}
