//! Whether the time of a multiplication tells anything of its scalar: the t-test of Reparaz, Balasch and Verbauwhede, "Dude, is my
//! code constant time?", 2017.

use std::hint::black_box;
use std::time::Instant;

use betanet_machine::{Rng, Seed};
use betanet_x25519_batch::{BASE, Backend, Pair, multiply_with};

use crate::{Effort, Figure};

/// Welch's t of two samples, without the slowest tenth of both: what the system did in between.
fn welch(classes: &[Vec<f64>; 2]) -> f64 {
    let mut all: Vec<f64> = classes.concat();
    all.sort_by(f64::total_cmp);
    let cut = all[all.len() * 9 / 10];
    let moments = |sample: &Vec<f64>| {
        let kept: Vec<f64> = sample.iter().copied().filter(|t| *t <= cut).collect();
        let n = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / n;
        let variance = kept.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((a, va), (b, vb)) = (moments(&classes[0]), moments(&classes[1]));
    (a - b) / (va + vb).sqrt()
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n = if effort.quick { 4_000 } else { 40_000 };
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut figures = Vec::new();
    for backend in Backend::ALL.into_iter().filter(|b| b.is_available()) {
        let lanes = backend.lanes();
        let mut classes = [Vec::with_capacity(n), Vec::with_capacity(n)];
        for i in 0..2 * n {
            // One class has the scalar that swaps least, the other random ones; in random order, both drawn before the clock runs.
            let random: Vec<Pair> = (0..lanes).map(|_| Pair::new(rng.array(), BASE)).collect();
            let fixed = vec![Pair::new([0; 32], BASE); lanes];
            let class = usize::from(rng.below(2) == 1);
            let mut pairs = if class == 0 { fixed } else { random };
            let began = Instant::now();
            multiply_with(backend, black_box(&mut pairs));
            let took = began.elapsed().as_nanos() as f64;
            // The first ones warm up.
            if i > n / 50 {
                classes[class].push(took);
            }
        }
        let t = welch(&classes).abs();
        figures.push(Figure {
            name: match backend {
                Backend::Avx512Ifma => "timing leak of eight at once, |t|",
                Backend::Avx2 => "timing leak of four at once, |t|",
                Backend::Portable => "timing leak of one by one, |t|",
            },
            ratio: t,
            bound: 4.5,
            at_least: false,
            detail: format!(
                "{} multiplications, a fixed scalar against random ones",
                2 * n * lanes
            ),
        });
    }
    figures
}
