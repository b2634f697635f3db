//! The demo's fog: a coordinator, three nodes, fifty tasks under each placement strategy, and the end of the busiest node.
//!
//! The nodes speak the real protocol and run no programs: a task's result is its argument, after the time that it names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_fog::bodies::{Status, TokenRequest};
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Module, Node as FogNode, Offline, Outcome, Output,
    Placement, Policy, Resources, Retry, Signed, Strategy, Task, TaskId, TaskState, Tier,
    Verification, to_vec,
};
use betanet_fog_client::node::{Ended, Engine, MemoryReceipts, Run, Running as RunFuture, Worker};
use betanet_fog_client::{Blob, Direct, FogClient};
use betanet_fog_service::{Coordinator, Namespace, PREFIX, Role, Running, Settings, Stores};
use betanet_journal_sqlite::SqliteJournal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::{Clock, Gateway, GatewayConfig, Node, Peer, SessionConfig, seed};
use betanet_store::{State, Storage};
use betanet_wire::NodeId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Steps, failed};
use crate::Fail;
use crate::fail::chain;

/// Tasks under each strategy.
const TASKS: usize = 50;
const STRATEGIES: [Strategy; 5] = [
    Strategy::RoundRobin,
    Strategy::LeastLoaded,
    Strategy::Affinity,
    Strategy::Proximity,
    Strategy::PrivacyAware,
];
/// Time that the last tasks run, so that the node's end interrupts some.
const LONG: Duration = Duration::from_secs(4);
/// Silence after which a node counts as gone, with the time to place and run its tasks elsewhere.
const BOUND: Duration = Duration::from_secs(100);

/// Copies that began, by task.
type Begun = Arc<Mutex<BTreeMap<TaskId, u64>>>;

/// Waits for the time that a task names, and returns its argument.
struct Wait {
    begun: Begun,
}

impl Engine for Wait {
    fn name(&self) -> &str {
        "demo"
    }

    fn run(&self, run: Arc<Run>) -> RunFuture {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        *begun.entry(run.id).or_default() += 1;
        Box::pin(async move {
            let ms = run.task.args.first().and_then(|a| a.as_str().parse().ok());
            tokio::time::sleep(Duration::from_millis(ms.unwrap_or(0))).await;
            let output = Output {
                exit: 0,
                files: List::new(),
            };
            Ended {
                status: Outcome::Ok,
                out: Some(*Blob::from(to_vec(&output)).digest()),
                fuel: 1_000,
            }
        })
    }
}

/// A fog that runs while the rest of the demo does.
pub(super) struct Fog {
    gateway: Gateway,
    running: Running,
    user: FogClient,
    rng: Rng,
    workers: BTreeMap<NodeId, JoinHandle<()>>,
    begun: Begun,
    module: Blob,
    tasks: Vec<TaskId>,
    stop: CancellationToken,
    killed: Option<(Clock, NodeId, usize)>,
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
    /// Starts a coordinator with a journal in SQLite, and three nodes that join it with tokens.
    pub(super) async fn start(home: &Path) -> Result<Self, Fail> {
        let mut rng = Rng::new(&seed()?);
        let [me, operator, owner] = [(); 3].map(|()| Identity::from_seed(&rng.array::<32>()));
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
        let gateway = Gateway::builder(me, &config)
            .with_storage(Arc::clone(&state) as Arc<dyn Storage>)
            .service(PREFIX, coordinator.service())
            .start()
            .await?;
        let journal = SqliteJournal::open(&state, Default::default());
        let journal = journal.map_err(|e| fog_failed(&e))?;
        let peer = gateway.listening().peer();
        let running = ask!(coordinator.start(&peer, Arc::new(journal)));
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let mut fog = Self {
            gateway,
            running,
            user: client(owner, &peer)?,
            rng,
            workers: BTreeMap::new(),
            begun: Begun::default(),
            module: Blob::from(b"a module that nobody runs".to_vec()),
            tasks: Vec::new(),
            stop: CancellationToken::new(),
            killed: None,
        };
        ask!(fog.user.put_blob(&fog.module));
        let operator = client(operator, &peer)?;
        for n in 1..=3 {
            fog.join(&operator, &peer, n).await?;
        }
        operator.close().await;
        Ok(fog)
    }

    async fn join(&mut self, operator: &FogClient, peer: &Peer, n: u32) -> Result<(), Fail> {
        let word = |text: String| text.parse().unwrap_or_default();
        let me = Identity::from_seed(&self.rng.array::<32>());
        let order = TokenRequest {
            id: self.rng.array(),
            exp: Clock::start().now().unix_ms + 60_000,
            org: word(format!("org-{n}")),
            node: None,
            kinds: List::try_from(vec![Kind::Compute]).unwrap_or_default(),
        };
        let token = ask!(operator.token(&order));
        let amounts = Amounts {
            cpu: 8_000,
            memory: 8 << 30,
            relay: 10_000_000,
            ..Amounts::default()
        };
        let node = FogNode {
            cap: Resources::capacity(amounts).map_err(|e| fog_failed(&e))?,
            key: *me.public().as_bytes(),
            org: order.org,
            seq: 1,
            kind: Kind::Compute,
            zone: word(format!("zone-{n}")),
            level: Level::Public,
            model: Default::default(),
            price: 1,
            engine: "demo".parse().unwrap_or_default(),
            labels: Labels::default(),
            region: word("here".to_owned()),
        };
        let node = Signed::sign(node, &me).map_err(|e| fog_failed(&e))?;
        let client = client(me.clone(), peer)?;
        let joined = ask!(client.join(&node, &token));
        let engine = Wait {
            begun: Arc::clone(&self.begun),
        };
        let worker = Worker::new(client, &joined, engine, MemoryReceipts::default());
        let work = tokio::spawn(worker.run(self.stop.clone()));
        self.workers.insert(me.public().node_id(), work);
        Ok(())
    }

    fn task(&mut self, strategy: Strategy, runs: Duration) -> Result<Signed<Task>, Fail> {
        let amounts = Amounts {
            cpu: 100,
            memory: 1 << 20,
            ..Amounts::default()
        };
        let args = vec![runs.as_millis().to_string().parse().unwrap_or_default()];
        let owner = self.user.me().clone();
        let task = Task {
            ns: "demo".parse().unwrap_or_default(),
            env: Default::default(),
            res: Resources::demand(amounts).map_err(|e| fog_failed(&e))?,
            rsv: None,
            args: List::try_from(args).unwrap_or_default(),
            fuel: 1_000_000,
            prio: 5,
            tier: Tier::Bronze,
            after: List::new(),
            group: Default::default(),
            level: Level::Public,
            nonce: self.rng.array(),
            owner: *owner.public().as_bytes(),
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
            out_max: 1 << 10,
            deadline: Clock::start().now().unix_ms + 3_600_000,
            strategy,
        };
        Signed::sign(task, &owner).map_err(|e| fog_failed(&e))
    }

    async fn submit(&mut self, strategy: Strategy, runs: Duration) -> Result<Vec<TaskId>, Fail> {
        let mut ids = Vec::new();
        for _ in 0..TASKS {
            let task = self.task(strategy, runs)?;
            ask!(self.user.submit(&task));
            ids.push(task.id());
        }
        self.tasks.extend(&ids);
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

    /// Runs fifty tasks under a strategy. Returns how many each node ran.
    async fn spread(&mut self, strategy: Strategy) -> Result<Vec<usize>, Fail> {
        let ids = self.submit(strategy, Duration::from_millis(20)).await?;
        let all = self.ended(&ids).await?;
        let mut of: BTreeMap<NodeId, usize> = self.workers.keys().map(|id| (*id, 0)).collect();
        for status in &all {
            if let Some(last) = status.copies.last() {
                *of.entry(last.node).or_default() += 1;
            }
        }
        Ok(of.into_values().collect())
    }

    /// Runs fifty tasks under each strategy, then fifty long ones, and kills the node that has most of these.
    pub(super) async fn run(&mut self, steps: &mut Steps) -> Result<(), Fail> {
        for strategy in STRATEGIES {
            let spread = self.spread(strategy).await?;
            let spread: Vec<String> = spread.iter().map(ToString::to_string).collect();
            steps.done(&format!(
                "{strategy}: {TASKS} tasks on three nodes ({}), all done",
                spread.join(", ")
            ));
        }
        let ids = self.submit(Strategy::LeastLoaded, LONG).await?;
        let mut live: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in &ids {
            let status = ask!(self.user.status(id));
            if let Some(copy) = status.copies.last().filter(|_| !status.state.ended()) {
                *live.entry(copy.node).or_default() += 1;
            }
        }
        let busiest = live.iter().max_by_key(|(_, n)| **n);
        let (node, copies) = busiest.ok_or_else(|| failed("fog: no copy is live"))?;
        if let Some(work) = self.workers.remove(node) {
            work.abort();
        }
        self.killed = Some((Clock::start(), *node, *copies));
        steps.done(&format!(
            "killed the busiest of three nodes, with {copies} of {} live copies",
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
        let again = all.iter().filter(|s| s.attempts > 1).count();
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
        let begun = self
            .begun
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let copies_run: u64 = begun.values().sum();
        let seconds = killed.elapsed().as_secs_f64();
        self.stop.cancel();
        for (_, work) in self.workers {
            let _ = tokio::time::timeout(Duration::from_secs(5), work).await;
        }
        self.user.close().await;
        self.running.stop().await;
        self.gateway.shutdown().await;
        Ok(format!(
            "its {again} tasks ended on the other two {seconds:.0} s after its end: {} tasks, {} results, {copies_run} \
             copies begun, none lost, none counted twice",
            self.tasks.len(),
            ends.len()
        ))
    }
}
