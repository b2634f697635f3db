//! The part of all nodes whose records a node keeps.

use betanet_wire::NodeId;

/// Longest compared prefix.
const BITS_MAX: u32 = 64;

/// The nodes that share a prefix with this node's NodeID: the nearest ones by XOR.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Share {
    own: NodeId,
    bits: u32,
}

fn head(node: NodeId) -> u64 {
    node.0.first_chunk().map_or(0, |c| u64::from_be_bytes(*c))
}

impl Share {
    /// All nodes.
    #[must_use]
    pub const fn all(own: NodeId) -> Self {
        Self { own, bits: 0 }
    }

    /// Number of equal bits.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether the share contains a node.
    #[must_use]
    pub fn holds(&self, node: NodeId) -> bool {
        self.bits == 0 || (head(self.own) ^ head(node)) >> (64 - self.bits) == 0
    }

    /// Halves the share.
    pub(crate) const fn narrow(&mut self) -> bool {
        let can = self.bits < BITS_MAX;
        self.bits += can as u32;
        can
    }

    /// Doubles the share.
    pub(crate) const fn widen(&mut self) -> bool {
        let can = self.bits > 0;
        self.bits -= can as u32;
        can
    }

    /// First and last NodeID of the share.
    #[must_use]
    pub fn bounds(&self) -> (NodeId, NodeId) {
        around(self.own, self.bits)
    }
}

/// First and last NodeID that share the first `bits` bits with `node`.
#[must_use]
pub fn around(node: NodeId, bits: u32) -> (NodeId, NodeId) {
    let (mut lo, mut hi) = (node, node);
    for (i, (l, h)) in lo.0.iter_mut().zip(&mut hi.0).enumerate() {
        let before = u32::try_from(i).unwrap_or(0) * 8;
        let free = 8 - bits.saturating_sub(before).min(8);
        let mask = u8::try_from((1_u16 << free) - 1).unwrap_or(u8::MAX);
        *l &= !mask;
        *h |= mask;
    }
    (lo, hi)
}

/// The next NodeID, if there is one.
#[must_use]
pub(crate) fn after(node: NodeId) -> Option<NodeId> {
    let mut next = node;
    for byte in next.0.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

/// Number of equal leading bits of two NodeIDs, up to 64.
#[must_use]
pub(crate) fn common_bits(a: NodeId, b: NodeId) -> u32 {
    (head(a) ^ head(b)).leading_zeros()
}

/// XOR distance of two NodeIDs, as a big-endian number.
#[must_use]
pub(crate) fn distance(a: NodeId, b: NodeId) -> [u8; 20] {
    let mut out = a.0;
    for (o, b) in out.iter_mut().zip(b.0) {
        *o ^= b;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_range_of_ids() {
        let own = NodeId([0b1010_0110; 20]);
        let mut share = Share::all(own);
        assert_eq!(share.bounds(), (NodeId([0; 20]), NodeId([255; 20])));
        for bits in 1..=64 {
            assert!(share.narrow());
            let (lo, hi) = share.bounds();
            assert!(
                share.holds(lo) && share.holds(hi) && share.holds(own),
                "{bits}"
            );
            assert!(after(hi).is_none_or(|n| !share.holds(n)), "{bits}");
        }
        assert!(!share.narrow());
    }

    #[test]
    fn ids_count_up() {
        assert_eq!(after(NodeId([255; 20])), None);
        let mut id = [0; 20];
        id[19] = 255;
        let next = after(NodeId(id)).unwrap();
        assert_eq!((next.0[18], next.0[19]), (1, 0));
    }
}
