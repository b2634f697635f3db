//! One link: what waits for it, and what it waits for.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Fingerprint, Time};
use betanet_wire::{ChargeTo, NodeId};

use super::talk::Op;
use super::{DEAD, IDLE};
use crate::waiting::Departure;

/// The thing that a link waits for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// It has no stream, and wants none yet.
    Bare,
    /// It wants a stream by then, or else rests until the second.
    Opening { until: Time, rested: Time },
    /// After a failure.
    Resting { until: Time },
    /// It has a stream, and no packets.
    Ready,
    /// So many packets are being written.
    Writing(usize),
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: u64,
    /// Counts what it asked for.
    pub(super) turn: u64,
    /// The payer.
    pub(super) payer: ChargeTo,
    /// When it was given its last packet.
    pub(super) used: Time,
    /// Since when it has no packets.
    pub(super) since: Time,
    pub(super) queue: VecDeque<Departure>,
    pub(super) state: State,
    /// How long it rests after its next failure.
    pub(super) rest: Duration,
    /// When it is looked at.
    pub(super) timer: Option<Time>,
}

impl Link {
    pub(super) const fn new(id: u64, payer: ChargeTo, now: Time, rest: Duration) -> Self {
        Self {
            id,
            turn: 0,
            payer,
            used: now,
            since: now,
            queue: VecDeque::new(),
            state: State::Bare,
            rest,
            timer: None,
        }
    }

    /// Packets that wait for it, those included that are being written.
    pub(super) fn len(&self) -> usize {
        match self.state {
            State::Writing(count) => self.queue.len() + count,
            _ => self.queue.len(),
        }
    }

    /// The name of its next request.
    pub(super) const fn turn(&mut self, next: NodeId) -> Op {
        self.turn += 1;
        Op {
            next,
            id: self.id,
            turn: self.turn,
        }
    }

    /// Takes off what could not be sent in time.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<Departure> {
        let dead = self.queue.iter().take_while(|d| d.due + DEAD <= now);
        let dead = dead.count();
        self.queue.drain(..dead).collect()
    }

    /// When it wants to be looked at; what is being written is its driver's.
    pub(super) fn wake(&self) -> Option<Time> {
        let dead = self.queue.front().map(|d| d.due + DEAD);
        let own = match self.state {
            State::Bare | State::Ready => self.since + IDLE,
            State::Opening { until, .. } | State::Resting { until } => until,
            State::Writing(_) => return None,
        };
        Some(dead.map_or(own, |dead| dead.min(own)))
    }

    pub(super) fn fingerprint(&self, print: Fingerprint) -> Fingerprint {
        let (state, until) = match self.state {
            State::Bare => (0, Time::ZERO),
            State::Opening { until, .. } => (1, until),
            State::Resting { until } => (2, until),
            State::Ready => (3, Time::ZERO),
            State::Writing(count) => (4 + count as u64, Time::ZERO),
        };
        print
            .word(self.id)
            .word(self.turn)
            .word(self.used.as_micros())
            .word(self.since.as_micros())
            .word(self.queue.len() as u64)
            .word(state)
            .word(until.as_micros())
            .word(self.rest.as_secs())
            .word(self.rest.subsec_micros().into())
    }
}
