//! Visitors.

use std::net::SocketAddr;

/// Where a visitor came in, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: SocketAddr,
}
