use alloc::collections::BTreeMap;
use core::fmt;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Reader, Writer};

use crate::item::{item, tuple, word_items};
use crate::word::words;
use crate::{Item, List, Map, Refusal, RefusalCode, Shape, Word};

/// Most millionths: all.
pub(crate) const PPM: u64 = 1_000_000;

/// A property of nodes that tasks can name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Attribute {
    /// The node's kind.
    Kind,
    /// Model of its devices.
    Model,
    /// Its NodeID, in hex.
    Node,
    /// Its organisation.
    Org,
    /// Its region.
    Region,
    /// Its zone.
    Zone,
    /// The label of this name.
    Label(Word),
}

impl Attribute {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Kind => "kind",
            Self::Model => "model",
            Self::Node => "node",
            Self::Org => "org",
            Self::Region => "region",
            Self::Zone => "zone",
            Self::Label(name) => name,
        }
    }
}

impl From<Word> for Attribute {
    fn from(name: Word) -> Self {
        match name.as_str() {
            "kind" => Self::Kind,
            "model" => Self::Model,
            "node" => Self::Node,
            "org" => Self::Org,
            "region" => Self::Region,
            "zone" => Self::Zone,
            _ => Self::Label(name),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Labels of a node. No label has the name of another attribute.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Labels(Map<Word, Word>);

impl Labels {
    /// Checks the names.
    ///
    /// # Errors
    ///
    /// `bad_value` for a name that is an attribute's.
    pub fn new(labels: Map<Word, Word>) -> Result<Self, Refusal> {
        let taken = |name: &Word| !matches!(Attribute::from(name.clone()), Attribute::Label(_));
        if labels.keys().any(taken) {
            return Err(RefusalCode::BadValue.of("labels"));
        }
        Ok(Self(labels))
    }
}

impl core::ops::Deref for Labels {
    type Target = BTreeMap<Word, Word>;
    fn deref(&self) -> &BTreeMap<Word, Word> {
        &self.0
    }
}

words! {
    /// Relation between an attribute and a list of values.
    pub enum Op {
        /// The attribute is one of the values.
        In = "in",
        /// The attribute is none of the values, or missing.
        NotIn = "not_in",
    }
}

word_items!(Op);

/// A preference for nodes: its weight counts where the attribute is one of the values.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Affinity {
    /// The attribute.
    pub attribute: Attribute,
    /// The listed values.
    pub values: List<Word>,
    /// −100 to 100.
    pub weight: i64,
}

/// A condition on nodes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Need {
    /// The attribute.
    pub attribute: Attribute,
    /// How it relates to the values.
    pub op: Op,
    /// The listed values.
    pub values: List<Word>,
}

/// The place that a task wants to be near to.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Near {
    /// A node whose measured round-trip times count.
    pub node: Option<NodeId>,
    /// A region; empty means none.
    pub region: Word,
    /// A zone; empty means none.
    pub zone: Word,
}

/// P in the chapter: a task's wishes about nodes.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Placement {
    /// Preferences.
    pub affinity: List<Affinity>,
    /// Place to be near to.
    pub near: Near,
    /// Conditions.
    pub need: List<Need>,
    /// Least reputation, in millionths.
    pub rep: u64,
    /// The attribute that live copies of the group must not share; `None` means no such wish.
    pub spread: Option<Attribute>,
}

impl Placement {
    /// Checks weights and reputation.
    ///
    /// # Errors
    ///
    /// `bad_value` with the key.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.affinity.iter().any(|a| a.weight.unsigned_abs() > 100) {
            return Err(RefusalCode::BadValue.of("affinity"));
        }
        if self.rep > PPM {
            return Err(RefusalCode::BadValue.of("rep"));
        }
        Ok(())
    }
}

impl Item for Attribute {
    const SHAPE: Shape = Shape::Word;
    fn encode(&self, w: &mut Writer) {
        w.text(self.as_str());
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Word::decode(r).map(Self::from)
    }
}

impl Item for Option<Attribute> {
    const SHAPE: Shape = Shape::Word;
    fn encode(&self, w: &mut Writer) {
        w.text(self.as_ref().map_or("", Attribute::as_str));
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let name = Word::decode(r)?;
        Ok((!name.is_empty()).then(|| name.into()))
    }
}

impl Item for Labels {
    const SHAPE: Shape = Map::<Word, Word>::SHAPE;
    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Self::new(Map::decode(r)?)
    }
}

tuple!(Affinity { attribute: Attribute, values: List<Word>, weight: i64, });
tuple!(Need { attribute: Attribute, op: Op, values: List<Word>, });
tuple!(Near { node: Option<NodeId>, region: Word, zone: Word, });
item!(Placement {
    "rep" rep: u64,
    "near" near: Near,
    "need" need: List<Need>,
    "spread" spread: Option<Attribute>,
    "affinity" affinity: List<Affinity>,
});
