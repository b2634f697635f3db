use core::fmt;

use data_encoding::HEXLOWER;

/// The first 20 bytes of the hash of a node's public key.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId(pub [u8; 20]);

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
