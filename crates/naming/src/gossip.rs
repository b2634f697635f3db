//! ALIAS_GOSSIP: how ledgers of nodes come together, and how two views of the ledger are found.
//!
//! This file only routes. The side that opens a stream asks (`asking`), the other serves (`serving`).

mod asking;
mod exchange;
mod proposing;
mod serving;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_log::{SignedHead, Signers};
use betanet_machine::{Machine, Now, Queue, Rng, Seed, Time, Wake, fingerprint};
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;

use crate::{Accepted, Effect, HeadFault, Ledger, Reject, Verified, Verifier};

use exchange::{Exchange, Stage};
use serving::{Payer, Peer};

/// ID of a stream with an exchange. Exchanges that peers open have IDs from [`PEERS_EXCHANGES`].
pub type ExchangeId = u64;
/// The first ID of exchanges that peers open.
pub const PEERS_EXCHANGES: ExchangeId = 1 << 63;

/// Most waiting transmits, and most waiting events.
const QUEUE_MAX: usize = 1024;
/// Room in the queues below which the machine begins nothing new.
const MARGIN: usize = 64;
/// Most peers that this node gossips with, and most parties that are charged for others.
pub const PEERS_MAX: usize = 128;
/// Longest time without a message in an exchange.
const STALL: Duration = Duration::from_secs(30);
/// Shortest and longest time between two exchanges with one peer.
const EVERY: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(120));
/// Longest exchange.
const LONGEST: Duration = Duration::from_secs(300);
/// Longest that an exchange brings records under a head whose signers are not known yet: anybody can make such a head.
const UNSIGNED: Duration = Duration::from_secs(60);
/// Time in which this node begins nothing with a peer whose fault ended an exchange.
const REST: Duration = Duration::from_secs(600);
/// Longest time until a new head is told to a peer.
const SOON: Duration = Duration::from_secs(5);

/// Input from the layer below.
#[derive(Clone, Debug)]
pub enum Input {
    /// There is a session with a peer that has this layer.
    Linked {
        /// The peer.
        peer: NodeId,
    },
    /// The operator named this peer. It is not displaced by others; at most [`PEERS_MAX`] are.
    Named {
        /// The peer.
        peer: NodeId,
    },
    /// The session is over.
    Unlinked {
        /// The peer.
        peer: NodeId,
    },
    /// A peer opened a stream of type [`crate::message::KIND`].
    Opened {
        /// ID of the exchange, from [`PEERS_EXCHANGES`].
        exchange: ExchangeId,
        /// The peer.
        peer: NodeId,
        /// The party charged for the peer's session. A named peer is charged by itself.
        charge: ChargeTo,
    },
    /// Bytes of an exchange, after the stream's type.
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
    /// Records were read, as [`Transmit::Load`] asked. Missing ones end the list.
    Loaded {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// The records.
        records: Vec<Bytes>,
    },
    /// Signatures were verified.
    Checked(Done),
}

/// Output for the layer below.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Transmit {
    /// Open a stream of type [`crate::message::KIND`] to a peer, with its first bytes after the type.
    Open {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// The peer.
        peer: NodeId,
        /// The bytes.
        data: Bytes,
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
    /// Read final records from storage: [`Input::Loaded`] answers.
    Load {
        /// ID of the exchange.
        exchange: ExchangeId,
        /// Index of the first record.
        from: u64,
        /// Number of records, at most 256.
        n: u64,
    },
    /// Verify signatures: [`Input::Checked`] answers.
    Check(Work),
}

/// Records whose signatures are verified outside the machine, for example on another thread.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Work {
    /// ID of the exchange.
    pub exchange: ExchangeId,
    /// Index of the first record.
    pub from: u64,
    /// The records.
    pub records: Vec<Bytes>,
    /// The signers in force.
    pub signers: Signers,
}

/// Result of a [`Work`].
#[derive(Clone, Debug)]
pub struct Done {
    /// ID of the exchange.
    pub exchange: ExchangeId,
    /// Index of the first record.
    pub from: u64,
    /// The records, with what their signatures show.
    pub records: Vec<Verified>,
}

impl Work {
    /// Verifies the signatures on this thread.
    #[must_use]
    pub fn run(self) -> Done {
        let verifier = Verifier::new(&self.signers, self.records.len());
        self.run_with(&mut Some(verifier))
    }

    /// As [`Work::run`], with a verifier that is kept from one work to the next: long synchronisations take less time.
    #[must_use]
    pub fn run_with(self, kept: &mut Option<Verifier>) -> Done {
        let fits = kept.take().filter(|v| *v.signers() == self.signers);
        let mut verifier = fits.unwrap_or_else(|| Verifier::new(&self.signers, usize::MAX));
        let done = Done {
            exchange: self.exchange,
            from: self.from,
            records: verifier.verify_all(&self.records),
        };
        *kept = Some(verifier);
        done
    }
}

/// Command from the layer above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Take a record that somebody submitted, to propose it: [`Answer::Submitted`].
    Submit(Bytes),
    /// Take a head that signers signed: [`Answer::Head`].
    Head(SignedHead),
}

/// Answer to a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Index and effect of the record, or the reason why it does not count.
    Submitted(Result<(u64, Effect), Reject>),
    /// Relation of the head to the ledger, or the reason why it is not accepted.
    Head(Result<Accepted, HeadFault>),
}

/// Event for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// Records became final. Keep their bytes by index: this node serves them to others.
    Final {
        /// Index of the first.
        from: u64,
        /// The records.
        records: Vec<Bytes>,
    },
    /// A head was accepted. Keep it: [`SignedHead::to_bytes`].
    Head(SignedHead),
    /// Two views of the ledger exist; [`Ledger::split`] has the evidence. Nothing is accepted any more.
    Split,
    /// A peer gave a head that it could not prove, or that this node cannot check. Both heads are worth a person's look.
    Unproven {
        /// The peer.
        peer: NodeId,
        /// Its head.
        head: SignedHead,
    },
    /// A peer broke the rules of an exchange, which was broken off.
    Fault {
        /// The peer.
        peer: NodeId,
        /// The fault.
        code: Code,
    },
}

/// Reason for refusing an input or a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The queues are full.
    #[error("too much waits to be sent or told")]
    Full,
}

/// Counters.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Exchanges that this node began.
    pub asked: u64,
    /// Exchanges of peers that it answered.
    pub served: u64,
    /// Exchanges and requests of peers that it refused.
    pub refused: u64,
    /// Records that became final.
    pub records_in: u64,
    /// Records sent.
    pub records_out: u64,
    /// Exchanges that a peer's fault ended.
    pub faults: u64,
    /// Events that found no room.
    pub untold: u64,
    /// Transmits that found no room.
    pub unsent: u64,
}

/// A ledger that gossips.
#[derive(Debug)]
pub struct Gossip {
    ledger: Ledger,
    rng: Rng,
    peers: BTreeMap<NodeId, Peer>,
    /// Allowances of those who ask: of named peers, and of the addresses of others.
    payers: BTreeMap<ChargeTo, Payer>,
    /// Peers that the operator named.
    named: BTreeSet<NodeId>,
    exchanges: BTreeMap<ExchangeId, Exchange>,
    /// The exchange that brings records. There is one at a time: each continues the same log.
    syncing: Option<ExchangeId>,
    told_split: bool,
    next_id: ExchangeId,
    wake: Option<Wake>,
    out: Queue<Transmit>,
    events: Queue<Event>,
    stats: Stats,
}

impl Gossip {
    /// A machine around a ledger.
    #[must_use]
    pub fn new(ledger: Ledger, seed: &Seed) -> Self {
        Self {
            told_split: ledger.split().is_some(),
            ledger,
            rng: Rng::new(&seed.split("naming")),
            peers: BTreeMap::new(),
            payers: BTreeMap::new(),
            named: BTreeSet::new(),
            exchanges: BTreeMap::new(),
            syncing: None,
            next_id: 1,
            wake: None,
            out: Queue::new(QUEUE_MAX),
            events: Queue::new(QUEUE_MAX),
            stats: Stats::default(),
        }
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Number of exchanges in progress.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.exchanges.len()
    }

    fn tell(&mut self, now: Now, event: Event) {
        self.stats.untold += u64::from(!self.events.push(now.mono, event));
    }

    fn transmit(&mut self, now: Now, transmit: Transmit) {
        self.stats.unsent += u64::from(!self.out.push(now.mono, transmit));
    }

    fn has_room(&self) -> bool {
        self.out.room() > MARGIN && self.events.room() > MARGIN
    }

    fn linked(&mut self, now: Now, peer: NodeId) {
        let links = self.peers.values().filter(|p| p.due().is_some()).count();
        // Peers without a session are remembered while they rest.
        let full = self.peers.len() >= 2 * PEERS_MAX && !self.peers.contains_key(&peer);
        if links >= PEERS_MAX || full {
            return;
        }
        let next = now.mono + self.jitter(Duration::ZERO, SOON);
        self.peers
            .entry(peer)
            .or_insert_with(|| Peer::new(now.mono))
            .link(next);
    }

    fn unlinked(&mut self, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.unlink();
        }
        let of_peer = |x: &Exchange| x.peer == peer;
        let gone: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, x)| of_peer(x))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.end(id);
        }
    }

    /// Forgets an exchange.
    fn end(&mut self, id: ExchangeId) {
        self.exchanges.remove(&id);
        if self.syncing == Some(id) {
            self.syncing = None;
        }
    }

    /// Breaks an exchange off for a fault of its peer.
    fn fault(&mut self, now: Now, id: ExchangeId, code: Code) {
        if let Some(peer) = self.exchanges.get(&id).map(|x| x.peer) {
            self.stats.faults += 1;
            self.tell(now, Event::Fault { peer, code });
            self.transmit(now, Transmit::Abort { exchange: id, code });
            self.end(id);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.rest(now.mono + REST);
            }
        }
    }

    fn jitter(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.rng.below(span.saturating_add(1)))
    }

    /// Runs a change of the ledger, and tells of the records that it made final and of a new head. `brought` are the records that
    /// come with it.
    fn change<T>(
        &mut self,
        now: Now,
        brought: &[Verified],
        change: impl FnOnce(&mut Ledger) -> Result<T, HeadFault>,
    ) -> Result<T, HeadFault> {
        let before = self.ledger.final_size();
        let head = self.ledger.head().map(|h| *h.head());
        let waiting: Vec<Bytes> = self.ledger.waiting().cloned().collect();
        let first = before + waiting.len() as u64;
        let result = change(&mut self.ledger);
        // Whether the new records, if any, stand behind those that waited.
        let follows = self.ledger.size() >= first + brought.len() as u64;
        let grown = self.ledger.final_size() - before;
        if grown > 0 {
            let n = usize::try_from(grown).unwrap_or(usize::MAX);
            // Records that waited count only if they came with the head that the new ones came with.
            let waited = if follows { waiting } else { Vec::new() };
            let brought = brought.iter().map(|v| v.bytes().clone());
            let records: Vec<Bytes> = waited.into_iter().chain(brought).take(n).collect();
            self.stats.records_in += grown;
            let from = before;
            self.tell(now, Event::Final { from, records });
        }
        if self.ledger.head().map(|h| *h.head()) != head
            && let Some(head) = self.ledger.head().cloned()
        {
            self.tell(now, Event::Head(head));
            self.spread(now);
        }
        self.notice_split(now);
        result
    }

    fn notice_split(&mut self, now: Now) {
        if self.ledger.split().is_some() && !self.told_split {
            self.told_split = true;
            self.tell(now, Event::Split);
            self.spread(now);
        }
    }

    /// Brings the next exchange with every peer forward.
    fn spread(&mut self, now: Now) {
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in peers {
            let next = now.mono + self.jitter(Duration::ZERO, SOON);
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.hasten(next);
            }
        }
    }

    fn turn(&mut self, now: Now) {
        let late = |x: &Exchange| x.until.min(x.longest) <= now.mono;
        let late: Vec<_> = self
            .exchanges
            .iter()
            .filter(|(_, x)| late(x))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.fault(now, id, Code::STALLED);
        }
        self.resume(now);
        self.forget_peers(now);
        while self.has_room() {
            let due = |(node, peer): (&NodeId, &Peer)| peer.is_due(now.mono).then_some(*node);
            let Some(peer) = self.peers.iter().find_map(due) else {
                break;
            };
            let next = now.mono + self.jitter(EVERY.0, EVERY.1);
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.link(next);
            }
            self.begin(now, peer);
        }
        self.plan(now);
    }

    fn plan(&mut self, now: Now) {
        let at = |at: Option<Time>, why| at.map(|at| Wake { at, why });
        let paced = |x: &Exchange| match x.stage {
            Stage::Paced { at, .. } => Some(at),
            _ => None,
        };
        let wake = Wake::earliest([
            at(
                self.exchanges
                    .values()
                    .map(|x| x.until.min(x.longest))
                    .min(),
                "naming: exchange",
            ),
            at(
                self.exchanges.values().filter_map(paced).min(),
                "naming: put off",
            ),
            at(
                self.peers.values().filter_map(Peer::due).min(),
                "naming: gossip",
            ),
        ]);
        // Those that could not begin for want of room wait for the queues, which wake by themselves.
        let soonest = now.mono + Duration::from_micros(1);
        self.wake = wake.map(|w| Wake {
            at: w.at.max(soonest),
            ..w
        });
    }

    fn data(&mut self, now: Now, id: ExchangeId, data: &Bytes, fin: bool) {
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let message = match x.take(data) {
            Ok(message) => message,
            Err(code) => return self.fault(now, id, code),
        };
        if message.is_some() {
            x.until = now.mono + STALL;
        }
        let stage = x.stage.clone();
        if let Some(cbor) = message {
            match stage {
                Stage::Hello => self.greeted(now, id, &cbor),
                Stage::Link(head) => self.connected(now, id, &cbor, &head),
                Stage::Records(head) => self.answered(now, id, &cbor, head),
                Stage::Checking(_) | Stage::Paced { .. } | Stage::Loading { .. } => {
                    return self.fault(now, id, Code::MALFORMED_FRAME);
                }
                Stage::ServeHello => self.serve_hello(now, id, &cbor),
                Stage::Serve(head) => self.serve_ask(now, id, &cbor, head),
            }
        }
        if fin {
            self.ended_by_peer(now, id);
        }
    }

    /// The peer sends nothing more.
    fn ended_by_peer(&mut self, now: Now, id: ExchangeId) {
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        match x.stage {
            Stage::Serve(_) if x.is_between_messages() => {
                let (data, fin) = (Bytes::new(), true);
                self.transmit(
                    now,
                    Transmit::Send {
                        exchange: id,
                        data,
                        fin,
                    },
                );
                self.end(id);
            }
            // A last request may still be answered.
            Stage::Paced { .. } | Stage::Loading { .. } => x.last = true,
            // This node has all that it needs from the peer.
            Stage::Checking(_) => {}
            _ => self.fault(now, id, Code::MALFORMED_FRAME),
        }
    }
}

impl Machine for Gossip {
    type Input = Input;
    type Command = Command;
    type Answer = Answer;
    type Transmit = Transmit;
    type Event = Event;
    type Error = Error;

    fn handle_input(&mut self, now: Now, input: Input) -> Result<(), Error> {
        match input {
            Input::Linked { peer } => self.linked(now, peer),
            Input::Named { peer } => {
                if self.named.len() < PEERS_MAX {
                    self.named.insert(peer);
                }
            }
            Input::Unlinked { peer } => self.unlinked(peer),
            Input::Opened {
                exchange,
                peer,
                charge,
            } => self.opened(now, exchange, peer, charge),
            Input::Data {
                exchange,
                data,
                fin,
            } => self.data(now, exchange, &data, fin),
            Input::Ended { exchange } => self.end(exchange),
            Input::Loaded { exchange, records } => self.loaded(now, exchange, records),
            Input::Checked(done) => self.checked(now, done),
        }
        self.turn(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<Answer, Error> {
        if !self.has_room() {
            return Err(Error::Full);
        }
        let answer = match command {
            Command::Submit(record) => Answer::Submitted(self.ledger.apply(now.unix_ms, record)),
            Command::Head(head) => {
                Answer::Head(self.change(now, &[], |ledger| ledger.accept(head)))
            }
        };
        self.turn(now);
        Ok(answer)
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
            self.out.wake("naming: transmits wait"),
            self.events.wake("naming: events wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Gossip {
            ledger, rng, peers, payers, named, exchanges, syncing, told_split, next_id, wake, out, events,
        } without {
            stats: "statistics",
        })
    }
}
