use alloc::vec::Vec;
use core::ops::Deref;

use betanet_wire::cbor;

use crate::{Hash, empty_root, node_hash};

/// Most hashes of a proof.
pub const PROOF_MAX: usize = 65;

/// The hashes of an inclusion or a consistency proof, at most [`PROOF_MAX`]. It encodes as `[bstr[32]…]`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Proof(Vec<Hash>);

impl Proof {
    /// A proof of these hashes; `None` if there are more than [`PROOF_MAX`].
    #[must_use]
    pub fn new(hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() <= PROOF_MAX).then_some(Self(hashes))
    }

    pub(crate) const fn of(hashes: Vec<Hash>) -> Self {
        Self(hashes)
    }
}

impl Deref for Proof {
    type Target = [Hash];

    fn deref(&self) -> &[Hash] {
        &self.0
    }
}

impl cbor::Encode for Proof {
    fn encode(&self, w: &mut cbor::Writer) {
        self.0.encode(w);
    }

    fn size_hint(&self) -> usize {
        3 + 34 * self.0.len()
    }
}

impl<'a> cbor::Decode<'a> for Proof {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.array()?;
        if n > PROOF_MAX {
            return Err(cbor::Error::Range("a proof of at most 65 hashes"));
        }
        let mut hashes = Vec::with_capacity(n);
        for _ in 0..n {
            hashes.push(Hash::decode(r)?);
        }
        r.leave();
        Ok(Self(hashes))
    }
}

/// Whether the proof shows that a record's hash stands at `index` in the log of `size` records with this root (RFC 9162
/// §2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for other in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(other, &hash);
            // A subtree that ends the log has no neighbour on some levels.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the log of `from` records with root `first` is the beginning of that of `to` records with root
/// `second` (RFC 9162 §2.1.4.2). An empty proof shows it where `from` is 0, or where both logs are the same.
#[must_use]
pub fn verify_consistency(from: u64, to: u64, first: &Hash, second: &Hash, proof: &[Hash]) -> bool {
    if from > to {
        return false;
    }
    if from == to {
        return proof.is_empty() && first == second;
    }
    if from == 0 {
        return proof.is_empty() && *first == empty_root();
    }
    let (mut at, mut last) = (from - 1, to - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    // Where the older log is one complete subtree, its root begins the proof.
    let (begin, rest) = if from.is_power_of_two() {
        (*first, proof)
    } else {
        match proof.split_first() {
            Some((begin, rest)) => (*begin, rest),
            None => return false,
        }
    };
    let (mut older, mut newer) = (begin, begin);
    for other in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            older = node_hash(other, &older);
            newer = node_hash(other, &newer);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            newer = node_hash(&newer, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && older == *first && newer == *second
}
