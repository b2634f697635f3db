//! A PostgreSQL cluster of a test's own, and a proxy that cuts connections to it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod cluster;
mod proxy;

pub use cluster::Cluster;
pub use proxy::Proxy;
