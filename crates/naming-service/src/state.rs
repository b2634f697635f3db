//! The state behind the journal: the ledger with its gossip, the records' bytes, those that wait, and what this signer must not
//! forget.

mod answers;
mod journaled;
mod pool;
mod signing;
mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_durable::{Now, State, Unreadable};
use betanet_journal::Record;
use betanet_keys::{Identity, PublicKey};
use betanet_log::{Signature, SignedHead, Signers};
use betanet_machine::{Machine as _, Rng, Seed};
use betanet_naming::gossip::{Event, Gossip, Input, Transmit};
use betanet_naming::signer::{Memory, Signer};
use betanet_naming::{Accepted, Alias, Genesis, HeadFault, Ledger, Reject, Verified, Verifier};
use bytes::Bytes;
use tokio::sync::watch;

use crate::body::Proposal;
use crate::turn::Turns;
use pool::Pool;

pub(crate) use answers::word;
pub(crate) use signing::{Cosigned, NotFinished};

/// Most records of a list of pooled ones.
const POOLED_MAX: usize = 64;

/// Parts of a state that its records do not hold.
pub(crate) struct Setup {
    pub(crate) genesis: Genesis,
    pub(crate) signer: Option<Identity>,
    pub(crate) seed: Seed,
    pub(crate) facts: watch::Sender<Facts>,
    pub(crate) counts: Counts,
}

/// Counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) signed: AtomicU64,
    pub(crate) proposed: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) unproven: AtomicU64,
}

impl Counts {
    pub(crate) fn one(of: &AtomicU64) {
        of.fetch_add(1, Ordering::Relaxed);
    }
}

/// Facts of a state, for those that wait for a change and for metrics.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    /// Number of the state in this process; another one has none of its exchanges.
    pub(crate) instance: u64,
    /// Number of final records.
    pub(crate) size: u64,
    /// Time of the newest head, in UNIX milliseconds.
    pub(crate) head_ms: Option<u64>,
    pub(crate) aliases: u64,
    pub(crate) rivals: u64,
    pub(crate) split: bool,
    /// Number of records that wait, and of the last that came.
    pub(crate) pool: usize,
    pub(crate) pooled: u64,
    /// Keys of the signers, ascending.
    pub(crate) signers: Vec<[u8; 32]>,
    /// Keys of the signers behind the final records, ascending, and of the maintainers.
    pub(crate) fixed: Vec<[u8; 32]>,
    pub(crate) maintainers: Vec<PublicKey>,
}

/// A request.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Inputs of the gossip; without any, time passes.
    Gossip(Vec<Input>),
    /// Keep a submitted record until it is final.
    Submit(Verified),
    /// Take a head that signers signed.
    Head(SignedHead),
    Alias(Alias),
    History(Alias),
    /// The record that stands for a type and key of a registry.
    Registered(String, Vec<u8>),
    /// The records that stand for a type.
    Registry(String),
    Newest,
    Entries(u64, u64),
    Consistency(u64),
    /// Names after one, at most so many.
    Names(Option<Alias>, usize),
    /// Records that came after this number.
    Pooled(u64),
    Turn,
    /// Propose, beginning with these records.
    Propose(Vec<Verified>),
    /// Co-sign a proposal, whose records were verified.
    Cosign(Box<Proposal>, Vec<Verified>),
    /// Sign the own proposal last, and take it.
    Finish(SignedHead),
}

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Transmits of the gossip of this instance, and the time until it wants to be called.
    Gossip(u64, Vec<Transmit>, Option<Duration>),
    /// Time until this signer may propose; `None` while nothing waits.
    Turn(Option<Duration>),
    Submitted(Result<u64, Reject>),
    Head(Result<Accepted, HeadFault>),
    /// A body; `None` where there is nothing.
    Body(Option<Vec<u8>>),
    Names(Vec<Listed>),
    Pooled(Vec<(u64, Bytes)>),
    Proposed(Option<Box<Proposal>>),
    Cosigned(Result<Signature, Box<Cosigned>>),
    Finished(Result<SignedHead, NotFinished>),
}

/// An alias in a list.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) alias: Alias,
    pub(crate) status: betanet_naming::Status,
    pub(crate) held: Option<betanet_naming::Held>,
}

pub(crate) struct Names {
    setup: Arc<Setup>,
    instance: u64,
    gossip: Gossip,
    /// Bytes of the final records, by index.
    records: Vec<Bytes>,
    /// For records of the journal, while it is read.
    verifier: Option<Verifier>,
    pool: Pool,
    memory: Memory,
    signer: Option<Signer>,
    /// The records of the head that this signer signed last, from this index on.
    held: (u64, Vec<Bytes>),
    turns: Turns,
    /// Whether a proposal came since the newest head.
    asked: bool,
    /// Whether the records that wait are arranged behind the final ones, which a rebuilt state begins with.
    arranged: bool,
    /// Rotations that contradict others, of those that are journaled.
    rivals: usize,
    split: bool,
}

impl Names {
    /// The state of an empty ledger. `ledger` is one of this network.
    pub(crate) fn new(setup: Arc<Setup>, ledger: Ledger) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let instance = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut rng = Rng::new(&setup.seed.split(&format!("state {instance}")));
        let mut this = Self {
            instance,
            gossip: Gossip::new(ledger, &rng.seed()),
            records: Vec::new(),
            verifier: None,
            pool: Pool::default(),
            memory: Memory::default(),
            signer: None,
            held: (0, Vec::new()),
            turns: Turns::default(),
            asked: false,
            arranged: false,
            rivals: 0,
            split: false,
            setup,
        };
        this.recall();
        this
    }

    fn ledger(&self) -> &Ledger {
        self.gossip.ledger()
    }

    /// Gives the signer the memory that the records gave.
    fn recall(&mut self) {
        let identity = self.setup.signer.clone();
        self.signer = identity.map(|identity| Signer::new(identity, self.memory.clone()));
    }

    /// Takes the machine's events, journals what changed, and tells the facts.
    fn settle(&mut self, now: Now, out: &mut Vec<Record>) {
        let grew = self.events(out);
        self.journal_evidence(now, out);
        if grew {
            self.asked = false;
        }
        if grew || self.pool.expire(now.unix_ms) {
            self.refill(now);
        }
        let waits = !self.pool.is_empty() || self.asked;
        let size = self.ledger().final_size();
        self.turns.note(now.mono, size, waits);
        self.tell();
    }

    fn events(&mut self, out: &mut Vec<Record>) -> bool {
        let mut grew = false;
        while let Some(event) = self.gossip.poll_event() {
            match event {
                Event::Final { records, .. } => {
                    journaled::finals(out, &records);
                    self.records.extend(records);
                    grew = true;
                }
                Event::Head(head) => out.extend(journaled::head(&head)),
                Event::Split => tracing::error!("two views of the ledger exist: it takes nothing"),
                Event::Unproven { peer, head } => {
                    Counts::one(&self.setup.counts.unproven);
                    let size = head.head().size;
                    tracing::warn!(peer = %betanet_keys::Name::from(peer), size, "a head without proof");
                }
                Event::Fault { code, .. } => {
                    Counts::one(&self.setup.counts.faults);
                    tracing::debug!(%code, "a peer broke the rules of ALIAS_GOSSIP");
                }
            }
        }
        grew
    }

    fn journal_evidence(&mut self, now: Now, out: &mut Vec<Record>) {
        if !self.split
            && let Some(split) = self.ledger().split()
        {
            out.extend(journaled::split(split));
            self.split = true;
        }
        let rivals = self.ledger().rival_rotations();
        for rival in rivals.get(self.rivals..).unwrap_or_default() {
            out.extend(journaled::rival(now.unix_ms, rival));
        }
        self.rivals = rivals.len();
    }

    /// Arranges the records that wait anew, and forgets those that no longer count.
    fn refill(&mut self, now: Now) {
        let waiting = self.pool.all();
        let taken = self.gossip.propose(now.unix_ms, &waiting);
        let gone =
            |taken: &Result<_, Reject>| !matches!(taken, Ok(_) | Err(Reject::Full | Reject::Split));
        let gone: Vec<bool> = taken.iter().map(gone).collect();
        self.pool.remove(&gone);
    }

    fn tell(&self) {
        let ledger = self.ledger();
        let bytes = |signers: Option<&Signers>| -> Vec<[u8; 32]> {
            let keys = signers.map(Signers::keys).unwrap_or_default();
            keys.iter().map(|k| *k.as_bytes()).collect()
        };
        let facts = Facts {
            instance: self.instance,
            size: ledger.final_size(),
            head_ms: ledger.head().map(|h| h.head().ts),
            aliases: ledger.names() as u64,
            rivals: (ledger.rivals().len() + ledger.rival_rotations().len()) as u64,
            split: ledger.split().is_some(),
            pool: self.pool.len(),
            pooled: self.pool.last(),
            signers: bytes(ledger.signers()),
            fixed: bytes(ledger.signers_at(ledger.final_size())),
            maintainers: ledger.maintainers().to_vec(),
        };
        self.setup.facts.send_if_modified(|old| {
            let changed = *old != facts;
            if changed {
                *old = facts;
            }
            changed
        });
    }

    /// Runs the gossip, and reads records for it.
    fn gossip(&mut self, now: Now, inputs: Vec<Input>) -> Vec<Transmit> {
        for input in inputs {
            if let Err(error) = self.gossip.handle_input(now, input) {
                tracing::debug!(%error, "an input of the gossip is lost");
            }
        }
        self.gossip.handle_timeout(now);
        let mut out = Vec::new();
        while let Some(transmit) = self.gossip.poll_transmit() {
            match transmit {
                Transmit::Load { exchange, from, n } => {
                    let records = self.range(from, n).to_vec();
                    let loaded = Input::Loaded { exchange, records };
                    if let Err(error) = self.gossip.handle_input(now, loaded) {
                        tracing::debug!(%error, "an input of the gossip is lost");
                    }
                }
                other => out.push(other),
            }
        }
        out
    }

    fn range(&self, from: u64, n: u64) -> &[Bytes] {
        let at = |n: u64| {
            usize::try_from(n)
                .unwrap_or(usize::MAX)
                .min(self.records.len())
        };
        self.records
            .get(at(from)..at(from.saturating_add(n)))
            .unwrap_or_default()
    }

    fn submit(&mut self, now: Now, record: Verified, out: &mut Vec<Record>) -> Result<u64, Reject> {
        if let Some(index) = self.pool.position(record.bytes()) {
            return Ok(self.ledger().final_size() + index as u64);
        }
        if !self.pool.has_room(record.bytes().len()) {
            return Err(Reject::Full);
        }
        let (index, _) = self.gossip.submit(now.unix_ms, &record)?;
        out.extend(journaled::pooled(now.unix_ms, record.bytes()));
        self.pool.push(now.unix_ms, record);
        Ok(index)
    }
}

impl State for Names {
    type Request = Ask;
    type Answer = Answer;

    fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
        let applied = self.apply_journaled(record);
        self.tell();
        applied
    }

    fn decide(&mut self, now: Now, request: Ask, out: &mut Vec<Record>) -> Answer {
        if !std::mem::replace(&mut self.arranged, true) {
            self.refill(now);
        }
        let answer = match request {
            Ask::Gossip(inputs) => {
                let transmits = self.gossip(now, inputs);
                let wake = self.gossip.poll_timeout().map(|w| w.at - now.mono);
                Answer::Gossip(self.instance, transmits, wake)
            }
            Ask::Turn => Answer::Turn(self.turn(now)),
            Ask::Submit(record) => Answer::Submitted(self.submit(now, record, out)),
            Ask::Head(head) => Answer::Head(self.take_head(now, head)),
            Ask::Alias(alias) => Answer::Body(Some(self.alias(now.unix_ms, &alias))),
            Ask::History(alias) => Answer::Body(Some(self.history(now.unix_ms, &alias))),
            Ask::Registry(ty) => Answer::Body(Some(self.registry(now.unix_ms, &ty))),
            Ask::Registered(ty, key) => Answer::Body(Some(self.registered(now.unix_ms, &ty, &key))),
            Ask::Newest => Answer::Body(Some(self.newest(now.unix_ms))),
            Ask::Entries(from, n) => Answer::Body(self.entries(from, n)),
            Ask::Consistency(from) => Answer::Body(self.consistency(from)),
            Ask::Names(after, n) => Answer::Names(self.names(now.unix_ms, after, n)),
            Ask::Pooled(after) => Answer::Pooled(self.pool.after(after, POOLED_MAX)),
            Ask::Propose(prefix) => Answer::Proposed(self.propose(now, &prefix).map(Box::new)),
            Ask::Cosign(proposal, records) => {
                Answer::Cosigned(self.cosign(now, &proposal, records, out).map_err(Box::new))
            }
            Ask::Finish(head) => Answer::Finished(self.finish(now, head, out)),
        };
        self.settle(now, out);
        answer
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        self.write_snapshot()
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        self.read_snapshot(parts)?;
        self.tell();
        Ok(())
    }
}
