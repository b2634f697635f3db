//! A signer that follows a leader: it replays the leader's records up to the proposed head, and signs that head.

use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request, status};
use betanet_durable::Unavailable;
use betanet_keys::Peer;
use betanet_log::{Head, SignedHead, verify_consistency};
use betanet_runtime::{Node, SessionHandle};
use betanet_session::Answer as Response;

use crate::PREFIX;
use crate::body::{ANSWER_MAX, LIST_MAX, asked_records, consistency, records};
use crate::shared::Shared;
use crate::state::{Answer, Ask, Fault, Standing};

/// Longest that an answer of the leader is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest answer: records up to [`ANSWER_MAX`], or one record.
const READ_MAX: usize = ANSWER_MAX + betanet_tokenomics::journal::RECORD_MAX;

/// Reason why a round was not finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the leader is not reached: {0}")]
    Reached(betanet_runtime::DialError),
    #[error("the leader's answer broke off, or came too late")]
    Exchange,
    #[error("the leader answered {0}")]
    Status(u16),
    #[error("the leader's answer does not read")]
    Form,
    #[error(transparent)]
    Here(#[from] Unavailable),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Follows for as long as the task runs. `every` is the time between two looks.
pub(crate) async fn run(shared: Arc<Shared>, node: Arc<Node>, every: Duration) {
    let mut last = String::new();
    while let Some(leader) = shared.leader() {
        match round(&shared, &node, leader).await {
            Ok(()) => last.clear(),
            Err(error) => {
                let why = error.to_string();
                // Told once, not each second.
                if why != last {
                    tracing::warn!(error = why, leader = %leader.name(), "no head is signed");
                    last = why;
                }
                // One that follows another answers 503 to signatures.
                if matches!(error, Lost::Reached(_) | Lost::Exchange | Lost::Status(_)) {
                    shared.turn();
                }
            }
        }
        tokio::time::sleep(every).await;
    }
}

async fn round(shared: &Shared, node: &Node, leader: &Peer) -> Result<(), Lost> {
    let session = node.session(leader).await.map_err(Lost::Reached)?;
    // The final head first: it names the signers of the next one.
    if let Some(bytes) = get(&session, "head").await? {
        let head = SignedHead::from_bytes(&bytes).map_err(|_| Lost::Form)?;
        let size = head.head().size;
        if size > shared.facts().borrow().final_size {
            align(shared, &session, head.head(), true).await?;
            catch_up(shared, &session, size).await?;
            match shared.ask(Ask::Final(head)).await? {
                Answer::Final(taken) => drop(taken?),
                _ => return Err(Lost::Form),
            }
        }
    }
    let Some(bytes) = get(&session, "proposal").await? else {
        shared.ask(Ask::Synced).await?;
        return Ok(());
    };
    let head = SignedHead::from_bytes(&bytes).map_err(|_| Lost::Form)?;
    align(shared, &session, head.head(), false).await?;
    catch_up(shared, &session, head.head().size).await?;
    let Answer::Signed(signed) = shared.ask(Ask::Cosign(head.clone())).await? else {
        return Err(Lost::Form);
    };
    let mut own = SignedHead::new(*head.head());
    for signature in signed? {
        own.add(signature);
    }
    // The leader shows the signatures that it took.
    let mut mine = own.signatures().iter();
    if mine.all(|s| head.signatures().contains(s)) {
        return Ok(());
    }
    post(&session, "sign", own.to_bytes()).await
}

/// Drops records that contradict a head of the leader, except those that are final or signed here.
async fn align(
    shared: &Shared,
    session: &SessionHandle,
    head: &Head,
    is_final: bool,
) -> Result<(), Lost> {
    let Answer::Standing(standing) = shared.ask(Ask::Standing(head.size)).await? else {
        return Err(Lost::Form);
    };
    let Standing { here, floor, root } = standing;
    if here == floor {
        return Ok(());
    }
    let agrees = if head.size > here {
        let path = format!("consistency?from={here}&to={}", head.size);
        let bytes = get(session, &path).await?.unwrap_or_default();
        consistency(&bytes)
            .is_ok_and(|proof| verify_consistency(here, head.size, &root, &head.root, &proof))
    } else {
        // A leader that proposes fewer records than it showed before has lost the others.
        root == head.root && (is_final || head.size == here)
    };
    if agrees {
        return Ok(());
    }
    let size = common(shared, session, floor, here).await?;
    tracing::warn!(
        size,
        here,
        "records that the leader does not have are dropped"
    );
    match shared.ask(Ask::Drop(size)).await? {
        Answer::Followed(dropped) => {
            dropped?;
            Ok(())
        }
        _ => Err(Lost::Form),
    }
}

/// Number of the first record from `floor` on that the leader does not have.
async fn common(
    shared: &Shared,
    session: &SessionHandle,
    floor: u64,
    here: u64,
) -> Result<u64, Lost> {
    let mut size = floor;
    while size < here {
        let n = (here - size).min(LIST_MAX);
        let path = format!("journal?after={size}&n={n}");
        let theirs = get(session, &path).await?.unwrap_or_default();
        let Answer::Body(Some(ours)) = shared.ask(Ask::Journal(size, n)).await? else {
            return Err(Lost::Form);
        };
        let theirs = records(&theirs).map_err(|_| Lost::Form)?;
        let ours = records(&ours).map_err(|_| Lost::Form)?;
        let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
        size += same as u64;
        if same == 0 || same < ours.len() {
            break;
        }
    }
    Ok(size)
}

/// Replays the leader's records until there are so many here.
async fn catch_up(shared: &Shared, session: &SessionHandle, size: u64) -> Result<(), Lost> {
    loop {
        // The state of a node that just started tells its facts with its first answer.
        let Answer::Followed(here) = shared.ask(Ask::Follow(Vec::new())).await? else {
            return Err(Lost::Form);
        };
        let here = here?;
        if here >= size {
            return Ok(());
        }
        let n = (size - here).min(LIST_MAX);
        let bytes = get(session, &format!("journal?after={here}&n={n}")).await?;
        let bytes = bytes.ok_or(Lost::Form)?;
        let list = asked_records(&bytes, n).ok_or(Lost::Form)?;
        let list = list.into_iter().map(<[u8]>::to_vec).collect();
        match shared.ask(Ask::Follow(list)).await? {
            Answer::Followed(followed) => drop(followed?),
            _ => return Err(Lost::Form),
        }
    }
}

async fn body(mut answer: Response) -> Result<Option<Vec<u8>>, Lost> {
    let status = answer.head.status;
    let read = answer.body.all(READ_MAX).await;
    match status {
        200 => read
            .map_err(|_| Lost::Exchange)?
            .map(Some)
            .ok_or(Lost::Form),
        status::NOT_FOUND => Ok(None),
        status => Err(Lost::Status(status)),
    }
}

pub(crate) async fn get(session: &SessionHandle, path: &str) -> Result<Option<Vec<u8>>, Lost> {
    let request = Request::new(Method::Get, &format!("{PREFIX}/{path}"), Headers::default());
    let asked = async {
        let answer = session.ask(request).await.map_err(|_| Lost::Exchange)?;
        body(answer).await
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or(Err(Lost::Exchange))
}

pub(crate) async fn post(session: &SessionHandle, path: &str, bytes: Vec<u8>) -> Result<(), Lost> {
    let headers = Headers::default().with("content-length", bytes.len().to_string());
    let request = Request::new(Method::Post, &format!("{PREFIX}/{path}"), headers);
    let sent = async {
        let upload = session.upload(request).await.map_err(|_| Lost::Exchange)?;
        match upload.send(bytes.into()).await {
            Ok(()) | Err(betanet_session::Error::Answered) => {}
            Err(_) => return Err(Lost::Exchange),
        }
        let answer = upload.finish().await.map_err(|_| Lost::Exchange)?;
        match body(answer).await {
            // Another head waits meanwhile: the next round signs it.
            Ok(_) | Err(Lost::Status(status::CONFLICT)) => Ok(()),
            Err(lost) => Err(lost),
        }
    };
    tokio::time::timeout(PATIENCE, sent)
        .await
        .unwrap_or(Err(Lost::Exchange))
}
