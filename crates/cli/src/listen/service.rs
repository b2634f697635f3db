//! What a service manager is told, where one started this process (sd_notify(3)): ready, alive, stopping.

use std::sync::Arc;
use std::time::Duration;

use betanet_runtime::Gateway;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;

fn tell(states: &[NotifyState<'_>]) {
    // Without a service manager there is nobody to tell; one that is gone is not waited for.
    if let Err(error) = sd_notify::notify(states) {
        note!("note: the service manager was not told: {error}");
    }
}

/// The node stands. What it returns tells that it is alive, as often as it was asked to: each time only after the executor has run a
/// task and every listener was found to run.
pub(super) fn ready(gateway: &Arc<Gateway>) -> Option<JoinHandle<()>> {
    let name = format!("serving as {}", gateway.listening().name);
    tell(&[NotifyState::Ready, NotifyState::Status(&name)]);
    let every = sd_notify::watchdog_enabled()? / 3;
    let gateway = Arc::clone(gateway);
    let alive = async move || gateway.is_alive().await;
    Some(tokio::spawn(async move {
        watch(every, alive, || tell(&[NotifyState::Watchdog])).await;
    }))
}

/// Tells each time that the node is alive, and only then: silence makes the manager start the process anew.
async fn watch(every: Duration, alive: impl AsyncFn() -> bool, tell: impl Fn()) {
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        tick.tick().await;
        // A listener that is gone, or stuck, is not alive.
        if alive().await {
            tell();
        }
    }
}

/// The node ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_not_alive_is_not_said_to_be() {
        let ms = Duration::from_millis;
        // Alive, then without a listener, alive again, then stuck for good.
        let looks = Arc::new(AtomicU32::new(0));
        let looked = Arc::clone(&looks);
        let alive = async move || match looked.fetch_add(1, Ordering::Relaxed) {
            0..3 | 8..10 => true,
            3..8 => false,
            _ => std::future::pending().await,
        };
        let told = AtomicU32::new(0);
        let watching = watch(ms(1_000), alive, || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let mut watching = std::pin::pin!(watching);
        let mut after = async |passes: u64| {
            let passed = tokio::time::timeout(ms(passes), watching.as_mut());
            assert!(passed.await.is_err());
            told.load(Ordering::Relaxed)
        };
        assert_eq!(after(2_500).await, 3);
        assert_eq!(after(5_000).await, 3, "silent while it is not");
        assert_eq!(after(2_000).await, 5);
        assert_eq!(after(1_000_000).await, 5, "silent for good");
    }
}
