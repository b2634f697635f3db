use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Interest, Time};
use betanet_wire::Code;
use bytes::Bytes;

use crate::assembler::Assembler;

/// Upper bound of credits and offsets.
pub(crate) const OFFSET_MAX: u64 = 1 << 62;

/// A receive window that grows towards twice the bandwidth-delay product.
#[derive(Debug, Hash)]
pub(crate) struct Window {
    /// Highest offset that the peer may send.
    pub(crate) limit: u64,
    size: u64,
    max: u64,
    consumed: u64,
    granted_at: Time,
}

impl Window {
    pub(crate) const fn new(limit: u64, max: u64) -> Self {
        Self {
            limit,
            size: limit,
            max,
            consumed: 0,
            granted_at: Time::ZERO,
        }
    }

    pub(crate) const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Raises the window once by a fixed step.
    pub(crate) fn raise(&mut self, now: Time, step: u32) {
        self.limit += u64::from(step);
        self.size = self.limit - self.consumed;
        self.granted_at = now;
    }

    /// Enlarges the window permanently, within its maximum; returns the increase.
    pub(crate) fn widen(&mut self, now: Time, step: u32) -> Option<u32> {
        let room = self.max.saturating_sub(self.size);
        let step = u32::try_from(room).unwrap_or(u32::MAX).min(step);
        self.size += u64::from(step);
        self.limit += u64::from(step);
        self.granted_at = now;
        (step > 0).then_some(step)
    }

    pub(crate) const fn consume(&mut self, n: u64) {
        self.consumed += n;
    }

    /// Credit to grant now: once half the window is consumed, the amount that restores it.
    pub(crate) fn grant(&mut self, now: Time, rtt: Duration) -> Option<u32> {
        let left = self.limit - self.consumed.min(self.limit);
        if left > self.size / 2 {
            return None;
        }
        let used = self.size - left;
        // used / elapsed is the rate; the window should hold twice the rate times the RTT.
        let elapsed = (now - self.granted_at).as_micros().max(1);
        let wanted = u128::from(used) * rtt.as_micros() * 2 / elapsed;
        if wanted > u128::from(self.size) {
            self.size = (self.size * 2).min(self.max).max(self.size);
        }
        let target = (self.consumed + self.size).min(OFFSET_MAX);
        let step = u32::try_from(target.saturating_sub(self.limit)).unwrap_or(u32::MAX);
        if step == 0 {
            return None;
        }
        self.limit += u64::from(step);
        self.granted_at = now;
        Some(step)
    }
}

/// The receiving direction.
#[derive(Debug, Hash)]
pub(crate) struct Receive {
    pub(crate) assembler: Assembler,
    pub(crate) window: Window,
    /// Highest offset seen; counts toward the connection's credit.
    pub(crate) highest: u64,
    /// Whether the first frame arrived and the window was raised.
    pub(crate) seen: bool,
    /// Whether FIN was passed up.
    pub(crate) finished: bool,
}

/// The sending direction.
#[derive(Debug, Default, Hash)]
pub(crate) struct Send {
    chunks: VecDeque<Bytes>,
    buffered: usize,
    offset: u64,
    pub(crate) limit: u64,
    fin: bool,
    pub(crate) fin_sent: bool,
    /// Whether a write was refused and the writer waits for `Writable`.
    pub(crate) refused: Interest,
}

impl Send {
    pub(crate) fn push(&mut self, data: Bytes, fin: bool) {
        if !data.is_empty() {
            self.buffered += data.len();
            self.chunks.push_back(data);
        }
        self.fin |= fin;
    }

    /// Puts the type byte and the first bytes into one chunk: one frame instead of two.
    pub(crate) fn begin(&mut self, kind: u8, data: &[u8], fin: bool) {
        let mut joined = Vec::with_capacity(1 + data.len());
        joined.push(kind);
        joined.extend_from_slice(data);
        self.chunks.clear();
        self.buffered = 0;
        self.push(joined.into(), fin);
    }

    /// Whether nothing was written yet.
    pub(crate) const fn fresh(&self) -> bool {
        self.offset == 0 && self.buffered == 0
    }

    pub(crate) const fn all_sent(&self) -> bool {
        self.buffered == 0 && self.fin == self.fin_sent
    }

    pub(crate) const fn buffered(&self) -> usize {
        self.buffered
    }

    pub(crate) const fn ended(&self) -> bool {
        self.fin
    }

    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether a frame could be sent with this much connection credit.
    pub(crate) fn sendable(&self, connection: u64) -> bool {
        if self.buffered > 0 {
            connection > 0 && self.limit > self.offset
        } else {
            self.fin && !self.fin_sent
        }
    }

    /// Takes the content of the next frame: its offset, at most `max` bytes of one chunk, and whether it carries FIN.
    pub(crate) fn take(&mut self, max: u64) -> (u64, Bytes, bool) {
        let offset = self.offset;
        let room = max.min(self.limit - self.offset);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let data = match self.chunks.front_mut() {
            Some(front) if front.len() > room => front.split_to(room),
            Some(_) => self.chunks.pop_front().unwrap_or_default(),
            None => Bytes::new(),
        };
        self.buffered -= data.len();
        self.offset += data.len() as u64;
        let fin = self.fin && self.buffered == 0;
        self.fin_sent |= fin;
        (offset, data, fin)
    }
}

/// One stream, both directions.
#[derive(Debug, Hash)]
pub(crate) struct Stream {
    /// Whether this side opened the stream.
    pub(crate) mine: bool,
    /// The stream type, once the first byte has arrived.
    pub(crate) kind: Option<u8>,
    pub(crate) receive: Receive,
    pub(crate) send: Send,
    /// Whether the stream is in the send queue.
    pub(crate) queued: bool,
    /// Whether this is a request of this side whose answer is incomplete.
    pub(crate) awaited: bool,
    /// Code with which to close the stream once the peer has seen its first byte.
    pub(crate) reset: Option<Code>,
}

impl Stream {
    pub(crate) fn new(mine: bool, kind: Option<u8>, window: u64, window_max: u64) -> Self {
        Self {
            mine,
            kind,
            awaited: mine && kind == Some(crate::kind::BAR),
            receive: Receive {
                assembler: Assembler::default(),
                window: Window::new(window, window_max),
                highest: 0,
                seen: false,
                finished: false,
            },
            send: Send {
                limit: window,
                ..Send::default()
            },
            queued: false,
            reset: None,
        }
    }

    /// Bytes passed up, without the type byte.
    pub(crate) fn delivered(&self) -> u64 {
        let type_byte = u64::from(!self.mine);
        self.receive.assembler.offset().saturating_sub(type_byte)
    }

    /// Whether both directions ended and all delivered bytes were consumed.
    pub(crate) fn done(&self) -> bool {
        self.receive.finished
            && self.send.fin_sent
            && self.receive.window.consumed() >= self.receive.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_window_is_granted_at_half_and_grows_only_when_it_binds() {
        let mut w = Window::new(1000, 8000);
        w.consume(499);
        assert_eq!(w.grant(Time::ZERO + MS, MS), None);
        w.consume(1);
        // Half the window in 100 RTTs: the window is no limit.
        assert_eq!(w.grant(Time::ZERO + 100 * MS, MS), Some(500));
        w.consume(500);
        // Half the window in half an RTT: twice the BDP is twice the window.
        assert_eq!(w.grant(Time::ZERO + 100 * MS + MS / 2, MS), Some(1500));
        assert_eq!(w.limit, 3000);
    }

    #[test]
    fn frames_are_cut_to_the_credit_and_fin_goes_with_the_last() {
        let mut s = Send {
            limit: 5,
            ..Send::default()
        };
        s.push(Bytes::from_static(b"abcdefgh"), true);
        assert!(!s.sendable(0) && s.sendable(1));
        assert_eq!(s.take(100), (0, Bytes::from_static(b"abcde"), false));
        assert!(!s.sendable(100));
        s.limit = 100;
        assert_eq!(s.take(2), (5, Bytes::from_static(b"fg"), false));
        assert_eq!(s.take(2), (7, Bytes::from_static(b"h"), true));
        assert!(!s.sendable(100));
    }
}
