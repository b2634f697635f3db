//! The lease of a connection: a stream of events ends with its connection unless its client confirms that it reads.
//!
//! The client's kernel takes and acknowledges bytes while the client itself stands still, so sockets cannot tell one from the other.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The time until which a connection is kept; without one, it has no such bound. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Arc<watch::Sender<Option<Instant>>>);

impl Lease {
    /// Keeps the connection until then.
    pub(crate) fn renew(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    /// Takes the bound away.
    pub(crate) fn lift(&self) {
        self.0.send_replace(None);
    }

    /// Returns once the time is over.
    pub(crate) async fn over(&self) {
        let mut told = self.0.subscribe();
        loop {
            let until = *told.borrow_and_update();
            // The sender lives as long as this.
            let changed = told.changed();
            match until {
                None => drop(changed.await),
                Some(until) => tokio::select! {
                    () = sleep_until(until) => return,
                    _ = changed => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_over_unless_it_is_renewed_or_lifted() {
        let (lease, began) = (Lease::default(), Instant::now());
        let second = |n| began + Duration::from_secs(n);
        let other = lease.clone();
        let over = tokio::spawn(async move {
            other.over().await;
            began.elapsed().as_secs()
        });
        sleep_until(second(100)).await;
        assert!(!over.is_finished(), "it has no bound yet");
        lease.renew(second(130));
        sleep_until(second(120)).await;
        lease.renew(second(150));
        sleep_until(second(140)).await;
        lease.lift();
        sleep_until(second(500)).await;
        assert!(!over.is_finished());
        lease.renew(second(530));
        assert_eq!(over.await.unwrap(), 530);
    }
}
