//! Vouchers: verification one by one and in batches beside the sum of its parts in `blst`, and blind shares a second.

use std::hint::black_box;

use betanet_bls::{G1Affine, hash_to_g1};
use betanet_machine::{Rng, Seed};
use betanet_vouchers::testkit::World;
use betanet_vouchers::{DST, Keysets, Voucher, message_point, sign_blinded, verify, verify_batch};
use blst::min_sig::{AggregateSignature, PublicKey, Signature};
use blst::{MultiPoint as _, blst_fp12, blst_p1_affine, blst_p2_affine};

use crate::{Effort, Figure, median, spent};

/// Shares that a mint signs each second, at least.
const SHARES: f64 = 4_000.0;

/// Numbers of keys, each of a keyset of its own, under which the vouchers of a batch are.
const KEYS: [usize; 2] = [4, 16];

/// What a batch is made of, with calls of `blst` where it has safe ones: decoding with the subgroup check, the sums of products by
/// 128-bit weights, one pairing a key and one. Hashing is a bare call of it as well. Vouchers are under the keys in turn.
fn parts(vouchers: &[Voucher], keys: &[PublicKey], rng: &mut Rng) -> f64 {
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
        let sum = |points: &[Signature]| {
            let sum: AggregateSignature = points.mult(&weights, 128);
            *<&blst_p1_affine>::from(&sum.to_signature())
        };
        // As many points again stand for the hashes: a sum for each key.
        let of_key = |k: usize| -> Vec<Signature> {
            decoded
                .iter()
                .skip(k)
                .step_by(keys.len())
                .copied()
                .collect()
        };
        let mut sums: Vec<blst_p1_affine> = (0..keys.len()).map(|k| sum(&of_key(k))).collect();
        sums.push(sum(&decoded));
        // Any point of the second group stands for its generator.
        let seconds: Vec<blst_p2_affine> = keys
            .iter()
            .chain(keys.first())
            .map(|key| *<&blst_p2_affine>::from(key))
            .collect();
        black_box(blst_fp12::miller_loop_n(&seconds, &sums).final_exp());
    })
}

/// Vouchers under so many keys in turn, the keysets that have them, and the keys.
fn mixed(keys: usize, vouchers: usize) -> (Vec<Voucher>, Keysets, Vec<PublicKey>) {
    let seeds = 100..100 + keys as u64;
    let mut worlds: Vec<World> = seeds.map(|seed| World::new(seed, 1, 1, &[0])).collect();
    let mut keysets = Keysets::default();
    let mut publics = Vec::new();
    for world in &worlds {
        publics.push(public(world));
        keysets.add(world.keyset().clone()).unwrap();
    }
    let each = vec![0; vouchers / keys];
    let issued: Vec<Vec<Voucher>> = worlds.iter_mut().map(|w| w.issue(&each)).collect();
    let in_turn = (0..each.len()).flat_map(|n| issued.iter().map(move |of| of[n].clone()));
    (in_turn.collect(), keysets, publics)
}

/// The key of a world's one denomination.
fn public(world: &World) -> PublicKey {
    let e = world.keyset().denominations().next().unwrap();
    let key = world.keyset().key(e).unwrap().public;
    PublicKey::from_bytes(&key.to_bytes()).unwrap()
}

fn good(vouchers: &[Voucher], keysets: &Keysets, rng: &mut Rng) -> f64 {
    spent(|| {
        let verdicts = verify_batch(vouchers, keysets, rng);
        assert!(verdicts.iter().all(Result::is_ok));
    })
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let mut world = World::new(1, 1, 1, &[0]);
    let large = if effort.quick { 256 } else { 1_024 };
    let vouchers = world.issue(&vec![0; large]);
    let keysets = &world.keysets;
    let key = [public(&world)];
    let mixed = KEYS.map(|keys| mixed(keys, large));
    let share = &world.of_mint(1)[0];
    let blinded = message_point(&world.id, share.denomination(), &[1; 32])
        .unwrap()
        .to_bytes();
    let mut rng = Rng::new(&Seed::from_number(2));
    let (singles, signs) = if effort.quick { (8, 64) } else { (32, 256) };
    let mut times: [Vec<f64>; 10] = Default::default();
    for _ in 0..effort.rounds {
        let single = spent(|| {
            for voucher in &vouchers[..singles] {
                assert!(black_box(verify(voucher, keysets)).is_ok());
            }
        });
        times[0].push(single / singles as f64);
        for (n, (own, theirs)) in [(128, (1, 2)), (large, (3, 4))] {
            let some = &vouchers[..n];
            let batch = good(some, keysets, &mut rng);
            times[own].push(batch / n as f64);
            times[theirs].push(parts(some, &key, &mut rng) / n as f64);
        }
        for ((vouchers, keysets, keys), (own, theirs)) in mixed.iter().zip([(6, 7), (8, 9)]) {
            let n = vouchers.len() as f64;
            times[own].push(good(vouchers, keysets, &mut rng) / n);
            times[theirs].push(parts(vouchers, keys, &mut rng) / n);
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
    let [
        single,
        batch,
        batch_parts,
        big,
        big_parts,
        sign,
        four,
        four_parts,
        many,
        many_parts,
    ] = times.map(median);
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
            "batch under 4 keys vs its parts in blst",
            four / four_parts,
            1.15,
            false,
            us(four, four_parts),
        ),
        figure(
            "batch under 16 keys vs its parts in blst",
            many / many_parts,
            1.15,
            false,
            us(many, many_parts),
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
