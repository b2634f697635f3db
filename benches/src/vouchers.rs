//! Vouchers: verification one by one and in batches beside the sum of its parts in `blst`, and blind shares a second.

use std::hint::black_box;

use betanet_bls::{G1Affine, hash_to_g1};
use betanet_machine::{Rng, Seed};
use betanet_vouchers::testkit::World;
use betanet_vouchers::{DST, Voucher, message_point, sign_blinded, verify, verify_batch};
use blst::MultiPoint as _;
use blst::min_sig::{AggregateSignature, PublicKey, Signature};

use crate::{Effort, Figure, median, spent};

/// Shares that a mint signs each second, at least.
const SHARES: f64 = 4_000.0;

/// What a batch is made of, with calls of `blst` where it has safe ones: decoding with the subgroup check, two sums of products by
/// 128-bit weights, one verification for the pairings. Hashing is a bare call of it as well.
fn parts(vouchers: &[Voucher], key: &PublicKey, rng: &mut Rng) -> f64 {
    spent(|| {
        let bytes = vouchers.iter().map(|v| &v.as_bytes()[64..112]);
        let decoded: Vec<Signature> = bytes
            .map(|b| Signature::sig_validate(b, true).unwrap())
            .collect();
        for voucher in vouchers {
            let mut message =
                *b"BN-VOUCHER1-----------------------------------------------------------------";
            message[44..].copy_from_slice(&voucher.as_bytes()[32..64]);
            black_box(hash_to_g1(&message, DST));
        }
        let mut weights = vec![0; 16 * vouchers.len()];
        rng.fill(&mut weights);
        // As many points again stand for the hashes.
        for _ in 0..2 {
            let sum: AggregateSignature = decoded.as_slice().mult(&weights, 128);
            black_box(sum.to_signature());
        }
        black_box(decoded[0].verify(false, b"", DST, &[], key, false));
    })
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let mut world = World::new(1, 1, 1, &[0]);
    let large = if effort.quick { 256 } else { 1_024 };
    let vouchers = world.issue(&vec![0; large]);
    let keysets = &world.keysets;
    let key = world
        .keyset()
        .key(vouchers[0].denomination())
        .unwrap()
        .public;
    let key = PublicKey::from_bytes(&key.to_bytes()).unwrap();
    let share = &world.of_mint(1)[0];
    let blinded = message_point(&world.id, share.denomination(), &[1; 32])
        .unwrap()
        .to_bytes();
    let mut rng = Rng::new(&Seed::from_number(2));
    let (singles, signs) = if effort.quick { (8, 64) } else { (32, 256) };
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..effort.rounds {
        let single = spent(|| {
            for voucher in &vouchers[..singles] {
                assert!(black_box(verify(voucher, keysets)).is_ok());
            }
        });
        times[0].push(single / singles as f64);
        for (n, (own, theirs)) in [(128, (1, 2)), (large, (3, 4))] {
            let some = &vouchers[..n];
            let batch = spent(|| {
                assert!(
                    verify_batch(some, keysets, &mut rng)
                        .iter()
                        .all(Result::is_ok)
                );
            });
            times[own].push(batch / n as f64);
            times[theirs].push(parts(some, &key, &mut rng) / n as f64);
        }
        // From the wire to the wire, as a mint works.
        let sign = spent(|| {
            for _ in 0..signs {
                let point = G1Affine::from_bytes(black_box(&blinded)).unwrap();
                black_box(sign_blinded(share, &point).unwrap().to_bytes());
            }
        });
        times[5].push(sign / f64::from(signs));
    }
    let [single, batch, batch_parts, big, big_parts, sign] = times.map(median);
    let figure = |name, ratio, bound, at_least, detail| Figure {
        name,
        ratio,
        bound,
        at_least,
        detail,
    };
    let us = |a: f64, b: f64| format!("{:.0} us, {:.0} us a voucher", a * 1e6, b * 1e6);
    vec![
        figure(
            "batch of 128 vs one by one, rate",
            single / batch,
            3.0,
            true,
            us(batch, single),
        ),
        figure(
            "batch of 128 vs its parts in blst",
            batch / batch_parts,
            1.15,
            false,
            us(batch, batch_parts),
        ),
        figure(
            "largest batch vs its parts in blst",
            big / big_parts,
            1.15,
            false,
            us(big, big_parts),
        ),
        figure(
            "blind shares a second, of 4000",
            1.0 / sign / SHARES,
            1.0,
            true,
            format!("{:.0}/s", 1.0 / sign),
        ),
    ]
}
