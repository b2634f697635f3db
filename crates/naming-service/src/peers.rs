//! The other ledger nodes, and requests to them.

use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_keys::{Peer, PublicKey};
use betanet_runtime::{Node, SessionHandle};
use betanet_wire::NodeId;

use crate::body::ANSWER_MAX;
use crate::client::{self, ClientError};

/// Longest that a peer's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The nodes that were named, and those of the signers.
pub(crate) struct Peers {
    node: Node,
    peers: Vec<Peer>,
    signers: Vec<(PublicKey, NodeId)>,
}

impl Peers {
    pub(crate) fn new(
        node: Node,
        me: NodeId,
        named: &[Peer],
        signers: &[(PublicKey, Peer)],
    ) -> Self {
        let mut peers: Vec<Peer> = Vec::new();
        for peer in named.iter().chain(signers.iter().map(|(_, peer)| peer)) {
            let node = peer.key.node_id();
            if node != me && !peers.iter().any(|p| p.key == peer.key) {
                peers.push(peer.clone());
            }
        }
        let signers = signers.iter().map(|(key, peer)| (*key, peer.key.node_id()));
        Self {
            node,
            peers,
            signers: signers.collect(),
        }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().map(|p| p.key.node_id())
    }

    pub(crate) fn has(&self, node: NodeId) -> bool {
        self.nodes().any(|n| n == node)
    }

    /// The node of a signer.
    pub(crate) fn of_signer(&self, key: &[u8; 32]) -> Option<NodeId> {
        let mut all = self.signers.iter();
        all.find(|(k, _)| k.as_bytes() == key)
            .map(|(_, node)| *node)
    }

    pub(crate) async fn session(&self, node: NodeId) -> Option<SessionHandle> {
        let peer = self.peers.iter().find(|p| p.key.node_id() == node)?;
        match self.node.session_over(&[], peer).await {
            Ok(session) => Some(session),
            Err(error) => {
                tracing::debug!(peer = %peer.name(), %error, "a ledger node is not reached");
                None
            }
        }
    }

    /// Sends a body to a node. `None` if it is not reached or does not answer.
    pub(crate) async fn post(
        &self,
        node: NodeId,
        path: &str,
        body: Vec<u8>,
    ) -> Option<Result<Vec<u8>, ClientError>> {
        let sent = async {
            let session = self.session(node).await?;
            let headers = Headers::default().with("content-length", body.len().to_string());
            let target = format!("{}/{path}", crate::PREFIX);
            let request = Request::new(Method::Post, &target, headers);
            let upload = session.upload(request).await.ok()?;
            match upload.send(body.into()).await {
                Ok(()) | Err(betanet_session::Error::Answered) => {}
                Err(_) => return None,
            }
            let answer = upload.finish().await.ok()?;
            Some(client::body(answer, ANSWER_MAX).await)
        };
        tokio::time::timeout(PATIENCE, sent).await.ok().flatten()
    }

    pub(crate) async fn close(&self) {
        self.node.close().await;
    }
}
