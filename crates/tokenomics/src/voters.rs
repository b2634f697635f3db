//! Who may have voted on an open proposal: a filter, so that a node's vote does not search all votes for each of its holders.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;

use betanet_wire::NodeId;

use crate::Id;

/// Bits of a filter: 8 KiB.
const BITS: usize = 1 << 16;
const WORD: usize = 64;

/// A bit for each that the first two bytes of a voter name. It may say yes of others; those are looked up.
#[derive(Clone, Debug)]
struct Filter(Box<[u64]>);

impl Filter {
    fn new() -> Self {
        Self(vec![0; BITS / WORD].into_boxed_slice())
    }

    fn place(id: &NodeId) -> (usize, u64) {
        let [first, second, ..] = id.0;
        let bit = usize::from(u16::from_be_bytes([first, second]));
        (bit / WORD, 1 << (bit % WORD))
    }
}

/// Filters of proposals with votes. It is no part of the state: where there is no filter, everybody may have voted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Voters(BTreeMap<Id, Filter>);

impl Voters {
    /// Begins with a proposal on which nobody has voted.
    pub(crate) fn begin(&mut self, pid: Id) {
        self.0.insert(pid, Filter::new());
    }

    /// Notes a vote, if there is a filter: one that begins later would leave out those before.
    pub(crate) fn note(&mut self, pid: &Id, id: &NodeId) {
        if let Some(filter) = self.0.get_mut(pid) {
            let (word, bit) = Filter::place(id);
            if let Some(word) = filter.0.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Forgets a proposal whose vote has ended.
    pub(crate) fn end(&mut self, pid: &Id) {
        self.0.remove(pid);
    }

    /// Tells of each account whether it may have voted.
    pub(crate) fn of(&self, pid: &Id) -> impl Fn(&NodeId) -> bool {
        let filter = self.0.get(pid);
        move |id| {
            let (word, bit) = Filter::place(id);
            let word = filter.and_then(|filter| filter.0.get(word));
            word.is_none_or(|word| word & bit != 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_voted_may_have_voted_and_few_others() {
        let id = |n: u32| crate::account::address(&betanet_keys::hash(&[&n.to_be_bytes()]));
        let (one, other) = ([1; 16], [2; 16]);
        let mut voters = Voters::default();
        // Without a filter, nothing is known.
        voters.note(&one, &id(0));
        assert!(voters.of(&one)(&id(1)));
        voters.begin(one);
        for n in 0..1_000 {
            voters.note(&one, &id(n));
        }
        assert!((0..1_000).all(|n| voters.of(&one)(&id(n))));
        let more = (1_000..11_000).filter(|n| voters.of(&one)(&id(*n)));
        assert!(more.count() < 400);
        assert!(voters.of(&other)(&id(5_000)));
        voters.end(&one);
        assert!((0..2_000).all(|n| voters.of(&one)(&id(n))));
    }
}
