use std::vec::Vec;

use betanet_bls::{G1Affine, Scalar};

use crate::testkit::World;
use crate::{Blinding, Denomination, IssueError, Partials, finish, verify};

fn setting(t: u8, n: u8) -> (World, Vec<Blinding>, Vec<Partials>) {
    let mut world = World::new(20, t, n, &[0, 4]);
    let blindings: Vec<Blinding> = [0, 4, 0, 0].iter().map(|e| world.blinding(*e)).collect();
    let keyset = world.keyset();
    let point = |b: &Blinding| (b.denomination().exponent(), b.blinded(keyset).unwrap());
    let points: Vec<(u8, G1Affine)> = blindings.iter().map(point).collect();
    let answers = (1..=n).map(|i| world.answer(i, &points)).collect();
    (world, blindings, answers)
}

#[test]
fn any_t_mints_give_the_same_vouchers_and_fewer_give_none() {
    let (mut world, blindings, answers) = setting(3, 5);
    let keyset = world.keyset().clone();
    let mut first = None;
    for a in 0..5 {
        for b in a + 1..5 {
            for c in b + 1..5 {
                let some = [&answers[c], &answers[a], &answers[b]].map(Clone::clone);
                let vouchers = finish(&keyset, &blindings, &some, &mut world.rng).unwrap();
                assert!(vouchers.iter().all(|v| verify(v, &world.keysets).is_ok()));
                assert_eq!(first.get_or_insert_with(|| vouchers.clone()), &vouchers);
            }
        }
    }
    let few = finish(&keyset, &blindings, &answers[..2], &mut world.rng);
    assert_eq!(few, Err(IssueError::TooFew { have: 2, need: 3 }));
    let twice = [&answers[0], &answers[0], &answers[1]].map(Clone::clone);
    let few = finish(&keyset, &blindings, &twice, &mut world.rng);
    assert_eq!(few, Err(IssueError::TooFew { have: 2, need: 3 }));
}

#[test]
fn wrong_answers_are_named() {
    let (mut world, blindings, answers) = setting(3, 5);
    let keyset = world.keyset().clone();
    let mut with = |change: &dyn Fn(&mut Vec<Partials>)| {
        let mut some = answers[..3].to_vec();
        change(&mut some);
        finish(&keyset, &blindings, &some, &mut world.rng)
    };
    let other = G1Affine::generator();
    assert_eq!(
        with(&|s| s[1].signatures[2] = other),
        Err(IssueError::BadShares([2].into()))
    );
    assert_eq!(
        with(&|s| s[0].signatures.swap(2, 3)),
        Err(IssueError::BadShares([1].into()))
    );
    assert_eq!(
        with(&|s| s[2].signatures.truncate(3)),
        Err(IssueError::BadShares([3].into()))
    );
    assert_eq!(
        with(&|s| s[2].share = 0),
        Err(IssueError::BadShares([0].into()))
    );
    assert_eq!(
        with(&|s| s[2].share = 6),
        Err(IssueError::BadShares([6].into()))
    );
    assert_eq!(
        with(&|s| s[2].share = 5),
        Err(IssueError::BadShares([5].into()))
    );
    // Two liars whose errors cancel after interpolation at equal weights.
    let all = with(&|s| {
        s[0].signatures[0] = other;
        s[1].signatures[0] = other.times(&-&Scalar::one()).to_affine().unwrap();
    });
    assert_eq!(all, Err(IssueError::BadShares([1, 2].into())));
}

#[test]
fn a_factor_of_zero_is_refused_and_debug_shows_nothing() {
    let e = Denomination::LEAST;
    assert!(Blinding::new(e, &[1; 32], Scalar::zero()).is_none());
    let blinding = Blinding::new(e, &[0xab; 32], Scalar::one()).unwrap();
    assert_eq!(std::format!("{blinding:?}"), "Blinding(2^0, …)");
}
