//! A carrier whose traffic follows a shape: bursts of records when the shape has them, of the sizes that it has.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_htx::shape::{Follower, RECORD, Shape, Step};
use betanet_machine::Time;
use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::queue::Waiting;
use crate::{Carrier, Error, Received};

/// Bytes that wait for their turn before no more are taken.
const ROOM: usize = 64 << 10;
/// Bytes of one burst that are gathered, and filled up, at once.
const PORTION: usize = 48 << 10;
/// An HTTP/2 frame: what it holds at most, and its header.
const FRAME: usize = 16_384;
const HEADER: usize = 9;
/// The exporter's context for the key that traces are drawn with: DET-CBOR of the text `shape`.
const CONTEXT: &[u8] = b"\x65shape";
/// What a client's HTTP/2 begins with: the preface, SETTINGS, WINDOW_UPDATE.
const PREFACE: usize = 24 + 33 + 13;
/// What a browser's shape writes into the first request: its priority.
const ADDED: usize = 5;
/// About how long that request is.
const HEAD: usize = 250;
/// From a trace's end to the next one, where there is more to say.
const PAUSE: Duration = Duration::from_secs(1);

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What shaping has cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Bytes that the session had to say, PADDING among them.
    pub sent: u64,
    /// How many of those were PADDING, about.
    pub padding: u64,
    /// Bursts that went out.
    pub bursts: u64,
}

/// A carrier that follows a shape.
pub struct Shaped {
    inner: Box<dyn Carrier>,
    shape: Arc<Shape>,
    /// Whether it is the client's end.
    up: bool,
    key: Zeroizing<[u8; 32]>,
    /// Traces that were begun.
    drawn: u32,
    follower: Follower,
    began: Instant,
    /// Until then, exactly: lateness at each burst would add up.
    timer: Option<(Time, Wait)>,
    waiting: Waiting,
    /// Bytes of PADDING that are asked for, and whether there is none to be had.
    lacks: usize,
    bare: bool,
    /// Whether the session's turn is over.
    over: bool,
    /// Whether anything but PADDING moved since the trace began.
    moved: bool,
    over_since: Option<Time>,
    ending: bool,
    /// The body's end has not been handed on yet.
    end_owed: bool,
    cost: Cost,
}

impl Shaped {
    /// Follows `shape`, from the trace's first answer on (server), or behind the request that opened the tunnel (client).
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    pub fn new(mut inner: Box<dyn Carrier>, shape: Arc<Shape>, up: bool) -> Result<Self, Error> {
        let key = inner.export(CONTEXT)?;
        inner.cut(&[]);
        let trace = shape.drawn(&key, 0);
        // Of a page load's first request the server has seen the end already.
        let trace = if up {
            trace
        } else {
            trace.get(1..).unwrap_or_default()
        };
        let mut follower = Follower::new(Time::ZERO, trace, up);
        // The handshake's first messages are not kept waiting: a request, and its answer.
        follower.at_once(Time::ZERO);
        Ok(Self {
            inner,
            up,
            key,
            drawn: 1,
            follower,
            began: Instant::now(),
            timer: None,
            waiting: Waiting::default(),
            lacks: 0,
            bare: true,
            over: false,
            moved: true,
            over_since: None,
            ending: false,
            end_owed: false,
            cost: Cost::default(),
            shape,
        })
    }

    fn now(&self) -> Time {
        Time::ZERO + self.began.elapsed()
    }

    /// Sends what is due. Whether something was sent.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let now = self.now();
        if self.ending {
            return self.empty(cx);
        }
        self.next_trace(now);
        if self.bare && !self.over {
            // What belongs together is not told apart before the session's turn is over.
            return Ok(false);
        }
        if self.bare && !self.waiting.is_empty() && self.follower.heard() {
            // What a handshake says cannot be filled up: it was whole, or there would be no answer.
            self.follower.answered(now);
        }
        // Nothing to say, and nothing to fill with: what comes goes then.
        if self.follower.due(now).is_none() || self.bare && self.waiting.is_empty() {
            return Ok(false);
        }
        if self.bare {
            // A handshake, which is answered when it is whole; the first behind the request that opens the tunnel.
            let frames = self.waiting.len().div_ceil(FRAME);
            let head = if self.up && self.cost.bursts == 0 {
                HEAD
            } else {
                0
            };
            self.follower
                .stretch(head + self.waiting.len() + frames * HEADER);
        }
        let Some(records) = self.follower.due(now) else {
            return Ok(false);
        };
        // As many records as fit what is kept at once.
        let (mut sizes, mut plaintext): (Vec<usize>, usize) = (Vec::new(), 0);
        for size in records.iter().map(|r| usize::from(*r) - RECORD) {
            if plaintext + size > PORTION && !sizes.is_empty() {
                break;
            }
            sizes.push(size);
            plaintext += size;
        }
        let frames = plaintext.div_ceil(FRAME + HEADER);
        let mut bytes = plaintext.saturating_sub(frames * HEADER);
        if self.bare {
            bytes = bytes.max(self.waiting.len());
        }
        if self.waiting.len() < bytes && !self.bare {
            self.lacks = bytes - self.waiting.len();
            return Ok(false);
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Ok(false),
        }
        let burst = self.waiting.take(bytes.max(1));
        let records = sizes.len();
        match self.cost.bursts {
            // With it goes a head of HTTP, whose length is not known here; so does what is written into it on its way to TLS.
            0 => match sizes.first_mut() {
                Some(first) if self.up => {
                    *first = first.saturating_sub(ADDED);
                    sizes.insert(0, PREFACE);
                }
                // A server's head is of another length each second.
                _ => sizes.clear(),
            },
            n => {
                if n == 1 {
                    self.inner.cut(&[]);
                }
                trim(
                    &mut sizes,
                    burst.len() + burst.len().div_ceil(FRAME) * HEADER,
                );
            }
        }
        self.inner.cut(&sizes);
        self.cost.bursts += 1;
        self.inner.send(burst)?;
        self.follower.sent(now, records);
        // PADDING is asked for anew with each burst.
        self.lacks = 0;
        Ok(true)
    }

    /// Begins the next trace when the last is over and there is more to say.
    fn next_trace(&mut self, now: Time) {
        if !self.follower.is_over() {
            return;
        }
        let since = *self.over_since.get_or_insert(now);
        // The client begins: page loads do.
        let due = self.up && (self.moved || !self.waiting.is_empty()) && now >= since + PAUSE;
        if due {
            let trace = self.draw().to_vec();
            self.follower = Follower::new(now, &trace, true);
        }
    }

    fn draw(&mut self) -> &[Step] {
        self.over_since = None;
        self.moved = !self.waiting.is_empty();
        self.drawn += 1;
        self.shape.drawn(&self.key, self.drawn - 1)
    }

    /// Sends all that waits, as the session ends.
    fn empty(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let mut moved = false;
        while !self.waiting.is_empty() {
            match self.inner.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(moved),
            }
            let bytes = self.waiting.take(FRAME);
            self.inner.send(bytes)?;
            moved = true;
        }
        // Behind the last of what waited: an end before it would cut it off.
        if std::mem::take(&mut self.end_owed) {
            self.inner.end();
        }
        Ok(moved)
    }

    /// Turns until nothing is due, and sets the timer.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.turn(cx)? {}
        // What was handed over last may still wait for the peer's credit.
        if let Poll::Ready(done) = self.inner.poll_ready(cx) {
            done?;
        }
        let wake = match (self.follower.wake(), self.over_since) {
            (Some(at), _) => Some(at),
            (None, Some(since)) if self.up && (self.moved || !self.waiting.is_empty()) => {
                Some(since + PAUSE)
            }
            _ => None,
        };
        // What waits for PADDING, or for room, is woken by that.
        if let Some(at) = wake.filter(|at| *at > self.now()) {
            let until = self.began + Duration::from_micros(at.as_micros());
            let wait = || -> Wait { Box::pin(crate::until(until)) };
            let (_, timer) = match &mut self.timer {
                Some(timer) if timer.0 == at => timer,
                timer => timer.insert((at, wait())),
            };
            if timer.as_mut().poll(cx).is_ready() {
                self.timer = None;
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }
}

/// Leaves as many of the sizes as `plaintext` fills.
fn trim(sizes: &mut Vec<usize>, plaintext: usize) {
    let mut left = plaintext;
    sizes.retain_mut(|size| {
        *size = left.min(*size);
        left -= *size;
        *size > 0
    });
}

impl Carrier for Shaped {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        let driven = self.drive(cx);
        let received = self.inner.poll_receive(cx);
        if let Poll::Ready(Ok(Received::Bytes(bytes))) = &received {
            let now = self.now();
            if self.follower.is_over() && !self.up {
                // The client has begun another trace.
                let trace = self.draw().to_vec();
                self.follower = Follower::new(now, &trace, false);
            }
            self.follower.received(now, bytes.len());
        }
        if received.is_pending() {
            driven?;
        }
        received
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.drive(cx)?;
        if self.waiting.len() < ROOM {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.cost.sent += bytes.len() as u64;
        // PADDING that was asked for is no reason to go on.
        self.moved |= self.lacks == 0;
        self.waiting.push(bytes);
        Ok(())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        self.over = true;
        // A broken carrier is what the next turn finds.
        let _ = self.drive(cx);
        self.over = false;
        if self.lacks > 0 {
            // The turn in which it would have been asked for is over.
            cx.waker().wake_by_ref();
        }
        self.inner.push(cx);
    }

    fn lacks(&mut self) -> usize {
        let n = std::mem::take(&mut self.lacks);
        self.cost.padding += n as u64;
        n
    }

    fn padded(&mut self, can: bool) {
        self.bare = !can;
    }

    fn cost(&self) -> Option<Cost> {
        Some(self.cost)
    }

    fn end(&mut self) {
        self.ending = true;
        self.end_owed = true;
    }

    fn reset(&mut self) {
        self.waiting.clear();
        self.inner.reset();
    }

    fn go_away(&mut self) {
        self.inner.go_away();
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.inner.export_as(label, context, out)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.empty(cx).is_err() {
            return Poll::Ready(());
        }
        self.inner.push(cx);
        if !self.waiting.is_empty() {
            return Poll::Pending;
        }
        self.inner.poll_flushed(cx)
    }
}
