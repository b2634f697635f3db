//! Shapes of traffic: what page loads look like to an observer, and when one end of a tunnel sends how much to look like one.
//!
//! A [`Trace`] is the records of one page load behind its handshake: their directions, sizes and gaps. A [`Shape`] is many of them.
//! Both ends of a tunnel that have the same shape draw the same trace from a key that they share, and each of them follows its own
//! direction of it with a [`Follower`]: it sends in the bursts that the trace has, filled up with PADDING where there is less to say,
//! held back where there is more.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_keys::hash;
use betanet_machine::Time;
use betanet_wire::{cbor, message, text};

/// What files have as `v`.
const FORMAT: u16 = 2;
/// Records of one trace, at most.
pub const STEPS_MAX: usize = 4096;
/// Traces of one shape, at most.
pub const TRACES_MAX: usize = 1024;
/// What TLS adds to a record's plaintext: its type, and the tag.
pub const RECORD: usize = 17;
/// Longest record: 2^14 bytes of plaintext.
const RECORD_MAX: u16 = 16_384 + 17;
/// What a client sends within less than that belongs together: each request is a write of its own.
const ASKED: Duration = Duration::from_micros(20);
/// What a server sends within less than that belongs together: who looks on reads a long write in pieces.
const TOGETHER: Duration = Duration::from_micros(100);
/// What is due so soon is due: no timer is as short.
const SOON: Duration = Duration::from_micros(50);
/// How long the other side's part is waited for beyond its time.
const PATIENCE: Duration = Duration::from_millis(150);
/// The record of an acknowledgement of SETTINGS: a frame without a body.
const ACKNOWLEDGED: u16 = 9 + 17;
/// In which pauses, and short gaps, are kept.
const UNIT: Duration = Duration::from_micros(10);
/// Bit 15 of a gap: it counts milliseconds, not units.
const LONG: u16 = 0x8000;
/// Lateness of a burst that is made up for.
const LATE: Duration = Duration::from_millis(20);
/// Gaps up to that long are kept between what one side sends, however late it is.
const STEADY: Duration = Duration::from_micros(500);
/// Bit 15 of a size on disk: the record goes up, from client to server.
const UP: u16 = 0x8000;

/// A time between two records, as a shape keeps it: to 10 microseconds below a third of a second, to a millisecond up to half a minute.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gap(u16);

impl Gap {
    /// The nearest one.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        let micros = time.as_micros();
        let short = (micros + 5) / UNIT.as_micros();
        let long = ((micros + 500) / 1000).min(u128::from(!LONG));
        let kept = if short < u128::from(LONG) {
            short
        } else {
            long
        };
        let kept = u16::try_from(kept).unwrap_or(u16::MAX);
        Self(if short < u128::from(LONG) {
            kept
        } else {
            kept | LONG
        })
    }
}

impl From<Gap> for Duration {
    fn from(Gap(kept): Gap) -> Self {
        if kept & LONG == 0 {
            UNIT * u32::from(kept)
        } else {
            Self::from_millis(u64::from(kept & !LONG))
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Since the record before.
    pub gap: Gap,
    /// Whether it goes from client to server.
    pub up: bool,
    /// The length that its header tells.
    pub size: u16,
}

/// The records of one page load, behind the handshake.
pub type Trace = Vec<Step>;

/// What page loads of one site look like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    traces: Vec<Trace>,
    /// In units of 10 microseconds.
    pauses: Vec<[u16; 3]>,
}

/// How long one client took for what no burst shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pauses {
    /// To answer the server's handshake.
    pub answer: Duration,
    /// From that answer to the first request.
    pub request: Duration,
    /// To acknowledge the server's SETTINGS.
    pub acknowledge: Duration,
}

message! {
    struct Map<'a> {
        req "v" version: u16,
        opt "pauses" pauses: &'a [u8],
        req "traces" traces: Vec<&'a [u8]>,
    }
}

/// Why bytes are no shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Not DET-CBOR, or not this map.
    #[error("it does not decode: {0}")]
    Cbor(#[from] cbor::Error),
    /// Another format.
    #[error("its format is not {FORMAT}: learn it anew")]
    Version,
    /// No trace, or more than [`TRACES_MAX`].
    #[error("it has no trace, or more than {TRACES_MAX}")]
    Traces,
    /// A trace of none or of more than [`STEPS_MAX`] records, or one that is cut in a record.
    #[error("a trace without records, with more than {STEPS_MAX}, or cut in the middle of one")]
    Steps,
    /// More pauses than [`TRACES_MAX`], or one that is cut.
    #[error("pauses that are no list of at most {TRACES_MAX}")]
    Pauses,
    /// A record longer than TLS has any, or without a byte of plaintext.
    #[error("a record of {0} bytes")]
    Size(u16),
}

/// A record as an observer sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Microseconds since the connection's first.
    pub at: u64,
    /// Whether it goes from client to server.
    pub up: bool,
    /// Its content type: 23 is application data.
    pub kind: u8,
    /// The length that its header tells.
    pub size: u16,
}

impl Shape {
    /// From traces.
    ///
    /// # Errors
    ///
    /// [`ShapeError`].
    pub fn new(traces: Vec<Trace>) -> Result<Self, ShapeError> {
        if traces.is_empty() || traces.len() > TRACES_MAX {
            return Err(ShapeError::Traces);
        }
        for trace in &traces {
            if trace.is_empty() || trace.len() > STEPS_MAX {
                return Err(ShapeError::Steps);
            }
            let range = 18..=RECORD_MAX;
            if let Some(bad) = trace.iter().find(|s| !range.contains(&s.size)) {
                return Err(ShapeError::Size(bad.size));
            }
        }
        let pauses = Vec::new();
        Ok(Self { traces, pauses })
    }

    /// With how long clients took for what no burst shows.
    #[must_use]
    pub fn with_pauses(mut self, pauses: &[Pauses]) -> Self {
        let short =
            |p: Duration| u16::try_from(p.as_micros() / UNIT.as_micros()).unwrap_or(u16::MAX);
        let all = |p: &Pauses| [p.answer, p.request, p.acknowledge].map(short);
        self.pauses = pauses.iter().take(TRACES_MAX).map(all).collect();
        self
    }

    /// How long clients took for what no burst shows, where that was learnt.
    pub fn pauses(&self) -> impl Iterator<Item = Pauses> {
        let long = |n: u16| u32::from(n) * UNIT;
        self.pauses.iter().map(move |[a, b, c]| Pauses {
            answer: long(*a),
            request: long(*b),
            acknowledge: long(*c),
        })
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    ///
    /// [`ShapeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShapeError> {
        let map: Map<'_> = cbor::from_slice(bytes)?;
        if map.version != FORMAT {
            return Err(ShapeError::Version);
        }
        let mut traces = Vec::new();
        for bytes in map.traces {
            let (steps, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(ShapeError::Steps);
            }
            let step = |b: &[u8; 4]| {
                let size = u16::from_be_bytes([b[2], b[3]]);
                Step {
                    gap: Gap(u16::from_be_bytes([b[0], b[1]])),
                    up: size & UP != 0,
                    size: size & !UP,
                }
            };
            traces.push(steps.iter().map(step).collect());
        }
        let (pauses, rest) = map.pauses.unwrap_or_default().as_chunks::<6>();
        if !rest.is_empty() || pauses.len() > TRACES_MAX {
            return Err(ShapeError::Pauses);
        }
        let mut shape = Self::new(traces)?;
        let all =
            |[a, b, c, d, e, f]: &[u8; 6]| [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_be_bytes);
        shape.pauses = pauses.iter().map(all).collect();
        Ok(shape)
    }

    /// The file's bytes: DET-CBOR of `{"v": 2, "pauses": bstr, "traces": [bstr]}`, four bytes a record, and six a client's pauses, if there are any.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |trace: &Trace| -> Vec<u8> {
            let steps = trace.iter().flat_map(|s| {
                let [a, b] = s.gap.0.to_be_bytes();
                let [c, d] = (s.size | if s.up { UP } else { 0 }).to_be_bytes();
                [a, b, c, d]
            });
            steps.collect()
        };
        let traces: Vec<Vec<u8>> = self.traces.iter().map(bytes).collect();
        let pauses: Vec<u8> = self
            .pauses
            .iter()
            .flatten()
            .flat_map(|p| p.to_be_bytes())
            .collect();
        cbor::to_vec(&Map {
            version: FORMAT,
            pauses: Some(&pauses[..]).filter(|p| !p.is_empty()),
            traces: traces.iter().map(Vec::as_slice).collect(),
        })
    }

    /// Its traces.
    #[must_use]
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// What tells it from others.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        hash(&[&self.to_bytes()])
    }

    /// A label's last characters that say to whoever has this shape, and to nobody else, that the client of this connection
    /// follows it.
    #[must_use]
    pub fn mark(&self, ekm0: &[u8; 32]) -> alloc::string::String {
        text::base64url(&hash(&[b"BN-SHAPE", ekm0, &self.id()])[..6])
    }

    /// The trace that both ends draw `n`th from a key that they share.
    #[must_use]
    pub fn drawn(&self, key: &[u8; 32], n: u32) -> &[Step] {
        let drawn = hash(&[b"BN-TRACE", key, &n.to_be_bytes()]);
        let number = drawn[..8]
            .iter()
            .fold(0, |n: u64, b| n << 8 | u64::from(*b));
        let index = usize::try_from(number % self.traces.len() as u64).unwrap_or(0);
        &self.traces[index]
    }
}

/// Learns a trace from a connection's records. `None` where it holds no request and answer.
///
/// Left out is what is before the client's request: the handshake, `skip` records of the server behind it (session tickets, HTTP/2's
/// SETTINGS), the client's two (Finished, and its SETTINGS), and acknowledgements of SETTINGS, which carry nothing.
#[must_use]
pub fn learn(records: &[Record], skip: usize) -> Option<Trace> {
    let data = |r: &&Record| r.kind == 23;
    let first_up = records.iter().find(|r| r.kind == 23 && r.up)?.at;
    let begun = records
        .iter()
        .position(|r| r.kind == 23 && r.up && r.at >= first_up)?;
    let (mut ups, mut downs) = (0, 0);
    let mut kept: Vec<&Record> = Vec::new();
    for record in records[begun..].iter().filter(data) {
        let counted = if record.up {
            ups += 1;
            ups > 2
        } else {
            downs += 1;
            downs > skip
        };
        if counted && !(record.up && record.size == ACKNOWLEDGED) && record.size >= 18 {
            kept.push(record);
        }
    }
    if !kept.first()?.up || kept.iter().all(|r| r.up) {
        return None;
    }
    // Each record's time is rounded, not each gap: what is lost does not add up.
    let first = kept.first()?.at;
    let mut last = Duration::ZERO;
    let steps = kept.iter().take(STEPS_MAX).map(|r| {
        let at = Duration::from_micros(r.at.saturating_sub(first));
        let gap = Gap::new(at.saturating_sub(last));
        last += Duration::from(gap);
        Step {
            gap,
            up: r.up,
            size: r.size.min(RECORD_MAX),
        }
    });
    Some(steps.collect())
}

/// How long a connection's client took for what no burst shows.
#[must_use]
pub fn learn_pauses(records: &[Record]) -> Option<Pauses> {
    let after = |from: usize, is: &dyn Fn(&Record) -> bool| {
        let found = records.get(from..)?.iter().position(is)?;
        Some(from + found)
    };
    let took = |from: usize, to: usize| {
        let micros = records[to].at.checked_sub(records[from].at)?;
        Some(Duration::from_micros(micros))
    };
    let hello = after(0, &|r| !r.up)?;
    let answer = after(hello, &|r| r.up)?;
    let finished = after(answer, &|r| r.up && r.kind == 23)?;
    let request = after(finished + 1, &|r| r.up)?;
    let settings = after(finished, &|r| !r.up && r.kind == 23)?;
    let acknowledged = after(settings, &|r| r.up && r.size == ACKNOWLEDGED);
    Some(Pauses {
        answer: took(answer - 1, answer)?,
        request: took(finished, request)?,
        acknowledge: acknowledged
            .and_then(|at| took(settings, at))
            .unwrap_or_default(),
    })
}

/// How much later tunnels that follow page loads are than those were: what a machine, or the way to who recorded, adds by itself. To be
/// taken off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Of each pause.
    pub pauses: Pauses,
    /// Of the server's answers.
    pub answers: Duration,
}

/// Learns the lag of tunnels that followed these loads: by how much the medians lie apart.
#[must_use]
pub fn learn_lag(loads: &[Vec<Record>], tunnels: &[Vec<Record>]) -> Lag {
    let apart = |of: &dyn Fn(&[Record]) -> Vec<Duration>| {
        let median = |connections: &[Vec<Record>]| {
            let mut all: Vec<Duration> = connections.iter().flat_map(|c| of(c)).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        median(tunnels).saturating_sub(median(loads))
    };
    let pause = |of: fn(Pauses) -> Duration| {
        apart(&move |c: &[Record]| learn_pauses(c).map(of).into_iter().collect())
    };
    let answers = |c: &[Record]| {
        let pairs = c.windows(2).filter(|p| p[0].up && !p[1].up);
        pairs
            .map(|p| Duration::from_micros(p[1].at.saturating_sub(p[0].at)))
            .collect()
    };
    Lag {
        pauses: Pauses {
            answer: pause(|p| p.answer),
            request: pause(|p| p.request),
            acknowledge: pause(|p| p.acknowledge),
        },
        answers: apart(&answers),
    }
}

impl Lag {
    /// Takes it off what was learnt of one load.
    pub fn take_off(&self, trace: &mut Trace, pauses: &mut Pauses) {
        // What is taken off an answer is given to what follows it: that is not the earlier for it.
        let (mut up, mut owed) = (true, Duration::ZERO);
        for step in trace {
            if core::mem::replace(&mut up, step.up) != step.up {
                let gap = Duration::from(step.gap) + owed;
                let lag = if step.up {
                    Duration::ZERO
                } else {
                    self.answers
                };
                let less = gap.saturating_sub(lag);
                step.gap = Gap::new(less);
                owed = gap - less;
            }
        }
        let less = |p: &mut Duration, lag| *p = p.saturating_sub(lag);
        less(&mut pauses.answer, self.pauses.answer);
        less(&mut pauses.request, self.pauses.request);
        less(&mut pauses.acknowledge, self.pauses.acknowledge);
    }
}

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

fn together(up: bool) -> Duration {
    if up { ASKED } else { TOGETHER }
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
                Some(last) if last.up == step.up && within + gap < together(step.up) => {
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
        }
    }

    /// Whether the trace is at its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.bursts.is_empty()
    }

    /// The other side has sent so many bytes.
    pub fn received(&mut self, now: Time, bytes: usize) {
        self.received += bytes;
        self.pass(now);
    }

    /// Goes past what the other side has sent, or was to have sent long ago.
    fn pass(&mut self, now: Time) {
        while let Some(burst) = self.bursts.front()
            && burst.up != self.up
        {
            // Frames of HTTP around what is counted, one a record at most, make it a little less.
            let frames = 9 * burst.records.len();
            let whole = self.received + self.received / 8 + frames >= burst.plaintext();
            let late = now >= self.since + burst.gap + PATIENCE;
            if !whole && !late {
                return;
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
        self.received = 0;
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
        Some(self.next().unwrap_or(self.since + burst.gap + PATIENCE))
    }
}

#[cfg(test)]
mod tests;
