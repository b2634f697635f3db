//! Registry records, and the maintainers who sign them.

use super::*;

#[test]
fn registries_keep_the_highest_seq_and_the_lower_index() {
    let mut node = Node::new(3, 7);
    for ty in [
        "FrontOriginRegistry",
        "BootstrapPeer",
        "PaymentRegistry",
        "MixDirectory",
    ] {
        let record = node.network.registered(ty, b"k", 3);
        assert_eq!(node.apply(T0, record), Ok(Effect::Registered), "{ty}");
    }
    let lower = node.network.registered("MixDirectory", b"k", 2);
    assert_eq!(node.apply(T0, lower), Err(Reject::RegistrySeq));
    let other = node.network.registered("MixDirectory", b"l", 2);
    assert_eq!(node.apply(T0, other), Ok(Effect::Registered));
    // Equal seq and other bytes: the first stands, both are evidence.
    let rival = |list: [u8; 32]| {
        let value = cbor::Value::Map(vec![
            (cbor::Value::Text("key"), cbor::Value::Bytes(b"k")),
            (cbor::Value::Text("seq"), cbor::Value::Unsigned(3)),
            (cbor::Value::Text("list"), cbor::Value::Bytes(&list)),
            (cbor::Value::Text("type"), cbor::Value::Text("MixDirectory")),
            (cbor::Value::Text("other"), cbor::Value::Null),
        ]);
        value.to_vec().unwrap()
    };
    let rival = node.network.envelope(rival, 5);
    assert_eq!(node.apply(T0, rival), Ok(Effect::Evidence));
    let few = node.network.envelope(
        |list| {
            cbor::to_vec(&betanet_keys::Common {
                key: b"k",
                seq: 4,
                list: &list,
                ty: "MixDirectory",
            })
        },
        4,
    );
    assert_eq!(node.apply(T0, few).unwrap_err().code(), Code::AUTH_FAILED);
    node.settle(T0);
    let standing = node.ledger.standing("MixDirectory", b"k").unwrap();
    assert_eq!(
        (standing.index, standing.seq, standing.rival),
        (3, 3, Some(5))
    );
    assert_eq!(node.ledger.standing("MixDirectory", b"m"), None);
    // A waiting record is not final, and what it replaces stands until then.
    for (key, before) in [(&b"k"[..], Some(standing)), (b"m", None)] {
        let newer = node.network.registered("MixDirectory", key, 9);
        assert_eq!(node.apply(T0, newer), Ok(Effect::Registered));
        assert_eq!(node.ledger.standing("MixDirectory", key), before);
    }
    node.settle(T0);
    assert_eq!(node.ledger.standing("MixDirectory", b"k").unwrap().seq, 9);
    node.check_replay();
}

#[test]
fn maintainers_act_from_their_index_on() {
    let mut node = Node::new(3, 5);
    let old = Network::new(3, 5);
    let new: Vec<Identity> = (700..705).map(identity).collect();
    let keys: Vec<[u8; 32]> = new.iter().map(|i| *i.public().as_bytes()).collect();
    let change = |keys: &[[u8; 32]], list: [u8; 32]| {
        let keys: Vec<_> = keys.iter().map(|k| cbor::Value::Bytes(k)).collect();
        let value = cbor::Value::Map(vec![
            (cbor::Value::Text("key"), cbor::Value::Bytes(b"")),
            (cbor::Value::Text("new"), cbor::Value::Array(keys)),
            (cbor::Value::Text("seq"), cbor::Value::Unsigned(1)),
            (cbor::Value::Text("list"), cbor::Value::Bytes(&list)),
            (cbor::Value::Text("type"), cbor::Value::Text(MAINTAINERS)),
        ]);
        value.to_vec().unwrap()
    };
    // Four could never sign five times.
    let four = old.envelope(|list| change(&keys[..4], list), 5);
    assert_eq!(node.apply(T0, four), Err(Reject::Signers));
    let five = old.envelope(|list| change(&keys, list), 5);
    assert_eq!(node.apply(T0, five), Ok(Effect::Maintainers));
    let late = old.registered("Test", b"k", 1);
    assert_eq!(
        node.apply(T0, late).unwrap_err().code(),
        Code::POLICY_REJECTED
    );
    node.network.maintainers = new;
    let record = node.network.registered("Test", b"k", 1);
    assert_eq!(node.apply(T0, record), Ok(Effect::Registered));
    // Without maintainers there are no registries.
    let mut without = Node::new(3, 0);
    let record = old.registered("Test", b"k", 1);
    assert_eq!(without.apply(T0, record), Err(Reject::NoMaintainers));
}

/// An advance under the newest head of a node.
fn advance(node: &Node, ts: u64, seq: u64, key: &[u8], rest: impl Fn(&mut Advance<'_>)) -> Bytes {
    let head = node.ledger.head().unwrap().to_bytes();
    node.network.advance(&head, ts, (seq, key), rest)
}

#[test]
fn maintainers_act_for_signers_that_are_gone() {
    let mut node = Node::new(3, 5);
    let (me, other) = (owner(1), owner(2));
    let record = node.network.bound("a", &me, 1, T0);
    node.apply(T0, record).unwrap();
    node.settle(T0);
    let due = T0 + ADVANCE_AFTER_MS;
    assert_eq!(ADVANCE_AFTER_MS, 14 * DAY);
    let bind = |ts| cbor::to_vec(&AliasRecord::bind(alias("b"), &other, 1, ts));
    let of = |ts: u64, seq, node: &Node| {
        let rec = bind(ts);
        advance(node, ts, seq, b"b", |form| {
            form.rec = Some(Box::leak(rec.clone().into_boxed_slice()));
            form.owner = Some(*other.public().as_bytes());
        })
    };
    let early = of(due - 1, 1, &node);
    assert_eq!(node.apply(due, early), Err(Reject::Advance));
    // Nor does a clock that is wrong make it due.
    let ahead = of(due, 1, &node);
    assert_eq!(
        node.apply(due - CLOCK_MS - 1, ahead.clone()),
        Err(Reject::Clock)
    );
    assert_eq!(node.apply(due, ahead), Ok(Effect::Bound));
    let taken = advance(&node, due, 1, b"a", |form| {
        let rec = AliasRecord::bind(alias("a"), &owner(2), 2, due);
        form.rec = Some(Box::leak(cbor::to_vec(&rec).into_boxed_slice()));
        form.owner = Some(*owner(2).public().as_bytes());
    });
    assert_eq!(
        node.apply(due, taken),
        Err(Reject::Bound),
        "a move needs consent all the same"
    );
    // New signers, who then sign the next head.
    let key = *node.ledger.signers().unwrap().hash();
    let new: Vec<Identity> = [4, 5, 6].map(identity).into();
    let rotate = advance(&node, due, 1, &key, |form| {
        form.new = Some([4, 5, 6].map(|n| *identity(n).public().as_bytes()).into());
    });
    assert_eq!(node.apply(due, rotate), Ok(Effect::Rotated));
    let before = Network::new(3, 5);
    node.network.signers = new;
    node.settle(due);
    assert_eq!(
        (node.status("b", due), node.ledger.rotations()),
        (Status::Bound, 1)
    );
    // The signers act again: what they do now ends the emergency.
    let record = node.network.bound("c", &me, 1, due);
    node.apply(due, record).unwrap();
    let late = of(due + ADVANCE_AFTER_MS, 2, &node);
    let refused = node.apply(due + ADVANCE_AFTER_MS, late);
    assert_eq!(refused, Err(Reject::Advance));
    node.ledger.drop_waiting();
    replayed(&before, &node.ledger, &node.records);
}
