use alloc::vec::Vec;

use betanet_wire::{cbor, message};

use crate::{Edge, Error, Hash};

/// Storage of a log's hashes: the port between the tree and whatever keeps it.
///
/// Level 0 holds the hashes of the records. Level `l` holds the hashes of complete subtrees of `2^l` records; subtree `i` covers the
/// records from `i * 2^l`. Incomplete subtrees are not stored.
pub trait Nodes {
    /// The hash at a level and index; `None` if the store lacks it.
    fn get(&self, level: u8, index: u64) -> Option<Hash>;

    /// Stores a hash. Indices of one level rise by one, except that [`Nodes::truncate`] takes them back.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]. The caller may put the same place again later.
    fn put(&mut self, level: u8, index: u64, hash: &Hash) -> Result<(), Error>;

    /// Forgets every subtree that reaches beyond the first `size` records.
    fn truncate(&mut self, size: u64);
}

/// The hashes of a log in memory: one vector for each level. It takes 64 bytes a record.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    levels: Vec<Vec<Hash>>,
}

impl Nodes for Memory {
    fn get(&self, level: u8, index: u64) -> Option<Hash> {
        let index = usize::try_from(index).ok()?;
        self.levels.get(usize::from(level))?.get(index).copied()
    }

    fn put(&mut self, level: u8, index: u64, hash: &Hash) -> Result<(), Error> {
        let level = usize::from(level);
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let hashes = self.levels.get_mut(level).ok_or(Error::Store)?;
        let index = usize::try_from(index).map_err(|_| Error::Store)?;
        if index == hashes.len() {
            hashes.push(*hash);
        } else {
            *hashes.get_mut(index).ok_or(Error::Store)? = *hash;
        }
        Ok(())
    }

    fn truncate(&mut self, size: u64) {
        let mut left = usize::try_from(size).unwrap_or(usize::MAX);
        for level in &mut self.levels {
            level.truncate(left);
            left /= 2;
        }
        self.levels.retain(|level| !level.is_empty());
    }
}

message! {
    struct Snapshot<'a> {
        req "v" version: u64,
        req "root" root: &'a Hash,
        req "leaves" leaves: &'a [u8],
    }
}

/// Version of a snapshot.
const VERSION: u64 = 1;

impl Memory {
    /// Writes the hashes of the records and the log's root: DET-CBOR `{"v": 1, "root": bstr[32], "leaves": bstr}`.
    pub(crate) fn snapshot(&self, size: u64, root: &Hash) -> Vec<u8> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let leaves = self.levels.first().map_or(&[][..], Vec::as_slice);
        let leaves = &leaves[..size.min(leaves.len())];
        cbor::to_vec(&Snapshot {
            version: VERSION,
            root,
            leaves: leaves.as_flattened(),
        })
    }

    /// Reads a snapshot and computes the upper levels. The memory taken is at most three times that of `bytes`.
    pub(crate) fn from_snapshot(bytes: &[u8]) -> Result<(Self, Edge), Error> {
        let snapshot: Snapshot<'_> = cbor::from_slice(bytes)?;
        if snapshot.version != VERSION {
            return Err(Error::Version(snapshot.version));
        }
        let (leaves, rest) = snapshot.leaves.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(Error::Form(cbor::Error::Range("hashes of 32 bytes")));
        }
        let mut this = Self {
            levels: Vec::from([Vec::with_capacity(leaves.len())]),
        };
        let mut edge = Edge::default();
        for leaf in leaves {
            edge.push(*leaf, |level, index, hash| this.put(level, index, hash))?;
        }
        this.levels.retain(|level| !level.is_empty());
        if edge.root() != *snapshot.root {
            return Err(Error::Root);
        }
        Ok((this, edge))
    }
}
