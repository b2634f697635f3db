//! temp
#![no_std]

extern crate alloc;

pub mod beat;
pub mod brake;
mod codec;
pub mod lease;
pub mod life;
pub mod retry;
pub mod trust;
pub use codec::Damaged;
