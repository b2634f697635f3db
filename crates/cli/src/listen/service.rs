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
    Some(tokio::spawn(async move {
        let mut tick = tokio::time::interval(every.max(Duration::from_millis(1)));
        loop {
            tick.tick().await;
            // A listener that is gone is not alive: silence makes the manager start the process anew.
            if gateway.is_alive().await {
                tell(&[NotifyState::Watchdog]);
            }
        }
    }))
}

/// The node ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}
