//! The parent's side: children kept ready, compiled code, and what a run leaves.

pub(crate) mod cache;
pub(crate) mod code;
pub(crate) mod keep;
pub(crate) mod kid;
pub(crate) mod nursery;
pub(crate) mod pool;
pub(crate) mod refused;
pub(crate) mod resolve;
