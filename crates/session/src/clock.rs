use std::time::{Duration, SystemTime};

use betanet_machine::{Next, Now, Seed, Time};
use tokio::time::Instant;

use crate::Error;

/// Interval at which timers of a machine are checked while nothing takes its transmits.
const STUCK: Duration = Duration::from_secs(1);
/// Interval at which a machine is polled that waits for nothing.
const IDLE: Duration = Duration::from_secs(60);

/// Converts the system's clocks to those of the state machines. The monotonic time comes from the executor's clock. A machine's
/// time and the timer that wakes it then share one clock, also in tests that pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts a clock whose zero is now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(self) -> Now {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Now::new(
            Time::ZERO + self.0.elapsed(),
            u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        )
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Returns when to drive a machine again after `next`, unless something happens earlier.
    #[must_use]
    pub fn again(self, next: Next) -> Instant {
        match next {
            Next::Again => Instant::now(),
            Next::Wait(Some(at)) => self.instant(at),
            Next::Stuck => Instant::now() + STUCK,
            Next::Wait(None) | Next::Over => Instant::now() + IDLE,
        }
    }

    /// Converts a machine's time to the executor's.
    pub fn instant(self, at: Time) -> Instant {
        self.0 + (at - Time::ZERO)
    }
}

/// Draws a seed from the system's randomness.
///
/// # Errors
///
/// [`Error::Entropy`]: the system has no randomness, so no secret may be generated.
pub fn seed() -> Result<Seed, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::Entropy)?;
    let seed = Seed::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(seed)
}
