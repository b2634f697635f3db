//! Attackers in the simulated mesh.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use betanet_keys::Identity;
use betanet_machine::{Rng, Time};
use betanet_mesh::{
    Addr, Carriage, Draft, ExchangeId, Host as AddrHost, Record, Role, Roles, kind, message,
};
use betanet_wire::{NodeId, cbor};
use bytes::Bytes;

use super::scenario::Step;
use super::{Host, Id, Net, Task};

/// Behaviour of attackers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttackKind {
    /// Announce themselves at any number of addresses, most of which are not theirs.
    Eclipse,
    /// Open exchanges as fast as they can, with forged, expired, replayed and contradicting records.
    Storm,
}

/// An attack.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Behaviour of the attackers.
    pub kind: AttackKind,
    /// Percentage of nodes that are attackers.
    pub percent: u32,
    /// Number of /24 prefixes that they really hold.
    pub prefixes: u32,
    /// Number of exchanges that each opens per second.
    pub per_second: u32,
}

/// State of the attackers.
#[derive(Default)]
pub(super) struct State {
    kind: Option<AttackKind>,
    per_second: u32,
    /// Indices of their machines.
    hosts: BTreeSet<Id>,
    /// Keys for which each of their machines answers.
    keys: BTreeMap<[u8; 32], Id>,
    /// All records that they announce.
    records: Vec<Record>,
    /// Their records that are not or no longer valid, with the reason.
    bad: BTreeMap<NodeId, &'static str>,
    /// Raw envelopes without a valid signature.
    forged: Vec<Bytes>,
    /// Contradicting pairs: the first goes to one half of the nodes, the second to the other.
    double: Vec<(Record, Record)>,
    /// Exchanges that they opened, and the nodes announced in each.
    opened: BTreeMap<(Id, ExchangeId), Vec<NodeId>>,
    next: ExchangeId,
    /// All identities of attackers.
    pub(super) nodes: BTreeSet<NodeId>,
    /// Lookups that found a peer: the searching place and the found node.
    pub(super) found: Vec<(Id, NodeId)>,
    /// Number of streams that the limiter refused.
    pub(super) not_admitted: u64,
}

impl State {
    pub(super) fn is_attacker(&self, id: Id) -> bool {
        self.hosts.contains(&id)
    }

    pub(super) fn answers(&self, id: Id, key: &[u8; 32]) -> bool {
        self.keys.get(key) == Some(&id)
    }

    /// Reason why a record in an honest table is invalid; `None` if it is valid.
    pub(super) fn fault(&self, record: &Record, unix_ms: u64) -> Option<&'static str> {
        if record.exp() <= unix_ms {
            return Some("expired");
        }
        self.bad.get(&record.node()).copied()
    }
}

fn draft(ip: IpAddr) -> Draft {
    Draft {
        addrs: Vec::from([Addr {
            host: AddrHost::Ip(ip),
            port: 443,
            carriage: Carriage::Tls(None),
        }]),
        roles: Roles::from_iter([Role::Entry, Role::Core, Role::Exit]),
        pin: Some([1; 32]),
        ..Draft::default()
    }
}

impl<H: Host> Net<H> {
    /// Adds the attackers: `hosts` places without a control plane, and the identities that they claim.
    pub(super) fn let_in(
        &mut self,
        attack: &Attack,
        hosts: &[(Id, Ipv4Addr)],
        unix_ms: u64,
        rng: &mut Rng,
    ) {
        self.attack.kind = Some(attack.kind);
        self.attack.per_second = attack.per_second;
        self.attack.next = 1;
        for (n, (id, ip)) in hosts.iter().enumerate() {
            self.attack.hosts.insert(*id);
            // Ten names for each machine that they have, and as many at addresses of other nodes.
            for k in 0..20_u32 {
                let issuer = Identity::from_seed(&rng.array());
                let mine = k < 10;
                let at = if mine {
                    IpAddr::V4(*ip)
                } else {
                    let [b, c, d, ..] = rng.array::<4>();
                    IpAddr::V4(Ipv4Addr::new(60 + (b % 60), b, c, d))
                };
                let record = draft(at).sign(&issuer, unix_ms, 3_600_000 * 20);
                if mine {
                    self.attack.keys.insert(*issuer.public().as_bytes(), *id);
                }
                self.attack.nodes.insert(record.node());
                if attack.kind == AttackKind::Eclipse {
                    self.attack.records.push(record);
                    continue;
                }
                let node = record.node();
                match (k, n % 2) {
                    (0, _) => self.attack.records.push(record),
                    (1, _) => {
                        let mut other = draft(at);
                        other.org = "another".into();
                        let other = other.sign(&issuer, unix_ms, 3_600_000 * 20);
                        self.attack.bad.insert(node, "equivocating");
                        self.attack.double.push((record, other));
                    }
                    (2, _) => {
                        let old = draft(at).sign(&issuer, unix_ms - 86_400_000, 1000);
                        self.attack.bad.insert(node, "expired");
                        self.attack.records.push(old);
                    }
                    (3, _) => {
                        let mut raw = record.envelope().to_vec();
                        let end = raw.len() - 1;
                        raw[end] ^= 1;
                        self.attack.bad.insert(node, "forged");
                        self.attack.forged.push(raw.into());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Keeps an honest node's present record, to replay it when there is a newer one.
    pub(super) fn record_for_replay(&mut self, record: Record) {
        self.attack.records.push(record);
    }

    /// An attacker's turn: one exchange with a random honest node.
    pub(super) fn attacker_acts(&mut self, id: Id, rng: &mut Rng) {
        let honest = u64::try_from(self.places.len()).unwrap_or(0);
        let Ok(to) = Id::try_from(rng.below(honest)) else {
            return;
        };
        if !self.is_honest(to) || self.apart(id, to) {
            return;
        }
        let told: Vec<Record> = (0..message::GOSSIP_MAX - 2)
            .filter_map(|_| self.tells(to, rng))
            .collect();
        let have = told
            .iter()
            .map(|r| message::Have {
                node: r.node(),
                seq: r.seq(),
            })
            .collect();
        self.attack.next += 1;
        let exchange = self.attack.next;
        self.attack
            .opened
            .insert((id, exchange), told.iter().map(Record::node).collect());
        let ip = self.places[id].ip;
        let names: Vec<NodeId> = self.attack.nodes.iter().copied().collect();
        let me = names
            .get(usize::try_from(rng.below(names.len() as u64)).unwrap_or(0))
            .copied();
        let data = message::ask(have);
        // In a storm each machine uses one name, to which its limiter applies.
        let me = match self.attack.kind {
            Some(AttackKind::Storm) => names.get(id % names.len().max(1)).copied(),
            _ => me,
        };
        let Some(me) = me else { return };
        self.begin(id, to, exchange, (ip, me), (kind::GOSSIP, data, false));
    }

    pub(super) fn attacker_turn(&mut self, id: Id, rng: &mut Rng, end: Time) {
        self.attacker_acts(id, rng);
        let every = Duration::from_micros(1_000_000 / u64::from(self.attack.per_second.max(1)));
        let at = self.now + every;
        if at < end {
            self.push(at, Task::Script(Step::Attacker(id)));
        }
    }

    pub(super) fn is_honest(&self, id: Id) -> bool {
        self.places[id].host.is_some()
    }

    /// A record for attackers to announce to this node.
    fn tells(&self, to: Id, rng: &mut Rng) -> Option<Record> {
        let all = self.attack.records.len() + self.attack.double.len();
        let i = usize::try_from(rng.below(all as u64)).ok()?;
        if let Some(record) = self.attack.records.get(i) {
            return Some(record.clone());
        }
        let (one, other) = self.attack.double.get(i - self.attack.records.len())?;
        Some(if to.is_multiple_of(2) {
            one.clone()
        } else {
            other.clone()
        })
    }

    /// An honest node sends an attacker a request.
    pub(super) fn attacker_asked(&mut self, pair: usize, me: Id, exchange: ExchangeId, _: &Bytes) {
        let Some(p) = &self.pairs[pair] else { return };
        let asker = p.ends[0].0;
        let mut rng = Rng::new(&self.dice.seed());
        let mut raws: Vec<Bytes> = (0..message::GOSSIP_MAX - 4)
            .filter_map(|_| self.tells(asker, &mut rng))
            .map(|r| r.envelope().clone())
            .collect();
        raws.extend(self.attack.forged.iter().take(4).cloned());
        self.send(me, exchange, envelopes(&raws, true), true);
    }

    /// An honest node requests records that an attacker announced.
    pub(super) fn attacker_answered(&mut self, me: Id, exchange: ExchangeId, data: &Bytes) {
        let Some(told) = self.attack.opened.remove(&(me, exchange)) else {
            return;
        };
        let Some((pair, _)) = self.side_of(me, exchange) else {
            return;
        };
        let Some(p) = &self.pairs[pair] else { return };
        let honest = p.ends[1].0;
        let wanted = data
            .get(4..)
            .and_then(|body| message::read_answer(body).ok())
            .map(|(_, want)| want)
            .unwrap_or_default();
        let asked_for = |r: &&Record| wanted.contains(&r.node()) && told.contains(&r.node());
        let records = self.attack.records.iter().filter(asked_for);
        let mut raws: Vec<Bytes> = records.map(|r| r.envelope().clone()).collect();
        for (one, other) in &self.attack.double {
            if wanted.contains(&one.node()) {
                let it = if honest.is_multiple_of(2) { one } else { other };
                raws.push(it.envelope().clone());
            }
        }
        raws.truncate(message::GOSSIP_MAX);
        self.send(me, exchange, envelopes(&raws, false), true);
    }
}

/// A message with arbitrary envelopes: an answer, or an asker's last message.
fn envelopes(raws: &[Bytes], answer: bool) -> Bytes {
    let mut w = cbor::Writer::with_capacity(1 << 14);
    w.map(if answer { 2 } else { 1 });
    w.text("recs");
    w.array(raws.len());
    for raw in raws {
        w.raw(raw);
    }
    if answer {
        w.text("want");
        w.array(0);
    }
    let body = w.into_vec();
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&body);
    out.into()
}
