use alloc::vec::Vec;

use crate::fit::ClassId;

/// A set of classes, one bit each.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Set(Vec<u64>);

fn place(class: ClassId) -> (usize, u64) {
    (usize::from(class) / 64, 1 << (class % 64))
}

impl Set {
    #[inline]
    pub(crate) fn has(&self, class: ClassId) -> bool {
        let (word, bit) = place(class);
        self.0.get(word).is_some_and(|w| w & bit != 0)
    }

    pub(crate) fn add(&mut self, class: ClassId) {
        let (word, bit) = place(class);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, class: ClassId) {
        let (word, bit) = place(class);
        if let Some(w) = self.0.get_mut(word) {
            *w &= !bit;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|w| *w == 0)
    }

    pub(crate) fn join(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    pub(crate) fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= b;
        }
    }

    pub(crate) fn without(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= !b;
        }
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(a, b)| a & b != 0)
    }

    /// The classes, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ClassId> + '_ {
        (0..).step_by(64).zip(&self.0).flat_map(|(base, word)| {
            let mut left = *word;
            core::iter::from_fn(move || {
                let bit = ClassId::try_from(left.trailing_zeros()).ok()?;
                left &= left.checked_sub(1)?;
                Some(base + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_do_as_sets_do(
            a in prop::collection::btree_set(0..300u16, 0..40),
            b in prop::collection::btree_set(0..300u16, 0..40),
        ) {
            let set = |of: &BTreeSet<u16>| {
                let mut out = Set::default();
                of.iter().for_each(|c| out.add(*c));
                out
            };
            let list = |of: &Set| of.iter().collect::<BTreeSet<u16>>();
            let (x, y) = (set(&a), set(&b));
            prop_assert_eq!(list(&x), a.clone());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.meets(&y), !a.is_disjoint(&b));
            let done = |change: fn(&mut Set, &Set)| {
                let mut out = x.clone();
                change(&mut out, &y);
                list(&out)
            };
            prop_assert_eq!(done(Set::join), &a | &b);
            prop_assert_eq!(done(Set::keep), &a & &b);
            prop_assert_eq!(done(Set::without), &a - &b);
            prop_assert!((0..300).all(|c| x.has(c) == a.contains(&c)));
        }
    }
}
