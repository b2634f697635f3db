//! Exchanges that this node begins.

use alloc::vec::Vec;

use betanet_log::{Proof, SignedHead};
use betanet_machine::Now;
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;

use super::exchange::{Check, Exchange, Rank, Stage};
use super::{Done, Event, ExchangeId, Gossip, LONGEST, STALL, Transmit, UNSIGNED, Work};
use crate::fault::DOMAIN;
use crate::message::{ANSWER_FULL, Answer, Ask, Hello, RECORDS_MAX};
use crate::{Accepted, HeadFault, Verified};

/// Requests of one exchange. The rest comes with the next one.
const BATCHES_MAX: u32 = 1024;
/// Answers whose records are verified at once, while the next one comes.
const CHECKS_MAX: usize = 4;

/// Whether an exchange asks for nothing more: it has asked for much, or for half of its time.
fn is_over(now: Now, x: &Exchange) -> bool {
    // One under a head of unknown signers has no time to leave over.
    let half = x.rank.signed && x.longest <= now.mono + LONGEST / 2;
    x.batches >= BATCHES_MAX || half
}

impl Gossip {
    pub(super) fn begin(&mut self, now: Now, peer: NodeId) {
        // One at a time, in this direction.
        let mut own = self.exchanges.range(..super::PEERS_EXCHANGES);
        if own.any(|(_, x)| x.peer == peer) {
            return;
        }
        let exchange = self.next_id;
        self.next_id += 1;
        self.stats.asked += 1;
        let payer = ChargeTo::Node(peer);
        let x = Exchange::new(peer, payer, Stage::Hello, now.mono);
        self.exchanges.insert(exchange, x);
        let data = self.hello(self.ledger.head().cloned());
        self.transmit(
            now,
            Transmit::Open {
                exchange,
                peer,
                data,
            },
        );
    }

    pub(super) fn hello(&self, head: Option<SignedHead>) -> Bytes {
        let split = self.ledger.split().cloned();
        Hello { head, split }.to_bytes()
    }

    /// Ends an exchange in order.
    fn finish(&mut self, now: Now, id: ExchangeId) {
        let (data, fin) = (Bytes::new(), true);
        let exchange = id;
        self.transmit(
            now,
            Transmit::Send {
                exchange,
                data,
                fin,
            },
        );
        self.end(id);
    }

    fn set(&mut self, id: ExchangeId, stage: Stage) {
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.stage = stage;
        }
    }

    fn ask(&mut self, now: Now, id: ExchangeId, ask: Ask) {
        let (data, fin) = (ask.to_bytes(), false);
        let exchange = id;
        self.transmit(
            now,
            Transmit::Send {
                exchange,
                data,
                fin,
            },
        );
    }

    /// Evidence that a peer gives. Evidence of what is not known here is no fault.
    pub(super) fn take_evidence(&mut self, now: Now, hello: &mut Hello) -> Result<(), HeadFault> {
        let Some(split) = hello.split.take() else {
            return Ok(());
        };
        if self.ledger.split().is_some() {
            return Ok(());
        }
        match self.change(now, &[], |ledger| ledger.accuse(split)) {
            Ok(()) | Err(HeadFault::UnknownSet) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Compares a head that this ledger has the records of. Most heads of peers are known: they cost no verification.
    pub(super) fn compare(&mut self, now: Now, head: SignedHead) -> Result<(), HeadFault> {
        let ours = self.ledger.log().root_at(head.head().size);
        let known = ours.is_ok_and(|root| root == head.head().root);
        if known || self.ledger.split().is_some() {
            return Ok(());
        }
        match self.change(now, &[], |ledger| ledger.accept(head)) {
            Ok(_) | Err(HeadFault::UnknownSet) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn greeted(&mut self, now: Now, id: ExchangeId, cbor: &[u8]) {
        let Ok(mut hello) = Hello::from_cbor(cbor) else {
            return self.fault(now, id, Code::MALFORMED_FRAME);
        };
        if let Err(fault) = self.take_evidence(now, &mut hello) {
            return self.fault(now, id, fault.code());
        }
        let Some(head) = hello.head else {
            return self.finish(now, id);
        };
        if head.head().size <= self.ledger.final_size() {
            return match self.compare(now, head.clone()) {
                Ok(()) => self.finish(now, id),
                Err(HeadFault::Proof) => self.unproven(now, id, head),
                Err(fault) => self.fault(now, id, fault.code()),
            };
        }
        if self.ledger.split().is_some() {
            return self.finish(now, id);
        }
        // Before the head holds a place: a head that nobody signed costs nothing to make.
        let set = self.ledger.signers_named(&head.head().set);
        let checked = set.map(|set| head.check(DOMAIN, set));
        if let Some(Err(error)) = checked {
            return self.fault(now, id, HeadFault::from(error).code());
        }
        let known = checked.is_some();
        if !self.takes_place(now, id, known) {
            return self.finish(now, id);
        }
        let newest = self.ledger.head().map(|h| h.head().size);
        match newest {
            // First the proof: it tells another view before any record is fetched.
            Some(from) if known => {
                self.set(id, Stage::Link(head));
                self.ask(now, id, Ask { from, n: 0 });
            }
            _ => self.fetch(now, id, head),
        }
    }

    /// Whether an exchange gets the one place of those that bring records. Signed heads go before others, and named peers before
    /// strangers, who could hold the place by being slow.
    fn takes_place(&mut self, now: Now, id: ExchangeId, signed: bool) -> bool {
        let Some(peer) = self.exchanges.get(&id).map(|x| x.peer) else {
            return false;
        };
        let named = self.named.contains(&peer);
        let rank = Rank { signed, named };
        if let Some(other) = self.syncing {
            if self.exchanges.get(&other).is_some_and(|x| x.rank >= rank) {
                return false;
            }
            self.finish(now, other);
        }
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.rank = rank;
            if !signed {
                x.longest = x.longest.min(now.mono + UNSIGNED);
            }
        }
        self.syncing = Some(id);
        true
    }

    fn fetch(&mut self, now: Now, id: ExchangeId, head: SignedHead) {
        // Records that wait belong to this head, or to nobody: `Ledger::extend` drops them then.
        let from = self.ledger.next_under(&head);
        if from >= head.head().size {
            // The ledger went on by another way meanwhile.
            return self.finish(now, id);
        }
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.next = from;
        }
        self.fetch_more(now, id, head);
    }

    /// Asks for the next records, unless enough of them are being verified.
    fn fetch_more(&mut self, now: Now, id: ExchangeId, head: SignedHead) {
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let from = x.next;
        let n = head.head().size.saturating_sub(from).min(RECORDS_MAX);
        if n == 0 || x.checks.len() >= CHECKS_MAX || is_over(now, x) {
            x.stage = Stage::Checking(head);
            return;
        }
        x.batches += 1;
        x.stage = Stage::Records(head);
        self.ask(now, id, Ask { from, n });
    }

    pub(super) fn connected(&mut self, now: Now, id: ExchangeId, cbor: &[u8], head: &SignedHead) {
        let Ok(answer) = Answer::from_cbor(cbor) else {
            return self.fault(now, id, Code::MALFORMED_FRAME);
        };
        let ours = self.ledger.head().map_or([0; 32], |h| h.head().root);
        let link = answer.into_link(ours);
        match self.change(now, &[], |ledger| ledger.connect(head, link)) {
            Ok(Accepted::Extends) => self.fetch(now, id, head.clone()),
            Ok(_) => self.finish(now, id),
            Err(HeadFault::Proof) => self.unproven(now, id, head.clone()),
            Err(fault) => self.fault(now, id, fault.code()),
        }
    }

    pub(super) fn answered(&mut self, now: Now, id: ExchangeId, cbor: &[u8], head: SignedHead) {
        let Ok(answer) = Answer::from_cbor(cbor) else {
            return self.fault(now, id, Code::MALFORMED_FRAME);
        };
        let from = self.exchanges.get(&id).map_or(0, |x| x.next);
        let wanted = head.head().size.saturating_sub(from).min(RECORDS_MAX);
        let bytes: usize = answer.records.iter().map(Bytes::len).sum();
        let n = answer.records.len() as u64;
        let full = n > 0 && bytes >= ANSWER_FULL;
        if n > wanted || (n < wanted && !full) {
            return self.fault(now, id, Code::POLICY_REJECTED);
        }
        let Some(signers) = self.ledger.signers().cloned() else {
            return self.end(id);
        };
        let Answer { records, proof, .. } = answer;
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.next = from + n;
            let done = None;
            x.checks.push_back(Check { from, proof, done });
        }
        let work = Work {
            exchange: id,
            from,
            records,
            signers,
        };
        self.transmit(now, Transmit::Check(work));
        self.fetch_more(now, id, head);
    }

    pub(super) fn checked(&mut self, now: Now, done: Done) {
        let id = done.exchange;
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let (Stage::Checking(head) | Stage::Records(head)) = x.stage.clone() else {
            return;
        };
        let of_this = |c: &&mut Check| c.from == done.from && c.done.is_none();
        let Some(check) = x.checks.iter_mut().find(of_this) else {
            return;
        };
        check.done = Some(done.records);
        x.until = now.mono + STALL;
        // Records count in their order, whichever were verified first.
        while let Some((from, records, proof)) = self.next_checked(id) {
            if self.ledger.next_under(&head) != from {
                // The ledger went on by another way meanwhile.
                return self.begin_anew(now, id);
            }
            let taken = self.change(now, &records, |ledger| {
                ledger.extend(&records, &head, &proof)
            });
            match taken {
                Ok(_) => {}
                Err(
                    HeadFault::Proof
                    | HeadFault::UnknownSet
                    | HeadFault::WrongSet
                    | HeadFault::TooFar,
                ) => return self.unproven(now, id, head),
                Err(fault) => return self.fault(now, id, fault.code()),
            }
        }
        let Some(x) = self.exchanges.get(&id) else {
            return;
        };
        let all = self.ledger.size() >= head.head().size;
        let asks = matches!(x.stage, Stage::Records(_));
        if all || (x.checks.is_empty() && !asks && is_over(now, x)) {
            // There may be more, under this head or under other signers.
            self.begin_anew(now, id);
        } else if !asks {
            self.fetch_more(now, id, head);
        }
    }

    /// Ends an exchange in order, and begins another one with its peer at once.
    fn begin_anew(&mut self, now: Now, id: ExchangeId) {
        let peer = self.exchanges.get(&id).map(|x| x.peer);
        self.finish(now, id);
        if let Some(peer) = peer {
            self.again(now, peer);
        }
    }

    /// The first records of an exchange that did not count yet, if they are verified.
    fn next_checked(&mut self, id: ExchangeId) -> Option<(u64, Vec<Verified>, Proof)> {
        let checks = &mut self.exchanges.get_mut(&id)?.checks;
        let records = checks.front_mut()?.done.take()?;
        let Check { from, proof, .. } = checks.pop_front()?;
        Some((from, records, proof))
    }

    /// A head that is not proven is told and not accepted: only evidence stops the ledger, or any peer could.
    fn unproven(&mut self, now: Now, id: ExchangeId, head: SignedHead) {
        if let Some(peer) = self.exchanges.get(&id).map(|x| x.peer) {
            self.tell(now, Event::Unproven { peer, head });
        }
        self.fault(now, id, Code::POLICY_REJECTED);
    }
}
