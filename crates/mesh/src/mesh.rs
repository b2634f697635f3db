//! The mesh machine: it only routes; each concern has its own file.

mod asking;
mod dialling;
mod links;
mod lookup;
mod serving;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::{Machine, Now, Queue, Rng, Seed, Time, Wake, fingerprint};
use betanet_wire::{Code, NodeId, msg};
use bytes::Bytes;

use crate::record::LIFE_MAX_MS;
use crate::{Addr, Done, Draft, Offer, Policy, Prefix, Record, Table, Teller, Work};

use dialling::{Dial, Seeds};
use links::Links;
use lookup::Lookup;

/// ID of a dial, and of the link that it leads to.
pub type DialId = u64;
/// ID of a stream with an exchange. Exchanges that peers open have IDs from [`PEERS_EXCHANGES`].
pub type ExchangeId = u64;
/// The first ID of exchanges that peers open.
pub const PEERS_EXCHANGES: ExchangeId = 1 << 63;

/// The stream types of this layer (profile chapter 4).
pub mod kind {
    /// A list of records from a seed.
    pub const DISCOVER: u8 = 0x10;
    /// Records between two nodes.
    pub const GOSSIP: u8 = 0x11;
}

/// Most waiting transmits and events.
const QUEUE_MAX: usize = 4096;
/// Room in the queues below which the machine begins nothing new.
const MARGIN: usize = 256;
/// Longest exchange.
const EXCHANGE_MAX: Duration = Duration::from_secs(30);
/// Most exchanges that peers open: in all, and of one peer.
const SERVED_MAX: usize = 512;
const SERVED_OF_ONE: usize = 4;
/// Most signature checks in progress.
const WORKS_MAX: usize = 256;
/// Interval between two sweeps of the table.
const SWEEP: Duration = Duration::from_secs(60);
/// Remaining lifetime at which this node's record is renewed.
const RENEW_LEFT_MS: u64 = LIFE_MAX_MS / 2;

/// Most seeds, those of the setup included.
pub const SEEDS_MAX: usize = 256;

/// A seed: from the network file, or from a registry.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SeedPeer {
    /// Public key.
    pub key: PublicKey,
    /// Addresses.
    pub addrs: Vec<Addr>,
    /// SHA-256 of the certificate's SPKI.
    pub pin: Option<[u8; 32]>,
}

/// State that survives a restart.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Saved {
    /// Last issued `seq`.
    pub seq: u64,
    /// Envelopes of the longest-linked peers.
    pub anchors: Vec<Bytes>,
}

/// Initial state of a mesh machine.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The node's keys.
    pub identity: Identity,
    /// The node's record; `None` if it does not listen.
    pub draft: Option<Draft>,
    /// Seeds of the network.
    pub seeds: Vec<SeedPeer>,
    /// Limits and intervals.
    pub policy: Policy,
    /// State of an earlier run.
    pub saved: Saved,
    /// Peers that this node refuses.
    pub banned: Vec<NodeId>,
}

/// Input from the layer below.
#[derive(Clone, Debug)]
pub enum Input {
    /// A dial led to a session with the expected key; it is now a link.
    Reached {
        /// ID of the dial.
        dial: DialId,
        /// IP address of the peer.
        ip: IpAddr,
    },
    /// A dial failed.
    Failed {
        /// ID of the dial.
        dial: DialId,
    },
    /// A name was resolved.
    Resolved {
        /// ID of the dial.
        dial: DialId,
        /// Addresses of the name; empty if it has none.
        ips: Vec<IpAddr>,
    },
    /// A link's session is over.
    Lost {
        /// ID of the link.
        link: DialId,
    },
    /// A peer opened a stream of this layer.
    Opened {
        /// ID of the exchange, from [`PEERS_EXCHANGES`].
        exchange: ExchangeId,
        /// Stream type.
        kind: u8,
        /// The peer.
        peer: NodeId,
        /// IP address of the peer; `None` behind relays.
        from: Option<IpAddr>,
    },
    /// Bytes of an exchange.
    Data {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
        /// Whether the bytes end the stream.
        fin: bool,
    },
    /// An exchange broke off.
    Ended {
        /// ID of the exchange.
        exchange: ExchangeId,
    },
    /// Signatures were checked.
    Checked(Done),
}

/// Output for the layer below.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Transmit {
    /// Resolve a name.
    Resolve {
        /// ID of the dial that needs the name.
        dial: DialId,
        /// The name.
        name: String,
    },
    /// Open a session.
    Dial {
        /// ID of the dial.
        dial: DialId,
        /// Public key of the peer.
        key: [u8; 32],
        /// Pin of its certificate.
        pin: Option<[u8; 32]>,
        /// Address to dial. Its name, if it has one, was resolved before.
        addr: Addr,
        /// IP address of the name in `addr`.
        ip: Option<IpAddr>,
    },
    /// Open a stream on a link, with its first bytes.
    Open {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// ID of the link.
        link: DialId,
        /// Stream type.
        kind: u8,
        /// The bytes.
        data: Bytes,
        /// Whether the bytes end the stream.
        fin: bool,
    },
    /// Send bytes.
    Send {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
        /// Whether the bytes end the stream.
        fin: bool,
    },
    /// Break off an exchange.
    Abort {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// Reason.
        code: Code,
    },
    /// The mesh no longer needs a link.
    Hang {
        /// ID of the link.
        link: DialId,
    },
    /// Check signatures.
    Check(Work),
}

/// Command from the layer above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Change this node's record; `None` stops publishing one.
    Announce(Option<Draft>),
    /// Find a peer: [`Event::Found`] or [`Event::NotFound`] answers.
    Lookup(NodeId),
    /// Ban a peer.
    Ban(NodeId),
    /// Lift the ban of a peer.
    Unban(NodeId),
    /// Ask these peers too when this node joins, beside the seeds of the setup and in place of those of an earlier command. Beyond
    /// [`SEEDS_MAX`] they are left out.
    Bootstrap(Vec<SeedPeer>),
}

/// Event for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// A peer was reached and may be used.
    Tested {
        /// Record of the peer.
        record: Record,
        /// IP address of the peer.
        ip: IpAddr,
    },
    /// A tested peer has a new record.
    Changed(Record),
    /// A peer may no longer be used.
    Gone(NodeId),
    /// A peer signed contradicting records; [`Table::evidence`] has both.
    Excluded(NodeId),
    /// A lookup reached its peer.
    Found(Record),
    /// A lookup failed: no asked peer knows the node, or it was not reached.
    NotFound(NodeId),
    /// This node's key signed a record that this node did not issue, and peers prefer it: another node has the key.
    Elsewhere(Record),
    /// The state that survives a restart has changed.
    Save(Saved),
}

/// Reason for refusing a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too many lookups at once.
    #[error("16 lookups run already")]
    Lookups,
    /// The transmit queue is full.
    #[error("too much waits to be sent")]
    Full,
}

/// Counters. Bytes are those of exchanges, in both roles.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Records sent.
    pub records_out: u64,
    /// Records received whose signature was checked.
    pub records_in: u64,
    /// Received records that changed nothing.
    pub records_idle: u64,
    /// Exchanges that this node began.
    pub asked: u64,
    /// Answered exchanges of peers.
    pub served: u64,
    /// Refused exchanges of peers.
    pub refused: u64,
    /// Dials that this node began.
    pub dials: u64,
    /// Dials that led to a session.
    pub reached: u64,
    /// Peers excluded for contradicting records.
    pub equivocal: u64,
    /// Messages that did not decode, and lists with a wrong signature.
    pub malformed: u64,
    /// Events that found no room: who is above does not take them.
    pub untold: u64,
    /// Transmits that found no room: peers ask for more than the layer below takes.
    pub unsent: u64,
}

/// Expected next step of an exchange.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Stage {
    /// A seed's list.
    List(PublicKey),
    /// An answer to this node's records; with the lookup that asked, if any.
    Answer(Option<NodeId>),
    /// The end of the stream.
    End,
    /// A peer's DISCOVER request.
    ServeList,
    /// A peer's list of records.
    ServeAsk,
    /// The records that this node asked for.
    ServeLast,
}

#[derive(Clone, Debug, Hash)]
struct Exchange {
    link: Option<DialId>,
    peer: NodeId,
    teller: Teller,
    stage: Stage,
    buffer: Vec<u8>,
    until: Time,
}

/// A running check, and the reporting peer.
#[derive(Clone, Copy, Debug, Hash)]
struct Away {
    teller: Teller,
    lookup: Option<NodeId>,
    seed: bool,
}

/// One node's view of the mesh.
pub struct Mesh {
    identity: Identity,
    own: NodeId,
    draft: Option<Draft>,
    policy: Policy,
    rng: Rng,
    table: Table,
    seeds: Seeds,
    dials: BTreeMap<DialId, Dial>,
    links: Links,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    away: BTreeMap<u64, Away>,
    lookups: BTreeMap<NodeId, Lookup>,
    /// Start and number of each peer's recent exchanges.
    askers: BTreeMap<NodeId, (Time, u32)>,
    /// Remaining exchanges to serve, in millionths, and the time of that count.
    serves: (u64, Time),
    /// Time of the last dial to each /24, kept for a minute.
    hot: BTreeMap<Prefix, Time>,
    anchors: Vec<Bytes>,
    saved: Saved,
    /// `seq` of the last record of this node's key that another node issued.
    elsewhere: Option<u64>,
    next_id: u64,
    next_test: Time,
    next_link: Time,
    next_sweep: Time,
    /// UNIX milliseconds.
    renew_at: u64,
    cursor: NodeId,
    wake: Option<Wake>,
    out: Queue<Transmit>,
    events: Queue<Event>,
    stats: Stats,
}

impl Mesh {
    /// Creates a machine that knows its seeds and starts at `now`.
    #[must_use]
    pub fn new(now: Now, setup: Setup, seed: &Seed) -> Self {
        let own = setup.identity.public().node_id();
        let seeds: Vec<SeedPeer> = setup
            .seeds
            .into_iter()
            .filter(|s| s.key.node_id() != own)
            .collect();
        let known: BTreeSet<NodeId> = seeds.iter().map(|s| s.key.node_id()).collect();
        let mut rng = Rng::new(&seed.split("mesh"));
        let mut table = Table::new(own, known, &setup.policy);
        for node in setup.banned {
            table.ban(node);
        }
        let cursor = NodeId(rng.array());
        let mut this = Self {
            own,
            draft: setup.draft,
            table,
            seeds: Seeds::new(seeds, now.mono),
            dials: BTreeMap::new(),
            links: Links::default(),
            exchanges: BTreeMap::new(),
            away: BTreeMap::new(),
            lookups: BTreeMap::new(),
            askers: BTreeMap::new(),
            serves: (u64::MAX, now.mono),
            hot: BTreeMap::new(),
            anchors: setup.saved.anchors.clone(),
            saved: setup.saved,
            elsewhere: None,
            next_id: 1,
            next_test: now.mono,
            next_link: now.mono,
            next_sweep: now.mono + SWEEP,
            renew_at: 0,
            cursor,
            wake: None,
            out: Queue::new(QUEUE_MAX),
            events: Queue::new(QUEUE_MAX),
            stats: Stats::default(),
            identity: setup.identity,
            policy: setup.policy,
            rng,
        };
        this.renew(now);
        this.take_anchors(now);
        this.turn(now);
        this
    }

    /// The known records.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The peers of gossip links.
    pub fn links(&self) -> impl Iterator<Item = NodeId> {
        self.links.values().map(|l| l.node)
    }

    /// Limits and intervals.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn tell(&mut self, now: Now, event: Event) {
        self.stats.untold += u64::from(!self.events.push(now.mono, event));
    }

    fn transmit(&mut self, now: Now, transmit: Transmit) {
        if let Transmit::Open { data, .. } | Transmit::Send { data, .. } = &transmit {
            self.stats.bytes_out += data.len() as u64;
        }
        self.stats.unsent += u64::from(!self.out.push(now.mono, transmit));
    }

    fn has_room(&self) -> bool {
        self.out.room() > MARGIN && self.events.room() > MARGIN
    }

    /// Signs this node's record again, with a higher `seq`.
    fn renew(&mut self, now: Now) {
        let Some(draft) = &self.draft else { return };
        let seq = now.unix_ms.max(self.saved.seq + 1);
        let record = draft.sign(&self.identity, seq, LIFE_MAX_MS);
        self.saved.seq = seq;
        self.renew_at = record.exp().saturating_sub(RENEW_LEFT_MS);
        self.table.set_own(record);
        let saved = self.saved.clone();
        self.tell(now, Event::Save(saved));
    }

    /// Handles everything that is due.
    fn turn(&mut self, now: Now) {
        if self.has_room() {
            if now.unix_ms >= self.renew_at {
                self.renew(now);
            }
            self.ask_seeds(now);
            self.test_next(now);
            self.fill_links(now);
            self.gossip(now);
            self.look_up(now);
        }
        self.end_late(now);
        if now.mono >= self.next_sweep {
            self.sweep(now);
        }
        self.plan(now);
    }

    fn sweep(&mut self, now: Now) {
        self.next_sweep = now.mono + SWEEP;
        let mut gone = self.table.sweep(now);
        let linked: BTreeSet<NodeId> = self.links.values().map(|l| l.node).collect();
        gone.extend(self.table.fit(|n| linked.contains(&n)));
        for node in gone {
            self.tell(now, Event::Gone(node));
        }
        let every = self.policy.dial_prefix_every;
        self.hot.retain(|_, at| *at + every > now.mono);
        self.askers
            .retain(|_, (since, _)| *since + SWEEP > now.mono);
        self.replace_links(now);
        self.keep_anchors(now);
    }

    /// Breaks off exchanges that take too long.
    fn end_late(&mut self, now: Now) {
        let late: Vec<ExchangeId> = self
            .exchanges
            .iter()
            .filter(|(_, x)| x.until <= now.mono)
            .map(|(id, _)| *id)
            .collect();
        for exchange in late {
            self.break_off(now, exchange, Code::STALLED);
        }
    }

    fn break_off(&mut self, now: Now, exchange: ExchangeId, code: Code) {
        self.transmit(now, Transmit::Abort { exchange, code });
        self.end_exchange(now, exchange);
    }

    /// Computes the next wake-up.
    fn plan(&mut self, now: Now) {
        let at = |at, why| Some(Wake { at, why });
        let links = self.links.due();
        let exchanges = self.exchanges.values().map(|x| x.until).min();
        let renew = self.draft.is_some().then(|| {
            let left = self.renew_at.saturating_sub(now.unix_ms);
            now.mono + Duration::from_millis(left)
        });
        let wake = Wake::earliest([
            at(self.next_sweep, "mesh: sweep"),
            links.and_then(|t| at(t, "mesh: gossip")),
            exchanges.and_then(|t| at(t, "mesh: exchange")),
            renew.and_then(|t| at(t, "mesh: own record")),
            self.seeds_due().and_then(|t| at(t, "mesh: seeds")),
            (self.table.untested() > 0).then_some(Wake {
                at: self.next_test,
                why: "mesh: test",
            }),
            self.wants_links().then_some(Wake {
                at: self.next_link,
                why: "mesh: link",
            }),
            self.lookups
                .values()
                .map(Lookup::due)
                .min()
                .and_then(|t| at(t, "mesh: lookup")),
        ]);
        // What could not be begun for want of room waits for the queues, which wake by themselves.
        let soonest = now.mono + Duration::from_micros(1);
        self.wake = wake.map(|w| Wake {
            at: w.at.max(soonest),
            ..w
        });
    }

    fn data(&mut self, now: Now, id: ExchangeId, data: &Bytes, fin: bool) {
        self.stats.bytes_in += data.len() as u64;
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let max = match x.stage {
            Stage::List(_) => crate::message::LIST_MAX,
            Stage::Answer(_) | Stage::ServeLast => crate::message::RECORDS_MAX,
            Stage::ServeList | Stage::ServeAsk => crate::message::REQUEST_MAX,
            Stage::End => 0,
        };
        // One message a stage; whoever says more than its length has nothing more to say here.
        if x.buffer.len() + data.len() > max + 4 {
            self.stats.malformed += 1;
            return self.break_off(now, id, Code::MALFORMED_FRAME);
        }
        x.buffer.extend_from_slice(data);
        let taken = match msg::split(&x.buffer, max) {
            Ok(taken) => taken.map(|(cbor, _)| 4 + cbor.len()),
            Err(_) => {
                self.stats.malformed += 1;
                return self.break_off(now, id, Code::MALFORMED_FRAME);
            }
        };
        if let Some(end) = taken {
            let rest = x.buffer.split_off(end);
            let message = core::mem::replace(&mut x.buffer, rest);
            let cbor = &message[4..];
            let read = match x.stage.clone() {
                Stage::List(seed) => self.listed(now, id, cbor, seed),
                Stage::Answer(lookup) => self.answered(now, id, cbor, lookup),
                Stage::ServeList => self.serve_list(now, id, cbor),
                Stage::ServeAsk => self.serve_ask(now, id, cbor),
                Stage::ServeLast => self.served_last(now, id, cbor),
                Stage::End => Ok(()),
            };
            if read.is_err() {
                self.stats.malformed += 1;
                return self.break_off(now, id, Code::MALFORMED_FRAME);
            }
        }
        if fin {
            let waits = |x: &Exchange| {
                matches!(
                    x.stage,
                    Stage::Answer(_) | Stage::List(_) | Stage::ServeLast
                )
            };
            // An end in the middle of a message, or without one.
            if self.exchanges.get(&id).is_some_and(waits) {
                self.stats.malformed += 1;
            }
            self.end_exchange(now, id);
        }
    }

    /// Queues envelopes that may change the table for a signature check.
    fn check(&mut self, now: Now, envelopes: Vec<Bytes>, away: Away) {
        let mut envelopes = envelopes;
        envelopes.retain(|raw| self.may_matter(now, raw));
        self.send_work(now, None, envelopes, away);
    }

    fn send_work(
        &mut self,
        now: Now,
        list: Option<(Bytes, PublicKey, u64)>,
        envelopes: Vec<Bytes>,
        away: Away,
    ) {
        if (envelopes.is_empty() && list.is_none()) || self.away.len() >= WORKS_MAX {
            if away.seed {
                // Its list is not looked at: it has its next turn later.
                self.list_checked(now, away.teller.node, false);
            }
            return self.checked_for(now, away.lookup);
        }
        let id = self.id();
        self.away.insert(id, away);
        self.transmit(
            now,
            Transmit::Check(Work {
                id,
                list,
                envelopes,
            }),
        );
    }

    /// Whether a record could change the table, judged before its signature.
    fn may_matter(&self, now: Now, raw: &[u8]) -> bool {
        let Ok(peek) = crate::peek(raw) else {
            return false;
        };
        if peek.exp <= now.unix_ms || self.table.is_banned(peek.node) {
            return false;
        }
        if peek.node == self.own {
            let differs = |r: &Record| r.envelope().as_ref() != raw && peek.seq >= r.seq();
            return self.table.own().is_some_and(differs)
                && self.elsewhere.is_none_or(|seq| peek.seq > seq);
        }
        match self.table.get(peek.node) {
            Some(entry) => {
                let known = entry.record();
                peek.seq > known.seq()
                    || (peek.seq == known.seq() && known.envelope().as_ref() != raw)
            }
            None => self
                .table
                .evidence(peek.node)
                .is_none_or(|e| peek.seq > e.first.seq()),
        }
    }

    fn checked(&mut self, now: Now, done: Done) {
        let Some(away) = self.away.remove(&done.id) else {
            return;
        };
        if away.seed {
            self.list_checked(now, away.teller.node, done.list_stands);
        }
        if !done.list_stands {
            self.stats.malformed += 1;
        }
        for record in done.records {
            self.take(now, record, away.teller);
        }
        self.checked_for(now, away.lookup);
    }

    fn take(&mut self, now: Now, record: Record, teller: Teller) {
        let node = record.node();
        self.stats.records_in += 1;
        if node == self.own {
            self.elsewhere = Some(record.seq());
            return self.tell(now, Event::Elsewhere(record));
        }
        match self.table.offer(now, record.clone(), teller) {
            Offer::New => {}
            Offer::Newer(false) => self.tell(now, Event::Changed(record)),
            Offer::Newer(true) => self.tell(now, Event::Gone(node)),
            Offer::Equivocal => {
                self.stats.equivocal += 1;
                self.unlink(now, node);
                self.tell(now, Event::Gone(node));
                self.tell(now, Event::Excluded(node));
            }
            Offer::Known | Offer::Refused(_) => self.stats.records_idle += 1,
        }
        if self.table.len() > self.policy.view_max {
            // Seldom asked: only when the share narrows.
            let linked = |n: NodeId| self.links.values().any(|l| l.node == n);
            for node in self.table.fit(linked) {
                self.tell(now, Event::Gone(node));
            }
        }
    }
}

impl Machine for Mesh {
    type Input = Input;
    type Command = Command;
    type Answer = ();
    type Transmit = Transmit;
    type Event = Event;
    type Error = Error;

    fn handle_input(&mut self, now: Now, input: Input) -> Result<(), Error> {
        match input {
            Input::Reached { dial, ip } => self.dial_reached(now, dial, ip),
            Input::Failed { dial } => self.dial_failed(now, dial),
            Input::Resolved { dial, ips } => self.dial_resolved(now, dial, &ips),
            Input::Lost { link } => self.link_lost(now, link),
            Input::Opened {
                exchange,
                kind,
                peer,
                from,
            } => self.opened(now, exchange, kind, peer, from),
            Input::Data {
                exchange,
                data,
                fin,
            } => self.data(now, exchange, &data, fin),
            Input::Ended { exchange } => self.end_exchange(now, exchange),
            Input::Checked(done) => self.checked(now, done),
        }
        self.turn(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<(), Error> {
        if !self.has_room() {
            return Err(Error::Full);
        }
        match command {
            Command::Announce(draft) => {
                self.draft = draft;
                self.renew(now);
            }
            Command::Lookup(node) => self.begin_lookup(now, node)?,
            Command::Ban(node) => {
                self.table.ban(node);
                self.unlink(now, node);
                self.tell(now, Event::Gone(node));
            }
            Command::Unban(node) => self.table.unban(node),
            Command::Bootstrap(peers) => self.bootstrap(now, peers),
        }
        self.turn(now);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Now) {
        self.turn(now);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.wake,
            self.out.wake("mesh: transmits wait"),
            self.events.wake("mesh: events wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Mesh {
            draft, rng, table, seeds, dials, links, exchanges, away, lookups, askers, serves, hot, anchors, saved, elsewhere,
            next_id, next_test, next_link, next_sweep, renew_at, cursor, wake, out, events,
        } without {
            identity: "a secret, set once",
            own: "set once",
            policy: "set once",
            stats: "statistics",
        })
    }
}
