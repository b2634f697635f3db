//! Questions to the ledger that are under way: each is charged to whoever asked for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use betanet_wire::ChargeTo;

/// Most questions under way.
pub const LOOKUPS_MAX: usize = 64;
/// Of them for one address.
const LOOKUPS_AN_ADDRESS: usize = LOOKUPS_MAX / 8;
/// Of them for all callers over the mix.
const LOOKUPS_OVER_MIX: usize = LOOKUPS_MAX / 2;

#[derive(Debug, Default)]
struct UnderWay {
    all: usize,
    by: BTreeMap<Option<ChargeTo>, usize>,
}

/// The questions under way.
#[derive(Debug, Default)]
pub(crate) struct Lookups(Mutex<UnderWay>);

impl Lookups {
    /// Begins a question for an address, or for a caller over the mix; `None` if there are too many.
    pub(crate) fn begin(&self, by: Option<ChargeTo>) -> Option<Lookup<'_>> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = under_way.by.get(&by).copied().unwrap_or(0);
        let most = match by {
            Some(_) => LOOKUPS_AN_ADDRESS,
            None => LOOKUPS_OVER_MIX,
        };
        if under_way.all >= LOOKUPS_MAX || own >= most {
            return None;
        }
        under_way.all += 1;
        under_way.by.insert(by, own + 1);
        Some(Lookup { of: self, by })
    }
}

/// A question under way, until it is dropped.
pub(crate) struct Lookup<'a> {
    of: &'a Lookups,
    by: Option<ChargeTo>,
}

impl Drop for Lookup<'_> {
    fn drop(&mut self) {
        let mut under_way = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.all = under_way.all.saturating_sub(1);
        match under_way.by.get(&self.by).copied() {
            Some(own) if own > 1 => drop(under_way.by.insert(self.by, own - 1)),
            _ => drop(under_way.by.remove(&self.by)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_under_way_are_64_and_8_an_address_and_32_over_the_mix() {
        let lookups = Lookups::default();
        let address = |n: u8| Some(ChargeTo::V4([10, 0, 0, n]));
        let mut held: Vec<Lookup<'_>> = Vec::new();
        let mut take = |by, n: usize| {
            let got: Vec<Lookup<'_>> = (0..n).map_while(|_| lookups.begin(by)).collect();
            let count = got.len();
            held.extend(got);
            count
        };
        assert_eq!(take(address(1), 9), 8);
        assert_eq!(take(None, 40), 32);
        assert_eq!(take(address(2), 9), 8);
        assert_eq!(take(address(3), 9), 8);
        assert_eq!(take(address(4), 9), 8);
        assert_eq!(take(address(5), 9), 0, "64 in all");
        held.clear();
        assert!(lookups.begin(address(1)).is_some());
        assert!(lookups.0.lock().unwrap().by.is_empty());
    }
}
