//! Posts one head of each epoch to a network's ledger of names, where everybody sees the same one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::Request;
use betanet_durable::Role;
use betanet_keys::{Envelope, Identity, Maintainers, Peer};
use betanet_naming::Genesis;
use betanet_naming_service::client::{self as names, Trust};
use betanet_runtime::{Clock, Node};
use betanet_session::Answer as Response;

use crate::anchor::{ECONOMY_HEAD, anchored};
use crate::shared::Shared;
use crate::state::{Answer, Ask};

/// Pause after a post, until it is looked up, and between two tries.
const LOOK: Duration = Duration::from_secs(5);
/// Longest that one node is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer: a record with its proof, and those that put signers in force.
const ANSWER_MAX: usize = 4 << 20;
/// Time without a posted head, in ms, after which the node is unhealthy.
const LATE_MS: u64 = 600_000;

/// Where heads are posted, and who signs the records.
#[derive(Clone, Debug)]
pub struct Anchoring {
    /// Nodes of the ledger of names. The next is tried where one does not answer.
    pub nodes: Vec<Peer>,
    /// First signers and maintainers of the network.
    pub network: Genesis,
    /// Keys of maintainers. Together they must be enough for a registry record.
    pub maintainers: Vec<Identity>,
}

impl Anchoring {
    /// Number of maintainers that must sign, and of those whose keys are here.
    #[must_use]
    pub fn signed(&self) -> (usize, usize) {
        let list = &self.network.maintainers;
        let here = list.iter().filter(|key| {
            let mut keys = self.maintainers.iter();
            keys.any(|k| k.public() == *key)
        });
        (betanet_keys::threshold(list.len()), here.count())
    }
}

/// What became of posts.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    /// Epochs whose head, or a later one's, stands in the ledger of names: the last one and 1.
    pub(crate) epochs: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Since when a head is to be posted, in UNIX ms; 0 without one.
    pub(crate) since_ms: AtomicU64,
    /// Why the last try failed.
    why: Mutex<String>,
}

impl Posted {
    fn why(&self) -> std::sync::MutexGuard<'_, String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong, for the node's health.
    pub(crate) fn fault(&self, now_ms: u64) -> Option<String> {
        let since = self.since_ms.load(Ordering::Relaxed);
        if since == 0 || now_ms.saturating_sub(since) < LATE_MS {
            return None;
        }
        let why = self.why().clone();
        Some(format!(
            "no head of this epoch stands in the ledger of names for 10 minutes: {why}"
        ))
    }
}

/// Why a head was not posted.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the node is not reached: {0}")]
    Reached(betanet_runtime::DialError),
    #[error("the exchange broke off, or took longer than 20 s")]
    Exchange,
    #[error(transparent)]
    Names(#[from] betanet_naming_service::ClientError),
    #[error("another head of the same epoch stands there")]
    Other,
}

/// Posts for as long as the task runs.
pub(crate) async fn run(shared: Arc<Shared>, node: Arc<Node>, with: Anchoring) {
    let mut trust = Trust::new(&with.network);
    let list = Maintainers::new(&with.network.maintainers);
    let clock = Clock::start();
    let mut at = 0_usize;
    loop {
        tokio::time::sleep(LOOK).await;
        if !matches!(shared.role(), Role::Leads(_)) {
            // Whoever leads posts.
            shared.posted.since_ms.store(0, Ordering::Relaxed);
            continue;
        }
        let Ok(Answer::Body(Some(record))) = shared.ask(Ask::Anchor(list.hash())).await else {
            continue;
        };
        let posted = &shared.posted;
        let Some(epoch) = anchored(&record).map(|anchored| anchored.epoch) else {
            continue;
        };
        if posted.epochs.load(Ordering::Relaxed) > epoch {
            continue;
        }
        let now = clock.now().unix_ms;
        let waits = &posted.since_ms;
        let _ = waits.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        let Some(peer) = with.nodes.get(at % with.nodes.len().max(1)) else {
            return;
        };
        match post(&node, peer, &mut trust, &record, &with.maintainers).await {
            // It stands once it is final: the next look tells.
            Ok(None) => {}
            Ok(Some(stands)) => {
                posted
                    .epochs
                    .store(stands.saturating_add(1), Ordering::Relaxed);
                waits.store(0, Ordering::Relaxed);
            }
            Err(error) => {
                posted.failed.fetch_add(1, Ordering::Relaxed);
                let why = error.to_string();
                if *posted.why() != why {
                    tracing::warn!(error = why, node = %peer.name(), "no head is posted to the ledger of names");
                }
                *posted.why() = why;
                at = at.wrapping_add(1);
            }
        }
    }
}

/// Posts a record, unless one of its epoch or a later one stands already: returns that epoch.
async fn post(
    node: &Node,
    peer: &Peer,
    trust: &mut Trust,
    record: &[u8],
    maintainers: &[Identity],
) -> Result<Option<u64>, Lost> {
    let ours = anchored(record).ok_or(Lost::Other)?;
    let session = tokio::time::timeout(PATIENCE, node.session(peer)).await;
    let session = session
        .map_err(|_| Lost::Exchange)?
        .map_err(Lost::Reached)?;
    let subject = (ECONOMY_HEAD, &ours.genesis[..]);
    let request = names::registry_request(subject.0, subject.1);
    let answer = within(session.ask(request)).await?;
    let bytes = body(answer).await?;
    if let Some(standing) = names::registered(&bytes, subject, trust)? {
        let theirs = anchored(standing.record()).ok_or(Lost::Other)?;
        if theirs.epoch == ours.epoch && standing.record() != record {
            return Err(Lost::Other);
        }
        if theirs.epoch >= ours.epoch {
            return Ok(Some(theirs.epoch));
        }
    }
    let mut envelope = Envelope::new(record.to_vec()).map_err(|_| Lost::Other)?;
    for maintainer in maintainers {
        envelope.sign(maintainer);
    }
    let bytes = envelope.to_bytes();
    let request: Request = names::submit_request(&bytes);
    let upload = within(session.upload(request)).await?;
    match within(upload.send(bytes.into())).await {
        Ok(()) | Err(Lost::Exchange) => {}
        Err(lost) => return Err(lost),
    }
    let answer = within(upload.finish()).await?;
    match body(answer).await {
        Ok(_) => Ok(None),
        // It waits there since an earlier try.
        Err(Lost::Names(betanet_naming_service::ClientError::Refused(refusal)))
            if refusal.status == 409 =>
        {
            Ok(None)
        }
        Err(lost) => Err(lost),
    }
}

async fn within<T, E>(doing: impl Future<Output = Result<T, E>>) -> Result<T, Lost> {
    match tokio::time::timeout(PATIENCE, doing).await {
        Ok(Ok(done)) => Ok(done),
        _ => Err(Lost::Exchange),
    }
}

async fn body(answer: Response) -> Result<Vec<u8>, Lost> {
    let read = tokio::time::timeout(PATIENCE, names::body(answer, ANSWER_MAX)).await;
    Ok(read.map_err(|_| Lost::Exchange)??)
}
