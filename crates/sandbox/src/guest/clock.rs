//! The time and the randomness that a guest reads.

use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::stop::{Answer, Errno};

/// How far each reading moves a virtual clock on, in nanoseconds. A guest that waits for time to pass so comes to an end.
pub(crate) const STEP: u64 = 10_000;

/// A clock in nanoseconds.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Moves by a fixed step with each reading, and by as much as a guest sleeps.
    Virtual { start: u64, passed: u64 },
    /// The machine's.
    Real,
}

impl Clock {
    pub(crate) fn virtual_at(start_ms: u64) -> Self {
        Self::Virtual {
            start: start_ms.saturating_mul(1_000_000),
            passed: 0,
        }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual { .. })
    }

    /// Time since the guest's start, or since the machine's.
    pub(crate) fn monotonic(&mut self) -> u64 {
        match self {
            Self::Virtual { passed, .. } => {
                *passed = passed.saturating_add(STEP);
                *passed
            }
            Self::Real => nanos(clock_gettime(ClockId::Monotonic)),
        }
    }

    /// Time since 1970.
    pub(crate) fn wall(&mut self) -> u64 {
        match *self {
            Self::Virtual { start, .. } => start.saturating_add(self.monotonic()),
            Self::Real => nanos(clock_gettime(ClockId::Realtime)),
        }
    }

    pub(crate) fn resolution(&self) -> u64 {
        if self.is_virtual() { STEP } else { 1 }
    }

    /// The virtual clock's present, without moving it.
    pub(crate) fn passed(&self) -> Option<u64> {
        match self {
            Self::Virtual { passed, .. } => Some(*passed),
            Self::Real => None,
        }
    }

    /// Moves a virtual clock on to a moment; it never goes back.
    pub(crate) fn advance(&mut self, to: u64) {
        if let Self::Virtual { passed, .. } = self {
            *passed = to.max(*passed);
        }
    }
}

pub(crate) fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Randomness from a seed, or the system's.
pub(crate) enum Random {
    Seeded(Box<ChaCha20Rng>),
    Real,
}

impl Random {
    pub(crate) fn seeded(seed: [u8; 32]) -> Self {
        Self::Seeded(Box::new(ChaCha20Rng::from_seed(seed)))
    }

    pub(crate) fn fill(&mut self, into: &mut [u8]) -> Answer<()> {
        match self {
            Self::Seeded(rng) => rng.fill_bytes(into),
            Self::Real => getrandom::fill(into).map_err(|_| Errno::Io)?,
        }
        Ok(())
    }
}
