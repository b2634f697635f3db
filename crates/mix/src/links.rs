//! Where a node's packets go on: one link for each next node, for as long as there are packets for it.
//!
//! **Promises.** Packets that wait for links are bounded, and so is the part of each session and of each who pays. A link is made
//! when a packet wants it, at the cost of one payer's share of links; one that fails rests, longer each time. A packet that could
//! not be sent in time is dropped.
//!
//! The driver opens streams and writes to them: one thing at a time for each link, which it tells the outcome of.

mod failed;
mod link;
mod send;
mod talk;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Fingerprint, Machine, Now, Queue, Time, Wake};
use betanet_wire::{ChargeTo, NodeId};

use crate::share::Shares;
use crate::waiting::Departure;
use failed::Failed;
use link::{Link, State};
pub use talk::{Cause, Fails, LinkEvent, LinkInput, LinkTransmit, Op};

/// A packet that could not be sent by then is dropped.
pub const DEAD: Duration = Duration::from_secs(2);
/// A link without packets is closed after this.
pub const IDLE: Duration = Duration::from_secs(300);
/// From the wish for a session to an open stream.
pub const OPEN: Duration = Duration::from_secs(10);
/// Rest after a failure, doubled up to the second.
pub const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(16));
/// Packets that are sent together: as many as fit four frames.
pub const TOGETHER: usize = 26;
/// Packets that wait for one next node.
pub const QUEUE: usize = 2048;
/// Next nodes at once.
pub const LINKS_MAX: usize = 4096;
/// Links that one payer may have had made, of those that stand: a sixteenth.
pub const LINKS_SHARE: usize = LINKS_MAX / 16;
/// One session's part of the packets that wait for links: one in so many. A payer has two.
const SESSION_ONE_IN: usize = 16;

/// A packet that is not taken, and why.
pub type NotTaken = (Cause, Departure);

/// The links of one node.
#[derive(Debug)]
pub struct Links {
    /// Packets that wait for links, at most.
    most: usize,
    links: BTreeMap<NodeId, Link>,
    /// Links that stand, by who pays for them.
    made: BTreeMap<ChargeTo, usize>,
    shares: Shares,
    waiting: usize,
    failed: Failed,
    /// When each link wants to be looked at.
    timers: BTreeSet<(Time, NodeId)>,
    next_id: u64,
    /// Memory that [`Links::send_all`] reuses. It is empty between calls.
    touched: Vec<NodeId>,
    transmits: Queue<LinkTransmit>,
    events: Queue<LinkEvent>,
}

impl Links {
    /// The links of a node at which so many packets wait for their time.
    #[must_use]
    pub fn new(waiting: usize) -> Self {
        Self {
            most: waiting.max(QUEUE * SESSION_ONE_IN),
            links: BTreeMap::new(),
            made: BTreeMap::new(),
            shares: Shares::new(),
            waiting: 0,
            failed: Failed::default(),
            timers: BTreeSet::new(),
            next_id: 0,
            touched: Vec::new(),
            transmits: Queue::new(LINKS_MAX),
            events: Queue::new(LINKS_MAX),
        }
    }

    /// Links that stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Packets that wait for links, or are being written.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Makes a link, where there may be one more.
    fn make(&mut self, now: Time, next: NodeId, payer: ChargeTo) -> Result<(), Cause> {
        let rest = self.failed.check(now, next)?;
        let made = self.made.get(&payer).copied().unwrap_or(0);
        if made >= LINKS_SHARE && !self.evict(now, Some(payer)) {
            return Err(Cause::LinkShare);
        }
        if self.links.len() >= LINKS_MAX && !self.evict(now, None) {
            return Err(Cause::LinkFull);
        }
        self.next_id += 1;
        let link = Link::new(self.next_id, payer, now, rest.unwrap_or(REST.0));
        self.links.insert(next, link);
        *self.made.entry(payer).or_default() += 1;
        Ok(())
    }

    /// Ends the link that was used longest ago, of all or of one payer's, if it can have no packets any more.
    fn evict(&mut self, now: Time, of: Option<ChargeTo>) -> bool {
        let own = self.links.iter();
        let own = own.filter(|(_, l)| of.is_none_or(|payer| l.payer == payer));
        let idlest = own.min_by_key(|(_, l)| l.used);
        let idlest = idlest.filter(|(_, l)| l.used + DEAD + DEAD <= now);
        let Some(next) = idlest.map(|(n, _)| *n) else {
            return false;
        };
        self.remove(now, next, Cause::Dead);
        true
    }

    /// Takes a link away, and what waits for it.
    fn remove(&mut self, now: Time, next: NodeId, cause: Cause) {
        let Some(mut link) = self.links.remove(&next) else {
            return;
        };
        if let Some(at) = link.timer.take() {
            self.timers.remove(&(at, next));
        }
        if let Some(n) = self.made.get_mut(&link.payer) {
            *n -= 1;
            if *n == 0 {
                self.made.remove(&link.payer);
            }
        }
        self.dropped(now, cause, link.queue.into());
        let id = link.id;
        // A link has one transmit beside its last one, and an event for its packets.
        self.transmits
            .push_reserved(now, LinkTransmit::Close { id });
    }

    fn dropped(&mut self, now: Time, cause: Cause, packets: Vec<Departure>) {
        if packets.is_empty() {
            return;
        }
        self.leave(&packets);
        let event = LinkEvent::Dropped { cause, packets };
        self.events.push_reserved(now, event);
    }

    /// These packets wait no more.
    fn leave(&mut self, packets: &[Departure]) {
        for packet in packets {
            self.shares.remove(packet.via);
        }
        self.waiting -= packets.len();
    }

    /// Ends a link that failed, and remembers by what.
    fn fail(&mut self, now: Time, next: NodeId, fails: Fails, rest: Duration) {
        self.failed.note(now, next, fails, rest);
        let cause = match fails {
            Fails::Unknown | Fails::Busy => Cause::Unknown,
            Fails::Down => Cause::Dead,
        };
        self.remove(now, next, cause);
    }

    /// Sets the time at which a link is looked at.
    fn time(&mut self, next: NodeId) {
        let Some(link) = self.links.get_mut(&next) else {
            return;
        };
        let at = link.wake();
        if at == link.timer {
            return;
        }
        if let Some(before) = link.timer {
            self.timers.remove(&(before, next));
        }
        link.timer = at;
        self.timers.extend(at.map(|at| (at, next)));
    }

    /// Wants a stream for a link.
    fn begin(&mut self, now: Now, next: NodeId) {
        if let Some(link) = self.links.get_mut(&next) {
            let via = link.queue.front().map(|d| d.via).unwrap_or_default();
            let until = now.mono + OPEN;
            let rested = now.mono + link.rest;
            link.state = State::Opening { until, rested };
            let op = link.turn(next);
            let open = LinkTransmit::Open { op, via, until };
            self.transmits.push_reserved(now.mono, open);
            self.time(next);
        }
    }

    /// Writes what waits for a link that has a stream.
    fn flow(&mut self, now: Now, next: NodeId) {
        self.drop_overdue(now.mono, next);
        if let Some(link) = self.links.get_mut(&next) {
            if let Some(oldest) = link.queue.front().map(|d| d.due) {
                let count = link.queue.len().min(TOGETHER);
                let packets: Vec<Departure> = link.queue.drain(..count).collect();
                link.state = State::Writing(count);
                let op = link.turn(next);
                let until = oldest + DEAD;
                let write = LinkTransmit::Write { op, packets, until };
                self.transmits.push_reserved(now.mono, write);
            } else {
                link.state = State::Ready;
                link.since = now.mono;
            }
            self.time(next);
        }
    }

    fn drop_overdue(&mut self, now: Time, next: NodeId) {
        let overdue = self.links.get_mut(&next).map(|link| link.overdue(now));
        self.dropped(now, Cause::Dead, overdue.unwrap_or_default());
    }

    /// The rest after a failure is over: it is tried again while there are packets.
    fn rested(&mut self, now: Now, next: NodeId) {
        self.drop_overdue(now.mono, next);
        let Some(link) = self.links.get_mut(&next) else {
            return;
        };
        link.rest = (link.rest * 2).min(REST.1);
        let (rest, waits) = (link.rest, !link.queue.is_empty());
        if waits {
            self.begin(now, next);
        } else {
            self.fail(now.mono, next, Fails::Down, rest);
        }
    }

    /// A link whose stream was not opened.
    fn unopened(&mut self, now: Now, next: NodeId, rested: Time) {
        if rested <= now.mono {
            return self.rested(now, next);
        }
        if let Some(link) = self.links.get_mut(&next) {
            link.state = State::Resting { until: rested };
            self.time(next);
        }
    }

    /// The link that an outcome is of; `None` where it is of one that is gone, or of what was given up.
    fn of(&mut self, op: Op) -> Option<&mut Link> {
        let link = self.links.get_mut(&op.next);
        link.filter(|l| (l.id, l.turn) == (op.id, op.turn))
    }

    fn written(&mut self, now: Now, op: Op, packets: Vec<Departure>) {
        self.leave(&packets);
        self.events
            .push_reserved(now.mono, LinkEvent::Sent { packets });
        if let Some(link) = self.of(op) {
            link.state = State::Ready;
            self.flow(now, op.next);
        }
    }

    /// Without its stream it is tried on another one, while there is time.
    fn broken(&mut self, now: Now, op: Op, packets: Vec<Departure>) {
        let Some(link) = self.of(op) else {
            return self.dropped(now.mono, Cause::Dead, packets);
        };
        link.state = State::Bare;
        link.since = now.mono;
        for packet in packets.into_iter().rev() {
            link.queue.push_front(packet);
        }
        self.drop_overdue(now.mono, op.next);
        if self.of(op).is_some_and(|l| !l.queue.is_empty()) {
            self.begin(now, op.next);
        } else {
            self.time(op.next);
        }
    }

    /// A link's time has come.
    fn look(&mut self, now: Now, next: NodeId) {
        let Some(link) = self.links.get(&next) else {
            return;
        };
        match link.state {
            State::Bare | State::Ready if link.since + IDLE <= now.mono => {
                self.failed.forget(next);
                self.remove(now.mono, next, Cause::Dead);
            }
            State::Opening { until, rested } if until <= now.mono => {
                self.unopened(now, next, rested);
            }
            State::Resting { until } if until <= now.mono => self.rested(now, next),
            _ => {
                self.drop_overdue(now.mono, next);
                self.time(next);
            }
        }
    }
}

impl Machine for Links {
    type Input = LinkInput;
    /// A packet is given by [`Links::send`], which gives it back where it is not taken.
    type Command = core::convert::Infallible;
    type Answer = ();
    type Transmit = LinkTransmit;
    type Event = LinkEvent;
    type Error = core::convert::Infallible;

    /// Takes what became of the one thing that a link asked for: there is room for each link's.
    fn handle_input(&mut self, now: Now, input: LinkInput) -> Result<(), Self::Error> {
        match input {
            LinkInput::Opened { op } => {
                if let Some(link) = self.of(op)
                    && matches!(link.state, State::Opening { .. })
                {
                    link.rest = REST.0;
                    self.flow(now, op.next);
                }
            }
            LinkInput::Failed { op, why } => {
                if let Some(link) = self.of(op)
                    && let State::Opening { rested, .. } = link.state
                {
                    let rest = link.rest;
                    match why {
                        Fails::Down => self.unopened(now, op.next, rested),
                        nobody => self.fail(now.mono, op.next, nobody, rest),
                    }
                }
            }
            LinkInput::Written { op, packets } => self.written(now, op, packets),
            LinkInput::Broken { op, packets } => self.broken(now, op, packets),
        }
        Ok(())
    }

    fn handle_command(&mut self, _: Now, command: Self::Command) -> Result<(), Self::Error> {
        match command {}
    }

    fn handle_timeout(&mut self, now: Now) {
        while let Some(&(at, next)) = self.timers.first()
            && at <= now.mono
        {
            self.look(now, next);
        }
    }

    fn poll_transmit(&mut self) -> Option<LinkTransmit> {
        self.transmits.pop()
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let link = self.timers.first().map(|(at, _)| Wake {
            at: *at,
            why: "links: a link's time",
        });
        Wake::earliest([
            self.transmits.wake("links: transmits wait"),
            self.events.wake("links: events wait"),
            link,
        ])
    }

    fn fingerprint(&self) -> u64 {
        let word = |n: usize| n as u64;
        let mut print = Fingerprint::default()
            .word(word(self.most))
            .word(word(self.waiting))
            .word(word(self.made.len()))
            .word(word(self.failed.len()))
            .word(word(self.transmits.len()))
            .word(word(self.events.len()))
            .word(self.next_id);
        for (next, link) in &self.links {
            print = link.fingerprint(print.bytes(&next.0));
        }
        for (at, next) in &self.timers {
            print = print.word(at.as_micros()).bytes(&next.0);
        }
        print.finish()
    }
}

#[cfg(test)]
mod tests;
