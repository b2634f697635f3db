//! Origin of a visitor's connection.

use std::net::SocketAddr;

/// The local and the remote address of a visitor's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: SocketAddr,
}
