//! A leg of 1.1 on its carrier.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier, Received};
use betanet_compat11::{Event, Input, Leg, Transmit};
use betanet_machine::{Machine as _, Time};
use betanet_wire::NodeId;
use bytes::Bytes;
use tokio::time::{Sleep, timeout};

use crate::Clock;

/// Rounds before other tasks get a turn.
pub(super) const BUDGET: u32 = 64;
/// Bytes of one carrier chunk, at most; the leg is asked for that much room.
const CHUNK: usize = 64 << 10;
/// What the leg's last bytes get to leave.
const FLUSH: Duration = Duration::from_secs(2);
/// How long a client may be silent before its leg goes on without a path header of its own.
const SILENCE: Duration = Duration::from_millis(500);

/// Moves a leg's bytes from and to its carrier.
pub(super) struct Line {
    pub(super) leg: Leg,
    carrier: Box<dyn Carrier>,
    pub(super) clock: Clock,
    /// What the leg said first, where that was no path header.
    first: Option<Event>,
    /// A transmit that the carrier had no room for.
    outgoing: Option<Bytes>,
    /// The leg has ended.
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
            outgoing: None,
            ended: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
        }
    }

    /// Until the client says over which nodes its leg is to go on, or shows that it does not say so: by a stream, its end, or silence.
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
        for _ in 0..BUDGET {
            let mut moved = self.transmit(cx);
            if let Some(event) = self.leg.poll_event() {
                return Poll::Ready(event);
            }
            moved |= self.receive(cx);
            moved |= self.timeout(cx);
            if !moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What the leg says next.
    pub(super) fn event(&mut self) -> Option<Event> {
        self.first.take().or_else(|| self.leg.poll_event())
    }

    /// Lets what was handed over go out.
    pub(super) fn push(&mut self, cx: &mut Context<'_>) {
        self.carrier.push(cx);
    }

    /// Breaks the leg off.
    pub(super) fn reset(mut self) {
        self.carrier.reset();
    }

    /// Waits until the last bytes have left; a peer that does not take them is not waited for.
    pub(super) async fn flush(&mut self) {
        let carrier = &mut self.carrier;
        let flushed = std::future::poll_fn(|cx| carrier.poll_flushed(cx));
        let _ = timeout(FLUSH, flushed).await;
    }

    fn lost(&mut self) {
        // Refused by a leg that has ended.
        let _ = self.leg.handle_input(self.clock.now(), Input::Lost);
        while self.leg.poll_transmit().is_some() {}
        self.outgoing = None;
        self.ended = true;
    }

    /// Hands over what the leg has to say, while the carrier takes it.
    pub(super) fn transmit(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.ended {
            let bytes = match self.outgoing.take() {
                Some(bytes) => bytes,
                None => match self.leg.poll_transmit() {
                    None => {
                        // What the carrier took earlier may still wait for the peer's credit.
                        if let Poll::Ready(Err(_)) = self.carrier.poll_ready(cx) {
                            self.lost();
                        }
                        break;
                    }
                    Some(Transmit::Bytes(bytes)) => bytes,
                    Some(last) => {
                        match last {
                            Transmit::Reset => self.carrier.reset(),
                            _ => self.carrier.end(),
                        }
                        self.ended = true;
                        return true;
                    }
                },
            };
            match self.carrier.poll_ready(cx) {
                Poll::Ready(ready) => {
                    if ready.and_then(|()| self.carrier.send(bytes)).is_err() {
                        self.lost();
                        return true;
                    }
                    moved = true;
                }
                Poll::Pending => {
                    self.outgoing = Some(bytes);
                    break;
                }
            }
        }
        if moved && !self.ended {
            self.leg.handle_timeout(self.clock.now());
        }
        moved
    }

    pub(super) fn receive(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.leg.is_closed() && self.leg.has_room(CHUNK) {
            let input = match self.carrier.poll_receive(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Received::Bytes(bytes))) => Input::Bytes(bytes),
                Poll::Ready(Ok(Received::End)) => Input::End,
                // 1.1 has no word for it: the leg goes on until its CLOSE.
                Poll::Ready(Ok(Received::GoAway)) => continue,
                Poll::Ready(Err(_)) => Input::Lost,
            };
            moved = true;
            // Refused by a leg that ends.
            let _ = self.leg.handle_input(self.clock.now(), input);
        }
        moved
    }

    pub(super) fn timeout(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(wake) = self.leg.poll_timeout() else {
            self.armed = None;
            return false;
        };
        let now = self.clock.now();
        if wake.at <= now.mono {
            self.leg.handle_timeout(now);
            // What waits for a carrier without room is no reason to turn again.
            return self.outgoing.is_none();
        }
        if self.armed != Some(wake.at) {
            self.armed = Some(wake.at);
            self.timer.as_mut().reset(self.clock.instant(wake.at));
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = None;
            self.leg.handle_timeout(self.clock.now());
            return true;
        }
        false
    }
}
