//! Bounds of what others make the ledger hold.

use super::*;

#[test]
fn bounds_hold() {
    let mut node = Node::new(3, 0);
    let long = Bytes::from(vec![0xa0; RECORD_MAX + 1]);
    assert_eq!(node.apply(T0, long), Err(Reject::TooLong(RECORD_MAX + 1)));
    let me = owner(1);
    let record = AliasRecord::bind(alias("a"), &me, 1, T0);
    let mut many = Finalized::new(record, me.public());
    for n in 0..200 {
        let (signer, sig) = ([n; 32], [0; 64]);
        many.add(betanet_log::Signature { signer, sig });
    }
    assert_eq!(many.signatures().len(), 128);
    let keys: Vec<PublicKey> = (0..=u16::try_from(SIGNERS_MAX).unwrap())
        .map(|n| *identity(n).public())
        .collect();
    let rotation = RotateMaintainers::new(&keys, &keys[..3], 1).to_bytes();
    let refused = node.apply(T0, rotation.into());
    assert_eq!(refused, Err(Reject::TooMany(SIGNERS_MAX + 1, SIGNERS_MAX)));
    let late = node.network.bound("a", &me, 1, T0 - CLOCK_MS - 1);
    assert_eq!(node.apply(T0, late), Err(Reject::Clock));
    let genesis = Genesis {
        signers: betanet_log::Signers::new(&keys[..2]).unwrap(),
        maintainers: Vec::new(),
    };
    assert_eq!(Ledger::new(&genesis).map(drop), Err(Reject::Signers));
}

#[test]
fn alias_records_and_rotations_have_16_kib() {
    let mut node = Node::new(3, 0);
    let padded = |record: &Bytes, n: usize| -> Bytes {
        let mut value: cbor::Value<'_> = cbor::from_slice(record).unwrap();
        let filler = vec![0; n];
        if let cbor::Value::Map(entries) = &mut value {
            entries.push((cbor::Value::Text("unknown"), cbor::Value::Bytes(&filler)));
        }
        value.to_vec().unwrap().into()
    };
    let record = node.network.bound("a", &owner(1), 1, T0);
    let long = padded(&record, 16 << 10);
    assert_eq!(
        node.apply(T0, long.clone()),
        Err(Reject::Padded(long.len()))
    );
    assert_eq!(node.apply(T0, padded(&record, 15 << 10)), Ok(Effect::Bound));
    let rotation = node.network.rotation(&[4, 5, 6], 1, &[0, 1]);
    let long = padded(&rotation, 16 << 10);
    assert_eq!(
        node.apply(T0, long.clone()),
        Err(Reject::Padded(long.len()))
    );
    // The longest that mean something.
    let of: Vec<u16> = (1..=64).collect();
    let all = Network::new(64, 0);
    let mut longest = all.rotation(&of, u64::MAX, &(0..64).collect::<Vec<_>>());
    assert!(RotateMaintainers::from_bytes(&longest).is_ok());
    let label = ["a"; 63].concat();
    let name = [&label[..], &label, &label, &label[..61]].join(".");
    let (old, me) = (owner(2), owner(1));
    let moved = AliasRecord::bind(alias(&name), &me, u64::MAX, u64::MAX).moved_by(&old);
    let mut many = Finalized::new(moved, me.public());
    for n in 0..128 {
        let (signer, sig) = ([n; 32], [0; 64]);
        many.add(betanet_log::Signature { signer, sig });
    }
    longest = many.to_bytes().into();
    assert!(Finalized::from_bytes(&longest).is_ok(), "{}", longest.len());
}

#[test]
fn few_records_wait_for_a_head() {
    let mut node = Node::new(3, 7);
    // One verification a record: it is the count that matters.
    let me = owner(1);
    for n in 0..WAITING_MAX as u64 {
        let record = node.network.bound("a", &me, n + 1, T0);
        node.apply(T0, record).unwrap();
    }
    let more = node.network.bound("a", &me, 5000, T0);
    assert_eq!(node.apply(T0, more.clone()), Err(Reject::Full));
    assert_eq!(node.ledger.snapshot(), Err(SnapshotError::Waiting));
    node.settle(T0);
    assert_eq!(node.apply(T0, more), Ok(Effect::Renewed));
}

#[test]
fn records_that_wait_for_a_head_have_12_mib() {
    let mut node = Node::new(3, 5);
    let long = |n: u64, list: [u8; 32]| {
        let filler = vec![0; RECORD_MAX - 2000];
        let value = cbor::Value::Map(vec![
            (cbor::Value::Text("key"), cbor::Value::Bytes(b"k")),
            (cbor::Value::Text("seq"), cbor::Value::Unsigned(n)),
            (cbor::Value::Text("list"), cbor::Value::Bytes(&list)),
            (cbor::Value::Text("type"), cbor::Value::Text("Test")),
            (cbor::Value::Text("filler"), cbor::Value::Bytes(&filler)),
        ]);
        value.to_vec().unwrap()
    };
    let mut taken = 0;
    let full = loop {
        let record = node.network.envelope(|list| long(taken as u64, list), 5);
        let bytes = record.len();
        match node.apply(T0, record) {
            Ok(_) => taken += bytes,
            Err(reason) => break (reason, taken + bytes),
        }
    };
    assert_eq!(full.0, Reject::Full);
    assert!(taken <= WAITING_BYTES && full.1 > WAITING_BYTES);
}

#[test]
fn evidence_is_bounded() {
    let mut node = Node::new(3, 0);
    // Two final records of one `seq`, again and again; a rotation lets the signers count again.
    let first = node.network.bound("a", &owner(1), 1, T0);
    node.apply(T0, first).unwrap();
    for n in 0..=EVIDENCE_MAX as u64 {
        let rival = node.network.bound("a", &owner(2), 1, T0 + n);
        assert_eq!(node.apply(T0, rival), Ok(Effect::Evidence));
    }
    assert_eq!(node.ledger.rivals().len(), EVIDENCE_MAX);
    let mut node = Node::new(3, 0);
    let rotation = node.network.rotation(&[4, 5, 6], 1, &[0, 1]);
    node.apply(T0, rotation).unwrap();
    let new = Network {
        signers: [4, 5, 6].map(identity).into(),
        maintainers: Vec::new(),
    };
    let head = new.head(&node.ledger, T0, &[0, 1]);
    assert_eq!(node.ledger.accept(head), Ok(Accepted::Extends));
    for n in 0..20 {
        let rival = node.network.rotation(&[7, 8, 20 + n], 1, &[0, 1]);
        assert_eq!(node.apply(T0, rival), Err(Reject::RotationConflict));
    }
    assert_eq!(node.ledger.rival_rotations().len(), ROTATIONS_MAX);
}
