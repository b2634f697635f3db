use betanet_bls::{G1Affine, G2Affine, Scalar, pairings_cancel};

use crate::testkit::World;
use crate::testkit::link::{guess, record};
use crate::{Denomination, Voucher};

#[test]
fn a_mint_that_keeps_every_byte_guesses_no_better_than_chance() {
    let mut world = World::new(80, 1, 1, &[0]);
    let n = 400;
    let (issued, spent, order) = record(&mut world, n);
    let links = guess(&issued, &spent, &order);
    assert_eq!((links.vouchers, links.right.len()), (n, 7));
    for (name, right) in links.right {
        // One on average by chance; nine or more in one case of a million.
        assert!(right < 9, "{name}: {right} of {n}");
    }
}

#[test]
fn a_factor_of_one_would_be_found() {
    // The guess finds a link where there is one: without blinding, all are right.
    let mut world = World::new(81, 1, 1, &[0]);
    let (_, spent, order) = record(&mut world, 50);
    let mut issued = spent.clone();
    for (i, at) in order.iter().enumerate() {
        issued[*at] = spent[i];
    }
    let links = guess(&issued, &spent, &order);
    let right = links
        .right
        .iter()
        .find(|(name, _)| *name == "nearest: blinded point, point");
    assert_eq!(right.unwrap().1, 50);
}

/// Every issue fits every voucher: for each pair there is a factor that makes the one of the other, and every relation that the mint
/// can compute with its own secret holds for all pairs alike. So what it keeps tells nothing at all.
#[test]
fn every_issue_fits_every_voucher() {
    let mut world = World::new(82, 1, 1, &[0]);
    let secret = world.of_mint(1)[0].secret.clone();
    let vouchers: [Voucher; 3] = world.issue(&[0, 0, 0]).try_into().unwrap();
    let key = world.keyset().key(Denomination::LEAST).unwrap().public;
    let factors = [3_u64, 5, 7].map(Scalar::from);
    let blinded: std::vec::Vec<G1Affine> = vouchers
        .iter()
        .zip(&factors)
        .map(|(v, r)| v.point().unwrap().times(r).to_affine().unwrap())
        .collect();
    for b in &blinded {
        let s = b.times(&secret).to_affine().unwrap();
        for v in &vouchers {
            let (p, sigma) = (
                v.point().unwrap(),
                G1Affine::from_bytes(&v.signature()).unwrap(),
            );
            // s = k·b and σ = k·p: s + σ = k·(b + p), for every pair.
            let left = (betanet_bls::G1Projective::from(s) + sigma.into())
                .to_affine()
                .unwrap();
            let right = (betanet_bls::G1Projective::from(*b) + p.into())
                .to_affine()
                .unwrap();
            assert!(pairings_cancel(&[
                (right, key),
                (left, G2Affine::minus_generator())
            ]));
        }
    }
}
