//! Rows by ID, in pieces that snapshots share: a change copies one piece, not the list.

use std::sync::Arc;

use betanet_fog::TaskId;
use betanet_fog::bodies::{NodeSummary, TaskSummary};
use betanet_wire::NodeId;

/// Rows after which a piece is divided.
const PIECE_MAX: usize = 512;

/// A row with its ID.
pub(crate) trait Keyed: Clone {
    type Id: Copy + Ord;

    fn key(&self) -> Self::Id;
}

impl Keyed for NodeSummary {
    type Id = NodeId;

    fn key(&self) -> NodeId {
        self.id
    }
}

impl Keyed for TaskSummary {
    type Id = TaskId;

    fn key(&self) -> TaskId {
        self.id
    }
}

/// Rows, ascending by ID. Clones share the pieces. No piece is empty.
#[derive(Clone, Debug)]
pub(crate) struct Rows<T> {
    pieces: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Keyed> Rows<T> {
    /// The rows of a list that ascends.
    pub(crate) fn new(mut rows: Vec<T>) -> Self {
        let len = rows.len();
        let mut pieces = Vec::new();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(PIECE_MAX / 2));
            pieces.push(Arc::new(std::mem::replace(&mut rows, rest)));
        }
        Self { pieces, len }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// The place of the piece to which an ID belongs.
    fn place(&self, id: T::Id) -> usize {
        let above = |piece: &Arc<Vec<T>>| piece.first().is_some_and(|row| row.key() <= id);
        self.pieces.partition_point(above).saturating_sub(1)
    }

    pub(crate) fn get(&self, id: T::Id) -> Option<&T> {
        let piece = self.pieces.get(self.place(id))?;
        let at = piece.binary_search_by_key(&id, Keyed::key).ok()?;
        piece.get(at)
    }

    /// Replaces the row of an ID; `None` takes it away.
    pub(crate) fn put(&mut self, id: T::Id, row: Option<T>) {
        let place = self.place(id);
        let Some(piece) = self.pieces.get_mut(place) else {
            if let Some(row) = row {
                self.pieces.push(Arc::new(vec![row]));
                self.len += 1;
            }
            return;
        };
        match (piece.binary_search_by_key(&id, Keyed::key), row) {
            (Ok(at), Some(row)) => {
                if let Some(old) = Arc::make_mut(piece).get_mut(at) {
                    *old = row;
                }
            }
            (Ok(at), None) => {
                Arc::make_mut(piece).remove(at);
                self.len -= 1;
                if piece.is_empty() {
                    self.pieces.remove(place);
                }
            }
            (Err(at), Some(row)) => {
                let rows = Arc::make_mut(piece);
                rows.insert(at, row);
                self.len += 1;
                if rows.len() > PIECE_MAX {
                    let upper = rows.split_off(PIECE_MAX / 2);
                    self.pieces.insert(place + 1, Arc::new(upper));
                }
            }
            (Err(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Keyed for (u32, u32) {
        type Id = u32;

        fn key(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn rows_are_those_of_a_map_whatever_is_put() {
        let first: BTreeMap<u32, (u32, u32)> = (0..2_000).map(|n| (n * 3, (n * 3, 0))).collect();
        let mut rows = Rows::new(first.values().copied().collect());
        let (old, mut map) = (rows.clone(), first.clone());
        let mut seed = 1_u32;
        for n in 1..20_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = (seed >> 8) % 7_000;
            // It shrinks to nothing in the end.
            let row = (seed >> 30 > n / 5_000).then_some((id, n));
            rows.put(id, row);
            match row {
                Some(row) => map.insert(id, row),
                None => map.remove(&id),
            };
            assert_eq!(rows.get(id), row.as_ref());
            assert_eq!(rows.len(), map.len());
        }
        assert!(rows.iter().eq(map.values()));
        assert!(
            rows.pieces
                .iter()
                .all(|p| (1..=PIECE_MAX).contains(&p.len()))
        );
        for id in map.into_keys() {
            rows.put(id, None);
        }
        assert_eq!((rows.len(), rows.pieces.len(), rows.get(3)), (0, 0, None));
        assert!(old.iter().eq(first.values()), "a clone does not change");
    }
}
