//! A carrier whose traffic follows a shape: bursts of records when the shape has them, of the sizes that it has.

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

/// Bytes that wait for their turn before no more are taken.
const ROOM: usize = 256 << 10;
/// Bytes of one burst that are gathered, and filled up, at once: a site's answers, as they leave in one write.
const PORTION: usize = 240 << 10;
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
/// From a trace's end until a server that has more to say asks its client for another one, and asks again: a client that has heard
/// something in the last one goes on by itself.
const NUDGE: Duration = Duration::from_millis(1500);
/// How long after a trace's end what comes still belongs to it.
const SETTLED: Duration = Duration::from_millis(250);
/// How long before a burst is due PADDING is asked for that it will lack, and it is made into records where the carrier waits for the
/// moment: making those takes its time.
const AHEAD: Duration = Duration::from_millis(1);
/// The same for a server's: a site's answers lie ready for a while, and whoever sends what was made just now is the faster for it. What
/// there is to say by half of the time goes with it.
const READY: Duration = Duration::from_millis(5);
/// Bytes of a burst that may be all PADDING although it is not due yet.
const SHORT: usize = 2 << 10;

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What shaping has cost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// Bytes that the session had to say, PADDING among them.
    pub sent: u64,
    /// How many of those were PADDING, at least.
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
    /// When the request that opens the tunnel leaves, or came.
    began: Instant,
    /// Whether the carrier can be told when what it is handed leaves.
    paced: bool,
    /// When the first of that does of which a client may have more to hand, and when what a server handed last does.
    first: Option<Time>,
    later: Option<Time>,
    /// Until then, exactly: lateness at each burst would add up.
    timer: Option<(Time, Wait)>,
    reading: Reading,
    waiting: Waiting,
    /// How much of that, from its front on, there is up to the last byte that is not PADDING.
    said: usize,
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
    /// Follows `shape`, from this trace's request on, which opens the tunnel and leaves so much later.
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

    /// Follows `shape`, from this trace's first answer on.
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

    /// Until when what is due is sent now: with what leaves first goes what follows it shortly.
    fn horizon(&self, now: Time) -> Time {
        match self.first {
            Some(first) => first.max(now) + AHEAD,
            None if self.paced && self.up => now + AHEAD,
            None if self.ready().is_some_and(|ready| now >= ready) => now + READY,
            None => now,
        }
    }

    /// When a server makes into records what is to leave next: not before what it handed on last has left, nor while a handshake goes on,
    /// whose next message would be too late for it.
    fn ready(&self) -> Option<Time> {
        let at = self.follower.next()?;
        let halfway = self.follower.halfway()?;
        let early = Time::ZERO + (at - Time::ZERO).saturating_sub(READY);
        let ready = early.max(halfway).max(self.later.unwrap_or(halfway));
        (self.paced && !self.up && !self.bare).then_some(ready)
    }

    /// Sends what is due. Whether something was sent.
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
            // What belongs together is not told apart before the session's turn is over.
            return Ok(false);
        }
        if self.bare && !self.waiting.is_empty() && self.follower.heard() {
            // What a handshake says cannot be filled up: it was whole, or there would be no answer.
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
        // Nothing to say, and nothing to fill with: what comes goes then.
        if self.bare && self.waiting.is_empty() {
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
            // What is to be made into records together has its PADDING first, where there is time for that.
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
                    burst.len() + burst.len().div_ceil(FRAME) * FRAME_HEADER,
                );
            }
        }
        self.inner.cut(&sizes);
        // A browser's requests follow each other by some microseconds more than it takes to write them. The first request leaves as
        // soon as the handshake's end has.
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
        // Bursts that are due together, as the first was late, are told apart all the same.
        self.inner.push(cx);
        let now = next.map_or(now, |(at, _)| at.max(now));
        self.follower.sent(now, records);
        if self.up
            && let Some(begins) = self.follower.expected()
        {
            let leaves = self.first.unwrap_or(now);
            self.reading.asked(leaves, begins);
        }
        // PADDING is asked for anew with each burst.
        self.lacks = 0;
        Ok(true)
    }

    /// Asks for what this burst lacks, and those that are due shortly.
    fn prepare(&mut self, now: Time, burst: usize) {
        let soon = self.follower.until(self.horizon(now) + AHEAD);
        let soon = soon.map(|records| portion(records).1).sum::<usize>();
        // What is short is made before the other side's part has come: what is said in it would have to wait for little.
        let next = self.follower.own().map_or(0, |records| portion(records).1);
        let next = Some(next).filter(|n| *n <= SHORT).unwrap_or_default();
        let bytes = burst.max(soon.min(PORTION)).max(next);
        self.lacks = bytes.saturating_sub(self.waiting.len());
    }

    /// A server whose client has followed its trace to the end asks for another one, with a little of what it has to say; until it comes.
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

    /// Whether there was, or is, more to say than PADDING.
    const fn goes_on(&self) -> bool {
        self.moved || self.said > 0
    }

    /// Begins the next trace when the last is over and there is more to say.
    fn next_trace(&mut self, now: Time) {
        if !self.follower.is_over() {
            return;
        }
        let since = *self.over_since.get_or_insert(now);
        // The client begins: page loads do.
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

    /// Sends all that waits, as the session ends.
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
        // Behind the last of what waited: an end before it would cut it off.
        if std::mem::take(&mut self.end_owed) {
            self.inner.end();
        }
        Ok(moved)
    }

    /// Turns until nothing is due, and sets the timer.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.turn(cx)? {}
        if self.first.take().is_some() {
            self.inner.leaves(None);
            self.inner.push(cx);
        }
        // What was handed over last may still wait for the peer's credit.
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
        // What waits for PADDING, or for room, is woken by that.
        if let Some(at) = wake.filter(|at| *at > now)
            && poll_until(&mut self.timer, self.began, at, cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// When what is read now came: of the answer that opens a tunnel, which may have been kept from being read for a while.
    fn came(&self, now: Time) -> Time {
        let opens = self.up && self.cost.bursts == 1;
        let heard = self.inner.heard().filter(|_| opens);
        heard.map_or(now, |at| {
            (Time::ZERO + at.saturating_duration_since(self.began)).min(now)
        })
    }
}

/// Waits until then, with a timer that is kept for it.
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

/// As many of a burst's records as are sent at once, by their plaintext, and how much of a session's bytes goes into them.
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
            // What comes when all is over is said by a server that has more to say.
            let late = self.over_since.is_some_and(|since| now >= since + SETTLED);
            self.moved |= self.up && late;
            self.reading.came(&self.follower, now);
            self.follower.received(self.came(now), bytes.len());
            // What a server says in several goes may have more to be read in part.
            if self.up
                && let Some(begins) = self.follower.follows()
            {
                self.reading
                    .begins(self.inner.as_mut(), &self.follower, begins);
            }
            // Before what came is looked at: an answer's time is not that of what it answers.
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
        // The peer's end is what is waited for now.
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
