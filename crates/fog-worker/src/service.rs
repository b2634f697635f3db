//! A node at work: joins, runs copies, lends its processor as its rules say, drains, and tells what it does.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_blobs::{Blobs, Settings as BlobSettings};
use betanet_fog::Level;
use betanet_fog::bodies::{JoinAnswer, TokenText};
use betanet_fog_client::node::{
    Answers, Control, Copies, Intake, MixWay, REACH, Report, Ways, Worker,
};
use betanet_fog_client::{BLOB_PREFIX, BlobService, FogClient};
use betanet_harvest::{Decision, Harvest, Rules, Used, energy};
use betanet_host::{Sample, Sensors};
use betanet_machine::Now;
use betanet_runtime::{Clock, GatewayBuilder};
use betanet_sandbox::{ChildProgram, Sandbox, Settings as SandboxSettings};
use betanet_store::{State, Storage};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::Error;
use crate::announce::{Described, Measured};
use crate::archive::Archive;
use crate::counters::Counters;
use crate::engine::{Parts, SandboxEngine};
use crate::holdings::Holdings;
use crate::membership::Membership;
use crate::peers::Peers;
use crate::receipts::StoredReceipts;
use crate::scratch::Scratch;
use crate::usage::Usage;

/// Interval at which blobs are swept and the ledger is saved.
const SWEEP: Duration = Duration::from_secs(10);

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The operator's description of the node.
    pub described: Described,
    /// Resources of this machine for tasks.
    pub measured: Measured,
    /// How the sandbox starts its children.
    pub child: ChildProgram,
    /// Children that are kept ready. Each takes memory; 0 starts one for each task.
    pub spare: usize,
    /// Most bytes of compiled modules on disk.
    pub compiled_max: u64,
    /// Bounds of the node's blobs.
    pub blobs: BlobSettings,
    /// Nodes that may have the blobs of public tasks, beside the coordinators.
    pub peers: Peers,
    /// Whether programs whose tasks have the grant get the network.
    pub network: bool,
    /// Addresses that they reach although these are private or this machine's own.
    pub network_private: Vec<IpAddr>,
    /// Rules by which the node lends its processor; `None` lends it always.
    pub harvest: Option<Rules>,
    /// Time in which copies may end before the node stops.
    pub drain: Duration,
    /// The mix of the network that the node is part of. A level above public needs it.
    pub mix: Option<MixWay>,
}

/// State of a node, for its status.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phase {
    pub(crate) joined: Option<JoinAnswer>,
    pub(crate) draining: bool,
    pub(crate) harvest: Option<Harvest>,
}

pub(crate) struct Shared {
    pub(crate) client: FogClient,
    pub(crate) clock: Clock,
    pub(crate) sandbox: Sandbox,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) control: Control,
    pub(crate) answers: Answers,
    pub(crate) settings: Settings,
    phase: Mutex<Phase>,
    /// Cancelled once the node has joined.
    has_joined: CancellationToken,
}

impl Shared {
    pub(crate) fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn copies(&self) -> Copies {
        *self.control.copies().borrow()
    }
}

/// A node that is ready to join.
pub struct Service {
    shared: Arc<Shared>,
    engine: SandboxEngine,
    receipts: StoredReceipts,
    membership: Membership,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

/// Looks at a running [`Service`].
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// Waits until the node has joined.
    pub async fn joined(&self) {
        self.0.has_joined.cancelled().await;
    }
}

impl Service {
    /// Opens blobs, receipts and sandbox in a state folder.
    ///
    /// # Errors
    ///
    /// One of them cannot be used. [`Error::NoMix`], [`Error::Device`].
    pub async fn open(
        state: &Arc<State>,
        client: FogClient,
        mut settings: Settings,
    ) -> Result<Self, Error> {
        settings.described.check_devices(&settings.measured)?;
        if let Some(rules) = &settings.harvest {
            settings.described.lend(rules.memory(), &settings.measured);
        }
        let level = settings.described.level;
        if level > Level::Public && settings.mix.is_none() {
            return Err(Error::NoMix(level));
        }
        let storage: Arc<dyn Storage> = Arc::clone(state) as Arc<dyn Storage>;
        let (scratch, receipts, usage) = {
            let (folder, storage) = (state.folder().to_owned(), Arc::clone(&storage));
            let opened = tokio::task::spawn_blocking(move || open(&folder, storage));
            let failed = |e: tokio::task::JoinError| Error::Folder {
                folder: PathBuf::new(),
                source: std::io::Error::other(e),
            };
            opened.await.map_err(failed)??
        };
        let sandbox = Sandbox::open(SandboxSettings {
            folder: state.folder().join("compiled"),
            child: settings.child.clone(),
            spare: settings.spare,
            cache_max: settings.compiled_max,
            // What is lent is what nobody else wants.
            idle: settings.harvest.is_some(),
        });
        let sandbox = sandbox.await?;
        let missing = sandbox.missing_layers();
        if !missing.is_empty() {
            tracing::warn!(
                missing = missing.join(", "),
                "this machine refuses some of the layers that close programs in"
            );
        }
        let blobs = Blobs::open(state, settings.blobs).await?;
        let (control, counters) = (Control::default(), Arc::new(Counters::default()));
        let peers = settings.peers.clone();
        let holdings = Holdings::new(blobs, control.clone(), Arc::clone(&counters), peers);
        let holdings = Arc::new(holdings);
        let clock = client.clock();
        let usage = Arc::new(usage);
        let engine = SandboxEngine::new(Parts {
            ways: Ways::new(client.clone(), settings.mix.clone()),
            level,
            clock,
            sandbox: sandbox.clone(),
            holdings: Arc::clone(&holdings),
            scratch,
            counters: Arc::clone(&counters),
            usage: Arc::clone(&usage),
            secret: receipts.secret(),
            network: settings.network,
            private: settings.network_private.clone(),
            devices: settings.described.devices.clone(),
        });
        let membership = Membership::new(storage, client.clone());
        let answers = Answers::new(client.me().clone());
        let shared = Shared {
            client,
            clock,
            sandbox,
            holdings,
            counters,
            usage,
            control,
            answers,
            settings,
            phase: Mutex::default(),
            has_joined: CancellationToken::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            engine,
            receipts,
            membership,
        })
    }

    /// A handle for status and metrics.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Adds to a gateway the answers to coordinators that ask for the node's level, and the blobs of public tasks for peers.
    /// It is to have the role `gateway` in the network, and to be started before [`Service::run`].
    #[must_use]
    pub fn serve(&self, gateway: GatewayBuilder) -> GatewayBuilder {
        let holdings = &self.shared.holdings;
        let (blobs, held) = (holdings.blobs().clone(), Arc::clone(holdings));
        let blobs = BlobService::new(blobs, move |_, digest| held.is_public(digest));
        gateway
            .service(REACH, self.shared.answers.service())
            .service(BLOB_PREFIX, blobs)
    }

    /// Joins, and works until `stop` is cancelled. Then copies may end within the bound of the settings, and the rest is given back.
    ///
    /// # Errors
    ///
    /// The node cannot join. Once it has, this returns without an error.
    pub async fn run(
        self,
        token: Option<TokenText>,
        sensors: Sensors,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let Self {
            shared,
            engine,
            receipts,
            membership,
        } = self;
        let settings = &shared.settings;
        let engine_name = shared.sandbox.engine();
        let seq = shared.clock.now().unix_ms;
        let (me, measured) = (shared.client.me(), &settings.measured);
        let node = settings.described.sign(me, measured, engine_name, seq);
        let node = node.map_err(Error::Described)?;
        let joining = membership.join(&node, token);
        let joined = stop.run_until_cancelled(joining).await;
        let joined = joined.ok_or(Error::Stopped)??;
        membership.undrain().await?;
        shared.answers.learn(&joined);
        shared.phase().joined = Some(joined.clone());
        shared.has_joined.cancel();
        tracing::info!(engine = engine_name, "the node has joined");
        let counters = Arc::clone(&shared.counters);
        let clock = shared.clock;
        let worker = Worker::new(shared.client.clone(), &joined, engine, receipts)
            .with_control(shared.control.clone())
            .with_reports(move |report| match report {
                Report::Beaten => counters.beaten(clock.now().unix_ms),
                Report::Started(..) => counters.started(),
                Report::Returned(..) => counters.returned(),
                Report::Refused(_, fence, code) => {
                    tracing::warn!(fence, %code, "a receipt was refused");
                    counters.refused();
                }
                Report::Stopped(..) => counters.stopped(),
                _ => {}
            });
        let over = CancellationToken::new();
        // They end with this future, also where it is dropped.
        let work = AbortOnDropHandle::new(tokio::spawn(worker.run(over.clone())));
        let keeping = AbortOnDropHandle::new(tokio::spawn(keep(Arc::clone(&shared))));
        let harvest = settings.harvest.clone().map(Harvest::new);
        let looking = tokio::spawn(look(Arc::clone(&shared), harvest, sensors));
        let looking = AbortOnDropHandle::new(looking);
        stop.cancelled().await;
        // A look that is under way would undo what follows.
        looking.abort();
        let _ = looking.await;
        let standing = shared.phase().harvest.as_ref().and_then(Harvest::standing);
        if standing.is_none_or(|decision| matches!(decision, Decision::Run { .. })) {
            drain(&shared, &membership).await;
        } else {
            // The rules let nothing run, so that nothing could end.
            shared.phase().draining = true;
            shared.control.set_intake(Intake::Refusing);
        }
        over.cancel();
        if let Err(error) = work.await {
            tracing::error!(%error, "the worker failed");
        }
        keeping.abort();
        save(&shared).await;
        Ok(())
    }
}

/// Lets copies end within the bound of the settings.
async fn drain(shared: &Shared, membership: &Membership) {
    shared.phase().draining = true;
    shared.control.set_intake(Intake::Refusing);
    let bound = shared.settings.drain;
    let ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    let until = shared.clock.now().unix_ms.saturating_add(ms);
    let mut copies = shared.control.copies();
    let ended = async {
        membership.drain(until).await;
        // Receipts that no coordinator takes stay on disk for the next start.
        let _ = copies.wait_for(|copies| copies.held == 0).await;
    };
    if timeout(bound, ended).await.is_err() {
        let left = shared.copies();
        tracing::warn!(
            running = left.running,
            held = left.held,
            "the time to drain is over"
        );
    }
}

type Opened = (Scratch, StoredReceipts, Usage);

fn open(home: &Path, storage: Arc<dyn Storage>) -> Result<Opened, Error> {
    let failed = |folder: &Path, source| Error::Folder {
        folder: folder.to_owned(),
        source,
    };
    let (running, kept) = (home.join("running"), home.join("receipts"));
    let scratch = Scratch::open(&running).map_err(|e| failed(&running, e))?;
    let archive = Archive::open(&kept).map_err(|e| failed(&kept, e))?;
    let receipts = StoredReceipts::open(Arc::clone(&storage))?.with_archive(archive);
    Ok((scratch, receipts, Usage::open(storage)?))
}

async fn save(shared: &Arc<Shared>) {
    let usage = Arc::clone(&shared.usage);
    let saved = tokio::task::spawn_blocking(move || usage.save()).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "what the device gave is not saved");
    }
}

/// Keeps blobs within their bounds, and the ledger on disk.
async fn keep(shared: Arc<Shared>) {
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let now_ms = shared.clock.now().unix_ms;
        shared.holdings.sweep(now_ms).await;
        save(&shared).await;
    }
}

/// Reads the sensors: for the ledger, and for the rules of idle computing if there are any.
async fn look(shared: Arc<Shared>, mut harvest: Option<Harvest>, mut sensors: Sensors) {
    let every = harvest.as_ref().map_or(SWEEP, |h| h.rules().every());
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = None;
    loop {
        tick.tick().await;
        let now = shared.clock.now();
        let read = tokio::task::spawn_blocking(move || {
            let sample = sensors.read(now);
            (sensors, sample)
        });
        let Ok((back, sample)) = read.await else {
            tracing::error!("the sensors failed");
            if harvest.is_some() {
                // Rules without readings let nothing run.
                shared.sandbox.pause(true);
                shared.control.set_intake(Intake::Closed);
            }
            return;
        };
        sensors = back;
        count(&shared, now, &sample);
        if let Some(harvest) = &mut harvest {
            let decision = harvest.observe(now.mono, &sample.readings);
            if last != Some(decision) {
                tracing::info!(?decision, "the node's rules decide");
                follow(&shared, decision);
                last = Some(decision);
            }
            shared.phase().harvest = Some(harvest.clone());
        }
    }
}

/// Adds the processor time and the energy since the last look to the ledger.
fn count(shared: &Shared, now: Now, sample: &Sample) {
    let Some(time) = sample.used.filter(|used| !used.own.is_zero()) else {
        return;
    };
    let cpu_ms = u64::try_from(time.own.as_millis()).unwrap_or(u64::MAX);
    let mut used = Used {
        cpu_ms,
        ..Used::default()
    };
    if let Some(drawn) = sample.energy {
        used.energy_mj = energy(drawn.uj, time.own, time.busy);
        used.energy_cpu_ms = cpu_ms;
    }
    shared.usage.more(now.unix_ms, &used);
}

/// Does what the rules have decided.
fn follow(shared: &Shared, decision: Decision) {
    match decision {
        Decision::Run { share } => {
            shared.sandbox.set_share(share);
            shared.sandbox.pause(false);
            shared.control.set_intake(Intake::Open);
        }
        Decision::Pause(_) => {
            shared.sandbox.pause(true);
            shared.control.set_intake(Intake::Closed);
        }
        Decision::GiveBack(reason) => {
            shared.control.set_intake(Intake::Refusing);
            let word = reason.as_str().parse().unwrap_or_default();
            shared.control.give_back(word);
        }
    }
}
