//! The conformance suite over the backend in memory.

use betanet_journal::testkit::{MemoryBed, conform, model};
use futures_util::FutureExt as _;

#[test]
fn conforms() {
    let all = conform(async || MemoryBed::default());
    assert!(all.now_or_never().is_some(), "a future waits");
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..200 {
        let run = async { model(&MemoryBed::default(), seed, 200).await };
        assert!(run.now_or_never().is_some(), "a future waits");
    }
}
