use alloc::vec::Vec;

use crate::{Hash, empty_root, node_hash};

/// The right edge of a log: the roots of its complete subtrees, at most 64, largest first. It appends and gives the root without
/// the rest of the log.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// The edge of a log of `size` records whose complete subtrees have these roots, largest first; `None` if their number is not
    /// that of the set bits of `size`.
    #[must_use]
    pub fn new(size: u64, roots: Vec<Hash>) -> Option<Self> {
        let fits = roots.len() == size.count_ones() as usize;
        fits.then_some(Self { size, roots })
    }

    /// Number of records.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record's hash. `complete` is told each subtree that this completes: level, index within the level, hash.
    ///
    /// Stops where `complete` refuses; the edge is then unchanged.
    ///
    /// # Errors
    ///
    /// Those of `complete`.
    pub fn push<E>(
        &mut self,
        leaf: Hash,
        mut complete: impl FnMut(u8, u64, &Hash) -> Result<(), E>,
    ) -> Result<(), E> {
        let joined = self.size.trailing_ones() as usize;
        let kept = self.roots.len().saturating_sub(joined);
        let (mut hash, mut level, mut index) = (leaf, 0, self.size);
        complete(level, index, &hash)?;
        for left in self.roots[kept..].iter().rev() {
            hash = node_hash(left, &hash);
            level += 1;
            index >>= 1;
            complete(level, index, &hash)?;
        }
        self.roots.truncate(kept);
        self.roots.push(hash);
        self.size += 1;
        Ok(())
    }

    /// Appends a record's hash.
    pub fn append(&mut self, leaf: Hash) {
        let taken: Result<(), core::convert::Infallible> = self.push(leaf, |_, _, _| Ok(()));
        match taken {
            Ok(()) => {}
        }
    }

    /// Root of the log.
    #[must_use]
    pub fn root(&self) -> Hash {
        fold(&self.roots).unwrap_or_else(empty_root)
    }
}

/// Joins the roots of neighbouring complete subtrees, largest first; `None` if there are none.
pub(crate) fn fold(roots: &[Hash]) -> Option<Hash> {
    let (last, before) = roots.split_last()?;
    let join = |right: Hash, left: &Hash| node_hash(left, &right);
    Some(before.iter().rev().fold(*last, join))
}
