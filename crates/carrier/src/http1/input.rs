//! What a connection has read ahead. How much fits shows in the answers, so the buffers have the sizes of the imitated server's, and are
//! filled in the same way.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A connection's first buffer.
const FIRST: usize = 1 << 10;
/// Those for more.
pub(super) const LARGE: usize = 8 << 10;
/// How many of those one request has.
const MOST: usize = 4;

/// No more fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Full;

#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    at: usize,
    room: usize,
    busy: usize,
    ended: bool,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
            room: FIRST,
            busy: 0,
            ended: false,
        }
    }
}

impl Input {
    pub(super) fn has_bytes(&self) -> bool {
        self.at < self.bytes.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < self.room
    }

    /// Whether the visitor says no more.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    /// The next byte.
    pub(super) fn byte(&mut self) -> Option<u8> {
        let b = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(b)
    }

    /// Whether a buffer is full and read.
    pub(super) fn is_spent(&self) -> bool {
        self.at == self.room
    }

    /// Begins the same buffer again.
    pub(super) fn restart(&mut self) {
        self.bytes.clear();
        self.at = 0;
    }

    /// Takes another buffer; `kept` bytes of an unfinished line move there.
    pub(super) fn grow(&mut self, kept: usize) -> Result<(), Full> {
        if kept >= LARGE || self.busy == MOST {
            return Err(Full);
        }
        self.busy += 1;
        self.room = LARGE;
        self.bytes.clear();
        // They were parsed. Only the room that they take matters.
        self.bytes.resize(kept, 0);
        self.at = kept;
        Ok(())
    }

    /// Between two requests: what was read ahead stays where it is.
    pub(super) fn rewind(&mut self) {
        if self.has_bytes() {
            self.busy = usize::from(self.busy > 0);
        } else {
            *self = Self {
                ended: self.ended,
                ..Self::default()
            };
        }
    }

    /// Reads what comes next into the room that is left.
    pub(super) async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<usize> {
        let room = self.room.saturating_sub(self.bytes.len());
        let mut limited = stream.take(room as u64);
        let n = limited.read_buf(&mut self.bytes).await?;
        self.ended |= n == 0;
        Ok(n)
    }

    /// The same with bytes at hand; how many fitted.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&bytes[..n]);
        n
    }

    /// Takes all that was read ahead.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.bytes[self.at..]);
        self.at = self.bytes.len();
        bytes
    }

    /// Puts back what was read behind a body.
    pub(super) fn give_back(&mut self, bytes: &[u8]) {
        if bytes.len() > self.room - self.bytes.len().min(self.room) {
            let rest = self.bytes.split_off(self.at);
            self.bytes = rest;
            self.at = 0;
            self.room = self.room.max(self.bytes.len() + bytes.len()).max(LARGE);
            self.busy = (self.busy + 1).min(MOST);
        }
        self.bytes.extend_from_slice(bytes);
    }
}

impl Input {
    /// The last so many bytes are read again.
    pub(super) fn unread(&mut self, n: usize) {
        self.at = self.at.saturating_sub(n);
    }
}
