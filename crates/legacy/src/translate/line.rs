//! A leg of 1.1 on its carrier.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::{Carrier, Received};
use betanet_compat11::{Event, Input, Leg, Transmit};
use betanet_machine::{Io, Machine as _, Next, Now, Time, drive};
use betanet_session::Clock;
use betanet_wire::NodeId;
use tokio::time::{Sleep, timeout};

/// Maximum bytes of one carrier chunk, and the room that the leg is asked for.
const CHUNK: usize = 64 << 10;
/// Interval of timer checks while the carrier accepts nothing.
const STUCK: Duration = Duration::from_secs(1);
/// Time for sending the leg's last bytes.
const FLUSH: Duration = Duration::from_secs(2);
/// Time that a client may be silent before its leg continues without a path header.
const SILENCE: Duration = Duration::from_millis(500);

/// Moves a leg's bytes from and to its carrier.
pub(super) struct Line {
    pub(super) leg: Leg,
    carrier: Box<dyn Carrier>,
    pub(super) clock: Clock,
    /// The first event of the leg, if it was not a path header.
    first: Option<Event>,
    /// Whether the leg has ended.
    pub(super) ended: bool,
    timer: Pin<Box<Sleep>>,
    armed: Option<Time>,
}

impl Line {
    pub(super) fn new(leg: Leg, carrier: Box<dyn Carrier>, clock: Clock) -> Self {
        Self {
            leg,
            carrier,
            clock,
            first: None,
            ended: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        }
    }

    /// Waits for the client's path header, which names the nodes for its leg. A stream, the leg's end, or silence means that
    /// there is none.
    pub(super) async fn asked(&mut self) -> Option<Vec<NodeId>> {
        let first = std::future::poll_fn(|cx| {
            let first = self.poll_first(cx);
            self.push(cx);
            first
        });
        match timeout(SILENCE, first).await {
            Ok(Event::Path { nodes }) => return Some(nodes),
            Ok(other) => self.first = Some(other),
            Err(_) => {}
        }
        None
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let next = drive(&mut First { line: self, cx });
            if let Some(first) = self.first.take() {
                return Poll::Ready(first);
            }
            ready!(self.sleep(cx, next));
        }
    }

    /// Takes the event that occurred before the leg was joined.
    pub(super) const fn first(&mut self) -> Option<Event> {
        self.first.take()
    }

    /// Flushes the data that the carrier has accepted.
    pub(super) fn push(&mut self, cx: &mut Context<'_>) {
        self.carrier.push(cx);
    }

    /// Resets the leg.
    pub(super) fn reset(mut self) {
        self.carrier.reset();
    }

    /// Waits until the last bytes have been sent, with a time limit for a peer that does not take them.
    pub(super) async fn flush(&mut self) {
        let carrier = &mut self.carrier;
        let flushed = std::future::poll_fn(|cx| carrier.poll_flushed(cx));
        let _ = timeout(FLUSH, flushed).await;
    }

    fn lost(&mut self) {
        // The leg refuses this if it has ended.
        let _ = self.leg.handle_input(self.clock.now(), Input::Lost);
        while self.leg.poll_transmit().is_some() {}
        self.ended = true;
    }

    /// Returns whether the carrier accepts data now. Earlier data may still wait for the peer's credit, and this call advances
    /// it.
    pub(super) fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        if self.ended {
            return false;
        }
        match self.carrier.poll_ready(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(_)) => {
                self.lost();
                false
            }
            Poll::Pending => false,
        }
    }

    /// Passes a transmit of the leg to the carrier.
    pub(super) fn send(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Bytes(bytes) => {
                if self.carrier.send(bytes).is_err() {
                    self.lost();
                }
            }
            Transmit::Reset => {
                self.carrier.reset();
                self.ended = true;
            }
            Transmit::End => {
                self.carrier.end();
                self.ended = true;
            }
        }
    }

    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.leg.is_closed() && self.leg.has_room(CHUNK) {
            let input = match self.carrier.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Received::Bytes(bytes))) => Input::Bytes(bytes),
                Poll::Ready(Ok(Received::End)) => Input::End,
                // 1.1 has no message for it: the leg continues until its CLOSE.
                Poll::Ready(Ok(Received::GoAway)) => continue,
                Poll::Ready(Err(_)) => Input::Lost,
            };
            moved = true;
            // A leg that is ending refuses this.
            let _ = self.leg.handle_input(self.clock.now(), input);
        }
        moved
    }

    /// Waits until the leg is to be driven again. Input wakes the task by itself.
    pub(super) fn sleep(&mut self, cx: &mut Context<'_>, next: Next) -> Poll<()> {
        let at = match next {
            Next::Over | Next::Wait(None) => return Poll::Pending,
            Next::Again => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Next::Wait(Some(at)) => at,
            Next::Stuck => self.armed.unwrap_or(self.clock.now().mono + STUCK),
        };
        if self.armed != Some(at) {
            self.armed = Some(at);
            self.timer.as_mut().reset(self.clock.instant(at));
        }
        ready!(self.timer.as_mut().poll(cx));
        self.armed = None;
        Poll::Ready(())
    }
}

/// A leg until its first event.
struct First<'a, 'b> {
    line: &'a mut Line,
    cx: &'a mut Context<'b>,
}

impl Io for First<'_, '_> {
    type Machine = Leg;

    fn machine(&mut self) -> &mut Leg {
        &mut self.line.leg
    }

    fn now(&self) -> Now {
        self.line.clock.now()
    }

    fn is_ready(&mut self) -> bool {
        self.line.is_ready(self.cx)
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.line.send(transmit);
    }

    fn event(&mut self, event: Event) {
        self.line.first = Some(event);
    }

    fn take(&mut self) -> bool {
        self.line.receive(self.cx)
    }

    fn is_over(&self) -> bool {
        self.line.first.is_some()
    }
}
