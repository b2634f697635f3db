//! The exchanges of a recipient, indexed by ID, by next deadline, and by how little their loss would cost.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::hash::{Hash, Hasher};
use core::time::Duration;

use betanet_machine::{Interest, Time};
use betanet_wire::ChargeTo;

use super::Message;
use crate::build::Surb;
use crate::share::Via;
use crate::stream::{Receiver, Sender};

/// Most exchanges of one session.
pub(super) const SESSION_MAX: usize = 64;
/// Most exchanges of one charged party.
pub(super) const CHARGE_MAX: usize = 2 * SESSION_MAX;
/// Silence after which an exchange is dropped.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Pieces acknowledged together.
const ACK_EVERY: u32 = 8;
/// Longest wait of an acknowledgement.
const ACK_AFTER: Duration = Duration::from_millis(150);

pub(super) struct Exchange {
    pub(super) via: Via,
    pub(super) request: Receiver,
    pub(super) answer: Sender,
    pub(super) answer_ended: bool,
    pub(super) blocks: VecDeque<Surb>,
    pub(super) heard: Time,
    pub(super) unacknowledged: u32,
    /// Arrival of the first unacknowledged piece.
    pub(super) since: Option<Time>,
    pub(super) wants_room: Interest,
    /// Position in the two orders.
    placed: Option<Placed>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Placed {
    due: Time,
    pieces: usize,
    heard: Time,
}

impl Exchange {
    pub(super) fn ack_due(&self) -> Option<Time> {
        let since = self.since.filter(|_| !self.blocks.is_empty())?;
        let at_once = self.unacknowledged >= ACK_EVERY || self.request.is_done();
        Some(if at_once { since } else { since + ACK_AFTER })
    }

    pub(super) fn is_idle(&self, now: Time) -> bool {
        self.heard + IDLE <= now
    }

    /// Time of the next action.
    fn due(&self, now: Time) -> Time {
        let again = self.answer.wake().filter(|_| !self.blocks.is_empty());
        let room = self.wants_room.is_registered() && !self.answer_ended && self.answer.room() > 0;
        let sooner = [self.ack_due(), again, room.then_some(now)];
        let idle = self.heard + IDLE;
        sooner.into_iter().flatten().fold(idle, Time::min)
    }
}

impl Hash for Exchange {
    fn hash<H: Hasher>(&self, state: &mut H) {
        betanet_machine::hash_fields!(self, state, Exchange {
            via, request, answer, answer_ended, blocks, heard, unacknowledged, since, wants_room,
        } without {
            placed: "follows from the others, and from registered interest",
        });
    }
}

impl Hash for Exchanges {
    fn hash<H: Hasher>(&self, state: &mut H) {
        betanet_machine::hash_fields!(self, state, Exchanges { all } without {
            due: "an order over all of them, which follows from them",
            least: "an order over all of them, which follows from them",
            of_session: "follows from all of them",
            of_charge: "follows from all of them",
        });
    }
}

/// All exchanges.

#[derive(Default)]
pub(super) struct Exchanges {
    all: BTreeMap<Message, Exchange>,
    due: BTreeSet<(Time, Message)>,
    /// The least complete exchange first, and of those the longest silent.
    least: BTreeSet<(usize, Time, Message)>,
    of_session: BTreeMap<u64, BTreeSet<Message>>,
    of_charge: BTreeMap<ChargeTo, BTreeSet<Message>>,
}

fn take<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<Message>>, key: &K, message: &Message) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(message);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}

impl Exchanges {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn has(&self, message: &Message) -> bool {
        self.all.contains_key(message)
    }

    /// One exchange. A caller that changes it must call [`Self::settle`] afterwards.
    pub(super) fn get_mut(&mut self, message: &Message) -> Option<&mut Exchange> {
        self.all.get_mut(message)
    }

    pub(super) fn begin(&mut self, now: Time, message: Message, via: Via) {
        let exchange = Exchange {
            via,
            request: Receiver::new(),
            answer: Sender::new(),
            answer_ended: false,
            blocks: VecDeque::new(),
            heard: now,
            unacknowledged: 0,
            since: None,
            wants_room: Interest::default(),
            placed: None,
        };
        self.all.insert(message, exchange);
        self.of_session
            .entry(via.session)
            .or_default()
            .insert(message);
        self.of_charge
            .entry(via.charge)
            .or_default()
            .insert(message);
        self.settle(now, message);
    }

    pub(super) fn remove(&mut self, message: &Message) -> Option<Exchange> {
        let exchange = self.all.remove(message)?;
        self.unplace(exchange.placed, *message);
        take(&mut self.of_session, &exchange.via.session, message);
        take(&mut self.of_charge, &exchange.via.charge, message);
        Some(exchange)
    }

    fn unplace(&mut self, placed: Option<Placed>, message: Message) {
        if let Some(p) = placed {
            self.due.remove(&(p.due, message));
            self.least.remove(&(p.pieces, p.heard, message));
        }
    }

    /// Updates an exchange's position in both orders after a change.
    pub(super) fn settle(&mut self, now: Time, message: Message) {
        let Some(exchange) = self.all.get_mut(&message) else {
            return;
        };
        let placed = Placed {
            due: exchange.due(now),
            pieces: exchange.request.pieces(),
            heard: exchange.heard,
        };
        let before = exchange.placed.replace(placed);
        if before != Some(placed) {
            self.unplace(before, message);
            self.due.insert((placed.due, message));
            self.least.insert((placed.pieces, placed.heard, message));
        }
    }

    /// Time of the next action.
    pub(super) fn wake(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Exchanges with an action due, by ID.
    pub(super) fn due(&self, now: Time) -> impl Iterator<Item = (Message, bool)> + use<> {
        let last = (now, [u8::MAX; 8]);
        let due = self.due.range(..=last).map(|(_, m)| *m);
        let due: BTreeSet<Message> = due.collect();
        let idle = |m: Message| (m, self.all.get(&m).is_some_and(|x| x.is_idle(now)));
        let due: alloc::vec::Vec<(Message, bool)> = due.into_iter().map(idle).collect();
        due.into_iter()
    }

    /// The exchange to drop for a new one; `None` while there is room. Silent ones go first, then the least complete.
    pub(super) fn crowded(&self, now: Time, via: Via, max: usize) -> Option<Message> {
        let session = self.of_session.get(&via.session);
        let charge = self.of_charge.get(&via.charge);
        let own = session
            .filter(|s| s.len() >= SESSION_MAX)
            .or_else(|| charge.filter(|c| c.len() >= CHARGE_MAX));
        if let Some(own) = own {
            let worth = |m: &&Message| {
                let x = self.all.get(*m);
                x.map(|x| (!x.is_idle(now), x.request.pieces(), x.heard))
            };
            return own.iter().min_by_key(worth).copied();
        }
        if self.all.len() < max {
            return None;
        }
        // Whoever is idle is due, and as a rule nobody else is due for so long.
        let first = self.due.first().map(|(_, m)| *m);
        let idle = first.filter(|m| self.all.get(m).is_some_and(|x| x.is_idle(now)));
        idle.or_else(|| self.least.first().map(|(_, _, m)| *m))
    }

    /// Checks the orders and shares against a walk over all exchanges.
    #[cfg(test)]
    pub(super) fn check(&self, now: Time) {
        let later = |x: &Exchange| x.due(now);
        let walked = self.all.values().map(later).min();
        assert_eq!(self.wake(), walked, "the earliest deadline");
        let n = self.all.len();
        assert_eq!((self.due.len(), self.least.len()), (n, n));
        let least = self.all.iter();
        let least = least.map(|(m, x)| (x.request.pieces(), x.heard, *m)).min();
        assert_eq!(self.least.first().copied(), least, "the least complete");
        for (sets, most) in [
            (
                self.of_session.values().collect::<alloc::vec::Vec<_>>(),
                SESSION_MAX,
            ),
            (self.of_charge.values().collect(), CHARGE_MAX),
        ] {
            assert_eq!(sets.iter().map(|s| s.len()).sum::<usize>(), n);
            assert!(sets.iter().all(|s| s.len() <= most && !s.is_empty()));
        }
    }
}
