//! Building a path.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_keys::Identity;
use betanet_wire::NodeId;

use crate::control::{Cf, Control, PathId, SEGMENTS_MAX, Segment};
use crate::sign::{Route, path_id, sign_segment};

/// Default lifetime of a path.
pub const TTL: Duration = Duration::from_secs(180);
/// Shortest and longest lifetime of a path.
pub const TTL_RANGE: core::ops::RangeInclusive<Duration> =
    Duration::from_secs(120)..=Duration::from_secs(600);

/// Reason why a path cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The path has no node, or more than 8.
    #[error("a path of {0} nodes, where 1 to 8 are allowed")]
    Length(usize),
    /// The path has a node twice, or the builder itself.
    #[error("a path may meet {0} once only")]
    Loop(NodeId),
    /// The lifetime is not between 120 s and 600 s.
    #[error("a path's life is from 120 s to 600 s")]
    Ttl,
}

/// A built path, and the data that its builder keeps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Built {
    /// Header for the first node.
    pub control: Control,
    /// ID of the path on the link to the first node.
    pub path: PathId,
    /// Nodes and end of the path; errors about it are signed over these.
    pub route: Route,
}

/// Builds the header of a path over `nodes`, first to last.
///
/// # Errors
///
/// The nodes do not form a path, or the lifetime is out of range.
pub fn build(
    me: &Identity,
    nodes: &[NodeId],
    unix_ms: u64,
    ttl: Duration,
    cf: Option<Cf>,
) -> Result<Built, BuildError> {
    if !(1..=SEGMENTS_MAX).contains(&nodes.len()) {
        return Err(BuildError::Length(nodes.len()));
    }
    if !TTL_RANGE.contains(&ttl) {
        return Err(BuildError::Ttl);
    }
    let own = me.public().node_id();
    for (i, node) in nodes.iter().enumerate() {
        if *node == own || nodes[..i].contains(node) {
            return Err(BuildError::Loop(*node));
        }
    }
    let expiry = u32::try_from(unix_ms / 1000 + ttl.as_secs()).unwrap_or(u32::MAX);
    let segments: Vec<Segment> = nodes
        .iter()
        .enumerate()
        .map(|(i, &next)| Segment {
            next,
            expiry,
            timestamp: if i == 0 { unix_ms } else { 0 },
            sig: None,
        })
        .collect();
    let route = Route::of(&segments);
    let first = segments[0];
    let mut control = Control::Single { segments, cf };
    sign_segment(&mut control, 0, me);
    Ok(Built {
        control,
        path: path_id(own, &first),
        route,
    })
}
