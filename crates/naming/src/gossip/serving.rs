//! Exchanges that peers begin, and what each peer may use.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_log::SignedHead;
use betanet_machine::{Now, Time};
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;

use super::exchange::{Exchange, Stage};
use super::{ExchangeId, Gossip, PEERS_EXCHANGES, PEERS_MAX, STALL, Transmit};
use crate::message::{ANSWER_FULL, Answer, Ask, Hello};

/// Most exchanges that strangers open: in all, and of one address. Named peers have places of their own.
const SERVED_MAX: usize = 64;
const SERVED_OF_ADDRESS: usize = 8;
/// Most exchanges that one peer opens.
const SERVED_OF_ONE: usize = 2;
/// Requests of one payer at once, and per second. Further ones are answered later.
const ASKS_AT_ONCE: u64 = 256;
const ASKS_A_SECOND: u64 = 128;
/// Exchanges of one payer at once. One more is allowed every four seconds.
const OPENS_AT_ONCE: u64 = 16;
const OPEN_COSTS: u64 = 4_000_000;
/// One request, in the unit of the count.
const ONE: u64 = 1_000_000;

/// A peer that this node gossips with.
#[derive(Clone, Debug, Hash)]
pub(super) struct Peer {
    next: Option<Time>,
    /// Nothing begins before.
    rests: Time,
}

impl Peer {
    pub(super) const fn new(now: Time) -> Self {
        Self {
            next: None,
            rests: now,
        }
    }

    pub(super) fn link(&mut self, next: Time) {
        self.next = Some(next.max(self.rests));
    }

    /// Begins nothing with the peer for a while.
    pub(super) fn rest(&mut self, until: Time) {
        self.rests = until;
        self.next = self.next.map(|at| at.max(until));
    }

    pub(super) const fn unlink(&mut self) {
        self.next = None;
    }

    pub(super) fn hasten(&mut self, next: Time) {
        self.next = self.next.map(|at| at.min(next).max(self.rests));
    }

    pub(super) const fn due(&self) -> Option<Time> {
        self.next
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.next.is_some_and(|at| at <= now)
    }
}

/// Exchanges and requests that a party may still make: identities are free, so strangers are charged by their address.
#[derive(Clone, Debug, Hash)]
pub(super) struct Payer {
    /// In millionths of a request.
    asks: u64,
    /// In microseconds.
    opens: u64,
    since: Time,
}

impl Payer {
    const fn new(now: Time) -> Self {
        Self {
            asks: ASKS_AT_ONCE * ONE,
            opens: OPENS_AT_ONCE * OPEN_COSTS,
            since: now,
        }
    }

    fn refill(&mut self, now: Time) {
        let micros = u64::try_from((now - self.since).as_micros()).unwrap_or(u64::MAX);
        self.since = now;
        let asks = self
            .asks
            .saturating_add(micros.saturating_mul(ASKS_A_SECOND));
        self.asks = asks.min(ASKS_AT_ONCE * ONE);
        let opens = self.opens.saturating_add(micros);
        self.opens = opens.min(OPENS_AT_ONCE * OPEN_COSTS);
    }

    /// Whether it has all that it can have: it need not be remembered.
    fn is_full(&self, now: Time) -> bool {
        let mut then = self.clone();
        then.refill(now);
        (then.asks, then.opens) == (ASKS_AT_ONCE * ONE, OPENS_AT_ONCE * OPEN_COSTS)
    }

    fn may_open(&mut self, now: Time) -> bool {
        self.refill(now);
        let left = self.opens.checked_sub(OPEN_COSTS);
        self.opens = left.unwrap_or(self.opens);
        left.is_some()
    }

    /// Takes one request, or tells when there will be one.
    fn may_ask(&mut self, now: Time) -> Result<(), Time> {
        self.refill(now);
        let Some(left) = self.asks.checked_sub(ONE) else {
            let micros = (ONE - self.asks).div_ceil(ASKS_A_SECOND);
            return Err(now + Duration::from_micros(micros));
        };
        self.asks = left;
        Ok(())
    }
}

impl Gossip {
    pub(super) fn opened(
        &mut self,
        now: Now,
        exchange: ExchangeId,
        peer: NodeId,
        charge: ChargeTo,
    ) {
        let named = self.named.contains(&peer);
        let payer = if named { ChargeTo::Node(peer) } else { charge };
        let allowed = exchange >= PEERS_EXCHANGES
            && !self.exchanges.contains_key(&exchange)
            && self.has_place(peer, payer, named)
            && self.has_room()
            && self
                .payers
                .entry(payer)
                .or_insert_with(|| Payer::new(now.mono))
                .may_open(now.mono);
        if !allowed {
            self.stats.refused += 1;
            let code = Code::POLICY_REJECTED;
            return self.transmit(now, Transmit::Abort { exchange, code });
        }
        let x = Exchange::new(peer, payer, Stage::ServeHello, now.mono);
        self.exchanges.insert(exchange, x);
    }

    /// Whether one more exchange of a peer, and its payer, have places.
    fn has_place(&self, peer: NodeId, payer: ChargeTo, named: bool) -> bool {
        let (mut strangers, mut of_payer, mut own) = (0, 0, 0);
        for x in self.exchanges.range(PEERS_EXCHANGES..).map(|(_, x)| x) {
            strangers += usize::from(!self.named.contains(&x.peer));
            of_payer += usize::from(x.payer == payer);
            own += usize::from(x.peer == peer);
        }
        let strange =
            |payer: &&ChargeTo| !matches!(payer, ChargeTo::Node(node) if self.named.contains(node));
        let known = self.payers.contains_key(&payer);
        let room = known || self.payers.keys().filter(strange).count() < PEERS_MAX;
        let place = strangers < SERVED_MAX && of_payer < SERVED_OF_ADDRESS && room;
        own < SERVED_OF_ONE && (named || place)
    }

    /// Forgets peers without a session that do not rest, and payers that used nothing for a while.
    pub(super) fn forget_peers(&mut self, now: Now) {
        let exchanges = &self.exchanges;
        self.peers.retain(|node, peer| {
            let busy = || exchanges.values().any(|x| x.peer == *node);
            peer.next.is_some() || peer.rests > now.mono || busy()
        });
        self.payers.retain(|payer, left| {
            let busy = || exchanges.values().any(|x| x.payer == *payer);
            !left.is_full(now.mono) || busy()
        });
    }

    pub(super) fn serve_hello(&mut self, now: Now, id: ExchangeId, cbor: &[u8]) {
        let Ok(mut hello) = Hello::from_cbor(cbor) else {
            return self.fault(now, id, Code::MALFORMED_FRAME);
        };
        if let Err(fault) = self.take_evidence(now, &mut hello) {
            return self.fault(now, id, fault.code());
        }
        let size = hello.head.as_ref().map_or(0, |h| h.head().size);
        if let Some(head) = hello.head {
            if size > self.ledger.final_size() {
                self.hasten(now, id);
            } else if let Err(fault) = self.compare(now, head) {
                return self.fault(now, id, fault.code());
            }
        }
        self.stats.served += 1;
        let served = self.ledger.head_for(size).cloned();
        let (data, fin) = (self.hello(served.clone()), false);
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.stage = Stage::Serve(served);
        }
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

    /// Asks the peer of an exchange at once: it has more.
    fn hasten(&mut self, now: Now, id: ExchangeId) {
        let peer = self.exchanges.get(&id).map(|x| x.peer);
        if let Some(peer) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            peer.hasten(now.mono);
        }
    }

    /// Asks a peer again soon after an exchange that brought records.
    pub(super) fn again(&mut self, now: Now, peer: NodeId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.hasten(now.mono);
        }
    }

    pub(super) fn serve_ask(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
        head: Option<SignedHead>,
    ) {
        let Ok(ask) = Ask::from_cbor(cbor) else {
            return self.fault(now, id, Code::MALFORMED_FRAME);
        };
        let end = ask.from.checked_add(ask.n);
        let within = |head: &SignedHead| end.is_some_and(|end| end <= head.head().size);
        let Some(head) = head.filter(within) else {
            return self.fault(now, id, Code::POLICY_REJECTED);
        };
        self.answer(now, id, head, ask);
    }

    /// Answers a request, or puts it off while its peer has asked for too much.
    fn answer(&mut self, now: Now, id: ExchangeId, head: SignedHead, ask: Ask) {
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Some(payer) = self.payers.get_mut(&x.payer) else {
            return self.end(id);
        };
        if let Err(at) = payer.may_ask(now.mono) {
            x.stage = Stage::Paced { head, ask, at };
            return;
        }
        let Ask { from, n } = ask;
        x.stage = Stage::Loading { head, from };
        if n == 0 {
            return self.loaded(now, id, Vec::new());
        }
        let exchange = id;
        self.transmit(now, Transmit::Load { exchange, from, n });
    }

    /// Answers the requests that were put off until now.
    pub(super) fn resume(&mut self, now: Now) {
        let due = |(id, x): (&ExchangeId, &Exchange)| match &x.stage {
            Stage::Paced { head, ask, at } if *at <= now.mono => Some((*id, head.clone(), *ask)),
            _ => None,
        };
        let due: Vec<_> = self.exchanges.iter().filter_map(due).collect();
        for (id, head, ask) in due {
            if self.has_room() {
                self.answer(now, id, head, ask);
            }
        }
    }

    pub(super) fn loaded(&mut self, now: Now, id: ExchangeId, mut records: Vec<Bytes>) {
        let Some(x) = self.exchanges.get_mut(&id) else {
            return;
        };
        let Stage::Loading { head, from } = x.stage.clone() else {
            return;
        };
        let mut bytes = 0;
        let taken = records.iter().take_while(|record| {
            let room = bytes < ANSWER_FULL;
            bytes += record.len();
            room
        });
        let taken = taken.count();
        records.truncate(taken);
        let (log, to) = (self.ledger.log(), head.head().size);
        let end = from + records.len() as u64;
        let made = log.root_at(from).and_then(|root| {
            let proof = log.consistency(end, to)?;
            Ok((root, proof))
        });
        let Ok((root, proof)) = made else {
            return self.end(id);
        };
        self.stats.records_out += records.len() as u64;
        let root = Some(root);
        let answer = Answer {
            records,
            root,
            proof,
        };
        let (data, exchange, fin) = (answer.to_bytes(), id, x.last);
        x.stage = Stage::Serve(Some(head));
        x.until = now.mono + STALL;
        self.transmit(
            now,
            Transmit::Send {
                exchange,
                data,
                fin,
            },
        );
        if fin {
            self.end(id);
        }
    }
}
