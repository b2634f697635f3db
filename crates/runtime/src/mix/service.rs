//! A gateway at the end of paths through the mix: one task that answers what comes.

use std::sync::Arc;

use betanet_bar::Handler;
use betanet_machine::{Machine as _, Time};
use betanet_mix::{Delivered, RecipientConfig};
use betanet_stack::MixServer;
use tokio::sync::mpsc;

use super::plane::Plane;
use super::wellknown::WellKnown;
use crate::{Clock, Metrics};

/// Payloads that wait for the task.
const WAITING: usize = 1024;

/// Answers with `handler` what the plane delivers, until the node stops.
pub(crate) fn serve<H>(
    plane: &Arc<Plane>,
    handler: WellKnown<H>,
    clock: Clock,
    metrics: Arc<Metrics>,
) -> tokio::task::AbortHandle
where
    H: Handler + Send + 'static,
    H::Exchange: Send,
{
    let (sender, payloads) = mpsc::channel(WAITING);
    plane.deliver_to(sender);
    let plane = Arc::downgrade(plane);
    let task = run(plane, payloads, handler, clock, metrics);
    tokio::spawn(task).abort_handle()
}

async fn run<H: Handler>(
    plane: std::sync::Weak<Plane>,
    mut payloads: mpsc::Receiver<Delivered>,
    handler: WellKnown<H>,
    clock: Clock,
    metrics: Arc<Metrics>,
) {
    let alarm = handler.alarm();
    let mut server = MixServer::new(RecipientConfig::default(), handler);
    loop {
        let due = server.poll_timeout().map(|w| w.at);
        let at = due.unwrap_or(Time::ZERO + clock.elapsed() + std::time::Duration::from_secs(60));
        tokio::select! {
            payload = payloads.recv() => {
                let Some(payload) = payload else { return };
                // Refused only while replies wait, which are taken below.
                let _ = server.handle_input(clock.now(), payload);
            }
            () = std::future::poll_fn(|cx| alarm.poll(cx)) => server.answers(clock.now()),
            () = tokio::time::sleep_until(clock.instant(at)) => server.handle_timeout(clock.now()),
        }
        let Some(plane) = plane.upgrade() else { return };
        while let Some(reply) = server.poll_transmit() {
            plane.send(reply);
        }
        while let Some(served) = server.poll_event() {
            metrics.served(served.0);
        }
        metrics.mix.exchanges(server.exchanges());
    }
}
