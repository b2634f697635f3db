//! How busy a node is that carries streams of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use betanet_path::{Cf, Ecn};
use tokio::time::{Instant, sleep_until};

/// Between two measurements.
const EVERY: Duration = Duration::from_millis(250);
/// By how much a task has to run late, smoothed, for the two levels.
const MODERATE: Duration = Duration::from_millis(20);
const SEVERE: Duration = Duration::from_millis(100);

/// Measures how late tasks run, which is what all streams over this node wait for. Ends with its last holder.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Smoothed over eight measurements, in microseconds.
    late: AtomicU64,
    /// Pieces of streams that wait to go on.
    waiting: AtomicU32,
}

/// A piece that waits, until this is dropped.
pub(crate) struct Waits<'a>(&'a Load);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Begins to measure.
    pub(crate) fn start() -> Arc<Self> {
        let load = Arc::new(Self::default());
        let weak = Arc::downgrade(&load);
        tokio::spawn(async move {
            loop {
                let due = Instant::now() + EVERY;
                sleep_until(due).await;
                let Some(load) = weak.upgrade() else { return };
                load.ran_late(due.elapsed());
            }
        });
        load
    }

    fn ran_late(&self, by: Duration) {
        let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let before = self.late.load(Ordering::Relaxed);
        self.late
            .store(before - before / 8 + by / 8, Ordering::Relaxed);
    }

    pub(crate) fn waits(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waits(self)
    }

    /// The level, and how many pieces of streams wait. A carrier that repeats what is lost knows of no loss, and this
    /// node does not know the asker's round-trip time: both are zero.
    pub(crate) fn feedback(&self) -> Cf {
        let late = Duration::from_micros(self.late.load(Ordering::Relaxed));
        let ecn = match late {
            l if l >= SEVERE => Ecn::Severe,
            l if l >= MODERATE => Ecn::Moderate,
            _ => Ecn::None,
        };
        let waiting = self.waiting.load(Ordering::Relaxed);
        Cf {
            ecn,
            queue: u16::try_from(waiting).unwrap_or(u16::MAX),
            ..Cf::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_how_late_tasks_run() {
        let load = Arc::new(Load::default());
        assert_eq!(load.feedback(), Cf::default());
        for (ms, ecn) in [(30, Ecn::Moderate), (400, Ecn::Severe), (0, Ecn::None)] {
            for _ in 0..40 {
                load.ran_late(Duration::from_millis(ms));
            }
            assert_eq!(load.feedback().ecn, ecn, "{ms} ms");
        }
        let waits = load.waits();
        assert_eq!(load.feedback().queue, 1);
        drop(waits);
        assert_eq!(load.feedback().queue, 0);
    }
}
