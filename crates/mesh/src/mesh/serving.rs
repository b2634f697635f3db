//! Exchanges that peers begin.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use betanet_machine::Now;
use betanet_wire::{Code, NodeId};

use super::{
    Away, EXCHANGE_MAX, Exchange, ExchangeId, Mesh, PEERS_EXCHANGES, SERVED_MAX, SERVED_OF_ONE,
    Stage, Transmit, kind,
};
use crate::message::{self, DISCOVER_MAX, GOSSIP_MAX, Have, MessageError};
use crate::{Entry, Prefix, Record, Role, Teller};

impl Mesh {
    pub(super) fn opened(
        &mut self,
        now: Now,
        exchange: ExchangeId,
        kind: u8,
        peer: NodeId,
        from: Option<IpAddr>,
    ) {
        let refused = |this: &mut Self, code| {
            this.stats.refused += 1;
            this.transmit(now, Transmit::Abort { exchange, code });
        };
        let seed = self.draft.as_ref().is_some_and(|d| d.roles.has(Role::Seed));
        let stage = match kind {
            kind::DISCOVER if seed => Stage::ServeList,
            kind::DISCOVER => return refused(self, Code::POLICY_REJECTED),
            kind::GOSSIP => Stage::ServeAsk,
            _ => return refused(self, Code::UNSUPPORTED_FEATURE),
        };
        let served = self.exchanges.range(PEERS_EXCHANGES..);
        let (all, own) = served.fold((0, 0), |(all, own), (_, x)| {
            (all + 1, own + usize::from(x.peer == peer))
        });
        let too_many = all >= SERVED_MAX || own >= SERVED_OF_ONE;
        if too_many || self.table.is_banned(peer) || !self.may_ask(now, peer) {
            return refused(self, Code::POLICY_REJECTED);
        }
        // Who comes over relays has no address: all of them are one teller's neighbours.
        let ip = from.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let teller = Teller {
            node: peer,
            from: Prefix::wide(ip),
            seed: false,
        };
        self.exchanges.insert(
            exchange,
            Exchange {
                link: None,
                peer,
                teller,
                stage,
                buffer: Vec::new(),
                until: now.mono + EXCHANGE_MAX,
            },
        );
    }

    /// Whether a peer stays within its exchanges per minute. Under very many requests, only tested peers are answered.
    fn may_ask(&mut self, now: Now, peer: NodeId) -> bool {
        let seed = self.draft.as_ref().is_some_and(|d| d.roles.has(Role::Seed));
        let refill = if seed {
            SERVED_BY_SEED
        } else {
            SERVED_A_SECOND
        };
        let micros = u64::try_from((now.mono - self.serves.1).as_micros()).unwrap_or(u64::MAX);
        let level = self.serves.0.saturating_add(micros.saturating_mul(refill));
        let level = level.min(SERVED_AT_ONCE * ONE);
        let reached = self.table.passable(peer).is_some();
        if level < ONE && !reached {
            return false;
        }
        self.serves = (level.saturating_sub(ONE), now.mono);
        if self.askers.len() >= ASKERS_MAX && !self.askers.contains_key(&peer) {
            self.askers
                .retain(|_, (since, _)| *since + MINUTE > now.mono);
            if self.askers.len() >= ASKERS_MAX {
                return false;
            }
        }
        let (since, asked) = self.askers.entry(peer).or_insert((now.mono, 0));
        if *since + MINUTE <= now.mono {
            (*since, *asked) = (now.mono, 0);
        }
        *asked += 1;
        let (least, _) = self.policy.gossip_every;
        let on_link = MINUTE.as_millis() / least.as_millis().max(1);
        u128::from(*asked) <= ASKED_OF_ONE + on_link
    }

    fn send(&mut self, now: Now, exchange: ExchangeId, data: bytes::Bytes) {
        let fin = true;
        self.transmit(
            now,
            Transmit::Send {
                exchange,
                data,
                fin,
            },
        );
    }

    pub(super) fn serve_list(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
    ) -> Result<(), MessageError> {
        let (n, roles) = message::read_discover(cbor)?;
        self.stats.served += 1;
        let n = usize::try_from(n.min(DISCOVER_MAX)).unwrap_or(0);
        let asker = self.exchanges.get(&id).map(|x| x.peer);
        let fits = |r: &&Record| {
            r.roles().covers(roles) && r.exp() > now.unix_ms && Some(r.node()) != asker
        };
        let tested = self
            .table
            .iter()
            .filter(|e| e.tested().is_some())
            .map(|e| e.record());
        let all: Vec<Record> = tested
            .chain(self.table.own())
            .filter(fits)
            .cloned()
            .collect();
        let records: Vec<Record> = self.sample(all, n);
        self.stats.records_out += records.len() as u64;
        let list = message::list(&self.identity, now.unix_ms, &records);
        self.finish_serving(id);
        self.send(now, id, list);
        Ok(())
    }

    /// Chooses `n` of the records at random.
    fn sample(&mut self, mut all: Vec<Record>, n: usize) -> Vec<Record> {
        let n = n.min(all.len());
        for i in 0..n {
            let j = i + usize::try_from(self.rng.below((all.len() - i) as u64)).unwrap_or(0);
            all.swap(i, j);
        }
        all.truncate(n);
        all
    }

    pub(super) fn serve_ask(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
    ) -> Result<(), MessageError> {
        let have = message::read_ask(cbor)?;
        self.stats.served += 1;
        let crowded = self
            .exchanges
            .get(&id)
            .is_none_or(|x| self.table.is_crowded(&x.teller));
        let (records, want) = self.compare(now, &have, crowded);
        self.stats.records_out += records.len() as u64;
        match self.exchanges.get_mut(&id) {
            Some(x) if !want.is_empty() => x.stage = Stage::ServeLast,
            _ => self.finish_serving(id),
        }
        let answer = message::answer(&records, want);
        self.send(now, id, answer);
        Ok(())
    }

    /// Ends an exchange: further bytes of the peer are ignored.
    fn finish_serving(&mut self, id: ExchangeId) {
        self.exchanges.remove(&id);
    }

    pub(super) fn served_last(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
    ) -> Result<(), MessageError> {
        let envelopes = message::read_last(cbor)?;
        if let Some(x) = self.exchanges.remove(&id) {
            let away = Away {
                teller: x.teller,
                lookup: None,
                seed: false,
            };
            self.check(now, envelopes, away);
        }
        Ok(())
    }

    /// Compares an asker's list with the table: the records for the asker, and the nodes whose records this node wants.
    fn compare(&mut self, now: Now, have: &[Have], crowded: bool) -> (Vec<Record>, Vec<NodeId>) {
        let mut give: Vec<Record> = Vec::new();
        let mut want = Vec::new();
        let mut doubted = Vec::new();
        let new_max = if crowded { WANTED_CROWDED } else { GOSSIP_MAX };
        let mut new = 0;
        for h in have.iter().filter(|h| h.seq > 0) {
            if let Some(evidence) = self.table.evidence(h.node) {
                if h.seq <= evidence.first.seq() {
                    give.extend([evidence.first.clone(), evidence.second.clone()]);
                } else {
                    // A later record, which would end the exclusion, or the same evidence.
                    want.push(h.node);
                }
                continue;
            }
            let entry = self.table.get(h.node);
            let own = self.table.own().filter(|_| h.node == self.own);
            match entry.map(Entry::record).or(own).map(Record::seq) {
                None if new < new_max && self.table.would_take(now.mono, h.node) => {
                    new += 1;
                    want.push(h.node);
                }
                None => {}
                Some(seq) if seq < h.seq => want.push(h.node),
                Some(seq) if seq > h.seq => give.extend(self.table.passable(h.node).cloned()),
                Some(_) if entry.is_some() => doubted.push(h.node),
                Some(_) => {}
            }
        }
        // A record that both sides have is compared once in a while: its issuer may have told them different things.
        if let Some(n) = u64::try_from(doubted.len()).ok().filter(|n| *n > 0)
            && self.rng.below(AUDIT_ONE_IN) == 0
            && let Some(node) = doubted.get(usize::try_from(self.rng.below(n)).unwrap_or(0))
        {
            want.push(*node);
        }
        let mut named: Vec<NodeId> = have.iter().map(|h| h.node).collect();
        named.sort_unstable();
        if let Some((lo, hi)) = range_of(have) {
            self.give_range(now, lo, hi, &named, &mut give);
        } else if have.len() < GOSSIP_MAX {
            // A short list without bounds is all that the asker has: it gets what comes after some random place.
            let start = NodeId(self.rng.array());
            let before = give.len();
            self.give_range(now, start, NodeId([255; 20]), &named, &mut give);
            self.give_range(now, NodeId([0; 20]), start, &named, &mut give);
            give.truncate(before + GIVEN_UNASKED);
        }
        give.truncate(GOSSIP_MAX);
        want.truncate(GOSSIP_MAX);
        (give, want)
    }

    fn give_range(
        &self,
        now: Now,
        lo: NodeId,
        hi: NodeId,
        named: &[NodeId],
        give: &mut Vec<Record>,
    ) {
        for (node, record, passable) in self.table.records(lo, hi) {
            if give.len() >= GOSSIP_MAX {
                return;
            }
            if passable && record.exp() > now.unix_ms && named.binary_search(&node).is_err() {
                give.push(record.clone());
            }
        }
    }
}

/// Exchanges with untested peers: at once, and per second, for any node and for a seed.
const SERVED_AT_ONCE: u64 = 256;
const SERVED_A_SECOND: u64 = 1;
const SERVED_BY_SEED: u64 = 20;
/// One exchange, in the counter's unit.
const ONE: u64 = 1_000_000;
/// Exchanges that one peer may begin per minute beyond gossip on its link: its lookups.
const ASKED_OF_ONE: u128 = 7;
const MINUTE: Duration = Duration::from_secs(60);
/// Most peers whose exchanges are counted.
const ASKERS_MAX: usize = 8192;

/// Unknown peers whose records are wanted of one asker, while very many records wait for a test.
const WANTED_CROWDED: usize = 2;
/// Records for an asker that names no bounds.
const GIVEN_UNASKED: usize = 32;
/// Of so many exchanges that name records on both sides, one compares such a record.
const AUDIT_ONE_IN: u64 = 2;

/// The two bounds of a list, if it has them.
fn range_of(have: &[Have]) -> Option<(NodeId, NodeId)> {
    let mut bounds = have.iter().filter(|h| h.seq == 0).map(|h| h.node);
    let (lo, hi) = (bounds.next()?, bounds.next()?);
    (lo <= hi).then_some((lo, hi))
}
