//! A follower with keys of maintainers: it signs the leader's record of an epoch's head, if that head is final here.

use std::sync::Arc;

use betanet_keys::{Envelope, Peer};
use betanet_runtime::Node;

use super::Anchoring;
use crate::follow::{self, Lost as Exchange};
use crate::shared::Shared;
use crate::state::{AnchorFault, Answer, Ask};

#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Exchange(#[from] Exchange),
    #[error(transparent)]
    Here(#[from] betanet_durable::Unavailable),
    #[error(transparent)]
    Refused(#[from] AnchorFault),
    #[error("the leader's record does not read")]
    Form,
}

/// Signs for as long as the task runs.
pub(crate) async fn run(shared: Arc<Shared>, node: Arc<Node>, with: Anchoring) {
    let mut last = String::new();
    while let Some(leader) = shared.leader() {
        match round(&shared, &node, leader, &with).await {
            // The head may be final here a moment later than there.
            Ok(()) | Err(Lost::Exchange(_) | Lost::Refused(AnchorFault::Early { .. })) => {
                last.clear();
            }
            Err(error) => {
                let why = error.to_string();
                if why != last {
                    tracing::warn!(error = why, leader = %leader.name(), "the head of an epoch is not signed for the ledger of names");
                    last = why;
                }
            }
        }
        tokio::time::sleep(with.look_every).await;
    }
}

async fn round(shared: &Shared, node: &Node, leader: &Peer, with: &Anchoring) -> Result<(), Lost> {
    let session = node.session(leader).await.map_err(Exchange::Reached)?;
    let Some(bytes) = follow::get(&session, "anchor").await? else {
        return Ok(());
    };
    let shown = Envelope::from_bytes(&bytes).map_err(|_| Lost::Form)?;
    let mut own = Envelope::new(shown.record().to_vec()).map_err(|_| Lost::Form)?;
    with.sign(&mut own);
    let mut together = shown.clone();
    let joined = together.join(&own);
    joined.map_err(|_| Lost::Form)?;
    // The leader shows the signatures that it took.
    if together == shown {
        return Ok(());
    }
    // Kept on disk before a signature leaves.
    match shared
        .ask(Ask::Countersign(shown.record().to_vec()))
        .await?
    {
        Answer::Anchored(checked) => checked?,
        _ => return Err(Lost::Form),
    }
    Ok(follow::post(&session, "anchor", own.to_bytes()).await?)
}
