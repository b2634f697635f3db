//! A mint that keeps every byte, and tries to tell whose voucher is spent.

use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_machine::Rng;

use super::World;
use crate::{Blinding, Partials, Voucher, finish};

/// What the mint kept of one issue, and what the spender saw of one voucher.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Encodings: of an issue the blinded point and its signature, of a voucher its point and its signature.
    pub points: [[u8; 48]; 2],
}

/// How often each way to guess was right.
#[derive(Clone, Debug)]
pub struct Links {
    /// Number of vouchers.
    pub vouchers: usize,
    /// Each way, and its right guesses. By chance one guess is right on average, whatever the number of vouchers.
    pub right: Vec<(&'static str, usize)>,
}

/// Issues and spends vouchers, the second in a random order. Gives what was kept, and for each voucher the place of its issue.
#[must_use]
pub fn record(world: &mut World, n: usize) -> (Vec<Seen>, Vec<Seen>, Vec<usize>) {
    let (mut issued, mut vouchers): (Vec<Seen>, Vec<Voucher>) = (Vec::new(), Vec::new());
    while vouchers.len() < n {
        let some = (n - vouchers.len()).min(256);
        let blindings: Vec<Blinding> = (0..some).map(|_| world.blinding(0)).collect();
        let keyset = world.keyset();
        let point = |b: &Blinding| (0, b.blinded(keyset).unwrap());
        let points: Vec<(u8, G1Affine)> = blindings.iter().map(point).collect();
        let answers: Vec<Partials> = (1..=keyset.threshold())
            .map(|i| world.answer(i, &points))
            .collect();
        for ((_, b), s) in points.iter().zip(&answers[0].signatures) {
            let points = [b.to_bytes(), s.to_bytes()];
            issued.push(Seen { points });
        }
        let keyset = world.keyset().clone();
        vouchers.extend(finish(&keyset, &blindings, &answers, &mut world.rng).unwrap());
    }
    let order = shuffled(n, &mut world.rng);
    let spent = order.iter().map(|at| {
        let v = &vouchers[*at];
        let points = [v.point().unwrap().to_bytes(), v.signature()];
        Seen { points }
    });
    (issued, spent.collect(), order)
}

fn shuffled(n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let j = usize::try_from(rng.below(i as u64 + 1)).unwrap();
        order.swap(i, j);
    }
    order
}

/// Guesses the issue of each voucher, in every way that bytes suggest.
#[must_use]
pub fn guess(issued: &[Seen], spent: &[Seen], order: &[usize]) -> Links {
    let names = [
        ("nearest: blinded point, point", 0, 0),
        ("nearest: blinded point, signature", 0, 1),
        ("nearest: share's signature, point", 1, 0),
        ("nearest: share's signature, signature", 1, 1),
    ];
    let mut right = Vec::new();
    for (name, kept, shown) in names {
        let kept: Vec<[u64; 6]> = issued.iter().map(|s| words(&s.points[kept])).collect();
        let hit = |(voucher, at): (&Seen, &usize)| {
            let shown = words(&voucher.points[shown]);
            let distance = |k: &[u64; 6]| {
                k.iter()
                    .zip(&shown)
                    .map(|(a, b)| (a ^ b).count_ones())
                    .sum::<u32>()
            };
            let nearest = kept.iter().enumerate().min_by_key(|(_, k)| distance(k));
            nearest.is_some_and(|(i, _)| i == *at)
        };
        right.push((
            name,
            spent.iter().zip(order).filter(|pair| hit(*pair)).count(),
        ));
    }
    for (name, kept, shown) in [
        ("rank: blinded point, point", 0, 0),
        ("rank: share's signature, signature", 1, 1),
    ] {
        let (mut a, mut b): (Vec<usize>, Vec<usize>) =
            ((0..issued.len()).collect(), (0..spent.len()).collect());
        a.sort_by_key(|i| issued[*i].points[kept]);
        b.sort_by_key(|i| spent[*i].points[shown]);
        right.push((
            name,
            a.iter().zip(&b).filter(|(i, j)| order[**j] == **i).count(),
        ));
    }
    let in_order = order.iter().enumerate().filter(|(i, at)| i == *at).count();
    right.push(("order of spending", in_order));
    Links {
        vouchers: spent.len(),
        right,
    }
}

fn words(bytes: &[u8; 48]) -> [u64; 6] {
    let mut out = [0; 6];
    for (word, chunk) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_be_bytes(*chunk);
    }
    out
}
