//! The two-sample Kolmogorov-Smirnov test, and Holm's correction for many of them.

pub(super) fn median(values: &[f64]) -> f64 {
    crate::median(values.to_vec())
}

/// The greatest distance of the two distributions, and how likely one as great is between two samples of one distribution
/// (Kolmogorov's limit, with Stephens' correction for the samples' sizes).
pub(super) fn ks(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (mut i, mut j, mut d) = (0, 0, 0.0_f64);
    while i < a.len() && j < b.len() {
        let at = a[i].min(b[j]);
        while i < a.len() && a[i] <= at {
            i += 1;
        }
        while j < b.len() && b[j] <= at {
            j += 1;
        }
        d = d.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    let n = (a.len() * b.len()) as f64 / (a.len() + b.len()) as f64;
    let x = (n.sqrt() + 0.12 + 0.11 / n.sqrt()) * d;
    if x < 0.2 {
        return (d, 1.0);
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 2.0 } else { -2.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    };
    (d, (1..100).map(term).sum::<f64>().clamp(0.0, 1.0))
}

/// Fisher's exact test of two samples of a yes and a no, both sides: how likely shares as unlike are where both have the same.
pub(super) fn fisher(a: [u32; 2], b: [u32; 2]) -> f64 {
    let (yes, no) = (a[0] + b[0], a[1] + b[1]);
    let all = a[0] + a[1];
    let ln: Vec<f64> = std::iter::once(0.0)
        .chain((1..=yes + no).scan(0.0, |sum, n| {
            *sum += f64::from(n).ln();
            Some(*sum)
        }))
        .collect();
    let choose = |n: u32, k: u32| ln[n as usize] - ln[k as usize] - ln[(n - k) as usize];
    // The logarithm of how likely it is that the first has so many of all that said yes.
    let likely = |k: u32| choose(yes, k) + choose(no, all - k) - choose(yes + no, all);
    let seen = likely(a[0]) + 1e-7;
    let ways = all.saturating_sub(no)..=all.min(yes);
    let sum: f64 = ways.map(likely).filter(|l| *l <= seen).map(f64::exp).sum();
    sum.min(1.0)
}

/// Which hypotheses are rejected at this family-wise level (Holm, 1979).
pub(super) fn holm(ps: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let mut rejected = vec![false; ps.len()];
    for (rank, i) in order.iter().enumerate() {
        if ps[*i] > alpha / (ps.len() - rank) as f64 {
            break;
        }
        rejected[*i] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_distribution_is_one_and_a_shifted_one_is_another() {
        let a: Vec<f64> = (0..1000).map(|n| f64::from(n * 7 % 1000)).collect();
        let b: Vec<f64> = (0..1000).map(|n| f64::from(n * 11 % 1000)).collect();
        assert!(ks(&a, &b).1 > 0.99);
        let c: Vec<f64> = b.iter().map(|x| x + 100.0).collect();
        let (d, p) = ks(&a, &c);
        assert!((d - 0.1).abs() < 0.002 && p < 1e-3, "{d} {p}");
        // A known value: D of 0.1 of two samples of 100 each.
        let a: Vec<f64> = (0..100).map(f64::from).collect();
        let b: Vec<f64> = (0..100).map(|n| f64::from(n) + 9.5).collect();
        let (d, p) = ks(&a, &b);
        assert!((d - 0.1).abs() < 1e-9 && (0.6..0.7).contains(&p), "{d} {p}");
    }

    #[test]
    fn fisher_gives_known_values() {
        // The lady tasting tea: 3 of 4 right.
        assert!((fisher([3, 1], [1, 3]) - 0.485_714).abs() < 1e-5);
        assert!((fisher([4, 0], [0, 4]) - 0.028_571).abs() < 1e-5);
        assert!((fisher([1, 9], [11, 3]) - 0.002_759).abs() < 1e-5);
        assert!((fisher([5, 5], [5, 5]) - 1.0).abs() < 1e-9);
        assert!((fisher([0, 7], [0, 9]) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn holm_rejects_in_order_and_stops() {
        assert_eq!(holm(&[0.001, 0.04, 0.004], 0.01), [true, false, true]);
        assert_eq!(holm(&[0.006, 0.001], 0.01), [true, true]);
        assert_eq!(holm(&[0.006, 0.006], 0.01), [false, false]);
    }
}
