//! The interface between a relay and the metrics of paths.

/// The outcome of a path header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathOutcome {
    /// The path ends at this node.
    Exit,
    /// The header was sent to the next hop.
    Onward,
    /// The header was refused.
    Refused,
}

/// Counts events of paths over a relay. `()` counts nothing.
pub trait CountPaths: Send + Sync {
    /// A path header had this outcome.
    fn path(&self, _outcome: PathOutcome) {}

    /// A stream of a path was passed on to the next hop.
    fn stream(&self) {}
}

impl CountPaths for () {}
