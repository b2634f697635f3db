//! Streams in pieces: a window of pieces is in flight, and unacknowledged ones are retransmitted.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::Time;

use crate::fragment::{Ack, DATA_MAX};

/// Largest window: pieces beyond the first missing one.
pub const WINDOW: u16 = 64;
/// Shortest wait before a retransmission.
const LEAST: Duration = Duration::from_secs(1);
/// Round trips in the median.
const TRIPS: usize = 64;

/// Reason for refusing a piece.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The piece is too far ahead of the first missing one.
    #[error("piece {index} is beyond the window of {base}")]
    Window {
        /// Index of the piece.
        index: u16,
        /// Index of the first missing piece.
        base: u16,
    },
    /// The number of pieces contradicts an earlier piece, or the piece is beyond the last.
    #[error("{count} pieces, where another one said {known}")]
    Count {
        /// Number of pieces in this piece.
        count: u16,
        /// Number of pieces known before.
        known: u16,
    },
    /// The piece is longer than a payload.
    #[error("a piece of {0} bytes is longer than a payload")]
    Length(usize),
}

/// The receiving end of a stream. It holds at most [`WINDOW`] pieces.
#[derive(Clone, Debug, Default, Hash)]
pub struct Receiver {
    base: u16,
    /// Number of pieces; 0 while unknown.
    count: u16,
    ahead: BTreeMap<u16, Vec<u8>>,
}

impl Receiver {
    /// Creates a receiver that has no pieces.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts a piece, and returns the data that is now in order. A repeated piece returns nothing.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; the state is unchanged.
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

    /// Acknowledgement of the received pieces.
    #[must_use]
    pub fn ack(&self) -> Ack {
        let bit = |i: &u16| 1_u64 << (i - self.base - 1);
        let bitmap = self.ahead.keys().map(bit).fold(0, |all, bit| all | bit);
        Ack {
            base: self.base,
            bitmap,
        }
    }

    /// Number of missing pieces, if the end is known.
    #[must_use]
    pub fn left(&self) -> Option<usize> {
        (self.count != 0).then(|| usize::from(self.count).saturating_sub(self.pieces()))
    }

    /// Whether all data was returned.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.count != 0 && self.base == self.count
    }

    /// Number of received pieces, for a caller that chooses which stream to drop.
    #[must_use]
    pub fn pieces(&self) -> usize {
        usize::from(self.base) + self.ahead.len()
    }
}

/// A piece to be sent, in a fresh packet on a fresh path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece<'a> {
    /// Index of the piece.
    pub index: u16,
    /// Number of pieces; 0 while the end is not known.
    pub count: u16,
    /// Data of the piece.
    pub data: &'a [u8],
}

#[derive(Clone, Debug, Hash)]
struct Sent {
    data: Vec<u8>,
    /// Time of the last transmission; `None` before the first.
    at: Option<Time>,
    /// Whether it was retransmitted; its acknowledgement then measures no round trip.
    again: bool,
    arrived: bool,
}

/// The sending end of a stream, with retransmission. Clients use one for requests, gateways for answers.
#[derive(Clone, Debug, Default, Hash)]
pub struct Sender {
    base: u16,
    /// Pieces from `base` on.
    window: VecDeque<Sent>,
    ended: bool,
    trips: VecDeque<Duration>,
}

impl Sender {
    /// Creates a sender without data.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of pieces that may be pushed now.
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

    /// Adds the next piece, of at most [`DATA_MAX`] bytes; `false` if there is no room, or the piece is too long.
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

    /// Number of pieces sent at least once.
    #[must_use]
    pub fn sent(&self) -> usize {
        usize::from(self.base) + self.window.iter().filter(|s| s.at.is_some()).count()
    }

    /// Number of pieces; 0 while unknown.
    fn count(&self) -> u16 {
        let ahead = u16::try_from(self.window.len()).unwrap_or(u16::MAX);
        if self.ended {
            self.base.saturating_add(ahead)
        } else {
            0
        }
    }

    /// Time before a retransmission: twice the median round trip, and at least a second.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let mut trips: Vec<Duration> = self.trips.iter().copied().collect();
        trips.sort_unstable();
        let median = trips.get(trips.len() / 2).copied().unwrap_or_default();
        (median * 2).max(LEAST)
    }

    /// The next piece to send or retransmit now.
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

    /// Time of the next transmission, if none is due.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        let patience = self.patience();
        let waiting = self.window.iter().filter(|s| !s.arrived);
        waiting.filter_map(|s| s.at).min().map(|at| at + patience)
    }

    /// Handles an acknowledgement. Pieces that were never sent are ignored.
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

    /// Whether the other end has all pieces.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ended && self.window.is_empty()
    }
}
