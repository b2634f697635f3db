use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use h2::Reason;
use tokio::sync::Semaphore;

use super::head::{END_STREAM, HEAD};
use super::{REQUESTS_MAX, UNREAD_MAX};

/// Streams that are open at once; `h2` refuses those over what it allows before it reads on.
const STREAMS_MAX: usize = 1024;
/// PRIORITY frames beyond one for each stream and these, as nginx bears with.
const PRIORITIES: u32 = 128;
/// Bytes that are read before `h2` has said its WINDOW_UPDATE: less than the window that it begins with.
const UNOPENED: u64 = 32 << 10;
/// An eighth of a connection's bytes may be so many more than those that were of use.
const IDLE_BYTES: u64 = 1 << 20;

/// A stream that is open.
#[derive(Default)]
pub(super) struct Stream {
    id: u32,
    tunnel: bool,
    /// Whether the header section was all that the client had to say.
    bare: bool,
    /// Whether nobody reads its body any more.
    unwanted: bool,
    /// Bytes of its body that came and were not read.
    unread: usize,
    /// Bytes of its answer that were given to `h2` and have not left.
    given: usize,
    /// Whether the client has ended its direction, and we ours.
    ended: [bool; 2],
}

/// What is counted of one connection.
pub(super) struct Ledger {
    /// By their numbers, which rise.
    streams: Vec<Stream>,
    /// Whether the site hands bodies on; one that does not has no use for any.
    hands_on: bool,
    /// The client's last stream.
    pub(super) last: u32,
    requests: u64,
    /// No more requests are taken.
    pub(super) leaving: bool,
    /// Whether what came last was of a header section.
    pub(super) in_section: bool,
    /// Whether the client has said how large a table of header fields it wants, and no head was sent since.
    pub(super) table: bool,
    priorities: u32,
    /// Bytes that came or went, and those of them that were of use.
    total: u64,
    useful: u64,
    unread: usize,
    /// The connection is given up.
    broken: bool,
    /// Because what came got nobody further.
    pub(super) flooded: bool,
    /// Who reads on once less is unread.
    reader: Option<Waker>,
    budget: Arc<Semaphore>,
    /// What all connections' answers have given.
    unsent: Arc<AtomicU64>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.streams.iter().for_each(|s| self.paid(s.given));
    }
}

/// What becomes of a frame of a stream.
pub(super) enum Known {
    Open,
    /// Not, or no more: the frame is dropped.
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

    /// Whether more may be read; an error once the connection is given up. `opened`: `h2` has said its WINDOW_UPDATE, and takes as
    /// much as the client was told that it may send.
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

    /// The connection is given up once what was said last has left.
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

    /// So many bytes were of use: header sections, answers, and bodies that are wanted.
    pub(super) const fn useful(&mut self, bytes: usize) {
        self.useful += bytes as u64;
    }

    /// A frame with a payload of so many bytes was sent.
    pub(super) const fn controlled(&mut self, len: usize) {
        self.total += (HEAD + len) as u64;
    }

    /// nginx's rule against floods: beyond 8 MiB, one byte in eight has to be of use.
    pub(super) const fn check(&mut self) -> Result<(), Reason> {
        if self.total / 8 > self.useful + IDLE_BYTES {
            self.flooded = true;
            return Err(Reason::NO_ERROR);
        }
        Ok(())
    }

    /// A request begins.
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

    /// Whether the last request that is taken has come.
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

    /// A frame of a body begins to come.
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

    /// So much of the last frame of a body is padding, which nobody reads and which is of no use.
    pub(super) fn padded(&mut self, id: u32, bytes: usize) {
        let hands_on = self.hands_on;
        if let Some(stream) = self.stream(id)
            && (stream.tunnel || hands_on)
        {
            self.useful -= (bytes as u64).min(self.useful);
        }
        self.read(id, bytes);
    }

    /// One direction of a stream is over: the client's (0), or ours. What the stream was, where it is over with that.
    fn ended(&mut self, id: u32, side: usize) -> Option<Stream> {
        let stream = self.stream(id)?;
        stream.ended[side] = true;
        // A site's stream is over once it has answered; a tunnel's once both ends have.
        let over = stream.ended[1] && (stream.ended[0] || !stream.tunnel);
        if over { self.close(id) } else { None }
    }

    /// Our direction is over. Whether the client is to be told that its body is of no use.
    pub(super) fn answered(&mut self, id: u32) -> bool {
        let hands_on = self.hands_on;
        let was = self.ended(id, 1);
        was.is_some_and(|s| !(s.tunnel || s.bare || hands_on && s.ended[0]))
    }

    /// A stream is gone.
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

    /// Bytes of an answer are given; whether they are charged to a stream that is open.
    pub(super) fn gave(&mut self, id: u32, bytes: usize) -> bool {
        let charged = self.stream(id).map(|s| s.given += bytes).is_some();
        if charged {
            self.unsent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        charged
    }

    /// Bytes of an answer have left.
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

    /// Nobody reads a body any more: `h2` drops what comes of it.
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
