//! One end that follows a trace.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;

use super::{RECORD, RECORD_MAX, Step};

/// What a client sends within less than that belongs together: each request is a write of its own.
const ASKED: Duration = Duration::from_micros(20);
/// What a server sends within less than that of what it sent before belongs together: who looks on reads a long write in pieces.
const TOGETHER: Duration = Duration::from_micros(250);
/// How long such a write is, at most.
const FLIGHT: Duration = Duration::from_millis(2);
/// What is due so soon is due: no timer is as short.
const SOON: Duration = Duration::from_micros(50);
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
}

impl Burst {
    fn plaintext(&self) -> usize {
        let sizes = self.records.iter().map(|r| usize::from(*r) - RECORD);
        sizes.sum()
    }
}

/// What the next gap counts from: a little that something is too early or too late is made up for, so that it does not add up over a
/// trace.
fn kept_up(planned: Time, now: Time) -> Time {
    if now <= planned + LATE && planned <= now + LATE {
        planned
    } else {
        now
    }
}

/// Whether a record that comes so long after the one before, which came so long after its burst's first, is of that burst.
fn together(up: bool, gap: Duration, within: Duration) -> bool {
    if up {
        within + gap < ASKED
    } else {
        gap < TOGETHER && within + gap < FLIGHT
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
    /// Bytes that the other side has sent since.
    received: usize,
    /// Bytes that are still to come of parts that are behind.
    owed: usize,
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
            match bursts.back_mut() {
                Some(last) if last.up == step.up && together(step.up, gap, within) => {
                    last.records.push(step.size);
                    within += gap;
                }
                _ => bursts.push_back(Burst {
                    up: step.up,
                    gap: gap + core::mem::take(&mut within),
                    records: [step.size].into(),
                }),
            }
        }
        Self {
            up,
            bursts,
            since: now,
            left: now,
            received: 0,
            owed: 0,
        }
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
            // Frames of HTTP around what is counted, one a record at most, make it a little less.
            let least = (burst.plaintext().saturating_sub(9 * burst.records.len())) / 9 * 8;
            let whole = self.received >= least;
            let reads = self.reading().is_some_and(|at| now + SOON >= at);
            let late = now >= self.since + burst.gap + PATIENCE;
            if !whole && !reads && !late {
                return;
            }
            if reads {
                self.owed += least.saturating_sub(self.received);
            }
            self.received = self.received.saturating_sub(burst.plaintext());
            // The client's clock is both ends'. A server's answer is so much later than what it answers; a client has asked for most
            // of what comes, and goes on in its own time.
            self.since = if self.up {
                kept_up(self.since + burst.gap, now)
            } else {
                now
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
        let due = self.next()? <= now + SOON;
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
        self.since = kept_up(planned, now);
        self.left = now;
    }

    /// Whether the other side has said something in its part that is not whole yet.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.received > 0 && self.bursts.front().is_some_and(|b| b.up != self.up)
    }

    /// The other side has said what it can say now: its part is not waited for any longer.
    pub fn answered(&mut self, now: Time) {
        while self.bursts.front().is_some_and(|b| b.up != self.up) {
            self.bursts.pop_front();
            self.since = now;
        }
        (self.received, self.owed) = (0, 0);
    }

    /// This side's next records are due at once, whatever stands before them.
    pub fn at_once(&mut self, now: Time) {
        self.answered(now);
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
