//! The laws of DET-CBOR, with ciborium as the oracle for what is CBOR at all.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_wire::cbor::{self, Value};
use proptest::prelude::*;

/// A value that owns what `Value` borrows.
#[derive(Clone, Debug)]
enum Owned {
    Unsigned(u64),
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Owned>),
    Map(Vec<(Owned, Owned)>),
    Bool(bool),
    Null,
}

impl Owned {
    fn borrow(&self) -> Value<'_> {
        match self {
            Self::Unsigned(n) => Value::Unsigned(*n),
            Self::Negative(n) => Value::Negative(*n),
            Self::Bytes(b) => Value::Bytes(b),
            Self::Text(t) => Value::Text(t),
            Self::Array(items) => Value::Array(items.iter().map(Self::borrow).collect()),
            Self::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(k, v)| (k.borrow(), v.borrow()))
                    .collect(),
            ),
            Self::Bool(b) => Value::Bool(*b),
            Self::Null => Value::Null,
        }
    }
}

fn values() -> impl Strategy<Value = Owned> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Owned::Unsigned),
        (0u64..70_000).prop_map(Owned::Unsigned),
        any::<u64>().prop_map(Owned::Negative),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Owned::Bytes),
        ".{0,40}".prop_map(Owned::Text),
        any::<bool>().prop_map(Owned::Bool),
        Just(Owned::Null),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Owned::Array),
            prop::collection::vec((inner.clone(), inner), 0..8).prop_map(Owned::Map),
        ]
    })
}

proptest! {
    /// What is written reads back, is written the same again, and is CBOR to others.
    #[test]
    fn encoding_is_one_to_one(value in values()) {
        let value = value.borrow();
        match value.to_vec() {
            Ok(bytes) => {
                let read: Value<'_> = cbor::from_slice(&bytes).unwrap();
                prop_assert_eq!(read.to_vec().unwrap(), bytes.clone());
                let other: Result<ciborium::Value, _> = ciborium::from_reader(bytes.as_slice());
                prop_assert!(other.is_ok());
            }
            Err(e) => prop_assert!(matches!(e, cbor::Error::DuplicateKey)),
        }
    }

    /// No bytes are accepted that would not be written so, and every cut is refused.
    #[test]
    fn decoding_accepts_one_encoding_only(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = cbor::from_slice::<Value<'_>>(&bytes) {
            prop_assert_eq!(value.to_vec().unwrap(), bytes.clone());
            for cut in 0..bytes.len() {
                prop_assert!(cbor::check(&bytes[..cut]).is_err());
            }
        }
        prop_assert_eq!(cbor::from_slice::<Value<'_>>(&bytes).is_ok(), cbor::check(&bytes).is_ok());
    }

    /// A changed byte of an encoding is refused or means something else.
    #[test]
    fn a_changed_byte_changes_the_meaning(value in values(), at in any::<prop::sample::Index>(), bit in 0..8) {
        if let Ok(mut bytes) = value.borrow().to_vec() {
            let before = bytes.clone();
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            if let Ok(read) = cbor::from_slice::<Value<'_>>(&bytes) {
                prop_assert_ne!(read, cbor::from_slice::<Value<'_>>(&before).unwrap());
            }
        }
    }
}

#[test]
fn bombs_are_refused_before_anything_is_allocated() {
    for bomb in [
        &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        &[0xbb, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00],
        &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x9a, 0x10, 0x00, 0x00, 0x00],
        &[0x7a, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(cbor::check(bomb), Err(cbor::Error::Truncated));
        assert!(cbor::from_slice::<Vec<u64>>(bomb).is_err());
    }
    assert_eq!(cbor::check(&[0x81; 10_000]), Err(cbor::Error::TooDeep));
}

#[test]
fn a_missing_key_and_a_wrong_type_are_named() {
    use betanet_wire::caps::SelMsg;
    let missing = cbor::from_slice::<SelMsg<'_>>(&[0xa0]);
    assert_eq!(missing, Err(cbor::Error::Missing("l2")));
    let wrong = cbor::from_slice::<SelMsg<'_>>(&[0xa1, 0x62, b'l', b'2', 0x01]);
    assert_eq!(
        wrong,
        Err(cbor::Error::Field {
            key: "l2",
            expected: "text"
        })
    );
}
