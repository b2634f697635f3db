//! A carrier that follows a shape: bursts of records at the shape's times and with its sizes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_machine::Time;
use betanet_traffic::shape::{FRAME, FRAME_HEADER, Follower, RECORD, Shape, Step, payload};
use bytes::Bytes;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::queue::Waiting;
use crate::{Carrier, Error, Reads, Received};

mod reading;

use reading::Reading;

/// Number of waiting bytes above which no more are accepted.
const ROOM: usize = 256 << 10;
/// Bytes of one burst that are gathered and padded at once: a site's answers, as they leave in one write.
const PORTION: usize = 240 << 10;
/// The exporter's context for the key that draws traces: DET-CBOR of the text `shape`.
const CONTEXT: &[u8] = b"\x65shape";
/// Length of a client's first HTTP/2 bytes: the preface, SETTINGS, WINDOW_UPDATE.
const PREFACE: usize = 24 + 33 + 13;
/// Bytes that a browser's fingerprint adds to the first request: its priority.
const ADDED: usize = 5;
/// Approximate length of that request.
const HEAD: usize = 250;
/// Pause between a trace's end and the next trace, if more data waits.
const PAUSE: Duration = Duration::from_secs(1);
/// Delay after a trace's end until a server with more data asks its client for another trace, and repeats that. A client that
/// received something in the last trace continues by itself.
const NUDGE: Duration = Duration::from_millis(1500);
/// Time after a trace's end during which arriving data still belongs to it.
const SETTLED: Duration = Duration::from_millis(250);
/// Time before a burst at which its missing PADDING is requested, and its records are made if the carrier can schedule them:
/// making records takes time.
const AHEAD: Duration = Duration::from_millis(1);
/// The same for a server's bursts: a site's answers lie ready for a while, and data that was just made is sent faster. Data
/// present at half of the time goes along.
const READY: Duration = Duration::from_millis(5);
/// Number of bytes of a burst that may be all PADDING before it is due.
const SHORT: usize = 2 << 10;

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Cost of following a shape.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Bytes that the session sent, including PADDING.
    pub sent: u64,
    /// Minimum number of those bytes that were PADDING.
    pub padding: u64,
    /// Number of bursts sent.
    pub bursts: u64,
}

/// A carrier that follows a shape.
pub struct Shaped {
    inner: Box<dyn Carrier>,
    shape: Arc<Shape>,
    /// Whether this is the client's end.
    up: bool,
    key: Zeroizing<[u8; 32]>,
    /// Number of traces begun.
    drawn: u32,
    follower: Follower,
    /// Time at which the request that opens the tunnel leaves, or came.
    began: Instant,
    /// Whether the carrier can schedule its output.
    paced: bool,
    /// Scheduled time of the first output to which a client may add, or of a server's last output.
    first: Option<Time>,
    later: Option<Time>,
    /// Exact timer: lateness at each burst would accumulate.
    timer: Option<(Time, Wait)>,
    reading: Reading,
    waiting: Waiting,
    /// Length of the waiting bytes up to the last one that is not PADDING.
    said: usize,
    /// Number of requested PADDING bytes, and whether none is available.
    lacks: usize,
    bare: bool,
    /// Whether the session's turn is over.
    over: bool,
    /// Whether anything but PADDING moved since the trace began.
    moved: bool,
    over_since: Option<Time>,
    ending: bool,
    /// The body's end must still be passed on.
    end_owed: bool,
    cost: Cost,
}

impl Shaped {
    /// Follows `shape` from the first request of trace `trace` on. That request opens the tunnel and leaves after `held`.
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    pub fn client(
        inner: Box<dyn Carrier>,
        shape: Arc<Shape>,
        trace: u16,
        held: Duration,
    ) -> Result<Self, Error> {
        Self::new(inner, shape, (trace, true), Instant::now() + held)
    }

    /// Follows `shape` from this trace's first answer on.
    ///
    /// # Errors
    ///
    /// [`Error::Export`].
    pub fn server(inner: Box<dyn Carrier>, shape: Arc<Shape>, trace: u16) -> Result<Self, Error> {
        Self::new(inner, shape, (trace, false), Instant::now())
    }

    fn new(
        mut inner: Box<dyn Carrier>,
        shape: Arc<Shape>,
        (trace, up): (u16, bool),
        began: Instant,
    ) -> Result<Self, Error> {
        let key = inner.export(CONTEXT)?;
        inner.cut(&[]);
        let trace = shape.traces().get(usize::from(trace));
        let trace = trace.map(Vec::as_slice).unwrap_or_default();
        // The server has already seen the end of a page load's first request.
        let trace = if up {
            trace
        } else {
            trace.get(1..).unwrap_or_default()
        };
        let mut follower = Follower::new(Time::ZERO, trace, up);
        // The handshake's first messages do not wait: a request, and its answer.
        follower.at_once(Time::ZERO);
        Ok(Self {
            paced: inner.leaves(None),
            first: None,
            later: None,
            inner,
            up,
            key,
            drawn: 1,
            follower,
            began,
            timer: None,
            reading: Reading::default(),
            waiting: Waiting::default(),
            said: 0,
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

    /// Latest due time of bursts sent now: short successors leave with the first one.
    fn horizon(&self, now: Time) -> Time {
        match self.first {
            Some(first) => first.max(now) + AHEAD,
            None if self.paced && self.up => now + AHEAD,
            None if self.ready().is_some_and(|ready| now >= ready) => now + READY,
            None => now,
        }
    }

    /// Time at which a server makes its next records: not before its last output has left, nor during a handshake, whose next
    /// message would be late.
    fn ready(&self) -> Option<Time> {
        let at = self.follower.next()?;
        let halfway = self.follower.halfway()?;
        let early = Time::ZERO + (at - Time::ZERO).saturating_sub(READY);
        let ready = early.max(halfway).max(self.later.unwrap_or(halfway));
        (self.paced && !self.up && !self.bare).then_some(ready)
    }

    /// Sends due bursts. Returns whether something was sent.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let now = self.now();
        if self.ending {
            return self.empty(cx);
        }
        self.next_trace(now);
        if !self.up && self.follower.is_over() {
            return self.nudge(now, cx);
        }
        if self.bare && !self.over {
            // Bytes that belong together are kept together until the session's turn is over.
            return Ok(false);
        }
        if self.bare && !self.waiting.is_empty() && self.follower.heard() {
            // Handshake messages cannot be padded: the message was whole, or there would be no answer.
            self.follower.answered(now);
        }
        let due = self.follower.due(now).is_some();
        let horizon = self.horizon(now);
        if self.follower.due_by(horizon).is_none() {
            if !self.bare {
                self.prepare(now, 0);
            }
            return Ok(false);
        }
        // Without data and without PADDING, later data leaves when it comes.
        if self.bare && self.waiting.is_empty() {
            return Ok(false);
        }
        if self.bare {
            // A handshake message is answered only when it is whole: the first after the request that opens the tunnel.
            let frames = self.waiting.len().div_ceil(FRAME);
            let head = if self.up && self.cost.bursts == 0 {
                HEAD
            } else {
                0
            };
            self.follower
                .stretch(head + self.waiting.len() + frames * FRAME_HEADER);
        }
        let Some(records) = self.follower.due_by(horizon) else {
            return Ok(false);
        };
        let (mut sizes, mut bytes) = portion(records);
        if self.bare {
            bytes = bytes.max(self.waiting.len());
        }
        if !self.bare {
            self.prepare(now, bytes);
            // A burst whose records are made together gets its PADDING first, if there is time.
            let soon = self.lacks > 0 && self.first.is_none() && !due;
            if self.waiting.len() < bytes || (self.paced && soon) {
                return Ok(false);
            }
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Ok(false),
        }
        let burst = self.take(bytes.max(1));
        let records = sizes.len();
        match self.cost.bursts {
            // An HTTP head of unknown length goes along, as does the data added on its way to TLS.
            0 => match sizes.first_mut() {
                Some(first) if self.up => {
                    *first = first.saturating_sub(ADDED);
                    sizes.insert(0, PREFACE);
                }
                // The length of a server's head changes each second.
                _ => sizes.clear(),
            },
            n => {
                if n == 1 {
                    self.inner.cut(&[]);
                }
                trim(
                    &mut sizes,
                    burst.len() + burst.len().div_ceil(FRAME) * FRAME_HEADER,
                );
            }
        }
        self.inner.cut(&sizes);
        // A browser's requests follow each other by some microseconds more than writing takes. The first request leaves as soon
        // as the handshake's end has.
        let next = self.follower.next().zip(self.follower.steady());
        let next = next.filter(|_| self.paced && self.cost.bursts > 0);
        if let Some((at, steady)) = next {
            if self.up {
                self.first.get_or_insert(at);
            } else {
                self.later = Some(at);
            }
            let at = self.began + Duration::from_micros(at.as_micros());
            self.inner.leaves(Some((at, steady)));
        }
        self.cost.bursts += 1;
        self.inner.send(burst)?;
        // Bursts that are due together because the first was late are still kept apart.
        self.inner.push(cx);
        let now = next.map_or(now, |(at, _)| at.max(now));
        self.follower.sent(now, records);
        if self.up
            && let Some(begins) = self.follower.expected()
        {
            let leaves = self.first.unwrap_or(now);
            self.reading.asked(leaves, begins);
        }
        // Each burst requests its PADDING anew.
        self.lacks = 0;
        Ok(true)
    }

    /// Requests the PADDING that this burst and those due shortly lack.
    fn prepare(&mut self, now: Time, burst: usize) {
        let soon = self.follower.until(self.horizon(now) + AHEAD);
        let soon = soon.map(|records| portion(records).1).sum::<usize>();
        // Short bursts are prepared before the other side's part has come: data in them would wait only a little.
        let next = self.follower.own().map_or(0, |records| portion(records).1);
        let next = Some(next).filter(|n| *n <= SHORT).unwrap_or_default();
        let bytes = burst.max(soon.min(PORTION)).max(next);
        self.lacks = bytes.saturating_sub(self.waiting.len());
    }

    /// A server whose client has followed its trace to the end asks for another one by sending a little of its data, until it
    /// comes.
    fn nudge(&mut self, now: Time, cx: &mut Context<'_>) -> Result<bool, Error> {
        let due = self.over_since.is_some_and(|since| now >= since + NUDGE);
        if self.said == 0 || !due {
            return Ok(false);
        }
        match self.inner.poll_ready(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return Ok(false),
        }
        let bytes = self.take(SHORT);
        self.inner.cut(&[]);
        self.inner.send(bytes)?;
        self.inner.push(cx);
        self.over_since = Some(now);
        Ok(true)
    }

    fn take(&mut self, n: usize) -> Bytes {
        let bytes = self.waiting.take(n);
        self.said = self.said.saturating_sub(bytes.len());
        bytes
    }

    /// Whether more than PADDING was sent or waits.
    const fn goes_on(&self) -> bool {
        self.moved || self.said > 0
    }

    /// Begins the next trace when the last one is over and more data waits.
    fn next_trace(&mut self, now: Time) {
        if !self.follower.is_over() {
            return;
        }
        let since = *self.over_since.get_or_insert(now);
        // The client begins, as page loads do.
        let due = self.up && self.goes_on() && now >= since + PAUSE;
        if due {
            let trace = self.draw().to_vec();
            self.follower = Follower::new(now, &trace, true);
        }
    }

    fn draw(&mut self) -> &[Step] {
        self.over_since = None;
        self.moved = false;
        self.drawn += 1;
        self.shape.drawn(&self.key, self.drawn - 1)
    }

    /// Sends all waiting bytes when the session ends.
    fn empty(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        let mut moved = false;
        while !self.waiting.is_empty() {
            match self.inner.poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(moved),
            }
            let bytes = self.take(FRAME);
            self.inner.send(bytes)?;
            moved = true;
        }
        // After the last waiting byte: an earlier end would cut it off.
        if std::mem::take(&mut self.end_owed) {
            self.inner.end();
        }
        Ok(moved)
    }

    /// Runs turns until nothing is due, and sets the timer.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.turn(cx)? {}
        if self.first.take().is_some() {
            self.inner.leaves(None);
            self.inner.push(cx);
        }
        // The bytes passed on last may still wait for the peer's credit.
        if let Poll::Ready(done) = self.inner.poll_ready(cx) {
            done?;
        }
        let now = self.now();
        let own = (self.paced && self.up) || self.follower.next().is_some();
        let early = |at: Time| {
            self.ready()
                .unwrap_or_else(|| now + (at - now).saturating_sub(AHEAD))
        };
        let wake = match (self.follower.wake(), self.over_since) {
            (Some(at), _) if own => Some(early(at)).filter(|early| *early > now).or(Some(at)),
            (Some(at), _) => Some(at),
            (None, Some(since)) if self.up && self.goes_on() => Some(since + PAUSE),
            (None, Some(since)) if !self.up && self.said > 0 => Some(since + NUDGE),
            _ => None,
        };
        // Arriving PADDING or room wakes the task that waits for it.
        if let Some(at) = wake.filter(|at| *at > now)
            && poll_until(&mut self.timer, self.began, at, cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Arrival time of the data read now: the answer that opens a tunnel may have waited to be read.
    fn came(&self, now: Time) -> Time {
        let opens = self.up && self.cost.bursts == 1;
        let heard = self.inner.heard().filter(|_| opens);
        heard.map_or(now, |at| {
            (Time::ZERO + at.saturating_duration_since(self.began)).min(now)
        })
    }
}

/// Waits until then with a reusable timer.
fn poll_until(
    timer: &mut Option<(Time, Wait)>,
    began: Instant,
    at: Time,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.as_ref().is_none_or(|(then, _)| *then != at) {
        let until = began + Duration::from_micros(at.as_micros());
        *timer = Some((at, Box::pin(crate::until(until))));
    }
    if let Some((_, wait)) = timer {
        ready!(wait.as_mut().poll(cx));
    }
    *timer = None;
    Poll::Ready(())
}

/// The part of a burst's records that is sent at once: plaintext lengths, and the number of session bytes in them.
fn portion(records: &[u16]) -> (Vec<usize>, usize) {
    let (mut sizes, mut plaintext): (Vec<usize>, usize) = (Vec::new(), 0);
    for size in records.iter().map(|r| usize::from(*r) - RECORD) {
        if plaintext + size > PORTION && !sizes.is_empty() {
            break;
        }
        sizes.push(size);
        plaintext += size;
    }
    (sizes, payload(plaintext))
}

/// Keeps as many of the sizes as `plaintext` fills.
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
        let mut driven = self.drive(cx);
        self.reading
            .drive(self.inner.as_mut(), &self.follower, self.began, cx);
        let received = self.inner.poll_receive(cx);
        if let Poll::Ready(Ok(Received::Bytes(bytes))) = &received {
            let now = self.now();
            if self.follower.is_over() && !self.up {
                // The client has begun another trace.
                let trace = self.draw().to_vec();
                self.follower = Follower::new(now, &trace, false);
            }
            // Data that comes after the end means that the server has more.
            let late = self.over_since.is_some_and(|since| now >= since + SETTLED);
            self.moved |= self.up && late;
            self.reading.came(&self.follower, now);
            self.follower.received(self.came(now), bytes.len());
            // A server's answer in several parts may have more to be read partially.
            if self.up
                && let Some(begins) = self.follower.follows()
            {
                self.reading
                    .begins(self.inner.as_mut(), &self.follower, begins);
            }
            // Checked before the received data: an answer's time is not that of its request.
            if !self.bare {
                driven = driven.and_then(|()| self.drive(cx));
            }
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
        self.moved = true;
        self.waiting.push(bytes);
        self.said = self.waiting.len();
        Ok(())
    }

    fn fill(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.cost.sent += bytes.len() as u64;
        self.cost.padding += bytes.len() as u64;
        self.waiting.push(bytes);
        Ok(())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        self.over = true;
        // The next turn finds a broken carrier.
        let _ = self.drive(cx);
        self.over = false;
        if self.lacks > 0 {
            // The turn that would have requested it is over.
            cx.waker().wake_by_ref();
        }
        self.inner.push(cx);
    }

    fn lacks(&mut self) -> usize {
        std::mem::take(&mut self.lacks)
    }

    fn padded(&mut self, can: bool) {
        self.bare = !can;
    }

    fn signs(&self) -> u64 {
        self.inner.signs()
    }

    fn cost(&self) -> Option<Cost> {
        Some(self.cost)
    }

    fn end(&mut self) {
        self.ending = true;
        self.end_owed = true;
        // From now on only the peer's end is awaited.
        self.reading = Reading::default();
        self.inner.reads(Reads::All);
    }

    fn reset(&mut self) {
        self.waiting.clear();
        self.said = 0;
        self.inner.reset();
    }

    fn go_away(&mut self) {
        self.inner.go_away();
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        self.inner.export_as(label, context, out)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.reading).waits() {
            self.inner.reads(Reads::All);
        }
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

#[cfg(test)]
mod tests;
