//! What holds back when many nodes of a zone fall silent at once: it is likelier that the coordinator is cut off.

/// Number of nodes of a zone, as the brake counts them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Zone {
    /// Nodes that went offline in the last 10 min and are still offline.
    pub offline: u64,
    /// Nodes that are active or draining.
    pub left: u64,
}

/// How the fences of a zone's offline nodes die once they are due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// None dies, because no node is left anywhere.
    Hold,
    /// Those of this many nodes die each [`STEP`], longest silent first.
    Nodes(u64),
    /// All die at once.
    All,
}

/// Interval in ms between two steps of [`Pace::Nodes`].
pub const STEP: u64 = 10_000;

/// Time in ms for which a node that went offline counts.
pub const RECENT: u64 = 600_000;

/// Pace of a zone. `any_left`: a node of some zone is active or draining.
#[must_use]
pub const fn pace(zone: Zone, any_left: bool) -> Pace {
    if !any_left {
        return Pace::Hold;
    }
    let x = zone.offline;
    let y = x.saturating_add(zone.left);
    if x >= 3 && x.saturating_mul(10) > y.saturating_mul(3) {
        Pace::Nodes(x.div_ceil(60))
    } else {
        Pace::All
    }
}
