//! The queue of delayed packets, and a pool of packet buffers.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::NodeId;

use crate::packet::{PACKET, Packet};
use crate::share::{Shares, Spent, Via};

/// One session's largest part of the queue, as a divisor. An address has two parts.
const SESSION_ONE_IN: usize = 16;

/// Reason for dropping a new packet. Waiting packets are neither sent early nor displaced, or an attacker could flush the mix.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, thiserror::Error)]
#[non_exhaustive]
pub enum Crowded {
    /// The queue is full.
    #[error("the queue is full")]
    Queue,
    /// The session has used its part of the queue.
    #[error("the session has its part of the queue")]
    Session,
    /// The session's address has used its part of the queue.
    #[error("the address has its part of the queue")]
    Address,
}

/// A packet that is ready to leave.
#[derive(Debug)]
pub struct Departure {
    /// The next node.
    pub next: NodeId,
    /// The packet.
    pub packet: Box<Packet>,
    /// Time when it was due.
    pub due: Time,
    /// The session that brought it, and the charged party.
    pub via: Via,
}

#[derive(Debug)]
struct Entry {
    order: u64,
    departure: Departure,
}

impl Ord for Entry {
    /// The earliest packet is the greatest; of two that are due together, the first to arrive.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |e: &Self| (e.departure.due, e.order);
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

/// Waiting packets, ordered by due time.
#[derive(Debug)]
pub struct Waiting {
    max: usize,
    heap: BinaryHeap<Entry>,
    shares: Shares,
    order: u64,
}

impl Waiting {
    /// Creates a queue with memory for `max` packets.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            heap: BinaryHeap::with_capacity(max),
            shares: Shares::new(),
            order: 0,
        }
    }

    /// Number of waiting packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no packet waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Checks whether one more packet of this session fits.
    ///
    /// # Errors
    ///
    /// Reason for the refusal.
    pub fn check(&self, via: Via) -> Result<(), Crowded> {
        if self.heap.len() >= self.max {
            return Err(Crowded::Queue);
        }
        let part = (self.max / SESSION_ONE_IN).max(1);
        self.shares.check(via, part).map_err(|spent| match spent {
            Spent::Session => Crowded::Session,
            Spent::Charge => Crowded::Address,
        })
    }

    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// Reason for the refusal, with the packet's buffer.
    pub fn push(
        &mut self,
        now: Time,
        via: Via,
        wait_ms: u16,
        next: NodeId,
        packet: Box<Packet>,
    ) -> Result<(), (Crowded, Box<Packet>)> {
        if let Err(crowded) = self.check(via) {
            return Err((crowded, packet));
        }
        self.shares.add(via);
        self.order += 1;
        let due = now + Duration::from_millis(wait_ms.into());
        self.heap.push(Entry {
            order: self.order,
            departure: Departure {
                next,
                packet,
                due,
                via,
            },
        });
        Ok(())
    }

    /// Pops the next due packet.
    pub fn pop(&mut self, now: Time) -> Option<Departure> {
        if self.wake()? > now {
            return None;
        }
        let entry = self.heap.pop()?;
        self.shares.remove(entry.departure.via);
        Some(entry.departure)
    }

    /// Time when the next packet is due.
    #[must_use]
    pub fn wake(&self) -> Option<Time> {
        self.heap.peek().map(|e| e.departure.due)
    }
}

/// Reused packet buffers, which avoid allocation in steady state.
#[derive(Debug)]
pub struct Pool {
    max: usize,
    #[expect(clippy::vec_box, reason = "a packet of 2 kB is moved by its pointer")]
    free: Vec<Box<Packet>>,
    hits: u64,
    misses: u64,
}

impl Pool {
    /// Creates an empty pool of at most `max` buffers.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            free: Vec::with_capacity(max),
            hits: 0,
            misses: 0,
        }
    }

    /// Takes a buffer filled with zeros.
    pub fn take(&mut self) -> Box<Packet> {
        if let Some(packet) = self.free.pop() {
            self.hits += 1;
            return packet;
        }
        self.misses += 1;
        Box::new(Packet([0; PACKET]))
    }

    /// Returns a buffer to the pool; its contents are wiped.
    pub fn give(&mut self, mut packet: Box<Packet>) {
        if self.free.len() < self.max {
            // The next taker reads these zeros, so the compiler keeps the store. A volatile store of each byte takes 1 µs.
            packet.0.fill(0);
            self.free.push(packet);
        }
    }

    /// How many times the pool had a buffer, and how many times it did not.
    #[must_use]
    pub const fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }
}

#[cfg(test)]
mod tests {
    use betanet_machine::{Rng, Seed};
    use betanet_wire::ChargeTo;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    /// A session from an address of its own.
    fn via(session: u64) -> Via {
        let charge = ChargeTo::V4(u32::try_from(session).unwrap().to_be_bytes());
        Via { session, charge }
    }

    #[test]
    fn the_sessions_of_one_address_have_two_parts_of_the_queue_together() {
        let mut waiting = Waiting::new(160);
        let next = NodeId([0; 20]);
        let charge = ChargeTo::V4([192, 0, 2, 1]);
        let mut push = |session, charge| {
            let packet = Box::new(Packet([7; PACKET]));
            let via = Via { session, charge };
            waiting
                .push(at(0), via, 100, next, packet)
                .map_err(|(why, _)| why)
        };
        let taken = (0..160).filter(|n| push(*n, charge).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(push(160, charge), Err(Crowded::Address));
        assert_eq!(push(161, ChargeTo::V4([192, 0, 2, 2])), Ok(()));
    }

    #[test]
    fn packets_leave_when_they_are_due_and_no_sooner() {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut waiting = Waiting::new(10_000);
        let mut pool = Pool::new(10_000);
        let (mut now, mut sent, mut left) = (0, 0_u64, 0_u64);
        let mut last = at(0);
        while left < sent || sent < 20_000 {
            if sent < 20_000 {
                for _ in 0..rng.below(20) {
                    let wait = u16::try_from(rng.below(151)).unwrap();
                    let mut packet = pool.take();
                    assert!(packet.0.iter().all(|b| *b == 0));
                    packet.0[0] = 1;
                    let next = NodeId([0; 20]);
                    let pushed = waiting.push(at(now), via(sent % 100), wait, next, packet);
                    assert!(pushed.is_ok(), "within its bounds");
                    sent += 1;
                }
            }
            while let Some(departure) = waiting.pop(at(now)) {
                assert!(departure.due <= at(now) && departure.due >= last);
                last = departure.due;
                left += 1;
                pool.give(departure.packet);
            }
            assert!(waiting.wake().is_none_or(|t| t > at(now)));
            now += 1;
        }
        assert!(waiting.is_empty() && waiting.shares.is_empty());
        let (hits, misses) = pool.hits_and_misses();
        assert!(hits > 15 * misses, "{hits} of {misses}");
    }

    #[test]
    fn a_newcomer_is_dropped_and_nobody_else() {
        let mut waiting = Waiting::new(32);
        let one = || Box::new(Packet([7; PACKET]));
        let next = NodeId([0; 20]);
        for n in 0..32_u64 {
            assert!(waiting.push(at(0), via(n / 2), 100, next, one()).is_ok());
            if n == 1 {
                let third = waiting.push(at(0), via(0), 0, next, one());
                assert_eq!(third.unwrap_err().0, Crowded::Session);
            }
        }
        let full = waiting.push(at(0), via(99), 0, next, one());
        assert_eq!(full.unwrap_err().0, Crowded::Queue);
        assert!(waiting.pop(at(99)).is_none(), "none goes early");
        assert_eq!(
            (0..).take_while(|_| waiting.pop(at(100)).is_some()).count(),
            32
        );
        assert_eq!(waiting.check(via(0)), Ok(()));
    }
}
