#![allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]

use alloc::vec::Vec;

use super::world::{Dice, World};
use crate::journal::{AnswerBody, Record};
use crate::records::{Forwarded, Receipt, task_verification};
use crate::request::Transfer;
use crate::{Change, Economy, Envelope, Genesis, Hash, Request, Tree, leaf_key, verify_state};

/// Requests, envelopes and transfers: those that are read encode to their own bytes.
pub fn fuzz_requests(data: &[u8]) {
    if let Some(request) = Request::from_bytes(data) {
        let again = Request::new(&request.by, request.exp, request.id, &request.op);
        assert_eq!(again.as_ref(), Some(&request));
        assert_eq!(request.body(), data);
        assert!(request.by.len() == 1 || request.op.many());
    }
    if let Some(envelope) = Envelope::from_bytes(data) {
        assert_eq!(envelope.to_bytes(), data);
        assert_eq!(envelope.sigs.len(), envelope.request.by.len());
    }
    if let Some(transfer) = Transfer::from_bytes(data) {
        assert_eq!(transfer.to_bytes(), data);
    }
}

/// Genesis, records of the journal, answers, receipts, counters, tasks, and proofs of the state.
pub fn fuzz_records(data: &[u8]) {
    if let Ok(genesis) = Genesis::from_bytes(data) {
        assert_eq!(genesis.as_bytes(), data);
        if let Ok(mut economy) = Economy::new(data) {
            assert_eq!(economy.audit(), Ok(()));
            let record = economy.first_record().to_bytes();
            let again = Economy::from_first(&record).map(|mut again| again.root());
            assert_eq!(again, Ok(economy.root()));
        }
    }
    if let Some(record) = Record::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
    }
    if let Some(answer) = AnswerBody::from_bytes(data) {
        assert_eq!(answer.to_bytes(), data);
    }
    if let Some(receipt) = Receipt::from_bytes(data) {
        assert!(matches!(receipt.out.len(), 0 | 32));
    }
    let _ = Forwarded::from_bytes(data);
    if let Some((_, k)) = task_verification(data) {
        assert!(k >= 2);
    }
    fuzz_tree(data);
}

/// A tree of leaves from bytes: it is the one that a tree made in another order is, and its proofs hold.
fn fuzz_tree(data: &[u8]) {
    let leaves: Vec<&[u8]> = data.chunks(3).take(64).collect();
    let (mut one, mut other) = (Tree::default(), Tree::default());
    for leaf in &leaves {
        one.put(leaf, b"value");
    }
    for leaf in leaves.iter().rev() {
        other.put(leaf, b"another");
        other.put(b"gone", b"");
        other.put(leaf, b"value");
        other.remove(b"gone");
    }
    let root = one.root();
    assert_eq!(root, other.root());
    let mut all = Tree::default();
    all.put(b"gone", b"");
    let changes = leaves.iter().map(|leaf| Change::new(leaf, Some(b"value")));
    all.change(changes.chain([Change::new(b"gone", None)]).collect());
    assert_eq!(root, all.root());
    for leaf in leaves.iter().filter(|leaf| !leaf.is_empty()) {
        let (table, key) = (leaf[0], &leaf[1..]);
        let path = one.path(&leaf_key(table, key)).siblings;
        let proven = |value| verify_state(&root, (table, key), value, &path, None);
        assert!(proven(Some(b"value")));
        assert!(!proven(Some(b"valuf")) && !proven(None));
    }
}

/// What must be the same before and after a command that changes nothing.
fn fingerprint(economy: &mut Economy) -> (Hash, u64, u64, u64) {
    let next = economy.next_due();
    (economy.root(), economy.records(), economy.time(), next)
}

/// Runs the commands that the bytes tell, and checks the laws after each. Returns their number.
pub fn fuzz_machine(data: &[u8]) -> u64 {
    let Some(mut world) = World::new() else {
        panic!("the genesis of the world is not one");
    };
    let mut dice = Dice::new(data);
    let mut journal: Vec<(u64, Option<Request>)> = Vec::new();
    let mut roots = Vec::from([world.economy.root()]);
    let mut commands = 0;
    for _ in 0..400 {
        if dice.is_empty() {
            break;
        }
        let command = world.command(&mut dice);
        commands += 1;
        let now = world.now;
        let before = fingerprint(&mut world.economy);
        let answer = match &command {
            None => world.economy.tick(now),
            Some(request) => world.economy.apply_unsigned(now, request),
        };
        let Ok(answer) = answer else {
            panic!("the clock of the world never falls");
        };
        if answer.is_new() {
            assert_eq!(answer.seq, before.1);
            if let Some(request) = &command {
                let again = world.economy.apply_unsigned(now, request);
                let again = again.map(|again| (again.code, again.codes, again.seq, again.repeat));
                let closed = (crate::Code::UnknownSigner, Vec::new());
                let first = (answer.code, answer.codes.clone(), answer.seq, true);
                match again {
                    // An account that closed itself signs nothing more.
                    Ok((code, codes, _, false)) => assert_eq!((code, codes), closed),
                    again => assert_eq!(again, Ok(first)),
                }
            }
            journal.push((now, command));
            roots.push(world.economy.root());
        } else {
            assert_eq!(fingerprint(&mut world.economy), before);
        }
        assert_eq!(world.economy.audit(), Ok(()));
    }
    replay(&mut world, &journal, &roots);
    commands
}

/// The journal gives every root again, and a snapshot is the machine that it is of.
fn replay(world: &mut World, journal: &[(u64, Option<Request>)], roots: &[Hash]) {
    let genesis = world.economy.genesis().as_bytes().to_vec();
    let Ok(mut again) = Economy::new(&genesis) else {
        panic!("the genesis of the world is not one");
    };
    for (at, root) in roots.iter().enumerate() {
        assert_eq!(again.root(), *root);
        let Some((now, command)) = journal.get(at) else {
            break;
        };
        let answer = match command {
            None => again.tick(*now),
            Some(request) => again.apply_unsigned(*now, request),
        };
        assert!(answer.is_ok_and(|answer| answer.is_new()));
    }
    let mut rows = Vec::new();
    again.dump(&mut |table, key, value| rows.push((table, key, value)));
    let loaded = Economy::load(&genesis, rows).map(|mut loaded| fingerprint(&mut loaded));
    assert_eq!(loaded, Ok(fingerprint(&mut world.economy)));
}
