//! Records that wait for a test, divided fairly among the peers that reported them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Included, Unbounded};

use betanet_wire::NodeId;

use crate::Prefix;

/// The peer that reported a record.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Teller {
    /// NodeID of the peer.
    pub node: NodeId,
    /// The /16 of the peer.
    pub from: Prefix,
    /// Whether it is a seed of the network file, whose lists may be longer.
    pub seed: bool,
}

/// The queue. Each /16 of reporters has a bucket. A full queue drops a record of the fullest bucket.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Untested {
    max: usize,
    per_teller: usize,
    buckets: BTreeMap<Prefix, VecDeque<NodeId>>,
    told: BTreeMap<NodeId, usize>,
    len: usize,
    /// The bucket that was served last.
    turn: Option<Prefix>,
    /// Whether the nearest record was served last, or the oldest.
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

    /// Whether five in eight places are taken, and this prefix has at least half of its share. Other prefixes that fill the queue
    /// do not silence it.
    pub(crate) fn is_crowded(&self, from: Prefix) -> bool {
        let has = self.buckets.get(&from).map_or(0, VecDeque::len);
        self.len >= self.max / 8 * 5 && has * self.buckets.len() * 2 >= self.len
    }

    /// Whether a reporter may add another record.
    pub(crate) fn may_tell(&self, teller: &Teller) -> bool {
        let most = if teller.seed {
            self.max / 4
        } else {
            self.per_teller
        };
        self.told.get(&teller.node).copied().unwrap_or(0) < most
    }

    /// Makes room for another record of this reporter. `Ok` has the record to drop, if any: the farthest of the fullest bucket.
    /// `Err` means that the fullest bucket is the reporter's own.
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

    /// Removes a record.
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

    /// The next record that `ready` accepts; buckets take turns. Among a bucket's first records it is alternately the one nearest
    /// to `own`, because far ones may soon be dropped, and the oldest. The record moves to its bucket's end.
    pub(crate) fn next(
        &mut self,
        own: NodeId,
        mut ready: impl FnMut(NodeId) -> bool,
    ) -> Option<NodeId> {
        self.nearest = !self.nearest;
        let after = self.turn.map_or(Unbounded, Excluded);
        let again = self.turn.map(|turn| (Unbounded, Included(turn)));
        for part in [Some((after, Unbounded)), again].into_iter().flatten() {
            for (from, bucket) in self.buckets.range_mut(part) {
                let found = if self.nearest {
                    take_nearest(bucket, own, &mut ready)
                } else {
                    take_oldest(bucket, &mut ready)
                };
                if found.is_some() {
                    self.turn = Some(*from);
                    return found;
                }
            }
        }
        None
    }
}

/// Records of one bucket that are examined.
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

/// Records that are not ready move to the end, so that they delay no others.
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

/// Distance of two nodes by their first bits.
fn closeness(a: NodeId, b: NodeId) -> u64 {
    let head = |n: NodeId| n.0.first_chunk().map_or(0, |c| u64::from_be_bytes(*c));
    head(a) ^ head(b)
}
