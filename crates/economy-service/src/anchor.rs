//! The registry record by which one head of each epoch stands in a network's ledger of names.

use betanet_keys::Common;
use betanet_log::{Hash, SignedHead};
use betanet_wire::{cbor, message};

/// Type of the record.
pub const ECONOMY_HEAD: &str = "EconomyHead";

message! {
    struct Form<'a> {
        req "key" key: &'a [u8],
        req "seq" seq: u64,
        req "head" head: &'a [u8],
        req "list" list: Hash,
        req "type" ty: &'a str,
    }
}

/// A head in a ledger of names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Anchored {
    /// ID of the ledger that it is of.
    pub genesis: Vec<u8>,
    /// The epoch in which it was final.
    pub epoch: u64,
    /// The head as it is carried. Its signatures are not verified.
    pub head: SignedHead,
}

/// The record of a final head of an epoch, for maintainers whose list has this hash to sign.
#[must_use]
pub fn anchor(genesis: &Hash, epoch: u64, head: &SignedHead, list: Hash) -> Vec<u8> {
    cbor::to_vec(&Form {
        key: genesis,
        seq: epoch,
        head: &head.to_bytes(),
        list,
        ty: ECONOMY_HEAD,
    })
}

/// Reads such a record. `None`: it is none.
#[must_use]
pub fn anchored(record: &[u8]) -> Option<Anchored> {
    let common: Common<'_> = cbor::from_slice(record).ok()?;
    if common.ty != ECONOMY_HEAD {
        return None;
    }
    let form: Form<'_> = cbor::from_slice(record).ok()?;
    Some(Anchored {
        genesis: form.key.to_vec(),
        epoch: form.seq,
        head: SignedHead::from_bytes(form.head).ok()?,
    })
}

/// The epoch of a record that was made or checked here.
pub(crate) fn made(record: &[u8]) -> Option<u64> {
    let common: Common<'_> = cbor::from_slice(record).ok()?;
    Some(common.seq)
}

#[cfg(test)]
mod tests {
    use betanet_log::Head;

    use super::*;

    #[test]
    fn a_record_reads_back_and_another_type_does_not() {
        let head = SignedHead::new(Head {
            ts: 5,
            set: [1; 32],
            root: [2; 32],
            size: 7,
            state: Some([3; 32]),
        });
        let record = anchor(&[4; 32], 9, &head, [5; 32]);
        let read = anchored(&record).unwrap();
        assert_eq!(
            (read.genesis, read.epoch, read.head),
            (vec![4; 32], 9, head)
        );
        assert_eq!(made(&record), Some(9));
        let other = cbor::to_vec(&Common {
            key: &[4; 32],
            seq: 9,
            list: &[5; 32],
            ty: "Test",
        });
        assert_eq!(anchored(&other), None);
    }
}
