//! Waits until a moment that earlier work does not shift.

use std::time::Duration;

use tokio::time::Instant;

/// Longest wait for which a thread may spin.
const SPIN: Duration = Duration::from_micros(100);
/// Maximum number of clock reads while spinning.
const TURNS: u32 = 100_000;

/// Waits until `at`, to the microsecond where the system can.
///
/// An executor's timer counts milliseconds from when its thread went to sleep, so the duration of earlier work would show in
/// the answer to the microsecond. Linux has timers without this effect.
pub async fn until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() && timer(left).await.is_none() {
        tokio::time::sleep_until(at).await;
    }
}

/// Waits until `at` and spins at the end, since no timer is as exact. For clients, which serve nobody else meanwhile.
pub async fn exactly(at: Instant) {
    if let Some(before) = at.checked_sub(SPIN) {
        until(before).await;
    }
    spin(at);
}

/// Spins for a wait shorter than any timer's. Returns whether it did: longer waits are left to [`until`].
pub fn spin(at: Instant) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    if left > SPIN {
        return false;
    }
    // A simulated clock stands still meanwhile.
    for _ in 0..TURNS {
        if Instant::now() >= at {
            break;
        }
        std::hint::spin_loop();
    }
    true
}

/// Waits with the system's timer; `None` if there is none.
#[cfg(target_os = "linux")]
async fn timer(left: Duration) -> Option<()> {
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: left.try_into().ok()?,
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once).ok()?;
    #[expect(
        deprecated,
        reason = "the unsafe function in its place asks that the descriptor stays open and the same, as an owned one does"
    )]
    let timer = AsyncFd::with_interest(timer, Interest::READABLE).ok()?;
    let ready = timer.readable().await;
    ready.ok().map(|_| ())
}

#[cfg(not(target_os = "linux"))]
async fn timer(_: Duration) -> Option<()> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_never_sooner() {
        for micros in [0, 1, 700, 3000] {
            let at = Instant::now() + Duration::from_micros(micros);
            until(at).await;
            assert!(Instant::now() >= at);
            let at = Instant::now() + Duration::from_micros(micros);
            exactly(at).await;
            assert!(Instant::now() >= at);
        }
        assert!(
            !spin(Instant::now() + 2 * SPIN),
            "what is long is left to timers"
        );
        let at = Instant::now() + SPIN / 2;
        assert!(spin(at) && Instant::now() >= at);
        #[cfg(target_os = "linux")]
        assert!(timer(Duration::from_micros(10)).await.is_some());
    }
}
