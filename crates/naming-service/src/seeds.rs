//! Bootstrap peers from the ledger's registry.

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_keys::Peer;
use betanet_mesh::{BOOTSTRAP_TYPE, Bootstrap, SeedPeer};
use betanet_naming::Genesis;
use betanet_runtime::{Clock, Node, SeedSource, SeedsFuture};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::body::ANSWER_MAX;
use crate::client::{self, ClientError, Trust};

/// Longest that one node is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nodes that are believed together: one alone could hide a record.
const ENOUGH: usize = 2;

/// Asks nodes of a network's ledger for its `BootstrapPeer` records. Each counts only with a proof that it is final, and with the
/// signatures of enough maintainers.
///
/// Give it to the network that a mesh is started with: `network.more_seeds`, or `config.mesh.more_seeds` of a gateway.
pub struct RegistrySeeds {
    node: Node,
    nodes: Vec<Peer>,
    trust: Mutex<Trust>,
}

/// Reason why a node gave no records.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Dial(#[from] betanet_runtime::DialError),
    #[error(transparent)]
    Session(#[from] betanet_session::Error),
    #[error(transparent)]
    Answer(#[from] ClientError),
}

impl RegistrySeeds {
    /// Asks these nodes, which `node` dials. Use one without a lasting identity: seeds are no secret, but who looks for them may be.
    #[must_use]
    pub fn new(node: Node, nodes: Vec<Peer>, genesis: &Genesis) -> Self {
        Self {
            node,
            nodes,
            trust: Mutex::new(Trust::new(genesis)),
        }
    }

    async fn ask(&self, peer: &Peer, trust: &mut Trust) -> Result<Vec<Bootstrap>, Failed> {
        let session = self.node.session_over(&[], peer).await?;
        let asked = async {
            let request = client::registry_list_request(BOOTSTRAP_TYPE);
            let answer = session.ask(request).await?;
            Ok::<_, Failed>(client::body(answer, ANSWER_MAX).await?)
        };
        let bytes = asked.await;
        session.close().await;
        let envelopes = client::registry(&bytes?, BOOTSTRAP_TYPE, trust)?;
        // Maintainers of a later version may sign what this one does not read.
        let read = envelopes.iter().map(|e| Bootstrap::from_record(e.record()));
        Ok(read.filter_map(Result::ok).collect())
    }

    async fn found(&self) -> Option<Vec<SeedPeer>> {
        let mut trust = self.trust.lock().await;
        let (mut answered, mut newest) = (0, BTreeMap::<[u8; 32], Bootstrap>::new());
        for peer in &self.nodes {
            match timeout(PATIENCE, self.ask(peer, &mut trust)).await {
                Ok(Ok(list)) => {
                    answered += 1;
                    for one in list {
                        let known = newest.get(one.peer.key.as_bytes());
                        if known.is_none_or(|known| known.seq < one.seq) {
                            newest.insert(*one.peer.key.as_bytes(), one);
                        }
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "a ledger node gave no bootstrap peers"),
                Err(_) => tracing::debug!("a ledger node did not answer"),
            }
            if answered == ENOUGH {
                break;
            }
        }
        let now = Clock::start().now().unix_ms;
        let good = newest.into_values().filter(|one| one.counts(now));
        (answered > 0).then(|| good.map(|one| one.peer).collect())
    }
}

impl SeedSource for RegistrySeeds {
    fn seeds(&self) -> SeedsFuture<'_> {
        Box::pin(self.found())
    }
}

impl std::fmt::Debug for RegistrySeeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegistrySeeds({} nodes)", self.nodes.len())
    }
}
