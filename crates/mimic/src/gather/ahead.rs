//! How much is read, and in which pieces: what a window opens for depends on it, and where a sender stands still.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::Reads;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::Unread;

/// Bytes that are read at once, at most.
const READ: usize = 256 << 10;
/// Bytes that a browser reads with one system call: a window opens in between.
pub(super) const PIECE: usize = 17 << 10;
/// How far a number of bytes may be from whole pieces that stands for them.
const NEAR: usize = 1 << 10;
/// How long is waited for what comes of what was read: a sender whose window opened goes on within that.
const MORE: Duration = Duration::from_micros(60);
/// How often it is looked at meanwhile, at most: a clock that is driven by hand stands still.
const LOOKS: u32 = 1000;

/// What is read before it is asked for. Its room is kept: memory that is fresh is slow, and a sender waits for who reads.
pub(super) struct Ahead {
    reads: Reads,
    room: Vec<u8>,
    /// From where to where there is something.
    from: usize,
    to: usize,
    /// When the first was read of what is to be read in part.
    first: Option<Instant>,
    /// What the socket would have left of what there was when it was to be read until more has come.
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

    /// Gives what may be read. Nothing is given where nothing is to be read in part: the socket is asked itself.
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

    /// Reads what is to be read now.
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

    /// Reads piece by piece until so much has come as there is room for by that, and no more: that is of the next time.
    fn poll_until<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
        bytes: usize,
    ) -> Poll<io::Result<()>> {
        let Some(before) = self.before.or_else(|| socket.unread()) else {
            // Where the system does not say what comes, as much is read.
            self.reads = Reads::AtMost(bytes.max(1));
            return self.poll_part(cx, socket);
        };
        let came = loop {
            let n = ready!(self.poll_fill(cx, socket, PIECE))?;
            // By how much a window opens is the system's to say. Half of what is wanted counts: the next opening would be for all there is.
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

    /// Reads what there is, and what comes while it does, before anything is made of any of it: its sender would stand still meanwhile,
    /// where a browser's does not.
    fn poll_all<S: AsyncRead + Unread + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.to < READ {
            // No more than there is: who asks for more has to be woken for what comes next.
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

    /// Reads once, behind what was read: how much came. It is pending only where nothing was.
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

/// As many pieces, if it is about that much.
fn whole(bytes: usize) -> usize {
    let pieces = bytes.saturating_add(NEAR) / PIECE * PIECE;
    Some(pieces)
        .filter(|whole| *whole > 0 && whole.abs_diff(bytes) <= NEAR)
        .unwrap_or(bytes)
}

/// Whether it holds soon.
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
