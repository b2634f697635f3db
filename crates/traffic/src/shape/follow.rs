//! One end of a connection that follows a trace.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;

use super::{RECORD, RECORD_MAX, Step, payload};

/// Longest gap within one write of a server: an observer sees a long write in pieces.
pub(super) const TOGETHER: Duration = Duration::from_micros(250);
/// Maximum duration of such a write if nothing delays it.
const FLIGHT: Duration = Duration::from_millis(2);
/// Longest gap after a full window within one write: a client that does not read delays it.
pub(super) const HELD_UP: Duration = Duration::from_millis(30);
/// Maximum duration of a write that was delayed.
const LONG_FLIGHT: Duration = Duration::from_millis(100);
/// Gap from which a record is taken to have waited for the client to read.
pub(super) const STALL: Duration = Duration::from_micros(100);
/// Bytes that a connection buffers before anything is read.
pub(super) const WINDOW: usize = 64 << 10;
/// Bytes to read before a frame can be recognized: an HTTP/2 frame with its overhead.
const READABLE: usize = 17 << 10;
/// Length of a record header.
pub(super) const HEADER: usize = 5;
/// Times this near count as due: no timer is as short.
const SOON: Duration = Duration::from_micros(60);
/// Time by which the other side's part may be late before it is skipped.
const PATIENCE: Duration = Duration::from_millis(150);
/// Maximum lateness of a burst that is compensated for.
const LATE: Duration = Duration::from_millis(20);
/// Gaps up to this length are kept between records of one side, however late they are.
const STEADY: Duration = Duration::from_micros(500);

/// Records that one side sends together.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Burst {
    up: bool,
    gap: Duration,
    records: Vec<u16>,
    /// Time from the first record to the last.
    length: Duration,
    /// Parts of the burst between stalls, at which nobody read: the start of each since the first record, and its bytes.
    windows: Vec<(Duration, usize)>,
}

impl Burst {
    fn new(up: bool, gap: Duration, size: u16) -> Self {
        let mut burst = Self {
            up,
            gap,
            records: Vec::new(),
            length: Duration::ZERO,
            windows: [(Duration::ZERO, 0)].into(),
        };
        burst.add(size);
        burst
    }

    fn add(&mut self, size: u16) {
        self.records.push(size);
        if let Some((_, bytes)) = self.windows.last_mut() {
            *bytes += usize::from(size) + HEADER;
        }
    }

    /// Whether a record at this gap after the last one waited for the other side to read.
    fn is_held_up(&self, gap: Duration) -> bool {
        let full = self
            .windows
            .last()
            .is_some_and(|(_, bytes)| *bytes >= WINDOW);
        !self.up && gap >= STALL && full
    }

    /// Whether a record belongs to this burst: `gap` after its last record, which came `within` after its first.
    fn takes(&self, gap: Duration, within: Duration) -> bool {
        if self.up {
            // Each request is a separate write.
            return gap.is_zero();
        }
        if self.is_held_up(gap) {
            return gap < HELD_UP && within + gap < LONG_FLIGHT;
        }
        let since = self.windows.last().map_or(Duration::ZERO, |(at, _)| *at);
        gap < TOGETHER && within + gap < since + FLIGHT
    }

    fn plaintext(&self) -> usize {
        let sizes = self.records.iter().map(|r| usize::from(*r) - RECORD);
        sizes.sum()
    }
}

/// Reference time of the next gap when an action of this length is over. Small deviations are compensated for, so that they do
/// not accumulate over a trace.
fn kept_up(planned: Time, now: Time, length: Duration) -> Time {
    if now > planned + length + LATE {
        Time::ZERO + (now - Time::ZERO).saturating_sub(length)
    } else if planned > now + LATE {
        now
    } else {
        planned
    }
}

/// One end of a connection that follows a trace.
#[derive(Debug)]
pub struct Follower {
    up: bool,
    bursts: VecDeque<Burst>,
    /// Reference time of the first remaining burst: when the one before it took place.
    since: Time,
    /// Time at which this side's last burst actually left.
    left: Time,
    /// Bytes that the other side has sent since.
    received: usize,
    heard: Option<Time>,
    /// Bytes still to come of parts that were already passed.
    owed: usize,
    /// The other side's next part has no scheduled time; later times count from its arrival.
    unplanned: bool,
}

impl Follower {
    /// Follows a trace from `now` on; the client passes `up`.
    #[must_use]
    pub fn new(now: Time, trace: &[Step], up: bool) -> Self {
        let mut bursts: VecDeque<Burst> = VecDeque::new();
        // The carrier handles gaps within a burst; they count towards the gap of the burst after it.
        let mut within = Duration::ZERO;
        for step in trace {
            let gap = Duration::from(step.gap);
            let last = bursts.back_mut().filter(|last| last.up == step.up);
            match last {
                Some(last) if last.takes(gap, within) => {
                    within += gap;
                    last.length = within;
                    if last.is_held_up(gap) {
                        last.windows.push((within, 0));
                    }
                    last.add(step.size);
                }
                _ => {
                    let gap = gap + core::mem::take(&mut within);
                    bursts.push_back(Burst::new(step.up, gap, step.size));
                }
            }
        }
        Self {
            up,
            bursts,
            since: now,
            left: now,
            received: 0,
            heard: None,
            owed: 0,
            unplanned: false,
        }
    }

    /// Number of bytes of the awaited answer that a client reads at first; `None` for all. A busy browser does not read, and
    /// bytes that exceed the connection's window wait until it does.
    #[must_use]
    pub fn first_read(&self) -> Option<usize> {
        let answer = self.bursts.front().filter(|b| b.up != self.up)?;
        // The window had room for the rest before anything was read.
        let (_, first) = answer
            .windows
            .first()
            .filter(|_| answer.windows.len() > 1)?;
        Some(first.saturating_sub(WINDOW).max(READABLE))
    }

    /// Times, since the answer began, at which the client reads on, each with the number of bytes to read; `None` for all the
    /// rest.
    pub fn reads(&self) -> impl Iterator<Item = (Duration, Option<usize>)> {
        let answer = self.bursts.front().filter(|b| b.up != self.up);
        let windows = answer.map_or(&[][..], |b| &b.windows);
        let on = windows.iter().enumerate().skip(1);
        on.map(|(n, (later, bytes))| (*later, (n + 1 < windows.len()).then_some(*bytes)))
    }

    /// Scheduled time of the other side's next part, if its last part is complete and nothing of the next one has arrived.
    #[must_use]
    pub fn follows(&self) -> Option<Time> {
        let between = self.received == 0 && self.owed == 0;
        between.then(|| self.expected())?
    }

    /// Scheduled time of the other side's part.
    #[must_use]
    pub fn expected(&self) -> Option<Time> {
        let other = self.bursts.front().filter(|b| b.up != self.up);
        other.map(|b| self.since + b.gap)
    }

    /// Whether the trace has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bursts.is_empty()
    }

    /// Records that the other side has sent `bytes` bytes.
    pub fn received(&mut self, now: Time, bytes: usize) {
        let behind = bytes.min(self.owed);
        self.owed -= behind;
        self.received += bytes - behind;
        if self.received > 0 {
            self.heard.get_or_insert(now);
        }
        self.pass(now);
    }

    /// Time at which a client goes on with half of an answer received: a browser sends requests while it reads.
    fn reading(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| self.up && !b.up)?;
        let next = self.bursts.get(1).filter(|b| b.up)?;
        let half = self.received * 2 >= burst.plaintext();
        half.then(|| self.since + burst.gap + next.gap)
    }

    /// Skips parts that the other side has sent, or should have sent long ago.
    fn pass(&mut self, now: Time) {
        while let Some(burst) = self.bursts.front()
            && burst.up != self.up
        {
            // Small parts are awaited too.
            let payload = payload(burst.plaintext());
            let least = (payload / 9 * 8).max(1);
            let whole = self.received >= least;
            let reads = self.reading().is_some_and(|at| now + SOON >= at);
            let late = now >= self.since + burst.gap + PATIENCE;
            if !whole && !reads && !late {
                return;
            }
            // Bytes still to come of this part do not count for the next one. Bytes missing after a timeout may never come.
            self.owed = if whole || reads {
                self.owed + payload.saturating_sub(self.received)
            } else {
                0
            };
            self.received = self.received.saturating_sub(payload);
            // Both ends use the client's clock. A server's answer is timed from its request. A client that has most of an
            // answer goes on at its own time.
            let heard = self.heard.take();
            let unplanned = core::mem::take(&mut self.unplanned);
            self.since = if self.up && !unplanned {
                kept_up(self.since + burst.gap, now, burst.length)
            } else {
                heard.filter(|_| self.up).unwrap_or(now)
            };
            self.bursts.pop_front();
        }
    }

    /// Due time of the next records, if it is this side's turn.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        // Lateness is compensated for in longer gaps; records that leave one by one stay apart all the same.
        Some((self.since + burst.gap).max(self.left + burst.gap.min(STEADY)))
    }

    /// Midpoint of the time until the next records are due.
    #[must_use]
    pub fn halfway(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        Some(self.since + burst.gap / 2)
    }

    /// Minimum gap between this side's last records and its next, if it is this side's turn.
    #[must_use]
    pub fn steady(&self) -> Option<Duration> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        Some(burst.gap.min(STEADY))
    }

    /// Record lengths of this side's next burst, whatever comes before it.
    #[must_use]
    pub fn own(&self) -> Option<&[u16]> {
        let burst = self.bursts.iter().find(|b| b.up == self.up)?;
        Some(&burst.records)
    }

    /// Record lengths of each burst that is due until `then`.
    pub fn until(&self, then: Time) -> impl Iterator<Item = &[u16]> {
        let mut at = self.since;
        let own = self.bursts.iter().take_while(move |b| {
            at = at + b.gap;
            b.up == self.up && at <= then
        });
        own.map(|b| &b.records[..])
    }

    /// Lengths of the records to send now; call [`Follower::sent`] afterwards.
    pub fn due(&mut self, now: Time) -> Option<&[u16]> {
        self.pass(now);
        self.due_by(now)
    }

    /// Lengths of the records that are due by `then`.
    #[must_use]
    pub fn due_by(&self, then: Time) -> Option<&[u16]> {
        let due = self.next()? <= then + SOON;
        let burst = self.bursts.front()?;
        due.then_some(&burst.records[..])
    }

    /// Adds records to this side's next burst until it holds `plaintext` bytes. Sizes are those of later bursts; the last one is
    /// repeated. For data that cannot wait, such as a handshake that the peer answers only once it is whole.
    pub fn stretch(&mut self, plaintext: usize) {
        let up = self.up;
        let own = self.bursts.iter().filter(|b| b.up == up);
        let mut later = own
            .skip(1)
            .flat_map(|b| b.records.clone())
            .collect::<VecDeque<_>>();
        let Some(first) = self.bursts.front_mut().filter(|b| b.up == up) else {
            return;
        };
        let mut missing = plaintext.saturating_sub(first.plaintext());
        while missing > 0 {
            let last = first.records.last().copied().unwrap_or(RECORD_MAX);
            let record = later.pop_front().unwrap_or(last);
            missing = missing.saturating_sub((usize::from(record) - RECORD).max(1));
            first.records.push(record);
        }
    }

    /// Records that `records` of the due records were sent, or had to be skipped.
    pub fn sent(&mut self, now: Time, records: usize) {
        let Some(burst) = self.bursts.front_mut() else {
            return;
        };
        burst.records.drain(..records.min(burst.records.len()));
        let planned = self.since + core::mem::take(&mut burst.gap);
        if burst.records.is_empty() {
            self.bursts.pop_front();
        }
        self.since = kept_up(planned, now, Duration::ZERO);
        self.left = now;
    }

    /// Whether the other side has sent something of its unfinished part.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.received > 0 && self.bursts.front().is_some_and(|b| b.up != self.up)
    }

    /// Ends the other side's part: it has sent all that it can at present.
    pub fn answered(&mut self, now: Time) {
        // A client takes its time to process the answer.
        let heard = self.heard.take().filter(|_| self.up).unwrap_or(now);
        while self.bursts.front().is_some_and(|b| b.up != self.up) {
            self.bursts.pop_front();
            self.since = heard;
        }
        (self.received, self.owed) = (0, 0);
        self.unplanned = false;
    }

    /// Makes this side's next records due at once, whatever precedes them; their answer has no scheduled time.
    pub fn at_once(&mut self, now: Time) {
        self.answered(now);
        self.unplanned = true;
        if let Some(burst) = self.bursts.front_mut() {
            burst.gap = Duration::ZERO;
        }
    }

    /// Time of the next check.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        let burst = self.bursts.front()?;
        let next = self.next().or_else(|| self.reading());
        Some(next.unwrap_or(self.since + burst.gap + PATIENCE))
    }
}
