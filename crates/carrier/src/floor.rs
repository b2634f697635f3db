//! Waiting until a moment that what happens in between does not move.

use std::time::Duration;

use tokio::time::Instant;

/// Waits until then, to the microsecond where the system can.
///
/// An executor's timer counts milliseconds from when its thread went to sleep: whatever was done before that, to the microsecond,
/// would show in the answer. Linux has timers that do not.
pub async fn until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() && exactly(left).await.is_none() {
        tokio::time::sleep_until(at).await;
    }
}

/// `None` where there is no such timer.
#[cfg(target_os = "linux")]
async fn exactly(left: Duration) -> Option<()> {
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
async fn exactly(_: Duration) -> Option<()> {
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
        }
        #[cfg(target_os = "linux")]
        assert!(exactly(Duration::from_micros(10)).await.is_some());
    }
}
