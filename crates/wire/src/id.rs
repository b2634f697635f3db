use core::fmt;

use data_encoding::HEXLOWER;

/// The first 20 bytes of the hash of a node's public key.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct NodeId(pub [u8; 20]);

impl NodeId {
    /// The same order in three comparisons of numbers: tables of peers spend their time here.
    #[inline]
    fn words(&self) -> (u64, u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = self.0;
        (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            u32::from_be_bytes([q, r, s, t]),
        )
    }
}

impl Ord for NodeId {
    #[inline]
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.words().cmp(&other.words())
    }
}

impl PartialOrd for NodeId {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The multihash of a node's public key: `0x12 0x20` and its SHA-256.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PeerId(pub [u8; 34]);

impl PeerId {
    /// The identifier of a key whose SHA-256 is `hash`.
    #[must_use]
    pub fn from_hash(hash: [u8; 32]) -> Self {
        let mut id = [0; 34];
        id[0] = 0x12;
        id[1] = 0x20;
        id[2..].copy_from_slice(&hash);
        Self(id)
    }

    /// Bytes 2 to 22.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        let mut id = [0; 20];
        id.copy_from_slice(&self.0[2..22]);
        NodeId(id)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_stand_in_the_order_of_their_bytes() {
        for at in 0..20 {
            let (low, mut high) = (NodeId([7; 20]), NodeId([7; 20]));
            high.0[at] = 200;
            assert!(low < high, "byte {at}");
            if at < 19 {
                high.0[at + 1] = 0;
                assert!(low < high, "byte {at}");
            }
        }
        assert_eq!(
            NodeId([1; 20]).cmp(&NodeId([1; 20])),
            core::cmp::Ordering::Equal
        );
    }
}
