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
    /// Whether the nearest had its turn last, or the oldest.
    nearest: bool,
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
            nearest: false,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether five in eight places are taken, and those who tell from there have half of their share or more: others
    /// who fill the queue keep nobody from being listened to.
    pub(crate) fn is_crowded(&self, from: Prefix) -> bool {
        let has = self.buckets.get(&from).map_or(0, VecDeque::len);
        self.len >= self.max / 8 * 5 && has * self.buckets.len() * 2 >= self.len
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

    /// The next that `ready` lets through, the buckets in turn; it goes to its bucket's end. Of a bucket's first, by turns the
    /// one nearest to `own`, since what is far may not be kept for long, and the one that waits longest.
    pub(crate) fn next(
        &mut self,
        own: NodeId,
        mut ready: impl FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        let after = self.turn;
        let later = self
            .buckets
            .keys()
            .filter(|p| after.is_none_or(|t| **p > t));
        let earlier = self
            .buckets
            .keys()
            .filter(|p| after.is_some_and(|t| **p <= t));
        let order: Vec<Prefix> = later.chain(earlier).copied().collect();
        self.nearest = !self.nearest;
        for from in order {
            let nearest = self.nearest;
            let Some(bucket) = self.buckets.get_mut(&from) else {
                continue;
            };
            let found = if nearest {
                take_nearest(bucket, own, &mut ready)
            } else {
                take_oldest(bucket, &mut ready)
            };
            if found.is_some() {
                self.turn = Some(from);
                return found;
            }
        }
        None
    }
}

/// How many of one bucket are looked at.
const LOOK: usize = 64;

fn take_nearest(
    bucket: &mut VecDeque<NodeId>,
    own: NodeId,
    ready: &mut impl FnMut(NodeId) -> bool,
) -> Option<NodeId> {
    let first = bucket.iter().take(LOOK).enumerate();
    let mut near: Vec<(u64, usize)> = first.map(|(i, n)| (closeness(own, *n), i)).collect();
    near.sort_unstable();
    let (_, i) = near
        .into_iter()
        .find(|(_, i)| bucket.get(*i).is_some_and(|n| ready(*n)))?;
    let node = bucket.remove(i)?;
    bucket.push_back(node);
    Some(node)
}

/// Those that are not ready go behind the others, so that they hold up nobody.
fn take_oldest(
    bucket: &mut VecDeque<NodeId>,
    ready: &mut impl FnMut(NodeId) -> bool,
) -> Option<NodeId> {
    for _ in 0..bucket.len().min(LOOK) {
        let node = bucket.pop_front()?;
        bucket.push_back(node);
        if ready(node) {
            return Some(node);
        }
    }
    None
}

/// How far two nodes are apart, as far as their first bits tell.
fn closeness(a: NodeId, b: NodeId) -> u64 {
    let head = |n: NodeId| n.0.first_chunk().map_or(0, |c| u64::from_be_bytes(*c));
    head(a) ^ head(b)
}
