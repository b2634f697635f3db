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

/// Records of one trace, at most.
pub const STEPS_MAX: usize = 4096;
/// Traces of one shape, at most.
pub const TRACES_MAX: usize = 1024;
/// What TLS adds to a record's plaintext: its type, and the tag.
pub const RECORD: usize = 17;
/// Longest record: 2^14 bytes of plaintext.
const RECORD_MAX: u16 = 16_384 + 17;
/// In which gaps are told.
const GAP_UNIT: Duration = Duration::from_micros(100);
/// Records that one side sends within so many of them belong together.
const TOGETHER: u16 = 30;
/// How long the other side's part is waited for beyond its time.
const PATIENCE: Duration = Duration::from_millis(150);
/// The record of an acknowledgement of SETTINGS: a frame without a body.
const ACKNOWLEDGED: u16 = 9 + 17;
/// In which pauses are kept.
const PAUSE_UNIT: Duration = Duration::from_micros(10);
/// Lateness of a burst that is made up for.
const LATE: Duration = Duration::from_millis(20);
/// Bit 15 of a size on disk: the record goes up, from client to server.
const UP: u16 = 0x8000;

/// One record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Tenths of a millisecond since the record before.
    pub gap: u16,
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
    #[error("its format is not 1")]
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
            |p: Duration| u16::try_from(p.as_micros() / PAUSE_UNIT.as_micros()).unwrap_or(u16::MAX);
        let all = |p: &Pauses| [p.answer, p.request, p.acknowledge].map(short);
        self.pauses = pauses.iter().take(TRACES_MAX).map(all).collect();
        self
    }

    /// How long clients took for what no burst shows, where that was learnt.
    pub fn pauses(&self) -> impl Iterator<Item = Pauses> {
        let long = |n: u16| u32::from(n) * PAUSE_UNIT;
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
        if map.version != 1 {
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
                    gap: u16::from_be_bytes([b[0], b[1]]),
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

    /// The file's bytes: DET-CBOR of `{"v": 1, "pauses": bstr, "traces": [bstr]}`, four bytes a record, and six a client's pauses, if there are any.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |trace: &Trace| -> Vec<u8> {
            let steps = trace.iter().flat_map(|s| {
                let [a, b] = s.gap.to_be_bytes();
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
            version: 1,
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
    let mut last = kept.first()?.at;
    let steps = kept.iter().take(STEPS_MAX).map(|r| {
        let gap = r.at.saturating_sub(last) / 100;
        last = last.max(r.at);
        Step {
            gap: u16::try_from(gap).unwrap_or(u16::MAX),
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

/// How much longer tunnels that follow a shape take than the page loads that it was learnt from: what a machine, or the way to who
/// recorded, adds by itself. To be taken off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Of each pause.
    pub pauses: Pauses,
    /// Of the first record of an answer: up, and down.
    pub turns: [Duration; 2],
}

/// Learns the lag of tunnels from recordings of page loads and of tunnels: by how much the medians lie apart.
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
    let turn = |up: bool| {
        apart(&move |c: &[Record]| {
            let pairs = c.windows(2).filter(|p| p[0].up != p[1].up && p[1].up == up);
            pairs
                .map(|p| Duration::from_micros(p[1].at.saturating_sub(p[0].at)))
                .collect()
        })
    };
    Lag {
        pauses: Pauses {
            answer: pause(|p| p.answer),
            request: pause(|p| p.request),
            acknowledge: pause(|p| p.acknowledge),
        },
        turns: [turn(true), turn(false)],
    }
}

impl Lag {
    /// Takes it off what was learnt of one load.
    pub fn take_off(&self, trace: &mut Trace, pauses: &mut Pauses) {
        let mut up = None;
        for step in trace {
            if up.replace(step.up).is_some_and(|before| before != step.up) {
                let lag = self.turns[usize::from(!step.up)].as_micros() / GAP_UNIT.as_micros();
                step.gap = step
                    .gap
                    .saturating_sub(u16::try_from(lag).unwrap_or(u16::MAX));
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

/// What the next gap counts from: a little lateness is made up for, so that it does not add up over a trace.
fn kept_up(planned: Time, now: Time) -> Time {
    if planned + LATE >= now {
        planned.min(now)
    } else {
        now
    }
}

/// One end that follows a trace.
#[derive(Debug)]
pub struct Follower {
    up: bool,
    bursts: VecDeque<Burst>,
    /// When the burst before the first of those was.
    since: Time,
    /// Bytes that the other side has sent since.
    received: usize,
}

impl Follower {
    /// Follows a trace from `now` on, as the client does with `up`.
    #[must_use]
    pub fn new(now: Time, trace: &[Step], up: bool) -> Self {
        let mut bursts: VecDeque<Burst> = VecDeque::new();
        for step in trace {
            match bursts.back_mut() {
                Some(last) if last.up == step.up && step.gap < TOGETHER => {
                    last.records.push(step.size);
                }
                _ => bursts.push_back(Burst {
                    up: step.up,
                    gap: GAP_UNIT * u32::from(step.gap),
                    records: [step.size].into(),
                }),
            }
        }
        Self {
            up,
            bursts,
            since: now,
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
            self.since = kept_up(self.since + burst.gap, now);
            self.bursts.pop_front();
        }
    }

    /// The records that are to be sent now, by the lengths that their headers tell; [`Follower::sent`] follows.
    pub fn due(&mut self, now: Time) -> Option<&[u16]> {
        self.pass(now);
        let burst = self.bursts.front()?;
        (burst.up == self.up && now >= self.since + burst.gap).then_some(&burst.records[..])
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
        let at = self.since + burst.gap;
        Some(if burst.up == self.up {
            at
        } else {
            at + PATIENCE
        })
    }
}

#[cfg(test)]
mod tests;
