use alloc::vec::Vec;

use crate::edge::fold;
use crate::{Edge, Error, Hash, Memory, Nodes, Proof, empty_root, leaf_hash};

/// An append-only log of records, of which it keeps the hashes.
#[derive(Clone, Debug)]
pub struct Log<N> {
    nodes: N,
    edge: Edge,
}

impl<N: Nodes> Log<N> {
    /// An empty log over an empty store.
    #[must_use]
    pub fn new(nodes: N) -> Self {
        Self {
            nodes,
            edge: Edge::default(),
        }
    }

    /// A log over a store that holds `size` records.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`].
    pub fn open(nodes: N, size: u64) -> Result<Self, Error> {
        let mut this = Self::new(nodes);
        this.edge = this.edge_at(size)?;
        Ok(this)
    }

    /// Number of records.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The store.
    #[must_use]
    pub const fn nodes(&self) -> &N {
        &self.nodes
    }

    /// Root of all records.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The right edge.
    #[must_use]
    pub const fn edge(&self) -> &Edge {
        &self.edge
    }

    /// Appends a record and returns its index.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]; the log is unchanged.
    pub fn append(&mut self, record: &[u8]) -> Result<u64, Error> {
        self.append_leaf(leaf_hash(record))
    }

    /// Appends a record by its [`leaf_hash`] and returns its index.
    ///
    /// # Errors
    ///
    /// [`Error::Store`]; the log is unchanged.
    pub fn append_leaf(&mut self, leaf: Hash) -> Result<u64, Error> {
        let index = self.edge.size();
        let nodes = &mut self.nodes;
        self.edge.push(leaf, |l, i, hash| nodes.put(l, i, hash))?;
        Ok(index)
    }

    /// Takes back every record from index `size` on. A caller does so only with records that no signed head covers.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] or [`Error::Missing`]; the log is unchanged.
    pub fn truncate(&mut self, size: u64) -> Result<(), Error> {
        let edge = self.edge_at(self.within(size)?)?;
        self.nodes.truncate(size);
        self.edge = edge;
        Ok(())
    }

    /// Hash of the record at an index.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] or [`Error::Missing`].
    pub fn leaf(&self, index: u64) -> Result<Hash, Error> {
        self.below(index, self.size())?;
        self.node(0, index)
    }

    /// Root of the first `size` records.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] or [`Error::Missing`].
    pub fn root_at(&self, size: u64) -> Result<Hash, Error> {
        match self.within(size)? {
            0 => Ok(empty_root()),
            size => self.range(0, size),
        }
    }

    /// Proves that the record at `index` is one of the first `size`.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] or [`Error::Missing`].
    pub fn inclusion(&self, index: u64, size: u64) -> Result<Proof, Error> {
        self.below(index, self.within(size)?)?;
        let mut path = Vec::new();
        let (mut low, mut high) = (0, size);
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        path.reverse();
        Ok(Proof::of(path))
    }

    /// Proves that the first `from` records are the beginning of the first `to`. The proof is empty where `from` is 0 or `to`.
    ///
    /// # Errors
    ///
    /// [`Error::Range`] or [`Error::Missing`].
    pub fn consistency(&self, from: u64, to: u64) -> Result<Proof, Error> {
        if from > self.within(to)? {
            let (asked, size) = (from, to);
            return Err(Error::Range { asked, size });
        }
        let mut path = Vec::new();
        if from == 0 {
            return Ok(Proof::of(path));
        }
        let (mut low, mut high) = (0, to);
        while from != high {
            let middle = low + split(high - low);
            if from <= middle {
                path.push(self.range(middle, high)?);
                high = middle;
            } else {
                path.push(self.range(low, middle)?);
                low = middle;
            }
        }
        // The older root itself is known where its last subtree is the whole of it.
        if low > 0 {
            path.push(self.range(low, high)?);
        }
        path.reverse();
        Ok(Proof::of(path))
    }

    fn within(&self, size: u64) -> Result<u64, Error> {
        let (asked, has) = (size, self.size());
        match asked <= has {
            true => Ok(size),
            false => Err(Error::Range { asked, size: has }),
        }
    }

    const fn below(&self, index: u64, size: u64) -> Result<(), Error> {
        match index < size {
            true => Ok(()),
            false => Err(Error::Range { asked: index, size }),
        }
    }

    fn node(&self, level: u8, index: u64) -> Result<Hash, Error> {
        let missing = Error::Missing { level, index };
        self.nodes.get(level, index).ok_or(missing)
    }

    /// Roots of the complete subtrees that cover the records from `low` to before `high`, largest first. `low` is a multiple of a
    /// power of two that is at least their number.
    fn roots(&self, low: u64, high: u64) -> Result<Vec<Hash>, Error> {
        let mut out = Vec::new();
        let mut at = low;
        while at < high {
            let level = (high - at).ilog2();
            let place = u8::try_from(level).unwrap_or(u8::MAX);
            out.push(self.node(place, at >> level)?);
            at += 1 << level;
        }
        Ok(out)
    }

    fn range(&self, low: u64, high: u64) -> Result<Hash, Error> {
        let roots = self.roots(low, high)?;
        Ok(fold(&roots).unwrap_or_else(empty_root))
    }

    fn edge_at(&self, size: u64) -> Result<Edge, Error> {
        let roots = self.roots(0, size)?;
        Edge::new(size, roots).ok_or(Error::Store)
    }
}

impl Log<Memory> {
    /// Writes a snapshot of the first `size` records: DET-CBOR `{"v": 1, "root": bstr[32], "leaves": bstr}`, 32 bytes a record.
    ///
    /// # Errors
    ///
    /// [`Error::Range`].
    pub fn snapshot(&self, size: u64) -> Result<Vec<u8>, Error> {
        let root = self.root_at(size)?;
        Ok(self.nodes.snapshot(size, &root))
    }

    /// Reads a snapshot, computes the upper levels, and compares the root.
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::Version`] or [`Error::Root`].
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, Error> {
        let (nodes, edge) = Memory::from_snapshot(bytes)?;
        Ok(Self { nodes, edge })
    }
}

/// The largest power of two below `n`, which is at least 2.
const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}
