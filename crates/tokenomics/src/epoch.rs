//! The end of an epoch: issuance, rewards, reputation, and the snapshot that votes count by.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::Asset;
use crate::account::{BURN, FEES, ISSUANCE, MICRO, POOL, TREASURY};
use crate::math::{issuance, narrow, performance, reputation, share, split};
use crate::params::Param;
use crate::rows::{Flag, Node, Part, Snapshot, stage};
use crate::slash::OFFLINE;
use crate::state::Economy;

/// Fewest probes that tell something about a node.
const PROBES_LEAST: u64 = 20;
/// Least share of returned probes, in ppm, that earns.
const RELAYED_LEAST: u64 = 900_000;

/// What a node earned in an epoch.
struct Pay {
    id: NodeId,
    work: u64,
    relay: u64,
}

impl Economy {
    /// Ends the running epoch at its time.
    pub(crate) fn end_epoch(&mut self, at: u64) {
        let mut meta = self.meta();
        let epoch = meta.epoch;
        self.issue(epoch);
        for pay in self.earned() {
            self.pay_node(epoch, &pay);
        }
        self.judge_nodes(at);
        self.take_snapshot(epoch);
        meta.epoch = epoch.saturating_add(1);
        meta.before_epoch = meta.records.saturating_sub(1);
        self.set_meta(meta);
    }

    /// Issues the epoch's FOG, and divides it and the fees.
    fn issue(&mut self, epoch: u64) {
        let treasury_ppm = self.parameter(Param::TreasuryPpm);
        let burn_ppm = self.parameter(Param::BurnPpm);
        let before = narrow(self.counters(&ISSUANCE, Asset::Fog).debits);
        let left = self.genesis.cap.saturating_sub(before);
        let issued = issuance(self.genesis.base, self.genesis.halving, epoch, left);
        let treasury = share(issued, treasury_ppm);
        self.shift(ISSUANCE, TREASURY, Asset::Fog, treasury);
        self.shift(ISSUANCE, POOL, Asset::Fog, issued - treasury);
        let fees = self.held(&FEES, Asset::Fog);
        let burn = share(fees, burn_ppm);
        let treasury = share(fees, treasury_ppm);
        self.shift(FEES, BURN, Asset::Fog, burn);
        self.shift(FEES, TREASURY, Asset::Fog, treasury);
        let rest = fees.saturating_sub(burn).saturating_sub(treasury);
        self.shift(FEES, POOL, Asset::Fog, rest);
    }

    /// Divides the pool over the nodes that worked and relayed.
    fn earned(&self) -> Vec<Pay> {
        let pool = self.held(&POOL, Asset::Fog);
        let for_work = share(pool, self.parameter(Param::WorkPpm));
        let match_ppm = self.parameter(Param::MatchPpm);
        let yield_ppm = self.parameter(Param::YieldPpm);
        let min_bond = self.parameter(Param::MinBond);
        let counts = |(id, node): &(&(NodeId,), &Node)| {
            !node.is_jailed() && self.stake(&id.0, &id.0) >= min_bond
        };
        let nodes: Vec<(NodeId, &Node)> = self
            .t
            .nodes
            .iter()
            .filter(counts)
            .map(|(id, node)| (id.0, node))
            .collect();
        let stakes: Vec<u64> = nodes.iter().map(|(id, _)| self.node_stake(id)).collect();
        let units: Vec<u64> = nodes.iter().map(|(_, node)| node.units).collect();
        let relayed = |((_, node), stake): (&(NodeId, &Node), &u64)| {
            let s = performance(node.sent, node.returned);
            match node.sent >= PROBES_LEAST && s >= RELAYED_LEAST {
                true => (stake / MICRO).saturating_mul(s),
                false => 0,
            }
        };
        let weights: Vec<u64> = nodes.iter().zip(&stakes).map(relayed).collect();
        let works = split(for_work, &units);
        let relays = split(pool - for_work, &weights);
        let mut pays = Vec::new();
        for (i, (id, node)) in nodes.iter().enumerate() {
            let pay = Pay {
                id: *id,
                work: works[i].min(share(node.fees, match_ppm)),
                relay: relays[i].min(share(stakes[i], yield_ppm)),
            };
            pays.push(pay);
        }
        pays
    }

    /// Pays a node and its holders by the last snapshot.
    fn pay_node(&mut self, epoch: u64, pay: &Pay) {
        let all = pay.work.saturating_add(pay.relay);
        if all == 0 {
            return;
        }
        let comm = self.t.nodes.get(&(pay.id,)).map_or(0, |node| node.comm);
        let last = epoch.checked_sub(1).and_then(|e| u32::try_from(e).ok());
        let snapshot = last.and_then(|e| self.t.snapshots.get(&(e, pay.id)).cloned());
        let Some(snapshot) = snapshot else {
            self.shift(POOL, pay.id, Asset::Fog, all);
            return;
        };
        let own = share(all, comm);
        let weights: Vec<u64> = snapshot.holders.iter().map(|part| part.1).collect();
        self.shift(POOL, pay.id, Asset::Fog, own);
        let shares = split(all - own, &weights);
        for (part, share) in snapshot.holders.iter().zip(shares) {
            self.shift(POOL, part.0, Asset::Fog, share);
        }
    }

    /// Reputation, missed epochs, and the offence of those that missed too many.
    fn judge_nodes(&mut self, at: u64) {
        let off_ppm = self.parameter(Param::OffPpm);
        let off_epochs = self.parameter(Param::OffEpochs);
        let ids: Vec<(NodeId,)> = self.t.nodes.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut node) = self.t.nodes.get(&id).cloned() else {
                continue;
            };
            if !node.is_jailed() && node.sent >= PROBES_LEAST {
                node.missed = match performance(node.sent, node.returned) < off_ppm {
                    true => node.missed.saturating_add(1),
                    false => 0,
                };
            }
            node.reputation = reputation(node.reputation, node.jobs, node.sent, node.returned);
            (node.jobs, node.units, node.fees) = (0, 0, 0);
            (node.sent, node.returned) = (0, 0);
            let offends = node.missed >= off_epochs;
            if offends {
                node.missed = 0;
            }
            if self.t.nodes.get(&id) != Some(&node) {
                self.t.nodes.set(id, node);
            }
            if offends {
                self.slash(OFFLINE, id.0, None, at);
            }
        }
    }

    /// Notes who holds how much of which node, and forgets snapshots that nothing uses.
    fn take_snapshot(&mut self, epoch: u64) {
        let live = self.t.proposals.scheduled();
        let live = live.filter_map(|key| self.t.proposals.get(key));
        let open = live.filter(|proposal| proposal.stage == stage::OPEN);
        let used: Vec<u64> = open.map(|proposal| proposal.epoch).collect();
        let old: Vec<(u32, NodeId)> = self
            .t
            .snapshots
            .iter()
            .filter(|(key, _)| !used.contains(&u64::from(key.0)))
            .map(|(key, _)| *key)
            .collect();
        for key in old {
            self.t.snapshots.remove(&key);
        }
        let Ok(epoch) = u32::try_from(epoch) else {
            return;
        };
        let mut nodes: BTreeMap<NodeId, Vec<Part>> = BTreeMap::new();
        for ((node, holder), stake) in self.t.stakes.iter() {
            let holders = nodes.entry(*node).or_default();
            holders.push(Part(*holder, stake.amt));
        }
        for (id, holders) in nodes {
            let node = self.t.nodes.get(&(id,));
            let jailed = Flag(node.is_some_and(Node::is_jailed));
            let row = Snapshot { jailed, holders };
            self.t.snapshots.set((epoch, id), row);
        }
    }
}
