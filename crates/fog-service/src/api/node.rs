//! Requests of nodes, and those of operators about nodes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_coordinator::{Caller, Reply, Request};
use betanet_fog::bodies::{
    Beat, Join, Nack, Start, StateRequest, TokenAnswer, TokenRequest, WorkItem,
};
use betanet_fog::{
    Item, Node, Receipt, Received, Refusal, RefusalCode, Signed, Task, TaskId, from_slice,
};
use betanet_wire::NodeId;
use tokio::time::Instant;

use super::{Answer, Api, Op, Query, Verified, odd};

/// Time for which a node is known to be one of the cluster.
const KNOWN: Duration = Duration::from_secs(60);

/// Most nodes that are remembered so.
const KNOWN_MAX: usize = 1 << 16;

/// NodeIDs that were found to be nodes of the cluster.
#[derive(Debug, Default)]
pub(crate) struct KnownNodes(Mutex<BTreeMap<NodeId, Instant>>);

impl KnownNodes {
    fn has(&self, id: &NodeId) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|at| at.elapsed() < KNOWN)
    }

    fn note(&self, id: NodeId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, at| at.elapsed() < KNOWN);
        }
        if known.len() < KNOWN_MAX {
            known.insert(id, Instant::now());
        }
    }
}

impl Api {
    /// Whether somebody is a node of the cluster.
    pub(super) async fn is_node(&self, caller: &Caller) -> Result<bool, Refusal> {
        if self.nodes.has(&caller.node) {
            return Ok(true);
        }
        let listed = Request::Nodes {
            state: None,
            after: before(caller.node),
            n: 1,
        };
        let Reply::Nodes(page) = self.ask(caller.clone(), listed).await? else {
            return Ok(false);
        };
        let is = page.items.first().is_some_and(|n| n.id == caller.node);
        if is {
            self.nodes.note(caller.node);
        }
        Ok(is)
    }

    pub(super) async fn node(
        self: &Arc<Self>,
        op: Op,
        by: Verified,
        query: &Query,
        body: &[u8],
    ) -> Result<Answer, Refusal> {
        match op {
            Op::Join => {
                let Join { node, token } = from_slice(body)?;
                let node = Box::new(Received::<Node>::new(node)?);
                let joined = self.ask(by.caller, Request::Join { node, token }).await?;
                let Reply::Joined(answer, _) = joined else {
                    return Err(odd());
                };
                Ok(Answer::item(201, &answer))
            }
            Op::Describe(id) => {
                let authentic = self.keys.verify(Received::<Node>::read(body)?)?;
                let signer = *authentic.signer();
                if signer.node_id() != id {
                    return Err(RefusalCode::NotYours.of("key"));
                }
                let node = authentic.check(self.now_ms())?;
                let caller = by.sends(self, &signer);
                self.order(caller, Request::Describe(Box::new(node))).await
            }
            Op::Leave(id) => self.order(by.caller, Request::Leave(id)).await,
            Op::Beat(id) => {
                let beat: Beat = from_slice(body)?;
                let asked = Request::Beat(id, Box::new(beat));
                let Reply::Beat(answer) = self.ask(by.caller, asked).await? else {
                    return Err(odd());
                };
                Ok(Answer::item(200, &answer))
            }
            Op::Work(id) => {
                let items = self.work(by, id, query).await?;
                Ok(Answer::Items(items, &WorkItem::SHAPE))
            }
            Op::State(id) => {
                let asked: StateRequest = from_slice(body)?;
                self.order(by.caller, Request::State(id, asked)).await
            }
            Op::Start(task) => {
                let Start { fence } = from_slice(body)?;
                self.order(by.caller, Request::Start(task, fence)).await
            }
            Op::Nack(task) => {
                let Nack { fence, .. } = from_slice(body)?;
                self.order(by.caller, Request::Nack(task, fence)).await
            }
            Op::Done(task) => {
                let received = Received::<Receipt>::read(body)?;
                let authentic = self.keys.verify_with_others(received).await?;
                let signer = *authentic.signer();
                let receipt = authentic.check(self.now_ms())?;
                let caller = by.sends(self, &signer);
                let asked = Request::Done(task, Box::new(receipt));
                self.order(caller, asked).await
            }
            Op::IssueToken => {
                let asked: TokenRequest = from_slice(body)?;
                let Reply::Token(token) = self.ask(by.caller, Request::IssueToken(asked)).await?
                else {
                    return Err(odd());
                };
                let token = Signed::sign(*token, &self.identity)?.to_text()?;
                let token = token.into();
                Ok(Answer::item(201, &TokenAnswer { token }))
            }
            Op::RevokeToken(id) => self.order(by.caller, Request::RevokeToken(id)).await,
            _ => Err(odd()),
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.handle.shared.clock.now().unix_ms
    }

    /// Checks a signed task for its owner: size, encoding, types, signature, role, bounds.
    pub(super) async fn task_of(
        &self,
        by: Verified,
        body: &[u8],
        named: Option<TaskId>,
    ) -> Result<(Caller, Signed<Task>), Refusal> {
        let authentic = self
            .keys
            .verify_with_others(Received::<Task>::read(body)?)
            .await?;
        let signer = *authentic.signer();
        let ns = authentic.namespace()?;
        let caller = by.clone().sends(self, &signer);
        if caller.key != *signer.as_bytes() {
            return Err(RefusalCode::NotYours.of("owner"));
        }
        if !caller.namespaces.contains(&ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        let task = authentic.check(self.now_ms())?;
        if named.is_some_and(|id| id != task.id()) {
            return Err(RefusalCode::Digest.of("path"));
        }
        by.may_ask_directly(task.level)?;
        Ok((caller, task))
    }
}

/// The NodeID before this one, from which a page that begins with it goes on.
fn before(mut id: NodeId) -> Option<NodeId> {
    for byte in id.0.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            return Some(id);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_before_is_one_less() {
        let mut id = [0; 20];
        assert_eq!(before(NodeId(id)), None);
        id[18] = 1;
        let mut less = [0; 20];
        less[19] = 255;
        assert_eq!(before(NodeId(id)), Some(NodeId(less)));
        less[19] = 254;
        let mut more = less;
        more[19] = 255;
        assert_eq!(before(NodeId(more)), Some(NodeId(less)));
    }

    #[test]
    fn a_node_is_forgotten_beyond_the_bound() {
        let known = KnownNodes::default();
        let id = |n: u32| {
            let mut id = [0; 20];
            id[..4].copy_from_slice(&n.to_be_bytes());
            NodeId(id)
        };
        let most = u32::try_from(KNOWN_MAX).unwrap();
        for n in 0..=most {
            known.note(id(n));
        }
        assert!(known.has(&id(0)));
        assert!(!known.has(&id(most)));
    }
}
