//! The round-trip time, smoothed as RFC 9002 §5 says.

use core::time::Duration;

/// What is taken for a peer that was never measured.
const UNMEASURED: Duration = Duration::from_millis(333);

/// A smoothed round-trip time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rtt {
    smoothed: Option<Duration>,
    variance: Duration,
}

impl Rtt {
    /// Takes a measurement in.
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

    /// The smoothed time; RFC 9002's 333 ms before anything was measured.
    #[must_use]
    pub fn smoothed(&self) -> Duration {
        self.smoothed.unwrap_or(UNMEASURED)
    }

    /// Whether anything was measured.
    #[must_use]
    pub const fn is_measured(&self) -> bool {
        self.smoothed.is_some()
    }

    /// How much it varies.
    #[must_use]
    pub const fn variance(&self) -> Duration {
        self.variance
    }
}
