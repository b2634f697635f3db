//! Signatures of segments and errors, and IDs of paths on links.

use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey, hash};
use betanet_wire::NodeId;

use crate::control::{Control, Failure, PathId, Segment, VERSION};

const SEGMENT: &str = "BN-L1-seg";
const ERROR: &str = "BN-L1-err";
const PATH: &str = "BN-L1-path";

/// Text that the sender of a segment signs, without the label: every field that the receiver acts on, and the later hops (E-32).
fn segment_text(control: &Control, at: usize, prev: NodeId) -> Option<Vec<u8>> {
    let (Control::Single { segments, .. } | Control::Multi { segments, .. }) = control else {
        return None;
    };
    let segment = segments.get(at)?;
    let mut text = Vec::with_capacity(128);
    text.extend_from_slice(&[VERSION, control.ty(), control.flags()]);
    text.extend_from_slice(&segment.next.0);
    text.extend_from_slice(&segment.expiry.to_be_bytes());
    text.extend_from_slice(&prev.0);
    text.extend_from_slice(&segment.timestamp.to_be_bytes());
    let later = &segments[at + 1..];
    if matches!(control, Control::Single { .. }) && !later.is_empty() {
        let mut joined = Vec::with_capacity(24 * later.len());
        for s in later {
            joined.extend_from_slice(&s.next.0);
            joined.extend_from_slice(&s.expiry.to_be_bytes());
        }
        text.extend_from_slice(&hash(&[&joined]));
    }
    Some(text)
}

/// The hash that `prev` signs for segment `at`; `None` if there is no such segment.
#[must_use]
pub fn segment_hash(control: &Control, at: usize, prev: NodeId) -> Option<[u8; 32]> {
    segment_text(control, at, prev).map(|text| hash(&[SEGMENT.as_bytes(), &text]))
}

/// Signs segment `at` as its sender.
pub(crate) fn sign_segment(control: &mut Control, at: usize, me: &Identity) {
    let prev = me.public().node_id();
    let Some(text) = segment_text(control, at, prev) else {
        return;
    };
    let sig = me.sign(SEGMENT, &[&text]);
    if let Control::Single { segments, .. } | Control::Multi { segments, .. } = control {
        segments[at].sig = Some(sig);
    }
}

/// Whether segment `at` has a valid signature of its sender `prev`.
#[must_use]
pub fn segment_stands(control: &Control, at: usize, prev: &PublicKey) -> bool {
    let (Control::Single { segments, .. } | Control::Multi { segments, .. }) = control else {
        return false;
    };
    let sig = segments.get(at).and_then(|s| s.sig);
    match (sig, segment_text(control, at, prev.node_id())) {
        (Some(sig), Some(text)) => prev.verify(SEGMENT, &[&text], &sig).is_ok(),
        _ => false,
    }
}

/// The ID of a path on the link from `prev` to the segment's node.
#[must_use]
pub fn path_id(prev: NodeId, segment: &Segment) -> PathId {
    let digest = hash(&[
        PATH.as_bytes(),
        &prev.0,
        &segment.next.0,
        &segment.timestamp.to_be_bytes(),
        &segment.expiry.to_be_bytes(),
    ]);
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    id
}

/// Nodes and expiry of a path. An error about the path is signed over these; they are equal at all hops.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The `NextNode`s, in order.
    pub nodes: Vec<NodeId>,
    /// Expiry of the first segment.
    pub expiry: u32,
}

impl Route {
    /// Builds the route of these segments.
    pub(crate) fn of(segments: &[Segment]) -> Self {
        Self {
            nodes: segments.iter().map(|s| s.next).collect(),
            expiry: segments.first().map_or(0, |s| s.expiry),
        }
    }

    fn error_text(&self, failure: Failure) -> [u8; 37] {
        let joined: Vec<u8> = self.nodes.iter().flat_map(|n| n.0).collect();
        let mut text = [0; 37];
        text[0] = failure.code();
        text[1..33].copy_from_slice(&hash(&[&joined]));
        text[33..].copy_from_slice(&self.expiry.to_be_bytes());
        text
    }

    /// Builds the ERROR that a hop sends back on the link where the path has the ID `path`.
    #[must_use]
    pub fn error(&self, failure: Failure, path: PathId, me: &Identity) -> Control {
        Control::Error {
            failure,
            path,
            key: *me.public().as_bytes(),
            sig: me.sign(ERROR, &[&self.error_text(failure)]),
        }
    }

    /// The hop that signed an ERROR; `None` if its key is not on this path, or the signature is invalid.
    #[must_use]
    pub fn failed_hop(&self, failure: Failure, key: &[u8; 32], sig: &[u8; 64]) -> Option<NodeId> {
        let key = PublicKey::from_bytes(key).ok()?;
        let node = key.node_id();
        let stands = key.verify(ERROR, &[&self.error_text(failure)], sig).is_ok();
        (stands && self.nodes.contains(&node)).then_some(node)
    }
}
