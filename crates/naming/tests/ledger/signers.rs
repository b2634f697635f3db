//! Signers who contradict themselves, and sets of signers that follow each other.

use super::*;

#[test]
fn three_signers_of_whom_one_signs_twice() {
    let mut node = Node::new(3, 0);
    let (one, two) = (owner(1), owner(2));
    // Signers are in the order of their keys in the set, not of their numbers.
    let first = AliasRecord::bind(alias("a"), &one, 1, T0);
    let second = AliasRecord::bind(alias("a"), &two, 1, T0 + 1);
    let first = node.network.finalized(first, one.public(), &[0, 1]);
    let second = node.network.finalized(second, two.public(), &[1, 2]);
    assert_eq!(node.apply(T0, first), Ok(Effect::Bound));
    assert_eq!(node.apply(T0, second), Ok(Effect::Evidence));
    node.settle(T0);
    // The lower index stands, and both are evidence.
    let found = node.ledger.resolve(&alias("a"), T0);
    assert_eq!(found.status, Status::Conflicted);
    assert_eq!(found.node(), Some(one.public().node_id()));
    let rivals = node.ledger.rivals();
    assert_eq!((rivals.len(), rivals[0].first, rivals[0].second), (1, 0, 1));
    let culprits: Vec<_> = node.ledger.discounted().copied().collect();
    assert_eq!(culprits, [*identity(2).public().as_bytes()]);
    // The signer in both counts for nothing: the other two still make records final.
    let record = |seq| AliasRecord::bind(alias("b"), &one, seq, T0);
    for by in [[0, 1], [1, 2]] {
        let bytes = node.network.finalized(record(1), one.public(), &by);
        let needed = Reject::NotFinal {
            signed: 1,
            needed: 2,
        };
        assert_eq!(node.apply(T0, bytes), Err(needed));
    }
    let bytes = node.network.finalized(record(1), one.public(), &[0, 2]);
    assert_eq!(node.apply(T0, bytes), Ok(Effect::Bound));
    // Nor for a rotation, until the next one has happened.
    let rotation = node.network.rotation(&[1, 2, 3], 1, &[0, 1]);
    let needed = Reject::NotFinal {
        signed: 1,
        needed: 2,
    };
    assert_eq!(node.apply(T0, rotation), Err(needed));
    let rotation = node.network.rotation(&[1, 2, 3, 4], 1, &[0, 2]);
    assert_eq!(node.apply(T0, rotation), Ok(Effect::Rotated));
    assert_eq!(node.ledger.discounted().count(), 0);
    // The next record of the alias ends the conflict.
    node.network.signers.push(identity(4));
    let bytes = AliasRecord::bind(alias("a"), &one, 2, T0 + 2);
    let bytes = node.network.finalized(bytes, one.public(), &[0, 1, 2]);
    assert_eq!(node.apply(T0, bytes), Ok(Effect::Renewed));
    let head = node.network.head(&node.ledger, T0, &[0, 1, 2]);
    assert_eq!(node.ledger.accept(head), Ok(Accepted::Extends));
    assert_eq!(node.status("a", T0), Status::Bound);
}

#[test]
fn signers_rotate() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let record = node.network.bound("a", &me, 1, T0);
    node.apply(T0, record).unwrap();
    node.settle(T0);
    let few = node.network.rotation(&[1, 2], 1, &[0, 1]);
    assert_eq!(node.apply(T0, few), Err(Reject::Signers));
    let twice = node.network.rotation(&[4, 4, 5], 1, &[0, 1]);
    assert_eq!(node.apply(T0, twice), Err(Reject::Signers));
    let alone = node.network.rotation(&[4, 5, 6], 1, &[0]);
    assert_eq!(
        node.apply(T0, alone),
        Err(Reject::NotFinal {
            signed: 1,
            needed: 2
        })
    );
    let skips = node.network.rotation(&[4, 5, 6], 2, &[0, 1]);
    assert_eq!(node.apply(T0, skips), Err(Reject::RotationOrder));
    let rotation = node.network.rotation(&[4, 5, 6, 7, 8], 1, &[0, 2]);
    assert_eq!(node.apply(T0, rotation), Ok(Effect::Rotated));
    assert_eq!(node.ledger.turns().count(), 0, "no head covers it");
    // From its index on, the new signers count, and they sign the head that covers it.
    let old = node.network.bound("b", &me, 1, T0);
    assert_eq!(
        node.apply(T0, old),
        Err(Reject::NotFinal {
            signed: 0,
            needed: 3
        })
    );
    let size = node.ledger.size();
    let by_old = Head {
        set: *node.network.genesis().signers.hash(),
        ..node.ledger.next_head(T0).unwrap()
    };
    let by_old = node.network.sign(by_old, &[0, 1, 2]);
    assert_eq!(node.ledger.accept(by_old), Err(HeadFault::WrongSet));
    let new = Network {
        signers: (4..=8).map(identity).collect(),
        maintainers: Vec::new(),
    };
    let needs = new.head(&node.ledger, T0, &[0, 1]);
    assert!(matches!(
        node.ledger.accept(needs),
        Err(HeadFault::Signatures(_))
    ));
    let head = new.head(&node.ledger, T0, &[0, 1, 4]);
    node.records.extend(node.ledger.waiting().cloned());
    assert_eq!(node.ledger.accept(head), Ok(Accepted::Extends));
    assert_eq!(
        (node.ledger.final_size(), node.ledger.rotations()),
        (size, 1)
    );
    assert_eq!(node.ledger.turns().collect::<Vec<_>>(), [1]);
    let record = AliasRecord::bind(alias("b"), &me, 1, T0);
    let record = new.finalized(record, me.public(), &[1, 2, 3]);
    assert_eq!(node.apply(T0, record), Ok(Effect::Bound));
    node.ledger.drop_waiting();
    // Somebody who begins anew comes over the rotation.
    node.check_replay();
}

#[test]
fn rotation_conflict() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let record = node.network.bound("a", &me, 1, T0);
    node.apply(T0, record).unwrap();
    let first = node.network.rotation(&[4, 5, 6], 1, &[0, 1]);
    let second = node.network.rotation(&[7, 8, 9], 1, &[1, 2]);
    assert_eq!(node.apply(T0, first.clone()), Ok(Effect::Rotated));
    let refused = node.apply(T0, second.clone()).unwrap_err();
    assert_eq!(refused.code(), Code::ALIAS_ROTATION_CONFLICT);
    // Neither is applied, and both are kept.
    let before = *node.network.genesis().signers.hash();
    assert_eq!(node.ledger.signers().unwrap().hash(), &before);
    assert_eq!(node.ledger.size(), 1);
    let evidence = node.ledger.rival_rotations()[0].clone();
    assert_eq!(evidence.in_force, None);
    assert_eq!(evidence.rotations, [second.clone(), first.clone()]);
    for rotation in [&first, &second] {
        assert_eq!(
            node.apply(T0, rotation.clone()),
            Err(Reject::RotationConflict)
        );
    }
    assert_eq!(node.ledger.next_head(T0), None);
    // A head that the new set of one signed, from those who never saw the other, puts it in force.
    let mut elsewhere = node.network.ledger();
    let record = node.network.bound("a", &me, 1, T0);
    elsewhere.apply(T0, record.clone()).unwrap();
    elsewhere.apply(T0, first.clone()).unwrap();
    let new = Network {
        signers: [4, 5, 6].map(identity).into(),
        maintainers: Vec::new(),
    };
    let head = new.head(&elsewhere, T0, &[0, 1]);
    assert_eq!(
        node.ledger.accept(head.clone()),
        Err(HeadFault::Missing { from: 0 })
    );
    let signers = node.network.genesis().signers;
    let part = [record, first].map(|bytes| Verified::new(bytes, &signers));
    let effects = node
        .ledger
        .extend(&part, &head, &Default::default())
        .unwrap();
    assert_eq!(effects, [Ok(Effect::Bound), Ok(Effect::Rotated)]);
    // From then on a rival is evidence and changes nothing.
    assert_eq!(
        node.apply(T0, second.clone()),
        Err(Reject::RotationConflict)
    );
    let last = node.ledger.rival_rotations().last().unwrap();
    assert_eq!(
        (last.in_force, &last.rotations[..]),
        (Some(1), &[second][..])
    );
    let set = node.ledger.signers().unwrap().hash();
    assert_eq!(set, new.genesis().signers.hash());
    assert!(node.ledger.next_head(T0).is_some());
}
