use alloc::vec::Vec;

use super::{OBJECTIVES, Objectives};

/// Volume of the space between a front and a reference point that is worse in everything: larger is better.
///
/// Points that are not better than the reference in every objective count nothing.
#[must_use]
pub fn hypervolume(points: &[Objectives], reference: &Objectives) -> f64 {
    let better = |p: &&Objectives| p.iter().zip(reference).all(|(a, b)| a < b);
    let inside: Vec<Objectives> = points.iter().filter(better).copied().collect();
    slice(inside, reference, OBJECTIVES)
}

/// Volume in the first `dimensions` objectives: slabs between the values of the last one.
fn slice(mut points: Vec<Objectives>, reference: &Objectives, dimensions: usize) -> f64 {
    let last = dimensions - 1;
    points.sort_by(|a, b| a[last].total_cmp(&b[last]));
    if dimensions == 1 {
        return points.first().map_or(0.0, |p| reference[0] - p[0]);
    }
    let mut sum = 0.0;
    let mut below: Vec<Objectives> = Vec::new();
    for (i, p) in points.iter().enumerate() {
        // A point that another one below beats in the other objectives adds nothing to its slab and those above.
        let beats = |q: &Objectives| q.iter().zip(p).take(last).all(|(a, b)| a <= b);
        if !below.iter().any(beats) {
            below.retain(|q| !p.iter().zip(q).take(last).all(|(a, b)| a <= b));
            below.push(*p);
        }
        let top = points.get(i + 1).map_or(reference[last], |q| q[last]);
        let height = top - p[last];
        if height > 0.0 {
            sum += height * slice(below.clone(), reference, last);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_add_up() {
        let reference = [1.0; OBJECTIVES];
        let volume = |points: &[Objectives]| hypervolume(points, &reference);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(volume(&[]), 0.0));
        assert!(near(volume(&[[0.5; 4]]), 0.062_5));
        assert!(
            near(volume(&[[0.5; 4], [0.6, 0.5, 0.5, 0.5]]), 0.062_5),
            "beaten"
        );
        assert!(near(volume(&[[1.0, 0.0, 0.0, 0.0]]), 0.0), "on the edge");
        // Two boxes of 0.5 and 0.5 that share 0.25.
        let two = [[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0]];
        assert!(near(volume(&two), 0.75));
        // All four: what is left is the box of the upper halves.
        let four = [
            [0.5, 0.0, 0.0, 0.0],
            [0.0, 0.5, 0.0, 0.0],
            [0.0, 0.0, 0.5, 0.0],
            [0.0, 0.0, 0.0, 0.5],
        ];
        assert!(near(volume(&four), 1.0 - 0.062_5));
    }

    /// Volumes that pymoo 0.6.2 computed (`pymoo.indicators.hv.HV`) for points of a seeded generator, the same here and there.
    #[test]
    fn volumes_are_those_of_pymoo() {
        let reference = [1.0, 1.1, 0.9, 1.0];
        for (count, seed, volume) in [
            (1, 1, 0.0),
            (3, 2, 0.099_852_462_169_724_2),
            (10, 3, 0.301_812_866_907_084),
            (40, 4, 0.671_839_543_310_529_6),
            (100, 5, 0.688_482_184_029_368_6),
            (150, 6, 0.687_737_453_519_418_5),
        ] {
            let mut dice = super::super::Dice::new(seed);
            let mut unit = || (dice.next() >> 11) as f64 / (1u64 << 53) as f64;
            let points: Vec<Objectives> = (0..count)
                .map(|_| core::array::from_fn(|_| unit()))
                .collect();
            let found = hypervolume(&points, &reference);
            assert!(
                (found - volume).abs() < 1e-12,
                "{count}: {found} for {volume}"
            );
        }
    }
}
