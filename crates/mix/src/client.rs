//! A client of the mix: exchanges with gateways over paths that are drawn anew for every packet, and cover.

mod exchange;
mod orders;
mod work;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Fingerprint, Machine, Now, Queue, Rng, Seed, Time, Wake};
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

/// Exchanges at once.
const EXCHANGES_MAX: usize = 64;
/// Events and transmits that wait.
const QUEUE: usize = 4096;
/// What one input may become.
const MARGIN: usize = 160;
/// Packets that wait to be built, or for their turn.
const ORDERS_MAX: usize = 256;
/// Packets that are built together.
const TOGETHER: usize = 8;
/// Batches that are being built, and those that cover may add.
const BUILDING_MAX: usize = 4;
const BUILDING_BUSY: usize = 32;
/// An exchange whose other side gives no sign for so long has failed.
const SILENT: Duration = Duration::from_secs(60);
/// A loop that is not back by then is lost: more than seven relays' delays.
const LOOP_LIFE: Duration = Duration::from_secs(10);
/// Reply blocks that are waited for.
const OPENERS_MAX: usize = 16_384;
/// The lottery's bucket.
const BUCKET_MS: u64 = 300_000;

/// Whom a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recipient {
    /// Which node.
    pub node: NodeId,
    /// Its Sphinx key of the epoch.
    pub key: RelayKey,
}

/// How much is sent that says nothing: mean times between packets of Poisson streams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cover {
    /// Between loops to oneself; none without it.
    pub loops: Option<Duration>,
    /// Between packets that are real where there are any, and dropped at their end where there are none. Without it real packets
    /// go at once, which tells whoever watches when there are any.
    pub packets: Option<Duration>,
}

/// What a client begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name for the guard.
    pub own: NodeId,
    /// The lottery's key, of its session with the guard.
    pub session_key: Zeroizing<[u8; 32]>,
    /// The guard.
    pub guard: NodeId,
    /// How many relays a packet meets, 1 to 7.
    pub relays: usize,
    /// The relays.
    pub topology: Topology,
    /// What is sent beside real packets.
    pub cover: Cover,
}

/// Why a client cannot do what is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// None, or more than seven relays a path.
    #[error("a path over {0} relays, where 1 to 7 are allowed")]
    Hops(usize),
    /// The directory has fewer relays than a path needs.
    #[error("{relays} relays are asked for, and {have} count in this epoch")]
    TooFew {
        /// How many a path is to have.
        relays: usize,
        /// How many there are.
        have: usize,
    },
    /// The guard is not in the directory.
    #[error("the guard is not in the directory")]
    NoGuard,
    /// The lottery found no path.
    #[error("{0}")]
    NoRoute(#[from] NoRoute),
    /// There is no such exchange, or its request is complete.
    #[error("no such exchange, or its request is complete")]
    NoExchange,
    /// Too many exchanges, or one of this number is there.
    #[error("too many exchanges at once, or one of this number stands")]
    Exchanges,
    /// Later: [`Event::Writable`] tells.
    #[error("too much waits to be sent")]
    Blocked,
    /// What is above has not taken what waits for it.
    #[error("too many events wait")]
    Full,
}

/// Why an exchange ended early.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// The other side gave no sign.
    #[error("the gateway gave no sign for a minute")]
    Silent,
    /// No path could be drawn.
    #[error("{0}")]
    NoRoute(NoRoute),
    /// The answer contradicts itself.
    #[error("the answer contradicts itself")]
    Answer,
}

/// From below.
#[derive(Debug)]
pub enum Input {
    /// A packet that the guard sent.
    Packet(Box<Packet>),
    /// What [`Transmit::Build`] asked for.
    Built(Done),
}

/// From above.
#[derive(Debug)]
pub enum Command {
    /// Begin an exchange under this number.
    Begin {
        /// Its number.
        exchange: u64,
        /// With whom.
        to: Recipient,
    },
    /// Bytes of a request's stream, at most 128 KiB.
    Send {
        /// Of which exchange.
        exchange: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether they are the last.
        fin: bool,
    },
    /// Bytes of an answer were used up.
    Consume {
        /// Of which exchange.
        exchange: u64,
        /// How many.
        bytes: usize,
    },
    /// Give an exchange up.
    Abort {
        /// Which.
        exchange: u64,
    },
    /// Another epoch's relays.
    Topology(Topology),
    /// A gateway has another key now.
    Recipient(Recipient),
    /// Another session with the guard stands.
    Session(Zeroizing<[u8; 32]>),
}

/// For below.
#[derive(Debug)]
pub enum Transmit {
    /// Build these packets, and give them back.
    Build(Work),
    /// Send this packet to the guard.
    Packet(Box<Packet>),
}

/// For above.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Bytes of an answer's stream; use them up by [`Command::Consume`].
    Data {
        /// Of which exchange.
        exchange: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether they are the last.
        fin: bool,
    },
    /// A refused [`Command::Send`] may be tried again.
    Writable {
        /// Which exchange.
        exchange: u64,
    },
    /// An exchange ended before its answer was complete.
    Failed {
        /// Which.
        exchange: u64,
        /// Why.
        why: Lost,
    },
    /// A loop came back.
    Looped(Looped),
    /// A loop did not come back.
    LoopLost,
}

/// A loop, as its sender measured it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Looped {
    /// The epoch of its keys.
    pub epoch: u32,
    /// From its sending to its return.
    pub took: Duration,
    /// The relays that it met, in order.
    pub hops: Vec<LoopHop>,
}

/// One relay of a loop.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct LoopHop {
    /// Which.
    pub node: NodeId,
    /// What it knew the packet by.
    pub tag: [u8; 16],
    /// How long it was to keep it.
    pub delay: Delay,
}

impl core::fmt::Debug for LoopHop {
    /// Without the tag: with it and the relay's proof the packet's delay would be public.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "LoopHop({}, {:?}, …)", self.node, self.delay)
    }
}

/// What a client counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
    /// Of those, ones that were not for any reply block or loop of ours.
    pub strays: u64,
    /// Loops sent.
    pub loops: u64,
    /// Loops that came back.
    pub loops_back: u64,
    /// Packets sent to be dropped.
    pub drops: u64,
}

struct Waiting {
    opener: Opener,
    exchange: u64,
    made: Time,
}

struct SentLoop {
    at: Time,
    epoch: u32,
    hops: Vec<LoopHop>,
}

/// Who is asked to wait for its turn.
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
    /// The public halves of this client's own keys, by epoch.
    own_keys: BTreeMap<u32, RelayKey>,
    exchanges: BTreeMap<u64, Exchange>,
    messages: BTreeMap<[u8; 8], u64>,
    openers: BTreeMap<[u8; 16], Waiting>,
    /// In the order they were made.
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

impl Client {
    /// A client that begins at `now`.
    ///
    /// # Errors
    ///
    /// The relays do not suffice: [`ClientError::Hops`], [`ClientError::TooFew`], [`ClientError::NoGuard`] or
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

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether everything that it wants to say is said.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.building == 0 && self.turns.is_empty() && self.transmits.is_empty()
    }

    /// Draws this client's own key of an epoch; older ones than the last are destroyed.
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

    /// Takes the exchanges' wishes, in turns.
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

    /// Lets time pass, and begins to build what may go.
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
            self.transmits.push_last(now.mono, Transmit::Build(work));
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
            if x.wants_room && x.takes(1) {
                x.wants_room = false;
                let exchange = *exchange;
                self.events.push_last(now, Event::Writable { exchange });
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
            self.events.push_last(now, Event::Failed { exchange, why });
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
            self.events.push(now.mono, Event::LoopLost);
        }
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
            self.transmits.push_last(now.mono, Transmit::Packet(packet));
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
        self.events.push(now.mono, Event::Looped(looped));
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
                    self.events.push_last(now.mono, event);
                }
            }
            Kind::Request | Kind::Loop => return None,
        }
        Some(())
    }
}

/// Where the guard of this setup stands in a topology.
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
                    x.wants_room = true;
                    return Err(ClientError::Blocked);
                }
                if x.request.sent() == 0 {
                    x.heard = now.mono;
                }
                x.send(&data, fin);
            }
            Command::Consume { exchange, bytes } => {
                let x = self.exchanges.get_mut(&exchange);
                let x = x.ok_or(ClientError::NoExchange)?;
                x.unread = x.unread.saturating_sub(bytes);
            }
            Command::Abort { exchange } => self.forget(exchange),
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
        Fingerprint::default()
            .word(self.exchanges.len() as u64)
            .word(self.openers.len() as u64)
            .word(self.loops.len() as u64)
            .word(self.turns.len() as u64)
            .word(self.building as u64)
            .word(self.transmits.len() as u64)
            .word(self.events.len() as u64)
            .finish()
    }
}
