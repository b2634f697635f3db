//! Signed heads, and views of a log that contradict each other.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_keys::{Identity, PublicKey};
use betanet_log::{
    Domain, Error, Head, Link, Log, Memory, Proof, SIGNERS_MAX, SIGS_MAX, Signature, SignedHead,
    Signers, Split, Verdict, Witness, threshold,
};
use proptest::prelude::*;

const DOMAIN: Domain<'_> = Domain::new("BN-L5-HEAD");

fn identities(n: u8) -> Vec<Identity> {
    (1..=n).map(|i| Identity::from_seed(&[i; 32])).collect()
}

fn set(of: &[Identity]) -> Signers {
    let keys: Vec<PublicKey> = of.iter().map(|i| *i.public()).collect();
    Signers::new(&keys).unwrap()
}

fn log(text: &str) -> Log<Memory> {
    let mut log = Log::new(Memory::default());
    for byte in text.bytes() {
        log.append(&[byte]).unwrap();
    }
    log
}

fn head(log: &Log<Memory>, size: u64, all: &[Identity], by: &[usize]) -> SignedHead {
    let mut head = SignedHead::new(Head {
        ts: 1_800_000_000_000 + size,
        set: *set(all).hash(),
        root: log.root_at(size).unwrap(),
        size,
        state: None,
    });
    for i in by {
        head.add(head.signature(DOMAIN, &all[*i]));
    }
    head
}

fn link(log: &Log<Memory>, from: u64, to: u64) -> Option<Link> {
    Some(Link {
        root: log.root_at(from).unwrap(),
        proof: log.consistency(from, to).unwrap(),
    })
}

#[test]
fn more_than_half_and_at_least_two() {
    let all: Vec<usize> = [1, 2, 3, 4, 5, 7, 64].map(threshold).into();
    assert_eq!(all, [2, 2, 2, 3, 3, 4, 33]);
}

#[test]
fn a_head_counts_with_enough_distinct_signers_of_its_set() {
    let ids = identities(4);
    let (three, view) = (&ids[..3], log("abc"));
    let signers = set(three);
    let few = |signed| Err(Error::TooFew { signed, needed: 2 });
    let mut one = head(&view, 3, three, &[0]);
    assert_eq!(one.check(DOMAIN, &signers), few(1));
    // Neither a signer twice nor a stranger counts, nor a signature of another purpose.
    let first = one.signatures()[0];
    one.add(first);
    one.add(one.signature(DOMAIN, &ids[3]));
    one.add(one.signature(Domain::new("BN-L5-FINAL"), &ids[1]));
    assert_eq!(one.check(DOMAIN, &signers), few(1));
    one.add(one.signature(DOMAIN, &ids[2]));
    assert_eq!(one.check(DOMAIN, &signers), Ok(()));
    assert_eq!(one.check(DOMAIN, &set(&ids)), Err(Error::Set));
    let read = SignedHead::from_bytes(&one.to_bytes()).unwrap();
    assert_eq!((read.check(DOMAIN, &signers), &read), (Ok(()), &one));
    one.clean(DOMAIN, &signers);
    assert_eq!(one.signatures().len(), 2);
    let within = Domain::within("BN-ECO-HEAD1", &[7; 32]);
    let other = Domain::within("BN-ECO-HEAD1", &[8; 32]);
    one.add(one.signature(within, &ids[0]));
    assert_eq!(one.valid(within, &signers).len(), 1);
    assert_eq!(one.valid(other, &signers).len(), 0);
}

#[test]
fn signatures_and_signers_are_bounded() {
    let ids = identities(3);
    let mut full = head(&log("a"), 1, &ids, &[]);
    for n in 0..200_u8 {
        let (signer, sig) = ([n; 32], [0; 64]);
        full.add(Signature { signer, sig });
    }
    assert_eq!(full.signatures().len(), SIGS_MAX);
    assert!(SignedHead::from_bytes(&full.to_bytes()).is_ok());
    let key = *ids[0].public();
    assert_eq!(Signers::new(&[key, key]), Err(Error::Signers));
    assert_eq!(Signers::new(&[]), Err(Error::Signers));
    assert_eq!(Signers::from_bytes(&[[0xff; 32]]), Err(Error::Signers));
    let many = vec![[0; 32]; SIGNERS_MAX + 1];
    let too_many = Err(Error::TooMany(SIGNERS_MAX + 1, SIGNERS_MAX));
    assert_eq!(Signers::from_bytes(&many), too_many);
}

#[test]
fn the_empty_log_has_one_root() {
    let ids = identities(3);
    let mut wrong = *head(&log(""), 0, &ids, &[]).head();
    wrong.root = [7; 32];
    let bytes = SignedHead::new(wrong).to_bytes();
    assert_eq!(SignedHead::from_bytes(&bytes), Err(Error::Root));
}

#[test]
fn heads_of_one_log_extend_each_other() {
    let ids = identities(3);
    let (signers, view) = (set(&ids), log("abcdefg"));
    let mut witness = Witness::default();
    let mut offer = |size, link| {
        let head = head(&view, size, &ids, &[0, 2]);
        witness.offer(DOMAIN, &signers, head, link)
    };
    assert_eq!(offer(3, None), Ok(Verdict::Extends));
    assert_eq!(offer(3, None), Ok(Verdict::Same));
    let unproven = Ok(Verdict::Unproven { from: 3, to: 7 });
    assert_eq!(offer(7, None), unproven);
    assert_eq!(offer(7, link(&log("abcdefG"), 3, 7)), unproven);
    assert_eq!(offer(7, link(&view, 3, 7)), Ok(Verdict::Extends));
    assert_eq!(offer(4, link(&view, 4, 7)), Ok(Verdict::Older));
    let unproven = Ok(Verdict::Unproven { from: 4, to: 7 });
    assert_eq!(offer(4, link(&view, 3, 7)), unproven);
    assert_eq!(witness.newest().unwrap().head().size, 7);
    // A head without enough signatures is nothing.
    let alone = head(&log("xyz"), 3, &ids, &[1]);
    assert!(witness.offer(DOMAIN, &signers, alone, None).is_err());
    assert_eq!(witness.split(), None);
}

#[test]
fn two_views_are_caught_and_both_are_kept() {
    let ids = identities(3);
    let signers = set(&ids);
    // Of one size, and of two with the older head seen first or last.
    let (a, b) = (log("abcdefg"), log("abXdefgh"));
    for (sizes, grows) in [((7, 7), false), ((5, 8), true), ((7, 4), false)] {
        let first = head(&a, sizes.0, &ids, &[0, 1]);
        let second = head(&b, sizes.1, &ids, &[1, 2]);
        let claim = match (sizes.0 < sizes.1, sizes.0 == sizes.1) {
            (_, true) => None,
            (true, _) => link(&b, sizes.0, sizes.1),
            (false, _) => link(&a, sizes.1, sizes.0),
        };
        let mut witness = Witness::default();
        let given = witness.offer(DOMAIN, &signers, first.clone(), None);
        assert_eq!(given, Ok(Verdict::Extends));
        let verdict = witness.offer(DOMAIN, &signers, second.clone(), claim);
        assert_eq!(verdict, Ok(Verdict::Split));
        let split = witness.split().unwrap();
        let (older, newer) = match sizes.0 > sizes.1 {
            true => (&second, &first),
            false => (&first, &second),
        };
        assert_eq!((split.older(), split.newer()), (older, newer), "{grows}");
        // The one who signed both is named, and the evidence convinces another.
        let culprits = split.culprits(DOMAIN, &signers, &signers);
        assert_eq!(culprits, [*ids[1].public()]);
        let bytes = split.to_bytes();
        let read = Split::from_bytes(&bytes).unwrap();
        let mut other = Witness::default();
        other.accuse(DOMAIN, &signers, &signers, read).unwrap();
        assert_eq!(other.split(), witness.split());
        // From now on nothing is accepted.
        let later = head(&a, 7, &ids, &[0, 1, 2]);
        let verdict = other.offer(DOMAIN, &signers, later, None);
        assert_eq!(verdict, Ok(Verdict::Split));
        assert_eq!(other.newest(), None);
    }
}

#[test]
fn nobody_can_accuse_honest_signers() {
    let ids = identities(3);
    let (signers, view) = (set(&ids), log("abcdefgh"));
    let (old, new) = (head(&view, 4, &ids, &[0, 1]), head(&view, 8, &ids, &[1, 2]));
    let fine = link(&view, 4, 8).unwrap();
    let none = Split::new(old.clone(), new.clone(), fine.root, fine.proof.clone());
    assert_eq!(none, Err(Error::NoSplit));
    let none = Split::new(old.clone(), new.clone(), [1; 32], fine.proof);
    assert_eq!(none, Err(Error::NoSplit));
    let none = Split::new(old.clone(), old.clone(), old.head().root, Proof::default());
    assert_eq!(none, Err(Error::NoSplit));
    // A head that too few have signed contradicts nothing.
    let forged = head(&log("abcX"), 4, &ids, &[0]);
    let split = Split::new(old, forged.clone(), forged.head().root, Proof::default()).unwrap();
    let mut witness = Witness::default();
    let accused = witness.accuse(DOMAIN, &signers, &signers, split);
    assert!(matches!(accused, Err(Error::TooFew { signed: 1, .. })));
    assert_eq!(witness, Witness::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whoever sees both of two views with the proofs that their owners have knows it; one view never accuses itself.
    #[test]
    fn a_witness_tells_one_log_from_two(
        common in 0_usize..12, left in 1_usize..10, right in 1_usize..10, same in any::<bool>(), swapped in any::<bool>(),
    ) {
        let ids = identities(3);
        let signers = set(&ids);
        let text = |tail: char, n: usize| {
            let common: String = ('a'..).take(common).collect();
            common + &tail.to_string().repeat(n)
        };
        let (a, b) = (text('X', left), text(if same { 'X' } else { 'Y' }, right));
        let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
        let (old, new) = (short.len() as u64, long.len() as u64);
        let heads = [head(&log(&short), old, &ids, &[0, 1]), head(&log(&long), new, &ids, &[0, 1])];
        let claim = link(&log(&long), old, new);
        let mut witness = Witness::default();
        let order = if swapped { [1, 0] } else { [0, 1] };
        for i in order {
            witness.offer(DOMAIN, &signers, heads[i].clone(), claim.clone()).unwrap();
        }
        prop_assert_eq!(witness.split().is_some(), !same);
        if same {
            prop_assert_eq!(witness.newest().map(|h| h.head().size), Some(new));
        }
    }
}
