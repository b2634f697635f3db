//! The coordinator's service over journals in memory, through its handle and over real sessions.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod all {
    mod faces;
    mod terms;
    pub(crate) mod world;
}
