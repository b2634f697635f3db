use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use h2::Reason;
use tokio::sync::Semaphore;

use super::head::{END_STREAM, HEAD};
use super::{REQUESTS_MAX, UNREAD_MAX};

/// Maximum number of open streams; `h2` refuses those above its limit before it reads on.
const STREAMS_MAX: usize = 1024;
/// Number of PRIORITY frames that nginx tolerates beyond one per stream.
const PRIORITIES: u32 = 128;
/// Number of bytes read before `h2` has sent its WINDOW_UPDATE: less than the initial window.
const UNOPENED: u64 = 32 << 10;
/// Excess of an eighth of a connection's bytes over the useful bytes that is tolerated.
const IDLE_BYTES: u64 = 1 << 20;

/// An open stream.
#[derive(Default)]
pub(super) struct Stream {
    id: u32,
    tunnel: bool,
    /// Whether the header section ended the client's direction.
    bare: bool,
    /// Whether nobody reads the body any more.
    unwanted: bool,
    /// Received body bytes that were not read.
    unread: usize,
    /// Answer bytes that were given to `h2` and have not left.
    given: usize,
    /// Whether the client's direction has ended, and ours.
    ended: [bool; 2],
}

/// Counters of one connection.
pub(super) struct Ledger {
    /// Open streams in ascending order of their IDs.
    streams: Vec<Stream>,
    /// Whether the site forwards bodies; otherwise all bodies are useless.
    hands_on: bool,
    /// The client's last stream.
    pub(super) last: u32,
    requests: u64,
    /// Whether no more requests are accepted.
    pub(super) leaving: bool,
    /// Whether the last input belonged to a header section.
    pub(super) in_section: bool,
    /// Whether the client has set its header table size, and no head was sent since.
    pub(super) table: bool,
    priorities: u32,
    /// Bytes in both directions, and the useful ones among them.
    total: u64,
    useful: u64,
    unread: usize,
    /// Whether the connection was aborted.
    broken: bool,
    /// Whether it was aborted as a flood of useless bytes.
    pub(super) flooded: bool,
    /// Task that reads on once there are fewer unread bytes.
    reader: Option<Waker>,
    budget: Arc<Semaphore>,
    /// Number of unsent answer bytes of all connections.
    unsent: Arc<AtomicU64>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.streams.iter().for_each(|s| self.paid(s.given));
    }
}

/// Treatment of a frame of a stream.
pub(super) enum Known {
    Open,
    /// The stream is not, or no longer, open: the frame is dropped.
    Not,
}

impl Ledger {
    pub(super) const fn new(
        budget: Arc<Semaphore>,
        hands_on: bool,
        unsent: Arc<AtomicU64>,
    ) -> Self {
        Self {
            streams: Vec::new(),
            hands_on,
            last: 0,
            requests: 0,
            leaving: false,
            in_section: false,
            table: false,
            priorities: PRIORITIES,
            total: 0,
            useful: 0,
            unread: 0,
            broken: false,
            flooded: false,
            reader: None,
            budget,
            unsent,
        }
    }

    /// Whether more may be read; an error once the connection is aborted. `opened`: `h2` has sent its WINDOW_UPDATE, and
    /// accepts as much as the client may send.
    pub(super) fn poll_may_read(
        &mut self,
        cx: &Context<'_>,
        opened: bool,
    ) -> Poll<Result<(), Reason>> {
        if self.broken {
            return Poll::Ready(Err(Reason::NO_ERROR));
        }
        if self
            .reader
            .as_ref()
            .is_none_or(|r| !r.will_wake(cx.waker()))
        {
            self.reader = Some(cx.waker().clone());
        }
        if self.unread <= UNREAD_MAX && (opened || self.total < UNOPENED) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Aborts the connection once the last output has left.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
        self.wake();
    }

    pub(super) fn wake(&self) {
        if let Some(reader) = &self.reader {
            reader.wake_by_ref();
        }
    }

    pub(super) const fn came(&mut self, bytes: usize) {
        self.total += bytes as u64;
    }

    /// Counts useful bytes: header sections, answers, and wanted bodies.
    pub(super) const fn useful(&mut self, bytes: usize) {
        self.useful += bytes as u64;
    }

    /// Counts a sent frame with a payload of `len` bytes.
    pub(super) const fn controlled(&mut self, len: usize) {
        self.total += (HEAD + len) as u64;
    }

    /// nginx's flood rule: beyond 8 MiB, one byte in eight has to be useful.
    pub(super) const fn check(&mut self) -> Result<(), Reason> {
        if self.total / 8 > self.useful + IDLE_BYTES {
            self.flooded = true;
            return Err(Reason::NO_ERROR);
        }
        Ok(())
    }

    /// Records that a request begins.
    pub(super) fn open(&mut self, id: u32, flags: u8) -> Result<(), Reason> {
        if id.is_multiple_of(2) || id <= self.last {
            return Err(Reason::PROTOCOL_ERROR);
        }
        self.last = id;
        self.requests += 1;
        self.priorities = self.priorities.saturating_add(PRIORITIES);
        if self.streams.len() >= STREAMS_MAX {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        let bare = flags & END_STREAM != 0;
        self.streams.push(Stream {
            id,
            bare,
            ended: [bare, false],
            ..Stream::default()
        });
        Ok(())
    }

    /// Whether the last accepted request has come.
    pub(super) const fn is_full(&self) -> bool {
        self.requests >= REQUESTS_MAX
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.streams.binary_search_by_key(&id, |s| s.id).ok()?;
        self.streams.get_mut(at)
    }

    pub(super) fn knows(&self, id: u32) -> bool {
        self.streams.binary_search_by_key(&id, |s| s.id).is_ok()
    }

    pub(super) fn priority(&mut self) -> Result<(), Reason> {
        self.priorities = self.priorities.saturating_sub(1);
        if self.priorities == 0 {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        Ok(())
    }

    /// Records that a frame of a body begins.
    pub(super) fn data(&mut self, id: u32, len: usize, flags: u8) -> Known {
        let Some(stream) = self.stream(id) else {
            return Known::Not;
        };
        let tunnel = stream.tunnel;
        if !tunnel && !stream.unwanted {
            stream.unread += len;
            self.unread += len;
        }
        if tunnel || self.hands_on {
            self.useful(len);
        }
        if flags & END_STREAM != 0 {
            self.ended(id, 0);
        }
        Known::Open
    }

    /// Records padding of the last body frame: it is useless and never read.
    pub(super) fn padded(&mut self, id: u32, bytes: usize) {
        let hands_on = self.hands_on;
        if let Some(stream) = self.stream(id)
            && (stream.tunnel || hands_on)
        {
            self.useful -= (bytes as u64).min(self.useful);
        }
        self.read(id, bytes);
    }

    /// Ends one direction of a stream: the client's (0), or ours. Returns the stream if it is over.
    fn ended(&mut self, id: u32, side: usize) -> Option<Stream> {
        let stream = self.stream(id)?;
        stream.ended[side] = true;
        // A site's stream is over after the answer; a tunnel's after both ends.
        let over = stream.ended[1] && (stream.ended[0] || !stream.tunnel);
        if over { self.close(id) } else { None }
    }

    /// Ends our direction. Returns whether to tell the client that its body is useless.
    pub(super) fn answered(&mut self, id: u32) -> bool {
        let hands_on = self.hands_on;
        let was = self.ended(id, 1);
        was.is_some_and(|s| !(s.tunnel || s.bare || hands_on && s.ended[0]))
    }

    /// Removes a stream.
    pub(super) fn close(&mut self, id: u32) -> Option<Stream> {
        let at = self.streams.binary_search_by_key(&id, |s| s.id).ok()?;
        let stream = self.streams.remove(at);
        self.paid(stream.given);
        self.less_unread(stream.unread);
        Some(stream)
    }

    fn less_unread(&mut self, bytes: usize) {
        let before = self.unread;
        self.unread -= bytes.min(before);
        if before > UNREAD_MAX && self.unread <= UNREAD_MAX {
            self.wake();
        }
    }

    /// Records answer bytes given to `h2`; returns whether they are charged to an open stream.
    pub(super) fn gave(&mut self, id: u32, bytes: usize) -> bool {
        let charged = self.stream(id).map(|s| s.given += bytes).is_some();
        if charged {
            self.unsent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        charged
    }

    /// Records answer bytes that have left.
    pub(super) fn left(&mut self, id: u32, bytes: usize) {
        self.useful(bytes);
        if let Some(stream) = self.stream(id) {
            let paid = bytes.min(stream.given);
            stream.given -= paid;
            self.paid(paid);
        }
    }

    fn paid(&self, bytes: usize) {
        self.budget.add_permits(bytes);
        self.unsent.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn tunnel(&mut self, id: u32) {
        if let Some(stream) = self.stream(id) {
            stream.tunnel = true;
            let unread = std::mem::take(&mut stream.unread);
            self.less_unread(unread);
        }
    }

    pub(super) fn read(&mut self, id: u32, bytes: usize) {
        if let Some(stream) = self.stream(id) {
            let read = bytes.min(stream.unread);
            stream.unread -= read;
            self.less_unread(read);
        }
    }

    /// Records that nobody reads a body any more: `h2` drops further data of it.
    pub(super) fn unwanted(&mut self, id: u32) {
        if let Some(stream) = self.stream(id) {
            stream.unwanted = true;
            let unread = std::mem::take(&mut stream.unread);
            self.less_unread(unread);
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.streams.len(), self.unread)
    }
}
