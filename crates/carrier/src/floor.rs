//! Waiting until a moment that what happens in between does not move.

use std::time::Duration;

use tokio::time::Instant;

/// The longest wait that is worth a thread.
const SPIN: Duration = Duration::from_micros(100);
/// More often than the clock can be read meanwhile.
const TURNS: u32 = 100_000;

/// Waits until then, to the microsecond where the system can.
///
/// An executor's timer counts milliseconds from when its thread went to sleep: whatever was done before that, to the microsecond,
/// would show in the answer. Linux has timers that do not.
pub async fn until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() && timer(left).await.is_none() {
        tokio::time::sleep_until(at).await;
    }
}

/// Waits until then, and keeps the thread for the last of it: no timer is as exact. For a client, which has nobody else to serve.
pub async fn exactly(at: Instant) {
    if let Some(before) = at.checked_sub(SPIN) {
        until(before).await;
    }
    spin(at);
}

/// Waits for less than any timer can, and keeps the thread. Whether it did: what is longer is left to [`until`].
pub fn spin(at: Instant) -> bool {
    let left = at.saturating_duration_since(Instant::now());
    if left > SPIN {
        return false;
    }
    // A clock that is driven by hand stands still meanwhile.
    for _ in 0..TURNS {
        if Instant::now() >= at {
            break;
        }
        std::hint::spin_loop();
    }
    true
}

/// `None` where there is no such timer.
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
