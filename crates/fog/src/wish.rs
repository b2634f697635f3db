use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Word;

/// Whether a listed value is required or forbidden.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// The attribute has one of the values.
    In,
    /// The attribute is absent or has another value.
    NotIn,
}

/// A condition on one attribute of a node: kind, model, node (its ID in hex), org, region, zone, or a label.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Need {
    /// Name of the attribute.
    pub attr: Word,
    /// Whether the values are required or forbidden.
    pub op: Op,
    /// The values.
    pub values: Vec<Word>,
}

/// A weight for nodes whose attribute has one of the values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Preference {
    /// Name of the attribute.
    pub attr: Word,
    /// The values.
    pub values: Vec<Word>,
    /// −100 to 100; a negative weight keeps copies away.
    pub weight: i8,
}

/// Where a task wants to run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wishes {
    /// Weights of the strategy `affinity`.
    pub affinity: Vec<Preference>,
    /// A node to be near to, for the strategy `proximity`.
    pub near: Option<NodeId>,
    /// A region to be near to; empty: none.
    pub region: Word,
    /// A zone of that region; empty: none.
    pub zone: Word,
    /// Conditions, all of which must hold.
    pub need: Vec<Need>,
    /// Least reputation, in ppm.
    pub rep: u32,
    /// Attribute that no two live copies of the namespace and group may share; empty: none.
    pub spread: Word,
}
