//! Nodes: joining, beats, states, leaving; and join tokens.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::bodies::{Beat, BeatAnswer, JoinAnswer, StateRequest, TokenRequest, TokenText};
use betanet_fog::{
    Admission, Interval, Joining, List, Node, NodeState, Reason, Received, RefusalCode, Signed,
    Token,
};
use betanet_keys::hash;
use betanet_machine::Now;
use betanet_wire::NodeId;

use super::{Coordinator, Served, UNKNOWN, operator};
use crate::lead::Pulse;
use crate::lease::{LACKS, UNREPORTED};
use crate::placer::{Placer, Site};
use crate::rating::Ratings;
use crate::record::Change;
use crate::request::{Caller, Item, Reply};
use crate::state::market::resources;
use crate::state::nodes::NodeRow;
use crate::state::tokens::TOKENS_MAX;

impl<P: Placer> Coordinator<P> {
    fn known(&self) -> u64 {
        u64::try_from(self.state.nodes.len()).unwrap_or(u64::MAX)
    }

    /// Puts a node into the placer as it is now, or takes it out.
    pub(super) fn seat(&mut self, id: NodeId) {
        let Some(row) = self.state.nodes.get(&id) else {
            self.placer.remove(&id);
            self.levels.forget(id);
            if let Some(lead) = &mut self.lead {
                lead.pulses.forget(id);
            }
            return;
        };
        let Ok(node) = row.node() else {
            return;
        };
        let pulse = self.lead.as_ref().and_then(|l| l.pulses.of.get(&id));
        let proved = self.levels.proved(&id);
        self.placer.put(&Site {
            id,
            node: &node,
            vouched: row.vouched,
            level: row.level.min(proved),
            open: row.state() == NodeState::Active && !self.state.rated.is_jailed(&id),
            work: pulse.is_none_or(|p| p.work) && !self.is_kept(&id),
            rep: self.state.rated.reputation(&id, row.trust.reputation()),
        });
    }

    pub(super) fn join(
        &mut self,
        caller: &Caller,
        node: Received<Node>,
        token: &TokenText,
    ) -> Served {
        let tokens = &self.state.tokens;
        let joining = Joining {
            session: caller.node,
            now_ms: self.clock.ms(),
            coordinators: &self.setup.coordinators,
            used: &|id| tokens.get(id).and_then(|t| t.used),
            revoked: &|id| tokens.get(id).is_some_and(|t| t.revoked),
        };
        let Admission { node, token, again } = joining.admit(node, token.expose())?;
        let id = caller.node;
        let known = self.state.nodes.get(&id);
        let gone = self.state.nodes.gone(&id);
        let org = known.map(|n| &n.org).or(gone.map(|g| &g.org));
        if org.is_some_and(|org| *org != node.org) {
            return Err(RefusalCode::BadValue.of("org"));
        }
        if known.is_some() {
            if !again {
                // A second token for a node that is there would be spent for nothing.
                return Err(RefusalCode::InUse.bare());
            }
            return Ok(self.joined(id, false));
        }
        if gone.is_some_and(|g| node.seq <= g.seq) {
            return Err(RefusalCode::SeqOld.of("seq"));
        }
        if self.state.nodes.len() >= self.setup.nodes_max {
            return Err(RefusalCode::Quota.bare());
        }
        self.commit(Change::Joined {
            node: node.to_bytes().into(),
            token: token.id,
            exp: token.exp,
            vouched: !token.org.is_empty(),
        });
        Ok(self.joined(id, true))
    }

    fn joined(&self, id: NodeId, new: bool) -> Reply {
        let interval = Interval::after(id, 0, self.known());
        let keys: Vec<[u8; 32]> = self
            .setup
            .coordinators
            .iter()
            .map(|k| *k.as_bytes())
            .collect();
        let answer = JoinAnswer {
            ttl: interval.ttl,
            down: interval.down,
            join: self.state.nodes.get(&id).map_or(0, |n| n.joined),
            epoch: self.state.epoch,
            coords: List::try_from(keys).unwrap_or_default(),
        };
        Reply::Joined(answer, new)
    }

    pub(super) fn describe(&mut self, caller: &Caller, node: &Signed<Node>) -> Served {
        let id = node.id()?;
        if id != caller.node {
            return Err(RefusalCode::NotYours.bare());
        }
        let row = self.state.nodes.get(&id).ok_or(UNKNOWN)?;
        let envelope: Box<[u8]> = node.to_bytes().into();
        if row.envelope == envelope {
            return Ok(Reply::Done);
        }
        if node.seq <= row.seq {
            return Err(RefusalCode::SeqOld.of("seq"));
        }
        if node.org != row.org {
            return Err(RefusalCode::BadValue.of("org"));
        }
        // Lots that were promised stay.
        if !resources(row.lots).fits(&node.cap) {
            return Err(RefusalCode::InUse.of("cap"));
        }
        self.commit(Change::Described { node: envelope });
        Ok(Reply::Done)
    }

    /// A node leaves, or an operator removes it. Its live copies must have ended: a worker that runs on keeps its fences.
    pub(super) fn leave(&mut self, caller: &Caller, id: &NodeId) -> Served {
        if caller.node != *id && !caller.operator {
            return Err(RefusalCode::NotYours.bare());
        }
        let Some(row) = self.state.nodes.get(id) else {
            return match self.state.nodes.gone(id) {
                Some(_) => Ok(Reply::Done),
                None => Err(UNKNOWN),
            };
        };
        if !row.copies.is_empty() || row.lots > 0 {
            return Err(RefusalCode::InUse.bare());
        }
        self.commit(Change::Left { node: *id });
        Ok(Reply::Done)
    }

    pub(super) fn ask_state(
        &mut self,
        caller: &Caller,
        id: &NodeId,
        asked: &StateRequest,
    ) -> Served {
        if caller.node != *id && !caller.operator {
            return Err(RefusalCode::NotYours.bare());
        }
        asked.check()?;
        let row = self.state.nodes.get(id).ok_or(UNKNOWN)?;
        let quarantine = [row.wish, asked.to].contains(&NodeState::Quarantined);
        if quarantine && row.wish != asked.to && !caller.operator {
            return Err(RefusalCode::Role.bare());
        }
        // Maintenance begins once the copies have yielded: draining that is over at once.
        let (to, until) = match asked.to {
            NodeState::Maintenance if row.wish == NodeState::Maintenance => return Ok(Reply::Done),
            NodeState::Maintenance => (NodeState::Draining, self.clock.ms()),
            NodeState::Draining => (NodeState::Draining, asked.until),
            to => (to, 0),
        };
        if (row.wish, row.until) != (to, until) {
            self.commit(Change::State {
                node: *id,
                to,
                until,
            });
        }
        self.look_at_nodes();
        Ok(Reply::Done)
    }

    /// What a ledger of tokens says of nodes, from the process that runs the coordinator.
    pub(super) fn rate(&mut self, caller: &Caller, page: &Ratings) -> Served {
        operator(caller)?;
        if !page.is_page() {
            return Err(RefusalCode::BadValue.of("nodes"));
        }
        let changes = self.state.rated.changes(page);
        let nodes = changes.ok_or(RefusalCode::Quota.bare())?;
        if !nodes.is_empty() {
            self.commit(Change::Rated { nodes });
            self.look_at_nodes();
        }
        Ok(Reply::Done)
    }

    pub(super) fn beat(&mut self, now: Now, caller: &Caller, id: NodeId, beat: &Beat) -> Served {
        if caller.node != id {
            return Err(RefusalCode::NotYours.bare());
        }
        let row = self.state.nodes.get(&id).ok_or(UNKNOWN)?;
        let is_new = !row.beaten || row.silent.is_some();
        let interval = Interval::after(id, beat.seq, self.known());
        let epoch = self.state.epoch;
        let Some(lead) = &mut self.lead else {
            return Err(super::NOT_LEADER);
        };
        let fresh = || Pulse {
            seq: None,
            last: now.mono,
            downs: [interval.down; 3],
            work: true,
            lacks: BTreeMap::new(),
        };
        let last_seq = lead.pulses.of.get(&id).and_then(|p| p.seq);
        if last_seq.is_some_and(|seq| beat.seq <= seq) {
            return Err(RefusalCode::SeqOld.of("seq"));
        }
        // A beat in the time of grace does not shorten it.
        let last = lead
            .pulses
            .of
            .get(&id)
            .map_or(now.mono, |p| p.last.max(now.mono));
        let pulse = lead.pulses.beat(id, last, fresh);
        pulse.seq = Some(beat.seq);
        pulse.answered(interval.down);
        let work = core::mem::replace(&mut pulse.work, beat.work);
        lead.pulses.watch(id);
        if is_new {
            self.commit(Change::Online { node: id });
            self.spare_all(id);
        } else if work != beat.work {
            self.seat(id);
            self.stir();
        }
        let ms = self.clock.ms();
        if !beat.gone.is_empty() {
            self.placer.gone(&id, &beat.gone);
        }
        if !beat.rtt.is_empty() {
            let trips: Vec<(NodeId, u64)> = beat.rtt.iter().map(|r| (r.node, r.ms)).collect();
            self.placer.measured(ms, &id, &trips);
        }
        self.reconcile(id, beat, ms);
        Ok(Reply::Beat(BeatAnswer {
            ttl: interval.ttl,
            down: interval.down,
            epoch,
        }))
    }

    /// Compares the copies that a node holds with those that it should hold.
    fn reconcile(&mut self, id: NodeId, beat: &Beat, ms: u64) {
        let at = self.state.last;
        let Some(row) = self.state.nodes.get(&id) else {
            return;
        };
        let mut drops = Vec::new();
        let mut held: Vec<u64> = Vec::with_capacity(beat.have.len());
        for have in &beat.have {
            if row.copies.get(&have.fence) == Some(&have.task) {
                held.push(have.fence);
            } else {
                let task = self.state.tasks.get(&have.task);
                let why = match task {
                    Some(task) if !task.life.state.ended() => Reason::Lease,
                    _ => Reason::Ended,
                };
                drops.push(Item::Drop {
                    at,
                    task: have.task,
                    fence: have.fence,
                    why,
                });
            }
        }
        held.sort_unstable();
        let mut missing = Vec::new();
        for (fence, task) in &row.copies {
            let copy = self.state.tasks.get(task).and_then(|t| t.life.copy(*fence));
            let old = copy.is_some_and(|c| c.placed.saturating_add(UNREPORTED) <= ms);
            if old && held.binary_search(fence).is_err() {
                missing.push((*fence, *task));
            }
        }
        let mut lost = Vec::new();
        if let Some(pulse) = self.lead.as_mut().and_then(|l| l.pulses.of.get_mut(&id)) {
            let before = core::mem::take(&mut pulse.lacks);
            for (fence, task) in missing {
                let times = before.get(&fence).map_or(0, |n| *n).saturating_add(1);
                if times >= LACKS {
                    lost.push((fence, task));
                } else {
                    pulse.lacks.insert(fence, times);
                }
            }
        }
        for item in drops {
            self.send_item(id, item);
        }
        for (fence, task) in lost {
            self.lose(task, fence, Reason::Lease);
        }
    }

    /// What a node's stream begins with: live copies and drops since `after`.
    pub(super) fn work(&mut self, caller: &Caller, id: &NodeId, after: u64) -> Served {
        if caller.node != *id {
            return Err(RefusalCode::NotYours.bare());
        }
        let row = self.state.nodes.get(id).ok_or(UNKNOWN)?;
        let from = after.saturating_add(1);
        let runs = row
            .copies
            .range(from..)
            .filter_map(|(f, t)| self.run_item(*t, *f));
        let drops = row
            .drops
            .iter()
            .filter(|d| d.at > after)
            .map(|d| Item::Drop {
                at: d.at,
                task: d.task,
                fence: d.fence,
                why: d.why,
            });
        let mut items: Vec<Item> = runs.map(|(_, item)| item).chain(drops).collect();
        items.sort_by_key(Item::at);
        Ok(Reply::Work(items))
    }

    /// Looks at nodes whose time has come: copies of drained and quarantined ones yield, abandoned ones are removed.
    pub(super) fn look_at_nodes(&mut self) {
        let ms = self.clock.ms();
        while self.has_room() {
            let Some(lead) = &mut self.lead else {
                return;
            };
            let due = lead
                .agenda
                .nodes
                .first()
                .filter(|(at, _)| *at <= ms)
                .map(|(_, id)| *id);
            let Some(id) = lead.agenda.dirty_nodes.pop_first().or(due) else {
                return;
            };
            if let Some(at) = lead.agenda.node_marks.remove(&id) {
                lead.agenda.nodes.remove(&(at, id));
            }
            let unfinished = self.look_at_node(id, ms);
            let wake = self.state.nodes.get(&id).and_then(NodeRow::wake);
            if let (Some(at), Some(lead)) = (wake, &mut self.lead) {
                lead.agenda.nodes.insert((at, id));
                lead.agenda.node_marks.insert(id, at);
            }
            if unfinished && let Some(lead) = &mut self.lead {
                lead.agenda.dirty_nodes.insert(id);
            }
        }
    }

    /// Returns whether it is to be looked at again at once.
    fn look_at_node(&mut self, id: NodeId, ms: u64) -> bool {
        let state = self.state.nodes.get(&id).map(NodeRow::state);
        let jailed = self.state.rated.is_jailed(&id);
        let idle = state.is_some_and(|s| s != NodeState::Active || jailed);
        if idle && self.pay_back(id) {
            return true;
        }
        let Some(row) = self.state.nodes.get(&id) else {
            return false;
        };
        let drained = row.wish == NodeState::Draining && row.until <= ms;
        if row.wish == NodeState::Quarantined || drained || jailed {
            let copies: Vec<(u64, betanet_fog::TaskId)> =
                row.copies.iter().map(|(f, t)| (*f, *t)).collect();
            for (fence, task) in copies {
                self.lose(task, fence, Reason::Drained);
            }
        }
        if drained {
            self.commit(Change::State {
                node: id,
                to: NodeState::Maintenance,
                until: 0,
            });
        }
        let row = self.state.nodes.get(&id);
        if row.is_some_and(|n| n.is_abandoned(ms) && n.copies.is_empty() && n.lots == 0) {
            self.commit(Change::Left { node: id });
        }
        false
    }

    pub(super) fn issue_token(&mut self, caller: &Caller, asked: &TokenRequest) -> Served {
        operator(caller)?;
        asked.check(self.clock.ms())?;
        let token = Token {
            id: asked.id,
            exp: asked.exp,
            key: *self.setup.key.as_bytes(),
            org: asked.org.clone(),
            pin: self.setup.pin,
            node: asked.node,
            addrs: self.setup.addrs.clone(),
            kinds: asked.kinds.clone(),
        };
        let wanted = hash(&[&betanet_fog::to_vec(asked)]);
        match self.state.tokens.get(&asked.id) {
            Some(row) if row.revoked => return Err(RefusalCode::TokenUsed.of("id")),
            Some(row) if row.hash == Some(wanted) => {}
            Some(_) => return Err(RefusalCode::InUse.of("id")),
            None if self.state.tokens.len() >= TOKENS_MAX => return Err(RefusalCode::Quota.bare()),
            None => {
                self.commit(Change::Issued {
                    id: asked.id,
                    exp: asked.exp,
                    hash: wanted,
                });
            }
        }
        Ok(Reply::Token(Box::new(token)))
    }

    pub(super) fn revoke_token(&mut self, caller: &Caller, id: [u8; 16]) -> Served {
        operator(caller)?;
        let row = self.state.tokens.get(&id).ok_or(UNKNOWN)?;
        if !row.revoked {
            self.commit(Change::Revoked { id });
        }
        Ok(Reply::Done)
    }
}
