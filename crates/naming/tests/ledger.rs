//! The rules of profile chapter 6, one by one.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_keys::{Identity, PublicKey};
use betanet_log::{Head, SIGNERS_MAX};
use betanet_naming::testkit::{DAY, Network, T0, identity, owner, replayed};
use betanet_naming::{
    ADVANCE, ADVANCE_AFTER_MS, Accepted, Advance, Alias, AliasRecord, CLOCK_MS, EVIDENCE_MAX,
    Effect, Entry, Finalized, Genesis, HeadFault, LIFE_MS, Ledger, MAINTAINERS, Proof, ProofError,
    RECORD_MAX, ROTATIONS_MAX, Reject, RotateMaintainers, SnapshotError, Status, Verified,
    WAITING_BYTES, WAITING_MAX,
};
use betanet_wire::{Code, cbor};
use bytes::Bytes;

fn alias(text: &str) -> Alias {
    Alias::from_wire(text).unwrap()
}

/// A ledger that keeps its records, as a node does.
struct Node {
    network: Network,
    ledger: Ledger,
    records: Vec<Bytes>,
}

impl Node {
    fn new(signers: u16, maintainers: u16) -> Self {
        let network = Network::new(signers, maintainers);
        Self {
            ledger: network.ledger(),
            network,
            records: Vec::new(),
        }
    }

    fn apply(&mut self, now: u64, record: Bytes) -> Result<Effect, Reject> {
        self.ledger.apply(now, record).map(|(_, effect)| effect)
    }

    /// Makes everything final.
    fn settle(&mut self, now: u64) {
        let head = self.network.head(&self.ledger, now, &[0, 1]);
        self.records.extend(self.ledger.waiting().cloned());
        assert_eq!(self.ledger.accept(head), Ok(Accepted::Extends));
    }

    fn status(&self, text: &str, now: u64) -> Status {
        self.ledger.resolve(&alias(text), now).status
    }

    fn check_replay(&self) {
        replayed(&self.network, &self.ledger, &self.records);
    }
}

#[test]
fn a_record_is_final_once_a_head_covers_it() {
    let mut node = Node::new(3, 0);
    let me = owner(1);
    let record = node.network.bound("files.example", &me, 1, T0);
    assert_eq!(node.apply(T0, record), Ok(Effect::Bound));
    assert_eq!(node.status("files.example", T0), Status::Unknown);
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
    let body = |list: [u8; 32]| {
        let mut form = Advance {
            ts,
            new: None,
            rec: None,
            head: &head,
            owner: None,
        };
        rest(&mut form);
        // The common keys and those of the type, in one map.
        let mut entries = vec![
            (cbor::Value::Text("ts"), cbor::Value::Unsigned(form.ts)),
            (cbor::Value::Text("key"), cbor::Value::Bytes(key)),
            (cbor::Value::Text("seq"), cbor::Value::Unsigned(seq)),
            (cbor::Value::Text("head"), cbor::Value::Bytes(form.head)),
            (cbor::Value::Text("list"), cbor::Value::Bytes(&list)),
            (cbor::Value::Text("type"), cbor::Value::Text(ADVANCE)),
        ];
        let new = form.new.clone().unwrap_or_default();
        if form.new.is_some() {
            let keys = new.iter().map(|k| cbor::Value::Bytes(k)).collect();
            entries.insert(2, (cbor::Value::Text("new"), cbor::Value::Array(keys)));
        }
        if let Some(rec) = form.rec {
            entries.insert(2, (cbor::Value::Text("rec"), cbor::Value::Bytes(rec)));
        }
        if let Some(owner) = &form.owner {
            entries.push((cbor::Value::Text("owner"), cbor::Value::Bytes(owner)));
        }
        cbor::Value::Map(entries).to_vec().unwrap()
    };
    node.network.envelope(body, 5)
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
