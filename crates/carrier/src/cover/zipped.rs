//! Pages that are compressed on the way, and kept for who asks next.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::body::{Shown, State, on_disk};
use super::deflate::{Packed, gzip};

/// Shorter pages are sent as they are.
pub(crate) const SHORTEST: u64 = 20;
/// Longer ones too: they would have to be held whole.
pub(crate) const LONGEST: u64 = 4 << 20;
/// Compressed bytes that are kept.
const KEPT: usize = 8 << 20;

/// Pages that are compressed at once.
static PACKING: Semaphore = Semaphore::const_new(2);

type Key = (PathBuf, State);

#[derive(Debug, Default)]
struct Store {
    pages: BTreeMap<Key, Arc<Packed>>,
    /// Oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

/// Compressed pages, up to so many bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<Store>>);

impl Kept {
    fn find(&self, key: &Key) -> Option<Arc<Packed>> {
        let store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        store.pages.get(key).cloned()
    }

    fn keep(&self, key: Key, packed: &Arc<Packed>) {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if packed.bytes.len() > KEPT || store.pages.contains_key(&key) {
            return;
        }
        store.bytes += packed.bytes.len();
        store.order.push_back(key.clone());
        store.pages.insert(key, Arc::clone(packed));
        while store.bytes > KEPT {
            let Some(oldest) = store.order.pop_front() else {
                return;
            };
            if let Some(gone) = store.pages.remove(&oldest) {
                store.bytes -= gone.bytes.len();
            }
        }
    }

    /// The compressed page, made anew where it is not kept.
    async fn get(&self, shown: &Arc<Shown>) -> io::Result<Arc<Packed>> {
        let key = (shown.path.clone(), shown.state);
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let permit = PACKING.acquire().await.map_err(io::Error::other)?;
        if let Some(found) = self.find(&key) {
            return Ok(found);
        }
        let shown = Arc::clone(shown);
        let packed = on_disk(move || {
            let _permit = permit;
            let len = usize::try_from(shown.state.len).map_err(io::Error::other)?;
            Ok(Arc::new(gzip(&shown.read(0, len)?)))
        });
        let packed = packed.await?;
        self.keep(key, &packed);
        Ok(packed)
    }
}

/// A compressed page on its way; it holds none of it.
pub(crate) struct Zipped {
    shown: Arc<Shown>,
    kept: Kept,
    at: usize,
    ended: bool,
}

impl Zipped {
    pub(crate) fn new(shown: Shown, kept: Kept) -> Self {
        Self {
            shown: Arc::new(shown),
            kept,
            at: 0,
            ended: false,
        }
    }

    /// Makes it ready, so that it goes out with the head before it.
    pub(crate) async fn prepare(&self) {
        // What fails here fails again where it is sent.
        let _ = self.kept.get(&self.shown).await;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ended
    }

    /// The next bytes, up to where the server that is imitated ends a piece.
    pub(crate) async fn next(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let packed = self.kept.get(&self.shown).await?;
        let len = packed.bytes.len();
        let end = packed.ends.iter().find(|end| **end > self.at);
        let end = end
            .copied()
            .unwrap_or(len)
            .min(self.at.saturating_add(most));
        let piece = packed.bytes.get(self.at..end);
        let piece = piece.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.at = end;
        self.ended = end == len;
        // A copy: a slice would keep the whole page from being let go.
        Ok(Some(Bytes::copy_from_slice(piece)))
    }
}

/// A page of an error, compressed.
pub(crate) fn page(text: &[u8]) -> Bytes {
    gzip(text).bytes
}
