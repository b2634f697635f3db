//! Posts one head of each epoch to a network's ledger of names, where everybody sees the same one.

mod countersign;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_bar::Request;
use betanet_durable::Role;
use betanet_keys::{Envelope, Identity, Maintainers, Peer};
use betanet_naming::Genesis;
use betanet_naming_service::ClientError;
use betanet_naming_service::client::{self as names, Trust};
use betanet_runtime::{Clock, Node};
use betanet_session::Answer as Response;
use tokio::time::Instant;

use crate::Error;
use crate::anchor::{Anchored, ECONOMY_HEAD, anchored};
use crate::shared::Shared;
use crate::state::{AnchorFault, Answer, Ask};

pub(crate) use countersign::run as countersign;

/// Pause after a post, until it is looked up, and between two tries.
const LOOK: Duration = Duration::from_secs(5);
/// Longest that a node is waited for that took a record, until that is final.
const FINAL: Duration = Duration::from_secs(60);
/// Longest that one node is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer: a record with its proof, and those that put signers in force.
const ANSWER_MAX: usize = 4 << 20;

/// Where heads are posted, and who signs the records.
#[derive(Clone, Debug)]
pub struct Anchoring {
    /// Nodes of the ledger of names, to which the leader posts. The next is tried where one does not answer, or where what it took does
    /// not become final.
    pub nodes: Vec<Peer>,
    /// First signers and maintainers of the network.
    pub network: Genesis,
    /// Keys of maintainers. Where they are too few, nodes that follow add the signatures of theirs.
    pub maintainers: Vec<Identity>,
    /// Time between two looks.
    pub look_every: Duration,
    /// Time after which a record that one node took, and that is not final, goes to the next.
    pub final_within: Duration,
}

impl Anchoring {
    /// Of this network, without a node and without a key.
    #[must_use]
    pub const fn new(network: Genesis) -> Self {
        Self {
            nodes: Vec::new(),
            network,
            maintainers: Vec::new(),
            look_every: LOOK,
            final_within: FINAL,
        }
    }

    /// Whether records can ever have enough signatures, and each key here is one that counts.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let (listed, needed) = (&self.network.maintainers, self.list().threshold());
        if listed.len() < needed {
            let listed = listed.len();
            return Err(Error::Maintainers { listed, needed });
        }
        let mut mine = self.maintainers.iter().map(Identity::public);
        match mine.find(|key| !listed.contains(key)) {
            Some(stranger) => Err(Error::Maintainer(Box::new(*stranger))),
            None => Ok(()),
        }
    }

    pub(crate) fn list(&self) -> Maintainers {
        Maintainers::new(&self.network.maintainers)
    }

    /// Adds the signatures of the keys here.
    fn sign(&self, envelope: &mut Envelope) {
        self.maintainers.iter().for_each(|key| envelope.sign(key));
    }
}

/// Why a head does not stand in the ledger of names.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the node is not reached: {0}")]
    Reached(betanet_runtime::DialError),
    #[error("the exchange broke off, or took longer than 20 s")]
    Exchange,
    #[error(transparent)]
    Names(#[from] ClientError),
    #[error("the record there is none of a head of this ledger")]
    Form,
    #[error("{0}")]
    Contradicts(AnchorFault),
    #[error(transparent)]
    Here(#[from] betanet_durable::Unavailable),
    #[error("the node took a record that is not final since")]
    Silent,
    #[error("{signed} of the network's maintainers signed the record, where {needed} are needed")]
    Few { signed: usize, needed: usize },
}

/// Posts for as long as the task runs.
pub(crate) async fn run(shared: Arc<Shared>, node: Arc<Node>, with: Anchoring) {
    let poster = Poster {
        list: with.list(),
        shared,
        node,
        with,
    };
    let mut trust = Trust::new(&poster.with.network);
    let clock = Clock::start();
    let mut at = 0_usize;
    // Since when the present node has a record of ours.
    let mut took: Option<Instant> = None;
    loop {
        tokio::time::sleep(poster.with.look_every).await;
        let posted = &poster.shared.posted;
        if !matches!(poster.shared.role(), Role::Leads(_)) {
            // Whoever leads posts.
            posted.since_ms.store(0, Ordering::Relaxed);
            continue;
        }
        let now = clock.now().unix_ms;
        let Some((record, read)) = poster.next(now).await else {
            continue;
        };
        let waits = &posted.since_ms;
        let _ = waits.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        let Some(peer) = poster.with.nodes.get(at % poster.with.nodes.len().max(1)) else {
            return;
        };
        let mut answered = poster.post(peer, &mut trust, &record, &read).await;
        match answered {
            // It may have dropped the record, or be cut off from the others.
            Ok(None) if took.is_some_and(|at| at.elapsed() >= poster.with.final_within) => {
                answered = Err(Lost::Silent);
            }
            Ok(None) => {
                took.get_or_insert_with(Instant::now);
            }
            _ => took = None,
        }
        match answered {
            // It stands once it is final: the next look tells.
            Ok(None) => {
                posted.tell("");
            }
            Ok(Some(stands)) => posted.stands(&stands),
            Err(Lost::Few { signed, needed }) => {
                let few = Lost::Few { signed, needed };
                posted.tell(&few.to_string());
            }
            Err(error) => {
                posted.failed.fetch_add(1, Ordering::Relaxed);
                if posted.tell(&error.to_string()) {
                    tracing::warn!(%error, node = %peer.name(), "no head is posted to the ledger of names");
                }
                at = at.wrapping_add(1);
                took = None;
            }
        }
    }
}

struct Poster {
    shared: Arc<Shared>,
    node: Arc<Node>,
    with: Anchoring,
    list: Maintainers,
}

impl Poster {
    /// The record that is to be posted; `None` if it stands already.
    async fn next(&self, now_ms: u64) -> Option<(Vec<u8>, Anchored)> {
        let list = self.list.hash();
        // One that found too few maintainers for so long makes room for that of a later epoch.
        let mut over = self.shared.posted.is_late(now_ms);
        loop {
            let asked = self.shared.ask(Ask::Anchor { list, over }).await;
            let Ok(Answer::Body(Some(record))) = asked else {
                return None;
            };
            let read = anchored(&record)?;
            if self.shared.posted.epochs.load(Ordering::Relaxed) <= read.epoch {
                return Some((record, read));
            }
            if std::mem::replace(&mut over, true) {
                return None;
            }
        }
    }

    /// Posts a record, unless one of its epoch or a later one stands already: returns that one.
    async fn post(
        &self,
        peer: &Peer,
        trust: &mut Trust,
        record: &[u8],
        ours: &Anchored,
    ) -> Result<Option<Anchored>, Lost> {
        let session = tokio::time::timeout(PATIENCE, self.node.session(peer)).await;
        let session = session
            .map_err(|_| Lost::Exchange)?
            .map_err(Lost::Reached)?;
        let subject = (ECONOMY_HEAD, &ours.genesis[..]);
        let request = names::registry_request(subject.0, subject.1);
        let answer = within(session.ask(request)).await?;
        let bytes = body(answer).await?;
        if let Some(standing) = names::registered(&bytes, subject, trust)? {
            let theirs = anchored(standing.record()).ok_or(Lost::Form)?;
            let compared = self.shared.ask(Ask::Agrees(theirs.head.clone())).await?;
            if let Answer::Anchored(Err(fault)) = compared {
                return Err(Lost::Contradicts(fault));
            }
            if theirs.epoch >= ours.epoch {
                return Ok(Some(theirs));
            }
        }
        let envelope = self.signed(record)?;
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
            Err(Lost::Names(ClientError::Refused(refusal))) if refusal.status == 409 => Ok(None),
            Err(lost) => Err(lost),
        }
    }

    /// The record with the signatures here and those that followers brought, if they are enough.
    fn signed(&self, record: &[u8]) -> Result<Envelope, Lost> {
        let envelope = self.shared.posted.collects(record, |envelope| {
            self.with.sign(envelope);
        });
        let envelope = envelope.ok_or(Lost::Form)?;
        let (signed, needed) = (envelope.signatures(), self.list.threshold());
        match signed >= needed {
            true => Ok(envelope),
            false => Err(Lost::Few { signed, needed }),
        }
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
