//! Handling of path headers that peers send to a node.

mod header;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::Now;
use betanet_wire::{ChargeTo, Code, NodeId};

use crate::build::TTL_RANGE;
use crate::control::{Control, PathId};
use crate::replay::{Again, Counts, Replays};
use crate::sign::Route;
use crate::stamps::Stamps;
pub use header::{Header, Stands};

/// Most difference between a timestamp and the local clock, and longest time after expiry at which a path is accepted; seconds.
pub const SKEW_S: u64 = 120;
/// Latest accepted expiry, in seconds ahead of the local clock.
pub const AHEAD_S: u64 = 3_600;
/// Longest time for which a path is carried, in seconds: the longest lifetime that a builder may ask for, plus clock error. A
/// header with a later expiry, up to [`AHEAD_S`], is accepted, but its path ends sooner.
pub const CARRIED_S: u64 = TTL_RANGE.end().as_secs() + SKEW_S;

/// Reason for refusing a path header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No segment leads to this node.
    #[error("no segment of the path leads to this node")]
    NotMine,
    /// The path has a node twice, or leads back to its sender.
    #[error("the path meets a node twice")]
    Loop,
    /// The header did not come from the previous node of the path.
    #[error("the path came from another node than the one it leads through")]
    WrongSender,
    /// The timestamp is more than 120 s from the local clock.
    #[error("the segment's timestamp is more than 120 s off")]
    Timestamp,
    /// The path expired more than 120 s ago, or expires more than an hour ahead.
    #[error("the segment's expiry is more than 120 s past or 3 600 s ahead")]
    Expiry,
    /// The sender's signature is missing or invalid.
    #[error("the segment's signature does not verify")]
    Signature,
    /// The header was received before.
    #[error("the path header was seen before")]
    Replay,
    /// The replay memory, or the share of this peer or its address, is full.
    #[error(
        "no new path is taken now: the replay memory, or the share of this peer or its address, is full"
    )]
    Full,
}

impl PathError {
    /// Wire code that the peer receives.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Replay => Code::REPLAY,
            Self::Full => Code::POLICY_REJECTED,
            _ => Code::PATH_INVALID,
        }
    }
}

/// An accepted path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// The path ends at this node, and so do its streams.
    Exit {
        /// ID of the path on the incoming link.
        path: PathId,
    },
    /// The header goes to the next node, and streams of the path follow it.
    Forward {
        /// ID of the path on the incoming link.
        path: PathId,
        /// The next node.
        next: NodeId,
        /// ID of the path on the outgoing link.
        onward: PathId,
        /// Header for the next node.
        control: Control,
    },
}

/// A path that this node carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carried {
    /// Next node, and ID of the path on that link; `None` at the end of the path.
    pub onward: Option<LinkPath>,
    /// Nodes and expiry that an error about the path is signed over.
    pub route: Route,
    /// Time until which streams may open, in seconds since the epoch.
    pub expiry: u32,
    /// Party charged for the path.
    pub charge: ChargeTo,
}

/// The paths that lead through or to one node.
#[derive(Clone, Debug)]
pub struct Hop {
    replays: Replays,
    /// By sender and ID on the incoming link.
    carried: BTreeMap<LinkPath, Carried>,
    /// The same by next node and ID on the outgoing link.
    onward: BTreeMap<LinkPath, LinkPath>,
    /// The same by expiry.
    ends: BTreeSet<(u32, LinkPath)>,
    peers: Counts<NodeId>,
    charges: Counts<ChargeTo>,
    stamps: Stamps,
}

/// Node at the other end of a link, and ID of a path on that link.
pub type LinkPath = (NodeId, PathId);

impl Hop {
    /// Creates a memory for `bound` headers. One peer has at most 1/64 of it, one charged party 1/32.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self {
            replays: Replays::new(bound),
            carried: BTreeMap::new(),
            onward: BTreeMap::new(),
            ends: BTreeSet::new(),
            peers: Counts::new(),
            charges: Counts::new(),
            stamps: Stamps::new(),
        }
    }

    /// Checks a SINGLE or MULTI header from `from`, charges it to `charge`, and makes the header for the next node. A caller that
    /// locks this value uses the three steps instead: [`Header::read`], [`Header::verify`], [`Self::take`].
    ///
    /// # Errors
    ///
    /// The reason for the refusal; no part of the header is remembered.
    pub fn receive(
        &mut self,
        now: Now,
        me: &Identity,
        (from, charge): (&PublicKey, ChargeTo),
        control: Control,
    ) -> Result<Accepted, PathError> {
        let header = Header::read(now, me.public().node_id(), from.node_id(), control)?;
        // Before the arithmetic: who has its share already costs nothing more.
        self.room(now, from.node_id(), charge)?;
        let stamp = self.stamp(now);
        self.take(now, charge, header.verify(stamp, me, from)?)
    }

    /// Timestamp of the header for the next node, for [`Header::verify`].
    pub const fn stamp(&mut self, now: Now) -> u64 {
        self.stamps.draw(now.unix_ms)
    }

    /// Checks whether there is room for another path of this peer and charged party.
    ///
    /// # Errors
    ///
    /// [`PathError::Full`].
    pub fn room(&mut self, now: Now, prev: NodeId, charge: ChargeTo) -> Result<(), PathError> {
        self.expire(now);
        // A path lives longer than the memory of its header.
        let spent = self.peers.of(&prev) >= self.replays.share()
            || self.charges.of(&charge) >= self.replays.charge_share();
        if self.carried.len() >= self.replays.bound() || spent {
            return Err(PathError::Full);
        }
        Ok(())
    }

    /// Accepts a verified header, once.
    ///
    /// # Errors
    ///
    /// [`PathError::Replay`] or [`PathError::Full`]; no part of the header is remembered.
    pub fn take(
        &mut self,
        now: Now,
        charge: ChargeTo,
        header: Stands,
    ) -> Result<Accepted, PathError> {
        let (prev, segment) = header.from();
        self.room(now, prev, charge)?;
        let taken = self
            .replays
            .take(now.mono, (prev, charge), segment.expiry, segment.timestamp);
        taken.map_err(|again| match again {
            Again::Seen => PathError::Replay,
            Again::Full => PathError::Full,
        })?;
        let (path, carried, accepted) = header.accepted(now, charge);
        self.insert((prev, path), carried);
        Ok(accepted)
    }

    /// The path with this ID from `from`, while streams may open on it.
    #[must_use]
    pub fn carried(&self, now: Now, from: NodeId, path: PathId) -> Option<&Carried> {
        self.carried
            .get(&(from, path))
            .filter(|c| u64::from(c.expiry) >= now.unix_ms / 1000)
    }

    /// The route of an accepted path, even after its expiry, until it is forgotten.
    #[must_use]
    pub fn route(&self, from: NodeId, path: PathId) -> Option<&Route> {
        self.carried.get(&(from, path)).map(|c| &c.route)
    }

    /// The link and path ID to which an ERROR from `from` about `path` goes back.
    #[must_use]
    pub fn back(&self, from: NodeId, path: PathId) -> Option<LinkPath> {
        self.onward.get(&(from, path)).copied()
    }

    /// Removes a path.
    pub fn end(&mut self, from: NodeId, path: PathId) {
        if let Some(carried) = self.carried.remove(&(from, path)) {
            self.ends.remove(&(carried.expiry, (from, path)));
            self.peers.remove(&from);
            self.charges.remove(&carried.charge);
            if let Some(onward) = carried.onward {
                self.onward.remove(&onward);
            }
        }
    }

    /// Removes expired paths and returns them.
    pub fn expire(&mut self, now: Now) -> Vec<LinkPath> {
        let mut ended = Vec::new();
        while let Some(&(expiry, (from, path))) = self.ends.first()
            && u64::from(expiry) < now.unix_ms / 1000
        {
            self.end(from, path);
            ended.push((from, path));
        }
        ended
    }

    /// When the next path ends, in seconds since the epoch.
    pub(crate) fn first_end(&self) -> Option<u32> {
        self.ends.first().map(|(expiry, _)| *expiry)
    }

    fn insert(&mut self, link: LinkPath, carried: Carried) {
        self.end(link.0, link.1);
        self.ends.insert((carried.expiry, link));
        self.peers.add(link.0);
        self.charges.add(carried.charge);
        if let Some(onward) = carried.onward {
            self.onward.insert(onward, link);
        }
        self.carried.insert(link, carried);
    }

    /// Remembered headers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.replays.len()
    }

    /// Carried paths.
    #[must_use]
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// Whether no path is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }
}
