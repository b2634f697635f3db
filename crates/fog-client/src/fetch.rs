//! Fetching a blob from whoever has it: the coordinator, then peers.
//!
//! A download that is cut goes on where it was, at the same source or at the next. The whole is checked by its digest. Where it does not
//! match, the sources that gave some of it are left out, and it is fetched anew.

mod file;
mod part;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_fog::bodies::RefusalBody;
use betanet_fog::{Digest, RefusalCode, from_slice};
use betanet_keys::Name;
use betanet_runtime::{Answer, Body};
use betanet_wire::text;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use crate::blob::FETCH;
use crate::link::Connect;
use crate::{Error, FogClient, Refused};
use part::Span;

/// Most peers that are asked for a blob.
pub const PEERS_MAX: usize = 16;

/// Failures after which a download ends. One that has brought [`PROGRESS`] begins to count anew.
const FAILURES: usize = 4;
const PROGRESS: u64 = 1 << 20;
/// First and longest pause after all sources have failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Longest body of a refusal that is read.
const REFUSAL_MAX: usize = 4096;
/// Factor on the time limits over the mix.
const MIX_FACTOR: u32 = 6;

#[derive(Clone)]
struct Holder {
    connect: Arc<dyn Connect>,
    name: Name,
}

/// Possible holders of a blob, in the order in which they are asked: the coordinator, then peers.
#[derive(Clone)]
pub struct Sources {
    fog: FogClient,
    peers: Vec<Holder>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("fog", &self.fog)
            .field("peers", &self.peers.len())
            .finish()
    }
}

impl FogClient {
    /// Fetches a blob of at most `max` bytes into a file, and goes on where an earlier call was cut. Returns its length.
    ///
    /// # Errors
    ///
    /// See [`Sources::fetch_to`], which asks peers too.
    pub async fn get_blob_to(&self, digest: &Digest, file: &Path, max: u64) -> Result<u64, Error> {
        Sources::new(self.clone()).fetch_to(digest, file, max).await
    }
}

impl Sources {
    /// Asks the coordinator only.
    #[must_use]
    pub const fn new(fog: FogClient) -> Self {
        let peers = Vec::new();
        Self { fog, peers }
    }

    /// Asks this peer too, at `bar://NAME/fog/1/blob/…`. Those beyond [`PEERS_MAX`] are left out.
    #[must_use]
    pub fn and(mut self, connect: Arc<dyn Connect>, name: Name) -> Self {
        if self.peers.len() < PEERS_MAX {
            self.peers.push(Holder { connect, name });
        }
        self
    }

    /// Begins to fetch a blob of at most `max` bytes. Nobody is asked before the first [`Fetch::chunk`].
    #[must_use]
    pub fn fetch(&self, digest: &Digest, max: u64) -> Fetch {
        Fetch::new(self.clone(), *digest, max)
    }

    /// Fetches a blob of at most `max` bytes into a file. Bytes fetched before a failure stay in `FILE.part`, and the next call goes
    /// on from there. Returns its length.
    ///
    /// # Errors
    ///
    /// See [`Fetch::chunk`]; [`Error::File`].
    pub async fn fetch_to(&self, digest: &Digest, file: &Path, max: u64) -> Result<u64, Error> {
        let mut left_out = BTreeSet::new();
        let mut part = file::Part::open(file).await?;
        loop {
            let (at, hash) = part.begin(max).await?;
            let whole: Digest = hash.clone().finalize().into();
            if whole == *digest && at > 0 {
                part.complete().await?;
                return Ok(at);
            }
            let mut fetch = self.fetch(digest, max);
            (fetch.at, fetch.hash, fetch.began) = (at, Some(hash), at);
            fetch.left_out.clone_from(&left_out);
            match file::receive(&mut fetch, &mut part).await {
                Ok(()) => {
                    part.complete().await?;
                    return Ok(fetch.at);
                }
                Err(error @ Error::Digest { .. }) => {
                    part.clear().await?;
                    if at > 0 {
                        // Bytes that an earlier call left may be at fault.
                        continue;
                    }
                    // The coordinator is blamed where nobody else gave anything. Each round leaves out one source at least.
                    let peers = fetch.gave.split_off(&1);
                    let blamed = if peers.is_empty() { fetch.gave } else { peers };
                    let known = left_out.len();
                    left_out.extend(blamed);
                    if left_out.len() == known || left_out.len() == self.count() {
                        part.keep().await?;
                        return Err(error);
                    }
                }
                Err(error) => {
                    part.keep().await?;
                    return Err(error);
                }
            }
        }
    }

    /// Number of sources.
    fn count(&self) -> usize {
        1 + self.peers.len()
    }

    /// Asks a source for the bytes from `at` on.
    async fn ask(&self, source: usize, digest: &Digest, at: u64) -> Result<Answer, Error> {
        let Some(holder) = source.checked_sub(1).and_then(|n| self.peers.get(n)) else {
            // Without peers, it is waited for as with any request.
            let patient = self.peers.is_empty();
            return self.fog.blob_from(digest, at, patient).await;
        };
        let limit = self.limit(source);
        let late = |_| Error::Late {
            what: FETCH,
            after: limit,
        };
        let session = |source| Error::Session {
            what: FETCH,
            source: Box::new(source),
        };
        let link = timeout(limit, holder.connect.connect(holder.name)).await;
        let link = link.map_err(late)?.map_err(session)?;
        let mut headers = Headers::default();
        if at > 0 {
            headers.set("range", format!("bytes={at}-"));
        }
        let target = format!("/fog/1/blob/{}", text::hex(digest));
        let asked = link.ask(Request::new(Method::Get, &target, headers));
        let answer = timeout(limit, asked).await.map_err(late)?;
        let answer = answer.map_err(|e| session(e.into()))?;
        match answer.head.status {
            200..300 => Ok(answer),
            _ => Err(refused(answer, limit).await),
        }
    }

    /// Time in which a source must answer, and send the next bytes.
    fn limit(&self, source: usize) -> Duration {
        let holder = source.checked_sub(1).and_then(|n| self.peers.get(n));
        let relays = holder.map_or_else(|| self.fog.relays(), |h| h.connect.relays());
        let limit = self.fog.patience().answer;
        if relays == 0 {
            limit
        } else {
            limit * MIX_FACTOR
        }
    }
}

/// Reads the refusal of a peer.
async fn refused(mut answer: Answer, limit: Duration) -> Error {
    let status = answer.head.status;
    let body = timeout(limit, answer.body.all(REFUSAL_MAX)).await;
    let body = body.ok().and_then(Result::ok).flatten();
    let body = body.and_then(|bytes| from_slice::<RefusalBody>(&bytes).ok());
    let Some(body) = body else {
        return Error::Answer {
            what: FETCH,
            status,
        };
    };
    Error::Refused(Box::new(Refused {
        what: FETCH,
        code: body.known(),
        word: body.code,
        key: body.key,
        status,
        retry_after: None,
        location: None,
    }))
}

/// A blob as it arrives, from one source or several.
#[derive(Debug)]
pub struct Fetch {
    sources: Sources,
    digest: Digest,
    max: u64,
    /// Offset of the next byte.
    at: u64,
    /// Offset of the first byte that this fetch asks for.
    began: u64,
    /// Length of the blob, once a source has told it.
    size: Option<u64>,
    /// `None` once the end was checked.
    hash: Option<Sha256>,
    body: Option<Body>,
    source: usize,
    /// Sources that gave bytes.
    gave: BTreeSet<usize>,
    /// Sources that are not asked.
    left_out: BTreeSet<usize>,
    failures: usize,
    /// Whether any source gave bytes in the present round.
    moved: bool,
    /// Offset at which failures were counted from none.
    counted: u64,
    pause: Duration,
    /// First reason of the present round, which is that of the source asked first.
    why: Option<Error>,
}

impl Fetch {
    fn new(sources: Sources, digest: Digest, max: u64) -> Self {
        Self {
            sources,
            digest,
            max,
            at: 0,
            began: 0,
            size: None,
            hash: Some(Sha256::new()),
            body: None,
            source: 0,
            gave: BTreeSet::new(),
            left_out: BTreeSet::new(),
            failures: 0,
            moved: false,
            counted: 0,
            pause: PAUSES.0,
            why: None,
        }
    }

    /// Number of bytes that were fetched.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.at
    }

    /// Returns the next bytes, or `None` at the end, once all bytes have the digest.
    ///
    /// Dropping the future loses nothing: the next call goes on.
    ///
    /// # Errors
    ///
    /// No source has the blob, or each failed several times: the reason of the first. [`Error::Digest`], also for a longer blob:
    /// all bytes up to then are to be discarded.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.hash.is_none() {
                return Ok(None);
            }
            if self.size == Some(self.at) {
                return self.end().map(|()| None);
            }
            let failed = match &mut self.body {
                None => match self.open().await {
                    // It was asked again already, for as long as it makes sense.
                    Err(error) if self.sources.peers.is_empty() && !self.is_beyond(&error) => {
                        return Err(error);
                    }
                    opened => opened,
                },
                Some(body) => {
                    let limit = self.sources.limit(self.source);
                    match timeout(limit, body.chunk()).await {
                        Ok(Ok(Some(bytes))) => {
                            if let Some(bytes) = self.take(bytes)? {
                                return Ok(Some(bytes));
                            }
                            Ok(())
                        }
                        Ok(Ok(None)) if self.size.is_none() => {
                            return self.end().map(|()| None);
                        }
                        // It ended before its end.
                        Ok(Ok(None)) => Err(Error::Answer {
                            what: FETCH,
                            status: betanet_bar::status::OK,
                        }),
                        Ok(Err(error)) => Err(Error::Session {
                            what: FETCH,
                            source: Box::new(error.into()),
                        }),
                        Err(_) => Err(Error::Late {
                            what: FETCH,
                            after: limit,
                        }),
                    }
                }
            };
            if let Err(error) = failed {
                self.turn(error).await?;
            }
        }
    }

    fn take(&mut self, bytes: Bytes) -> Result<Option<Bytes>, Error> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let at = self.at.saturating_add(bytes.len() as u64);
        self.gave.insert(self.source);
        if at > self.size.unwrap_or(self.max).min(self.max) {
            return Err(self.wrong());
        }
        if let Some(hash) = &mut self.hash {
            hash.update(&bytes);
        }
        (self.at, self.moved) = (at, true);
        if self.at - self.counted >= PROGRESS {
            (self.failures, self.counted, self.pause) = (0, self.at, PAUSES.0);
            self.why = None;
        }
        Ok(Some(bytes))
    }

    fn wrong(&mut self) -> Error {
        (self.hash, self.body) = (None, None);
        Error::Digest { what: FETCH }
    }

    /// Checks the digest of the whole.
    fn end(&mut self) -> Result<(), Error> {
        self.body = None;
        let digest: Option<Digest> = self.hash.take().map(|hash| hash.finalize().into());
        match digest {
            Some(digest) if digest != self.digest => Err(Error::Digest { what: FETCH }),
            _ => Ok(()),
        }
    }

    /// Asks the present source for what is missing.
    async fn open(&mut self) -> Result<(), Error> {
        if self.left_out.contains(&self.source) {
            return Err(Error::Digest { what: FETCH });
        }
        let answer = self.sources.ask(self.source, &self.digest, self.at).await?;
        let status = answer.head.status;
        let span = Span::of(&answer.head.headers, self.at);
        let span = span.ok_or(Error::Answer {
            what: FETCH,
            status,
        })?;
        match (self.size, span.size) {
            (Some(known), Some(told)) if known != told => {
                return Err(Error::Answer {
                    what: FETCH,
                    status,
                });
            }
            (None, told) => self.size = told,
            _ => {}
        }
        self.body = Some(answer.body);
        Ok(())
    }

    /// Turns to the next source after a failure, or gives up.
    async fn turn(&mut self, error: Error) -> Result<(), Error> {
        self.body = None;
        if self.is_beyond(&error) {
            return Err(self.wrong());
        }
        let left_out = self.left_out.contains(&self.source);
        if !left_out {
            self.failures += 1;
            self.why.get_or_insert(error);
        }
        let last = self.source + 1 == self.sources.count();
        let asked = self.sources.count() - self.left_out.len();
        if asked == 0 {
            return Err(self.wrong());
        }
        self.source = (self.source + 1) % self.sources.count();
        if self.failures >= FAILURES * asked || last && self.is_refused_by_all(asked) {
            let why = self.why.take();
            return Err(why.unwrap_or(Error::Digest { what: FETCH }));
        }
        if last {
            self.moved = false;
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSES.1);
        }
        Ok(())
    }

    /// Whether a source says that the bytes that an earlier call left are more than the blob has: they are another's.
    fn is_beyond(&self, error: &Error) -> bool {
        let range = error.code() == Some(RefusalCode::BadValue);
        range && self.at > 0 && self.at == self.began
    }

    /// Whether the first source has refused for good, and the others gave nothing when it was their turn.
    fn is_refused_by_all(&self, asked: usize) -> bool {
        let why = self.why.as_ref().and_then(Error::refused);
        !self.moved && self.failures >= asked && why.is_some_and(|r| !matches!(r.status, 429 | 503))
    }
}
