//! Streams in pieces: a window of them is on its way, and what gives no sign is sent again.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;

use crate::fragment::{Ack, DATA_MAX};

/// Pieces beyond the first one that is missing, at most.
pub const WINDOW: u16 = 64;
/// A piece is not sent again before this.
const LEAST: Duration = Duration::from_secs(1);
/// Round trips that the median is taken of.
const TRIPS: usize = 64;

/// What a piece is refused for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Too far ahead of the first one that is missing.
    #[error("piece {index} is beyond the window of {base}")]
    Window {
        /// The piece.
        index: u16,
        /// The first one that is missing.
        base: u16,
    },
    /// Another piece said that there are more or fewer, or this one is behind the last.
    #[error("{count} pieces, where another one said {known}")]
    Count {
        /// What this one says.
        count: u16,
        /// What was said before.
        known: u16,
    },
    /// Longer than a payload.
    #[error("a piece of {0} bytes is longer than a payload")]
    Length(usize),
}

/// The receiving end of a stream. It holds at most [`WINDOW`] pieces.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    base: u16,
    /// 0 while it is not known.
    count: u16,
    ahead: BTreeMap<u16, Vec<u8>>,
}

impl Receiver {
    /// Of a stream of which nothing has arrived.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece. Those that are in order now come out; one that was here before brings nothing.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; nothing has changed.
    pub fn take(
        &mut self,
        index: u16,
        count: u16,
        data: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, StreamError> {
        let base = self.base;
        if data.len() > DATA_MAX {
            return Err(StreamError::Length(data.len()));
        }
        if index > base.saturating_add(WINDOW) {
            return Err(StreamError::Window { index, base });
        }
        let known = self.count;
        let highest = self.ahead.last_key_value().map_or(base, |(i, _)| i + 1);
        let contradicts = known != 0 && count != 0 && count != known;
        if contradicts || (known != 0 && index >= known) || (count != 0 && highest > count) {
            return Err(StreamError::Count { count, known });
        }
        self.count = self.count.max(count);
        if index >= base {
            self.ahead.entry(index).or_insert(data);
        }
        let mut out = Vec::new();
        while let Some(next) = self.ahead.remove(&self.base) {
            out.push(next);
            self.base = self.base.saturating_add(1);
        }
        Ok(out)
    }

    /// What has arrived.
    #[must_use]
    pub fn ack(&self) -> Ack {
        let bit = |i: &u16| 1_u64 << (i - self.base - 1);
        let bitmap = self.ahead.keys().map(bit).fold(0, |all, bit| all | bit);
        Ack {
            base: self.base,
            bitmap,
        }
    }

    /// How many pieces are missing, where the end is known.
    #[must_use]
    pub fn left(&self) -> Option<usize> {
        (self.count != 0).then(|| usize::from(self.count).saturating_sub(self.pieces()))
    }

    /// Whether all of it was taken out.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.count != 0 && self.base == self.count
    }

    /// How much has arrived, for who has to choose which of several streams to give up.
    #[must_use]
    pub fn pieces(&self) -> usize {
        usize::from(self.base) + self.ahead.len()
    }
}

/// A piece to be sent, in a fresh packet on a fresh path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece<'a> {
    /// Which.
    pub index: u16,
    /// Of how many; 0 while the end is not known.
    pub count: u16,
    /// Its bytes.
    pub data: &'a [u8],
}

#[derive(Clone, Debug)]
struct Sent {
    data: Vec<u8>,
    /// When it was sent last; not yet.
    at: Option<Time>,
    /// It was sent more than once: its acknowledgement tells no round trip.
    again: bool,
    arrived: bool,
}

/// The sending end of a stream, which repeats what gives no sign. Only clients have one for requests, and gateways one for
/// answers.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    base: u16,
    /// From `base` on.
    window: VecDeque<Sent>,
    ended: bool,
    trips: VecDeque<Duration>,
}

impl Sender {
    /// Of a stream that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many pieces may be pushed now.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.ended {
            return 0;
        }
        let left = usize::from(u16::MAX - 1 - self.base).saturating_sub(self.window.len());
        usize::from(WINDOW)
            .saturating_sub(self.window.len())
            .min(left)
    }

    /// Takes the next piece, of [`DATA_MAX`] bytes at most; `false` without room, or when it is too long.
    pub fn push(&mut self, data: Vec<u8>, last: bool) -> bool {
        if self.room() == 0 || data.len() > DATA_MAX {
            return false;
        }
        self.window.push_back(Sent {
            data,
            at: None,
            again: false,
            arrived: false,
        });
        self.ended = last;
        true
    }

    /// How many pieces were sent, once or more.
    #[must_use]
    pub fn sent(&self) -> usize {
        usize::from(self.base) + self.window.iter().filter(|s| s.at.is_some()).count()
    }

    /// Pieces in all; 0 while that is not known.
    fn count(&self) -> u16 {
        let ahead = u16::try_from(self.window.len()).unwrap_or(u16::MAX);
        if self.ended {
            self.base.saturating_add(ahead)
        } else {
            0
        }
    }

    /// How long a piece waits for a sign: twice the median round trip so far, a second at least.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let mut trips: Vec<Duration> = self.trips.iter().copied().collect();
        trips.sort_unstable();
        let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
        (median * 2).max(LEAST)
    }

    /// The next piece that is to be sent now, for the first time or again.
    pub fn poll(&mut self, now: Time) -> Option<Piece<'_>> {
        let (patience, count, base) = (self.patience(), self.count(), self.base);
        let due = |s: &&mut Sent| !s.arrived && s.at.is_none_or(|at| at + patience <= now);
        let found = self.window.iter_mut().zip(base..).find(|(s, _)| due(s));
        let (sent, index) = found?;
        sent.again = sent.at.is_some();
        sent.at = Some(now);
        Some(Piece {
            index,
            count,
            data: &sent.data,
        })
    }

    /// When a piece is to be sent next, if none is now.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        let patience = self.patience();
        let waiting = self.window.iter().filter(|s| !s.arrived);
        waiting.filter_map(|s| s.at).min().map(|at| at + patience)
    }

    /// The other end says what has arrived; what it cannot have is not believed.
    pub fn acknowledged(&mut self, now: Time, ack: Ack) {
        let mut trips = Vec::new();
        for (sent, index) in self.window.iter_mut().zip(self.base..) {
            if ack.has(index)
                && !sent.arrived
                && let Some(at) = sent.at
            {
                sent.arrived = true;
                sent.data = Vec::new();
                trips.extend((!sent.again).then(|| now - at));
            }
        }
        for trip in trips {
            if self.trips.len() == TRIPS {
                self.trips.pop_front();
            }
            self.trips.push_back(trip);
        }
        while self.window.front().is_some_and(|s| s.arrived) {
            self.window.pop_front();
            self.base += 1;
        }
    }

    /// Whether everything has arrived.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.window.is_empty()
    }
}
