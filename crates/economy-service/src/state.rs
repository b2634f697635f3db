//! The state behind the journal: the machine after all records, the machine under the final head, the log, and the head that is
//! being signed.

mod anchors;
mod back;
mod heads;
mod journaled;
mod snapshot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use betanet_durable::{Now, State, Unreadable};
use betanet_journal::Record as Journaled;
use betanet_keys::{Identity, hash};
use betanet_log::{Hash, Log, Memory, Signature, SignedHead, Signers};
use betanet_machine::Time;
use betanet_tokenomics::journal::{AnswerBody, Record};
use betanet_tokenomics::{CheckedKeys, Code, Economy, Envelope, Genesis, Verified};
use betanet_wire::cbor;
use tokio::sync::watch;

use crate::body::{ANSWER_MAX, LIST_MAX, RecordBody, StateBody, hashes};
use crate::view::View;

pub(crate) use anchors::AnchorFault;
pub(crate) use back::Standing;
pub(crate) use heads::{Fault, Taken};

/// Ticks of one request to the state, each with at most 256 events.
const TICKS: usize = 16;
/// A record's time and a signer's clock differ by at most this, in ms.
pub(crate) const SKEW_MS: u64 = 600_000;

/// Parts of a state that its records do not hold.
pub(crate) struct Setup {
    pub(crate) genesis: Genesis,
    /// Keys with which this node signs heads, where the ledger lists them.
    pub(crate) signers: Vec<Identity>,
    pub(crate) facts: watch::Sender<Facts>,
}

/// Facts of a state, for those that wait for a change and for metrics.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Facts {
    pub(crate) records: u64,
    /// Time of the last record.
    pub(crate) ts: u64,
    /// Number of records under the final head, and the head's time.
    pub(crate) final_size: u64,
    pub(crate) final_ms: u64,
    /// Time of the first record that no final head covers, 0 without one.
    pub(crate) waiting_ms: u64,
    /// Size of the head that was proposed last.
    pub(crate) proposed: u64,
    /// When the next event is due, in UNIX ms.
    pub(crate) next_due: u64,
    pub(crate) epoch: u64,
    /// Signatures of the head that is not final yet, and those that it needs.
    pub(crate) signatures: u64,
    pub(crate) needed: u64,
}

/// A reader of the state; it hands on what it read by itself.
pub(crate) struct Look(pub(crate) Box<dyn FnOnce(&mut View<'_>) + Send>);

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

/// A request to the state.
#[derive(Debug)]
pub(crate) enum Ask {
    /// An envelope for the machine.
    Request(Vec<u8>),
    /// The same, once its signatures were checked.
    Checked(Vec<u8>, Box<Verified>),
    /// Let happen what is due.
    Tick,
    /// Propose a head, if there is something to sign.
    Propose,
    /// The head that waits for signatures.
    Proposal,
    /// Signatures of the head that waits.
    Sign(SignedHead),
    /// Records of the leader, for a signer that follows it.
    Follow(Vec<Vec<u8>>),
    /// What stands here, compared with the first so many records of the leader.
    Standing(u64),
    /// Drop the records from this number on: the leader has others.
    Drop(u64),
    /// All that the leader showed is here.
    Synced,
    /// Sign the leader's head.
    Cosign(SignedHead),
    /// A final head of the leader.
    Final(SignedHead),
    Head,
    Record(u64, u64),
    Consistency(u64, u64),
    State(u8, Vec<u8>),
    Journal(u64, u64),
    Supply,
    /// The registry record of an epoch's head, for maintainers whose list has this hash: the last one, or, if that is over, one of this
    /// epoch.
    Anchor {
        list: Hash,
        over: bool,
    },
    /// The leader's registry record of an epoch's head, which maintainers here would sign.
    Countersign(Vec<u8>),
    /// Compare a head that stands in the ledger of names with the records here.
    Agrees(SignedHead),
    /// Something that this process reads of the state.
    Look(Look),
    /// The same, also while another process leads the journal.
    Peek(Look),
}

/// An answer of the state.
#[derive(Debug)]
pub(crate) enum Answer {
    Answered(AnswerBody),
    /// A body; `None` where there is nothing.
    Body(Option<Vec<u8>>),
    Signed(Result<Vec<Signature>, Fault>),
    /// Number of records afterwards.
    Followed(Result<u64, Fault>),
    Standing(Standing),
    Final(Result<bool, Fault>),
    /// Signatures of the head that waits.
    Taken(Result<Taken, Fault>),
    /// Whether a head of the ledger of names is this ledger's.
    Anchored(Result<(), AnchorFault>),
    /// The last record is too far ahead of this node's clock.
    Ahead,
    Supply(Box<Supply>),
    Done,
}

/// Totals under the final head.
#[derive(Clone, Debug)]
pub(crate) struct Supply {
    pub(crate) economy: Facts,
    /// System accounts with their available FOG, units and credits.
    pub(crate) system: Vec<(&'static str, [u128; 3])>,
    /// µFOG that were issued, and that burned.
    pub(crate) issued: u128,
    pub(crate) burned: u128,
}

pub(crate) struct Books {
    setup: Arc<Setup>,
    /// After all records.
    economy: Economy,
    /// After the records under the final head.
    served: Economy,
    log: Log<Memory>,
    records: Vec<Vec<u8>>,
    /// The final head, and the set that signed it.
    head: Option<SignedHead>,
    signed_by: Option<Signers>,
    /// The signers of the next head: those in the state under the final head, at first those of the genesis.
    signers: Option<Signers>,
    /// The head that this node proposed or signed last.
    proposed: Option<SignedHead>,
    /// When it was proposed, if by this process.
    since: Option<Time>,
    /// Time of the first record that no final head covers, 0 without one.
    waiting: u64,
    /// Whether the journal names the genesis.
    anchored: bool,
    /// When a follower had all records of its leader, in UNIX ms.
    synced: Option<u64>,
    /// The newest registry record of a head that maintainers here have signed, or would.
    anchor: Option<Vec<u8>>,
    /// Keys of those who sent requests.
    keys: CheckedKeys,
}

impl Books {
    pub(crate) fn new(setup: Arc<Setup>, economy: Economy) -> Self {
        let mut this = Self {
            served: economy.clone(),
            log: Log::new(Memory::default()),
            records: Vec::new(),
            head: None,
            signed_by: None,
            signers: heads::listed(&economy),
            proposed: None,
            since: None,
            waiting: 0,
            anchored: false,
            synced: None,
            anchor: None,
            keys: CheckedKeys::default(),
            economy,
            setup,
        };
        let first = this.economy.first_record().to_bytes();
        this.note(first);
        this
    }

    /// Keeps a record's bytes and its leaf.
    fn note(&mut self, record: Vec<u8>) {
        if self.log.append(&record).is_err() {
            // Memory refuses only places that do not follow, and these do.
            tracing::error!("a record has no place in the log");
        }
        self.records.push(record);
        if self.records.len() as u64 == self.final_size() + 1 {
            self.waiting = self.first_open();
        }
    }

    /// Time of the first record that no final head covers.
    fn first_open(&self) -> u64 {
        let first = usize::try_from(self.final_size()).ok();
        let bytes = first.and_then(|n| self.records.get(n));
        bytes
            .and_then(|b| Record::from_bytes(b))
            .map_or(0, |r| r.ts)
    }

    fn final_size(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.head().size)
    }

    /// The leader's time, which never falls.
    fn clock(&self, now: Now) -> u64 {
        now.unix_ms.max(self.economy.time())
    }

    /// Whether the last record is too far ahead of the clock, as after a clock that jumped. Nothing more is built on it then.
    fn is_ahead(&self, now: Now) -> bool {
        self.economy.time() > now.unix_ms.saturating_add(SKEW_MS)
    }

    /// Checks the signatures of requests together. A request that fails here is checked again in its turn, because an earlier request
    /// may change its signer's key.
    fn check(&mut self, requests: &mut dyn Iterator<Item = &mut Ask>) {
        let (mut asks, mut envelopes) = (Vec::new(), Vec::new());
        for ask in requests {
            if let Ask::Request(bytes) = ask
                && let Some(envelope) = Envelope::from_bytes(bytes)
            {
                asks.push(ask);
                envelopes.push(envelope);
            }
        }
        let verified = self.economy.verify_all(envelopes, &mut self.keys);
        for (ask, verified) in asks.into_iter().zip(verified) {
            if let (Ask::Request(bytes), Ok(verified)) = (&mut *ask, verified) {
                *ask = Ask::Checked(std::mem::take(bytes), Box::new(verified));
            }
        }
    }

    fn request(
        &mut self,
        now: Now,
        (envelope, verified): (Vec<u8>, Option<Box<Verified>>),
        out: &mut Vec<Journaled>,
    ) -> Answer {
        if self.is_ahead(now) {
            return Answer::Ahead;
        }
        let ts = self.clock(now);
        let applied = match &verified {
            Some(verified) => {
                let req = verified.request().digest();
                (req, self.economy.apply_verified(ts, verified))
            }
            None => {
                let req = match Envelope::from_bytes(&envelope) {
                    Some(read) => read.request.digest(),
                    // What has no body that reads is named by all of its bytes.
                    None => hash(&[&envelope]),
                };
                (req, self.economy.apply(ts, &envelope))
            }
        };
        let (req, applied) = applied;
        match applied {
            Ok(answer) => {
                if answer.is_new() {
                    self.accept(ts, answer.seq, envelope, out);
                }
                Answer::Answered(AnswerBody { answer, req })
            }
            Err(error) => {
                tracing::error!(%error, "the clock of this node is not one");
                Answer::Body(None)
            }
        }
    }

    fn accept(&mut self, ts: u64, seq: u64, req: Vec<u8>, out: &mut Vec<Journaled>) {
        let record = Record { req, seq, ts }.to_bytes();
        out.extend(journaled::record(&record));
        self.note(record);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Journaled>) {
        if self.is_ahead(now) {
            return;
        }
        let ts = self.clock(now);
        for _ in 0..TICKS {
            match self.economy.tick(ts) {
                Ok(answer) if answer.code == Code::Ok => {
                    self.accept(ts, answer.seq, Vec::new(), out);
                }
                _ => return,
            }
        }
    }

    /// Records from number `after` on, one after the other.
    fn list(&self, after: u64, n: u64) -> Vec<u8> {
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let n = usize::try_from(n.min(LIST_MAX)).unwrap_or(usize::MAX);
        let mut all = Vec::new();
        for record in self.records.iter().skip(from).take(n) {
            if !all.is_empty() && all.len() + record.len() > ANSWER_MAX {
                break;
            }
            all.extend_from_slice(record);
        }
        all
    }

    fn record(&self, n: u64, size: u64) -> Option<Vec<u8>> {
        let record = self.records.get(usize::try_from(n).ok()?)?;
        let path = self.log.inclusion(n, size).ok()?;
        Some(cbor::to_vec(&RecordBody { record, path }))
    }

    fn supply(&self) -> Supply {
        let system = self.served.system_balances();
        let available = system.map(|(name, all)| (name, all.map(|c| c.available())));
        let fog = |name: &str| {
            let mut all = system.iter();
            all.find(|(n, _)| *n == name)
                .map_or((0, 0), |(_, [fog, ..])| (fog.debits, fog.credits))
        };
        Supply {
            economy: self.facts(),
            system: available.to_vec(),
            issued: fog("issuance").0,
            burned: fog("burn").1,
        }
    }

    fn view(&mut self) -> View<'_> {
        let covered = self.final_len();
        View {
            latest: &mut self.economy,
            covered: self.head.as_ref().map(|_| &self.served),
            head: self.head.as_ref(),
            records: &self.records,
            ahead: self.records.get(covered..).unwrap_or_default(),
        }
    }

    fn final_len(&self) -> usize {
        usize::try_from(self.final_size()).unwrap_or(usize::MAX)
    }

    fn facts(&self) -> Facts {
        let open = self.open_head();
        Facts {
            records: self.economy.records(),
            ts: self.economy.time(),
            final_size: self.final_size(),
            final_ms: self.head.as_ref().map_or(0, |h| h.head().ts),
            waiting_ms: self.waiting,
            proposed: self.proposed.as_ref().map_or(0, |h| h.head().size),
            next_due: self.economy.next_due(),
            epoch: self.economy.epoch(),
            signatures: open.map_or(0, |h| h.signatures().len() as u64),
            needed: self.signers().map_or(0, |s| s.threshold() as u64),
        }
    }

    fn tell(&self) {
        let facts = self.facts();
        self.setup.facts.send_if_modified(|old| {
            let changed = *old != facts;
            *old = facts;
            changed
        });
    }
}

impl State for Books {
    type Request = Ask;
    type Answer = Answer;

    fn apply(&mut self, record: &Journaled) -> Result<(), Unreadable> {
        let applied = self.apply_journaled(record);
        self.tell();
        applied
    }

    fn prepare(&mut self, requests: &mut dyn Iterator<Item = &mut Ask>) {
        self.check(requests);
    }

    fn decide(&mut self, now: Now, request: Ask, out: &mut Vec<Journaled>) -> Answer {
        if !std::mem::replace(&mut self.anchored, true) {
            out.extend(journaled::genesis(self.setup.genesis.id()));
        }
        let answer = match request {
            Ask::Request(envelope) => self.request(now, (envelope, None), out),
            Ask::Checked(envelope, of) => self.request(now, (envelope, Some(of)), out),
            Ask::Tick => {
                self.tick(now, out);
                Answer::Done
            }
            Ask::Propose => {
                self.propose(now, out);
                Answer::Done
            }
            Ask::Proposal => Answer::Body(self.open_head().map(SignedHead::to_bytes)),
            Ask::Sign(head) => Answer::Taken(self.take_signatures(&head, out)),
            Ask::Follow(records) => Answer::Followed(self.follow(now, records, out)),
            Ask::Standing(size) => Answer::Standing(self.standing(size)),
            Ask::Drop(size) => Answer::Followed(self.drop_from(size, out)),
            Ask::Synced => {
                self.synced = Some(now.unix_ms);
                Answer::Done
            }
            Ask::Cosign(head) => Answer::Signed(self.cosign(now, head, out)),
            Ask::Final(head) => Answer::Final(self.take_final(head, out)),
            Ask::Head => Answer::Body(self.head.as_ref().map(SignedHead::to_bytes)),
            Ask::Record(n, size) => Answer::Body(self.record(n, size)),
            Ask::Consistency(from, to) => {
                let proof = self.log.consistency(from, to);
                Answer::Body(proof.ok().map(|proof| hashes(&proof)))
            }
            Ask::State(table, key) => {
                let proof = self.head.is_some().then(|| self.served.prove(table, &key));
                Answer::Body(proof.map(|proof| cbor::to_vec(&StateBody(proof))))
            }
            Ask::Journal(after, n) => Answer::Body(Some(self.list(after, n))),
            Ask::Anchor { list, over } => Answer::Body(self.anchor(list, over, out)),
            Ask::Countersign(record) => Answer::Anchored(self.countersign(record, out)),
            Ask::Agrees(head) => Answer::Anchored(self.agrees(&head)),
            Ask::Supply => Answer::Supply(Box::new(self.supply())),
            Ask::Look(Look(look)) | Ask::Peek(Look(look)) => {
                look(&mut self.view());
                Answer::Done
            }
        };
        self.tell();
        answer
    }

    fn peek(&mut self, request: Ask) -> Option<Answer> {
        let Ask::Peek(Look(look)) = request else {
            return None;
        };
        look(&mut self.view());
        Some(Answer::Done)
    }

    fn snapshot(&self) -> Vec<Vec<u8>> {
        self.write_snapshot()
    }

    fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
        self.read_snapshot(&parts.concat()).ok_or(Unreadable)?;
        self.tell();
        Ok(())
    }
}
