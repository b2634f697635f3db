//! The world that the layers are tested in: N nodes, one thread, no clock.
//!
//! **Promises.** Every node runs the real `htx` and `bar` code through the contract checker; the same seed gives the
//! same run to the byte, in debug and release; latency, jitter, loss, duplication, cuts, clock skew, crash and
//! restart are the world's, and each is counted.
//!
//! **Below:** `stack`. **Above:** scenario tests, the fuzzer, `xtask`.
//! **Source:** the carrier here stands for TLS over TCP: an ordered byte stream over segments that may be lost, late,
//! or double; a lost one is sent again after [`Weather::rto`].
#![no_std]

extern crate alloc;

pub mod anonymity;
mod answering;
mod feed;
pub mod fuzz;
mod mix_server;
pub mod net;
mod pipe;
mod transfer;
mod world;

pub use answering::Answering;
pub use mix_server::{MixServer, Served};
pub use pipe::Weather;
pub use transfer::{Progress, Transfer, content};
pub use world::{Counters, Happening, Id, LinkId, Node, Side, World};
