//! Blobs that the node holds: fetched by digest, verified, evicted when room is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use betanet_blobs::{Blobs, Digest, Error as BlobError, Failure};
use betanet_fog::Level;
use betanet_fog_client::node::Control;
use betanet_fog_client::{Error as FogError, Fetch, FogClient, Sources};
use bytes::Bytes;
use futures_util::stream::try_unfold;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};

use crate::counters::Counters;
use crate::peers::Peers;

/// First and longest pause between attempts to fetch a blob.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Time in which the next part of a blob must come.
const PART: Duration = Duration::from_secs(60);
/// Attempts after which content with a wrong digest is given up.
const WRONG_MAX: u32 = 3;
/// Digests whose eviction is reported; beyond, a coordinator believes longer that the node holds some.
pub(crate) const KNOWN_MAX: usize = 1 << 16;

/// Reason why a blob is not there to be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Missing {
    /// Neither the coordinator nor a peer gives it.
    #[error("the blob {digest} cannot be fetched")]
    Refused {
        digest: Digest,
        #[source]
        source: Box<BlobError>,
    },
    /// The bytes that came have another digest or length.
    #[error("what was sent as the blob {digest} is something else")]
    Wrong {
        digest: Digest,
        #[source]
        source: Box<BlobError>,
    },
    /// This machine cannot store it.
    #[error("the blob {digest} cannot be stored")]
    Store {
        digest: Digest,
        #[source]
        source: Box<BlobError>,
    },
    /// This machine cannot write it to a file.
    #[error("the blob {digest} cannot be written to a file")]
    File {
        digest: Digest,
        #[source]
        source: std::io::Error,
    },
}

impl Missing {
    /// Whether this node is at fault, rather than the task or who sent the blob.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            // The task names more than the node ever keeps.
            Self::Store { source, .. } => !matches!(**source, BlobError::Quota { .. }),
            Self::File { .. } => true,
            Self::Refused { .. } | Self::Wrong { .. } => false,
        }
    }
}

/// How the blobs of one task travel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    /// The client over as many relays as the level has.
    pub(crate) client: &'a FogClient,
    /// The task's level.
    pub(crate) level: Level,
}

/// The node's blobs.
pub(crate) struct Holdings {
    blobs: Blobs,
    control: Control,
    counters: Arc<Counters>,
    peers: Peers,
    /// Held while a blob is fetched, so that it is fetched once.
    fetching: Mutex<BTreeMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    known: Mutex<BTreeSet<Digest>>,
    /// Blobs that public tasks named since the start. That the node has any other one would tell of a task above public.
    public: Mutex<BTreeSet<Digest>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The parts of a blob as they arrive.
fn parts(fetch: Fetch) -> impl futures_util::Stream<Item = Result<Bytes, Failure>> {
    try_unfold(fetch, |mut fetch| async move {
        let part = timeout(PART, fetch.chunk()).await;
        let part = part.map_err(|_| Failure::from("the next part does not come"))??;
        Ok(part.map(|part| (part, fetch)))
    })
}

/// The coordinator's error that ended an upload into the store.
fn cause(error: &BlobError) -> Option<&FogError> {
    match error {
        BlobError::Body(failure) => failure.downcast_ref(),
        _ => None,
    }
}

/// Whether the coordinator has refused to give the blob, for good.
fn is_refused(error: &BlobError) -> bool {
    let code = cause(error).and_then(FogError::code);
    code.is_some_and(|code| !matches!(code.status(), 429 | 503))
}

/// Whether the bytes that came are other ones than those of the digest.
fn is_wrong(error: &BlobError) -> bool {
    matches!(
        error,
        BlobError::Digest { .. } | BlobError::Size { .. } | BlobError::TooLarge { .. }
    ) || matches!(cause(error), Some(FogError::Digest { .. }))
}

impl Holdings {
    pub(crate) fn new(
        blobs: Blobs,
        control: Control,
        counters: Arc<Counters>,
        peers: Peers,
    ) -> Self {
        Self {
            blobs,
            control,
            counters,
            peers,
            fetching: Mutex::default(),
            known: Mutex::default(),
            public: Mutex::default(),
        }
    }

    pub(crate) const fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn turn(&self, digest: Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = locked(&self.fetching);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        all.insert(digest, Arc::downgrade(&turn));
        turn
    }

    /// Fetches a blob unless it is here. While no coordinator answers, it is tried again without end: the caller drops it.
    pub(crate) async fn fetch(
        &self,
        route: Route<'_>,
        digest: Digest,
        size: u64,
    ) -> Result<(), Missing> {
        let turn = self.turn(digest);
        let _turn = turn.lock().await;
        let (mut pause, mut wrong) = (PAUSES.0, 0);
        loop {
            // What peers sent may have been wrong.
            let alone = wrong > 0;
            let source = match self.attempt(route, digest, size, alone).await? {
                None => return Ok(()),
                Some(error) => error,
            };
            match source {
                source if is_wrong(&source) => {
                    wrong += 1;
                    if wrong >= WRONG_MAX {
                        let source = Box::new(source);
                        return Err(Missing::Wrong { digest, source });
                    }
                }
                BlobError::Body(_) | BlobError::Short { .. } | BlobError::Busy { .. } => {}
                source => {
                    let source = Box::new(source);
                    return Err(Missing::Store { digest, source });
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Where a blob may be. A task above public is no matter of peers, who would learn of it.
    fn sources(&self, route: Route<'_>, alone: bool) -> Sources {
        if alone || route.level > Level::Public {
            return Sources::new(route.client.clone());
        }
        self.peers.sources(route.client)
    }

    /// Tries to fetch a blob, perhaps from the coordinator alone. An error that is returned as `Some` may pass.
    async fn attempt(
        &self,
        route: Route<'_>,
        digest: Digest,
        size: u64,
        alone: bool,
    ) -> Result<Option<BlobError>, Missing> {
        if self.blobs.has(digest) == Some(size) {
            self.counters.blob_hit();
            self.note(digest, route.level);
            return Ok(None);
        }
        // A download that is cut goes on where it was.
        let fetch = self.sources(route, alone).fetch(&digest.0, size);
        let stored = self.blobs.put(digest, size, parts(fetch)).await;
        match stored {
            Ok(_) => {
                self.counters.blob_fetched(size);
                self.note(digest, route.level);
                Ok(None)
            }
            Err(error) if is_refused(&error) => {
                let source = Box::new(error);
                Err(Missing::Refused { digest, source })
            }
            Err(error) => Ok(Some(error)),
        }
    }

    fn note(&self, digest: Digest, level: Level) {
        let add = |all: &Mutex<BTreeSet<Digest>>| {
            let mut all = locked(all);
            if all.len() < KNOWN_MAX {
                all.insert(digest);
            }
        };
        add(&self.known);
        if level == Level::Public {
            add(&self.public);
        }
    }

    /// Whether peers may have a blob: a public task has named it.
    pub(crate) fn is_public(&self, digest: &Digest) -> bool {
        locked(&self.public).contains(digest)
    }

    /// Reports blobs that are no longer here.
    fn report_lost(&self) {
        let mut known = locked(&self.known);
        known.retain(|digest| {
            let here = self.blobs.has(*digest).is_some();
            if !here {
                self.control.lost_blob(digest.0);
            }
            here
        });
        locked(&self.public).retain(|digest| self.blobs.has(*digest).is_some());
    }

    /// Ends old pins, evicts blobs if the quota or the floor needs it, and reports those that are gone.
    pub(crate) async fn sweep(&self, now_ms: u64) {
        if let Err(error) = self.blobs.sweep(now_ms).await {
            tracing::warn!(%error, "blobs cannot be swept");
        }
        self.report_lost();
    }

    /// Writes a blob that was fetched to a new file. One that is damaged, or was evicted meanwhile, is fetched again.
    pub(crate) async fn extract(
        &self,
        route: Route<'_>,
        digest: Digest,
        size: u64,
        to: &Path,
    ) -> Result<(), Missing> {
        let mut again = true;
        loop {
            match self.write(digest, size, to).await {
                Err(Missing::Store { source, .. })
                    if again
                        && matches!(*source, BlobError::Damaged { .. } | BlobError::Missing(_)) =>
                {
                    again = false;
                    self.fetch(route, digest, size).await?;
                }
                done => return done,
            }
        }
    }

    async fn write(&self, digest: Digest, size: u64, to: &Path) -> Result<(), Missing> {
        let store = |source| Missing::Store {
            digest,
            source: Box::new(source),
        };
        let file = |source| Missing::File { digest, source };
        let mut content = self.blobs.get(digest, 0..size).await.map_err(store)?;
        let opened = tokio::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(to)
            .await;
        let mut writer = opened.map_err(file)?;
        while let Some(part) = content.part().await {
            writer
                .write_all(&part.map_err(store)?)
                .await
                .map_err(file)?;
        }
        writer.flush().await.map_err(file)
    }
}

#[cfg(test)]
mod tests {
    use betanet_blobs::Settings;
    use betanet_fog_client::{Connect, Connecting};
    use betanet_keys::{Identity, Name};
    use betanet_runtime::RelayError;
    use betanet_store::State;

    use super::*;

    fn digest(n: usize) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        Digest(bytes)
    }

    /// Opens no session.
    struct Nowhere(Vec<Name>);

    impl Connect for Nowhere {
        fn coordinators(&self) -> Vec<Name> {
            self.0.clone()
        }

        fn connect(&self, name: Name) -> Connecting<'_> {
            Box::pin(async move { Err(RelayError::Unknown(name).into()) })
        }
    }

    #[tokio::test]
    async fn peers_are_asked_for_blobs_of_public_tasks_until_bytes_were_wrong() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(home.path()).unwrap());
        let blobs = Blobs::open(&state, Settings::default()).await.unwrap();
        let all = [1, 2, 3].map(|n| Identity::from_seed(&[n; 32]));
        let names = all.each_ref().map(|i| Name::from(i.public().node_id()));
        let peers = Peers::new(Arc::new(Nowhere(names.to_vec())));
        let holdings = Holdings::new(blobs, Control::default(), Arc::default(), peers);
        let [me, ..] = all;
        let client = FogClient::new(me, Nowhere(Vec::new()));
        let asked = |level, alone| {
            let client = &client;
            let sources = holdings.sources(Route { client, level }, alone);
            let text = format!("{sources:?}");
            let (_, rest) = text.split_once("peers: ").unwrap();
            rest.trim_end_matches(" }").parse::<usize>().unwrap()
        };
        // Both others, and not oneself.
        assert_eq!(asked(Level::Public, false), 2);
        assert_eq!(asked(Level::Public, true), 0);
        for level in Level::ALL.iter().copied().filter(|l| *l > Level::Public) {
            assert_eq!(asked(level, false), 0, "{level}");
        }
    }

    #[tokio::test]
    async fn digests_are_bounded_and_only_those_of_public_tasks_are_for_peers() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(home.path()).unwrap());
        let blobs = Blobs::open(&state, Settings::default()).await.unwrap();
        let none = Peers::default();
        let holdings = Holdings::new(blobs, Control::default(), Arc::default(), none);
        for level in Level::ALL.iter().copied().filter(|l| *l > Level::Public) {
            holdings.note(digest(0), level);
            assert!(!holdings.is_public(&digest(0)), "{level}");
        }
        // A public task names it too.
        holdings.note(digest(0), Level::Public);
        assert!(holdings.is_public(&digest(0)));
        for n in 0..=KNOWN_MAX {
            holdings.note(digest(n), Level::Public);
        }
        assert!(!holdings.is_public(&digest(KNOWN_MAX)));
        assert_eq!(locked(&holdings.public).len(), KNOWN_MAX);
        assert_eq!(locked(&holdings.known).len(), KNOWN_MAX);
        // None of them is here.
        holdings.sweep(0).await;
        assert!(!holdings.is_public(&digest(0)));
    }
}
