//! What a node does with a path header that a peer sends it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::Now;
use betanet_wire::{Code, NodeId};

use crate::control::{Cf, Control, PathId, Segment};
use crate::replay::{Again, Replays};
use crate::sign::{Route, path_id, segment_stands, sign_segment};

/// How far a timestamp may be from one's own clock, and how long past its expiry a path still builds, in seconds.
pub const SKEW_S: u64 = 120;
/// How far ahead an expiry may be, in seconds.
pub const AHEAD_S: u64 = 3_600;

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
    /// The replay memory, or this peer's share of it, is full.
    #[error("no new path is taken now: the replay memory, or this peer's share of it, is full")]
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
}

/// The node at a link's other end, and what the link calls a path.
pub type LinkPath = (NodeId, PathId);

impl Hop {
    /// Remembers up to `bound` headers, of which one peer has at most 1/64.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self {
            replays: Replays::new(bound),
            carried: BTreeMap::new(),
            onward: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Judges a SINGLE or MULTI header that `from` sent, and makes what goes on to the next node.
    ///
    /// # Errors
    ///
    /// Why it is refused; nothing is remembered of it.
    pub fn receive(
        &mut self,
        now: Now,
        me: &Identity,
        from: &PublicKey,
        control: Control,
    ) -> Result<Accepted, PathError> {
        let own = me.public().node_id();
        let prev = from.node_id();
        let at = position(&control, own, prev)?;
        let (segments, cf, single) = match &control {
            Control::Single { segments, cf } => (segments, *cf, true),
            Control::Multi { segments, cf } => (segments, *cf, false),
            _ => return Err(PathError::NotMine),
        };
        let segment = segments[at];
        let unix_s = now.unix_ms / 1000;
        if segment.timestamp.abs_diff(now.unix_ms) > SKEW_S * 1000 {
            return Err(PathError::Timestamp);
        }
        let live = if single {
            &segments[at..]
        } else {
            &segments[..1]
        };
        let fits = |s: &Segment| {
            let expiry = u64::from(s.expiry);
            expiry + SKEW_S >= unix_s && expiry <= unix_s + AHEAD_S
        };
        if !live.iter().all(fits) {
            return Err(PathError::Expiry);
        }
        // Before the arithmetic: who has its share already costs nothing more.
        self.expire(now);
        if !self.has_room(prev) {
            return Err(PathError::Full);
        }
        if !segment_stands(&control, at, from) {
            return Err(PathError::Signature);
        }
        self.replays
            .take(now.mono, prev, segment.expiry, segment.timestamp)
            .map_err(|again| match again {
                Again::Seen => PathError::Replay,
                Again::Full => PathError::Full,
            })?;
        let path = path_id(prev, &segment);
        let onward = single
            .then(|| forwarded(segments, at, cf, now.unix_ms, me))
            .flatten();
        let route = Route::of(if single { segments } else { live });
        let carried = Carried {
            onward: onward.as_ref().map(|(s, _)| (s.next, path_id(own, s))),
            route,
            expiry: live.iter().map(|s| s.expiry).min().unwrap_or(0),
        };
        self.insert((prev, path), carried);
        Ok(match onward {
            None => Accepted::Exit { path },
            Some((next, control)) => Accepted::Forward {
                path,
                next: next.next,
                onward: path_id(own, &next),
                control,
            },
        })
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

    /// Whether one more path of this peer may be carried: a path lives longer than the memory of its header.
    fn has_room(&self, prev: NodeId) -> bool {
        let of_prev = (prev, PathId::default())..=(prev, [u8::MAX; 8]);
        self.carried.len() < self.replays.bound()
            && self.carried.range(of_prev).count() < self.replays.share()
    }
}

/// The segment that leads to `own`, from `prev`.
fn position(control: &Control, own: NodeId, prev: NodeId) -> Result<usize, PathError> {
    let (Control::Single { segments, .. } | Control::Multi { segments, .. }) = control else {
        return Err(PathError::NotMine);
    };
    let repeated = |i: usize| segments[..i].iter().any(|s| s.next == segments[i].next);
    if (1..segments.len()).any(repeated) {
        return Err(PathError::Loop);
    }
    let at = segments
        .iter()
        .position(|s| s.next == own)
        .ok_or(PathError::NotMine)?;
    match control {
        // What follows the live segment is its sender's affair.
        Control::Multi { .. } if at > 0 => Err(PathError::NotMine),
        Control::Multi { .. } => Ok(0),
        _ if at > 0 && segments[at - 1].next != prev => Err(PathError::WrongSender),
        _ if at == 0 && segments.iter().any(|s| s.next == prev) => Err(PathError::Loop),
        _ => Ok(at),
    }
}

/// The header for the next node: what this node and those before it signed is blanked, the next segment is its own.
fn forwarded(
    segments: &[Segment],
    at: usize,
    cf: Option<Cf>,
    unix_ms: u64,
    me: &Identity,
) -> Option<(Segment, Control)> {
    let mut segments: Vec<Segment> = segments.to_vec();
    segments.get(at + 1)?;
    for s in &mut segments[..=at] {
        s.sig = None;
        s.timestamp = 0;
    }
    segments[at + 1].timestamp = unix_ms;
    let mut control = Control::Single { segments, cf };
    sign_segment(&mut control, at + 1, me);
    let Control::Single { segments, .. } = &control else {
        return None;
    };
    Some((segments[at + 1], control))
}
