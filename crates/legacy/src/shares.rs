//! Places that are limited overall and for each party charged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_wire::ChargeTo;

/// Places for work that others cause.
#[derive(Debug)]
pub struct Shares {
    max: usize,
    each: usize,
    taken: Mutex<(usize, BTreeMap<ChargeTo, usize>)>,
}

/// One place, released on drop.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    charge: ChargeTo,
}

impl Shares {
    /// Creates `max` places overall, of which each party charged may have `each`.
    pub fn new(max: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            each,
            taken: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, (usize, BTreeMap<ChargeTo, usize>)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if there is one. A refusal leaves no entry behind.
    pub fn enter(self: &Arc<Self>, charge: ChargeTo) -> Option<Share> {
        let mut taken = self.lock();
        let (all, by_charge) = &mut *taken;
        let own = by_charge.get(&charge).copied().unwrap_or(0);
        if *all >= self.max || own >= self.each {
            return None;
        }
        *all += 1;
        by_charge.insert(charge, own + 1);
        Some(Share {
            shares: Arc::clone(self),
            charge,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        taken.0 -= 1;
        match taken.1.get_mut(&self.charge) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                taken.1.remove(&self.charge);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_pays_has_its_share_and_all_have_no_more_than_there_is() {
        let shares = Shares::new(10, 4);
        let of = |n: u8| ChargeTo::V4([192, 0, 2, n]);
        let one: Vec<_> = (0..9).filter_map(|_| shares.enter(of(1))).collect();
        assert_eq!(one.len(), 4);
        let others: Vec<_> = (2..99).filter_map(|n| shares.enter(of(n))).collect();
        assert_eq!(others.len(), 6);
        drop(one);
        assert!(shares.enter(of(1)).is_some());
        drop(others);
        assert_eq!(*shares.lock(), (0, BTreeMap::new()));
    }
}
