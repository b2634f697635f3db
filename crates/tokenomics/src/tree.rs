//! The tree over the state: one root for all tables, proofs of presence and of absence.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_keys::hash;

use crate::Hash;

/// Root of no leaves.
pub const NO_ROOT: Hash = [0; 32];
/// Longest path of a proof: a key has so many bits.
pub const PATH_MAX: usize = 256;

/// Key of a leaf: `H(table || key)`.
#[must_use]
pub fn leaf_key(table: u8, key: &[u8]) -> Hash {
    hash(&[&[table], key])
}

/// Hash of a leaf: `H(0x00 || k || value)`.
#[must_use]
pub fn leaf_hash(key: &Hash, value: &[u8]) -> Hash {
    hash(&[&[0], key, value])
}

fn branch_hash(zero: &Hash, one: &Hash) -> Hash {
    hash(&[&[1], zero, one])
}

fn bit(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8)
        .is_some_and(|byte| byte >> (7 - depth % 8) & 1 == 1)
}

/// Where the name of a leaf, its table and key, can be found again.
#[derive(Clone, Debug)]
struct Leaf {
    key: Hash,
    hash: Hash,
    name: Box<[u8]>,
}

#[derive(Clone, Debug)]
struct Branch {
    /// Known until a leaf below changes.
    hash: Option<Hash>,
    sides: [Option<Node>; 2],
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(Box<Leaf>),
    Branch(Box<Branch>),
}

/// A tree of leaves, each a hash under a key. A subtree of one leaf is that leaf.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    root: Option<Node>,
}

/// A leaf that is put, or taken out.
#[derive(Clone, Debug)]
pub struct Change {
    key: Hash,
    leaf: Option<Box<Leaf>>,
}

impl Change {
    /// The leaf of a name, its table and key, gets a value; without one it is taken out.
    #[must_use]
    pub fn new(name: &[u8], value: Option<&[u8]>) -> Self {
        let key = hash(&[name]);
        let leaf = value.map(|value| {
            Box::new(Leaf {
                key,
                hash: leaf_hash(&key, value),
                name: name.into(),
            })
        });
        Self { key, leaf }
    }

    fn lead(&self) -> u64 {
        let first = self.key.first_chunk().copied();
        u64::from_be_bytes(first.unwrap_or_default())
    }
}

/// Path of a leaf, or of the place where it would be.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Path {
    /// Siblings from the root down.
    pub siblings: Vec<Hash>,
    /// Key and name, table and key, of the leaf at that place, if there is one.
    pub leaf: Option<(Hash, Vec<u8>)>,
}

impl Tree {
    /// Puts a leaf, or replaces it. `name` is its table and key.
    pub fn put(&mut self, name: &[u8], value: &[u8]) {
        let key = hash(&[name]);
        let leaf = Box::new(Leaf {
            key,
            hash: leaf_hash(&key, value),
            name: name.into(),
        });
        let root = self.root.take();
        self.root = Some(insert(root, leaf, 0));
    }

    /// Puts a leaf by its key alone, which then has no name.
    pub fn put_key(&mut self, key: Hash, value: &[u8]) {
        let leaf = Box::new(Leaf {
            key,
            hash: leaf_hash(&key, value),
            name: Box::default(),
        });
        let root = self.root.take();
        self.root = Some(insert(root, leaf, 0));
    }

    /// Takes a leaf out, if it is there.
    pub fn remove(&mut self, name: &[u8]) {
        let key = hash(&[name]);
        let root = self.root.take();
        self.root = remove(root, &key, 0);
    }

    /// Makes many changes in one walk, which touches each branch once: much faster than one by one, because neighbours come together.
    /// Of two changes of a leaf the later counts.
    pub fn change(&mut self, mut changes: Vec<Change>) {
        changes.reverse();
        // Keys are hashes: their first bytes nearly always decide.
        changes.sort_by(|a, b| (a.lead().cmp(&b.lead())).then_with(|| a.key.cmp(&b.key)));
        changes.dedup_by(|earlier, kept| earlier.key == kept.key);
        self.root = merge(self.root.take(), &mut changes, 0);
    }

    /// The root.
    pub fn root(&mut self) -> Hash {
        self.root.as_mut().map_or(NO_ROOT, Node::hash)
    }

    /// The path to a key.
    pub fn path(&mut self, key: &Hash) -> Path {
        let mut path = Path::default();
        let mut at = self.root.as_mut();
        while let Some(node) = at {
            match node {
                Node::Leaf(leaf) => {
                    path.leaf = Some((leaf.key, leaf.name.to_vec()));
                    break;
                }
                Node::Branch(branch) => {
                    let [zero, one] = &mut branch.sides;
                    let (next, other) = match bit(key, path.siblings.len()) {
                        false => (zero, one),
                        true => (one, zero),
                    };
                    path.siblings
                        .push(other.as_mut().map_or(NO_ROOT, Node::hash));
                    at = next.as_mut();
                }
            }
        }
        path
    }
}

impl Node {
    fn hash(&mut self) -> Hash {
        match self {
            Self::Leaf(leaf) => leaf.hash,
            Self::Branch(branch) => match branch.hash {
                Some(hash) => hash,
                None => {
                    let [zero, one] = &mut branch.sides;
                    let zero = zero.as_mut().map_or(NO_ROOT, Self::hash);
                    let one = one.as_mut().map_or(NO_ROOT, Self::hash);
                    let hash = branch_hash(&zero, &one);
                    branch.hash = Some(hash);
                    hash
                }
            },
        }
    }
}

fn insert(node: Option<Node>, leaf: Box<Leaf>, depth: usize) -> Node {
    match node {
        None => Node::Leaf(leaf),
        Some(Node::Leaf(old)) if old.key == leaf.key => Node::Leaf(leaf),
        Some(Node::Leaf(old)) => {
            let mut branch = Box::new(Branch {
                hash: None,
                sides: [None, None],
            });
            let place = usize::from(bit(&old.key, depth));
            branch.sides[place] = Some(Node::Leaf(old));
            let side = &mut branch.sides[usize::from(bit(&leaf.key, depth))];
            *side = Some(insert(side.take(), leaf, depth + 1));
            Node::Branch(branch)
        }
        Some(Node::Branch(mut branch)) => {
            branch.hash = None;
            let side = &mut branch.sides[usize::from(bit(&leaf.key, depth))];
            *side = Some(insert(side.take(), leaf, depth + 1));
            Node::Branch(branch)
        }
    }
}

fn remove(node: Option<Node>, key: &Hash, depth: usize) -> Option<Node> {
    match node {
        Some(Node::Leaf(leaf)) if leaf.key == *key => None,
        Some(Node::Branch(mut branch)) => {
            branch.hash = None;
            let side = &mut branch.sides[usize::from(bit(key, depth))];
            *side = remove(side.take(), key, depth + 1);
            closed(branch)
        }
        other => other,
    }
}

/// A branch, or the lone leaf that is left of it.
fn closed(mut branch: Box<Branch>) -> Option<Node> {
    match &mut branch.sides {
        [None, None] => None,
        [lone @ Some(Node::Leaf(_)), None] | [None, lone @ Some(Node::Leaf(_))] => lone.take(),
        _ => Some(Node::Branch(branch)),
    }
}

/// Makes changes whose keys ascend and have the first `depth` bits of this place.
fn merge(node: Option<Node>, changes: &mut [Change], depth: usize) -> Option<Node> {
    match changes {
        [] => node,
        [one] => match one.leaf.take() {
            Some(leaf) => Some(insert(node, leaf, depth)),
            None => remove(node, &one.key, depth),
        },
        _ => {
            let mut branch = match node {
                Some(Node::Branch(branch)) => branch,
                other => {
                    let mut sides = [None, None];
                    if let Some(Node::Leaf(leaf)) = other {
                        let place = usize::from(bit(&leaf.key, depth));
                        sides[place] = Some(Node::Leaf(leaf));
                    }
                    Box::new(Branch { hash: None, sides })
                }
            };
            branch.hash = None;
            let middle = changes.partition_point(|change| !bit(&change.key, depth));
            let (zeros, ones) = changes.split_at_mut(middle);
            let [zero, one] = &mut branch.sides;
            *zero = merge(zero.take(), zeros, depth + 1);
            *one = merge(one.take(), ones, depth + 1);
            closed(branch)
        }
    }
}

/// Checks that a table holds `value` under a key, or nothing if `value` is `None`.
///
/// `path` holds the siblings from the root down. `other` is the leaf, key and value, that stands where an absent one would be.
#[must_use]
pub fn verify_state(
    root: &Hash,
    (table, key): (u8, &[u8]),
    value: Option<&[u8]>,
    path: &[Hash],
    other: Option<(&Hash, &[u8])>,
) -> bool {
    if path.len() > PATH_MAX {
        return false;
    }
    let key = leaf_key(table, key);
    let start = match (value, other) {
        (Some(value), None) => leaf_hash(&key, value),
        (None, None) => NO_ROOT,
        (None, Some((standing, value))) => {
            let near = (0..path.len()).all(|d| bit(standing, d) == bit(&key, d));
            if !near || *standing == key {
                return false;
            }
            leaf_hash(standing, value)
        }
        (Some(_), Some(_)) => return false,
    };
    let fold = |below: Hash, (depth, sibling): (usize, &Hash)| match bit(&key, depth) {
        false => branch_hash(&below, sibling),
        true => branch_hash(sibling, &below),
    };
    path.iter().enumerate().rev().fold(start, fold) == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_changes_at_once_give_the_tree_of_the_same_changes_one_by_one() {
        let (mut single, mut many) = (Tree::default(), Tree::default());
        for round in 0..200_u64 {
            let mut changes = Vec::new();
            for n in 0..round {
                let drawn = hash(&[&round.to_be_bytes(), &n.to_be_bytes()]);
                // Few names, so that leaves are replaced, taken out, and changed twice in a round.
                let (name, byte) = ([drawn[0] % 150], drawn[1]);
                if byte < 100 {
                    single.remove(&name);
                    changes.push(Change::new(&name, None));
                } else {
                    single.put(&name, &[byte]);
                    changes.push(Change::new(&name, Some(&[byte])));
                }
            }
            many.change(changes);
            assert_eq!(single.root(), many.root(), "round {round}");
            let key = hash(&[&round.to_be_bytes()]);
            assert_eq!(single.path(&key), many.path(&key));
        }
        let all = (0..150_u8).map(|name| Change::new(&[name], None));
        many.change(all.collect());
        assert_eq!(many.root(), NO_ROOT);
    }
}
