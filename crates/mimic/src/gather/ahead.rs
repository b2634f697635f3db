//! How much is read, and in which pieces: these decide when a window opens, and where a sender stalls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::Reads;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::Unread;

/// Maximum number of bytes read at once.
const READ: usize = 256 << 10;
/// Number of bytes that a browser reads with one system call: the window may open in between.
pub(super) const PIECE: usize = 17 << 10;
/// Maximum distance of a byte count from the whole number of pieces that it stands for.
const NEAR: usize = 1 << 10;
/// Time to wait for the effect of a read: a sender whose window opened continues within it.
const MORE: Duration = Duration::from_micros(60);
/// Maximum number of checks meanwhile: a simulated clock stands still.
const LOOKS: u32 = 1000;

/// Bytes read before they are requested. The buffer is kept: fresh memory is slow, and a sender waits for its reader.
pub(super) struct Ahead {
    reads: Reads,
    room: Vec<u8>,
    /// Start and end of the buffered bytes.
    from: usize,
    to: usize,
    /// Time of the first read under a partial limit.
    first: Option<Instant>,
    /// Bytes that the socket would have left of those present when reading until more has come began.
    before: Option<usize>,
}

impl Ahead {
    pub(super) const fn new() -> Self {
        Self {
            reads: Reads::All,
            room: Vec::new(),
            from: 0,
            to: 0,
            first: None,
            before: None,
        }
    }

    pub(super) fn reads(&mut self, reads: Reads) {
        self.reads = match reads {
            Reads::AtMost(bytes) => Reads::AtMost(whole(bytes)),
            reads => reads,
        };
        self.before = None;
        if let Reads::AtMost(_) = reads {
            self.first = None;
        }
        if reads != Reads::All {
            self.room.resize(READ, 0);
        }
    }

    pub(super) const fn first(&self) -> Option<Instant> {
        self.first
    }

    const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Yields readable bytes. It yields none without a partial limit: the socket is then read directly.
    pub(super) fn poll_read<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.is_empty() {
            if self.reads == Reads::All {
                return Poll::Ready(Ok(false));
            }
            (self.from, self.to) = (0, 0);
            ready!(self.poll_part(cx, socket))?;
        }
        let n = (self.to - self.from).min(buf.remaining());
        buf.put_slice(&self.room[self.from..self.from + n]);
        self.from += n;
        Poll::Ready(Ok(true))
    }

    /// Reads the bytes to be read now.
    fn poll_part<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<()>> {
        match self.reads {
            Reads::AtMost(0) => return Poll::Pending,
            Reads::AtMost(bytes) if bytes > READ => ready!(self.poll_all(cx, socket))?,
            Reads::AtMost(bytes) => {
                ready!(self.poll_fill(cx, socket, bytes.min(PIECE)))?;
            }
            Reads::About(bytes) => return self.poll_until(cx, socket, bytes),
            Reads::All => {}
        }
        self.first = self.first.or_else(|| Some(Instant::now()));
        if let Reads::AtMost(bytes) = &mut self.reads {
            *bytes = bytes.saturating_sub(self.to);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads piece by piece until as many bytes have come as the freed room allows, and no more: later ones belong to the next
    /// time.
    fn poll_until<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        let Some(before) = self.before.or_else(|| socket.unread()) else {
            // If the system does not report unread bytes, as many are read.
            self.reads = Reads::AtMost(bytes.max(1));
            return self.poll_part(cx, socket);
        };
        let came = loop {
            let n = ready!(self.poll_fill(cx, socket, PIECE))?;
            // The system decides by how much a window opens. Half the wanted amount counts: the next opening would admit all
            // the rest.
            let left = socket.unread().unwrap_or_default();
            let came = self.to + left >= before + bytes / 2;
            if came || n < PIECE || self.to + PIECE > READ {
                break came;
            }
        };
        self.before = Some(before.saturating_sub(self.to));
        let left = bytes.saturating_sub(self.to.saturating_sub(before));
        self.reads = if came {
            Reads::AtMost(0)
        } else {
            Reads::About(left)
        };
        Poll::Ready(Ok(()))
    }

    /// Reads all available bytes, and those that arrive meanwhile, before any is processed: otherwise the sender would stall,
    /// which a browser's does not.
    fn poll_all<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.to < READ {
            // No more than is available: a request for more must register for wake-up.
            let there = socket.unread().filter(|n| *n > 0);
            if self.to > 0 && there.is_none() && !soon(|| socket.unread().is_some_and(|n| n > 0)) {
                break;
            }
            let end = READ.min(self.to + there.unwrap_or(PIECE));
            while self.to < end {
                let piece = PIECE.min(end - self.to);
                let n = ready!(self.poll_fill(cx, socket, piece))?;
                if n < piece {
                    return Poll::Ready(Ok(()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once after the bytes already read; returns the number. Pending only if nothing was buffered.
    fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let end = READ.min(self.to + most);
        let mut part = ReadBuf::new(&mut self.room[self.to..end]);
        match Pin::new(socket).poll_read(cx, &mut part) {
            Poll::Pending if self.to > 0 => return Poll::Ready(Ok(0)),
            read => ready!(read)?,
        }
        let n = part.filled().len();
        self.to += n;
        Poll::Ready(Ok(n))
    }
}

/// Rounds to whole pieces if the number is close to that.
fn whole(bytes: usize) -> usize {
    let pieces = bytes.saturating_add(NEAR) / PIECE * PIECE;
    Some(pieces)
        .filter(|whole| *whole > 0 && whole.abs_diff(bytes) <= NEAR)
        .unwrap_or(bytes)
}

/// Whether the condition holds within [`MORE`].
fn soon(holds: impl Fn() -> bool) -> bool {
    let until = Instant::now() + MORE;
    for _ in 0..LOOKS {
        if holds() {
            return true;
        }
        if Instant::now() >= until {
            break;
        }
    }
    false
}
