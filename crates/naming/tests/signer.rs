//! A signer contradicts neither itself nor its clock, whatever it is asked to sign.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_log::{Head, SignedHead};
use betanet_naming::signer::{Memory, Refusal, Signer};
use betanet_naming::testkit::{Network, T0, identity, owner};
use betanet_naming::{
    Accepted, Alias, AliasRecord, CLOCK_MS, Effect, Entry, Finalized, LIFE_MS, LabelError, Ledger,
    Reject, RotateMaintainers,
};
use betanet_wire::cbor;
use proptest::prelude::*;

fn alias(text: &str) -> Alias {
    Alias::from_wire(text).unwrap()
}

fn candidate(text: &str, who: u16, seq: u64, ts: u64) -> Finalized {
    let me = owner(who);
    Finalized::new(AliasRecord::bind(alias(text), &me, seq, ts), me.public())
}

fn signer(n: u16) -> Signer {
    Signer::new(identity(n), Memory::default())
}

/// What a signer signs, with its memory after a restart.
fn sign(
    signer: &mut Signer,
    ledger: &Ledger,
    of: &Finalized,
) -> Result<betanet_log::Signature, Refusal> {
    let pending = signer.sign_record(of.record().ts, ledger, of)?;
    let mut memory = signer.memory().clone();
    memory.learn(pending.change()).unwrap();
    assert_eq!(&memory, signer.memory());
    Ok(pending.stored())
}

#[test]
fn one_record_for_one_seq_ever() {
    let network = Network::new(3, 0);
    let ledger = network.ledger();
    let mut one = signer(1);
    let (first, second) = (candidate("a", 1, 1, T0), candidate("a", 2, 1, T0));
    let signature = sign(&mut one, &ledger, &first).unwrap();
    assert_eq!(sign(&mut one, &ledger, &second), Err(Refusal::Twice));
    // The same record again is the same signature.
    assert_eq!(sign(&mut one, &ledger, &first), Ok(signature));
    // A restart forgets nothing that was stored.
    let stored = one.memory().to_bytes();
    let mut again = Signer::new(identity(1), Memory::from_bytes(&stored).unwrap());
    assert_eq!(sign(&mut again, &ledger, &second), Err(Refusal::Twice));
    assert_eq!(sign(&mut again, &ledger, &first), Ok(signature));
    // Nor does a signature that nobody took.
    let mut dropped = signer(2);
    drop(dropped.sign_record(T0, &ledger, &first).unwrap());
    assert_eq!(sign(&mut dropped, &ledger, &second), Err(Refusal::Twice));
}

#[test]
fn a_memory_belongs_to_one_key() {
    let network = Network::new(3, 0);
    let mut memory = Memory::default();
    memory.bind(identity(1).public()).unwrap();
    memory.bind(identity(1).public()).unwrap();
    let mut one = Signer::new(identity(1), memory);
    let first = candidate("a", 1, 1, T0);
    sign(&mut one, &network.ledger(), &first).unwrap();
    let stored = one.memory().to_bytes();
    let mut read = Memory::from_bytes(&stored).unwrap();
    assert_eq!(&read, one.memory());
    assert_eq!(read.bind(identity(2).public()), Err(Refusal::OtherKey));
    assert_eq!(&read, one.memory());
    let mut other = Memory::default();
    other.bind(identity(2).public()).unwrap();
    let before = other.clone();
    assert_eq!(other.learn(&stored), Err(Refusal::OtherKey));
    assert_eq!(other, before);
    // A memory of a version before this is bound when it is read.
    let mut unbound = signer(1).memory().clone();
    unbound.learn(&stored).unwrap();
    assert_eq!(&unbound, one.memory());
}

#[test]
fn a_signer_does_not_believe_a_history_that_leaves_out_its_own_record() {
    let network = Network::new(3, 0);
    let (mut ledger, chosen) = (network.ledger(), network.ledger());
    let mut one = signer(1);
    let first = candidate("a", 1, 1, T0);
    sign(&mut one, &ledger, &first).unwrap();
    ledger
        .apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    // A claim of somebody else without any proof would burn the owner's next `seq`.
    let stolen = candidate("a", 2, 2, T0);
    let unproven = Err(Refusal::Unproven { seq: 1 });
    assert_eq!(sign(&mut one, &chosen, &stolen), unproven);
    let mut again = Signer::new(
        identity(1),
        Memory::from_bytes(&one.memory().to_bytes()).unwrap(),
    );
    assert_eq!(sign(&mut again, &chosen, &stolen), unproven);
    // The node itself, or one to which it gives the alias, needs none: its first record may never have become final.
    let renewed = candidate("a", 1, 2, T0);
    let mut third = Signer::new(identity(1), again.memory().clone());
    sign(&mut third, &chosen, &renewed).unwrap();
    let me = owner(2);
    let moved = AliasRecord::bind(alias("a"), &me, 2, T0).moved_by(&owner(1));
    let moved = Finalized::new(moved, me.public());
    sign(&mut again, &chosen, &moved).unwrap();
    // Nor does anybody a year later, nor where the proof is there.
    let late = candidate("a", 2, 2, T0 + LIFE_MS);
    let signature = one.sign_record(T0 + LIFE_MS, &chosen, &late).unwrap();
    let _ = signature.stored();
    // A memory of an earlier version knows no node.
    let mut old = Signer::new(identity(1), old_memory(&first));
    assert_eq!(sign(&mut old, &chosen, &first).map(drop), Ok(()));
    let mut old = Signer::new(identity(1), old_memory(&first));
    assert_eq!(sign(&mut old, &chosen, &renewed), unproven);
    sign(&mut old, &ledger, &renewed).unwrap();
}

/// A memory of an earlier version, which signed this record.
fn old_memory(signed: &Finalized) -> Memory {
    let digest = signed.digest();
    let one = vec![
        cbor::Value::Unsigned(signed.record().seq),
        cbor::Value::Bytes(&digest),
    ];
    let name = cbor::Value::Text(signed.record().alias.as_str());
    let names = vec![cbor::Value::Array(vec![name, cbor::Value::Array(one)])];
    let form = cbor::Value::Map(vec![
        (cbor::Value::Text("v"), cbor::Value::Unsigned(1)),
        (cbor::Value::Text("names"), cbor::Value::Array(names)),
    ]);
    Memory::from_bytes(&form.to_vec().unwrap()).unwrap()
}

#[test]
fn two_signatures_make_a_record_final() {
    let network = Network::new(3, 0);
    let mut ledger = network.ledger();
    let mut record = candidate("a", 1, 1, T0);
    for n in [1, 3] {
        let signature = sign(&mut signer(n), &ledger, &record).unwrap();
        record.add(signature);
    }
    let applied = ledger.apply(T0, record.to_bytes().into());
    assert_eq!(applied, Ok((0, Effect::Bound)));
}

#[test]
fn a_registry_record_is_final_once_two_of_three_signers_signed_its_head() {
    let network = Network::new(3, 6);
    let mut ledgers = [network.ledger(), network.ledger(), network.ledger()];
    let mut signers = [signer(1), signer(2), signer(3)];
    for seq in 0..3_u64 {
        let (now, size) = (T0 + seq, seq);
        // Maintainers sign the record, and nobody else's signature makes it count.
        let record = network.registered("EconomyHead", &[7; 32], seq);
        for ledger in &mut ledgers {
            let applied = ledger.apply(now, record.clone());
            assert_eq!(applied, Ok((size, Effect::Registered)));
            let before = ledger.standing("EconomyHead", &[7; 32]);
            assert_eq!(before.map(|s| s.seq), seq.checked_sub(1));
        }
        let mut head = SignedHead::new(ledgers[0].next_head(now).unwrap());
        for (signer, ledger) in signers.iter_mut().zip(&ledgers).skip(1) {
            assert!(ledgers[0].clone().accept(head.clone()).is_err());
            let signed = signer.sign_head(now, ledger, head.head()).unwrap();
            head.add(signed.stored());
        }
        for ledger in &mut ledgers {
            assert_eq!(ledger.accept(head.clone()), Ok(Accepted::Extends));
            let standing = ledger.standing("EconomyHead", &[7; 32]).unwrap();
            assert_eq!((standing.seq, ledger.final_size()), (seq, size + 1));
            let proof = ledger.prove_at(standing.index, |_| Some(record.clone()));
            let proven = proof.unwrap().verify(&[network.genesis().signers]);
            assert!(matches!(proven, Ok(Entry::Registry(_))));
        }
    }
}

#[test]
fn only_the_next_seq_and_times_near_the_clock() {
    let network = Network::new(3, 0);
    let mut ledger = network.ledger();
    let mut one = signer(1);
    for seq in [0, 2, 9] {
        let skips = candidate("a", 1, seq, T0);
        let refused = Err(Refusal::Seq { seq, next: 1 });
        assert_eq!(sign(&mut one, &ledger, &skips), refused);
    }
    ledger
        .apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    sign(&mut one, &ledger, &candidate("a", 1, 2, T0)).unwrap();
    for (ts, fine) in [
        (T0 + CLOCK_MS, true),
        (T0 - CLOCK_MS, true),
        (T0 + CLOCK_MS + 1, false),
        (T0 - CLOCK_MS - 1, false),
    ] {
        let record = candidate("b", 1, 1, ts);
        let mut fresh = signer(1);
        let signed = fresh.sign_record(T0, &ledger, &record).map(drop);
        assert_eq!(signed, if fine { Ok(()) } else { Err(Refusal::Clock) });
    }
}

#[test]
fn nothing_that_the_ledger_would_refuse() {
    let network = Network::new(3, 0);
    let mut ledger = network.ledger();
    ledger
        .apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    let mut one = signer(1);
    let taken = candidate("a", 2, 2, T0);
    assert_eq!(
        sign(&mut one, &ledger, &taken),
        Err(Refusal::Record(Reject::Bound))
    );
    let mut forged = AliasRecord::bind(alias("b"), &owner(1), 1, T0);
    forged.sig[1] ^= 1;
    let forged = Finalized::new(forged, owner(1).public());
    assert_eq!(
        sign(&mut one, &ledger, &forged),
        Err(Refusal::Record(Reject::Signature))
    );
    for (text, why) in [("-b", LabelError::Hyphen), ("ab--c", LabelError::Reserved)] {
        let record = candidate(text, 1, 1, T0);
        assert_eq!(sign(&mut one, &ledger, &record), Err(Refusal::Label(why)));
    }
    let mut stranger = signer(9);
    let fine = candidate("b", 1, 1, T0);
    assert_eq!(sign(&mut stranger, &ledger, &fine), Err(Refusal::NotSigner));
    // A refusal is no signature: the right record is still signed.
    assert!(sign(&mut one, &ledger, &candidate("a", 1, 2, T0)).is_ok());
}

#[test]
fn one_rotation_for_one_seq() {
    let network = Network::new(3, 0);
    let ledger = network.ledger();
    let keys = |of: [u16; 3]| of.map(|n| *identity(n).public());
    let prev = keys([1, 2, 3]);
    let (first, second) = (
        RotateMaintainers::new(&keys([4, 5, 6]), &prev, 1),
        RotateMaintainers::new(&keys([7, 8, 9]), &prev, 1),
    );
    let mut one = signer(1);
    let signature = one.sign_rotation(&ledger, &first).unwrap().stored();
    let again = one.sign_rotation(&ledger, &first).unwrap().stored();
    assert_eq!(signature, again);
    assert_eq!(
        one.sign_rotation(&ledger, &second).map(drop),
        Err(Refusal::Twice)
    );
    let later = RotateMaintainers::new(&keys([4, 5, 6]), &prev, 2);
    let refused = Err(Refusal::Seq { seq: 2, next: 1 });
    assert_eq!(one.sign_rotation(&ledger, &later).map(drop), refused);
    let mut signed = first.clone();
    let other = signer(3).sign_rotation(&ledger, &first).unwrap().stored();
    signed.gather(&[other, signature]);
    let mut ledger = network.ledger();
    let applied = ledger.apply(T0, signed.to_bytes().into());
    assert_eq!(applied, Ok((0, Effect::Rotated)));
}

#[test]
fn only_heads_that_extend_the_last_one() {
    let network = Network::new(3, 0);
    let (mut ledger, mut other) = (network.ledger(), network.ledger());
    let mut one = signer(1);
    for n in 0..5 {
        ledger
            .apply(T0, network.bound(&format!("n{n}"), &owner(1), 1, T0))
            .unwrap();
        other
            .apply(T0, network.bound(&format!("m{n}"), &owner(1), 1, T0))
            .unwrap();
    }
    let head = |ledger: &Ledger, ts| ledger.next_head(ts).unwrap();
    let first = head(&ledger, T0);
    let pending = one.sign_head(T0, &ledger, &first).unwrap();
    let mut memory = Memory::default();
    memory.learn(pending.change()).unwrap();
    assert_eq!(&memory, one.memory());
    let _ = pending.stored();
    // Another view of the same size, and of more records.
    let rival = head(&other, T0);
    assert_eq!(
        one.sign_head(T0, &other, &rival).map(drop),
        Err(Refusal::Head)
    );
    other
        .apply(T0, network.bound("more", &owner(1), 1, T0))
        .unwrap();
    let rival = head(&other, T0);
    assert_eq!(
        one.sign_head(T0, &other, &rival).map(drop),
        Err(Refusal::Head)
    );
    // Fewer records, or a root that is not the ledger's.
    let fewer = Head {
        root: ledger.log().root_at(4).unwrap(),
        size: 4,
        ..first
    };
    assert_eq!(
        one.sign_head(T0, &ledger, &fewer).map(drop),
        Err(Refusal::Head)
    );
    let wrong = Head {
        root: [1; 32],
        ..first
    };
    assert_eq!(
        signer(2).sign_head(T0, &ledger, &wrong).map(drop),
        Err(Refusal::Head)
    );
    let set = Head {
        set: [1; 32],
        ..first
    };
    assert_eq!(
        signer(2).sign_head(T0, &ledger, &set).map(drop),
        Err(Refusal::Head)
    );
    assert_eq!(
        signer(9).sign_head(T0, &ledger, &first).map(drop),
        Err(Refusal::NotSigner)
    );
    let late = Head {
        ts: T0 + CLOCK_MS + 1,
        ..first
    };
    assert_eq!(
        one.sign_head(T0, &ledger, &late).map(drop),
        Err(Refusal::Clock)
    );
    let early = Head {
        ts: T0 - 1,
        ..first
    };
    assert_eq!(
        one.sign_head(T0, &ledger, &early).map(drop),
        Err(Refusal::Clock)
    );
    // The same again, and more of the same log.
    assert!(one.sign_head(T0, &ledger, &first).is_ok());
    ledger
        .apply(T0, network.bound("more", &owner(1), 1, T0))
        .unwrap();
    assert!(one.sign_head(T0, &ledger, &head(&ledger, T0 + 1)).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever records come in whatever order, with restarts in between: one signature for one alias and `seq`.
    #[test]
    fn a_signer_signs_one_record_for_one_alias_and_seq(
        steps in prop::collection::vec((0..3_u16, 1..4_u64, 0..3_u64, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let network = Network::new(3, 0);
        let mut ledger = network.ledger();
        let mut one = signer(1);
        let mut changes = Vec::new();
        let mut signed: Vec<(Alias, u64, [u8; 32])> = Vec::new();
        for (name, seq, ts, restart, take) in steps {
            let name = ["a", "b", "c"][usize::from(name)];
            let record = candidate(name, 1, seq, T0 + ts);
            if let Ok(pending) = one.sign_record(T0, &ledger, &record) {
                changes.push(pending.change().to_vec());
                let signature = pending.stored();
                let key = (alias(name), seq, record.digest());
                let rival = |(a, s, d): &(Alias, u64, [u8; 32])| *a == key.0 && *s == seq && *d != key.2;
                prop_assert!(!signed.iter().any(rival));
                signed.push(key);
                if take {
                    let mut record = record;
                    record.add(signature);
                    let by_two = sign(&mut signer(2), &ledger, &record);
                    if let Ok(second) = by_two {
                        record.add(second);
                        let _ = ledger.apply(T0, record.to_bytes().into());
                    }
                }
            }
            if restart {
                let mut memory = Memory::default();
                for change in changes.iter().rev() {
                    memory.learn(change).unwrap();
                }
                prop_assert_eq!(&memory, one.memory());
                one = Signer::new(identity(1), memory);
            }
        }
        prop_assert!(ledger.rivals().is_empty());
    }
}

#[test]
fn a_head_that_lost_to_a_final_one_binds_no_more() {
    let network = Network::new(3, 0);
    let (mut ours, mut theirs) = (network.ledger(), network.ledger());
    ours.apply(T0, network.bound("a", &owner(1), 1, T0))
        .unwrap();
    theirs
        .apply(T0, network.bound("b", &owner(2), 1, T0))
        .unwrap();
    let mut one = signer(1);
    let head = ours.next_head(T0).unwrap();
    let _ = one.sign_head(T0, &ours, &head).unwrap().stored();
    // The other head is not final: the signer holds to its own.
    let other = theirs.next_head(T0 + 1).unwrap();
    let refused = one.sign_head(T0 + 1, &theirs, &other).map(drop);
    assert_eq!(refused, Err(Refusal::Head));
    // The two others made it final, so that the first can never be. Neither is one of its size signed again.
    theirs.accept(network.sign(other, &[1, 2])).unwrap();
    theirs
        .apply(T0, network.bound("c", &owner(3), 1, T0))
        .unwrap();
    let next = theirs.next_head(T0 + 2).unwrap();
    let _ = one.sign_head(T0 + 2, &theirs, &next).unwrap().stored();
    assert_eq!(
        one.sign_head(T0 + 3, &ours, &head).map(drop),
        Err(Refusal::Clock)
    );
}
