//! Waits for peers as long as they make progress.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum progress within the given time. It prevents a reader of single bytes from staying for ever, and is about 140 bytes
/// per second in 30 s.
const LEAST: usize = 4 << 10;

/// Deadline for progress.
pub(crate) struct Progress {
    limit: Duration,
    until: Instant,
    moved: usize,
}

impl Progress {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            until: Instant::now() + limit,
            moved: 0,
        }
    }

    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Records that bytes have moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= LEAST {
            self.restart();
        }
    }

    /// Restarts the deadline after sufficient progress.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Extends the deadline by a wait for which the peer was not responsible.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.until += time;
    }
}
