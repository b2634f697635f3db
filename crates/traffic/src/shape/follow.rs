//! One end that follows a trace.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;

use super::{RECORD, RECORD_MAX, Step, payload};

/// What a server sends within less than that of what it sent before belongs together: who looks on reads a long write in pieces.
pub(super) const TOGETHER: Duration = Duration::from_micros(250);
/// How long such a write is, at most, where nothing holds it up.
const FLIGHT: Duration = Duration::from_millis(2);
/// What comes within less than that behind a whole window belongs to it too: a client that does not read holds it up.
pub(super) const HELD_UP: Duration = Duration::from_millis(30);
/// How long a write is then, at most.
const LONG_FLIGHT: Duration = Duration::from_millis(100);
/// What comes so long after what came before waited for the client to read.
pub(super) const STALL: Duration = Duration::from_micros(100);
/// What a connection has room for before anything is read.
pub(super) const WINDOW: usize = 64 << 10;
/// What has to be read for anything to be known of it: a frame of HTTP/2, and what is around it.
const READABLE: usize = 17 << 10;
/// Of a record.
pub(super) const HEADER: usize = 5;
/// What is due so soon is due: no timer is as short.
const SOON: Duration = Duration::from_micros(60);
/// How long the other side's part is waited for beyond its time.
const PATIENCE: Duration = Duration::from_millis(150);
/// Lateness of a burst that is made up for.
const LATE: Duration = Duration::from_millis(20);
/// Gaps up to that long are kept between what one side sends, however late it is.
const STEADY: Duration = Duration::from_micros(500);

/// Records that one side sends together.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Burst {
    up: bool,
    gap: Duration,
    records: Vec<u16>,
    /// From the first of them to the last.
    length: Duration,
    /// What came before it stood still as nobody read, each time: how long after the first record it began, and its bytes.
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

    /// Whether what comes so long after its last record waited for the other side to read.
    fn is_held_up(&self, gap: Duration) -> bool {
        let full = self
            .windows
            .last()
            .is_some_and(|(_, bytes)| *bytes >= WINDOW);
        !self.up && gap >= STALL && full
    }

    /// Whether a record that comes so long after its last one, which came so long after its first, is of it.
    fn takes(&self, gap: Duration, within: Duration) -> bool {
        if self.up {
            // Each request is a write of its own.
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

/// What the next gap counts from, when something that takes so long is over: a little that it is too early or too late is made up for, so
/// that it does not add up over a trace.
fn kept_up(planned: Time, now: Time, length: Duration) -> Time {
    if now > planned + length + LATE {
        Time::ZERO + (now - Time::ZERO).saturating_sub(length)
    } else if planned > now + LATE {
        now
    } else {
        planned
    }
}

/// One end that follows a trace.
#[derive(Debug)]
pub struct Follower {
    up: bool,
    bursts: VecDeque<Burst>,
    /// When the burst before the first of those was.
    since: Time,
    /// When this side's last burst really left.
    left: Time,
    /// Bytes that the other side has sent since, and when the first of them came.
    received: usize,
    heard: Option<Time>,
    /// Bytes that are still to come of parts that are behind.
    owed: usize,
    /// The other side's next part comes when it can: what follows counts from that.
    unplanned: bool,
}

impl Follower {
    /// Follows a trace from `now` on, as the client does with `up`.
    #[must_use]
    pub fn new(now: Time, trace: &[Step], up: bool) -> Self {
        let mut bursts: VecDeque<Burst> = VecDeque::new();
        // The gaps within a burst are left to the carrier, and are part of the one behind it.
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

    /// How much of the answer that it waits for a client reads at first, if not all: a browser that is busy does not read, and what a
    /// connection's window has no room for waits until it does.
    #[must_use]
    pub fn first_read(&self) -> Option<usize> {
        let answer = self.bursts.front().filter(|b| b.up != self.up)?;
        // There was room for the rest before anything was read.
        let (_, first) = answer
            .windows
            .first()
            .filter(|_| answer.windows.len() > 1)?;
        Some(first.saturating_sub(WINDOW).max(READABLE))
    }

    /// How long after the first of that answer it reads on, and how much each time until it does not again: in the end all.
    pub fn reads(&self) -> impl Iterator<Item = (Duration, Option<usize>)> {
        let answer = self.bursts.front().filter(|b| b.up != self.up);
        let windows = answer.map_or(&[][..], |b| &b.windows);
        let on = windows.iter().enumerate().skip(1);
        on.map(|(n, (later, bytes))| (*later, (n + 1 < windows.len()).then_some(*bytes)))
    }

    /// When the other side is to go on, whose last part has come whole: nothing of what it says then has come yet.
    #[must_use]
    pub fn follows(&self) -> Option<Time> {
        let between = self.received == 0 && self.owed == 0;
        between.then(|| self.expected())?
    }

    /// When the other side's part is to begin.
    #[must_use]
    pub fn expected(&self) -> Option<Time> {
        let other = self.bursts.front().filter(|b| b.up != self.up);
        other.map(|b| self.since + b.gap)
    }

    /// Whether the trace is at its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bursts.is_empty()
    }

    /// The other side has sent so many bytes.
    pub fn received(&mut self, now: Time, bytes: usize) {
        let behind = bytes.min(self.owed);
        self.owed -= behind;
        self.received += bytes - behind;
        if self.received > 0 {
            self.heard.get_or_insert(now);
        }
        self.pass(now);
    }

    /// When a client goes on although only half of an answer has come: a browser asks for more while it reads.
    fn reading(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| self.up && !b.up)?;
        let next = self.bursts.get(1).filter(|b| b.up)?;
        let half = self.received * 2 >= burst.plaintext();
        half.then(|| self.since + burst.gap + next.gap)
    }

    /// Goes past what the other side has sent, or was to have sent long ago.
    fn pass(&mut self, now: Time) {
        while let Some(burst) = self.bursts.front()
            && burst.up != self.up
        {
            // What is small is waited for too.
            let payload = payload(burst.plaintext());
            let least = (payload / 9 * 8).max(1);
            let whole = self.received >= least;
            let reads = self.reading().is_some_and(|at| now + SOON >= at);
            let late = now >= self.since + burst.gap + PATIENCE;
            if !whole && !reads && !late {
                return;
            }
            // What is still to come of it is not the next part's; what has not come by now may never do.
            self.owed = if whole || reads {
                self.owed + payload.saturating_sub(self.received)
            } else {
                0
            };
            self.received = self.received.saturating_sub(payload);
            // The client's clock is both ends'. A server's answer is so much later than what it answers; a client has asked for most
            // of what comes, and goes on in its own time.
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

    /// When the records that are to be sent next are due, if it is this side's turn.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        // Lateness is made up for in longer gaps: what leaves one by one does so all the same.
        Some((self.since + burst.gap).max(self.left + burst.gap.min(STEADY)))
    }

    /// When half of the time until then is over.
    #[must_use]
    pub fn halfway(&self) -> Option<Time> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        Some(self.since + burst.gap / 2)
    }

    /// How long after what this side sent last that leaves, at least, if it is this side's turn.
    #[must_use]
    pub fn steady(&self) -> Option<Duration> {
        let burst = self.bursts.front().filter(|b| b.up == self.up)?;
        Some(burst.gap.min(STEADY))
    }

    /// The records that this side sends next, by the lengths that their headers tell, whatever comes before them.
    #[must_use]
    pub fn own(&self) -> Option<&[u16]> {
        let burst = self.bursts.iter().find(|b| b.up == self.up)?;
        Some(&burst.records)
    }

    /// The bursts that are to be sent until then, each by the lengths that its records' headers tell.
    pub fn until(&self, then: Time) -> impl Iterator<Item = &[u16]> {
        let mut at = self.since;
        let own = self.bursts.iter().take_while(move |b| {
            at = at + b.gap;
            b.up == self.up && at <= then
        });
        own.map(|b| &b.records[..])
    }

    /// The records that are to be sent now, by the lengths that their headers tell; [`Follower::sent`] follows.
    pub fn due(&mut self, now: Time) -> Option<&[u16]> {
        self.pass(now);
        self.due_by(now)
    }

    /// Those that are to be sent by then.
    #[must_use]
    pub fn due_by(&self, then: Time) -> Option<&[u16]> {
        let due = self.next()? <= then + SOON;
        let burst = self.bursts.front()?;
        due.then_some(&burst.records[..])
    }

    /// Adds records to this side's next burst until it holds so much plaintext: of sizes as its later ones have, the last of which is
    /// repeated. For what cannot wait: a handshake that the other side answers only when it is whole.
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

    /// So many of the records that are due were sent, or had to be left out.
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

    /// Whether the other side has said something in its part that is not whole yet.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.received > 0 && self.bursts.front().is_some_and(|b| b.up != self.up)
    }

    /// The other side has said what it can say now: its part is not waited for any longer.
    pub fn answered(&mut self, now: Time) {
        // It takes its time to see what it was.
        let heard = self.heard.take().filter(|_| self.up).unwrap_or(now);
        while self.bursts.front().is_some_and(|b| b.up != self.up) {
            self.bursts.pop_front();
            self.since = heard;
        }
        (self.received, self.owed) = (0, 0);
        self.unplanned = false;
    }

    /// This side's next records are due at once, whatever stands before them; what answers them comes when it can.
    pub fn at_once(&mut self, now: Time) {
        self.answered(now);
        self.unplanned = true;
        if let Some(burst) = self.bursts.front_mut() {
            burst.gap = Duration::ZERO;
        }
    }

    /// When to look again.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        let burst = self.bursts.front()?;
        let next = self.next().or_else(|| self.reading());
        Some(next.unwrap_or(self.since + burst.gap + PATIENCE))
    }
}
