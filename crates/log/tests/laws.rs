//! The laws of a log, with the recursion of RFC 9162 as the reference.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_log::testkit::{path, proof, root};
use betanet_log::{
    Edge, Error, Hash, Log, Memory, PROOF_MAX, Proof, leaf_hash, verify_consistency,
    verify_inclusion,
};
use betanet_wire::cbor;
use proptest::prelude::*;

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

fn log_of(leaves: &[Hash]) -> Log<Memory> {
    let mut log = Log::new(Memory::default());
    for leaf in leaves {
        log.append_leaf(*leaf).unwrap();
    }
    log
}

#[test]
fn every_root_and_proof_of_logs_up_to_70_is_the_references() {
    let leaves = leaves(70);
    let log = log_of(&leaves);
    for size in 0..=leaves.len() {
        let n = size as u64;
        let whole = log.root_at(n).unwrap();
        assert_eq!(whole, root(&leaves[..size]));
        for at in 0..size {
            let i = at as u64;
            let made = log.inclusion(i, n).unwrap();
            assert_eq!(*made, *path(at, &leaves[..size]));
            assert!(verify_inclusion(&leaves[at], i, n, &made, &whole));
            let made = log.consistency(i, n).unwrap();
            assert_eq!(*made, *proof(at, &leaves[..size]));
            let older = root(&leaves[..at]);
            assert!(verify_consistency(i, n, &older, &whole, &made));
        }
        assert!(log.consistency(n, n).unwrap().is_empty());
    }
    let range = |asked, size| Error::Range { asked, size };
    assert_eq!(log.root_at(71), Err(range(71, 70)));
    assert_eq!(log.inclusion(5, 5).map(drop), Err(range(5, 5)));
    assert_eq!(log.consistency(6, 5).map(drop), Err(range(6, 5)));
    assert_eq!(log.leaf(70), Err(range(70, 70)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// A proof shows its own place, sizes, hashes and roots, and nothing else.
    #[test]
    fn a_changed_proof_shows_nothing(
        size in 1_usize..300,
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        change in 0..5,
    ) {
        let leaves = leaves(size);
        let log = log_of(&leaves);
        let (at, n) = (at.index(size), size as u64);
        let (i, whole, older) = (at as u64, log.root(), root(&leaves[..at]));
        let flip = |hash: &mut Hash| hash[byte.index(32)] ^= 1 << bit;
        let inclusion = log.inclusion(i, n).unwrap();
        let consistency = log.consistency(i, n).unwrap();
        let changed = |proof: &Proof| {
            let mut hashes = proof.to_vec();
            match change {
                0 => hashes.push(whole),
                1 => drop(hashes.pop()),
                2 => hashes.insert(0, older),
                _ if hashes.is_empty() => hashes.push(older),
                _ => {
                    let which = byte.index(hashes.len());
                    flip(&mut hashes[which]);
                }
            }
            hashes
        };
        let wrong = changed(&inclusion);
        if wrong != *inclusion {
            prop_assert!(!verify_inclusion(&leaves[at], i, n, &wrong, &whole));
        }
        let wrong = changed(&consistency);
        if wrong != *consistency {
            prop_assert!(!verify_consistency(i, n, &older, &whole, &wrong));
        }
        let (mut leaf, mut head, mut first) = (leaves[at], whole, older);
        flip(&mut leaf);
        flip(&mut head);
        flip(&mut first);
        prop_assert!(!verify_inclusion(&leaf, i, n, &inclusion, &whole));
        prop_assert!(!verify_inclusion(&leaves[at], i, n, &inclusion, &head));
        prop_assert!(!verify_consistency(i, n, &first, &whole, &consistency));
        // From nothing, any log follows.
        if at > 0 {
            prop_assert!(!verify_consistency(i, n, &older, &head, &consistency));
        }
        for other in 0..n {
            prop_assert!(other == i || !verify_inclusion(&leaves[at], other, n, &inclusion, &whole));
        }
    }

    /// What is taken back was never there; a snapshot and an edge are the log.
    #[test]
    fn truncation_snapshots_and_edges_agree(size in 0_usize..300, keep in any::<prop::sample::Index>(), more in 0_usize..40) {
        let keep = keep.index(size + 1);
        let all = leaves(size + more);
        let mut log = log_of(&all[..size]);
        log.truncate(keep as u64).unwrap();
        prop_assert_eq!(log.root(), root(&all[..keep]));
        let mut edge = log.edge().clone();
        for leaf in &all[keep..] {
            log.append_leaf(*leaf).unwrap();
            edge.append(*leaf);
        }
        let fresh = log_of(&all);
        prop_assert_eq!(edge.root(), fresh.root());
        prop_assert_eq!(log.edge(), &edge);
        prop_assert_eq!(log.nodes(), fresh.nodes());
        let snapshot = log.snapshot(log.size()).unwrap();
        let read = Log::from_snapshot(&snapshot).unwrap();
        prop_assert_eq!(read.nodes(), fresh.nodes());
        prop_assert_eq!(read.edge(), &edge);
        let opened = Log::open(read.nodes().clone(), log.size()).unwrap();
        prop_assert_eq!(opened.edge(), &edge);
        let part = Log::from_snapshot(&log.snapshot(keep as u64).unwrap()).unwrap();
        prop_assert_eq!(part.root(), root(&all[..keep]));
    }

    #[test]
    fn a_snapshot_that_was_changed_is_refused(size in 1_usize..100, at in any::<prop::sample::Index>(), change in 1_u8..=255) {
        let mut snapshot = log_of(&leaves(size)).snapshot(size as u64).unwrap();
        let at = at.index(snapshot.len());
        snapshot[at] ^= change;
        prop_assert!(Log::from_snapshot(&snapshot).is_err());
    }

    #[test]
    fn arbitrary_bytes_break_nothing(data in prop::collection::vec(any::<u8>(), 0..400)) {
        betanet_log::testkit::fuzz(&data);
    }
}

#[test]
fn an_edge_has_the_roots_of_its_size() {
    assert_eq!(Edge::new(3, leaves(1)), None);
    assert!(Edge::new(3, leaves(2)).is_some());
    assert_eq!(Edge::default().size(), 0);
}

#[test]
fn a_proof_has_65_hashes_at_most() {
    let longest = Proof::new(leaves(PROOF_MAX)).unwrap();
    let bytes = cbor::to_vec(&longest);
    assert_eq!(cbor::from_slice(&bytes), Ok(longest));
    assert_eq!(Proof::new(leaves(PROOF_MAX + 1)), None);
    let bytes = cbor::to_vec(&leaves(PROOF_MAX + 1));
    assert!(cbor::from_slice::<Proof>(&bytes).is_err());
    // The longest that a log of 2^64 - 1 records gives.
    assert!(u64::MAX.ilog2() as usize + 2 <= PROOF_MAX);
}

/// Reads the committed inputs of the fuzz target.
#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/log");
    let inputs = std::fs::read_dir(folder).unwrap();
    let run = |entry: std::io::Result<std::fs::DirEntry>| {
        betanet_log::testkit::fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
    };
    assert!(inputs.map(run).count() >= 10);
}
