//! Changes of nodes.

use betanet_fog::{Node, NodeState, Signed};

use super::nodes::NodeRow;
use super::{About, Damaged, Effect, State, UNKNOWN};
use crate::record::Change;

impl State {
    pub(super) fn apply_node(
        &mut self,
        index: u64,
        ts: u64,
        change: &Change,
    ) -> Result<About, Damaged> {
        let id = match change {
            Change::Joined {
                node,
                token,
                exp,
                vouched,
            } => {
                let signed = Signed::<Node>::restore(node).map_err(|_| Damaged("node"))?;
                let id = signed.id().map_err(|_| Damaged("node"))?;
                let mut row = NodeRow::joining(&signed, index, *vouched, *token);
                if let Some(gone) = self.nodes.gone(&id) {
                    row.trust = gone.trust;
                    if gone.quarantined {
                        row.wish = NodeState::Quarantined;
                    }
                }
                let used = self.tokens.entry(*token).or_default();
                used.exp = *exp;
                used.used = Some(id);
                if self.nodes.get(&id).is_some() {
                    return Err(Damaged("node that is not known"));
                }
                self.nodes.insert(id, row);
                id
            }
            Change::Described { node } => {
                let signed = Signed::<Node>::restore(node).map_err(|_| Damaged("node"))?;
                let id = signed.id().map_err(|_| Damaged("node"))?;
                self.nodes
                    .change(&id, |row| row.describe(&signed))
                    .ok_or(UNKNOWN)?;
                id
            }
            Change::Online { node } => {
                let online = |row: &mut NodeRow| {
                    row.beaten = true;
                    row.silent = None;
                };
                self.nodes.change(node, online).ok_or(UNKNOWN)?;
                *node
            }
            Change::Offline { node, since } => {
                let silent = Some((*since, ts));
                self.nodes
                    .change(node, |row| row.silent = silent)
                    .ok_or(UNKNOWN)?;
                *node
            }
            Change::State { node, to, until } => {
                let state = |row: &mut NodeRow| {
                    row.wish = *to;
                    row.until = *until;
                };
                self.nodes.change(node, state).ok_or(UNKNOWN)?;
                *node
            }
            Change::Left { node } => {
                if !self.nodes.remove(node, index) {
                    return Err(UNKNOWN);
                }
                *node
            }
            _ => return Err(Damaged("change of a node")),
        };
        self.effect(Effect::Node(id));
        Ok((Some(id), None, None))
    }
}
