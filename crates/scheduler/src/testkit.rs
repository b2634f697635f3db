//! The placer beside a slow model of the chapter's text: for this crate's tests and for the fuzzer.

mod model;
mod world;

use alloc::vec::Vec;

use crate::class::Bounds;

/// Drives a placer from bytes. Every decision and every reservation must be those of the model.
///
/// Nodes join, leave, drain and change their capacity; copies are placed, preempt others and end.
pub fn fuzz(bytes: &[u8]) {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let [common, full, rare, list] = head.map(usize::from);
    let bounds = Bounds {
        common: 1 + common % 4,
        full: full % 8,
        all: full % 8 + 2,
        rare: rare % 4,
        list: list % 64,
        trees: 1 + rare / 4 % 4,
    };
    let pairs = rest.chunks_exact(2);
    let numbers: Vec<u16> = pairs
        .map(|p| p.iter().fold(0, |n, byte| n << 8 | u16::from(*byte)))
        .collect();
    world::run(bounds, &numbers);
}
