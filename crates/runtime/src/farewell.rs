//! The sessions that this process dialled, and how their ends are waited for: a session that is not told of its end stands at the peer
//! until that finds out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Sessions whose tasks run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
/// Told when one of them ends.
static ENDED: Notify = Notify::const_new();
/// Turns that other tasks get to send what a connection says last.
const LAST_TURNS: u32 = 32;

struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        ENDED.notify_waiters();
    }
}

/// Runs a session's task.
pub(crate) fn spawn(session: impl Future<Output = ()> + Send + 'static) {
    RUNNING.fetch_add(1, Ordering::AcqRel);
    let running = Running;
    tokio::spawn(async move {
        let _running = running;
        session.await;
    });
}

/// Waits until every session that this process dialled has ended and said so, but no longer than `patience`. A session ends with its
/// last handle: drop those first.
pub async fn farewell(patience: Duration) {
    let ended = async {
        loop {
            let told = ENDED.notified();
            if RUNNING.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    };
    // A peer that is gone is not waited for.
    let _ = tokio::time::timeout(patience, ended).await;
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
}
