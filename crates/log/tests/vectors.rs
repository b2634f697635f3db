//! The published answers of Certificate Transparency's Merkle tree.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_log::{Hash, Log, Memory, empty_root, leaf_hash, verify_consistency, verify_inclusion};
use betanet_wire::text::{unhex, unhex_array};
use serde_json::Value;

fn hashes(v: &Value) -> Vec<Hash> {
    let one = |v: &Value| unhex_array(v.as_str().unwrap()).unwrap();
    v.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn roots_and_proofs_are_the_published_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/log.json");
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = &file["cases"];
    assert_eq!(
        unhex_array(cases["empty"].as_str().unwrap()),
        Some(empty_root())
    );
    let (mut log, mut leaves) = (Log::new(Memory::default()), Vec::new());
    let roots = hashes(&cases["roots"]);
    let records = cases["records"].as_array().unwrap();
    assert_eq!((records.len(), roots.len()), (8, 8));
    for (record, root) in records.iter().zip(&roots) {
        let record = unhex(record.as_str().unwrap()).unwrap();
        leaves.push(leaf_hash(&record));
        log.append(&record).unwrap();
        assert_eq!(log.root(), *root);
    }
    let root = |size: u64| roots[usize::try_from(size).unwrap() - 1];
    let inclusion = cases["inclusion"].as_array().unwrap();
    for case in inclusion {
        let (index, size) = (
            case["index"].as_u64().unwrap(),
            case["size"].as_u64().unwrap(),
        );
        let proof = log.inclusion(index, size).unwrap();
        assert_eq!(*proof, *hashes(&case["proof"]));
        let leaf = leaves[usize::try_from(index).unwrap()];
        assert!(verify_inclusion(&leaf, index, size, &proof, &root(size)));
    }
    let consistency = cases["consistency"].as_array().unwrap();
    for case in consistency {
        let (from, to) = (case["from"].as_u64().unwrap(), case["to"].as_u64().unwrap());
        let proof = log.consistency(from, to).unwrap();
        assert_eq!(*proof, *hashes(&case["proof"]));
        assert!(verify_consistency(from, to, &root(from), &root(to), &proof));
    }
    assert_eq!((inclusion.len(), consistency.len()), (5, 4));
}
