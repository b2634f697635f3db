use betanet_keys::PublicKey;
use betanet_wire::NodeId;

use super::ensure;
use crate::item::record;
use crate::{Kind, Labels, Level, Record, Refusal, Resources, Text, Word, label};

/// Highest price of a node, in millionths.
const PRICE_MAX: u64 = 100_000_000;

record! {
    /// A node's description of itself.
    pub struct Node {
        /// What it has for tasks.
        "cap" cap: Resources,
        /// Its public key, which signs this.
        "key" key: [u8; 32],
        /// The organisation that runs it; never empty, never another.
        "org" org: Word,
        /// Rises with each description.
        "seq" seq: u64,
        /// Its kind.
        "kind" kind: Kind,
        /// Its zone; empty means none.
        "zone" zone: Word,
        /// Highest privacy level that it serves.
        "level" level: Level,
        /// Model of its devices; empty means none.
        "model" model: Word,
        /// Lowest demand factor at which it takes tasks, in millionths: 1 to 10^8.
        "price" price: u64,
        /// Name and version of the engine that runs modules.
        "engine" engine: Text,
        /// Its labels.
        "labels" labels: Labels,
        /// Its region; empty means none.
        "region" region: Word,
    }
}

impl Node {
    /// The NodeID of its key.
    ///
    /// # Errors
    ///
    /// `sig_invalid` where the key is no public key, which no verified record has.
    pub fn id(&self) -> Result<NodeId, Refusal> {
        PublicKey::from_bytes(&self.key)
            .map(|key| key.node_id())
            .map_err(|_| crate::RefusalCode::SigInvalid.bare())
    }
}

impl Record for Node {
    const LABEL: &'static str = label::NODE;
    const SIGNER: &'static str = "key";

    fn signer(&self) -> &[u8; 32] {
        &self.key
    }

    fn check(&self) -> Result<(), Refusal> {
        self.cap.check_capacity()?;
        ensure(!self.org.is_empty(), "org")?;
        ensure((1..=PRICE_MAX).contains(&self.price), "price")
    }
}
