//! The mesh machine: routing only. Each concern stands in a file of its own.

mod asking;
mod dialling;
mod lookup;
mod serving;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::{Fingerprint, Machine, Now, Queue, Rng, Seed, Time, Wake};
use betanet_wire::{Code, NodeId, msg};
use bytes::Bytes;

use crate::record::LIFE_MAX_MS;
use crate::{Addr, Done, Draft, Offer, Policy, Prefix, Record, Table, Teller, Work};

use dialling::{Dial, Link, Seeds};
use lookup::Lookup;

/// A dial, and the link that comes of it.
pub type DialId = u64;
/// A stream with an exchange on it. Those that peers open are from [`PEERS_EXCHANGES`] up.
pub type ExchangeId = u64;
/// The first of the numbers that are given to exchanges that peers open.
pub const PEERS_EXCHANGES: ExchangeId = 1 << 63;

/// The stream types of this layer (profile chapter 4).
pub mod kind {
    /// A list of records from a seed.
    pub const DISCOVER: u8 = 0x10;
    /// Records between two nodes.
    pub const GOSSIP: u8 = 0x11;
}

/// Transmits and events that wait, at most.
const QUEUE_MAX: usize = 4096;
/// Room in them below which nothing new is begun.
const MARGIN: usize = 256;
/// An exchange's longest life.
const EXCHANGE_MAX: Duration = Duration::from_secs(30);
/// Exchanges of peers at once, and of one peer.
const SERVED_MAX: usize = 512;
const SERVED_OF_ONE: usize = 4;
/// Work that is away at once.
const WORKS_MAX: usize = 256;
/// How often the table is looked through.
const SWEEP: Duration = Duration::from_secs(60);
/// How much of its life a record has left when it is renewed.
const RENEW_LEFT_MS: u64 = LIFE_MAX_MS / 2;

/// A seed as the network file names it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SeedPeer {
    /// Its key.
    pub key: PublicKey,
    /// Where it is reached.
    pub addrs: Vec<Addr>,
    /// SHA-256 of its certificate's SPKI.
    pub pin: Option<[u8; 32]>,
}

/// What is kept over a restart.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Saved {
    /// The last `seq` that was issued.
    pub seq: u64,
    /// Envelopes of the peers that were linked to longest.
    pub anchors: Vec<Bytes>,
}

/// What a node begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its keys.
    pub identity: Identity,
    /// What it says of itself; nothing where it does not listen.
    pub draft: Option<Draft>,
    /// Where it asks first.
    pub seeds: Vec<SeedPeer>,
    /// What it allows.
    pub policy: Policy,
    /// What it kept.
    pub saved: Saved,
    /// Its ban list.
    pub banned: Vec<NodeId>,
}

/// From below.
#[derive(Clone, Debug)]
pub enum Input {
    /// A dial led to a session with the wanted key: it is a link now.
    Reached {
        /// Which.
        dial: DialId,
        /// Where.
        ip: IpAddr,
    },
    /// A dial failed.
    Failed {
        /// Which.
        dial: DialId,
    },
    /// A name leads to these addresses.
    Resolved {
        /// Whose.
        dial: DialId,
        /// None when the name leads nowhere.
        ips: Vec<IpAddr>,
    },
    /// A link's session is over.
    Lost {
        /// Which.
        link: DialId,
    },
    /// A peer opened a stream of this layer.
    Opened {
        /// What it is called from now on, from [`PEERS_EXCHANGES`] up.
        exchange: ExchangeId,
        /// Its type.
        kind: u8,
        /// Who.
        peer: NodeId,
        /// From where; unknown behind relays.
        from: Option<IpAddr>,
    },
    /// Bytes of an exchange.
    Data {
        /// Which.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        fin: bool,
    },
    /// An exchange broke off.
    Ended {
        /// Which.
        exchange: ExchangeId,
    },
    /// Signatures were checked.
    Checked(Done),
}

/// For below.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transmit {
    /// Find the addresses of a name.
    Resolve {
        /// For which dial.
        dial: DialId,
        /// The name.
        name: String,
    },
    /// Open a session.
    Dial {
        /// What it is called.
        dial: DialId,
        /// With whom.
        key: [u8; 32],
        /// The pin of its certificate.
        pin: Option<[u8; 32]>,
        /// Where: a name in it was resolved before.
        addr: Addr,
        /// What a name in it leads to.
        ip: Option<IpAddr>,
    },
    /// Open a stream on a link, with its first bytes.
    Open {
        /// What it is called.
        exchange: ExchangeId,
        /// On which link.
        link: DialId,
        /// Its type.
        kind: u8,
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        fin: bool,
    },
    /// Send bytes.
    Send {
        /// In which exchange.
        exchange: ExchangeId,
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        fin: bool,
    },
    /// Break an exchange off.
    Abort {
        /// Which.
        exchange: ExchangeId,
        /// Why.
        code: Code,
    },
    /// This layer needs a link no more.
    Hang {
        /// Which.
        link: DialId,
    },
    /// Check signatures.
    Check(Work),
}

/// From above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Say something else of oneself; `None` to say nothing more.
    Announce(Option<Draft>),
    /// Find a peer: [`Event::Found`] or [`Event::NotFound`] answers.
    Lookup(NodeId),
    /// Have nothing to do with a peer.
    Ban(NodeId),
    /// Let a peer be as any other.
    Unban(NodeId),
}

/// For above.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A peer was reached: it may be used.
    Tested {
        /// Its record.
        record: Record,
        /// Where.
        ip: IpAddr,
    },
    /// A tested peer has a new record.
    Changed(Record),
    /// A peer may not be used any more.
    Gone(NodeId),
    /// A peer contradicted itself; [`Table::evidence`] has both records.
    Excluded(NodeId),
    /// A peer that was looked for, reached.
    Found(Record),
    /// Nobody who was asked knows a peer, or it was not reached.
    NotFound(NodeId),
    /// What is to be kept over a restart has changed.
    Save(Saved),
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too many lookups at once.
    #[error("16 lookups run already")]
    Lookups,
    /// The queue of what is to be sent is full.
    #[error("too much waits to be sent")]
    Full,
}

/// What was counted. Bytes are those of exchanges, in both roles.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Of those sent, records.
    pub records_out: u64,
    /// Records received whose signature was checked.
    pub records_in: u64,
    /// Of those, records that changed nothing.
    pub records_idle: u64,
    /// Exchanges begun.
    pub asked: u64,
    /// Exchanges of peers answered.
    pub served: u64,
    /// Exchanges of peers refused.
    pub refused: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that led to a session.
    pub reached: u64,
    /// Peers excluded for contradicting themselves.
    pub equivocal: u64,
    /// Messages that did not read, or lists that were not their seed's.
    pub malformed: u64,
}

/// What an exchange waits for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Stage {
    /// A seed's list.
    List(PublicKey),
    /// An answer to what this node has; for which lookup, if it was asked for one.
    Answer(Option<NodeId>),
    /// Nothing but the end.
    End,
    /// A peer's DISCOVER.
    ServeList,
    /// What a peer has.
    ServeAsk,
    /// What a peer was asked for.
    ServeLast,
}

#[derive(Clone, Debug)]
struct Exchange {
    link: Option<DialId>,
    peer: NodeId,
    teller: Teller,
    stage: Stage,
    buffer: Vec<u8>,
    until: Time,
}

/// A running check, and whose word it is.
#[derive(Clone, Copy, Debug)]
struct Away {
    teller: Teller,
    lookup: Option<NodeId>,
    seed: bool,
}

/// The mesh, as one node has it.
pub struct Mesh {
    identity: Identity,
    own: NodeId,
    draft: Option<Draft>,
    policy: Policy,
    rng: Rng,
    table: Table,
    seeds: Seeds,
    dials: BTreeMap<DialId, Dial>,
    links: BTreeMap<DialId, Link>,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    away: BTreeMap<u64, Away>,
    lookups: BTreeMap<NodeId, Lookup>,
    /// Since when, and how often, peers began exchanges.
    askers: BTreeMap<NodeId, (Time, u32)>,
    /// Exchanges that may still be served, in millionths, and when that was.
    serves: (u64, Time),
    /// When each /24 was dialled last, for a minute.
    hot: BTreeMap<Prefix, Time>,
    anchors: Vec<Bytes>,
    saved: Saved,
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
    /// A node that knows its seeds, and begins at `now`.
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
            links: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            away: BTreeMap::new(),
            lookups: BTreeMap::new(),
            askers: BTreeMap::new(),
            serves: (u64::MAX, now.mono),
            hot: BTreeMap::new(),
            anchors: setup.saved.anchors.clone(),
            saved: setup.saved,
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

    /// What is known of others.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The peers that gossip runs with.
    pub fn links(&self) -> impl Iterator<Item = NodeId> {
        self.links.values().map(|l| l.node)
    }

    /// What it allows.
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
        self.events.push(now.mono, event);
    }

    fn transmit(&mut self, now: Now, transmit: Transmit) {
        if let Transmit::Open { data, .. } | Transmit::Send { data, .. } = &transmit {
            self.stats.bytes_out += data.len() as u64;
        }
        self.out.push(now.mono, transmit);
    }

    fn has_room(&self) -> bool {
        self.out.room() > MARGIN && self.events.room() > MARGIN
    }

    /// Signs what this node says of itself anew, with a `seq` above all before it.
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

    /// Everything that is due.
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

    /// When something is due next.
    fn plan(&mut self, now: Now) {
        let at = |at, why| Some(Wake { at, why });
        let links = self.links.values().filter_map(Link::due).min();
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

    /// Sends envelopes that may matter to have their signatures checked.
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

    /// Whether a record could change anything, before its signature is looked at.
    fn may_matter(&self, now: Now, raw: &[u8]) -> bool {
        let Ok(peek) = crate::peek(raw) else {
            return false;
        };
        if peek.exp <= now.unix_ms || peek.node == self.own || self.table.is_banned(peek.node) {
            return false;
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
            let linked: BTreeSet<NodeId> = self.links.values().map(|l| l.node).collect();
            for node in self.table.fit(|n| linked.contains(&n)) {
                self.tell(now, Event::Gone(node));
            }
        }
    }
}

impl Machine for Mesh {
    type Input = Input;
    type Command = Command;
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
        Fingerprint::default()
            .word(self.next_id)
            .word(self.table.len() as u64)
            .word(self.table.change())
            .word(self.links.len() as u64)
            .word(self.exchanges.len() as u64)
            .word(self.lookups.len() as u64)
            .word(self.out.len() as u64)
            .word(self.events.len() as u64)
            .finish()
    }
}
