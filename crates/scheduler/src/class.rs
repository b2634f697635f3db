//! Nodes with equal fixed fields, each class in one order for each strategy.
//!
//! A search asks each class once whether its nodes can match at all. The number of classes is bounded: rare values and
//! nodes beyond the bound share classes in which some attributes are unknown, and are tested one by one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::Level;

use crate::attributes::{Attributes, KeyId, ORG, REGION, ValueId, ZONE};
use crate::ordered::Ordered;

/// Number of a class.
pub(crate) type ClassId = u32;

/// Bounds of the index. Results do not depend on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// A value that fewer nodes have is unknown to their class.
    pub(crate) common: usize,
    /// Number of classes in which every attribute counts.
    pub(crate) full: usize,
    /// Number of classes in all, but the one for the rest.
    pub(crate) all: usize,
    /// A search looks at the nodes of a required value one by one if no more have it.
    pub(crate) rare: usize,
}

impl Bounds {
    pub(crate) const USUAL: Self = Self {
        common: 8,
        full: 48,
        all: 64,
        rare: 64,
    };
}

/// What the class of a node knows of an attribute.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// All its nodes have this value.
    Value(ValueId),
    /// None has the attribute.
    Absent,
    /// Its nodes may differ.
    Unknown,
}

#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Signature {
    level: Option<Level>,
    /// Number of devices.
    devices: Option<u64>,
    /// Whether the token names the organisation.
    vouched: Option<bool>,
    /// Ascending; `None`: the value is not common.
    attrs: Vec<(KeyId, Option<ValueId>)>,
    /// Attributes that are not listed may exist.
    partial: bool,
}

/// Orders of a class. Each strategy uses one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Order {
    /// Load, then live copies.
    Load,
    /// Turn of `round_robin`.
    Turn,
    /// Free CPU.
    Cpu,
    /// Free thousandths of devices; nodes without devices are absent.
    Gpu,
}

impl Order {
    pub(crate) const ALL: [Self; 4] = [Self::Load, Self::Turn, Self::Cpu, Self::Gpu];
}

/// One class.
#[derive(Debug, Default)]
pub(crate) struct Class {
    signature: Signature,
    nodes: usize,
    orders: [Ordered; 4],
}

impl Class {
    pub(crate) fn order(&self, order: Order) -> &Ordered {
        &self.orders[order as usize]
    }

    pub(crate) fn level(&self) -> Option<Level> {
        self.signature.level
    }

    /// What is known of an attribute.
    pub(crate) fn knows(&self, key: KeyId) -> Known {
        let attrs = &self.signature.attrs;
        match attrs.binary_search_by_key(&key, |(k, _)| *k) {
            Ok(at) => match attrs.get(at) {
                Some((_, Some(v))) => Known::Value(*v),
                _ => Known::Unknown,
            },
            Err(_) if self.signature.partial => Known::Unknown,
            Err(_) => Known::Absent,
        }
    }

    /// The organisation that all its nodes are of, where their tokens name it: `Some(None)` is no name at all.
    pub(crate) fn org(&self) -> Option<Option<ValueId>> {
        match (self.signature.vouched, self.knows(ORG)) {
            (Some(false), _) => Some(None),
            (Some(true), Known::Value(v)) => Some(Some(v)),
            _ => None,
        }
    }
}

/// All classes with nodes.
#[derive(Debug)]
pub(crate) struct Classes {
    bounds: Bounds,
    numbers: BTreeMap<Signature, ClassId>,
    classes: Vec<Class>,
    free: Vec<ClassId>,
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Classes {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            numbers: BTreeMap::new(),
            classes: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Classes with nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        (0..).zip(&self.classes).filter(|(_, c)| c.nodes > 0)
    }

    pub(crate) fn order(&mut self, id: ClassId, order: Order) -> Option<&mut Ordered> {
        let class = self.classes.get_mut(index(id))?;
        class.orders.get_mut(order as usize)
    }

    /// Puts a node into the class of its fixed fields. `all` is the number of nodes.
    pub(crate) fn enter(
        &mut self,
        level: Level,
        devices: u64,
        vouched: bool,
        attrs: &[(KeyId, ValueId)],
        table: &Attributes,
        all: usize,
    ) -> ClassId {
        let least = self.bounds.common;
        // Organisations are many and seldom asked for: only a large one is worth classes of its own.
        let common = |k: KeyId, v: ValueId| {
            table.count(v) >= if k == ORG { least.max(all / 16) } else { least }
        };
        let mut signature = Signature {
            level: Some(level),
            devices: Some(devices),
            vouched: Some(vouched),
            attrs: attrs
                .iter()
                .map(|(k, v)| (*k, common(*k, *v).then_some(*v)))
                .collect(),
            partial: false,
        };
        signature.attrs.sort_unstable();
        let room =
            |s: &Signature, most: usize| self.numbers.contains_key(s) || self.numbers.len() < most;
        if !room(&signature, self.bounds.full) {
            signature.partial = true;
            let place = |k: KeyId| k == REGION || k == ZONE;
            signature.attrs.retain(|(k, v)| place(*k) && v.is_some());
            if !room(&signature, self.bounds.all) {
                signature = Signature {
                    partial: true,
                    ..Signature::default()
                };
            }
        }
        let id = self.number(signature);
        if let Some(class) = self.classes.get_mut(index(id)) {
            class.nodes += 1;
        }
        id
    }

    fn number(&mut self, signature: Signature) -> ClassId {
        if let Some(id) = self.numbers.get(&signature) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.classes.push(Class::default());
            u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(class) = self.classes.get_mut(index(id)) {
            class.signature = signature.clone();
        }
        self.numbers.insert(signature, id);
        id
    }

    /// Takes a node out of its class, which is forgotten with its last node.
    pub(crate) fn leave(&mut self, id: ClassId) {
        let Some(class) = self.classes.get_mut(index(id)) else {
            return;
        };
        class.nodes -= 1;
        if class.nodes == 0 {
            let gone = core::mem::take(class);
            self.numbers.remove(&gone.signature);
            self.free.push(id);
        }
    }
}
