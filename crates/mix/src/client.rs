//! A client of the mix: exchanges with gateways over a fresh path for each packet, and cover traffic.

mod exchange;
mod orders;
mod work;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Machine, Now, Queue, Rng, Seed, Time, Wake, fingerprint};
use betanet_wire::NodeId;
use zeroize::Zeroizing;

use crate::build::{Opener, RelayKey};
use crate::delay::poisson_gap;
use crate::directory::Topology;
use crate::epoch::{AFTER_MS, EPOCH_MS};
use crate::fragment::{Ack, Fragment, Kind};
use crate::lottery::NoRoute;
use crate::packet::{Command as PacketCommand, Delay, Packet, SLOTS};
use crate::unwrap::{EpochKeys, Refusal, public_key, unwrap_batch};

use exchange::{Exchange, Wish};
use work::{Built, Order, Purpose};
pub use work::{Done, Work};

/// Most exchanges at once.
const EXCHANGES_MAX: usize = 64;
/// Most waiting events and transmits.
const QUEUE: usize = 4096;
/// Most transmits and events that one input may cause.
const MARGIN: usize = 160;
/// Most packets that wait to be built or sent.
const ORDERS_MAX: usize = 256;
/// Packets built together.
const TOGETHER: usize = 8;
/// Batches in progress, including those for cover.
const BUILDING_MAX: usize = 4;
const BUILDING_BUSY: usize = 32;
/// Silence of the other side after which an exchange fails.
const SILENT: Duration = Duration::from_secs(60);
/// Time after which a loop counts as lost: more than seven relays' delays.
const LOOP_LIFE: Duration = Duration::from_secs(10);
/// Most outstanding reply blocks.
const OPENERS_MAX: usize = 16_384;
/// Length of the lottery's bucket.
const BUCKET_MS: u64 = 300_000;

/// Destination of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Recipient {
    /// NodeID of the destination.
    pub node: NodeId,
    /// Its Sphinx key for the epoch.
    pub key: RelayKey,
}

/// Cover traffic: mean intervals of Poisson streams.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Cover {
    /// Interval between loops to this client; `None` sends no loops.
    pub loops: Option<Duration>,
    /// Interval between packets, real or dropped at their end. `None` sends real packets at once, so that an observer sees when
    /// there are any.
    pub packets: Option<Duration>,
}

/// Initial state of a client.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The client's NodeID towards the guard.
    pub own: NodeId,
    /// Key of the lottery, from the session with the guard.
    pub session_key: Zeroizing<[u8; 32]>,
    /// The guard.
    pub guard: NodeId,
    /// Relays on a packet's path, 1 to 7.
    pub relays: usize,
    /// The available relays.
    pub topology: Topology,
    /// Cover traffic.
    pub cover: Cover,
}

/// Reason why the client refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The path has no relay, or more than seven.
    #[error("a path over {0} relays, where 1 to 7 are allowed")]
    Hops(usize),
    /// The directory has fewer relays than a path needs.
    #[error("{relays} relays are asked for, and {have} count in this epoch")]
    TooFew {
        /// Relays that a path needs.
        relays: usize,
        /// Relays in the directory.
        have: usize,
    },
    /// The guard is not in the directory.
    #[error("the guard is not in the directory")]
    NoGuard,
    /// The lottery found no path.
    #[error("{0}")]
    NoRoute(#[from] NoRoute),
    /// The exchange does not exist, or its request is complete.
    #[error("no such exchange, or its request is complete")]
    NoExchange,
    /// Too many exchanges, or the number is in use.
    #[error("too many exchanges at once, or one of this number stands")]
    Exchanges,
    /// No room now; [`Event::Writable`] follows.
    #[error("too much waits to be sent")]
    Blocked,
    /// The queue of events or transmits is full.
    #[error("too many events wait")]
    Full,
}

/// Reason why an exchange failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The other side stayed silent.
    #[error("the gateway gave no sign for a minute")]
    Silent,
    /// No path could be drawn.
    #[error("{0}")]
    NoRoute(NoRoute),
    /// The answer contradicts itself.
    #[error("the answer contradicts itself")]
    Answer,
}

/// Input from below.
#[derive(Debug)]
pub enum Input {
    /// A packet that the guard sent.
    Packet(Box<Packet>),
    /// Result of a [`Transmit::Build`].
    Built(Done),
}

/// Command from above.
#[derive(Debug)]
pub enum Command {
    /// Begin an exchange.
    Begin {
        /// Number of the exchange, chosen by the caller.
        exchange: u64,
        /// Destination of the request.
        to: Recipient,
    },
    /// Bytes of a request's stream, at most 128 KiB.
    Send {
        /// Number of the exchange.
        exchange: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether the bytes end the request.
        fin: bool,
    },
    /// Use the relays of another epoch.
    Topology(Topology),
    /// Use another key for a gateway.
    Recipient(Recipient),
    /// Use another session with the guard; holds its lottery key.
    Session(Zeroizing<[u8; 32]>),
}

/// Output for below.
#[derive(Debug, Hash)]
pub enum Transmit {
    /// Build these packets, and return them with [`Input::Built`].
    Build(Work),
    /// Send this packet to the guard.
    Packet(Box<Packet>),
}

/// Event for above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Bytes of an answer. Return their credit with [`Client::consume`].
    Data {
        /// Number of the exchange.
        exchange: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether the bytes end the answer.
        fin: bool,
    },
    /// A refused [`Command::Send`] may be tried again.
    Writable {
        /// Number of the exchange.
        exchange: u64,
    },
    /// An exchange ended before its answer was complete.
    Failed {
        /// Number of the exchange.
        exchange: u64,
        /// Reason.
        why: Lost,
    },
    /// A loop came back.
    Looped(Looped),
    /// A loop did not come back.
    LoopLost,
}

/// Measurement of a loop by its sender.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Looped {
    /// Epoch of its keys.
    pub epoch: u32,
    /// Time between sending and return.
    pub took: Duration,
    /// The relays on its way, in order.
    pub hops: Vec<LoopHop>,
}

/// One relay of a loop.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct LoopHop {
    /// NodeID of the relay.
    pub node: NodeId,
    /// Tag by which the relay knows the packet.
    pub tag: [u8; 16],
    /// Delay that the relay was to apply.
    pub delay: Delay,
}

impl core::fmt::Debug for LoopHop {
    /// Omits the tag: with the tag and the relay's proof, the packet's delay would be public.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "LoopHop({}, {:?}, …)", self.node, self.delay)
    }
}

/// Counters of a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
    /// Received packets that belong to no reply block or loop of this client.
    pub strays: u64,
    /// Loops sent.
    pub loops: u64,
    /// Returned loops.
    pub loops_back: u64,
    /// Cover packets that their last relay drops.
    pub drops: u64,
    /// Loops, back or lost, that found no room among the events.
    pub untold: u64,
}

#[derive(Hash)]
struct Waiting {
    opener: Opener,
    exchange: u64,
    made: Time,
}

#[derive(Hash)]
struct SentLoop {
    at: Time,
    epoch: u32,
    hops: Vec<LoopHop>,
}

/// The next sender in turn.
#[derive(Hash)]
enum Turn {
    Wish(u64, Wish),
    Loop,
    Drop,
}

/// A client of the mix.
pub struct Client {
    setup: Setup,
    guard: usize,
    rng: Rng,
    keys: EpochKeys,
    /// Public keys of this client by epoch.
    own_keys: BTreeMap<u32, RelayKey>,
    exchanges: BTreeMap<u64, Exchange>,
    messages: BTreeMap<[u8; 8], u64>,
    openers: BTreeMap<[u8; 16], Waiting>,
    /// In order of creation.
    made: VecDeque<[u8; 16]>,
    loops: BTreeMap<[u8; 32], SentLoop>,
    turns: VecDeque<Turn>,
    building: usize,
    next_packet: Option<Time>,
    next_loop: Option<Time>,
    transmits: Queue<Transmit>,
    events: Queue<Event>,
    stats: Stats,
}

impl core::hash::Hash for Setup {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.topology.epoch().hash(state);
        self.topology.relays().len().hash(state);
        betanet_machine::hash_fields!(self, state, Setup { own, guard, relays, cover } without {
            session_key: "a secret, which no refusal replaces",
            topology: "hashed above, by its epoch: it is replaced as a whole",
        });
    }
}

impl Client {
    /// Creates a client at `now`.
    ///
    /// # Errors
    ///
    /// There are too few relays: [`ClientError::Hops`], [`ClientError::TooFew`], [`ClientError::NoGuard`] or
    /// [`ClientError::NoRoute`].
    pub fn new(now: Now, setup: Setup, seed: &Seed) -> Result<Self, ClientError> {
        let guard = checked(&setup, &setup.topology)?;
        let mut rng = Rng::new(seed);
        let first = |mean: Option<Duration>, rng: &mut Rng| {
            mean.map(|mean| now.mono + poisson_gap(rng, mean))
        };
        let next_packet = first(setup.cover.packets, &mut rng);
        let next_loop = first(setup.cover.loops, &mut rng);
        let mut this = Self {
            setup,
            guard,
            rng,
            keys: EpochKeys::new(),
            own_keys: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            messages: BTreeMap::new(),
            openers: BTreeMap::new(),
            made: VecDeque::new(),
            loops: BTreeMap::new(),
            turns: VecDeque::new(),
            building: 0,
            next_packet,
            next_loop,
            transmits: Queue::new(QUEUE),
            events: Queue::new(QUEUE),
            stats: Stats::default(),
        };
        this.key_for(this.setup.topology.epoch());
        // A path that cannot be drawn now is better known now.
        this.draw(now)?;
        Ok(this)
    }

    /// Returns the credit of processed bytes of an answer. Never refused; an exchange that has ended needs no credit.
    pub fn consume(&mut self, now: Now, exchange: u64, bytes: usize) {
        if let Some(x) = self.exchanges.get_mut(&exchange) {
            x.unread = x.unread.saturating_sub(bytes);
            self.pump(now);
        }
    }

    /// Gives up an exchange. Never refused.
    pub fn abort(&mut self, now: Now, exchange: u64) {
        self.forget(exchange);
        self.pump(now);
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.building == 0 && self.turns.is_empty() && self.transmits.is_empty()
    }

    /// Draws this client's key for an epoch, and keeps only the newest key beside it.
    fn key_for(&mut self, epoch: u32) {
        while self.own_keys.len() >= 2
            && let Some((old, _)) = self.own_keys.pop_first()
        {
            self.keys.remove(old.to_be_bytes()[3]);
        }
        let private: Zeroizing<[u8; 32]> = Zeroizing::new(self.rng.array());
        if let Some(key) = RelayKey::check(public_key(&private))
            && self.keys.add(epoch.to_be_bytes()[3], *private, [0; 64])
        {
            self.own_keys.insert(epoch, key);
        }
    }

    /// Collects packets that exchanges want to send, in turns.
    fn collect(&mut self, now: Now) {
        let mut any = true;
        while any && self.turns.len() < ORDERS_MAX {
            any = false;
            for (id, x) in &mut self.exchanges {
                if let Some(wish) = x.next(now.mono) {
                    self.turns.push_back(Turn::Wish(*id, wish));
                    any = true;
                }
            }
        }
    }

    /// Advances time, and begins to build packets that may be sent.
    fn pump(&mut self, now: Now) {
        self.expire(now);
        let mut orders: Vec<Order> = Vec::new();
        // Who cannot build as fast as is due sends less, rather than pile up what is to be built.
        let busy = self.building >= BUILDING_BUSY;
        if let (Some(mean), Some(due)) = (self.setup.cover.loops, self.next_loop)
            && due <= now.mono
        {
            self.next_loop = Some(now.mono + poisson_gap(&mut self.rng, mean));
            if !busy {
                self.take(now, Turn::Loop, &mut orders);
            }
        }
        // With covered packets an exchange is asked when there is a turn for it: what it says is then new.
        if let (Some(mean), Some(due)) = (self.setup.cover.packets, self.next_packet) {
            if due <= now.mono {
                self.next_packet = Some(now.mono + poisson_gap(&mut self.rng, mean));
                if self.turns.is_empty() {
                    self.collect(now);
                }
                if !busy {
                    let turn = self.turns.pop_front().unwrap_or(Turn::Drop);
                    self.take(now, turn, &mut orders);
                }
            }
        } else if self.building < BUILDING_MAX {
            self.collect(now);
            while orders.len() < TOGETHER * (BUILDING_MAX - self.building)
                && let Some(turn) = self.turns.pop_front()
            {
                self.take(now, turn, &mut orders);
            }
        }
        let mut orders = orders.into_iter().peekable();
        while orders.peek().is_some() {
            let work = Work(orders.by_ref().take(TOGETHER).collect());
            self.building += 1;
            self.transmits
                .push_reserved(now.mono, Transmit::Build(work));
        }
        self.writable(now.mono);
    }

    fn take(&mut self, now: Now, turn: Turn, orders: &mut Vec<Order>) {
        match self.order(now, turn) {
            Ok(order) => orders.extend(order),
            Err((exchange, why)) => self.fail(now.mono, exchange, Lost::NoRoute(why)),
        }
    }

    fn writable(&mut self, now: Time) {
        for (exchange, x) in &mut self.exchanges {
            if x.takes(1) && x.wants_room.take() {
                let exchange = *exchange;
                self.events.push_reserved(now, Event::Writable { exchange });
            }
        }
    }

    fn forget(&mut self, exchange: u64) {
        if let Some(x) = self.exchanges.remove(&exchange) {
            self.messages.remove(&x.message);
            self.turns
                .retain(|t| !matches!(t, Turn::Wish(id, _) if *id == exchange));
        }
    }

    fn fail(&mut self, now: Time, exchange: u64, why: Lost) {
        if self.exchanges.contains_key(&exchange) {
            self.forget(exchange);
            self.events
                .push_reserved(now, Event::Failed { exchange, why });
        }
    }

    fn expire(&mut self, now: Now) {
        let silent = |x: &Exchange| x.heard + SILENT <= now.mono && x.request.sent() > 0;
        let gone: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|(_, x)| silent(x))
            .map(|(id, _)| *id)
            .collect();
        for exchange in gone {
            let answered = self
                .exchanges
                .get(&exchange)
                .is_some_and(|x| x.answer.is_done());
            if answered {
                self.forget(exchange);
            } else {
                self.fail(now.mono, exchange, Lost::Silent);
            }
        }
        // Ended, and said so: what comes now are repetitions, which [`Self::fragment`] answers no more.
        let over = |x: &Exchange| x.closed && x.unread == 0;
        let done: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|(_, x)| over(x))
            .map(|(id, _)| *id)
            .collect();
        for exchange in done {
            if !self
                .turns
                .iter()
                .any(|t| matches!(t, Turn::Wish(id, _) if *id == exchange))
            {
                self.forget(exchange);
            }
        }
        let life = Duration::from_millis(EPOCH_MS + AFTER_MS);
        while let Some(first) = self.made.front()
            && (self.made.len() > OPENERS_MAX
                || self
                    .openers
                    .get(first)
                    .is_none_or(|o| o.made + life <= now.mono))
        {
            if let Some(id) = self.made.pop_front() {
                self.openers.remove(&id);
            }
        }
        let lost: Vec<[u8; 32]> = self
            .loops
            .iter()
            .filter(|(_, l)| l.at + LOOP_LIFE <= now.mono)
            .map(|(token, _)| *token)
            .collect();
        for token in lost {
            self.loops.remove(&token);
            self.tell_loop(now.mono, Event::LoopLost);
        }
    }

    /// Nobody waits for a loop: who does not take events hears of fewer of them.
    fn tell_loop(&mut self, now: Time, event: Event) {
        self.stats.untold += u64::from(!self.events.push(now, event));
    }

    fn built(&mut self, now: Now, done: Done) {
        self.building = self.building.saturating_sub(1);
        for Built {
            purpose,
            packet,
            openers,
            tags,
        } in done.0
        {
            match purpose {
                Purpose::Exchange(exchange, made) => {
                    for opener in openers {
                        self.made.push_back(*opener.id());
                        let waiting = Waiting {
                            opener,
                            exchange,
                            made,
                        };
                        self.openers.insert(*waiting.opener.id(), waiting);
                    }
                }
                Purpose::Loop(token) => {
                    self.stats.loops += 1;
                    if let Some(sent) = self.loops.get_mut(&token) {
                        sent.at = now.mono;
                        for (hop, tag) in sent.hops.iter_mut().zip(tags) {
                            hop.tag = tag;
                        }
                    }
                }
                Purpose::Cover => self.stats.drops += 1,
            }
            self.stats.sent += 1;
            self.transmits
                .push_reserved(now.mono, Transmit::Packet(packet));
        }
    }

    fn packet(&mut self, now: Now, mut packet: Box<Packet>) {
        self.stats.received += 1;
        let mut outcome = [Err(Refusal::Epoch)];
        // Each reply block and each loop's token is taken once.
        let one = core::slice::from_mut(&mut *packet);
        unwrap_batch(&self.keys, one, |_, _, _| false, &mut outcome);
        let read = match outcome[0].map(|u| u.command) {
            Ok(PacketCommand::Reply { id }) => self.reply(now, id, &mut packet),
            Ok(PacketCommand::Deliver { .. }) => self.looped(now, &packet),
            Ok(_) | Err(_) => None,
        };
        if read.is_none() {
            self.stats.strays += 1;
        }
    }

    fn looped(&mut self, now: Now, packet: &Packet) -> Option<()> {
        let fragment = Fragment::from_payload(packet.payload().try_into().ok()?).ok()?;
        let token: [u8; 32] = fragment.data.try_into().ok()?;
        let sent = self
            .loops
            .remove(&token)
            .filter(|_| fragment.kind == Kind::Loop)?;
        self.stats.loops_back += 1;
        let looped = Looped {
            epoch: sent.epoch,
            took: now.mono - sent.at,
            hops: sent.hops,
        };
        self.tell_loop(now.mono, Event::Looped(looped));
        Some(())
    }

    fn reply(&mut self, now: Now, id: [u8; 16], packet: &mut Packet) -> Option<()> {
        let waiting = self.openers.remove(&id)?;
        let payload = waiting.opener.open(packet)?;
        let fragment = Fragment::from_payload(payload.try_into().ok()?).ok()?;
        let exchange = *self.messages.get(&fragment.message)?;
        if exchange != waiting.exchange {
            return None;
        }
        let x = self.exchanges.get_mut(&exchange)?;
        x.heard(now.mono, waiting.made);
        match fragment.kind {
            Kind::Acknowledgement => {
                x.request
                    .acknowledged(now.mono, Ack::from_bytes(&fragment.data)?);
            }
            Kind::Reply => {
                let was_done = x.answer.is_done();
                let taken = x.answer.take(fragment.index, fragment.count, fragment.data);
                let Ok(pieces) = taken else {
                    self.fail(now.mono, exchange, Lost::Answer);
                    return Some(());
                };
                let fin = x.answer.is_done() && !was_done;
                // Its end was said before, and has not arrived.
                x.closed &= !was_done;
                let data = pieces.concat();
                x.unread += data.len();
                if !data.is_empty() || fin {
                    let event = Event::Data {
                        exchange,
                        data,
                        fin,
                    };
                    self.events.push_reserved(now.mono, event);
                }
            }
            Kind::Request | Kind::Loop => return None,
        }
        Some(())
    }
}

/// Index of the guard of this setup in a topology.
fn checked(setup: &Setup, topology: &Topology) -> Result<usize, ClientError> {
    let relays = setup.relays;
    if !(1..SLOTS).contains(&relays) {
        return Err(ClientError::Hops(relays));
    }
    let have = topology.relays().len();
    if have < relays {
        return Err(ClientError::TooFew { relays, have });
    }
    topology.find(setup.guard).ok_or(ClientError::NoGuard)
}

impl Machine for Client {
    type Input = Input;
    type Command = Command;
    /// Exchanges have the numbers that whoever asks gives them.
    type Answer = ();
    type Transmit = Transmit;
    type Event = Event;
    type Error = ClientError;

    fn handle_input(&mut self, now: Now, input: Input) -> Result<(), ClientError> {
        if self.events.room() < MARGIN || self.transmits.room() < MARGIN {
            return Err(ClientError::Full);
        }
        match input {
            Input::Packet(packet) => self.packet(now, packet),
            Input::Built(done) => self.built(now, done),
        }
        self.pump(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<(), ClientError> {
        match command {
            Command::Begin { exchange, to } => {
                let taken = self.exchanges.contains_key(&exchange);
                if taken || self.exchanges.len() >= EXCHANGES_MAX {
                    return Err(ClientError::Exchanges);
                }
                let message = self.rng.array();
                self.messages.insert(message, exchange);
                let x = Exchange::new(now.mono, message, to);
                self.exchanges.insert(exchange, x);
            }
            Command::Send {
                exchange,
                data,
                fin,
            } => {
                let x = self.exchanges.get_mut(&exchange);
                let x = x
                    .filter(|x| !x.has_ended())
                    .ok_or(ClientError::NoExchange)?;
                if data.len() > exchange::PENDING_MAX || !x.takes(data.len()) {
                    x.wants_room.register();
                    return Err(ClientError::Blocked);
                }
                if x.request.sent() == 0 {
                    x.heard = now.mono;
                }
                x.send(now.mono, &data, fin);
            }
            Command::Topology(topology) => {
                self.guard = checked(&self.setup, &topology)?;
                if !self.own_keys.contains_key(&topology.epoch()) {
                    self.key_for(topology.epoch());
                }
                self.setup.topology = topology;
            }
            Command::Recipient(to) => {
                let its = self.exchanges.values_mut().filter(|x| x.to.node == to.node);
                for x in its {
                    x.to = to;
                }
            }
            Command::Session(key) => self.setup.session_key = key,
        }
        self.pump(now);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Now) {
        self.pump(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let wake = |at: Option<Time>, why| at.map(|at| Wake { at, why });
        let covered = self.setup.cover.packets.is_some();
        // What an exchange wants to say waits for its turn, or for a builder.
        let busy = covered || self.building >= BUILDING_MAX;
        let exchanges = self.exchanges.values().filter(|_| !busy);
        let exchanges = exchanges.filter_map(Exchange::wake).min();
        let silent = self.exchanges.values().filter(|x| x.request.sent() > 0);
        let silent = silent.map(|x| x.heard + SILENT).min();
        let loops = self.loops.values().map(|l| l.at + LOOP_LIFE).min();
        Wake::earliest([
            self.transmits.wake("mix: packets wait"),
            self.events.wake("mix: events wait"),
            wake(exchanges, "mix: an exchange"),
            wake(silent, "mix: silence"),
            wake(loops, "mix: a loop is lost"),
            wake(self.next_loop, "mix: a loop"),
            wake(self.next_packet, "mix: a packet's turn"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Client {
            setup, guard, rng, own_keys, exchanges, messages, openers, made, loops, turns, building, next_packet,
            next_loop, transmits, events,
        } without {
            keys: "secrets, which change with their public halves",
            stats: "statistics",
        })
    }
}
