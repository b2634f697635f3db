//! A naive log to compare with, and the function behind the fuzz target.

use alloc::vec::Vec;

use betanet_wire::cbor;

use crate::{
    Hash, Log, Memory, Proof, SignedHead, Split, empty_root, leaf_hash, node_hash,
    verify_consistency, verify_inclusion,
};

/// Root of these records' hashes, by the recursion of RFC 9162 §2.1.1.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

/// `PATH(index, leaves)` of RFC 9162 §2.1.3.1.
#[must_use]
pub fn path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(middle);
    let (mut rest, sibling) = match index < middle {
        true => (path(index, left), root(right)),
        false => (path(index - middle, right), root(left)),
    };
    rest.push(sibling);
    rest
}

/// `PROOF(from, leaves)` of RFC 9162 §2.1.4.1.
#[must_use]
pub fn proof(from: usize, leaves: &[Hash]) -> Vec<Hash> {
    if from == 0 {
        return Vec::new();
    }
    subproof(from, leaves, true)
}

fn subproof(from: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if from == leaves.len() {
        return if whole {
            Vec::new()
        } else {
            Vec::from([root(leaves)])
        };
    }
    let middle = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(middle);
    let (mut rest, sibling) = match from <= middle {
        true => (subproof(from, left, whole), root(right)),
        false => (subproof(from - middle, right, false), root(left)),
    };
    rest.push(sibling);
    rest
}

/// Reads bytes as each message of this crate, and drives a log by them beside the naive one.
pub fn fuzz(data: &[u8]) {
    if let Ok(head) = SignedHead::from_bytes(data) {
        let again = SignedHead::from_bytes(&head.to_bytes());
        assert_eq!(again.as_ref(), Ok(&head));
    }
    if let Ok(split) = Split::from_bytes(data) {
        assert_eq!(Split::from_bytes(&split.to_bytes()), Ok(split));
    }
    if let Ok(proof) = cbor::from_slice::<Proof>(data) {
        assert_eq!(cbor::to_vec(&proof), data);
    }
    if let Ok(log) = Log::from_snapshot(data) {
        let again = log.snapshot(log.size()).map(|s| Log::from_snapshot(&s));
        assert!(again.is_ok_and(|log| log.is_ok()));
    }
    // Steps of two bytes: an append, a truncation, or a proof; numbers and hashes of an attacker.
    let mut log = Log::new(Memory::default());
    let mut leaves: Vec<Hash> = Vec::new();
    for step in data.chunks_exact(2).take(256) {
        let (what, byte) = (step[0], step[1]);
        let size = log.size();
        match what % 4 {
            0 | 1 => {
                leaves.push(leaf_hash(&[byte]));
                assert_eq!(log.append(&[byte]), Ok(size));
            }
            2 => {
                let to = u64::from(byte) % (size + 2);
                assert_eq!(log.truncate(to).is_ok(), to <= size);
                leaves.truncate(usize::try_from(to).unwrap_or(0));
            }
            _ => prove(&log, &leaves, byte),
        }
        assert_eq!(log.root(), root(&leaves));
    }
    guess(data);
}

fn prove(log: &Log<Memory>, leaves: &[Hash], byte: u8) {
    let at = usize::from(byte) % (leaves.len() + 1);
    let (size, from) = (log.size(), at as u64);
    let made = log.consistency(from, size).ok();
    assert_eq!(made.as_deref(), Some(&proof(at, leaves)[..]));
    let older = root(&leaves[..at]);
    let made = made.unwrap_or_default();
    assert!(verify_consistency(from, size, &older, &log.root(), &made));
    let Some(leaf) = leaves.get(at) else {
        assert!(log.inclusion(from, size).is_err());
        return;
    };
    let made = log.inclusion(from, size).unwrap_or_default();
    assert_eq!(*made, *path(at, leaves));
    assert!(verify_inclusion(leaf, from, size, &made, &log.root()));
}

/// No numbers and hashes make a verifier stop, and none show what is not there.
fn guess(data: &[u8]) {
    let Some((numbers, hashes)) = data.split_first_chunk::<16>() else {
        return;
    };
    let number = |at: usize| {
        let mut le = [0; 8];
        le.copy_from_slice(&numbers[at..at + 8]);
        u64::from_le_bytes(le)
    };
    let (a, b) = (number(0), number(8));
    let (hashes, _) = hashes.as_chunks::<32>();
    let none = [0; 32];
    assert!(!verify_inclusion(&none, a, b, hashes, &none));
    let same = a == b && hashes.is_empty();
    assert_eq!(verify_consistency(a, b, &none, &none, hashes), same);
}
