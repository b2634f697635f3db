use std::format;
use std::string::ToString as _;
use std::vec::Vec;

use betanet_bls::{G1Affine, G1Projective, G2Affine, Scalar, pairings_cancel};
use betanet_keys::hash;
use betanet_machine::{Rng, Seed};

use crate::testkit::World;
use crate::{Invalid, Keysets, Voucher, VoucherError, verify, verify_batch};

fn rng() -> Rng {
    Rng::new(&Seed::from_number(99))
}

/// The same bytes with a checksum that is right.
fn summed(mut bytes: [u8; 128]) -> [u8; 128] {
    let sum = hash(&[b"BN-VCHK1", &bytes[..116]]);
    bytes[116..].copy_from_slice(&sum[..12]);
    bytes
}

/// The voucher with this added to its signature.
fn shifted(voucher: &Voucher, by: &G1Projective) -> Voucher {
    let signature = G1Affine::from_bytes(&voucher.signature()).unwrap();
    let sum = (G1Projective::from(signature) + *by).to_affine().unwrap();
    Voucher::new(
        &voucher.keyset(),
        voucher.denomination(),
        &voucher.secret(),
        &sum,
    )
}

#[test]
fn any_bit_of_a_voucher_altered_is_refused() {
    let mut world = World::new(1, 2, 3, &[0, 1]);
    let voucher = world.issue(&[1]).remove(0);
    assert_eq!(verify(&voucher, &world.keysets), Ok(()));
    let mut forged = 0;
    for bit in 0..1_024 {
        let mut bytes = *voucher.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            Voucher::from_bytes(&bytes).err(),
            Some(VoucherError::Checksum),
            "bit {bit}"
        );
        // Somebody who forges makes the checksum right.
        let Ok(made) = Voucher::from_bytes(&summed(bytes)) else {
            assert!(bit / 8 >= 112, "bit {bit}");
            continue;
        };
        if bit / 8 >= 116 {
            assert_eq!(made, voucher);
            continue;
        }
        assert!(verify(&made, &world.keysets).is_err(), "bit {bit}");
        forged += 1;
    }
    assert!(forged > 896, "{forged}");
}

#[test]
fn spare_bytes_versions_and_denominations_have_one_value() {
    let voucher = World::new(2, 1, 1, &[0]).issue(&[0]).remove(0);
    let with = |at: usize, value: u8| {
        let mut bytes = *voucher.as_bytes();
        bytes[at] = value;
        Voucher::from_bytes(&summed(bytes)).err()
    };
    assert_eq!(with(112, 0), Some(VoucherError::Version(0)));
    assert_eq!(with(112, 2), Some(VoucherError::Version(2)));
    assert_eq!(with(113, 41), Some(VoucherError::Denomination(41)));
    assert_eq!(with(114, 1), Some(VoucherError::Spare));
    assert_eq!(with(115, 1), Some(VoucherError::Spare));
    assert_eq!(
        Voucher::from_bytes(&[0; 127]).err(),
        Some(VoucherError::Length)
    );
}

#[test]
fn text_has_one_form_and_debug_shows_no_secret() {
    let voucher = World::new(3, 1, 1, &[0]).issue(&[0]).remove(0);
    let text = voucher.to_string();
    assert!(text.starts_with("bnv1") && text.len() == 215, "{text}");
    assert_eq!(text.parse::<Voucher>().unwrap(), voucher);
    assert_eq!(text.to_uppercase().parse::<Voucher>().unwrap(), voucher);
    for at in 0..text.len() {
        let mut bad = text.clone().into_bytes();
        bad[at] = if bad[at] == b'q' { b'p' } else { b'q' };
        let bad = std::string::String::from_utf8(bad).unwrap();
        assert_eq!(
            bad.parse::<Voucher>().err(),
            Some(VoucherError::Text),
            "{at}"
        );
    }
    assert_eq!("bnv1".parse::<Voucher>().err(), Some(VoucherError::Text));
    let secret = betanet_wire::text::hex(&*voucher.secret());
    assert_eq!(format!("{voucher:?}"), "Voucher(2^0, …)");
    assert!(!format!("{voucher:?}").contains(&secret[..8]));
}

#[test]
fn points_off_the_curve_outside_the_subgroup_and_the_identity_are_refused() {
    let mut world = World::new(4, 1, 1, &[0]);
    let voucher = world.issue(&[0]).remove(0);
    let mut kinds = [0; 3];
    let mut identity = [0; 48];
    identity[0] = 0xc0;
    let small = (1..60_u8).map(|x| {
        let mut point = [0; 48];
        (point[0], point[47]) = (0x80, x);
        point
    });
    for point in small.chain([identity]) {
        let mut bytes = *voucher.as_bytes();
        bytes[64..112].copy_from_slice(&point);
        let bad = Voucher::from_bytes(&summed(bytes)).unwrap();
        let Err(Invalid::Point(why)) = verify(&bad, &world.keysets) else {
            panic!("a bad point passed");
        };
        match why {
            betanet_bls::Error::NotOnCurve => kinds[0] += 1,
            betanet_bls::Error::WrongSubgroup => kinds[1] += 1,
            betanet_bls::Error::Identity => kinds[2] += 1,
            other => panic!("{other}"),
        }
        let both = verify_batch(&[bad, voucher.clone()], &world.keysets, &mut rng());
        assert_eq!(both, [Err(Invalid::Point(why)), Ok(())]);
    }
    assert!(kinds[0] > 10 && kinds[1] > 10 && kinds[2] == 1, "{kinds:?}");
}

#[test]
fn two_forgeries_whose_errors_cancel_are_refused() {
    let mut world = World::new(5, 2, 3, &[0]);
    let pair = world.issue(&[0, 0]);
    let error = G1Affine::generator().times(&Scalar::from(12_345));
    let bad = [shifted(&pair[0], &error), shifted(&pair[1], &-error)];
    for voucher in &bad {
        assert_eq!(verify(voucher, &world.keysets), Err(Invalid::Forged));
    }
    // The plain sums verify: the trap is real.
    let sum = |points: [G1Affine; 2]| {
        (G1Projective::from(points[0]) + points[1].into())
            .to_affine()
            .unwrap()
    };
    let points = bad.each_ref().map(|v| v.point().unwrap());
    let signatures = bad
        .each_ref()
        .map(|v| G1Affine::from_bytes(&v.signature()).unwrap());
    let key = world.keyset().key(bad[0].denomination()).unwrap().public;
    assert!(pairings_cancel(&[
        (sum(points), key),
        (sum(signatures), G2Affine::minus_generator())
    ]));
    for seed in 0..8 {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let found = verify_batch(&bad, &world.keysets, &mut rng);
        assert_eq!(found, [Err(Invalid::Forged); 2]);
    }
    // Signatures exchanged between two good vouchers cancel as well.
    let (a, b) = (
        G1Affine::from_bytes(&pair[0].signature()).unwrap(),
        G1Affine::from_bytes(&pair[1].signature()).unwrap(),
    );
    let swapped = [(&pair[0], b), (&pair[1], a)]
        .map(|(v, s)| Voucher::new(&v.keyset(), v.denomination(), &v.secret(), &s));
    assert_eq!(
        verify_batch(&swapped, &world.keysets, &mut rng()),
        [Err(Invalid::Forged); 2]
    );
}

#[test]
fn a_batch_over_several_keys_names_exactly_the_bad_ones() {
    let mut world = World::new(6, 2, 3, &[0, 3, 9]);
    let exponents: Vec<u8> = (0..33).map(|i| [0, 3, 9][i % 3]).collect();
    let good = world.issue(&exponents);
    assert!(
        verify_batch(&good, &world.keysets, &mut rng())
            .iter()
            .all(Result::is_ok)
    );
    let error = G1Projective::from(G1Affine::generator());
    for bad in [
        &[0][..],
        &[32],
        &[7, 8],
        &[0, 16, 31, 32],
        &(0..33).collect::<Vec<_>>(),
    ] {
        let mut batch = good.clone();
        for at in bad {
            batch[*at] = shifted(&good[*at], &error);
        }
        let found = verify_batch(&batch, &world.keysets, &mut rng());
        for (at, result) in found.iter().enumerate() {
            assert_eq!(result.is_err(), bad.contains(&at), "{bad:?} {at}");
        }
    }
    assert!(verify_batch(&[], &world.keysets, &mut rng()).is_empty());
    assert_eq!(
        verify(&good[0], &Keysets::default()),
        Err(Invalid::UnknownKeyset)
    );
    let other = World::new(7, 1, 1, &[5]);
    let point = G1Affine::generator();
    let e = crate::Denomination::new(6).unwrap();
    let none = Voucher::new(&other.id, e, &[1; 32], &point);
    assert_eq!(verify(&none, &other.keysets), Err(Invalid::NoSuchKey));
}
