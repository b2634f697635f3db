//! Nodes with equal fixed attributes, and sets of such classes.
//!
//! A condition on attributes is a set of classes, found by a few operations on words. A search then asks of each node one
//! bit. The number of classes is bounded: rare values and nodes beyond the bound share classes in which some attributes are
//! unknown, and are tested one by one.

mod set;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::attributes::{Attributes, KeyId, ORG, REGION, ValueId, ZONE};
use crate::fit::ClassId;

pub(crate) use set::Set;

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
    /// A search looks at the `n` nodes of its classes one by one if n² is at most the number of nodes by this.
    pub(crate) list: usize,
    /// Number of trees of each order. A class is in one of them, by its place and whether it has devices.
    pub(crate) trees: usize,
}

impl Bounds {
    pub(crate) const USUAL: Self = Self {
        common: 8,
        full: 1_024,
        all: 1_088,
        rare: 64,
        list: 1,
        trees: 48,
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
    /// Whether the token names the organisation.
    vouched: Option<bool>,
    /// Whether the nodes have devices.
    devices: Option<bool>,
    /// Ascending; `None`: the value is not common.
    attrs: Vec<(KeyId, Option<ValueId>)>,
    /// Attributes that are not listed may exist.
    partial: bool,
}

/// One class.
#[derive(Debug, Default)]
pub(crate) struct Class {
    signature: Signature,
    /// Bits of its facts.
    facts: u64,
    /// Number of its trees.
    tree: usize,
    nodes: Vec<u32>,
}

/// Devices, region and zone: what tasks most often ask for.
type Where = (Option<bool>, Option<ValueId>, Option<ValueId>);

impl Signature {
    fn place(&self) -> Where {
        let value = |key: KeyId| {
            let found = self.attrs.iter().find(|(k, _)| *k == key);
            found.and_then(|(_, v)| *v)
        };
        (self.devices, value(REGION), value(ZONE))
    }
}

/// Classes whose nodes are in the same trees.
#[derive(Clone, Debug, Default)]
struct Tree {
    classes: Set,
    /// Number of places.
    places: usize,
}

impl Class {
    pub(crate) fn facts(&self) -> u64 {
        self.facts
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
}

/// An attribute with a value, or with one that is not common; and the classes of which it is known.
#[derive(Debug, Default)]
struct Fact {
    bit: u64,
    classes: Set,
}

/// The classes that answer to a condition.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    /// All their nodes have one of the values.
    pub(crate) known: Set,
    /// Some of their nodes may have one.
    pub(crate) unknown: Set,
    /// Bits of which every node with one of the values has at least one.
    pub(crate) facts: u64,
}

/// All classes with nodes.
#[derive(Debug)]
pub(crate) struct Classes {
    bounds: Bounds,
    numbers: BTreeMap<Signature, ClassId>,
    classes: Vec<Class>,
    free: Vec<ClassId>,
    facts: BTreeMap<(KeyId, Option<ValueId>), Fact>,
    /// Number of facts that were ever known: it gives the next one its bit.
    told: u32,
    /// The tree of each place, and the number of its classes.
    places: BTreeMap<Where, (usize, usize)>,
    trees: Vec<Tree>,
    all: Set,
    partial: Set,
    /// Classes of nodes whose tokens name an organisation, and of those whose do not.
    vouched: Set,
    unvouched: Set,
}

impl Classes {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            numbers: BTreeMap::new(),
            classes: Vec::new(),
            free: Vec::new(),
            facts: BTreeMap::new(),
            told: 0,
            places: BTreeMap::new(),
            trees: alloc::vec![Tree::default(); bounds.trees.max(1)],
            all: Set::default(),
            partial: Set::default(),
            vouched: Set::default(),
            unvouched: Set::default(),
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    pub(crate) fn get(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(usize::from(id))
    }

    /// All classes with nodes.
    pub(crate) fn all(&self) -> &Set {
        &self.all
    }

    /// Number of trees.
    pub(crate) fn trees(&self) -> usize {
        self.trees.len()
    }

    /// The tree of a class.
    pub(crate) fn tree(&self, id: ClassId) -> usize {
        self.get(id).map_or(0, |c| c.tree)
    }

    /// Whether a tree may hold nodes of some classes.
    pub(crate) fn in_tree(&self, tree: usize, set: &Set) -> bool {
        self.trees.get(tree).is_some_and(|t| t.classes.meets(set))
    }

    /// The nodes of some classes.
    pub(crate) fn nodes<'c>(&'c self, set: &'c Set) -> impl Iterator<Item = u32> + 'c {
        let nodes = |id| self.get(id).map_or(&[][..], |c| &c.nodes);
        set.iter().flat_map(nodes).copied()
    }

    /// Whether some classes have at most `most` nodes together.
    pub(crate) fn are_few(&self, set: &Set, most: usize) -> bool {
        let mut left = most;
        set.iter().all(|id| {
            let size = self.get(id).map_or(0, |c| c.nodes.len());
            let fits = left.checked_sub(size);
            left = fits.unwrap_or(0);
            fits.is_some()
        })
    }

    /// The classes whose nodes have one of the values, for sure or perhaps.
    pub(crate) fn holding(&self, key: KeyId, values: &[ValueId]) -> Holding {
        let mut out = Holding::default();
        if values.is_empty() {
            return out;
        }
        for value in values {
            if let Some(fact) = self.facts.get(&(key, Some(*value))) {
                out.known.join(&fact.classes);
                out.facts |= fact.bit;
            }
        }
        if let Some(fact) = self.facts.get(&(key, None)) {
            out.unknown.join(&fact.classes);
            out.facts |= fact.bit;
        }
        for id in self.partial.iter() {
            if self.get(id).is_some_and(|c| c.knows(key) == Known::Unknown) {
                out.unknown.add(id);
                // The facts of such a class are all.
                out.facts |= crate::fit::ANY;
            }
        }
        out
    }

    /// Classes whose nodes are all of the organisation, as their tokens name it.
    pub(crate) fn of_org(&self, org: Option<ValueId>) -> Set {
        let Some(org) = org else {
            return self.unvouched.clone();
        };
        let fact = self.facts.get(&(ORG, Some(org)));
        let mut out = fact.map(|f| f.classes.clone()).unwrap_or_default();
        out.keep(&self.vouched);
        out
    }

    /// Classes whose nodes all have the value.
    pub(crate) fn with(&self, key: KeyId, value: ValueId) -> Option<&Set> {
        self.facts.get(&(key, Some(value))).map(|f| &f.classes)
    }

    /// Puts a node into the class of its fixed attributes. `all` is the number of nodes.
    pub(crate) fn enter(
        &mut self,
        slot: u32,
        (vouched, devices): (bool, bool),
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
            vouched: Some(vouched),
            devices: Some(devices),
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
        if let Some(class) = self.classes.get_mut(usize::from(id)) {
            class.nodes.push(slot);
        }
        id
    }

    fn number(&mut self, signature: Signature) -> ClassId {
        if let Some(id) = self.numbers.get(&signature) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.classes.push(Class::default());
            ClassId::try_from(self.classes.len() - 1).unwrap_or(ClassId::MAX)
        });
        let mut bits = if signature.partial { u64::MAX } else { 0 };
        for fact in &signature.attrs {
            let told = &mut self.told;
            let fact = self.facts.entry(*fact).or_insert_with(|| {
                // The last bit is that of every node. Facts that share a bit cost time, no more.
                let bit = 1 << (*told % 63);
                *told = told.wrapping_add(1);
                Fact {
                    bit,
                    classes: Set::default(),
                }
            });
            fact.classes.add(id);
            bits |= fact.bit;
        }
        self.all.add(id);
        if signature.partial {
            self.partial.add(id);
        }
        match signature.vouched {
            Some(true) => self.vouched.add(id),
            Some(false) => self.unvouched.add(id),
            None => {}
        }
        let trees = &mut self.trees;
        let (tree, classes) = self.places.entry(signature.place()).or_insert_with(|| {
            let emptiest = (0..trees.len())
                .min_by_key(|t| trees[*t].places)
                .unwrap_or(0);
            trees[emptiest].places += 1;
            (emptiest, 0)
        });
        *classes += 1;
        trees[*tree].classes.add(id);
        if let Some(class) = self.classes.get_mut(usize::from(id)) {
            class.signature = signature.clone();
            class.facts = bits;
            class.tree = *tree;
        }
        self.numbers.insert(signature, id);
        id
    }

    /// Takes a node out of its class, which is forgotten with its last node.
    pub(crate) fn leave(&mut self, slot: u32, id: ClassId) {
        let Some(class) = self.classes.get_mut(usize::from(id)) else {
            return;
        };
        if let Some(at) = class.nodes.iter().position(|s| *s == slot) {
            class.nodes.swap_remove(at);
        }
        if !class.nodes.is_empty() {
            return;
        }
        let gone = core::mem::take(class);
        for key in &gone.signature.attrs {
            if let Some(fact) = self.facts.get_mut(key) {
                fact.classes.remove(id);
                if fact.classes.is_empty() {
                    self.facts.remove(key);
                }
            }
        }
        for set in [
            &mut self.all,
            &mut self.partial,
            &mut self.vouched,
            &mut self.unvouched,
        ] {
            set.remove(id);
        }
        if let Some((tree, classes)) = self.places.get_mut(&gone.signature.place()) {
            let tree = &mut self.trees[*tree];
            tree.classes.remove(id);
            *classes -= 1;
            if *classes == 0 {
                tree.places -= 1;
                self.places.remove(&gone.signature.place());
            }
        }
        self.numbers.remove(&gone.signature);
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_bounded_and_forgotten_with_their_last_node() {
        let mut table = Attributes::new();
        let mut classes = Classes::new(Bounds {
            common: 1,
            ..Bounds::USUAL
        });
        let most = Bounds::USUAL.all + 1;
        let mut of = Vec::new();
        for slot in 0..3_000u32 {
            let value = |text: &str, n| alloc::format!("{text}{n}");
            let attrs = [
                table.add(slot, "zone", &value("z", slot % 100)),
                table.add(slot, "rack", &value("r", slot)),
            ];
            of.push(classes.enter(slot, (true, slot % 2 == 0), &attrs, &table, 3_000));
        }
        assert_eq!(classes.numbers.len(), most);
        assert!(classes.facts.len() <= 2 * most, "{}", classes.facts.len());
        for (slot, class) in (0..).zip(of) {
            classes.leave(slot, class);
        }
        assert!(classes.all().is_empty() && classes.facts.is_empty() && classes.places.is_empty());
        assert!(classes.trees.iter().all(|t| t.places == 0));
    }
}
