//! Time limits of copies.

/// Time in ms from the end of an assignment to the end of its copy, within which the worker reports.
pub const GRACE: u64 = 30_000;

/// Time in ms after its assignment from which a copy that its node does not report may be lost.
pub const UNREPORTED: u64 = 60_000;

/// Beats in a row that lack a live copy, after which it is lost.
pub const LACKS: u8 = 2;
