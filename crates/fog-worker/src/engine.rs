//! Runs copies: fetches what they need, runs them in the sandbox, stores what they leave.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_blobs::{Digest, FLOOR};
use betanet_fog::{Grant, Level, Outcome};
use betanet_fog_client::node::{Ended, Engine, Run, Running, Way, Ways};
use betanet_fog_client::{Blob, Error as FogError, FogClient};
use betanet_runtime::Clock;
use betanet_sandbox::{Ended as Left, Program, Sandbox};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::time::{sleep, timeout};

use crate::counters::Counters;
use crate::holdings::{Holdings, Missing, Route};
use crate::job::{job, outcome, output, output_blob};
use crate::logs::{CopyLog, Log};
use crate::membership::reason;
use crate::receipts::SecretFences;
use crate::scratch::{CopyFolder, Scratch};
use crate::usage::Usage;

/// Blobs of one copy that are fetched or stored at a time.
const AT_A_TIME: usize = 4;
/// Files up to this length are held in memory while they are sent.
const SMALL: u64 = 64 << 10;
/// Pause after a blob that could not be stored, at first and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Time in which the way of a task's level must open. Beyond, another node may have one.
const OPENS: Duration = Duration::from_secs(60);
/// Time after the end of an assignment for which its blobs are kept.
const AFTER_MS: u64 = 60_000;

/// Reason why a copy has no result.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("the files of the copy cannot be made")]
    Scratch(#[source] std::io::Error),
    #[error("this node gives no program the network: its setting `network` is off")]
    NoNetwork,
    #[error("programs of WASI cannot use devices, and the task asks for {}", asked(*gpu, names))]
    Device { gpu: u64, names: Vec<String> },
    #[error("a file that the program left changed before it was sent")]
    Changed,
    #[error("the disk has too little room for the files of the copy")]
    Room,
    #[error("what the program left cannot be stored")]
    Store(#[source] Box<FogError>),
    #[error("the node has no way over the mix to the coordinator")]
    NoWay(#[source] Option<Box<FogError>>),
}

impl Fault {
    /// The outcome. A fault that the task brings on does not count against the node.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Missing(missing) if !missing.is_local() => Outcome::Input,
            Self::NoNetwork | Self::Device { .. } => Outcome::Input,
            _ => Outcome::Internal,
        }
    }
}

/// Thousandths of a device, and the names of those that were assigned.
fn asked(gpu: u64, names: &[String]) -> String {
    format!("{gpu} thousandths of one: {}", names.join(", "))
}

/// The engine of a node.
#[derive(Clone)]
pub(crate) struct SandboxEngine(Arc<Inner>);

struct Inner {
    ways: Ways,
    /// The highest level of a task that the engine serves.
    level: Level,
    sandbox: Sandbox,
    holdings: Arc<Holdings>,
    scratch: Scratch,
    counters: Arc<Counters>,
    usage: Arc<Usage>,
    secret: Arc<SecretFences>,
    clock: Clock,
    /// Whether programs whose tasks have the grant get the network.
    network: bool,
    private: Vec<IpAddr>,
    /// Names of the devices that the node announces, as assignments number them.
    devices: Vec<String>,
}

/// Parts that an engine works with.
pub(crate) struct Parts {
    pub(crate) ways: Ways,
    pub(crate) level: Level,
    pub(crate) clock: Clock,
    pub(crate) sandbox: Sandbox,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) scratch: Scratch,
    pub(crate) counters: Arc<Counters>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) secret: Arc<SecretFences>,
    pub(crate) network: bool,
    pub(crate) private: Vec<IpAddr>,
    pub(crate) devices: Vec<String>,
}

impl SandboxEngine {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            ways: parts.ways,
            level: parts.level,
            clock: parts.clock,
            sandbox: parts.sandbox,
            holdings: parts.holdings,
            scratch: parts.scratch,
            counters: parts.counters,
            usage: parts.usage,
            secret: parts.secret,
            network: parts.network,
            private: parts.private,
            devices: parts.devices,
        }))
    }
}

impl Engine for SandboxEngine {
    fn name(&self) -> &str {
        self.0.sandbox.engine()
    }

    fn serves(&self, level: Level) -> bool {
        level <= self.0.level
    }

    fn run(&self, run: Arc<Run>) -> Running {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.run(&run).await })
    }
}

/// Stores a blob. Tries until it is stored, or is refused for good.
async fn store(client: &FogClient, blob: &Blob) -> Result<(), Fault> {
    let mut pause = PAUSES.0;
    loop {
        let error = match client.put_blob(blob).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        match error.code() {
            Some(code) if !matches!(code.status(), 429 | 503) => {
                return Err(Fault::Store(Box::new(error)));
            }
            None if matches!(error, FogError::File { .. } | FogError::Digest { .. }) => {
                return Err(Fault::Changed);
            }
            _ => sleep(pause).await,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// A file that a program left, as a blob.
async fn left(folder: &Path, file: &betanet_sandbox::OutFile) -> Result<Blob, Fault> {
    let (path, small) = (folder.join(&file.path), file.size <= SMALL);
    let read = tokio::task::spawn_blocking(move || {
        if small {
            return std::fs::read(&path).ok().map(Blob::from);
        }
        Blob::file(&path).ok()
    });
    let blob = read.await.ok().flatten().ok_or(Fault::Changed)?;
    if *blob.digest() != file.digest {
        return Err(Fault::Changed);
    }
    Ok(blob)
}

impl Inner {
    async fn run(&self, run: &Run) -> Ended {
        if run.task.level == Level::Secret {
            self.secret.add(run.work.fence);
        }
        let ended = match self.way(run.task.level).await {
            // Held until the copy has ended: its cover is sent meanwhile.
            Ok(way) => self.run_over(&way, run).await,
            Err(fault) => failed(run, &fault).0,
        };
        self.counters.ended(ended.status, ended.fuel);
        ended
    }

    /// Opens the way for a level. Tries for a while, since relays come and go.
    async fn way(&self, level: Level) -> Result<Way, Fault> {
        let mut last = None;
        let opening = async {
            let mut pause = PAUSES.0;
            loop {
                match self.ways.at(level).await {
                    Ok(way) => return Some(way),
                    // Not a matter of time.
                    Err(error @ FogError::Route { .. }) => {
                        last = Some(error);
                        return None;
                    }
                    Err(error) => last = Some(error),
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        };
        let way = timeout(OPENS, opening).await.ok().flatten();
        way.ok_or_else(|| Fault::NoWay(last.map(Box::new)))
    }

    async fn run_over(&self, way: &Way, run: &Run) -> Ended {
        let log = Log::default();
        let client = way.client();
        let copy = CopyLog {
            client,
            task: run.id,
            fence: run.work.fence,
        };
        let program = async {
            let done = self.work(client, run, &log).await;
            let (ended, why) = match done {
                Ok((ended, why)) => (ended, why),
                Err(fault) => {
                    let (ended, why) = failed(run, &fault);
                    (ended, Some(why))
                }
            };
            let why = why.map(|why| format!("{}: {why}", ended.status.as_str()));
            log.close(why.as_deref());
            ended
        };
        let sending = log.send(&copy);
        tokio::pin!(program, sending);
        tokio::select! {
            ended = &mut program => {
                Log::finish(sending, client.relays()).await;
                ended
            }
            () = &mut sending => program.await,
        }
    }

    /// Keeps the copy's blobs from eviction. A pin that is refused costs at most another fetch.
    fn pin(&self, run: &Run) {
        let until = run.work.end.saturating_add(AFTER_MS);
        for (digest, _) in blobs(run) {
            let _ = self.holdings.blobs().pin(digest, run.id.0, until);
        }
    }

    fn unpin(&self, run: &Run) {
        for (digest, _) in blobs(run) {
            self.holdings.blobs().unpin(digest, &run.id.0);
        }
    }

    /// Checks that the disk takes the copy's files and keeps its floor.
    async fn room(&self, run: &Run) -> Result<(), Fault> {
        let own: u64 = blobs(run).map(|(_, size)| size).sum();
        let needed = own.saturating_add(run.task.out_max).saturating_add(FLOOR);
        match self.holdings.blobs().facts().await.free {
            Some(free) if free < needed => Err(Fault::Room),
            _ => Ok(()),
        }
    }

    /// Refuses a task that asks for a device: a program would run without it.
    fn no_device(&self, run: &Run) -> Result<(), Fault> {
        let gpu = run.task.res.gpu();
        if gpu == 0 && run.work.devs.is_empty() {
            return Ok(());
        }
        let name = |n: &u64| {
            let known = usize::try_from(*n).ok().and_then(|n| self.devices.get(n));
            known.cloned().unwrap_or_else(|| format!("device {n}"))
        };
        let names = run.work.devs.iter().map(name).collect();
        Err(Fault::Device { gpu, names })
    }

    async fn work(
        &self,
        client: &FogClient,
        run: &Run,
        log: &Log,
    ) -> Result<(Ended, Option<String>), Fault> {
        if run.task.grants.contains(&Grant::Network) && !self.network {
            return Err(Fault::NoNetwork);
        }
        self.no_device(run)?;
        self.pin(run);
        let _pinned = Pinned(self, run);
        let route = Route {
            client,
            level: run.task.level,
        };
        let all = blobs(run).map(|(digest, size)| self.holdings.fetch(route, digest, size));
        let fetched = stream::iter(all).buffer_unordered(AT_A_TIME);
        fetched.try_for_each(|()| async { Ok(()) }).await?;
        self.room(run).await?;
        let folder = self.scratch.copy(run.work.fence).map_err(Fault::Scratch)?;
        let module = (Digest(run.task.module.digest), run.task.module.size);
        let from = (&*self.holdings, route);
        let file = self.scratch.module(from, module, &folder).await?;
        let mut inputs = Vec::new();
        for (n, input) in run.work.inputs.iter().enumerate() {
            let place = folder.input().join(n.to_string());
            let digest = Digest(input.digest);
            self.holdings
                .extract(route, digest, input.size, &place)
                .await?;
            inputs.push((input.path.as_str().to_owned(), place));
        }
        let program = Program {
            digest: module.0.0,
            file,
        };
        let mut job = job(&run.task, &run.id, inputs, &folder.output());
        if let Some(policy) = &mut job.grants.network {
            policy.private.clone_from(&self.private);
        }
        let sink = {
            let log = log.clone();
            move |bytes: &[u8]| log.add(bytes)
        };
        let ended = self.sandbox.run(program, job, sink).await;
        // In a pause its memory serves nobody.
        let now_ms = self.clock.now().unix_ms;
        self.usage.add(now_ms, &run.task, ended.fuel, ended.ran);
        self.conclude(client, ended, &folder).await
    }

    async fn conclude(
        &self,
        client: &FogClient,
        ended: Left,
        folder: &CopyFolder,
    ) -> Result<(Ended, Option<String>), Fault> {
        let (status, _) = outcome(ended.status);
        let without = |status, why| {
            let ended = Ended {
                status,
                out: None,
                fuel: ended.fuel,
            };
            Ok((ended, Some(why)))
        };
        if !status.has_output() {
            return without(status, ended.reason.clone());
        }
        let record = match output(&ended) {
            Ok(record) => record,
            Err(why) => return without(Outcome::Output, why.to_string()),
        };
        let place = &folder.output();
        let files = ended.files.into_iter().map(|file| async move {
            let blob = left(place, &file).await?;
            store(client, &blob).await?;
            self.counters.stored(blob.size());
            Ok::<(), Fault>(())
        });
        let stored = stream::iter(files).buffer_unordered(AT_A_TIME);
        let listed = output_blob(&record);
        let (files, record) = tokio::join!(
            stored.try_for_each(|()| async { Ok(()) }),
            store(client, &listed)
        );
        files?;
        record?;
        let ended = Ended {
            status,
            out: Some(*listed.digest()),
            fuel: ended.fuel,
        };
        Ok((ended, None))
    }
}

/// The end of a copy that has no result, and the reason. The log of this node names it, unless the task is secret.
fn failed(run: &Run, fault: &Fault) -> (Ended, String) {
    let why = reason(fault);
    if run.task.level < Level::Secret {
        tracing::warn!(fence = run.work.fence, why, "a copy has no result");
    }
    let ended = Ended {
        status: fault.outcome(),
        out: None,
        fuel: 0,
    };
    (ended, why)
}

/// Module and inputs of a copy, each with its size.
fn blobs(run: &Run) -> impl Iterator<Item = (Digest, u64)> {
    let module = (Digest(run.task.module.digest), run.task.module.size);
    let inputs = run.work.inputs.iter();
    let inputs = inputs.map(|input| (Digest(input.digest), input.size));
    std::iter::once(module).chain(inputs)
}

/// Pins of a copy, which end with it.
struct Pinned<'a>(&'a Inner, &'a Run);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.unpin(self.1);
    }
}
