//! The corpora of the fuzz targets, and what the targets do with them.

use std::path::Path;
use std::vec::Vec;

use crate::testkit::fuzz::{Desk, PARSERS, parsers};

fn folder(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

#[test]
fn the_parsers_corpus() {
    let inputs = folder("vouchers");
    for which in 0..PARSERS {
        let some = inputs
            .iter()
            .any(|i| i.first().is_some_and(|b| b % PARSERS == which));
        assert!(some, "no input for parser {which}");
    }
    for input in &inputs {
        parsers(input);
        // Nearby inputs too: one bit of each byte, for short ones.
        for at in 1..input.len().min(300) {
            let mut near = input.clone();
            near[at] ^= 1 << (at % 8);
            if near[0] % PARSERS != 2 {
                parsers(&near);
            }
        }
    }
}

#[test]
fn the_banks_corpus() {
    let desk = Desk::default();
    let inputs = folder("voucher_bank");
    assert!(inputs.len() >= 5);
    inputs.iter().for_each(|i| desk.run(i));
}
