//! The online signer: proposes when it is its turn, collects the other signers' signatures, and gives the head to all.

use std::sync::Arc;
use std::time::Duration;

use betanet_bar::status;
use betanet_log::{SignedHead, Signers};
use betanet_naming::Verifier;
use betanet_wire::cbor;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::body::{Proposal, SignatureBody};
use crate::client::ClientError;
use crate::peers::Peers;
use crate::round::{Progress, Round};
use crate::shared::Shared;
use crate::state::{Answer, Ask};

/// Time for further records to come before a proposal.
const LINGER: Duration = Duration::from_millis(100);
/// Pause after a proposal that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Proposes for as long as the state exists.
pub(crate) async fn run(shared: Arc<Shared>, peers: Arc<Peers>) {
    let mut facts = shared.facts();
    let mut prefix: Vec<Bytes> = Vec::new();
    loop {
        let size = facts.borrow_and_update().size;
        let wait = match shared.ask(Ask::Turn).await {
            Ok(Answer::Turn(Some(Duration::ZERO))) => {
                tokio::time::sleep(LINGER).await;
                let (outcome, held) = round(&shared, &peers, &prefix).await;
                prefix = held;
                match outcome {
                    Some(head) => {
                        publish(&peers, &head);
                        Duration::ZERO
                    }
                    None => PAUSE,
                }
            }
            Ok(Answer::Turn(Some(left))) => left,
            Ok(_) => Duration::MAX,
            Err(_) => PAUSE,
        };
        // A new head, or the first record that waits, begins another turn.
        let changed = async {
            loop {
                if facts.changed().await.is_err() {
                    return false;
                }
                let now = facts.borrow_and_update().clone();
                if now.size != size || (wait == Duration::MAX && now.pool > 0) {
                    return true;
                }
            }
        };
        tokio::select! {
            lives = changed => if !lives { return },
            () = tokio::time::sleep(wait.min(Duration::from_secs(3600))) => {}
        }
    }
}

/// One proposal. Returns the final head, or the records with which to begin the next proposal.
async fn round(
    shared: &Shared,
    peers: &Arc<Peers>,
    prefix: &[Bytes],
) -> (Option<SignedHead>, Vec<Bytes>) {
    let none = (None, Vec::new());
    let Some(signers) = current(shared) else {
        return none;
    };
    let prefix = Verifier::new(&signers, prefix.len()).verify_all(prefix);
    let asked = shared.ask(Ask::Propose(prefix)).await;
    let Ok(Answer::Proposed(Some(proposal))) = asked else {
        return none;
    };
    let set = proposal.head().head().set;
    // The proposal may put other signers in force, who sign its head.
    let Some(signers) = current(shared).filter(|s| *s.hash() == set) else {
        return none;
    };
    let mut asked = ask_all(peers, &signers, &proposal);
    let mut round = Round::new(proposal.head().clone(), signers, asked.len());
    let mut progress = round.progress();
    while progress == Progress::Waits {
        let Some(answer) = asked.join_next().await else {
            break;
        };
        progress = match answer.ok().flatten() {
            Some(Ok(bytes)) => match cbor::from_slice::<SignatureBody>(&bytes) {
                Ok(body) => round.signed(body.signature),
                Err(_) => round.refused(Vec::new()),
            },
            Some(Err(ClientError::Refused(refusal))) => {
                tracing::info!(code = %refusal.code, why = refusal.why, "a signer does not sign");
                round.refused(refusal.held)
            }
            Some(Err(_)) | None => round.refused(Vec::new()),
        };
    }
    if progress != Progress::Enough {
        return (None, round.prefix());
    }
    match shared.ask(Ask::Finish(round.head().clone())).await {
        Ok(Answer::Finished(Ok(head))) => (Some(head), Vec::new()),
        Ok(Answer::Finished(Err(error))) => {
            tracing::warn!(%error, "an own proposal is not finished");
            none
        }
        _ => none,
    }
}

fn current(shared: &Shared) -> Option<Signers> {
    Signers::from_bytes(&shared.facts().borrow().signers).ok()
}

type Signed = Option<Result<Vec<u8>, ClientError>>;

/// Asks the nodes of all other signers that are known.
fn ask_all(peers: &Arc<Peers>, signers: &Signers, proposal: &Proposal) -> JoinSet<Signed> {
    let mut asked = JoinSet::new();
    let body = proposal.to_bytes();
    for key in signers.keys() {
        if key.as_bytes() == proposal.by() {
            continue;
        }
        let Some(node) = peers.of_signer(key.as_bytes()) else {
            continue;
        };
        let (peers, body) = (Arc::clone(peers), body.clone());
        asked.spawn(async move { peers.post(node, "sign", body).await });
    }
    asked
}

/// Gives a head to the other nodes, most of which have its records. The gossip reaches those that this does not.
fn publish(peers: &Arc<Peers>, head: &SignedHead) {
    for node in peers.nodes() {
        let (peers, body) = (Arc::clone(peers), head.to_bytes());
        tokio::spawn(async move { peers.post(node, "head", body).await });
    }
}

/// Gives submitted records on to the other nodes, each once.
pub(crate) async fn forward(shared: Arc<Shared>, peers: Arc<Peers>, node: betanet_wire::NodeId) {
    let mut facts = shared.facts();
    let (mut instance, mut done) = (0, 0);
    loop {
        let now = facts.borrow_and_update().clone();
        if now.instance != instance {
            (instance, done) = (now.instance, 0);
        }
        if now.pooled > done && now.pool > 0 {
            let list = match shared.ask(Ask::Pooled(done)).await {
                Ok(Answer::Pooled(list)) => list,
                _ => Vec::new(),
            };
            if list.is_empty() {
                done = now.pooled;
            }
            for (number, record) in list {
                let later = match peers.post(node, "records", record.to_vec()).await {
                    None => true,
                    Some(Err(ClientError::Refused(refusal))) => {
                        matches!(refusal.status, status::TOO_MANY | status::UNAVAILABLE)
                    }
                    Some(_) => false,
                };
                if later {
                    // It is asked again, with what still waits.
                    tokio::time::sleep(PAUSE * 2).await;
                    break;
                }
                done = number;
            }
            continue;
        }
        if facts.changed().await.is_err() {
            return;
        }
    }
}
