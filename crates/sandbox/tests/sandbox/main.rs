//! The sandbox with real children: what programs get, and what hostile ones do not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod cache;
mod escape;
mod known;
mod life;
mod network;
mod support;
