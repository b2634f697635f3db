//! Exchanges that this node begins.

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_machine::Now;
use betanet_wire::NodeId;
use bytes::Bytes;

use super::{Away, DialId, EXCHANGE_MAX, Exchange, ExchangeId, Mesh, Stage, Transmit, kind};
use crate::message::{self, DISCOVER_MAX, GOSSIP_MAX, Have, MessageError};
use crate::view::after;
use crate::{Record, Roles};

/// Newest changes that one exchange reports.
const NEWS: usize = 8;
/// Fewest records that a seed is asked for.
const DISCOVER_LEAST: u32 = 64;
/// Records in the slice of the table that each exchange names.
const SLICE: usize = 30;
/// While very many records wait for a test, one of so many exchanges asks for more; half of those ask for records near this node.
const CROWDED_ONE_IN: u64 = 4;
/// Nearest records, which this node asks for most.
const NEAR: usize = 256;

impl Mesh {
    pub(super) fn open(
        &mut self,
        now: Now,
        link: DialId,
        kind: u8,
        stage: Stage,
        data: Bytes,
        fin: bool,
    ) {
        let id = self.id();
        let Some(l) = self.links.get_mut(link) else {
            return;
        };
        l.exchange = Some(id);
        let x = Exchange {
            link: Some(link),
            peer: l.node,
            teller: l.teller(),
            stage,
            buffer: Vec::new(),
            until: now.mono + EXCHANGE_MAX,
        };
        self.exchanges.insert(id, x);
        self.stats.asked += 1;
        let exchange = id;
        self.transmit(
            now,
            Transmit::Open {
                exchange,
                link,
                kind,
                data,
                fin,
            },
        );
    }

    pub(super) fn ask_list(&mut self, now: Now, link: DialId, seed: PublicKey) {
        // Twice the links: what is asked of several seeds is enough to find the others by.
        let n = u32::try_from(self.policy.links * 2)
            .unwrap_or(DISCOVER_MAX)
            .max(DISCOVER_LEAST);
        let request = message::discover(n, Roles::default());
        self.open(now, link, kind::DISCOVER, Stage::List(seed), request, true);
    }

    pub(super) fn listed(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
        seed: PublicKey,
    ) -> Result<(), MessageError> {
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.stage = Stage::End;
            let away = Away {
                teller: x.teller,
                lookup: None,
                seed: true,
            };
            let list = (Bytes::copy_from_slice(cbor), seed, now.unix_ms);
            self.send_work(now, Some(list), Vec::new(), away);
        }
        Ok(())
    }

    /// Begins an exchange on every link that is due.
    pub(super) fn gossip(&mut self, now: Now) {
        if self.links.due().is_none_or(|at| at > now.mono) {
            return;
        }
        let due: Vec<DialId> = self
            .links
            .iter()
            .filter(|(_, l)| l.due().is_some_and(|t| t <= now.mono))
            .map(|(id, _)| *id)
            .collect();
        for link in due {
            let have = self.have(link);
            let next = self.gossip_wait();
            if let Some(l) = self.links.get_mut(link) {
                l.next = now.mono + next;
                l.asked += 1;
            }
            self.open(
                now,
                link,
                kind::GOSSIP,
                Stage::Answer(None),
                message::ask(have),
                false,
            );
        }
    }

    fn gossip_wait(&mut self) -> core::time::Duration {
        let (least, most) = self.policy.gossip_every;
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(0);
        least + core::time::Duration::from_micros(self.rng.below(span + 1))
    }

    /// Records to report on a link: new ones first, then a slice of the table.
    fn have(&mut self, link: DialId) -> Vec<Have> {
        let change = self.table.change();
        let Some(l) = self.links.get_mut(link) else {
            return Vec::new();
        };
        let (told, peer, asked, teller) = (l.told, l.node, l.asked, l.teller());
        let first = asked == 0;
        l.told = change;
        let near = self.table.share();
        let fits =
            |n: &NodeId| *n != peer && near.holds(*n) && self.table.give(*n).next().is_some();
        let mut news: Vec<NodeId> = self.table.fresh(told).filter(fits).take(NEWS).collect();
        news.dedup();
        if first && self.table.own().is_some() && !news.contains(&self.own) {
            news.insert(0, self.own);
        }
        let seq = |this: &Self, node| this.table.seq(node).map(|seq| Have { node, seq });
        let all = self.table.len() + 1;
        if all <= SLICE {
            let every = self.table.range(NodeId([0; 20]), NodeId([255; 20]));
            return every.map(|(node, seq)| Have { node, seq }).collect();
        }
        let mut have: Vec<Have> = news.iter().filter_map(|n| seq(self, *n)).collect();
        let (lo, hi, slice) = if !self.table.is_crowded(&teller) {
            self.slice(peer)
        } else if asked % CROWDED_ONE_IN != 0 {
            // More wait for their test than can be tested soon: only what is named is asked about.
            (self.own, self.own, Vec::new())
        } else if (asked / CROWDED_ONE_IN).is_multiple_of(2) {
            self.near_slice()
        } else {
            self.slice(peer)
        };
        have.push(Have { node: lo, seq: 0 });
        have.extend(slice.into_iter().filter(|h| !news.contains(&h.node)));
        have.push(Have { node: hi, seq: 0 });
        have
    }

    /// The next part of this node's share, and its records. For a peer with another share, a small part of that one.
    fn slice(&mut self, peer: NodeId) -> (NodeId, NodeId, Vec<Have>) {
        let entry = |(node, seq)| Have { node, seq };
        if !self.table.share().holds(peer) {
            let bits = self.table.share().bits() + self.crowd_bits(2);
            let (lo, hi) = crate::around(NodeId(self.rng.array()), bits);
            let slice = self.table.range(lo, hi).take(SLICE).map(entry).collect();
            return (lo, hi, slice);
        }
        let (first, last) = self.table.share().bounds();
        let lo = if (first..=last).contains(&self.cursor) {
            self.cursor
        } else {
            first
        };
        let mut slice: Vec<Have> = self
            .table
            .range(lo, last)
            .take(SLICE + 1)
            .map(entry)
            .collect();
        // The slice ends before the first record that it has no room for.
        let hi = if slice.len() > SLICE {
            slice.truncate(SLICE);
            slice.last().map_or(last, |h| h.node)
        } else {
            last
        };
        self.cursor = after(hi).filter(|n| *n <= last).unwrap_or(first);
        (lo, hi, slice)
    }

    /// A random part of the records nearest to this node.
    fn near_slice(&mut self) -> (NodeId, NodeId, Vec<Have>) {
        let mut bits = self.table.share().bits();
        let near = |bits| crate::around(self.own, bits);
        let crowd = |(lo, hi)| self.table.range(lo, hi).take(NEAR).count();
        while crowd(near(bits + 1)) >= NEAR {
            bits += 1;
        }
        let (first, last) = near(bits);
        let skip = usize::try_from(self.rng.below(NEAR as u64)).unwrap_or(0);
        let entry = |(node, seq)| Have { node, seq };
        let part = self.table.range(first, last).skip(skip).take(SLICE);
        let slice: Vec<Have> = part.map(entry).collect();
        let lo = slice.first().map_or(first, |h| h.node);
        let hi = slice.last().filter(|_| slice.len() == SLICE);
        (lo, hi.map_or(last, |h| h.node), slice)
    }

    /// Additional prefix bits after which about 2^`few` records remain in the share.
    pub(super) fn crowd_bits(&self, few: u32) -> u32 {
        let crowd = u64::try_from(self.table.len()).unwrap_or(u64::MAX).max(1);
        crowd.ilog2().saturating_sub(few)
    }

    pub(super) fn answered(
        &mut self,
        now: Now,
        id: ExchangeId,
        cbor: &[u8],
        lookup: Option<NodeId>,
    ) -> Result<(), MessageError> {
        let (envelopes, want) = message::read_answer(cbor)?;
        let mut give: Vec<Record> = want
            .iter()
            .flat_map(|n| self.table.give(*n))
            .cloned()
            .collect();
        give.truncate(GOSSIP_MAX);
        self.stats.records_out += give.len() as u64;
        if let Some(x) = self.exchanges.get_mut(&id) {
            x.stage = Stage::End;
            let teller = x.teller;
            let data = message::last(&give);
            self.transmit(
                now,
                Transmit::Send {
                    exchange: id,
                    data,
                    fin: true,
                },
            );
            let away = Away {
                teller,
                lookup,
                seed: false,
            };
            self.check(now, envelopes, away);
        }
        Ok(())
    }

    /// Ends an exchange, for whatever reason.
    pub(super) fn end_exchange(&mut self, now: Now, id: ExchangeId) {
        let Some(x) = self.exchanges.remove(&id) else {
            return;
        };
        if let Some(l) = x.link.and_then(|l| self.links.get_mut(l)) {
            l.exchange = None;
        }
        match x.stage {
            Stage::List(_) => self.list_checked(now, x.peer, false),
            Stage::Answer(Some(node)) => self.checked_for(now, Some(node)),
            _ => {}
        }
        if let Some(link) = x.link {
            self.link_rests(now, link);
        }
    }
}
