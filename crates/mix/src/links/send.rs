//! Packets that are given to the links: one at a time, or a batch as a whole.

use alloc::vec::Vec;

use betanet_machine::{Now, Time};
use betanet_wire::{ChargeTo, NodeId};

use super::link::{Link, State};
use super::{Cause, Links, NotTaken, QUEUE, SESSION_ONE_IN};
use crate::share::{Spent, Via};
use crate::waiting::Departure;

impl Links {
    /// Gives a packet to the link with its next node. Where none stands, it is made, and `payer` says who pays for it.
    ///
    /// # Errors
    ///
    /// Why the packet is not taken, and the packet.
    pub fn send(
        &mut self,
        now: Now,
        departure: Departure,
        payer: impl FnOnce() -> ChargeTo,
    ) -> Result<(), NotTaken> {
        let next = departure.next;
        self.enqueue(now.mono, departure, payer)?;
        self.start(now, next);
        Ok(())
    }

    /// Gives packets to the links with their next nodes, so that those for one next node are written together. Where no link
    /// stands, it is made, and `payer` returns who pays for it, from the next node and the packet's own payer. A packet that
    /// is not taken goes to `not_taken`. The vector is left empty, with its memory.
    pub fn send_all(
        &mut self,
        now: Now,
        departures: &mut Vec<Departure>,
        mut payer: impl FnMut(NodeId, ChargeTo) -> ChargeTo,
        mut not_taken: impl FnMut(NotTaken),
    ) {
        let mut touched = core::mem::take(&mut self.touched);
        for departure in departures.drain(..) {
            let (next, charge) = (departure.next, departure.via.charge);
            match self.enqueue(now.mono, departure, || payer(next, charge)) {
                // Packets of one batch mostly have few next nodes.
                Ok(()) if !touched.contains(&next) => touched.push(next),
                Ok(()) => {}
                Err(not) => not_taken(not),
            }
        }
        for next in touched.drain(..) {
            self.start(now, next);
        }
        self.touched = touched;
    }

    /// Queues a packet at the link with its next node, which is made where none stands.
    fn enqueue(
        &mut self,
        now: Time,
        departure: Departure,
        payer: impl FnOnce() -> ChargeTo,
    ) -> Result<(), NotTaken> {
        let (next, via) = (departure.next, departure.via);
        let queued = self.links.get(&next).map(Link::len);
        let may = self.may_wait(queued.unwrap_or(0), via);
        let may = may.and_then(|()| match queued {
            Some(_) => Ok(()),
            None => self.make(now, next, payer()),
        });
        if let Err(cause) = may {
            return Err((cause, departure));
        }
        let Some(link) = self.links.get_mut(&next) else {
            return Err((Cause::LinkFull, departure));
        };
        link.queue.push_back(departure);
        link.used = now;
        self.shares.add(via);
        self.waiting += 1;
        Ok(())
    }

    /// Starts the next action of a link that was given packets, unless one is in progress.
    fn start(&mut self, now: Now, next: NodeId) {
        match self.links.get(&next).map(|link| link.state) {
            Some(State::Bare) => self.begin(now, next),
            Some(State::Ready) => self.flow(now, next),
            // The deadline of the first packet may be the link's next timer.
            Some(State::Opening { .. } | State::Resting { .. }) => self.time(next),
            Some(State::Writing(_)) | None => {}
        }
    }

    fn may_wait(&self, queued: usize, via: Via) -> Result<(), Cause> {
        if self.waiting >= self.most || queued >= QUEUE {
            return Err(Cause::LinkFull);
        }
        let part = self.most / SESSION_ONE_IN;
        let spent = self.shares.check(via, part);
        spent.map_err(|spent| match spent {
            Spent::Session => Cause::Session,
            Spent::Charge => Cause::Address,
        })
    }
}
