//! A ledger that a service reads and asks over sessions: each answer is verified, as in [`crate::client`], and nothing is stored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_bar::{Request, status};
use betanet_keys::Peer;
use betanet_log::SignedHead;
use betanet_runtime::{DialError, Node, SessionHandle};
use betanet_tokenomics::journal::{AnswerBody, Record};
use betanet_tokenomics::request::ENVELOPE_MAX;
use betanet_tokenomics::{Envelope, Genesis};
use tokio::time::{Instant, timeout};

use crate::client::{self, ClientError, Replied, Trust};

/// Longest that one request takes, its session included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer that is read: a record with its proof, or a row with its.
const READ_MAX: usize = ENVELOPE_MAX + (16 << 10);
/// Heads that may change between two parts of an answer before it is given up.
const TRIES: usize = 5;
/// Pause before a node is asked for its head again.
const LOOK: Duration = Duration::from_millis(200);
/// Longest that one question takes, whichever peers are asked for it.
const TOTAL: Duration = Duration::from_secs(20);
/// Pauses after a peer that could not be reached, the first and the longest: a ledger that is back is heard soon.
const REST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
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
    #[error("the ledger did not answer in time")]
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
    /// The node could not be reached a moment ago.
    #[error("the ledger's node could not be reached a moment ago")]
    Resting,
    /// No node of the ledger is named.
    #[error("no node of the ledger is named")]
    NoPeer,
}

/// The session with a peer, and until when it is not dialled after a failure.
#[derive(Default)]
struct Link {
    open: Option<SessionHandle>,
    failures: u32,
    rests_until: Option<Instant>,
}

/// What the first peer gives that gives something.
macro_rules! first {
    ($self:ident, |$at:ident| $ask:expr) => {
        async {
            let mut last = RemoteError::NoPeer;
            for $at in $self.order() {
                let given: Result<_, RemoteError> = async { $ask }.await;
                match given {
                    Ok(given) => return Ok(given),
                    // A peer that rests tells less than one that was asked.
                    Err(RemoteError::Resting) if !matches!(last, RemoteError::NoPeer) => {}
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    };
}

/// A ledger over its nodes. The one that answered last is asked first; requests need the leader to be among them.
pub struct Remote {
    node: Arc<Node>,
    peers: Vec<Peer>,
    /// One for each peer, which is dialled once at a time.
    links: Vec<tokio::sync::Mutex<Link>>,
    /// Index of the peer that answered last.
    good: AtomicUsize,
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
            links: peers.iter().map(|_| Default::default()).collect(),
            good: AtomicUsize::new(0),
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

    /// Indexes of the peers, that of the last good one first.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (n, first) = (self.peers.len(), self.good.load(Ordering::Relaxed));
        (0..n).map(move |i| (first + i) % n)
    }

    /// The session with a peer. [`Node::session`] rests for minutes after failures; a ledger's outage may be of seconds.
    async fn session(&self, at: usize) -> Result<SessionHandle, RemoteError> {
        let (Some(peer), Some(link)) = (self.peers.get(at), self.links.get(at)) else {
            return Err(RemoteError::NoPeer);
        };
        let mut link = link.lock().await;
        if let Some(open) = link.open.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let now = Instant::now();
        if link.rests_until.is_some_and(|until| now < until) {
            return Err(RemoteError::Resting);
        }
        let (least, most) = REST;
        let rest = least.saturating_mul(1 << link.failures.min(8)).min(most);
        // Noted before: a peer that is silent is given up on the way, after the longest time of a request.
        link.rests_until = Some(now + PATIENCE + rest);
        link.failures = link.failures.saturating_add(1);
        let open = match self.node.connect(peer).await {
            Ok(open) => open,
            Err(error) => {
                link.rests_until = Some(Instant::now() + rest);
                return Err(RemoteError::Dial(error));
            }
        };
        *link = Link {
            open: Some(open.clone()),
            ..Link::default()
        };
        Ok(open)
    }

    async fn ask(
        &self,
        at: usize,
        request: Request,
        body: Option<Vec<u8>>,
    ) -> Result<Replied, RemoteError> {
        let asked = async {
            let session = self.session(at).await?;
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
        let asked = timeout(PATIENCE, asked).await;
        let asked = asked.unwrap_or(Err(RemoteError::Late));
        if asked.is_ok() {
            self.good.store(at, Ordering::Relaxed);
        }
        asked
    }

    async fn get(&self, at: usize, request: Request) -> Result<Vec<u8>, RemoteError> {
        Ok(self.ask(at, request, None).await?.good()?)
    }

    /// The final head of one node, verified. One that follows may be a moment behind, and answers may overtake each other.
    async fn head_of(&self, at: usize) -> Result<SignedHead, RemoteError> {
        for _ in 1..TRIES {
            match self.head_now(at).await {
                Err(RemoteError::Behind) => tokio::time::sleep(LOOK).await,
                shown => return shown,
            }
        }
        self.head_now(at).await
    }

    async fn head_now(&self, at: usize) -> Result<SignedHead, RemoteError> {
        let replied = self.ask(at, client::get("head"), None).await?;
        if replied.status == status::NOT_FOUND {
            return Err(RemoteError::NoHead);
        }
        let bytes = replied.good()?;
        let head = match self.trust.head(&bytes) {
            Ok(head) => head,
            Err(error) => return Err(self.cause(at, error).await),
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
    async fn cause(&self, at: usize, error: ClientError) -> RemoteError {
        let served = self.ask(at, client::get("genesis"), None).await;
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
        within(first!(self, |at| self.head_of(at).await)).await
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
        let record = first!(self, |at| {
            let bytes = self.get(at, client::get(&target)).await?;
            Ok(client::record(&bytes, n, &head)?)
        });
        within(record).await.map(Some)
    }

    /// Rows of the state, all proven under one final head of now.
    ///
    /// # Errors
    ///
    /// No node proves them; the last reason.
    pub async fn rows(&self, keys: &[(u8, Vec<u8>)]) -> Result<(SignedHead, Rows), RemoteError> {
        within(first!(self, |at| self.rows_of(at, keys).await)).await
    }

    /// A row of the state, proven under some final head of at least so many records.
    ///
    /// # Errors
    ///
    /// No node proves it; the last reason.
    pub async fn row_since(
        &self,
        key: &(u8, Vec<u8>),
        records: u64,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        within(first!(self, |at| self.row_of(at, key, records).await)).await
    }

    async fn row_of(
        &self,
        at: usize,
        (table, key): &(u8, Vec<u8>),
        records: u64,
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        let mut last = RemoteError::Behind;
        let mut head = self.newest();
        for _ in 0..TRIES {
            let under = match head.filter(|head| head.head().size >= records) {
                Some(head) => head,
                None => self.head_of(at).await?,
            };
            if under.head().size < records {
                return Err(RemoteError::Behind);
            }
            let bytes = self.get(at, client::state_request(*table, key)).await?;
            match client::state(&bytes, (*table, key), &under) {
                Ok(value) => return Ok(value),
                Err(error) => last = RemoteError::Client(error),
            }
            // The head may have moved before the answer: it may be of the next one.
            let next = self.head_of(at).await?;
            match client::state(&bytes, (*table, key), &next) {
                Ok(value) if next.head().size >= records => return Ok(value),
                _ => head = Some(next),
            }
        }
        Err(last)
    }

    async fn rows_of(
        &self,
        at: usize,
        keys: &[(u8, Vec<u8>)],
    ) -> Result<(SignedHead, Rows), RemoteError> {
        let mut last = RemoteError::Moving;
        // A new head may come between two answers: then all are asked again.
        'tries: for _ in 0..TRIES {
            let head = self.head_of(at).await?;
            let mut rows = Vec::with_capacity(keys.len());
            for (table, key) in keys {
                let bytes = self.get(at, client::state_request(*table, key)).await?;
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
        let answer = first!(self, |at| {
            let peer = self.peers.get(at).ok_or(RemoteError::NoPeer)?;
            let request = client::submit_request(&bytes);
            let replied = self.ask(at, request, Some(bytes.clone())).await?;
            Ok(client::answer(&replied, &peer.key, envelope)?)
        });
        within(answer).await
    }
}

/// Bounds a question's time.
async fn within<T>(
    question: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    let answered = timeout(TOTAL, question).await;
    answered.unwrap_or(Err(RemoteError::Late))
}
