//! The leader's side: it asks other coordinators for the signatures that its own keys lack.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Headers, Method, Request as BarRequest};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{DialError, Node, SessionConfig};
use betanet_tokenomics::account::address;
use betanet_tokenomics::request::REQUEST_LABEL;
use betanet_tokenomics::{Hash, Request};
use betanet_wire::{NodeId, cbor};
use tokio::task::JoinSet;

use super::PREFIX;
use super::body::{Proposal, Receipts, RefusedBody, Shown, SignedBody};
use crate::items::Proof;

/// Longest that one coordinator is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer.
const ANSWER_MAX: usize = 4_096;

/// Why there is no signature of a coordinator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Lack {
    /// It does not answer.
    Silent,
    /// It cannot tell now.
    NotNow,
    /// It looked, and does not sign.
    Refused,
}

/// Coordinators in other processes.
pub(crate) struct Cosigners {
    own: Identity,
    peers: Vec<Peer>,
    node: Mutex<Option<Arc<Node>>>,
    /// Accounts of the peers, those that answered last first.
    order: Mutex<Vec<NodeId>>,
}

impl std::fmt::Debug for Cosigners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cosigners").field(&self.peers.len()).finish()
    }
}

fn account(peer: &Peer) -> NodeId {
    address(peer.key.as_bytes())
}

impl Cosigners {
    pub(crate) fn new(own: Identity, peers: Vec<Peer>) -> Self {
        let order = peers.iter().map(account).collect();
        Self {
            own,
            peers,
            node: Mutex::default(),
            order: Mutex::new(order),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    fn order(&self) -> std::sync::MutexGuard<'_, Vec<NodeId>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their accounts, in the order in which they are asked.
    pub(crate) fn accounts(&self) -> Vec<NodeId> {
        self.order().clone()
    }

    /// From now on this one is asked last.
    fn put_last(&self, id: &NodeId) {
        let mut order = self.order();
        order.retain(|other| other != id);
        order.push(*id);
    }

    fn node(&self) -> Result<Arc<Node>, DialError> {
        let mut node = self.node.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = &*node {
            return Ok(Arc::clone(node));
        }
        let made = Node::new(Some(self.own.clone()), SessionConfig::default())?;
        let made = Arc::new(made);
        *node = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Asks these for their signatures of a request. Returns those that came, and why the others did not.
    pub(crate) async fn ask(
        &self,
        genesis: Hash,
        request: &Request,
        proof: &Proof,
        whom: &[NodeId],
    ) -> (Vec<(NodeId, [u8; 64])>, Vec<(NodeId, Lack)>) {
        let shown = |r: &betanet_fog::Signed<betanet_fog::Receipt>| Shown {
            rec: r.rec().to_vec(),
            sig: r.envelope().sig,
        };
        let body = cbor::to_vec(&Proposal {
            bid: proof.bid,
            request: request.body(),
            percent: proof.percent,
            task: &proof.task,
            receipts: Receipts(proof.receipts.iter().map(shown).collect()),
            factor: proof.factor,
        });
        let body = bytes::Bytes::from(body);
        let node = match self.node() {
            Ok(node) => node,
            Err(error) => {
                tracing::warn!(%error, "no other coordinator can be reached");
                let all = whom.iter().map(|id| (*id, Lack::Silent));
                return (Vec::new(), all.collect());
            }
        };
        let mut asked = JoinSet::new();
        for id in whom {
            let Some(peer) = self.peers.iter().find(|p| account(p) == *id).cloned() else {
                continue;
            };
            let (node, body, id) = (Arc::clone(&node), body.clone(), *id);
            let text = request.body().to_vec();
            asked.spawn(async move {
                let signed = tokio::time::timeout(PATIENCE, one(&node, &peer, body)).await;
                let sig = signed.unwrap_or(Err(Lack::Silent)).and_then(|sig| {
                    let good = peer.key.verify(REQUEST_LABEL, &[&genesis, &text], &sig);
                    good.map(|()| sig).map_err(|_| Lack::Refused)
                });
                (id, sig)
            });
        }
        let (mut signed, mut lacking) = (Vec::new(), Vec::new());
        for (id, sig) in asked.join_all().await {
            match sig {
                Ok(sig) => signed.push((id, sig)),
                Err(lack) => {
                    self.put_last(&id);
                    lacking.push((id, lack));
                }
            }
        }
        (signed, lacking)
    }
}

/// Asks one coordinator.
async fn one(node: &Node, peer: &Peer, body: bytes::Bytes) -> Result<[u8; 64], Lack> {
    let silent = |error: &dyn std::fmt::Display| {
        tracing::debug!(%error, peer = %peer.name(), "a coordinator does not answer");
        Lack::Silent
    };
    let session = node.session(peer).await.map_err(|e| silent(&e))?;
    let headers = Headers::default()
        .with("content-type", "application/cbor")
        .with("content-length", body.len().to_string());
    let request = BarRequest::new(Method::Post, &format!("{PREFIX}/sign"), headers);
    let upload = session.upload(request).await.map_err(|e| silent(&e))?;
    match upload.send(body).await {
        Ok(()) | Err(betanet_session::Error::Answered) => {}
        Err(error) => return Err(silent(&error)),
    }
    let mut answer = upload.finish().await.map_err(|e| silent(&e))?;
    let read = answer.body.all(ANSWER_MAX).await.map_err(|e| silent(&e))?;
    let bytes = read.unwrap_or_default();
    match answer.head.status {
        200 => {
            let signed = cbor::from_slice::<SignedBody>(&bytes);
            signed.map(|s| s.sig).map_err(|_| Lack::Refused)
        }
        status => {
            let why = cbor::from_slice::<RefusedBody<'_>>(&bytes);
            let why: String = why.map_or_else(|_| String::new(), |body| body.why.into());
            let why: String = why.chars().filter(|c| !c.is_control()).collect();
            tracing::warn!(status, why, peer = %peer.name(), "a coordinator does not sign a settlement");
            match status {
                // It cannot tell now, or its service is not there yet.
                404 | 429 | 503 => Err(Lack::NotNow),
                _ => Err(Lack::Refused),
            }
        }
    }
}
