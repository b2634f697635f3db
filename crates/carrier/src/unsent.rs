//! Counts a site's answer bytes that were read and not yet sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Contribution of one answer to the count, until it is dropped.
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

    /// Sets the number of waiting bytes of the answer.
    pub(crate) fn set(&mut self, bytes: usize) {
        let now = bytes as u64;
        // Added before the subtraction, so that the total never underflows.
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
