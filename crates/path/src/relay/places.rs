//! Places that are shared among those who pay for them: so many in all, so many for each.

use betanet_wire::ChargeTo;

use crate::replay::Counts;

/// Places for work that others cause. It holds no more entries than there are places taken.
#[derive(Clone, Debug)]
pub(super) struct Places {
    max: usize,
    each: usize,
    taken: usize,
    by: Counts<ChargeTo>,
}

impl Places {
    /// `max` places in all, of which one who pays has `each` at most.
    pub(super) const fn new((max, each): (usize, usize)) -> Self {
        Self {
            max,
            each,
            taken: 0,
            by: Counts::new(),
        }
    }

    /// Takes a place, if there is one; refusing leaves nothing behind.
    pub(super) fn enter(&mut self, charge: ChargeTo) -> bool {
        if self.taken >= self.max || self.by.of(&charge) >= self.each {
            return false;
        }
        self.taken += 1;
        self.by.add(charge);
        true
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, charge: ChargeTo) {
        if self.by.of(&charge) > 0 {
            self.by.remove(&charge);
            self.taken -= 1;
        }
    }

    /// Places that are taken.
    pub(super) const fn taken(&self) -> usize {
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_pays_has_its_share_and_all_have_no_more_than_there_is() {
        let mut places = Places::new((10, 4));
        let of = |n: u8| ChargeTo::V4([192, 0, 2, n]);
        assert_eq!((0..9).filter(|_| places.enter(of(1))).count(), 4);
        assert_eq!((2..99).filter(|n| places.enter(of(*n))).count(), 6);
        places.leave(of(1));
        places.leave(of(98));
        assert_eq!(places.taken(), 9, "who has none gives none back");
        assert!(places.enter(of(1)) && !places.enter(of(1)));
    }
}
