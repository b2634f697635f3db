//! The laws of the ledger, and the committed inputs of the fuzz targets.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_naming::testkit;
use proptest::prelude::*;

fn corpus(target: &str, run: fn(&[u8])) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    let inputs = std::fs::read_dir(format!("{folder}/{target}")).unwrap();
    let read = inputs.map(|entry| run(&std::fs::read(entry.unwrap().path()).unwrap()));
    assert!(read.count() >= 10, "{target}");
}

#[test]
fn corpus_of_labels() {
    corpus("naming_label", testkit::fuzz_label);
}

#[test]
fn corpus_of_records() {
    corpus("naming_record", testkit::fuzz_record);
}

#[test]
fn corpus_of_ledgers() {
    corpus("naming_ledger", testkit::fuzz_ledger);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Replay gives the same state, `seq` only rises, a refusal changes nothing, a signer never contradicts itself.
    #[test]
    fn any_sequence_of_records_and_heads_keeps_the_laws(data in prop::collection::vec(any::<u8>(), 0..160)) {
        testkit::fuzz_ledger(&data);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_break_no_parser(data in prop::collection::vec(any::<u8>(), 0..400)) {
        testkit::fuzz_record(&data);
        testkit::fuzz_label(&data);
    }
}
