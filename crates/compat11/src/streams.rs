use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use betanet_machine::Interest;
use bytes::Bytes;

/// Initial credit of a stream, in both directions.
pub(crate) const WINDOW: u64 = 65_535;
/// Maximum number of streams of one leg; in 1.1 a stream lives as long as its connection.
pub(crate) const STREAMS_MAX: usize = 128;
/// Size of the send buffer of one stream, bytes.
const SEND_BUFFER: usize = 64 << 10;
/// Upper bound of credit.
const CREDIT_MAX: u64 = 1 << 62;

#[derive(Debug, Hash)]
struct Stream {
    /// Bytes that the peer may still send.
    open: u64,
    /// Bytes passed up and not yet consumed.
    held: u64,
    /// Bytes consumed whose credit was not yet returned.
    used: u64,
    sending: VecDeque<Bytes>,
    buffered: usize,
    credit: u64,
    /// Whether a write was refused.
    refused: Interest,
    queued: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            open: WINDOW,
            held: 0,
            used: 0,
            sending: VecDeque::new(),
            buffered: 0,
            credit: WINDOW,
            refused: Interest::default(),
            queued: false,
        }
    }
}

/// The peer's violation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Streams,
    Credit,
}

/// The streams of a leg.
#[derive(Debug, Hash)]
pub(crate) struct Streams {
    all: BTreeMap<u64, Stream>,
    ready: VecDeque<u64>,
    next: u64,
}

impl Streams {
    pub(crate) const fn new(client: bool) -> Self {
        Self {
            all: BTreeMap::new(),
            ready: VecDeque::new(),
            next: if client { 3 } else { 2 },
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn buffered(&self) -> usize {
        self.all.values().map(|s| s.buffered).sum()
    }

    /// Opens this side's next stream; `None` if there is no room for one.
    pub(crate) fn open(&mut self) -> Option<u64> {
        if self.all.len() >= STREAMS_MAX {
            return None;
        }
        let id = self.next;
        self.all.insert(id, Stream::default());
        self.next += 2;
        Some(id)
    }

    /// Records received bytes; returns whether the stream is new.
    pub(crate) fn received(&mut self, id: u64, bytes: u64) -> Result<bool, Fault> {
        let new = !self.all.contains_key(&id);
        if new && self.all.len() >= STREAMS_MAX {
            return Err(Fault::Streams);
        }
        let stream = self.all.entry(id).or_default();
        stream.open = stream.open.checked_sub(bytes).ok_or(Fault::Credit)?;
        stream.held += bytes;
        Ok(new)
    }

    /// Records consumed bytes; returns the credit to grant, once it is half a window.
    pub(crate) fn consumed(&mut self, id: u64, bytes: u64) -> Option<u32> {
        let stream = self.all.get_mut(&id)?;
        let bytes = bytes.min(stream.held);
        stream.held -= bytes;
        stream.used += bytes;
        if stream.used < WINDOW.div_ceil(2) {
            return None;
        }
        let grant = core::mem::take(&mut stream.used);
        stream.open += grant;
        u32::try_from(grant).ok()
    }

    /// Adds credit granted by the peer; ignored for an unknown stream.
    pub(crate) fn granted(&mut self, id: u64, credit: u32) -> Result<(), Fault> {
        if let Some(stream) = self.all.get_mut(&id) {
            stream.credit += u64::from(credit);
            if stream.credit > CREDIT_MAX {
                return Err(Fault::Credit);
            }
            self.queue(id);
        }
        Ok(())
    }

    fn queue(&mut self, id: u64) {
        if let Some(stream) = self.all.get_mut(&id)
            && !stream.queued
            && stream.buffered > 0
            && stream.credit > 0
        {
            stream.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Queues bytes to send; `None` for an unknown stream, `Some(false)` if there is no room.
    pub(crate) fn write(&mut self, id: u64, data: Bytes) -> Option<bool> {
        let stream = self.all.get_mut(&id)?;
        if stream.buffered >= SEND_BUFFER {
            stream.refused.register();
            return Some(false);
        }
        if !data.is_empty() {
            stream.buffered += data.len();
            stream.sending.push_back(data);
        }
        self.queue(id);
        Some(true)
    }

    pub(crate) fn sendable(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the content of the next frame, at most `max` bytes, and whether a refused write may be retried.
    pub(crate) fn take(&mut self, max: usize) -> Option<(u64, Vec<Bytes>, bool)> {
        let id = self.ready.pop_front()?;
        let stream = self.all.get_mut(&id)?;
        stream.queued = false;
        let mut room = max.min(usize::try_from(stream.credit).unwrap_or(usize::MAX));
        let mut pieces = Vec::new();
        while room > 0
            && let Some(front) = stream.sending.front_mut()
        {
            let piece = if front.len() > room {
                front.split_to(room)
            } else {
                stream.sending.pop_front()?
            };
            room -= piece.len();
            stream.buffered -= piece.len();
            stream.credit -= piece.len() as u64;
            pieces.push(piece);
        }
        let refill = stream.buffered <= SEND_BUFFER / 2 && stream.refused.take();
        self.queue(id);
        Some((id, pieces, refill))
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
        self.ready.clear();
    }
}
