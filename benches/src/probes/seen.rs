//! How often each server gave each value of each field, and in which fields two servers differ.
//!
//! One program answers some faults in one of two ways, by which of two tasks runs first. Two servers that race alike are not told
//! apart by one answer, but by how often each comes: Fisher's exact test says whether they race alike.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::stats::{fisher, holm};

/// With fewer answers of each server, any difference counts: no test could say that there is one.
pub(super) const FEW: usize = 20;
/// The other servers, by their places.
pub(super) const SITE: usize = 1;
pub(super) const NGINX: usize = 2;

/// What a field that an answer does not have is said to be.
const NOTHING: &str = "(nothing)";

/// All answers to one kind.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// Answers, by server.
    answers: [u32; 3],
    /// By field and value: how many answers of each server had it.
    fields: BTreeMap<String, BTreeMap<String, [u32; 3]>>,
}

/// A field that differs: the value whose share differs most, and how often each server gave it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) ours: String,
    pub(super) theirs: String,
}

impl Seen {
    pub(super) fn take(&mut self, server: usize, answer: &Answer) {
        self.answers[server] += 1;
        for (field, value) in &answer.fields {
            let values = self.fields.entry(field.clone()).or_default();
            values.entry(value.clone()).or_default()[server] += 1;
        }
    }

    /// Whether the gateway and another server that was asked ever gave different answers, and too few for a test.
    pub(super) fn differ_and_are_few(&self) -> bool {
        let few = (self.answers[0] as usize) < FEW;
        few && [SITE, NGINX].iter().any(|s| !self.compared(*s).is_empty())
    }

    /// By value of a field, with those answers that did not have it.
    fn counts(&self, field: &str) -> Vec<(String, [u32; 3])> {
        let values = &self.fields[field];
        let mut missing = self.answers;
        for counts in values.values() {
            for (left, n) in missing.iter_mut().zip(counts) {
                *left -= n;
            }
        }
        let mut all: Vec<_> = values.iter().map(|(v, n)| (v.clone(), *n)).collect();
        all.push((NOTHING.to_owned(), missing));
        all
    }

    /// Fields that are not one value at both: how likely so unlike shares are of two servers that answer alike (at most), and what
    /// differs most.
    fn compared(&self, other: usize) -> Vec<(f64, Difference)> {
        let (ours, theirs) = (self.answers[0], self.answers[other]);
        if ours == 0 || theirs == 0 {
            return Vec::new();
        }
        let mut found = Vec::new();
        for field in self.fields.keys() {
            let values = self.counts(field);
            let both: Vec<_> = values
                .iter()
                .filter(|(_, n)| n[0] + n[other] > 0)
                .map(|(value, n)| {
                    (
                        fisher([n[0], ours - n[0]], [n[other], theirs - n[other]]),
                        value,
                        n,
                    )
                })
                .collect();
            if both.len() < 2 {
                continue;
            }
            // The smallest of so many, after Bonferroni.
            let least = both.iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("two");
            let p = (least.0 * both.len() as f64).min(1.0);
            let most = |of: usize, all: u32| {
                let (_, value, n) = both.iter().max_by_key(|(_, _, n)| n[of]).expect("two");
                let rest = format!("{} of {all}: {}", n[of], value);
                match value == &least.1 {
                    true => rest,
                    false => format!("{rest}; {} of {all}: {}", least.2[of], least.1),
                }
            };
            let difference = Difference {
                field: field.clone(),
                ours: most(0, ours),
                theirs: most(other, theirs),
            };
            found.push((p, difference));
        }
        found
    }
}

/// In which fields the gateway differs from another server, kind by kind: all tests together err with a chance of `alpha`.
pub(super) fn differing<'a>(
    kinds: impl Iterator<Item = &'a [Seen; 2]>,
    other: usize,
    alpha: f64,
) -> Vec<Vec<Difference>> {
    // Those of one kind stand behind each other, by whether a test can be made.
    let compared: Vec<Vec<_>> = kinds
        .map(|both| {
            let each = both.iter().map(|seen| {
                let few = (seen.answers[0].min(seen.answers[other]) as usize) < FEW;
                seen.compared(other).into_iter().map(move |c| (few, c))
            });
            each.flatten().collect()
        })
        .collect();
    let tested = compared.iter().flatten().filter(|(few, _)| !few);
    let ps: Vec<f64> = tested.map(|(_, (p, _))| *p).collect();
    let mut rejected = holm(&ps, alpha).into_iter();
    let differences = compared.into_iter().map(|of_kind| {
        let mut differences: Vec<Difference> = Vec::new();
        for (few, (_, difference)) in of_kind {
            let differs = few || rejected.next().expect("one of each");
            if differs && !differences.iter().any(|d| d.field == difference.field) {
                differences.push(difference);
            }
        }
        differences
    });
    differences.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(of: [(&str, u32); 2], other: [(&str, u32); 2]) -> Seen {
        let mut seen = Seen::default();
        for (server, values) in [(0, of), (SITE, other)] {
            for (value, n) in values {
                let mut answer = Answer::default();
                answer.note("goaway", value);
                (0..n).for_each(|_| seen.take(server, &answer));
            }
        }
        seen
    }

    fn alike(seen: &Seen) -> bool {
        let both = [seen.clone(), Seen::default()];
        differing([&both].into_iter(), SITE, 0.01)[0].is_empty()
    }

    #[test]
    fn two_that_race_alike_are_the_same_and_two_that_race_otherwise_are_not() {
        assert!(alike(&answers(
            [("1", 150), ("9", 50)],
            [("1", 140), ("9", 60)]
        )));
        assert!(alike(&answers(
            [("1", 1999), ("9", 1)],
            [("1", 2000), ("9", 0)]
        )));
        assert!(!alike(&answers(
            [("1", 150), ("9", 50)],
            [("1", 90), ("9", 110)]
        )));
        assert!(!alike(&answers(
            [("1", 200), ("9", 0)],
            [("1", 0), ("9", 200)]
        )));
    }

    #[test]
    fn of_a_few_answers_any_difference_counts() {
        assert!(!alike(&answers([("1", 1), ("9", 0)], [("1", 0), ("9", 1)])));
        assert!(alike(&answers([("1", 1), ("9", 0)], [("1", 1), ("9", 0)])));
    }

    #[test]
    fn a_field_that_one_server_leaves_out_differs() {
        let mut seen = answers([("1", 30), ("9", 0)], [("1", 0), ("9", 0)]);
        (0..30).for_each(|_| seen.take(SITE, &Answer::default()));
        assert!(!alike(&seen));
    }
}
