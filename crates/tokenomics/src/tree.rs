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
            match &mut branch.sides {
                [None, None] => None,
                [lone @ Some(Node::Leaf(_)), None] | [None, lone @ Some(Node::Leaf(_))] => {
                    lone.take()
                }
                _ => Some(Node::Branch(branch)),
            }
        }
        other => other,
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
