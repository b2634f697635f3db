//! Records that wait for a handshake, shared out fairly among those who told of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Prefix;

/// Who told of a record, and from where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Teller {
    /// Its NodeID.
    pub node: NodeId,
    /// The /16 that it was reached at.
    pub from: Prefix,
    /// A seed of the network file, whose lists are longer than what others may tell.
    pub seed: bool,
}

/// The queue. Each /16 of tellers has a bucket; when there is no room, the fullest bucket gives one up.
#[derive(Clone, Debug)]
pub(crate) struct Untested {
    max: usize,
    per_teller: usize,
    buckets: BTreeMap<Prefix, VecDeque<NodeId>>,
    told: BTreeMap<NodeId, usize>,
    len: usize,
    /// The bucket that had its turn last.
    turn: Option<Prefix>,
}

impl Untested {
    pub(crate) const fn new(max: usize, per_teller: usize) -> Self {
        Self {
            max,
            per_teller,
            buckets: BTreeMap::new(),
            told: BTreeMap::new(),
            len: 0,
            turn: None,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether a teller may tell of one more.
    pub(crate) fn may_tell(&self, teller: &Teller) -> bool {
        let most = if teller.seed {
            self.max / 4
        } else {
            self.per_teller
        };
        self.told.get(&teller.node).copied().unwrap_or(0) < most
    }

    /// Makes room for one more of this teller: `Ok` with whom that drives out, which is the farthest of the fullest bucket;
    /// `Err` when that is the teller's own.
    pub(crate) fn make_room(&mut self, own: NodeId, teller: &Teller) -> Result<Option<NodeId>, ()> {
        if self.len < self.max {
            return Ok(None);
        }
        let has = self.buckets.get(&teller.from).map_or(0, VecDeque::len);
        let fullest = self.buckets.values().max_by_key(|b| b.len());
        match fullest {
            Some(bucket) if bucket.len() > has => {
                Ok(bucket.iter().copied().max_by_key(|n| closeness(own, *n)))
            }
            _ => Err(()),
        }
    }

    pub(crate) fn push(&mut self, node: NodeId, teller: &Teller) {
        self.buckets.entry(teller.from).or_default().push_back(node);
        *self.told.entry(teller.node).or_default() += 1;
        self.len += 1;
    }

    /// Takes one out, wherever it stands.
    pub(crate) fn remove(&mut self, node: NodeId, teller: &Teller) {
        if let Some(bucket) = self.buckets.get_mut(&teller.from) {
            bucket.retain(|n| *n != node);
            if bucket.is_empty() {
                self.buckets.remove(&teller.from);
            }
        }
        if let Some(n) = self.told.get_mut(&teller.node) {
            *n -= 1;
            if *n == 0 {
                self.told.remove(&teller.node);
            }
        }
        self.len -= 1;
    }

    /// The next that `ready` lets through, the buckets in turn; it goes to its bucket's end. Of a bucket's first the one
    /// nearest to `own` comes first: what is far may not be kept for long.
    pub(crate) fn next(
        &mut self,
        own: NodeId,
        mut ready: impl FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        /// How many of one bucket are looked at.
        const LOOK: usize = 64;
        let after = self.turn;
        let mut order = self
            .buckets
            .keys()
            .copied()
            .filter(|p| after.is_none_or(|t| *p > t))
            .chain(
                self.buckets
                    .keys()
                    .copied()
                    .filter(|p| after.is_some_and(|t| *p <= t)),
            );
        let (from, i) = order.find_map(|from| {
            let bucket = self.buckets.get(&from)?;
            let mut near: Vec<(u64, usize)> = bucket
                .iter()
                .take(LOOK)
                .enumerate()
                .map(|(i, n)| (closeness(own, *n), i))
                .collect();
            near.sort_unstable();
            let (_, i) = near
                .into_iter()
                .find(|(_, i)| bucket.get(*i).is_some_and(|n| ready(*n)))?;
            Some((from, i))
        })?;
        self.turn = Some(from);
        let bucket = self.buckets.get_mut(&from)?;
        let node = bucket.remove(i)?;
        bucket.push_back(node);
        Some(node)
    }
}

/// How far two nodes are apart, as far as their first bits tell.
fn closeness(a: NodeId, b: NodeId) -> u64 {
    let head = |n: NodeId| n.0.first_chunk().map_or(0, |c| u64::from_be_bytes(*c));
    head(a) ^ head(b)
}
