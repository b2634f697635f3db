//! Load of a node that relays streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use betanet_path::{Cf, Ecn};
use tokio::time::{Instant, sleep_until};

/// Interval between two measurements.
const EVERY: Duration = Duration::from_millis(250);
/// Smoothed delay of tasks above which the load has the first or the second level.
const MODERATE: Duration = Duration::from_millis(20);
const SEVERE: Duration = Duration::from_millis(100);

/// Measures the delay of tasks, which affects all streams over this node. Ends with its last holder.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Delay in microseconds, smoothed over eight measurements.
    late: AtomicU64,
    /// Number of stream pieces that wait to be sent on.
    waiting: AtomicU32,
}

/// A waiting piece, counted until this is dropped.
pub(crate) struct Waits<'a>(&'a Load);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Starts the measurement.
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

    /// Returns the load level and the number of waiting pieces. The carrier hides losses, and this node does not know the asker's
    /// round-trip time, so both of these are zero.
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
