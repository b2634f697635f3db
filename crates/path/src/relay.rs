//! A node that carries paths of others: which it takes, where they lead, which streams go on, and what it tells of what fails.
//!
//! **Promises.** A path ends here or goes on to a node that the rules allow. Dials, lookups and streams are bounded, and one who
//! pays has no more than a share of each. A dial that takes too long fails, and the builder of its path is told why.
//!
//! A session, the session with a next hop and a stream are whatever the driver calls them: `S`, `A` and `T`. Signatures are
//! [`Work`] and [`Message`], which the driver works out where it likes.

mod first;
mod places;
mod talk;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_keys::PublicKey;
use betanet_machine::{Fingerprint, Machine, Now, Queue, Time, Wake};
use betanet_wire::{ChargeTo, Code, NodeId};

use crate::control::{Control, Failure, PathId};
use crate::hop::{Accepted, Header, Hop, LinkPath, PathError};
pub use first::{FIRST_BYTES, First, WrongLength};
use places::Places;
pub use talk::{DialId, Event, Input, Judged, Message, Place, Refused, Transmit, Work};

/// Path headers remembered, of which one peer has 1/64, and one address 1/32.
pub const HEADERS_MAX: usize = 65_536;
/// From a path's header to the session with the next hop.
pub const NEXT_HOP: Duration = Duration::from_secs(10);
/// Dials to next hops that paths of others bring about, at once; and of one who pays.
pub const DIALS: (usize, usize) = (128, 16);
/// Lookups of next hops that paths of others bring about, at once; and of one who pays.
pub const LOOKUPS: (usize, usize) = (8, 2);
/// Streams at once to one next hop, whose session has room for 256; and of one who pays.
pub const STREAMS: (usize, usize) = (224, 64);

/// Transmits that wait, at most.
const TRANSMITS_MAX: usize = 2 * STREAMS.0;
/// Events that wait, at most.
const EVENTS_MAX: usize = 2 * STREAMS.0;
/// One input makes no more of either than this.
const ROOM: usize = STREAMS.0 + 1;
/// The longest time between two looks for paths that have expired: the clock of their expiry may jump.
const LOOK: Duration = Duration::from_secs(60);

/// Why an input is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The queues are full of outputs that the driver has not fetched.
    #[error("the queues are full of outputs that were not fetched")]
    Full,
}

/// Where paths of others may go on to.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Nodes that they always may.
    pub onward: BTreeSet<NodeId>,
    /// Whether they may go on to whomever the network knows, once this node has joined it.
    pub carries: bool,
}

/// Where streams bound to a path go.
#[derive(Clone, Debug)]
enum Link<A> {
    /// They end here.
    Exit,
    /// It is not known yet whether the next hop is reached.
    Dialling(DialId),
    /// To the next hop, over this session and under this name.
    Onward(NodeId, PathId, A),
}

/// A path that leads over this node.
#[derive(Clone, Debug)]
struct Carried<S, A> {
    link: Link<A>,
    /// The session that brought it.
    back: S,
}

/// A next hop that is dialled for a path.
#[derive(Debug)]
struct Dialling<T> {
    path: LinkPath,
    next: NodeId,
    onward: PathId,
    charge: ChargeTo,
    until: Time,
    /// Streams that go on once it is reached, and who pays for each.
    waiting: Vec<(T, ChargeTo)>,
}

/// The counters of a relay.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RelayStats {
    /// Paths that end here.
    pub exits: u64,
    /// Paths that went on.
    pub onward: u64,
    /// Paths and streams that were refused.
    pub refused: u64,
    /// Paths that ended because the next hop was not reached, or is gone.
    pub failed: u64,
    /// Streams that went on.
    pub streams: u64,
    /// Inputs for which the queues had no room.
    pub full: u64,
}

/// The paths of others that lead over one node or to it.
#[derive(Debug)]
pub struct Relay<S, A, T> {
    own: NodeId,
    rules: Rules,
    joined: bool,
    hop: Hop,
    carried: BTreeMap<LinkPath, Carried<S, A>>,
    /// By their order, which is that of their ends.
    dials: BTreeMap<DialId, Dialling<T>>,
    next_dial: DialId,
    dialling: Places,
    lookups: Places,
    /// The streams to each next hop.
    streams: BTreeMap<NodeId, Places>,
    /// When paths are looked for that have expired.
    look: Option<Time>,
    transmits: Queue<Transmit<S, A, T>>,
    events: Queue<Event<T>>,
    stats: RelayStats,
}

impl<S: Clone, A: Clone, T> Relay<S, A, T> {
    /// A relay of the node `own`, which remembers up to `headers` path headers.
    #[must_use]
    pub const fn new(own: NodeId, rules: Rules, headers: usize) -> Self {
        Self {
            own,
            rules,
            joined: false,
            hop: Hop::new(headers),
            carried: BTreeMap::new(),
            dials: BTreeMap::new(),
            next_dial: DialId::FIRST,
            dialling: Places::new(DIALS),
            lookups: Places::new(LOOKUPS),
            streams: BTreeMap::new(),
            look: None,
            transmits: Queue::new(TRANSMITS_MAX),
            events: Queue::new(EVENTS_MAX),
            stats: RelayStats {
                exits: 0,
                onward: 0,
                refused: 0,
                failed: 0,
                streams: 0,
                full: 0,
            },
        }
    }

    /// The node is part of a network now, which may know next hops.
    pub const fn join(&mut self) {
        self.joined = true;
    }

    /// Whether a next hop that `charge` pays for may be looked for. Where it may, [`Self::looked_up`] tells that this is over.
    #[must_use]
    pub fn look_up(&mut self, charge: ChargeTo) -> bool {
        self.lookups.enter(charge)
    }

    /// A lookup is over, whether or not anybody waits for it any more.
    pub fn looked_up(&mut self, charge: ChargeTo) {
        self.lookups.leave(charge);
    }

    /// Paths that lead over this node or to it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.carried.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty()
    }

    /// Path headers that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.hop.remembered()
    }

    /// Dials that run.
    #[must_use]
    pub fn dials(&self) -> usize {
        self.dials.len()
    }

    /// Streams that went on to a next hop and are not over.
    #[must_use]
    pub fn streams_to(&self, next: NodeId) -> usize {
        self.streams.get(&next).map_or(0, Places::taken)
    }

    /// The counters.
    #[must_use]
    pub const fn stats(&self) -> &RelayStats {
        &self.stats
    }

    fn send(&mut self, now: Now, transmit: Transmit<S, A, T>) {
        // There is room: it was looked at before anything was changed.
        self.transmits.push_reserved(now.mono, transmit);
    }

    fn tell(&mut self, now: Now, event: Event<T>) {
        self.events.push_reserved(now.mono, event);
    }

    fn refuse(&mut self, now: Now, why: Refused) {
        self.stats.refused += 1;
        self.tell(now, Event::Refused(why));
    }

    /// Forgets the paths that have expired.
    fn expire(&mut self, now: Now) {
        for ended in self.hop.expire(now) {
            self.carried.remove(&ended);
        }
    }

    fn look_again(&mut self, now: Now) {
        let first = self.hop.first_end();
        self.look = first.map(|expiry| {
            let ends = (u64::from(expiry) + 1) * 1000;
            let left = Duration::from_millis(ends.saturating_sub(now.unix_ms).max(1));
            now.mono + left.min(LOOK)
        });
    }

    /// A path message.
    fn control(
        &mut self,
        now: Now,
        (from, charge): (PublicKey, ChargeTo),
        (session, ours): (S, bool),
        control: Control,
    ) {
        match control {
            Control::Single { .. } | Control::Multi { .. } if ours => {
                // Over a session of one's own nobody else's paths come.
                let code = Code::POLICY_REJECTED;
                self.send(now, Transmit::Refuse { to: session, code });
            }
            Control::Single { .. } | Control::Multi { .. } => {
                let prev = from.node_id();
                let header = Header::read(now, self.own, prev, control);
                // Before the arithmetic: who has its share already costs nothing more.
                let header = header.and_then(|h| self.hop.room(now, prev, charge).map(|()| h));
                match header {
                    Ok(header) => {
                        let stamp = self.hop.stamp(now);
                        let work = Work::new(header, stamp, from, (charge, session));
                        self.send(now, Transmit::Check(Box::new(work)));
                    }
                    Err(why) => self.refuse_header(now, session, why),
                }
            }
            Control::Probe(token) => {
                let to = session;
                self.send(now, Transmit::Acknowledge { to, token });
            }
            Control::Error {
                failure,
                path,
                key,
                sig,
            } => self.pass_back(now, from.node_id(), (failure, path), (key, sig)),
            Control::ProbeAck { cf, .. } | Control::Congestion(cf) => {
                let from = from.node_id();
                self.tell(now, Event::Load { from, cf });
            }
        }
    }

    fn refuse_header(&mut self, now: Now, to: S, why: PathError) {
        self.refuse(now, Refused::Header(why));
        let code = why.code();
        self.send(now, Transmit::Refuse { to, code });
    }

    /// Takes the outcome of a header's signature.
    fn judged(&mut self, now: Now, judged: Judged<S>) {
        let Judged {
            stands,
            prev,
            charge,
            session,
        } = judged;
        let accepted = stands.and_then(|stands| self.hop.take(now, charge, stands));
        let (path, next) = match accepted {
            Err(why) => return self.refuse_header(now, session, why),
            Ok(Accepted::Exit { path }) => (path, None),
            Ok(Accepted::Forward {
                path,
                next,
                onward,
                control,
            }) => (path, Some((next, onward, control))),
        };
        let link = (prev, path);
        if self.hop.carried(now, prev, path).is_none() {
            // Within what clocks may differ by, and yet no stream may be opened on it any more.
            return self.answer_error(now, link, session, Failure::TtlExpired);
        }
        let Some((next, onward, control)) = next else {
            self.stats.exits += 1;
            self.tell(now, Event::Ends);
            let (link_to, back) = (Link::Exit, session);
            let carried = Carried {
                link: link_to,
                back,
            };
            self.carried.insert(link, carried);
            return;
        };
        let asks = self.rules.carries && self.joined;
        if !asks && !self.rules.onward.contains(&next) {
            let why = if self.rules.onward.is_empty() {
                Failure::PolicyDeny
            } else {
                Failure::NoRoute
            };
            return self.answer_error(now, link, session, why);
        }
        if !self.dialling.enter(charge) {
            return self.answer_error(now, link, session, Failure::PolicyDeny);
        }
        self.stats.onward += 1;
        self.tell(now, Event::GoesOn);
        let dial = self.next_dial;
        self.next_dial = dial.next();
        let until = now.mono + NEXT_HOP;
        let dialling = Dialling {
            path: link,
            next,
            onward,
            charge,
            until,
            waiting: Vec::new(),
        };
        self.dials.insert(dial, dialling);
        let carried = Carried {
            link: Link::Dialling(dial),
            back: session,
        };
        self.carried.insert(link, carried);
        self.send(
            now,
            Transmit::Dial {
                dial,
                next,
                charge,
                until,
                control,
            },
        );
    }

    /// A path that has just been taken goes nowhere.
    fn answer_error(&mut self, now: Now, (prev, path): LinkPath, to: S, why: Failure) {
        let route = self.hop.route(prev, path).cloned();
        self.hop.end(prev, path);
        self.refuse(now, Refused::Path(why));
        if let Some(route) = route {
            let message = Message::Error { route, why, path };
            self.send(now, Transmit::Answer { to, message });
        }
    }

    /// Passes an ERROR back under the name that the previous link gave the path.
    fn pass_back(
        &mut self,
        now: Now,
        from: NodeId,
        (failure, path): (Failure, PathId),
        (key, sig): ([u8; 32], [u8; 64]),
    ) {
        let Some((prev, path)) = self.hop.back(from, path) else {
            return;
        };
        self.hop.end(prev, path);
        if let Some(carried) = self.carried.remove(&(prev, path)) {
            let error = Control::Error {
                failure,
                path,
                key,
                sig,
            };
            let told = Some((carried.back, Message::Ready(error)));
            let streams = Vec::new();
            self.send(now, Transmit::Fail { told, streams });
        }
    }

    /// A path's next hop is not there: the previous hop is told, before the streams that waited are refused.
    fn fail(&mut self, now: Now, (prev, path): LinkPath, why: Failure, streams: Vec<T>) {
        let route = self.hop.route(prev, path).cloned();
        self.hop.end(prev, path);
        let carried = self.carried.remove(&(prev, path));
        let told = carried
            .zip(route)
            .map(|(carried, route)| (carried.back, Message::Error { route, why, path }));
        if told.is_some() {
            self.stats.failed += 1;
        }
        if told.is_some() || !streams.is_empty() {
            self.send(now, Transmit::Fail { told, streams });
        }
    }

    /// A stream began with the name of a path.
    fn stream(&mut self, now: Now, (from, path): LinkPath, charge: ChargeTo, stream: T) {
        // A path that expired takes no new streams.
        let standing = self.hop.carried(now, from, path);
        let carried = self.carried.get(&(from, path));
        let Some((standing, carried)) = standing.zip(carried) else {
            return self.reject(now, stream);
        };
        match carried.link.clone() {
            Link::Exit => {
                let nodes = standing.route.nodes.clone();
                self.tell(
                    now,
                    Event::Session {
                        stream,
                        nodes,
                        charge,
                    },
                );
            }
            Link::Dialling(dial) => match self.dials.get_mut(&dial) {
                Some(dial) if dial.waiting.len() < STREAMS.0 => dial.waiting.push((stream, charge)),
                _ => self.reject(now, stream),
            },
            Link::Onward(next, onward, ahead) => {
                let place = (next, (from, path), charge);
                self.open(now, place, (ahead, onward), stream);
            }
        }
    }

    fn reject(&mut self, now: Now, stream: T) {
        let code = Code::POLICY_REJECTED;
        self.send(now, Transmit::Reject { stream, code });
    }

    /// Lets a stream go on, if there is a place for it: who opens many leaves places for others.
    fn open(
        &mut self,
        now: Now,
        (next, path, charge): (NodeId, LinkPath, ChargeTo),
        (ahead, onward): (A, PathId),
        stream: T,
    ) {
        let places = self.streams.entry(next);
        if !places.or_insert_with(|| Places::new(STREAMS)).enter(charge) {
            self.refuse(now, Refused::Stream);
            return self.reject(now, stream);
        }
        self.stats.streams += 1;
        let place = Place { next, path, charge };
        self.send(
            now,
            Transmit::Open {
                stream,
                ahead,
                onward,
                place,
            },
        );
    }

    /// The session with a next hop stands, and the header is on its way.
    fn reached(&mut self, now: Now, id: DialId, ahead: A) {
        // Too late, where the path has failed.
        let Some(dial) = self.dials.remove(&id) else {
            return;
        };
        self.dialling.leave(dial.charge);
        let (next, onward) = (dial.next, dial.onward);
        if let Some(carried) = self.carried.get_mut(&dial.path)
            && matches!(carried.link, Link::Dialling(of) if of == id)
        {
            carried.link = Link::Onward(next, onward, ahead.clone());
        }
        for (stream, charge) in dial.waiting {
            let place = (next, dial.path, charge);
            self.open(now, place, (ahead.clone(), onward), stream);
        }
    }

    /// The next hop of a dial is not reached.
    fn unreached(&mut self, now: Now, id: DialId, why: Failure) {
        if let Some(dial) = self.dials.remove(&id) {
            self.dialling.leave(dial.charge);
            let streams = dial.waiting.into_iter().map(|(stream, _)| stream);
            self.fail(now, dial.path, why, streams.collect());
        }
    }

    /// A stream that went on is over.
    fn over(&mut self, now: Now, place: Place, down: bool) {
        let Place { next, path, charge } = place;
        if let Some(places) = self.streams.get_mut(&next) {
            places.leave(charge);
            if places.taken() == 0 {
                self.streams.remove(&next);
            }
        }
        if down {
            self.fail(now, path, Failure::PeerDown, Vec::new());
        }
    }
}

impl<S: Clone, A: Clone, T> Machine for Relay<S, A, T> {
    type Input = Input<S, A, T>;
    /// There is nothing to order.
    type Command = core::convert::Infallible;
    type Answer = ();
    type Transmit = Transmit<S, A, T>;
    type Event = Event<T>;
    type Error = RelayError;

    fn handle_input(&mut self, now: Now, input: Self::Input) -> Result<(), RelayError> {
        let room = self.transmits.room() >= ROOM && self.events.room() >= ROOM;
        // A place that is given back is never refused. There are no more of those than streams.
        if !room && !matches!(input, Input::Over { .. }) {
            self.stats.full += 1;
            return Err(RelayError::Full);
        }
        self.expire(now);
        match input {
            Input::Control {
                from,
                charge,
                session,
                ours,
                control,
            } => self.control(now, (from, charge), (session, ours), control),
            Input::Judged(judged) => self.judged(now, judged),
            Input::Stream {
                from,
                charge,
                path,
                stream,
            } => self.stream(now, (from, path), charge, stream),
            Input::Reached { dial, ahead } => self.reached(now, dial, ahead),
            Input::Unreached { dial, why } => self.unreached(now, dial, why),
            Input::Over { place, down } => self.over(now, place, down),
        }
        self.look_again(now);
        Ok(())
    }

    fn handle_command(&mut self, _: Now, command: Self::Command) -> Result<(), RelayError> {
        match command {}
    }

    fn handle_timeout(&mut self, now: Now) {
        self.expire(now);
        while self.transmits.room() > 0
            && let Some((&dial, dialling)) = self.dials.first_key_value()
            && dialling.until <= now.mono
        {
            self.unreached(now, dial, Failure::PeerDown);
        }
        self.look_again(now);
    }

    fn poll_transmit(&mut self) -> Option<Self::Transmit> {
        self.transmits.pop()
    }

    fn poll_event(&mut self) -> Option<Self::Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let dial = self.dials.first_key_value().map(|(_, dial)| Wake {
            at: dial.until,
            why: "relay: a next hop is not reached",
        });
        let look = self.look.map(|at| Wake {
            at,
            why: "relay: a path expires",
        });
        Wake::earliest([
            self.transmits.wake("relay: transmits wait"),
            self.events.wake("relay: events wait"),
            dial,
            look,
        ])
    }

    fn fingerprint(&self) -> u64 {
        let word = |n: usize| n as u64;
        let mut print = Fingerprint::default()
            .bytes(&self.own.0)
            .word(word(self.rules.onward.len()))
            .word(u64::from(self.rules.carries) << 1 | u64::from(self.joined))
            .word(word(self.hop.len()))
            .word(word(self.hop.remembered()))
            .word(word(self.dialling.taken()))
            .word(word(self.lookups.taken()))
            .word(self.look.map_or(0, Time::as_micros))
            .word(word(self.transmits.len()))
            .word(word(self.events.len()))
            .word(self.next_dial.number());
        for ((node, path), carried) in &self.carried {
            let link = match carried.link {
                Link::Exit => 0,
                Link::Dialling(_) => 1,
                Link::Onward(..) => 2,
            };
            print = print.bytes(&node.0).bytes(path).word(link);
        }
        for (dial, dialling) in &self.dials {
            print = print
                .word(dial.number())
                .word(dialling.until.as_micros())
                .word(word(dialling.waiting.len()));
        }
        for (node, places) in &self.streams {
            print = print.bytes(&node.0).word(word(places.taken()));
        }
        print.finish()
    }
}

#[cfg(test)]
mod tests;
