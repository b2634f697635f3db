//! Pages that are compressed for sending, and cached.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::body::{Shown, State, on_disk};
use super::deflate::{Packed, gzip};

/// Minimum length of a page to be compressed.
pub(crate) const SHORTEST: u64 = 20;
/// Maximum length of a page to be compressed: it must be held whole.
pub(crate) const LONGEST: u64 = 4 << 20;
/// Maximum number of cached compressed bytes.
const KEPT: usize = 8 << 20;

/// Limits the number of pages compressed at once.
static PACKING: Semaphore = Semaphore::const_new(2);

type Key = (PathBuf, State);

#[derive(Debug, Default)]
struct Store {
    pages: BTreeMap<Key, Arc<Packed>>,
    /// Cache keys, oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

/// Cache of compressed pages, bounded in bytes.
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

    /// Returns the compressed page, made anew if it is not cached.
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

/// A compressed page being sent; it holds no part of it.
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

    /// Compresses the page now, so that it goes out with the head before it.
    pub(crate) async fn prepare(&self) {
        // An error here occurs again when the page is sent.
        let _ = self.kept.get(&self.shown).await;
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ended
    }

    /// The next bytes, up to the end of a piece of the imitated server.
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
        // Copied: a slice would keep the whole page in memory.
        Ok(Some(Bytes::copy_from_slice(piece)))
    }
}

/// Compresses an error page.
pub(crate) fn page(text: &[u8]) -> Bytes {
    gzip(text).bytes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cover::body::open;
    use crate::files::Folder;

    /// A page of a folder, as served.
    fn shown(folder: &Path, name: &str, text: &str) -> Arc<Shown> {
        std::fs::write(folder.join(name), text).unwrap();
        let folder = Folder::open(folder).unwrap();
        let (_, meta) = open(&folder, Path::new(name)).unwrap();
        Arc::new(Shown {
            folder,
            path: name.into(),
            state: State::of(&meta),
        })
    }

    #[test]
    fn compressed_pages_of_8_mib_are_kept_and_the_oldest_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let state = shown(root.path(), "page.html", "page").state;
        let key = |n: usize| (PathBuf::from(format!("{n}.html")), state);
        let packed = |len| {
            Arc::new(Packed {
                bytes: vec![0; len].into(),
                ends: Vec::new(),
            })
        };
        let kept = Kept::default();
        let sum = || {
            let store = kept.0.lock().unwrap();
            let sum = store.pages.values().map(|p| p.bytes.len()).sum::<usize>();
            assert_eq!((sum, store.pages.len()), (store.bytes, store.order.len()));
            sum
        };
        let len = 100_000;
        let fit = KEPT / len;
        for n in 0..3 * fit {
            // Two concurrent requests for one page compress it twice.
            kept.keep(key(n), &packed(len));
            kept.keep(key(n), &packed(len));
            assert!(sum() <= 8 << 20, "{}", sum());
        }
        let there: Vec<bool> = (0..3 * fit).map(|n| kept.find(&key(n)).is_some()).collect();
        assert!(there[..2 * fit].iter().all(|there| !there));
        assert!(there[2 * fit..].iter().all(|there| *there));
        // A page that is too long evicts none.
        kept.keep(key(9_999), &packed(KEPT + 1));
        assert_eq!(sum(), fit * len);
    }

    #[tokio::test(start_paused = true)]
    async fn two_pages_are_compressed_at_once() {
        use tokio::time::{Duration, timeout};

        let root = tempfile::tempdir().unwrap();
        let page = shown(root.path(), "page.html", &"a page ".repeat(100));
        let kept = Kept::default();
        let busy = PACKING.acquire_many(2).await.unwrap();
        // The simulated clock advances only while no thread is busy.
        let waits = timeout(Duration::from_secs(60), kept.get(&page)).await;
        assert!(waits.is_err());
        drop(busy);
        let packed = kept.get(&page).await.unwrap();
        assert!(packed.bytes.starts_with(&[0x1f, 0x8b]));
    }
}
