//! The demo's fog: a coordinator and three workers that run a real program, fifty tasks under each placement strategy, a job with a
//! reducing step, a lying node that a quorum catches, a receipt that is checked, and the end of the busiest worker.

mod liar;
mod lie;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{Status, TokenRequest, TokenText};
use betanet_fog::{
    Amounts, Input, Kind, Level, List, Module, NodeState, Offline, Placement, Policy, RefusalCode,
    Resources, Retry, Signed, Source, Strategy, Task, TaskId, TaskState, Tier, Verification,
    Verify,
};
use betanet_fog_client::{Blob, Direct, FogClient, Lists};
use betanet_fog_service::{
    Coordinator, Escrow, Handle, Namespace, PREFIX, Role, Running, Settings, Stores,
};
use betanet_fog_worker::programs::WORDS;
use betanet_journal::Journal;
use betanet_journal_sqlite::SqliteJournal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, Peer, SessionConfig, seed};
use betanet_store::{State, Storage};
use betanet_wire::NodeId;

use super::{Steps, failed};
use crate::Fail;
use crate::fail::chain;
use crate::fog::verify_receipt;
pub(super) use lie::Lie;
use worker::Worker;

/// Tasks under each strategy, and parts of the job.
const TASKS: usize = 50;
const STRATEGIES: [Strategy; 5] = [
    Strategy::RoundRobin,
    Strategy::LeastLoaded,
    Strategy::Affinity,
    Strategy::Proximity,
    Strategy::PrivacyAware,
];
/// The text whose words are counted: this file.
const TEXT: &str = include_str!("fog.rs");
/// Tasks that run while the busiest worker is killed, and the millions of steps of each.
const LONG: (usize, &str) = (30, "400");
/// Silence after which a node counts as gone, with the time to place and run its tasks elsewhere.
const BOUND: Duration = Duration::from_secs(150);

/// A fog that runs while the rest of the demo does.
pub(super) struct Fog {
    gateway: Gateway,
    running: Running,
    user: FogClient,
    rng: Rng,
    workers: BTreeMap<NodeId, Worker>,
    operator: FogClient,
    peer: Peer,
    home: PathBuf,
    module: Blob,
    tasks: Vec<TaskId>,
    killed: Option<(Clock, NodeId, usize)>,
    journal: Arc<dyn Journal>,
    /// Keys of the nodes, the liar's too.
    keys: Vec<Identity>,
}

/// Who takes part in a fog, and what pays for its tasks.
pub(super) struct Cast {
    pub(super) me: Identity,
    pub(super) owner: Identity,
    pub(super) workers: Vec<Identity>,
    pub(super) escrow: Option<Arc<dyn Escrow>>,
}

fn client(me: Identity, peer: &Peer) -> Result<FogClient, Fail> {
    let node = Node::new(Some(me.clone()), SessionConfig::default())?;
    let direct = Direct::new(Arc::new(node), vec![peer.clone()]);
    Ok(FogClient::new(me, direct))
}

fn fog_failed(error: &(dyn std::error::Error + 'static)) -> Fail {
    failed(format!("fog: {}", chain(error)))
}

/// Awaits a request, and converts its error.
macro_rules! ask {
    ($asked:expr) => {
        $asked.await.map_err(|e| fog_failed(&e))?
    };
}

impl Fog {
    /// Starts a coordinator with a journal in SQLite, and three workers that join it with tokens.
    pub(super) async fn start(home: &Path) -> Result<Self, Fail> {
        let mut rng = Rng::new(&seed()?);
        let mut fresh = || Identity::from_seed(&rng.array::<32>());
        let cast = Cast {
            me: fresh(),
            owner: fresh(),
            workers: (0..3).map(|_| fresh()).collect(),
            escrow: None,
        };
        Self::start_with(home, cast).await
    }

    /// Starts a coordinator and workers with these keys.
    pub(super) async fn start_with(home: &Path, cast: Cast) -> Result<Self, Fail> {
        let mut rng = Rng::new(&seed()?);
        let Cast {
            me,
            owner,
            workers,
            escrow,
        } = cast;
        let operator = Identity::from_seed(&rng.array::<32>());
        let mut config = GatewayConfig::in_state(home.join("coordinator"));
        config.listener.listen = vec!["127.0.0.1:0".into()];
        // The tasks are small and many.
        (config.limits.opens, config.limits.opens_per_second) = (Some(4_096), Some(1_024));
        let state = State::open(&config.state()).map_err(|e| fog_failed(&e))?;
        let state = Arc::new(state);
        let namespace = Namespace {
            users: vec![*owner.public()],
            ..Namespace::default()
        };
        let settings = Settings {
            operators: vec![*operator.public()],
            namespaces: [("demo".parse().unwrap_or_default(), namespace)].into(),
            ..Settings::default()
        };
        let stores = ask!(Stores::open(&state, 1 << 24));
        let coordinator = Coordinator::new(me.clone(), settings, stores);
        if let Some(escrow) = escrow {
            coordinator.pay_from(escrow);
        }
        let gateway = Gateway::builder(me, &config)
            .with_storage(Arc::clone(&state) as Arc<dyn Storage>)
            .service(PREFIX, coordinator.service())
            .start()
            .await?;
        let journal = SqliteJournal::open(&state, Default::default());
        let journal = journal.map_err(|e| fog_failed(&e))?;
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let peer = gateway.listening().peer();
        let running = ask!(coordinator.start(&peer, Arc::clone(&journal)));
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let mut fog = Self {
            gateway,
            running,
            user: client(owner, &peer)?,
            rng,
            workers: BTreeMap::new(),
            operator: client(operator, &peer)?,
            peer,
            home: home.to_owned(),
            module: Blob::from(WORDS.to_vec()),
            tasks: Vec::new(),
            killed: None,
            journal,
            keys: workers.clone(),
        };
        ask!(fog.user.put_blob(&fog.module));
        for (n, me) in (1..).zip(workers) {
            let token = fog.token(&format!("org-{n}")).await?;
            let worker = Worker::start(home, client(me.clone(), &fog.peer)?, n, token).await?;
            fog.workers.insert(me.public().node_id(), worker);
        }
        Ok(fog)
    }

    /// Orders a join token for an organisation.
    async fn token(&mut self, org: &str) -> Result<TokenText, Fail> {
        let order = TokenRequest {
            id: self.rng.array(),
            exp: Clock::start().now().unix_ms + 60_000,
            org: org.parse().unwrap_or_default(),
            node: None,
            kinds: List::try_from(vec![Kind::Compute]).unwrap_or_default(),
        };
        Ok(ask!(self.operator.token(&order)))
    }

    fn task(&mut self, strategy: Strategy, args: &[&str]) -> Result<Task, Fail> {
        let amounts = Amounts {
            cpu: 100,
            memory: 32 << 20,
            ..Amounts::default()
        };
        let args: Vec<_> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
        Ok(Task {
            ns: "demo".parse().unwrap_or_default(),
            env: Default::default(),
            res: Resources::demand(amounts).map_err(|e| fog_failed(&e))?,
            rsv: None,
            args: List::try_from(args).unwrap_or_default(),
            fuel: 100_000_000_000,
            prio: 5,
            tier: Tier::Bronze,
            after: List::new(),
            group: Default::default(),
            level: Level::Public,
            nonce: self.rng.array(),
            owner: *self.user.me().public().as_bytes(),
            place: Placement::default(),
            retry: Retry {
                most: 3,
                base: 100,
                cap: 1_000,
            },
            start: 0,
            budget: 1 << 40,
            grants: List::new(),
            inputs: List::new(),
            module: Module {
                digest: *self.module.digest(),
                size: self.module.size(),
            },
            run_ms: 600_000,
            verify: Verification::NONE,
            offline: Policy {
                rule: Offline::Replace,
                ms: 0,
            },
            out_max: 1 << 20,
            deadline: Clock::start().now().unix_ms + 3_600_000,
            strategy,
        })
    }

    async fn submit(&mut self, task: Task) -> Result<TaskId, Fail> {
        let task = Signed::sign(task, self.user.me()).map_err(|e| fog_failed(&e))?;
        ask!(self.user.submit(&task));
        self.tasks.push(task.id());
        Ok(task.id())
    }

    /// Submits a task for each part of the text, which counts its words.
    async fn count(&mut self, strategy: Strategy) -> Result<Vec<TaskId>, Fail> {
        let lines: Vec<&str> = TEXT.lines().collect();
        let mut ids = Vec::new();
        for part in lines.chunks(lines.len().div_ceil(TASKS)) {
            let blob = Blob::from(part.join("\n").into_bytes());
            ask!(self.user.put_blob(&blob));
            let mut task = self.task(strategy, &["count", "part"])?;
            let input = Input {
                path: "part".parse().unwrap_or_default(),
                source: Source::Blob {
                    digest: *blob.digest(),
                    size: blob.size(),
                },
            };
            task.inputs = List::try_from(vec![input]).unwrap_or_default();
            ids.push(self.submit(task).await?);
        }
        Ok(ids)
    }

    /// Waits until all tasks have succeeded, and returns their states.
    async fn ended(&self, ids: &[TaskId]) -> Result<Vec<Status>, Fail> {
        let mut all = Vec::new();
        for id in ids {
            let mut states = self.user.watch(id);
            let last = loop {
                match ask!(states.next()) {
                    Some(status) if status.state.ended() => break status,
                    Some(_) => {}
                    None => return Err(failed("fog: a task has no status")),
                }
            };
            if last.state != TaskState::Succeeded {
                let why = format!("fog: a task ended as {} ({})", last.state, &*last.reason);
                return Err(failed(why));
            }
            all.push(last);
        }
        Ok(all)
    }

    /// Counts the words under a strategy. Returns the tasks, and how many each node ran.
    async fn spread(&mut self, strategy: Strategy) -> Result<(Vec<TaskId>, Vec<usize>), Fail> {
        let ids = self.count(strategy).await?;
        let all = self.ended(&ids).await?;
        let mut of: BTreeMap<NodeId, usize> = self.workers.keys().map(|id| (*id, 0)).collect();
        for status in &all {
            if let Some(last) = status.copies.last() {
                *of.entry(last.node).or_default() += 1;
            }
        }
        Ok((ids, of.into_values().collect()))
    }

    /// Adds the counts of tasks up, and compares the sum with a count of our own.
    async fn reduce(&mut self, parts: &[TaskId]) -> Result<usize, Fail> {
        let names: Vec<String> = (0..parts.len()).map(|n| format!("part-{n}")).collect();
        let args: Vec<&str> = std::iter::once("sum")
            .chain(names.iter().map(String::as_str))
            .collect();
        let mut task = self.task(Strategy::LeastLoaded, &args)?;
        let inputs = parts.iter().zip(&names).map(|(task, name)| Input {
            path: name.parse().unwrap_or_default(),
            source: Source::File {
                task: *task,
                path: "stdout".parse().unwrap_or_default(),
            },
        });
        task.inputs = List::try_from(inputs.collect::<Vec<_>>()).unwrap_or_default();
        task.after = List::try_from(parts.to_vec()).unwrap_or_default();
        let id = self.submit(task).await?;
        let status = self.ended(&[id]).await?;
        let sum = self.stdout(&status[0]).await?;
        let wanted = counted(TEXT);
        if sum != wanted {
            return Err(failed("fog: the counts do not add up"));
        }
        Ok(wanted.lines().count())
    }

    /// The standard output of a task.
    async fn stdout(&self, status: &Status) -> Result<String, Fail> {
        let out = status
            .out
            .ok_or_else(|| failed("fog: a task has no output"))?;
        let output = ask!(self.user.output(&out));
        let file = output.files.iter().find(|f| f.path.as_str() == "stdout");
        let file = file.ok_or_else(|| failed("fog: an output has no stdout"))?;
        let bytes = ask!(self.user.blob_bytes(&file.digest, 1 << 20));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A fourth node claims results. A quorum outvotes it until it is quarantined.
    async fn catch_liar(&mut self) -> Result<usize, Fail> {
        let token = self.token("org-4").await?;
        let me = Identity::from_seed(&self.rng.array::<32>());
        let id = me.public().node_id();
        self.keys.push(me.clone());
        let lying = liar::start(client(me, &self.peer)?, &token).await?;
        let mut tasks = 0;
        loop {
            let mut task = self.task(Strategy::RoundRobin, &["spin", "1"])?;
            task.verify = Verification {
                rule: Verify::Quorum,
                k: 2,
                n: 3,
            };
            let task = self.submit(task).await?;
            let status = self.ended(&[task]).await?;
            tasks += 1;
            if self.stdout(&status[0]).await? == liar::CLAIM || tasks > 12 {
                return Err(failed("fog: a lie was believed, or never seen"));
            }
            let nodes = ask!(self.operator.nodes(&Lists::default()));
            let liar = nodes.items.iter().find(|node| node.id == id);
            if liar.is_some_and(|node| node.state == NodeState::Quarantined) {
                lying.stop().await;
                return Ok(tasks);
            }
        }
    }

    /// The way into the coordinator, and its journal.
    pub(super) fn books(&self) -> (Handle, Arc<dyn Journal>) {
        (self.running.handle().clone(), Arc::clone(&self.journal))
    }

    /// A task that prints one number. Its budget is a FOG.
    pub(super) fn small(&mut self) -> Result<Signed<Task>, Fail> {
        let mut task = self.task(Strategy::LeastLoaded, &["spin", "1"])?;
        task.budget = 1_000_000;
        Signed::sign(task, self.user.me()).map_err(|e| fog_failed(&e))
    }

    /// Submits a task. A refusal is told by its code and key.
    pub(super) async fn offer(
        &mut self,
        task: &Signed<Task>,
    ) -> Result<Result<(), (RefusalCode, String)>, Fail> {
        match self.user.submit(task).await {
            Ok(_) => Ok(Ok(())),
            Err(error) => match error.code() {
                Some(code) => Ok(Err((code, error.to_string()))),
                None => Err(fog_failed(&error)),
            },
        }
    }

    /// Waits for the end of a task, and returns what it costs.
    pub(super) async fn cost(&self, id: &TaskId) -> Result<u64, Fail> {
        let all = self.ended(&[*id]).await?;
        all.first()
            .map(|status| status.cost)
            .ok_or_else(|| failed("fog: a task has no status"))
    }

    /// Ends a fog of which nothing else is expected.
    pub(super) async fn stop(self) {
        for (_, worker) in self.workers {
            worker.stop().await;
        }
        self.operator.close().await;
        self.user.close().await;
        self.running.stop().await;
        self.gateway.shutdown().await;
    }

    /// Checks a receipt of a worker as `betanet task verify` does.
    fn verify(&self) -> Result<(), Fail> {
        let module = self.home.join("words.wasm");
        std::fs::write(&module, WORDS).map_err(Fail::file(&module))?;
        let receipts = self.workers.values().find_map(Worker::receipt);
        let receipt = receipts.ok_or_else(|| failed("fog: no receipt is kept"))?;
        verify_receipt(&receipt, &module)
    }

    /// Runs fifty tasks under each strategy, adds their results up, catches a liar, checks a receipt, and then kills the worker that
    /// has most of some long tasks.
    pub(super) async fn run(&mut self, steps: &mut Steps) -> Result<(), Fail> {
        let mut last = Vec::new();
        for strategy in STRATEGIES {
            let (ids, spread) = self.spread(strategy).await?;
            let spread: Vec<String> = spread.iter().map(ToString::to_string).collect();
            steps.done(&format!(
                "{strategy}: {} programs on three workers ({}), all done",
                ids.len(),
                spread.join(", ")
            ));
            last = ids;
        }
        let words = self.reduce(&last).await?;
        steps.done(&format!(
            "added the last {} outputs up in a task after them: {words} different words, as counted here",
            last.len()
        ));
        let tasks = self.catch_liar().await?;
        steps.done(&format!(
            "a fourth node claimed results: outvoted, and quarantined after {tasks} tasks of three copies"
        ));
        self.verify()?;
        steps
            .done("checked a worker's receipt without the network: signature and module are right");
        let mut ids = Vec::new();
        for _ in 0..LONG.0 {
            let task = self.task(Strategy::LeastLoaded, &["spin", LONG.1])?;
            ids.push(self.submit(task).await?);
        }
        let mut live: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in &ids {
            let status = ask!(self.user.status(id));
            if let Some(copy) = status.copies.last().filter(|_| !status.state.ended()) {
                *live.entry(copy.node).or_default() += 1;
            }
        }
        let busiest = live.iter().max_by_key(|(_, n)| **n);
        let (node, copies) = busiest.ok_or_else(|| failed("fog: no copy is live"))?;
        if let Some(worker) = self.workers.remove(node) {
            worker.kill();
        }
        self.killed = Some((Clock::start(), *node, *copies));
        steps.done(&format!(
            "killed the busiest of three workers, with {copies} of {} live copies",
            live.values().sum::<usize>()
        ));
        Ok(())
    }

    /// Waits until the killed node's tasks have ended elsewhere, and checks that none was lost or counted twice.
    pub(super) async fn end(self) -> Result<String, Fail> {
        let (killed, node, copies) = self
            .killed
            .ok_or_else(|| failed("fog: no node was killed"))?;
        let all = tokio::time::timeout(BOUND, self.ended(&self.tasks)).await;
        let all =
            all.map_err(|_| failed(format!("fog: not all tasks ended within {BOUND:?}")))??;
        // The long tasks were the last. Those of the quorum had several copies each.
        let long = all.iter().rev().take(LONG.0);
        let again = long.filter(|s| s.attempts > 1).count();
        let mut lost = 0;
        let mut ends: BTreeMap<TaskId, usize> = BTreeMap::new();
        let mut events = self.user.events(0, false);
        // Each request brings a part of them.
        let mut before = None;
        while before != Some(events.after()) {
            before = Some(events.after());
            while let Some(event) = ask!(events.next()) {
                match (&*event.kind, event.task) {
                    ("ended", Some(task)) => *ends.entry(task).or_default() += 1,
                    ("lost", _) if event.node == Some(node) => lost += 1,
                    _ => {}
                }
            }
        }
        // Some copies may have ended just before the node did.
        if lost == 0 || lost > copies || again != lost {
            return Err(failed(format!(
                "fog: the node lost {lost} of {copies} copies, and {again} tasks were placed again"
            )));
        }
        if ends.len() != self.tasks.len() || ends.values().any(|n| *n != 1) {
            return Err(failed("fog: a task was lost, or ended twice"));
        }
        let seconds = killed.elapsed().as_secs_f64();
        for (_, worker) in self.workers {
            worker.stop().await;
        }
        self.operator.close().await;
        self.user.close().await;
        self.running.stop().await;
        self.gateway.shutdown().await;
        Ok(format!(
            "its {again} tasks ended on the other two {seconds:.0} s after its end: {} tasks, {} results, none lost, none counted twice",
            self.tasks.len(),
            ends.len()
        ))
    }
}

/// Counts words as the program does.
fn counted(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    for word in lower.split(|c: char| !c.is_ascii_lowercase()) {
        if !word.is_empty() {
            *all.entry(word).or_default() += 1;
        }
    }
    all.iter()
        .map(|(word, n)| format!("{word} {n}\n"))
        .collect()
}
