//! A ledger that a service reads and asks over sessions: each answer is verified, as in [`crate::client`], and nothing is stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Request, status};
use betanet_keys::Peer;
use betanet_log::SignedHead;
use betanet_runtime::{DialError, Node};
use betanet_tokenomics::journal::{AnswerBody, Record};
use betanet_tokenomics::request::ENVELOPE_MAX;
use betanet_tokenomics::{Envelope, Genesis};
use tokio::time::timeout;

use crate::client::{self, ClientError, Replied, Trust};

/// Longest that one request takes, its session included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read: a record with its proof, or a row with its.
const READ_MAX: usize = ENVELOPE_MAX + (16 << 10);
/// Heads that may change between two parts of an answer before it is given up.
const TRIES: usize = 5;
/// Pause before a node is asked for its head again.
const LOOK: Duration = Duration::from_millis(200);
/// Most peers of a ledger that are asked.
pub const PEERS_MAX: usize = 16;

/// Reason why a ledger gave nothing that counts. All of them may be over a moment later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The node cannot be reached.
    #[error("the ledger's node is not reached")]
    Dial(#[source] DialError),
    /// The session ended.
    #[error("the session with the ledger's node broke off")]
    Session(#[source] betanet_session::Error),
    /// No answer in time.
    #[error("the ledger's node did not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// The answer does not count.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The node serves another ledger than the genesis names.
    #[error("the node serves another ledger than that of the genesis")]
    OtherLedger,
    /// The signers have signed two heads of one size.
    #[error("the node shows another final head of {0} records than was seen before")]
    Fork(u64),
    /// The node shows less than was seen before.
    #[error("the node shows an older final head than was seen before")]
    Behind,
    /// There is no final head yet.
    #[error("the ledger has no final head yet")]
    NoHead,
    /// Heads came faster than the answers under them.
    #[error("the final head changed during each answer")]
    Moving,
    /// No node of the ledger is named.
    #[error("no node of the ledger is named")]
    NoPeer,
}

/// A ledger over its nodes. The first that answers is asked; requests need the leader to be among them.
pub struct Remote {
    node: Arc<Node>,
    peers: Vec<Peer>,
    trust: Trust,
    /// The largest head that was verified.
    newest: Mutex<Option<SignedHead>>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

/// Rows in the order in which they were asked for; `None` for one that is not there.
pub type Rows = Vec<Option<Vec<u8>>>;

impl Remote {
    /// Reads the ledger of these nodes. At most [`PEERS_MAX`] of them are asked.
    #[must_use]
    pub fn new(node: Arc<Node>, mut peers: Vec<Peer>, trust: Trust) -> Self {
        peers.truncate(PEERS_MAX);
        Self {
            node,
            peers,
            trust,
            newest: Mutex::new(None),
        }
    }

    /// The ledger's constants.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        self.trust.genesis()
    }

    /// The largest final head that was verified so far.
    #[must_use]
    pub fn newest(&self) -> Option<SignedHead> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }

    async fn ask(
        &self,
        peer: &Peer,
        request: Request,
        body: Option<Vec<u8>>,
    ) -> Result<Replied, RemoteError> {
        let asked = async {
            let session = self.node.session(peer).await.map_err(RemoteError::Dial)?;
            let answer = match body {
                None => session.ask(request).await,
                Some(body) => match session.upload(request).await {
                    Ok(upload) => {
                        // An answer before the end of the body is the answer.
                        let _ = upload.send(body.into()).await;
                        upload.finish().await
                    }
                    Err(error) => Err(error),
                },
            };
            let answer = answer.map_err(RemoteError::Session)?;
            Ok(Replied::of(answer, READ_MAX).await?)
        };
        timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(RemoteError::Late))
    }

    async fn get(&self, peer: &Peer, request: Request) -> Result<Vec<u8>, RemoteError> {
        Ok(self.ask(peer, request, None).await?.good()?)
    }

    /// The final head of one node, verified. One that follows may be a moment behind, and answers may overtake each other.
    async fn head_of(&self, peer: &Peer) -> Result<SignedHead, RemoteError> {
        for _ in 1..TRIES {
            match self.head_now(peer).await {
                Err(RemoteError::Behind) => tokio::time::sleep(LOOK).await,
                shown => return shown,
            }
        }
        self.head_now(peer).await
    }

    async fn head_now(&self, peer: &Peer) -> Result<SignedHead, RemoteError> {
        let replied = self.ask(peer, client::get("head"), None).await?;
        if replied.status == status::NOT_FOUND {
            return Err(RemoteError::NoHead);
        }
        let bytes = replied.good()?;
        let head = match self.trust.head(&bytes) {
            Ok(head) => head,
            Err(error) => return Err(self.cause(peer, error).await),
        };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = newest.as_ref() {
            let (size, most) = (head.head().size, seen.head().size);
            if size == most && head.signed_bytes() != seen.signed_bytes() {
                return Err(RemoteError::Fork(size));
            }
            if size < most {
                return Err(RemoteError::Behind);
            }
        }
        *newest = Some(head.clone());
        Ok(head)
    }

    /// Why a head does not count: often, the node serves another ledger.
    async fn cause(&self, peer: &Peer, error: ClientError) -> RemoteError {
        let served = self.ask(peer, client::get("genesis"), None).await;
        match served.and_then(|replied| Ok(replied.good()?)) {
            Ok(bytes) if bytes != self.genesis().as_bytes() => RemoteError::OtherLedger,
            // One that is too long to be read here is not this one either, unless this one is as long.
            _ => RemoteError::Client(error),
        }
    }

    /// The final head of the first node that shows one that counts.
    ///
    /// # Errors
    ///
    /// No node does; the last reason.
    pub async fn head(&self) -> Result<SignedHead, RemoteError> {
        let mut last = RemoteError::NoPeer;
        for peer in &self.peers {
            match self.head_of(peer).await {
                Ok(head) => return Ok(head),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A record, proven under a final head; `None` while none covers it.
    ///
    /// # Errors
    ///
    /// No node proves it; the last reason.
    pub async fn record(&self, n: u64) -> Result<Option<Record>, RemoteError> {
        let covers = |head: &SignedHead| head.head().size > n;
        let head = match self.newest().filter(covers) {
            Some(head) => head,
            None => self.head().await?,
        };
        if !covers(&head) {
            return Ok(None);
        }
        let target = format!("record/{n}?size={}", head.head().size);
        let mut last = RemoteError::NoPeer;
        for peer in &self.peers {
            let record = match self.get(peer, client::get(&target)).await {
                Ok(bytes) => client::record(&bytes, n, &head).map_err(RemoteError::Client),
                Err(error) => Err(error),
            };
            match record {
                Ok(record) => return Ok(Some(record)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Rows of the state, all proven under one final head of now.
    ///
    /// # Errors
    ///
    /// No node proves them; the last reason.
    pub async fn rows(&self, keys: &[(u8, Vec<u8>)]) -> Result<(SignedHead, Rows), RemoteError> {
        let mut last = RemoteError::NoPeer;
        for peer in &self.peers {
            match self.rows_of(peer, keys).await {
                Ok(proven) => return Ok(proven),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn rows_of(
        &self,
        peer: &Peer,
        keys: &[(u8, Vec<u8>)],
    ) -> Result<(SignedHead, Rows), RemoteError> {
        let mut last = RemoteError::Moving;
        // A new head may come between two answers: then all are asked again.
        'tries: for _ in 0..TRIES {
            let head = self.head_of(peer).await?;
            let mut rows = Vec::with_capacity(keys.len());
            for (table, key) in keys {
                let bytes = self.get(peer, client::state_request(*table, key)).await?;
                match client::state(&bytes, (*table, key), &head) {
                    Ok(value) => rows.push(value),
                    Err(error) => {
                        last = RemoteError::Client(error);
                        continue 'tries;
                    }
                }
            }
            return Ok((head, rows));
        }
        Err(last)
    }

    /// Sends a signed request to the nodes until the leader among them answers, and verifies its answer. The same envelope may be sent
    /// again: its ID makes it happen once.
    ///
    /// # Errors
    ///
    /// No leader answered. The request may be accepted even so.
    pub async fn submit(&self, envelope: &Envelope) -> Result<AnswerBody, RemoteError> {
        let bytes = envelope.to_bytes();
        let mut last = RemoteError::NoPeer;
        for peer in &self.peers {
            let request = client::submit_request(&bytes);
            let replied = match self.ask(peer, request, Some(bytes.clone())).await {
                Ok(replied) => replied,
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            match client::answer(&replied, &peer.key, envelope) {
                Ok(body) => return Ok(body),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}
