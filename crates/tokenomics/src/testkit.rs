//! A world of accounts whose commands are read from bytes, a naive ledger to compare with, and the functions behind the fuzz
//! targets.

mod fuzz;
mod naive;
mod world;

pub use fuzz::{fuzz_machine, fuzz_records, fuzz_requests};
pub use naive::{Naive, compare_with_naive};
pub use world::{Dice, World};
