//! Heads, views of the ledger, proofs and snapshots.

use super::*;

#[test]
fn heads_of_two_views_stop_the_ledger() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    for (text, seq) in [("a", 1), ("b", 1), ("a", 2)] {
        let record = node.network.bound(text, &me, seq, T0 + seq);
        node.apply(T0, record).unwrap();
    }
    let early = Head {
        root: node.ledger.log().root_at(2).unwrap(),
        size: 2,
        ..node.ledger.next_head(T0).unwrap()
    };
    node.settle(T0);
    let fine = node.network.sign(early, &[0, 1]);
    assert_eq!(node.ledger.accept(fine), Ok(Accepted::Older));
    let same = node.ledger.head().unwrap().clone();
    assert_eq!(node.ledger.accept(same), Ok(Accepted::Same));
    let wrong = Head {
        root: [7; 32],
        ..early
    };
    let alone = node.network.sign(wrong, &[2]);
    assert!(matches!(
        node.ledger.accept(alone),
        Err(HeadFault::Signatures(_))
    ));
    let stranger = Head {
        set: [1; 32],
        ..wrong
    };
    let stranger = node.network.sign(stranger, &[0, 1]);
    assert_eq!(node.ledger.accept(stranger), Err(HeadFault::UnknownSet));
    assert!(node.ledger.split().is_none());
    let other = node.network.sign(wrong, &[1, 2]);
    assert_eq!(node.ledger.accept(other), Ok(Accepted::Split));
    // Names still resolve, by what was final; nothing new is accepted.
    assert_eq!(node.status("a", T0), Status::Bound);
    let record = node.network.bound("c", &me, 1, T0);
    assert_eq!(node.apply(T0, record), Err(Reject::Split));
    assert_eq!(node.ledger.next_head(T0), None);
    // The evidence convinces another ledger, and survives a restart.
    let split = node.ledger.split().unwrap().clone();
    let mut fresh = node.network.ledger();
    assert_eq!(fresh.accuse(split.clone()), Ok(()));
    assert_eq!(fresh.split(), Some(&split));
    let snapshot = node.ledger.snapshot().unwrap();
    let read = Ledger::from_snapshot(&node.network.genesis(), &snapshot).unwrap();
    assert_eq!(read.split(), Some(&split));
}

#[test]
fn records_of_another_log_are_not_taken() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let records: Vec<Bytes> = (1..=4)
        .map(|n| node.network.bound("a", &me, n, T0 + n))
        .collect();
    for record in &records {
        node.apply(T0, record.clone()).unwrap();
    }
    node.settle(T0);
    let (head, log) = (
        node.ledger.head().unwrap().clone(),
        node.ledger.log().clone(),
    );
    let signers = node.network.genesis().signers;
    let verify = |bytes: &Bytes| Verified::new(bytes.clone(), &signers);
    let all: Vec<Verified> = records.iter().map(verify).collect();
    let proof = |size| log.consistency(size, 4).unwrap();
    let mut reader = node.network.ledger();
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    for (part, at) in [(&swapped[..2], 2), (&all[..2], 3), (&all[1..3], 2)] {
        let refused = reader.extend(part, &head, &proof(at));
        assert_eq!(refused, Err(HeadFault::Proof));
    }
    assert_eq!(reader.size(), 0);
    // In parts, each final at once.
    reader.extend(&all[..3], &head, &proof(3)).unwrap();
    assert_eq!((reader.final_size(), reader.head()), (3, None));
    reader.extend(&all[3..], &head, &proof(4)).unwrap();
    assert_eq!(reader.snapshot(), node.ledger.snapshot());
    let mut forged = head.clone();
    forged = node.network.sign(*forged.head(), &[0]);
    let refused = node.network.ledger().extend(&all, &forged, &proof(4));
    assert!(matches!(refused, Err(HeadFault::Signatures(_))));
}

#[test]
fn a_record_that_does_not_count_stands_in_the_log_and_changes_nothing() {
    let node = Node::new(3, 0);
    let me = owner(1);
    let mut log = betanet_log::Log::new(betanet_log::Memory::default());
    let records = [
        node.network.bound("a", &me, 2, T0),
        Bytes::from_static(b"\xa0"),
        node.network.bound("a", &me, 1, T0),
        node.network.bound("b", &me, 1, T0),
    ];
    for record in &records {
        log.append(record).unwrap();
    }
    let signers = node.network.genesis().signers;
    let head = Head {
        ts: T0,
        set: *signers.hash(),
        root: log.root(),
        size: 4,
        state: None,
    };
    let head = node.network.sign(head, &[0, 2]);
    let verified: Vec<Verified> = records
        .iter()
        .map(|r| Verified::new(r.clone(), &signers))
        .collect();
    let mut ledger = node.network.ledger();
    let effects = ledger
        .extend(&verified, &head, &Default::default())
        .unwrap();
    let seen: Vec<_> = effects.iter().map(Result::is_ok).collect();
    assert_eq!(seen, [true, false, false, true]);
    assert_eq!(ledger.resolve(&alias("a"), T0).latest.unwrap().seq, 2);
    assert_eq!((ledger.final_size(), ledger.names()), (4, 2));
}

#[test]
fn a_proof_needs_nothing_but_the_signers() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    for n in 0..20 {
        let record = node.network.bound(&format!("n{n}"), &me, 1, T0);
        node.apply(T0, record).unwrap();
    }
    assert_eq!(node.ledger.prove(&alias("n7"), |_| None), None);
    node.settle(T0);
    let records = node.records.clone();
    let bytes_of = |index: u64| records.get(usize::try_from(index).unwrap()).cloned();
    let proof = node.ledger.prove(&alias("n7"), bytes_of).unwrap();
    assert_eq!(node.ledger.prove(&alias("other"), bytes_of), None);
    let file = proof.to_bytes();
    let read = Proof::from_bytes(&file).unwrap();
    let signers = node.network.genesis().signers;
    let Entry::Alias(finalized) = read.verify(std::slice::from_ref(&signers)).unwrap() else {
        panic!("another kind of record");
    };
    assert_eq!(finalized.record().alias, alias("n7"));
    assert_eq!(finalized.record().node, me.public().node_id());
    let others = Network {
        signers: [7, 8, 9].map(identity).into(),
        maintainers: Vec::new(),
    };
    let unknown = read.verify(&[others.genesis().signers]);
    assert_eq!(unknown, Err(ProofError::Head(HeadFault::UnknownSet)));
    // No byte may change.
    for at in 0..file.len() {
        let mut bent = file.clone();
        bent[at] ^= 1;
        let read = Proof::from_bytes(&bent);
        let verified = read.and_then(|p| p.verify(std::slice::from_ref(&signers)));
        assert!(verified.is_err(), "byte {at}");
    }
}

#[test]
fn snapshots_restart_a_ledger() {
    let mut node = Node::new(3, 5);
    for n in 0..300_u16 {
        let record = node.network.bound(
            &format!("n{}", n % 100),
            &owner(n % 100),
            u64::from(n) + 1,
            T0,
        );
        node.apply(T0, record).unwrap();
    }
    let record = node.network.registered("Test", b"k", 1);
    node.apply(T0, record).unwrap();
    node.settle(T0);
    let snapshot = node.ledger.snapshot().unwrap();
    let genesis = node.network.genesis();
    let mut read = Ledger::from_snapshot(&genesis, &snapshot).unwrap();
    assert_eq!(read.snapshot().unwrap(), snapshot);
    assert_eq!(read.fingerprint(), node.ledger.fingerprint());
    // Both go on in the same way.
    let next = node.network.bound("n1", &owner(1), 1000, T0 + 1);
    assert_eq!(read.apply(T0, next.clone()), node.ledger.apply(T0, next));
    assert_eq!(read.fingerprint(), node.ledger.fingerprint());
    let other = Network {
        signers: [7, 8, 9].map(identity).into(),
        maintainers: Vec::new(),
    };
    let network = Ledger::from_snapshot(&other.genesis(), &snapshot).map(drop);
    assert_eq!(network, Err(SnapshotError::Network));
    for cut in [0, 1, snapshot.len() / 2, snapshot.len() - 1] {
        assert!(Ledger::from_snapshot(&genesis, &snapshot[..cut]).is_err());
    }
    node.ledger.drop_waiting();
    node.check_replay();
}
