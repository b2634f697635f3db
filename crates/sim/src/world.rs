use alloc::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;

use betanet_bar::Handler;
use betanet_htx::{Config, Input, Secrets, Session, StreamId, Transmit};
use betanet_keys::{Identity, PublicKey};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Rng, Seed, Time};
use betanet_stack::{Command, Connection, Error, Event};
use betanet_wire::Code;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Weather;
use crate::answering::Answering;
use crate::pipe::{Parcel, Pipe};

/// Index of a node in the world.
pub type Id = u32;
/// Index of a link in the world.
pub type LinkId = u32;

/// An end of a link.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// The dialling end.
    Client,
    /// The dialled end.
    Server,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Parts of a node.
pub struct Node<H> {
    /// The node's keys.
    pub identity: Identity,
    /// Configuration of the node's sessions.
    pub config: Config,
    /// Handler of the node's requests; a clone serves each link.
    pub handler: H,
    /// Error of the node's calendar, milliseconds.
    pub skew_ms: i64,
}

/// Event that the world reports to its observer, in order.
#[derive(Debug)]
pub enum Happening {
    /// A connection's event.
    Event {
        /// The link of the connection.
        link: LinkId,
        /// The end of the link.
        side: Side,
        /// The event.
        event: Event,
    },
    /// A timer set with [`World::set_timer`].
    Timer(u64),
}

/// Counters of the world.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Number of links dialled.
    pub dials: u64,
    /// Number of links cut while both ends existed.
    pub cuts: u64,
    /// Number of segments sent.
    pub segments: u64,
    /// Number of segments lost and retransmitted.
    pub lost: u64,
    /// Number of segments that arrived twice.
    pub doubled: u64,
    /// Number of key updates by dialling ends.
    pub rekeys_client: u64,
    /// Number of key updates by dialled ends.
    pub rekeys_server: u64,
}

struct End<H: Handler> {
    node: Id,
    machine: Option<Checked<Answering<H>>>,
    wake: Option<Time>,
    rekeys: u64,
}

struct Link<H: Handler> {
    secret: [u8; 32],
    ends: [End<H>; 2],
    /// The pipe from the client, and the one from the server.
    pipes: [Pipe; 2],
    message1: Vec<u8>,
    silent: bool,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Task {
    Arrive(LinkId, Side, u64, u64),
    Timer(u64),
}

/// The simulated world.
pub struct World<H: Handler + Clone> {
    /// Behaviour of the network; may be changed at any time.
    pub weather: Weather,
    now: Time,
    nodes: BTreeMap<Id, Node<H>>,
    links: BTreeMap<LinkId, Link<H>>,
    next_link: LinkId,
    wakes: BTreeSet<(Time, LinkId, Side)>,
    agenda: BinaryHeap<Reverse<(Time, u64, Task)>>,
    cargo: BTreeMap<u64, Parcel>,
    order: u64,
    dice: Rng,
    secrets: Rng,
    trace: Sha256,
    told: VecDeque<Happening>,
    counters: Counters,
}

/// The calendar at the world's start: 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;

impl<H: Handler + Clone> World<H> {
    /// An empty world.
    #[must_use]
    pub fn new(seed: &Seed, weather: Weather) -> Self {
        Self {
            weather,
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            wakes: BTreeSet::new(),
            agenda: BinaryHeap::new(),
            cargo: BTreeMap::new(),
            order: 0,
            dice: Rng::new(&seed.split("weather")),
            secrets: Rng::new(&seed.split("secrets")),
            trace: Sha256::new(),
            told: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Adds a node, or replaces it after a restart.
    pub fn add(&mut self, id: Id, node: Node<H>) {
        self.nodes.insert(id, node);
    }

    /// The current time.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The world's counters.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// A digest of every segment sent: time, link, direction and bytes.
    #[must_use]
    pub fn trace(&self) -> u64 {
        let digest: [u8; 32] = self.trace.clone().finalize().into();
        digest.first_chunk().map_or(0, |c| u64::from_be_bytes(*c))
    }

    /// A node's public key.
    #[must_use]
    pub fn key(&self, id: Id) -> Option<&PublicKey> {
        self.nodes.get(&id).map(|n| n.identity.public())
    }

    /// One end's connection, for inspection.
    #[must_use]
    pub fn connection(&self, link: LinkId, side: Side) -> Option<&Connection> {
        let end = &self.links.get(&link)?.ends[side as usize];
        let machine = end.machine.as_ref()?;
        Some(machine.get().connection())
    }

    fn clock(&self, node: Id) -> Now {
        let skew = self.nodes.get(&node).map_or(0, |n| n.skew_ms);
        let unix_ms = (EPOCH_MS + self.now.as_micros() / 1000).saturating_add_signed(skew);
        Now::new(self.now, unix_ms)
    }

    /// Dials from one node to another; `None` if either does not exist.
    pub fn dial(&mut self, from: Id, to: Id) -> Option<LinkId> {
        let responder = *self.key(to)?;
        let secret: [u8; 32] = self.secrets.array();
        let drawn = Secrets::draw(&mut self.secrets);
        let ekm0 = betanet_keys::hash(&[b"ekm0", &secret]);
        let now = self.clock(from);
        let node = self.nodes.get(&from)?;
        let session = Session::connect(
            now,
            node.config.clone(),
            &node.identity,
            &responder,
            &ekm0,
            drawn,
        )
        .ok()?;
        let answering = Answering::new(Connection::new(session), node.handler.clone());
        let machine = Checked::since(answering, self.now);
        let end = |node, machine| End {
            node,
            machine,
            wake: None,
            rekeys: 0,
        };
        let id = self.next_link;
        self.next_link += 1;
        self.counters.dials += 1;
        self.links.insert(
            id,
            Link {
                secret,
                ends: [end(from, Some(machine)), end(to, None)],
                pipes: [Pipe::default(), Pipe::default()],
                message1: Vec::new(),
                silent: false,
            },
        );
        self.collect(id, Side::Client);
        Some(id)
    }

    /// Gives one end a command; `None` if the end is gone.
    pub fn command(
        &mut self,
        link: LinkId,
        side: Side,
        command: Command,
    ) -> Option<Result<Option<StreamId>, Error>> {
        self.with(link, side, |m, now| m.handle_command(now, command))
    }

    /// Returns the credit of bytes that one end received and consumed.
    pub fn consume(&mut self, link: LinkId, side: Side, stream: StreamId, bytes: u64) {
        self.with(link, side, |m, now| {
            m.call(now, |m| m.consume(now, stream, bytes));
        });
    }

    /// Closes one end's session.
    pub fn close(&mut self, link: LinkId, side: Side, code: Code, reason: &str) {
        self.with(link, side, |m, now| {
            m.call(now, |m| m.close(now, code, reason));
        });
    }

    /// Runs a function on one end and takes its output; `None` if the end is gone.
    fn with<T>(
        &mut self,
        link: LinkId,
        side: Side,
        verb: impl FnOnce(&mut Checked<Answering<H>>, Now) -> T,
    ) -> Option<T> {
        let node = self.links.get(&link)?.ends[side as usize].node;
        let now = self.clock(node);
        let done = verb(self.machine(link, side)?, now);
        self.collect(link, side);
        Some(done)
    }

    /// Sets a timer.
    pub fn set_timer(&mut self, at: Time, token: u64) {
        self.push(at, Task::Timer(token));
    }

    /// Cuts a link: both ends see that the carrier is gone, and data in flight is lost.
    pub fn cut(&mut self, link: LinkId) {
        if let Some(l) = self.links.get(&link)
            && l.ends.iter().all(|e| e.machine.is_some())
        {
            self.counters.cuts += 1;
        }
        for side in [Side::Client, Side::Server] {
            self.lose(link, side);
        }
        self.drop_link(link);
    }

    /// From now on everything on this link is lost, without notice to its ends.
    pub fn silence(&mut self, link: LinkId) {
        if let Some(l) = self.links.get_mut(&link) {
            l.silent = true;
        }
    }

    /// Crashes a node: its memory is lost, and its peers' carriers break.
    pub fn crash(&mut self, node: Id) {
        let touched: Vec<(LinkId, Side)> = self
            .links
            .iter()
            .flat_map(|(id, l)| {
                [Side::Client, Side::Server]
                    .into_iter()
                    .filter(move |s| l.ends[*s as usize].node == node)
                    .map(move |s| (*id, s))
            })
            .collect();
        for (link, side) in touched {
            self.lose(link, side.other());
            self.drop_link(link);
        }
    }

    /// The next event before `end`; `None` if there is none, and the time is then `end`.
    pub fn next(&mut self, end: Time) -> Option<Happening> {
        loop {
            if let Some(happening) = self.told.pop_front() {
                return Some(happening);
            }
            let wake = self.wakes.first().copied();
            let task = self.agenda.peek().map(|Reverse((at, _, _))| *at);
            match (wake, task) {
                (Some((at, link, side)), t) if at <= end && t.is_none_or(|t| at <= t) => {
                    self.now = at;
                    self.wake(link, side);
                }
                (_, Some(at)) if at <= end => {
                    self.now = at;
                    if let Some(Reverse((_, _, task))) = self.agenda.pop() {
                        self.perform(task);
                    }
                }
                _ => {
                    self.now = end;
                    return None;
                }
            }
        }
    }

    fn push(&mut self, at: Time, task: Task) {
        self.order += 1;
        self.agenda.push(Reverse((at, self.order, task)));
    }

    fn machine(&mut self, link: LinkId, side: Side) -> Option<&mut Checked<Answering<H>>> {
        self.links.get_mut(&link)?.ends[side as usize]
            .machine
            .as_mut()
    }

    fn wake(&mut self, link: LinkId, side: Side) {
        let Some(l) = self.links.get_mut(&link) else {
            return;
        };
        let end = &mut l.ends[side as usize];
        if let Some(at) = end.wake.take() {
            self.wakes.remove(&(at, link, side));
        }
        let now = {
            let node = end.node;
            self.clock(node)
        };
        if let Some(machine) = self.machine(link, side) {
            machine.handle_timeout(now);
        }
        self.collect(link, side);
    }

    fn perform(&mut self, task: Task) {
        match task {
            Task::Timer(token) => self.told.push_back(Happening::Timer(token)),
            Task::Arrive(link, side, seq, cargo) => {
                let Some(parcel) = self.cargo.remove(&cargo) else {
                    return;
                };
                let Some(l) = self.links.get_mut(&link) else {
                    return;
                };
                if l.silent {
                    return;
                }
                // The pipe is named after its sender.
                if !l.pipes[side.other() as usize].arrive(seq, parcel) {
                    self.counters.doubled += 1;
                }
                self.read(link, side);
                // Reading makes room for the sender.
                self.collect(link, side.other());
            }
        }
    }

    /// Passes on data that has arrived in order, as far as it is accepted.
    fn read(&mut self, link: LinkId, side: Side) {
        loop {
            let Some(l) = self.links.get_mut(&link) else {
                return;
            };
            let node = l.ends[side as usize].node;
            let pipe = &mut l.pipes[side.other() as usize];
            let Some(next) = pipe.next() else { break };
            let size = next.len();
            match &l.ends[side as usize].machine {
                Some(m) if !m.get().connection().session().has_room(size) => break,
                None if side == Side::Client => break,
                _ => {}
            }
            let Some(parcel) = pipe.take() else { break };
            if l.ends[side as usize].machine.is_none() {
                self.message1(link, parcel);
                continue;
            }
            let now = self.clock(node);
            let input = match parcel {
                Parcel::Bytes(bytes) => Input::Bytes(bytes),
                Parcel::GoAway => Input::GoAway,
                Parcel::End => Input::End,
                Parcel::Reset => Input::Lost,
            };
            if let Some(machine) = self.machine(link, side) {
                // Refused only by an end that is over, and has reported its end.
                let _ = machine.handle_input(now, input);
            }
            self.collect(link, side);
        }
        self.collect(link, side);
    }

    /// The dialled node's first bytes.
    fn message1(&mut self, link: LinkId, parcel: Parcel) {
        let Parcel::Bytes(bytes) = parcel else { return };
        let Some(l) = self.links.get_mut(&link) else {
            return;
        };
        l.message1.extend_from_slice(&bytes);
        let Some((head, body)) = l.message1.split_first_chunk::<2>() else {
            return;
        };
        let len = usize::from(u16::from_be_bytes(*head));
        let Some(message) = body.get(..len).map(<[u8]>::to_vec) else {
            return;
        };
        let ekm0 = betanet_keys::hash(&[b"ekm0", &l.secret]);
        let id = l.ends[Side::Server as usize].node;
        let drawn = Secrets::draw(&mut self.secrets);
        let now = self.clock(id);
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let session = Session::accept(
            now,
            node.config.clone(),
            &node.identity,
            &ekm0,
            &message,
            drawn,
        );
        match session {
            Ok(session) => {
                let answering = Answering::new(Connection::new(session), node.handler.clone());
                let machine = Checked::since(answering, self.now);
                if let Some(l) = self.links.get_mut(&link) {
                    l.ends[Side::Server as usize].machine = Some(machine);
                }
                self.collect(link, Side::Server);
            }
            Err(_) => self.lose(link, Side::Client),
        }
    }

    fn lose(&mut self, link: LinkId, side: Side) {
        let Some(l) = self.links.get(&link) else {
            return;
        };
        let now = self.clock(l.ends[side as usize].node);
        if let Some(machine) = self.machine(link, side) {
            let _ = machine.handle_input(now, Input::Lost);
        }
        self.collect(link, side);
    }

    fn drop_link(&mut self, link: LinkId) {
        if let Some(l) = self.links.remove(&link) {
            for (end, side) in l.ends.iter().zip([Side::Client, Side::Server]) {
                if let Some(at) = end.wake {
                    self.wakes.remove(&(at, link, side));
                }
            }
        }
    }

    /// Takes an end's output, and notes its next timeout.
    fn collect(&mut self, link: LinkId, side: Side) {
        let mut finished = false;
        while let Some(l) = self.links.get_mut(&link) {
            let end = &mut l.ends[side as usize];
            let Some(machine) = &mut end.machine else {
                return;
            };
            while let Some(event) = machine.poll_event() {
                self.told.push_back(Happening::Event { link, side, event });
            }
            let turned = machine.get().connection().session().stats().rekeys_out;
            let new = turned - end.rekeys;
            end.rekeys = turned;
            match side {
                Side::Client => self.counters.rekeys_client += new,
                Side::Server => self.counters.rekeys_server += new,
            }
            if !l.silent && !l.pipes[side as usize].has_room() {
                break;
            }
            let Some(transmit) = machine.poll_transmit() else {
                break;
            };
            finished |= matches!(transmit, Transmit::End | Transmit::Reset);
            self.send(link, side, transmit);
        }
        self.plan(link, side);
        if finished {
            self.finish(link, side);
        }
    }

    fn plan(&mut self, link: LinkId, side: Side) {
        let now = self.now;
        let Some(l) = self.links.get_mut(&link) else {
            return;
        };
        let full = !l.silent && !l.pipes[side as usize].has_room();
        let end = &mut l.ends[side as usize];
        if let Some(at) = end.wake.take() {
            self.wakes.remove(&(at, link, side));
        }
        let Some(wake) = end.machine.as_ref().and_then(|m| m.poll_timeout()) else {
            return;
        };
        // An end whose carrier is full is woken when there is room, not sooner.
        if full && wake.at <= now {
            return;
        }
        let at = wake.at.max(now);
        end.wake = Some(at);
        self.wakes.insert((at, link, side));
    }

    fn send(&mut self, link: LinkId, side: Side, transmit: Transmit) {
        let parcel = match transmit {
            Transmit::Bytes(bytes) => Parcel::Bytes(bytes),
            Transmit::GoAway => Parcel::GoAway,
            Transmit::End => Parcel::End,
            Transmit::Reset => Parcel::Reset,
            Transmit::NeedExport(context) => return self.export(link, side, &context),
        };
        let bytes = match &parcel {
            Parcel::Bytes(b) => b.clone(),
            _ => Bytes::new(),
        };
        self.trace.update(self.now.as_micros().to_be_bytes());
        self.trace.update([side as u8]);
        self.trace.update(link.to_be_bytes());
        self.trace.update(&bytes);
        let now = self.now;
        let weather = self.weather;
        let Some(l) = self.links.get_mut(&link) else {
            return;
        };
        if l.silent {
            return;
        }
        let pipe = &mut l.pipes[side as usize];
        let departure = pipe.depart(now, &weather, &mut self.dice, parcel.len());
        self.counters.segments += 1;
        self.counters.lost += departure.lost;
        for at in [Some(departure.arrives), departure.again]
            .into_iter()
            .flatten()
        {
            self.cargo.insert(self.order, parcel.clone());
            let task = Task::Arrive(link, side.other(), departure.seq, self.order);
            self.push(at, task);
        }
    }

    /// Exports keying material: equal at both ends of a link for equal contexts, and different on other links.
    fn export(&mut self, link: LinkId, side: Side, context: &[u8]) {
        let Some(l) = self.links.get(&link) else {
            return;
        };
        let ekm1 = betanet_keys::hash(&[b"ekm1", &l.secret, context]);
        let now = self.clock(l.ends[side as usize].node);
        if let Some(machine) = self.machine(link, side) {
            let _ = machine.handle_input(now, Input::Exported(Zeroizing::new(ekm1)));
        }
    }

    /// Handles an end's last output.
    fn finish(&mut self, link: LinkId, side: Side) {
        let Some(l) = self.links.get_mut(&link) else {
            return;
        };
        let end = &mut l.ends[side as usize];
        end.machine = None;
        if let Some(at) = end.wake.take() {
            self.wakes.remove(&(at, link, side));
        }
        if l.ends.iter().all(|e| e.machine.is_none()) {
            self.drop_link(link);
        }
    }
}
