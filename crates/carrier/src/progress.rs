//! Peers that are waited for, as long as they move.

use std::time::Duration;

use tokio::time::Instant;

/// What must move within the time that is given: less is no progress, so that a reader that takes a byte now and then does not stay for
/// ever. It is about 140 bytes a second in 30 s.
const LEAST: usize = 4 << 10;

/// Until when something has to move.
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

    /// So many bytes have moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= LEAST {
            self.restart();
        }
    }

    /// Begins anew: what had to move has moved.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    /// So long others were waited for, and not the peer.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.until += time;
    }
}
