//! Attributes of nodes as numbers, and which nodes have each value.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Number of an attribute's name.
pub(crate) type KeyId = u32;

/// Number of one value of one attribute.
pub(crate) type ValueId = u32;

/// Attributes that every node has, by their number.
pub(crate) const BUILT_IN: [&str; 5] = ["kind", "model", "org", "region", "zone"];

/// Number of `org`.
pub(crate) const ORG: KeyId = 2;
/// Number of `region`.
pub(crate) const REGION: KeyId = 3;
/// Number of `zone`.
pub(crate) const ZONE: KeyId = 4;

#[derive(Debug, Default)]
struct Name {
    text: Box<str>,
    values: BTreeMap<Box<str>, ValueId>,
}

#[derive(Debug, Default)]
struct Value {
    text: Box<str>,
    nodes: BTreeSet<u32>,
}

/// The table of names and values in use. What no node has any more is forgotten.
#[derive(Debug)]
pub(crate) struct Attributes {
    numbers: BTreeMap<Box<str>, KeyId>,
    names: Vec<Name>,
    free_names: Vec<KeyId>,
    values: Vec<Value>,
    free_values: Vec<ValueId>,
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl Attributes {
    pub(crate) fn new() -> Self {
        let mut new = Self {
            numbers: BTreeMap::new(),
            names: Vec::new(),
            free_names: Vec::new(),
            values: Vec::new(),
            free_values: Vec::new(),
        };
        for text in BUILT_IN {
            new.name(text);
        }
        new
    }

    /// Number of a name that some node has.
    pub(crate) fn key(&self, name: &str) -> Option<KeyId> {
        self.numbers.get(name).copied()
    }

    /// Number of a value that some node has.
    pub(crate) fn value(&self, key: KeyId, value: &str) -> Option<ValueId> {
        let name = self.names.get(index(key))?;
        name.values.get(value).copied()
    }

    /// Nodes with the value, ascending by slot.
    pub(crate) fn nodes(&self, value: ValueId) -> impl Iterator<Item = u32> + '_ {
        let found = self.values.get(index(value));
        found.into_iter().flat_map(|v| v.nodes.iter().copied())
    }

    /// Number of nodes with the value.
    pub(crate) fn count(&self, value: ValueId) -> usize {
        self.values.get(index(value)).map_or(0, |v| v.nodes.len())
    }

    fn name(&mut self, text: &str) -> KeyId {
        if let Some(key) = self.numbers.get(text) {
            return *key;
        }
        let key = self.free_names.pop().unwrap_or_else(|| {
            self.names.push(Name::default());
            number(self.names.len() - 1)
        });
        if let Some(name) = self.names.get_mut(index(key)) {
            name.text = text.into();
        }
        self.numbers.insert(text.into(), key);
        key
    }

    /// Adds a node to those with this value.
    pub(crate) fn add(&mut self, slot: u32, name: &str, value: &str) -> (KeyId, ValueId) {
        let key = self.name(name);
        let found = self.value(key, value);
        let id = found.unwrap_or_else(|| {
            self.free_values.pop().unwrap_or_else(|| {
                self.values.push(Value::default());
                number(self.values.len() - 1)
            })
        });
        if found.is_none()
            && let Some(name) = self.names.get_mut(index(key))
        {
            name.values.insert(value.into(), id);
        }
        if let Some(entry) = self.values.get_mut(index(id)) {
            if found.is_none() {
                entry.text = value.into();
            }
            entry.nodes.insert(slot);
        }
        (key, id)
    }

    /// Takes a node from those with this value.
    pub(crate) fn remove(&mut self, slot: u32, (key, id): (KeyId, ValueId)) {
        let Some(value) = self.values.get_mut(index(id)) else {
            return;
        };
        if !value.nodes.remove(&slot) || !value.nodes.is_empty() {
            return;
        }
        let text = core::mem::take(&mut value.text);
        self.free_values.push(id);
        let Some(name) = self.names.get_mut(index(key)) else {
            return;
        };
        name.values.remove(&text);
        if name.values.is_empty() && index(key) >= BUILT_IN.len() {
            self.numbers.remove(&name.text);
            name.text = Box::default();
            self.free_names.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_back_with_the_last_node() {
        let mut a = Attributes::new();
        let ssd = a.add(1, "disk", "ssd");
        assert_eq!(a.add(2, "disk", "ssd"), ssd);
        let hdd = a.add(3, "disk", "hdd");
        assert_eq!(a.nodes(ssd.1).collect::<Vec<_>>(), [1, 2]);
        a.remove(1, ssd);
        a.remove(2, ssd);
        assert_eq!(a.value(ssd.0, "ssd"), None);
        a.remove(3, hdd);
        assert_eq!(a.key("disk"), None);
        assert_eq!(a.add(4, "rack", "7").0, ssd.0);
        assert_eq!(a.key("zone"), Some(ZONE));
        assert_eq!((a.key("org"), a.key("region")), (Some(ORG), Some(REGION)));
    }
}
