//! The laws of the machine, over commands that bytes tell.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_tokenomics::testkit;
use proptest::prelude::*;

fn corpus(target: &str, run: fn(&[u8])) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let inputs = std::fs::read_dir(format!("{folder}/{target}")).unwrap();
    let read = inputs.map(|entry| run(&std::fs::read(entry.unwrap().path()).unwrap()));
    assert!(read.count() >= 10, "{target}");
}

#[test]
fn corpus_of_requests() {
    corpus("economy_requests", testkit::fuzz_requests);
}

#[test]
fn corpus_of_records() {
    corpus("economy_records", testkit::fuzz_records);
}

#[test]
fn corpus_of_machines() {
    corpus("economy_machine", |data| {
        testkit::fuzz_machine(data);
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Sums hold, a refusal changes nothing, a repeat gives its answer again, and the journal gives every root again.
    #[test]
    fn any_commands_keep_the_laws(data in prop::collection::vec(any::<u8>(), 0..2_400)) {
        testkit::fuzz_machine(&data);
    }

    /// Codes and money of transfers are those of a ledger that gathers all codes that apply.
    #[test]
    fn transfers_are_those_of_a_naive_ledger(data in prop::collection::vec(any::<u8>(), 0..4_000)) {
        testkit::compare_with_naive(&data);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_break_no_parser(data in prop::collection::vec(any::<u8>(), 0..400)) {
        testkit::fuzz_requests(&data);
        testkit::fuzz_records(&data);
    }
}
