//! The smoothed round-trip time of RFC 9002 §5.

use core::time::Duration;

/// Round-trip time of an unmeasured peer.
const UNMEASURED: Duration = Duration::from_millis(333);

/// A smoothed round-trip time.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
}

impl Rtt {
    /// Adds a measurement.
    pub fn sample(&mut self, rtt: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variance = rtt / 2;
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
    }

    /// The smoothed time; RFC 9002's 333 ms before the first measurement.
    #[must_use]
    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(UNMEASURED)
    }

    /// Whether there was a measurement.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.smoothed.is_some()
    }

    /// The smoothed variation.
    #[must_use]
    pub const fn variance(&self) -> Duration {
        self.variance
    }
}
