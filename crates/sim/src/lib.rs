//! A deterministic world for testing the layers: N nodes, one thread, no clock.
//!
//! **Promises.** Every node runs the real `htx` and `bar` code through the contract checker. The same seed gives the same run
//! to the byte, in debug and release. The world simulates latency, jitter, loss, duplication, cuts, clock skew, crash and
//! restart, and counts each.
//!
//! **Below:** `stack`. **Above:** scenario tests, the fuzzer, `xtask`.
//! **Source:** the carrier here models TLS over TCP: an ordered byte stream over segments that may be lost, late or duplicated;
//! a lost segment is retransmitted after [`Weather::rto`].
#![no_std]

extern crate alloc;

pub mod anonymity;
mod answering;
mod feed;
pub mod fog;
pub mod fuzz;
mod mix_network;
mod mix_server;
pub mod net;
mod pipe;
mod transfer;
mod world;

pub use answering::Answering;
pub use mix_network::MixNetwork;
pub use mix_server::{MixServer, Served};
pub use pipe::Weather;
pub use transfer::{Progress, Transfer, content};
pub use world::{Counters, Happening, Id, LinkId, Node, Side, World};
