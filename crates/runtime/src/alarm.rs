//! An alarm that wakes a session's task when there is work for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// An alarm. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarm(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Alarm {
    /// Wakes the task.
    pub(crate) fn ring(&self) {
        self.0.rung.store(true, Ordering::Release);
        self.0.waker.wake();
    }

    /// Returns whether both are clones of the same alarm.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Ready once after any number of rings since the last call. Otherwise the task is woken at the next ring.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.0.rung.swap(false, Ordering::AcqRel) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rings_before_or_after_the_look_is_heard_once() {
        let alarm = Alarm::default();
        let cx = Context::from_waker(std::task::Waker::noop());
        assert!(alarm.poll(&cx).is_pending());
        alarm.clone().ring();
        alarm.ring();
        assert!(alarm.poll(&cx).is_ready() && alarm.poll(&cx).is_pending());
    }
}
