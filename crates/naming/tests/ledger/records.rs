//! Records of aliases: their order, signatures, moves, ends.

use super::*;

#[test]
fn a_record_is_final_once_a_head_covers_it() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let record = node.network.bound("files.example", &me, 1, T0);
    assert_eq!(node.apply(T0, record), Ok(Effect::Bound));
    assert_eq!(node.status("files.example", T0), Status::Unknown);
    assert_eq!(node.ledger.aliases(None).count(), 0);
    node.settle(T0);
    let found = node.ledger.resolve(&alias("files.example"), T0);
    assert_eq!(
        (found.status, found.node()),
        (Status::Bound, Some(me.public().node_id()))
    );
    // A waiting record changes nothing that is answered.
    let next = node.network.bound("files.example", &me, 2, T0 + 1);
    assert_eq!(node.apply(T0 + 1, next), Ok(Effect::Renewed));
    assert_eq!(node.ledger.history(&alias("files.example")).len(), 1);
    assert_eq!(node.ledger.last_seq(&alias("files.example")), 2);
    let other = node.network.bound("z", &me, 1, T0 + 1);
    assert_eq!(node.apply(T0 + 1, other), Ok(Effect::Bound));
    let listed: Vec<&str> = node.ledger.aliases(None).map(Alias::as_str).collect();
    assert_eq!(listed, ["files.example"]);
    let after = node.ledger.aliases(Some(&alias("files.example")));
    assert_eq!(after.count(), 0);
    node.ledger.drop_waiting();
    assert_eq!(node.ledger.last_seq(&alias("files.example")), 1);
    node.check_replay();
}

#[test]
fn seq_replay_is_refused() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let first = node.network.bound("a", &me, 5, T0);
    node.apply(T0, first.clone()).unwrap();
    for (seq, ts) in [(4, T0 + 1), (0, T0 + 1)] {
        let record = node.network.bound("a", &me, seq, ts);
        let refused = node.apply(T0, record).unwrap_err();
        assert_eq!(refused, Reject::SeqReplay { seq, last: 5 });
        assert_eq!(refused.code(), Code::ALIAS_SEQ_REPLAY);
    }
    // The very record again, and with signatures by others.
    let again = node.apply(T0, first).unwrap_err();
    assert_eq!(again.code(), Code::ALIAS_SEQ_REPLAY);
    let record = AliasRecord::bind(alias("a"), &me, 5, T0);
    let others = node.network.finalized(record, me.public(), &[1, 2]);
    assert_eq!(
        node.apply(T0, others).unwrap_err().code(),
        Code::ALIAS_SEQ_REPLAY
    );
    assert_eq!(node.ledger.size(), 1);
    assert!(node.ledger.rivals().is_empty());
}

#[test]
fn signatures_that_do_not_count_are_refused() {
    let mut node = Node::new(3, 0);
    let (me, other) = (owner(1), owner(2));
    let record = || AliasRecord::bind(alias("a"), &me, 1, T0);
    let network = &node.network;
    let mut forged = record();
    forged.sig[0] ^= 1;
    let mut later = record();
    later.ts += 1;
    let strangers = Network {
        signers: vec![identity(90), identity(91)],
        maintainers: Vec::new(),
    };
    let all = [
        network.finalized(forged, me.public(), &[0, 1]),
        network.finalized(later, me.public(), &[0, 1]),
        // A key that is not the node's.
        network.finalized(record(), other.public(), &[0, 1]),
        network.finalized(record(), me.public(), &[0]),
        network.finalized(record(), me.public(), &[]),
        strangers.finalized(record(), me.public(), &[0, 1]),
        // A signature of a move that is none.
        network.finalized(
            AliasRecord {
                prev: Some(betanet_log::Signature {
                    signer: *other.public().as_bytes(),
                    sig: [0; 64],
                }),
                ..record()
            },
            me.public(),
            &[0, 1],
        ),
    ];
    for bytes in all {
        let refused = node.apply(T0, bytes).unwrap_err();
        assert_eq!(refused.code(), Code::ALIAS_SIG_INVALID, "{refused}");
    }
    // One signer twice is one signer.
    let mut twice =
        Finalized::from_bytes(&node.network.finalized(record(), me.public(), &[0])).unwrap();
    twice.add(twice.signatures()[0]);
    let needed = node.apply(T0, twice.to_bytes().into()).unwrap_err();
    assert_eq!(
        needed,
        Reject::NotFinal {
            signed: 1,
            needed: 2
        }
    );
}

#[test]
fn a_move_without_the_old_owners_signature_is_refused() {
    let mut node = Node::new(3, 0);
    let (old, new) = (owner(1), owner(2));
    let first = node.network.bound("a", &old, 1, T0);
    node.apply(T0, first).unwrap();
    let taken = node.network.bound("a", &new, 2, T0 + 1);
    let refused = node.apply(T0, taken).unwrap_err();
    assert_eq!(
        (refused, refused.code()),
        (Reject::Bound, Code::ALIAS_SIG_INVALID)
    );
    let record = AliasRecord::bind(alias("a"), &new, 2, T0 + 1);
    // Somebody else's consent is none.
    let wrong = record.clone().moved_by(&owner(3));
    let wrong = node.network.finalized(wrong, new.public(), &[0, 1]);
    assert_eq!(node.apply(T0, wrong), Err(Reject::Bound));
    let moved = node
        .network
        .finalized(record.moved_by(&old), new.public(), &[0, 1]);
    assert_eq!(node.apply(T0, moved), Ok(Effect::Moved));
    node.settle(T0);
    let found = node.ledger.resolve(&alias("a"), T0);
    assert_eq!(found.node(), Some(new.public().node_id()));
    // The old owner has nothing to say any more.
    let back = node.network.bound("a", &old, 3, T0 + 2);
    assert_eq!(node.apply(T0, back), Err(Reject::Bound));
    node.check_replay();
}

#[test]
fn a_retired_alias_leads_nowhere() {
    let mut node = Node::new(3, 0);
    let (me, other) = (owner(1), owner(2));
    let retire = |who: &Identity, seq| AliasRecord::retire(alias("a"), who, seq, T0 + seq);
    let early = node.network.finalized(retire(&me, 1), me.public(), &[0, 1]);
    assert_eq!(node.apply(T0, early), Err(Reject::NotBound));
    let first = node.network.bound("a", &me, 1, T0);
    node.apply(T0, first).unwrap();
    let theirs = node
        .network
        .finalized(retire(&other, 2), other.public(), &[0, 1]);
    assert_eq!(node.apply(T0, theirs), Err(Reject::Signature));
    let ours = node.network.finalized(retire(&me, 2), me.public(), &[0, 1]);
    assert_eq!(node.apply(T0, ours), Ok(Effect::Retired));
    node.settle(T0);
    let found = node.ledger.resolve(&alias("a"), T0);
    assert_eq!((found.status, found.node()), (Status::Retired, None));
    let again = node.network.finalized(retire(&me, 3), me.public(), &[0, 1]);
    assert_eq!(node.apply(T0, again), Err(Reject::NotBound));
    // For 365 days it is its last owner's.
    let theirs = node.network.bound("a", &other, 3, T0 + 3);
    assert_eq!(node.apply(T0, theirs), Err(Reject::Bound));
    let ours = node.network.bound("a", &me, 3, T0 + 3);
    assert_eq!(node.apply(T0, ours), Ok(Effect::Renewed));
    node.settle(T0);
    assert_eq!(node.status("a", T0), Status::Bound);
    node.check_replay();
}

#[test]
fn a_record_expires_at_365_days() {
    let mut node = Node::new(3, 0);
    let (me, other) = (owner(1), owner(2));
    let first = node.network.bound("a", &me, 1, T0);
    node.apply(T0, first).unwrap();
    node.settle(T0);
    assert_eq!(LIFE_MS, 365 * DAY);
    let end = T0 + LIFE_MS;
    assert_eq!(node.status("a", end - 1), Status::Bound);
    let found = node.ledger.resolve(&alias("a"), end);
    assert_eq!((found.status, found.node()), (Status::Expired, None));
    // Whether it had expired is told by the records' own times, so that all nodes agree.
    let early = node.network.bound("a", &other, 2, end - 1);
    assert_eq!(node.apply(end, early), Err(Reject::Bound));
    let free = node.network.bound("a", &other, 2, end);
    assert_eq!(node.apply(end, free), Ok(Effect::Bound));
    node.settle(end);
    let found = node.ledger.resolve(&alias("a"), end);
    assert_eq!(found.node(), Some(other.public().node_id()));
    node.check_replay();
}

#[test]
fn six_records_are_kept() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    for seq in 1..=9 {
        let record = node.network.bound("a", &me, seq, T0 + seq);
        node.apply(T0, record).unwrap();
    }
    node.settle(T0);
    let seqs: Vec<u64> = node
        .ledger
        .history(&alias("a"))
        .iter()
        .map(|h| h.seq)
        .collect();
    assert_eq!(seqs, [9, 8, 7, 6, 5, 4]);
    node.check_replay();
}

#[test]
fn an_offline_signer_knows_the_records_of_one_alias_that_were_proved() {
    let network = Network::new(3, 0);
    let (genesis, me) = (network.genesis(), owner(1));
    let record = |text: &str, seq| {
        let record = AliasRecord::bind(alias(text), &me, seq, T0);
        Finalized::new(record, me.public())
    };
    let sets = [
        genesis.signers.clone(),
        Network::new(4, 0).genesis().signers,
    ];
    let records = [record("a", 3), record("a", 5)];
    let ledger = Ledger::of_alias(&genesis, &sets, &records).unwrap();
    assert_eq!((ledger.last_seq(&alias("a")), ledger.rotations()), (5, 1));
    assert_eq!(ledger.signers(), Some(&sets[1]));
    assert_eq!(ledger.check(&record("a", 6)), Ok(()));
    let replay = Err(Reject::SeqReplay { seq: 5, last: 5 });
    assert_eq!(ledger.check(&record("a", 5)), replay);
    let stranger = AliasRecord::bind(alias("a"), &owner(2), 6, T0);
    let stranger = Finalized::new(stranger, owner(2).public());
    assert_eq!(ledger.check(&stranger), Err(Reject::Bound));
    for wrong in [
        [record("a", 5), record("a", 5)],
        [record("a", 5), record("a", 4)],
        [record("a", 5), record("b", 6)],
    ] {
        assert!(Ledger::of_alias(&genesis, &sets, &wrong).is_err());
    }
    assert!(Ledger::of_alias(&genesis, &sets[1..], &[]).is_err());
    assert!(Ledger::of_alias(&genesis, &[], &[]).is_err());
}
