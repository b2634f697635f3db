use std::time::{Duration, SystemTime};

use betanet_machine::{Next, Now, Seed, Time};
use tokio::time::Instant;

use crate::Error;

/// How often the timers of a machine are looked at whose transmits nobody takes.
const STUCK: Duration = Duration::from_secs(1);
/// How often a machine is looked at that waits for nothing.
const IDLE: Duration = Duration::from_secs(60);

/// Turns the system's clocks into the machines'. The executor's clock is the first: a machine's time and the timer that wakes for it
/// are then of one clock, in tests that stop it as well.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero, now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Both clocks.
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

    /// When a machine that was driven is driven again, unless something comes before.
    #[must_use]
    pub fn again(self, next: Next) -> Instant {
        match next {
            Next::Again => Instant::now(),
            Next::Wait(Some(at)) => self.instant(at),
            Next::Stuck => Instant::now() + STUCK,
            Next::Wait(None) | Next::Over => Instant::now() + IDLE,
        }
    }

    /// When the executor has to wake for a machine's time.
    pub fn instant(self, at: Time) -> Instant {
        self.0 + (at - Time::ZERO)
    }
}

/// A seed from the system's randomness.
///
/// # Errors
///
/// [`Error::Entropy`]: the system has none, and nothing secret may be made.
pub fn seed() -> Result<Seed, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::Entropy)?;
    let seed = Seed::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(seed)
}
