//! One exchange of a client: an outgoing request, an incoming answer, and the reply blocks for it.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Interest, Time};

use super::Recipient;
use crate::build::SURB;
use crate::fragment::{DATA_MAX, SURBS_MAX};
use crate::stream::{Receiver, Sender};

/// Reply blocks that the other side should have at first, and at most: one window, and some for acknowledgements.
const BLOCKS: (usize, usize) = (12, 80);
/// Time after which a reply block no longer counts; a late reply is still read.
pub(super) const BLOCK_LIFE: Duration = Duration::from_secs(6);
/// Silence after which the client repeats its acknowledgement, with fresh reply blocks.
const STARVED: Duration = Duration::from_millis(1500);
/// Unread answer bytes above which the client asks for no more.
const UNREAD_MAX: usize = 1 << 20;
/// Size of a piece of a long request, which leaves room for one reply block.
const PIECE: usize = DATA_MAX - SURB;
/// Time after which request bytes that do not fill a piece are sent, so that the other side can answer a slow request early.
const SHORT_AFTER: Duration = Duration::from_millis(200);
/// Request bytes that wait to be cut into pieces.
pub(super) const PENDING_MAX: usize = 128 << 10;

#[derive(Hash)]
pub(super) struct Exchange {
    pub(super) message: [u8; 8],
    pub(super) to: Recipient,
    pub(super) request: Sender,
    pub(super) answer: Receiver,
    pending: Vec<u8>,
    ended: bool,
    /// Time when the caller gave the last bytes.
    given: Time,
    /// Answer bytes passed up and not yet consumed.
    pub(super) unread: usize,
    /// Creation times of the reply blocks that the other side probably has.
    blocks: Vec<Time>,
    /// Number of reply blocks that it should have.
    target: usize,
    /// Time when the other side was heard, or the exchange began.
    pub(super) heard: Time,
    /// Time of the last acknowledgement.
    said: Time,
    /// Repeated acknowledgements since then.
    starved: u32,
    /// Whether the last acknowledgement was sent.
    pub(super) closed: bool,
    /// Whether the caller was refused for lack of room.
    pub(super) wants_room: Interest,
}

/// A packet that an exchange wants to send.
#[derive(Hash)]
pub(super) enum Wish {
    /// A piece of the request, with this number of reply blocks.
    Piece {
        index: u16,
        count: u16,
        data: Vec<u8>,
        blocks: usize,
    },
    /// An acknowledgement, with this number of reply blocks.
    Ack { blocks: usize },
}

impl Exchange {
    pub(super) fn new(now: Time, message: [u8; 8], to: Recipient) -> Self {
        Self {
            message,
            to,
            request: Sender::new(),
            answer: Receiver::new(),
            pending: Vec::new(),
            ended: false,
            given: now,
            unread: 0,
            blocks: Vec::new(),
            target: BLOCKS.0,
            heard: now,
            said: now,
            starved: 0,
            closed: false,
            wants_room: Interest::default(),
        }
    }

    /// Whether this many more bytes of the request fit.
    pub(super) fn takes(&self, len: usize) -> bool {
        !self.ended && (self.pending.is_empty() || self.pending.len() + len <= PENDING_MAX)
    }

    pub(super) fn send(&mut self, now: Time, data: &[u8], fin: bool) {
        self.pending.extend_from_slice(data);
        self.ended = fin;
        self.given = now;
    }

    /// Time when a piece is sent although it is short, if there are bytes for one and for the last piece.
    fn short_at(&self) -> Option<Time> {
        let waits = !self.ended && self.pending.len() > 1 && self.request.room() > 0;
        waits.then(|| self.given + SHORT_AFTER)
    }

    /// Whether the whole request was given.
    pub(super) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Records that the other side was heard over a reply block.
    pub(super) fn heard(&mut self, now: Time, made: Time) {
        self.heard = now;
        self.starved = 0;
        if let Some(at) = self.blocks.iter().position(|t| *t == made) {
            self.blocks.swap_remove(at);
        }
        self.target = (self.target + 1).min(BLOCKS.1);
    }

    /// Records that reply blocks are made for the other side.
    fn give(&mut self, now: Time, blocks: usize) {
        self.blocks.extend(core::iter::repeat_n(now, blocks));
    }

    /// The next packet to send now.
    pub(super) fn next(&mut self, now: Time) -> Option<Wish> {
        // A request's last piece is not empty: that would be a reply block's carrier only. So something is kept for it.
        loop {
            let short = self.short_at().is_some_and(|at| at <= now);
            let cuts = self.pending.len() > PIECE || self.ended || short;
            if !cuts || self.pending.is_empty() || self.request.room() == 0 {
                break;
            }
            let kept = usize::from(!self.ended);
            let len = (self.pending.len() - kept).min(PIECE);
            let piece: Vec<u8> = self.pending.drain(..len).collect();
            let last = self.ended && self.pending.is_empty();
            if !self.request.push(piece, last) {
                break;
            }
        }
        self.blocks.retain(|made| now - *made < BLOCK_LIFE);
        let wanted = self.wanted();
        if let Some(piece) = self.request.poll(now) {
            let fits = (DATA_MAX - piece.data.len()) / SURB;
            let blocks = fits.min(wanted.max(1));
            let wish = Wish::Piece {
                index: piece.index,
                count: piece.count,
                blocks,
                data: piece.data.to_vec(),
            };
            self.give(now, blocks);
            return Some(wish);
        }
        if self.answer.is_done() {
            if self.closed {
                return None;
            }
            self.closed = true;
            return Some(Wish::Ack { blocks: 0 });
        }
        if self.request.sent() == 0 || self.unread > UNREAD_MAX {
            return None;
        }
        if wanted >= SURBS_MAX || now >= self.starves_at() {
            if now >= self.starves_at() {
                self.starved = (self.starved + 1).min(3);
            }
            self.said = now;
            self.give(now, SURBS_MAX);
            return Some(Wish::Ack { blocks: SURBS_MAX });
        }
        None
    }

    fn starves_at(&self) -> Time {
        self.heard.max(self.said) + STARVED * (1 << self.starved)
    }

    /// Further reply blocks that the other side should have.
    fn wanted(&self) -> usize {
        let mut target = self.target;
        if let Some(left) = self.answer.left() {
            // Some for what gets lost.
            target = target.min(left + left / 8 + 2);
        }
        target.saturating_sub(self.blocks.len())
    }

    /// Time when [`Self::next`] has a packet without further input.
    pub(super) fn wake(&self) -> Option<Time> {
        if self.answer.is_done() && self.closed {
            return self.request.wake();
        }
        let starves = (self.request.sent() > 0 && self.unread <= UNREAD_MAX).then(|| {
            let oldest = self.blocks.iter().min().map(|made| *made + BLOCK_LIFE);
            oldest.map_or(self.starves_at(), |o| o.min(self.starves_at()))
        });
        let all = [starves, self.request.wake(), self.short_at()];
        all.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use betanet_wire::NodeId;

    use super::*;
    use crate::{RelayKey, public_key};

    #[test]
    fn a_slow_request_is_sent_before_its_end_but_for_a_byte() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let to = Recipient {
            node: NodeId([1; 20]),
            key: RelayKey::check(public_key(&[7; 32])).unwrap(),
        };
        // Number of pieces as far as known, and length of the next piece. Acknowledgements go between them.
        let piece = |x: &mut Exchange, now| {
            let mut wishes = core::iter::from_fn(|| x.next(now));
            wishes.find_map(|wish| match wish {
                Wish::Piece { count, data, .. } => Some((count, data.len())),
                Wish::Ack { .. } => None,
            })
        };
        let mut x = Exchange::new(at(0), [1; 8], to);
        x.send(at(5), &[7; 60], false);
        x.send(at(10), &[7; 40], false);
        assert_eq!(piece(&mut x, at(209)), None);
        assert_eq!(x.wake(), Some(at(210)));
        assert_eq!(piece(&mut x, at(210)), Some((0, 99)));
        // Nothing more is sent for one byte, until the end comes.
        assert_eq!(piece(&mut x, at(500)), None);
        x.send(at(500), &[], true);
        assert_eq!(piece(&mut x, at(500)), Some((2, 1)));
    }
}
