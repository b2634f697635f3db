//! The seam between a session's task and whoever counts what sessions do.

use betanet_htx::Stats;
use betanet_wire::Code;

/// Counts what sessions do. `()` counts nothing.
pub trait Count: Send + Sync {
    /// A session is open.
    fn opened(&self) {}

    /// A session was closed with this code.
    fn closed(&self, _code: Code) {}

    /// A session's own counters went from the first to the second since they were last told.
    fn traffic(&self, _before: &Stats, _now: &Stats) {}

    /// A request was answered with this status.
    fn served(&self, _status: u16) {}
}

impl Count for () {}
