//! What a ledger of tokens says of nodes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Included, Unbounded};

use betanet_wire::NodeId;

use crate::codec::row;

/// Most nodes that are rated.
pub(crate) const RATINGS_MAX: usize = 1 << 18;

/// Most nodes of one page of ratings.
pub const RATED_MAX: usize = 256;

/// Reputation of a node that no ledger rates, in ppm: the most.
const FULL: u32 = 1_000_000;

/// A node's standing on a ledger of tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rating {
    /// Reputation in ppm.
    pub rep: u32,
    /// Whether it is jailed.
    pub jailed: bool,
}
row!(Rating { rep, jailed });

/// Ratings in a range of NodeIDs, ascending.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ratings {
    /// The range begins above this node.
    pub after: Option<NodeId>,
    /// All nodes in it that the ledger rates: at most [`RATED_MAX`].
    pub nodes: Vec<(NodeId, Rating)>,
    /// Whether the range has no end. Else it ends with the last of these nodes.
    pub end: bool,
}

impl Ratings {
    /// Whether it is one page in order.
    pub(crate) fn is_page(&self) -> bool {
        let ids = self.nodes.iter().map(|(id, _)| Some(*id));
        let ids: Vec<Option<NodeId>> = core::iter::once(self.after).chain(ids).collect();
        // Before all nodes comes no node, so the first comparison holds for it too.
        self.nodes.len() <= RATED_MAX && ids.windows(2).all(|pair| pair[0] < pair[1])
    }
}

/// All ratings.
#[derive(Debug, Default)]
pub(crate) struct Rated(BTreeMap<NodeId, Rating>);

impl Rated {
    pub(crate) fn set(&mut self, id: NodeId, rating: Option<Rating>) {
        match rating {
            Some(rating) => self.0.insert(id, rating),
            None => self.0.remove(&id),
        };
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Rating)> {
        self.0.iter()
    }

    /// Whether the ledger has jailed a node.
    pub(crate) fn is_jailed(&self, id: &NodeId) -> bool {
        self.0.get(id).is_some_and(|rating| rating.jailed)
    }

    /// Reputation of a node that has earned so much here: the lower of the two.
    pub(crate) fn reputation(&self, id: &NodeId, earned: u32) -> u32 {
        let most = self.0.get(id).map_or(FULL, |rating| rating.rep);
        earned.min(most)
    }

    /// What a page changes, or `None` if there would be too many.
    pub(crate) fn changes(&self, page: &Ratings) -> Option<Vec<(NodeId, Option<Rating>)>> {
        let from = page.after.map_or(Unbounded, Excluded);
        let last = page.nodes.last().map(|(id, _)| *id);
        let to = match (page.end, last) {
            (true, _) => Unbounded,
            (false, Some(last)) => Included(last),
            (false, None) => return Some(Vec::new()),
        };
        let listed = |id: &NodeId| page.nodes.binary_search_by_key(id, |(id, _)| *id).is_ok();
        let gone = self.0.range((from, to)).map(|(id, _)| *id);
        let gone = gone.filter(|id| !listed(id)).map(|id| (id, None));
        // The rest of a long range goes with the next page of it.
        let gone = gone.take(RATED_MAX);
        let other = page.nodes.iter();
        let other = other.filter(|(id, rating)| self.0.get(id) != Some(rating));
        let other = other.map(|(id, rating)| (*id, Some(*rating)));
        let all: Vec<(NodeId, Option<Rating>)> = gone.chain(other).collect();
        let new = all.iter().filter(|(id, _)| !self.0.contains_key(id));
        (self.0.len() + new.count() <= RATINGS_MAX).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 20])
    }

    fn rating(rep: u32) -> Rating {
        Rating { rep, jailed: false }
    }

    fn page(after: Option<u8>, nodes: &[(u8, u32)], end: bool) -> Ratings {
        let nodes = nodes.iter().map(|(n, rep)| (node(*n), rating(*rep)));
        Ratings {
            after: after.map(node),
            nodes: nodes.collect(),
            end,
        }
    }

    #[test]
    fn pages_say_what_is_other_and_what_is_gone_in_their_range_alone() {
        let mut all = Rated::default();
        for n in [1, 3, 5, 7] {
            all.set(node(n), Some(rating(n.into())));
        }
        let same = page(None, &[(1, 1), (3, 3), (5, 5), (7, 7)], true);
        assert_eq!(all.changes(&same), Some(Vec::new()));
        let first = page(None, &[(1, 1), (4, 4)], false);
        let changed = all.changes(&first).unwrap();
        assert_eq!(changed, [(node(3), None), (node(4), Some(rating(4)))]);
        let rest = page(Some(4), &[(7, 8)], true);
        let changed = all.changes(&rest).unwrap();
        assert_eq!(changed, [(node(5), None), (node(7), Some(rating(8)))]);
        // An empty page without an end says nothing; with an end, that nobody follows.
        assert_eq!(all.changes(&page(None, &[], false)), Some(Vec::new()));
        assert_eq!(all.changes(&page(Some(4), &[], true)).unwrap().len(), 2);
    }

    #[test]
    fn a_page_ascends_and_is_bounded() {
        assert!(page(None, &[(0, 1), (1, 1)], true).is_page());
        assert!(!page(Some(1), &[(1, 1)], true).is_page());
        assert!(!page(None, &[(2, 1), (1, 1)], true).is_page());
        let mut long = page(None, &[], true);
        for n in 0..=RATED_MAX {
            let mut id = [0; 20];
            id[..8].copy_from_slice(&(n as u64).to_be_bytes());
            long.nodes.push((NodeId(id), rating(1)));
        }
        assert!(!long.is_page());
        long.nodes.pop();
        assert!(long.is_page());
    }

    #[test]
    fn reputation_is_the_lower_of_what_is_earned_and_what_the_ledger_says() {
        let mut all = Rated::default();
        assert_eq!(all.reputation(&node(1), 900_000), 900_000);
        all.set(node(1), Some(rating(100_000)));
        assert_eq!(all.reputation(&node(1), 900_000), 100_000);
        assert_eq!(all.reputation(&node(1), 50_000), 50_000);
        all.set(node(1), None);
        assert_eq!(all.reputation(&node(1), 900_000), 900_000);
    }
}
