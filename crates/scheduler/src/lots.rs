//! Lots of the auction that are set aside on a node.

use crate::account::{Account, Grant};

/// Lots that an auction sold, set aside on one node.
#[derive(Debug)]
pub(crate) struct Lots {
    pub(crate) slot: u32,
    pub(crate) account: Account,
    pub(crate) grant: Grant,
    /// Its hour is over: it is given back with its last copy.
    pub(crate) over: bool,
}
