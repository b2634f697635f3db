//! What a node does with a path header that a peer sends it.

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

/// How far a timestamp may be from one's own clock, and how long past its expiry a path still builds, in seconds.
pub const SKEW_S: u64 = 120;
/// How far ahead an expiry may be, in seconds.
pub const AHEAD_S: u64 = 3_600;
/// How long a path is carried at most, in seconds: as long as a builder may ask for, by a clock that is off. A header that asks for
/// more is taken, up to [`AHEAD_S`], and its path ends sooner.
pub const CARRIED_S: u64 = TTL_RANGE.end().as_secs() + SKEW_S;

/// Why a path header is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No segment leads here.
    #[error("no segment of the path leads to this node")]
    NotMine,
    /// A node stands on it twice, or it leads back to its sender.
    #[error("the path meets a node twice")]
    Loop,
    /// It came from another node than the one before this.
    #[error("the path came from another node than the one it leads through")]
    WrongSender,
    /// Its timestamp is more than 120 s from this clock.
    #[error("the segment's timestamp is more than 120 s off")]
    Timestamp,
    /// It expired more than 120 s ago, or does so more than an hour ahead.
    #[error("the segment's expiry is more than 120 s past or 3 600 s ahead")]
    Expiry,
    /// The sender's signature is not there, or does not verify.
    #[error("the segment's signature does not verify")]
    Signature,
    /// It was here before.
    #[error("the path header was seen before")]
    Replay,
    /// The replay memory is full, or the share of this peer or of its address.
    #[error(
        "no new path is taken now: the replay memory, or the share of this peer or its address, is full"
    )]
    Full,
}

impl PathError {
    /// What the peer is told.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Replay => Code::REPLAY,
            Self::Full => Code::POLICY_REJECTED,
            _ => Code::PATH_INVALID,
        }
    }
}

/// What becomes of an accepted path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Accepted {
    /// This node is its last: streams bound to it end here.
    Exit {
        /// The path's name on the link it came over.
        path: PathId,
    },
    /// The header goes on to the next node, and streams bound to the path follow it.
    Forward {
        /// The path's name on the link it came over.
        path: PathId,
        /// Who is next.
        next: NodeId,
        /// Its name on that link.
        onward: PathId,
        /// What to send there.
        control: Control,
    },
}

/// A path that this node carries.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carried {
    /// Who is next, and what that link calls the path; `None` where it ends here.
    pub onward: Option<LinkPath>,
    /// What an error about it is signed over.
    pub route: Route,
    /// Until when streams may be opened on it, in seconds since the epoch.
    pub expiry: u32,
    /// Who pays for it.
    pub charge: ChargeTo,
}

/// The paths that lead through or to one node.
#[derive(Clone, Debug)]
pub struct Hop {
    replays: Replays,
    /// By who brought it and what that link calls it.
    carried: BTreeMap<LinkPath, Carried>,
    /// The same by who is next and what that link calls it.
    onward: BTreeMap<LinkPath, LinkPath>,
    /// The same by when it ends.
    ends: BTreeSet<(u32, LinkPath)>,
    peers: Counts<NodeId>,
    charges: Counts<ChargeTo>,
    stamps: Stamps,
}

/// The node at a link's other end, and what the link calls a path.
pub type LinkPath = (NodeId, PathId);

impl Hop {
    /// Remembers up to `bound` headers, of which one peer has at most 1/64, and all that one pays for 1/32.
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

    /// Judges a SINGLE or MULTI header that `from` sent and `charge` pays for, and makes what goes on to the next node. Who holds a
    /// lock around this value takes the three steps apart: [`Header::read`], [`Header::verify`], [`Self::take`].
    ///
    /// # Errors
    ///
    /// Why it is refused; nothing is remembered of it.
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

    /// The timestamp of the header that goes on to the next node, for [`Header::verify`].
    pub const fn stamp(&mut self, now: Now) -> u64 {
        self.stamps.draw(now.unix_ms)
    }

    /// Whether one more path that this peer brings, and `charge` pays for, would be taken.
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

    /// Takes a header that stands, once.
    ///
    /// # Errors
    ///
    /// [`PathError::Replay`] or [`PathError::Full`]; nothing is remembered of it.
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

    /// The path that `from` calls `path`, while streams may be opened on it.
    #[must_use]
    pub fn carried(&self, now: Now, from: NodeId, path: PathId) -> Option<&Carried> {
        self.carried
            .get(&(from, path))
            .filter(|c| u64::from(c.expiry) >= now.unix_ms / 1000)
    }

    /// The route of a path that was accepted, expired or not, until it is forgotten.
    #[must_use]
    pub fn route(&self, from: NodeId, path: PathId) -> Option<&Route> {
        self.carried.get(&(from, path)).map(|c| &c.route)
    }

    /// Where an ERROR from `from` about the path that its link calls `path` goes back to, and under which name.
    #[must_use]
    pub fn back(&self, from: NodeId, path: PathId) -> Option<LinkPath> {
        self.onward.get(&(from, path)).copied()
    }

    /// Forgets a path that ended.
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

    /// Forgets the paths that have expired, and says which.
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

    /// Headers remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.replays.len()
    }

    /// Paths carried.
    #[must_use]
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }
}
