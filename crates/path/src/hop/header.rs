//! Checks of one path header that need no memory: destination, time and signature.

use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::Now;
use betanet_wire::{ChargeTo, NodeId};

use super::{AHEAD_S, Accepted, CARRIED_S, Carried, PathError, SKEW_S};
use crate::control::{Cf, Control, PathId, Segment};
use crate::sign::{Route, path_id, segment_stands, sign_segment};

/// A header that leads from its sender to this node at this time. Its signature is not yet checked.
#[derive(Clone, Debug)]
pub struct Header {
    control: Control,
    /// Index of the segment that leads to this node.
    at: usize,
    own: NodeId,
    prev: NodeId,
}

/// A header with a valid signature, and the signed header for the next node.
#[derive(Clone, Debug)]
pub struct Stands {
    header: Header,
    onward: Option<(Segment, Control)>,
}

impl Header {
    /// Checks a header that `prev` sent to the node `own`, except its signature.
    ///
    /// # Errors
    ///
    /// The reason for the refusal.
    pub fn read(now: Now, own: NodeId, prev: NodeId, control: Control) -> Result<Self, PathError> {
        let at = position(&control, own, prev)?;
        let header = Self {
            control,
            at,
            own,
            prev,
        };
        let unix_s = now.unix_ms / 1000;
        if header.segment().timestamp.abs_diff(now.unix_ms) > SKEW_S * 1000 {
            return Err(PathError::Timestamp);
        }
        let fits = |s: &Segment| {
            let expiry = u64::from(s.expiry);
            expiry + SKEW_S >= unix_s && expiry <= unix_s + AHEAD_S
        };
        if header.live().iter().all(fits) {
            Ok(header)
        } else {
            Err(PathError::Expiry)
        }
    }

    /// Checks the sender's signature, and signs the header for the next node with the timestamp `stamp`. Takes about 100 µs.
    ///
    /// # Errors
    ///
    /// [`PathError::Signature`].
    pub fn verify(self, stamp: u64, me: &Identity, from: &PublicKey) -> Result<Stands, PathError> {
        if from.node_id() != self.prev || !segment_stands(&self.control, self.at, from) {
            return Err(PathError::Signature);
        }
        let onward = match &self.control {
            Control::Single { segments, cf } => forwarded(segments, self.at, *cf, stamp, me),
            _ => None,
        };
        Ok(Stands {
            header: self,
            onward,
        })
    }

    fn segments(&self) -> &[Segment] {
        match &self.control {
            Control::Single { segments, .. } | Control::Multi { segments, .. } => segments,
            _ => &[],
        }
    }

    /// The segments that this node uses: those from its own on, or the live one.
    fn live(&self) -> &[Segment] {
        let segments = self.segments();
        match self.control {
            Control::Single { .. } => segments.get(self.at..).unwrap_or_default(),
            _ => segments.get(..1).unwrap_or_default(),
        }
    }

    fn segment(&self) -> Segment {
        self.segments()[self.at]
    }
}

impl Stands {
    /// Sender, and segment that leads to this node.
    pub(super) fn from(&self) -> (NodeId, Segment) {
        (self.header.prev, self.header.segment())
    }

    /// ID of the path on the incoming link, its record, and the result.
    pub(super) fn accepted(self, now: Now, charge: ChargeTo) -> (PathId, Carried, Accepted) {
        let Self { header, onward } = self;
        let path = path_id(header.prev, &header.segment());
        let route = Route::of(match header.control {
            Control::Single { .. } => header.segments(),
            _ => header.live(),
        });
        let most = u32::try_from(now.unix_ms / 1000 + CARRIED_S).unwrap_or(u32::MAX);
        let expiry = header.live().iter().map(|s| s.expiry).min().unwrap_or(0);
        let own = header.own;
        let carried = Carried {
            onward: onward.as_ref().map(|(s, _)| (s.next, path_id(own, s))),
            route,
            expiry: expiry.min(most),
            charge,
        };
        let accepted = match onward {
            None => Accepted::Exit { path },
            Some((next, control)) => Accepted::Forward {
                path,
                next: next.next,
                onward: path_id(own, &next),
                control,
            },
        };
        (path, carried, accepted)
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

/// The header for the next node: earlier signatures are blanked, and the next segment has this node's signature.
fn forwarded(
    segments: &[Segment],
    at: usize,
    cf: Option<Cf>,
    stamp: u64,
    me: &Identity,
) -> Option<(Segment, Control)> {
    let mut segments: Vec<Segment> = segments.to_vec();
    segments.get(at + 1)?;
    for s in &mut segments[..=at] {
        s.sig = None;
        s.timestamp = 0;
    }
    segments[at + 1].timestamp = stamp;
    let mut control = Control::Single { segments, cf };
    sign_segment(&mut control, at + 1, me);
    let Control::Single { segments, .. } = &control else {
        return None;
    };
    Some((segments[at + 1], control))
}
