//! NSGA-III (Deb and Jain, 2014): of the last front, plans near reference directions that few plans are near to.

use alloc::vec::Vec;

use super::nsga::Member;
use super::{Dice, OBJECTIVES, Objectives};

/// Weight of the other axes in the search for an axis' extreme plan.
const OTHER: f64 = 1e-6;

/// Directions of Das and Dennis (1998): all points of a simplex whose coordinates are multiples of one part, in the most parts
/// that give at most `most` points.
pub(super) fn directions(most: usize) -> Vec<Objectives> {
    let count = |parts: u32| {
        let p = f64::from(parts);
        (p + 1.0) * (p + 2.0) * (p + 3.0) / 6.0
    };
    let mut parts = 1u32;
    while count(parts + 1) <= most as f64 {
        parts += 1;
    }
    let mut out = Vec::new();
    for a in 0..=parts {
        for b in 0..=parts - a {
            for c in 0..=parts - a - b {
                let d = parts - a - b - c;
                out.push([a, b, c, d].map(|x| f64::from(x) / f64::from(parts)));
            }
        }
    }
    out
}

/// The `size` members that live on. Their fronts are known.
pub(super) fn survivors(
    mut members: Vec<Member>,
    size: usize,
    directions: &[Objectives],
    dice: &mut Dice,
) -> Vec<Member> {
    members.sort_by_key(|m| m.front);
    let Some(last) = members.get(size.saturating_sub(1)).map(|m| m.front) else {
        return members;
    };
    // Later fronts count for nothing, not even for the scale.
    members.retain(|m| m.front <= last);
    let sure = members.iter().take_while(|m| m.front < last).count();
    let scale = Scale::of(&members);
    let near: Vec<(usize, f64)> = members
        .iter()
        .map(|m| nearest(&scale.apply(&m.objectives), directions))
        .collect();
    let mut crowd = alloc::vec![0usize; directions.len()];
    for (at, _) in near.iter().take(sure) {
        crowd[*at] += 1;
    }
    let mut waiting: Vec<Vec<usize>> = alloc::vec![Vec::new(); directions.len()];
    for (i, (at, _)) in near.iter().enumerate().skip(sure) {
        waiting[*at].push(i);
    }
    let mut keep = alloc::vec![false; members.len()];
    keep[..sure].fill(true);
    for _ in sure..size {
        let open = |at: &usize| !waiting[*at].is_empty();
        let Some(least) = (0..crowd.len()).filter(open).map(|at| crowd[at]).min() else {
            break;
        };
        let equal: Vec<usize> = (0..crowd.len())
            .filter(open)
            .filter(|at| crowd[*at] == least)
            .collect();
        let at = equal[dice.below(equal.len())];
        let all = &mut waiting[at];
        let place = if least == 0 {
            let by_distance = |a: &usize, b: &usize| near[all[*a]].1.total_cmp(&near[all[*b]].1);
            (0..all.len()).min_by(by_distance).unwrap_or(0)
        } else {
            dice.below(all.len())
        };
        keep[all.swap_remove(place)] = true;
        crowd[at] += 1;
    }
    let mut kept = keep.iter();
    members.retain(|_| kept.next().is_some_and(|k| *k));
    members
}

/// The direction whose line is nearest, and the square of the distance.
fn nearest(point: &Objectives, directions: &[Objectives]) -> (usize, f64) {
    let dot = |a: &Objectives, b: &Objectives| -> f64 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    let length = dot(point, point);
    let mut best = (0, f64::INFINITY);
    for (at, d) in directions.iter().enumerate() {
        let along = dot(point, d);
        let distance = length - along * along / dot(d, d);
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best
}

/// Brings every objective to the range from its ideal to where the plane through the extreme plans meets its axis.
struct Scale {
    ideal: Objectives,
    range: Objectives,
}

impl Scale {
    fn of(members: &[Member]) -> Self {
        let mut ideal = [f64::INFINITY; OBJECTIVES];
        // The worst of the first front, where the plane is of no use.
        let mut worst = [f64::NEG_INFINITY; OBJECTIVES];
        for m in members {
            for (k, x) in m.objectives.iter().enumerate() {
                ideal[k] = ideal[k].min(*x);
                if m.front == 0 {
                    worst[k] = worst[k].max(*x);
                }
            }
        }
        let shifted = |m: &Member| {
            let mut out = m.objectives;
            out.iter_mut().zip(&ideal).for_each(|(x, i)| *x -= i);
            out
        };
        let mut plane = [[0.0; OBJECTIVES]; OBJECTIVES];
        for (axis, row) in plane.iter_mut().enumerate() {
            let reach = |p: &Objectives| {
                let of = |(k, x): (usize, &f64)| if k == axis { *x } else { x / OTHER };
                p.iter().enumerate().map(of).fold(0.0, f64::max)
            };
            let all = members.iter().map(shifted);
            if let Some(extreme) = all.min_by(|a, b| reach(a).total_cmp(&reach(b))) {
                *row = extreme;
            }
        }
        let mut range = [0.0; OBJECTIVES];
        let crossed = intercepts(plane);
        for k in 0..OBJECTIVES {
            let whole = worst[k] - ideal[k];
            range[k] = match crossed {
                Some(at) if at[k] > OTHER * whole && at[k] <= whole => at[k],
                _ => whole,
            };
            if range[k] <= 0.0 {
                range[k] = 1.0;
            }
        }
        Self { ideal, range }
    }

    fn apply(&self, point: &Objectives) -> Objectives {
        let mut out = *point;
        for (k, x) in out.iter_mut().enumerate() {
            *x = (*x - self.ideal[k]) / self.range[k];
        }
        out
    }
}

/// Where the plane through four points meets the axes; `None` if they span none that meets all.
fn intercepts(mut rows: [[f64; OBJECTIVES]; OBJECTIVES]) -> Option<Objectives> {
    // rows · x = 1, by elimination with pivots.
    let mut right = [1.0; OBJECTIVES];
    for k in 0..OBJECTIVES {
        let size = |r: &usize| rows[*r][k].abs();
        let pivot = (k..OBJECTIVES).max_by(|a, b| size(a).total_cmp(&size(b)))?;
        rows.swap(k, pivot);
        right.swap(k, pivot);
        if rows[k][k] == 0.0 {
            return None;
        }
        for below in k + 1..OBJECTIVES {
            let part = rows[below][k] / rows[k][k];
            let upper = rows[k];
            for (x, y) in rows[below].iter_mut().zip(upper) {
                *x -= part * y;
            }
            right[below] -= part * right[k];
        }
    }
    let mut x = [0.0; OBJECTIVES];
    for k in (0..OBJECTIVES).rev() {
        let known: f64 = (k + 1..OBJECTIVES).map(|j| rows[k][j] * x[j]).sum();
        x[k] = (right[k] - known) / rows[k][k];
    }
    let out = x.map(|inverse| 1.0 / inverse);
    out.iter().all(|a| a.is_finite() && *a > 0.0).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_fill_the_simplex_evenly() {
        let all = directions(100);
        assert_eq!(all.len(), 84, "six parts");
        assert_eq!(directions(120).len(), 120, "seven");
        assert_eq!(directions(4).len(), 4, "the axes");
        for d in &all {
            assert!((d.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert!(all.contains(&[0.5, 0.5, 0.0, 0.0]));
    }

    #[test]
    fn a_plane_meets_the_axes() {
        let axes = [
            [2.0, 0.0, 0.0, 0.0],
            [0.0, 3.0, 0.0, 0.0],
            [0.0, 0.0, 5.0, 0.0],
            [0.0, 0.0, 0.0, 7.0],
        ];
        let near =
            |a: Objectives, b: Objectives| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-9);
        assert!(near(intercepts(axes).unwrap(), [2.0, 3.0, 5.0, 7.0]));
        // Other points of the same plane.
        let mut mixed = axes;
        mixed[0] = [1.0, 1.5, 0.0, 0.0];
        mixed[3] = [0.0, 0.0, 2.5, 3.5];
        assert!(near(intercepts(mixed).unwrap(), [2.0, 3.0, 5.0, 7.0]));
        mixed[1] = mixed[0];
        assert_eq!(intercepts(mixed), None, "three points");
    }

    #[test]
    fn the_nearest_direction_has_the_least_angle() {
        let all = directions(4);
        let (at, distance) = nearest(&[0.1, 0.9, 0.2, 0.0], &all);
        assert_eq!(all[at], [0.0, 1.0, 0.0, 0.0]);
        assert!((distance - 0.05).abs() < 1e-12, "{distance}");
    }
}
