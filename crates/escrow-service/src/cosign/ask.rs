//! The leader's side: it asks other coordinators for the signatures that its own keys lack.

use std::collections::BTreeMap;
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
use tokio::time::Instant;

use super::PREFIX;
use super::body::{Proposal, Receipts, RefusedBody, Shown, SignedBody};
use crate::items::Proof;

/// Longest that one coordinator is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest pause after which one that did not answer is asked again.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_MAX: usize = 4_096;

/// Pause after so many tries in vain: a second, then twice as long each time, at most a minute.
pub(crate) fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.saturating_sub(1).min(6)).min(PAUSE_MAX)
}

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
    asked: Mutex<Asked>,
}

/// How coordinators answered.
struct Asked {
    /// Accounts of the peers. Whoever did not answer is last.
    order: Vec<NodeId>,
    /// Those that do not answer: the number of tries in a row, and until when none of them is asked.
    quiet: BTreeMap<NodeId, (u32, Instant)>,
}

impl Asked {
    fn of(order: Vec<NodeId>) -> Self {
        Self {
            order,
            quiet: BTreeMap::new(),
        }
    }

    /// One that refuses keeps its place: it may sign the next one.
    fn answered(&mut self, id: &NodeId) {
        self.quiet.remove(id);
    }

    fn silent(&mut self, id: NodeId, now: Instant) {
        self.order.retain(|other| *other != id);
        self.order.push(id);
        let (tries, until) = self.quiet.entry(id).or_insert((0, now));
        *tries = tries.saturating_add(1);
        *until = now + pause(*tries);
    }

    fn is_quiet(&self, id: &NodeId, now: Instant) -> bool {
        self.quiet.get(id).is_some_and(|(_, until)| now < *until)
    }
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
        let asked = Asked::of(peers.iter().map(account).collect());
        Self {
            own,
            peers,
            node: Mutex::default(),
            asked: Mutex::new(asked),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Their accounts, in the order in which they are asked.
    pub(crate) fn accounts(&self) -> Vec<NodeId> {
        self.asked().order.clone()
    }

    /// Whether one did not answer lately, so that nobody waits for it now.
    pub(crate) fn is_quiet(&self, id: &NodeId) -> bool {
        self.asked().is_quiet(id, Instant::now())
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
                Ok(sig) => {
                    self.asked().answered(&id);
                    signed.push((id, sig));
                }
                Err(lack) => {
                    match lack {
                        Lack::Silent => self.asked().silent(id, Instant::now()),
                        Lack::NotNow | Lack::Refused => self.asked().answered(&id),
                    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses = [1, 2, 3, 6, 7, 8, u32::MAX].map(|tries| pause(tries).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn one_that_is_silent_is_last_and_left_alone_and_one_that_refuses_is_not() {
        let [a, b, c] = [1, 2, 3].map(|n| NodeId([n; 20]));
        let (mut asked, now) = (Asked::of(vec![a, b, c]), Instant::now());
        let second = Duration::from_secs(1);
        asked.answered(&a);
        assert_eq!(asked.order, [a, b, c]);
        asked.silent(b, now);
        assert_eq!(asked.order, [a, c, b]);
        assert!(asked.is_quiet(&b, now) && !asked.is_quiet(&b, now + second));
        assert!(!asked.is_quiet(&a, now) && !asked.is_quiet(&c, now));
        asked.silent(b, now + second);
        assert!(asked.is_quiet(&b, now + 2 * second));
        assert!(!asked.is_quiet(&b, now + 3 * second));
        asked.answered(&b);
        assert!(!asked.is_quiet(&b, now + second));
        asked.silent(b, now);
        assert!(!asked.is_quiet(&b, now + second));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nobody_waits_again_for_one_that_did_not_answer() {
        let seed = |n| Identity::from_seed(&[n; 32]);
        let dead = Peer {
            key: *seed(2).public(),
            addrs: vec!["127.0.0.1:1".into()],
            pin: None,
        };
        let id = account(&dead);
        let asker = Cosigners::new(seed(1), vec![dead]);
        let op = betanet_tokenomics::request::Op::Settle {
            status: "drop".to_owned(),
            out: Vec::new(),
            end: true,
            list: Vec::new(),
            res: [1; 16],
        };
        let request = Request::new(&[(id, 0)], 0, [1; 16], &op).unwrap();
        let asked = asker.ask([1; 32], &request, &Proof::default(), &[id]).await;
        assert_eq!(asked, (vec![], vec![(id, Lack::Silent)]));
        assert!(asker.is_quiet(&id));
    }
}
