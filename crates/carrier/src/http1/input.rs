//! Read-ahead buffers of a connection. Their capacity shows in the answers, so the buffers have the imitated server's sizes and
//! are filled in the same way.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Size of a connection's first buffer.
const FIRST: usize = 1 << 10;
/// Size of further buffers.
pub(super) const LARGE: usize = 8 << 10;
/// Maximum number of those for one request.
const MOST: usize = 4;

/// The buffers are full.
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

    /// Whether the visitor has ended its direction.
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

    /// Whether a full buffer was read completely.
    pub(super) fn is_spent(&self) -> bool {
        self.at == self.room
    }

    /// Reuses the same buffer from its start.
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
        // Already parsed: only the space that they take matters.
        self.bytes.resize(kept, 0);
        self.at = kept;
        Ok(())
    }

    /// Prepares for the next request: bytes read ahead stay in place.
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

    /// Reads further input into the free space.
    pub(super) async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<usize> {
        let room = self.room.saturating_sub(self.bytes.len());
        let mut limited = stream.take(room as u64);
        let n = limited.read_buf(&mut self.bytes).await?;
        self.ended |= n == 0;
        Ok(n)
    }

    /// Adds bytes from memory; returns the number that fitted.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&bytes[..n]);
        n
    }

    /// Takes all bytes read ahead.
    pub(super) fn take_bytes(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.bytes[self.at..]);
        self.at = self.bytes.len();
        bytes
    }

    /// Puts back bytes read beyond a body.
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
    /// Makes the last `n` bytes unread again.
    pub(super) fn unread(&mut self, n: usize) {
        self.at = self.at.saturating_sub(n);
    }
}
