//! Bytes of answers that were read and have not left, as a site counts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one answer adds to that number, until it is dropped.
pub(crate) struct Unsent {
    all: Arc<AtomicU64>,
    own: u64,
}

impl Unsent {
    /// An answer of which nothing was read yet.
    pub(crate) fn new(all: &Arc<AtomicU64>) -> Self {
        let all = Arc::clone(all);
        Self { all, own: 0 }
    }

    /// So many bytes of it wait now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let now = bytes as u64;
        // What is added and what is taken away: the sum of all is never less than nothing.
        self.all.fetch_add(now, Ordering::Relaxed);
        self.all.fetch_sub(self.own, Ordering::Relaxed);
        self.own = now;
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.set(0);
    }
}
