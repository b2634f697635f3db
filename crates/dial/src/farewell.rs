//! Orderly end of the sessions that this process dialled. Without a CLOSE, a session stays open at the peer until the peer
//! detects the loss.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Number of running session tasks.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
/// Notified when a session task ends.
static ENDED: Notify = Notify::const_new();
/// Number of turns that other tasks get to send a connection's last data.
const LAST_TURNS: u32 = 32;

struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
        ENDED.notify_waiters();
    }
}

/// Spawns a session's task.
pub(crate) fn spawn(session: impl Future<Output = ()> + Send + 'static) {
    RUNNING.fetch_add(1, Ordering::AcqRel);
    let running = Running;
    tokio::spawn(async move {
        let _running = running;
        session.await;
    });
}

/// Waits until every session that this process dialled has ended and sent its CLOSE, for at most `patience`. A session ends with
/// its last handle, so drop the handles first.
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
    // Do not wait for a peer that is gone.
    let _ = tokio::time::timeout(patience, ended).await;
    for _ in 0..LAST_TURNS {
        tokio::task::yield_now().await;
    }
}
