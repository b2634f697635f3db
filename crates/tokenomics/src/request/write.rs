//! Encoding of requests: the inverse of reading them.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{Encode, Writer};

use super::{Effect, Item, Kind, Op, Proof, Request, Transfer};
use crate::{Hash, Id};

/// A map whose entries are put in any order.
#[derive(Default)]
struct Map(Vec<(&'static str, Vec<u8>)>);

impl Map {
    fn put(&mut self, key: &'static str, value: &(impl Encode + ?Sized)) {
        self.with(key, |w| value.encode(w));
    }

    fn with(&mut self, key: &'static str, write: impl FnOnce(&mut Writer)) {
        let mut w = Writer::default();
        write(&mut w);
        self.0.push((key, w.into_vec()));
    }

    fn finish(mut self, w: &mut Writer) {
        // Shorter keys stand first, as their encodings do.
        self.0.sort_by_key(|(key, _)| (key.len(), *key));
        w.map(self.0.len());
        for (key, value) in self.0 {
            w.text(key);
            w.raw(&value);
        }
    }
}

impl Request {
    /// A request of these signers with their nonces. `None`: a value is out of its range.
    #[must_use]
    pub fn new(by: &[(NodeId, u64)], exp: u64, id: Id, op: &Op) -> Option<Self> {
        let mut map = Map::default();
        map.put("op", op.name());
        map.put("id", &id);
        map.put("exp", &exp);
        map.with("by", |w| {
            w.array(by.len());
            for (signer, nonce) in by {
                w.array(2);
                signer.encode(w);
                w.unsigned(*nonce);
            }
        });
        op.write(&mut map);
        let mut w = Writer::with_capacity(256);
        map.finish(&mut w);
        Self::from_bytes(&w.into_vec())
    }
}

impl Transfer {
    /// A transfer. `None`: a value is out of its range.
    #[must_use]
    pub fn new(id: Id, linked: bool, kind: &Kind) -> Option<Self> {
        Self::from_bytes(&encode_transfer(id, linked, kind))
    }

    /// Encodes the transfer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_transfer(self.id, self.linked, &self.kind)
    }
}

fn encode_transfer(id: Id, linked: bool, kind: &Kind) -> Vec<u8> {
    let none: &[u8] = &[];
    let (mut arb, mut from, mut to, mut pend) = (none, none, none, none);
    let (mut amount, mut what, mut held_for, mut per_mib) = (0, 0, 0, 0);
    let flags = match kind {
        Kind::Plain {
            from: payer,
            to: payee,
            asset,
            amt,
        } => {
            (from, to) = (&payer.0, &payee.0);
            (amount, what) = (*amt, u64::from(asset.number()));
            0
        }
        Kind::Pending {
            from: payer,
            to: payee,
            asset,
            amt,
            ttl,
            arb: arbiter,
            price,
        } => {
            (from, to) = (&payer.0, &payee.0);
            (amount, what) = (*amt, u64::from(asset.number()));
            (held_for, per_mib) = (*ttl, *price);
            arb = arbiter.as_ref().map_or(none, |id| &id.0);
            2
        }
        Kind::Post { pend: hold, amt } => {
            (pend, amount) = (hold, *amt);
            4
        }
        Kind::Void { pend: hold } => {
            pend = hold;
            8
        }
    };
    let mut map = Map::default();
    map.put("id", &id);
    map.put("amt", &amount);
    map.put("arb", arb);
    map.put("asset", &what);
    map.put("flags", &(flags | u64::from(linked)));
    map.put("from", from);
    map.put("pend", pend);
    map.put("price", &per_mib);
    map.put("to", to);
    map.put("ttl", &held_for);
    let mut w = Writer::with_capacity(192);
    map.finish(&mut w);
    w.into_vec()
}

impl Op {
    /// A proposal of these effects.
    #[must_use]
    pub fn propose(effects: Vec<Effect>, text: Hash) -> Self {
        let each: Vec<Vec<u8>> = effects.iter().map(Effect::to_bytes).collect();
        let mut w = Writer::default();
        w.array(each.len());
        for effect in &each {
            w.raw(effect);
        }
        Self::Propose {
            eff: effects,
            raw: w.into_vec(),
            each,
            text,
        }
    }

    fn write(&self, map: &mut Map) {
        match self {
            Self::Close | Self::Unjail => {}
            Self::Open { key, kind } => {
                map.put("key", key);
                map.put("kind", kind);
            }
            Self::Rekey { key } => map.put("key", key),
            Self::Transfers { list } => map.with("list", |w| {
                w.array(list.len());
                for transfer in list {
                    w.raw(&transfer.to_bytes());
                }
            }),
            Self::Bond { amt, comm } => {
                map.put("amt", amt);
                map.put("comm", comm);
            }
            Self::Delegate { amt, node } | Self::Unbond { amt, node } => {
                map.put("amt", amt);
                map.put("node", node);
            }
            Self::Redelegate { amt, from, to } => {
                map.put("amt", amt);
                map.put("from", from);
                map.put("to", to);
            }
            Self::Evidence { kind, list, task } => {
                map.put("kind", &u64::from(*kind));
                map.with("list", |w| write_proofs(list, w));
                map.put("task", task);
            }
            Self::Audit { list } => map.with("list", |w| {
                w.array(list.len());
                for (node, sent, returned) in list {
                    w.array(3);
                    node.encode(w);
                    w.unsigned(*sent);
                    w.unsigned(*returned);
                }
            }),
            Self::Reserve {
                amt,
                credit,
                of,
                kind,
                ttl,
            } => {
                map.put("amt", amt);
                map.put("credit", credit);
                map.put("for", of);
                map.put("kind", kind);
                map.put("ttl", ttl);
            }
            Self::Settle {
                status,
                out,
                end,
                list,
                res,
            } => {
                map.with("canon", |w| {
                    w.array(2);
                    w.text(status);
                    w.bytes(out);
                });
                map.put("end", &u64::from(*end));
                map.with("list", |w| write_items(list, w));
                map.put("res", res);
            }
            Self::Swap { back, vu } => {
                map.put("dir", &u64::from(*back));
                map.put("vu", vu);
            }
            Self::Buy { bh, keyset, vu } => {
                map.put("bh", bh);
                map.put("keyset", keyset);
                map.put("vu", vu);
            }
            Self::Redeem {
                ans,
                keyset,
                to,
                vu,
            } => {
                map.put("ans", ans);
                map.put("keyset", keyset);
                map.put("to", to);
                map.put("vu", vu);
            }
            Self::Meter {
                ckey,
                csig,
                hold,
                rec,
                rkey,
                rsig,
            } => {
                map.put("ckey", ckey);
                map.put("csig", csig);
                map.put("hold", hold);
                map.put("rec", rec);
                map.put("rkey", rkey);
                map.put("rsig", rsig);
            }
            Self::Propose { raw, text, .. } => {
                map.with("eff", |w| w.raw(raw));
                map.put("text", text);
            }
            Self::Vote { pid, v } => {
                map.put("pid", pid);
                map.put("v", v);
            }
            Self::Cancel { pid } | Self::Execute { pid } => map.put("pid", pid),
            Self::Brake { pid } => {
                map.put("act", &u64::from(pid.is_some()));
                let pid: &[u8] = pid.as_ref().map_or(&[], |pid| pid);
                map.put("pid", pid);
            }
        }
    }
}

fn write_proofs(list: &[Proof], w: &mut Writer) {
    w.array(list.len());
    for proof in list {
        w.array(3);
        w.bytes(&proof.record);
        w.bytes(&proof.key);
        w.bytes(&proof.sig);
    }
}

fn write_items(list: &[Item], w: &mut Writer) {
    w.array(list.len());
    for item in list {
        w.array(7);
        item.to.encode(w);
        for number in [item.pay, item.sla, item.kib, item.mibh] {
            w.unsigned(number);
        }
        w.bytes(&item.record);
        w.bytes(item.sig.as_ref().map_or(&[], |sig| sig));
    }
}

impl Effect {
    /// Encodes the effect.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        let mut head = |n: usize, kind: &str| {
            w.array(n);
            w.text(kind);
        };
        match self {
            Self::Param { param, value } => {
                head(3, "param");
                w.text(param.name());
                w.unsigned(*value);
            }
            Self::Spend { to, amt } => {
                head(3, "spend");
                to.encode(&mut w);
                w.unsigned(*amt);
            }
            Self::Role { role, members } => {
                head(3, "role");
                w.text(role.name());
                w.array(members.len());
                for member in members {
                    w.bytes(member);
                }
            }
            Self::Keyset { id, spender, exp } => {
                head(4, "keyset");
                w.bytes(id);
                spender.encode(&mut w);
                w.unsigned(*exp);
            }
            Self::Freeze { id, on } => {
                head(3, "freeze");
                id.encode(&mut w);
                w.boolean(*on);
            }
            Self::Upgrade { name, at } => {
                head(3, "upgrade");
                w.text(name);
                w.unsigned(*at);
            }
            Self::Text => head(1, "text"),
        }
        w.into_vec()
    }
}
