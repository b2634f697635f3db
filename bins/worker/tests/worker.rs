//! Workers as processes, against a coordinator over real sockets: programs run, logs stream, a worker that is killed or told to stop
//! loses nothing, and one that lies is caught.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, looks at the clock, and tells what it measured"
)]

#[path = "worker/bucket.rs"]
mod bucket;
#[path = "worker/chaos.rs"]
mod chaos;
#[path = "worker/commands.rs"]
mod commands;
#[path = "worker/coordinators.rs"]
mod coordinators;
#[path = "worker/devices.rs"]
mod devices;
#[path = "worker/drains.rs"]
mod drains;
#[path = "worker/faults.rs"]
mod faults;
#[path = "worker/harvest.rs"]
mod harvest;
#[path = "worker/idle.rs"]
mod idle;
#[path = "worker/journal.rs"]
mod journal;
#[path = "worker/levels.rs"]
mod levels;
#[path = "worker/lies.rs"]
mod lies;
#[path = "worker/line.rs"]
mod line;
#[path = "worker/network.rs"]
mod network;
#[path = "worker/process.rs"]
mod process;
#[path = "worker/rate.rs"]
mod rate;
#[path = "worker/runs.rs"]
mod runs;
#[path = "worker/watch.rs"]
mod watch;
#[path = "worker/ways.rs"]
mod ways;
#[path = "worker/words.rs"]
mod words;
#[path = "worker/wrong.rs"]
mod wrong;

use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{Status, TokenRequest};
use betanet_fog::{
    Amounts, Attribute, Input, Kind, List, Module, Need, NodeState, Op, Resources, Signed, Source,
    Task, TaskId, Verification,
};
use betanet_fog_client::testkit::{client, task};
use betanet_fog_client::{Blob, FogClient, Lists};
use betanet_fog_service::{Coordinator, Namespace, PREFIX, Role, Running, Settings, Stores};
use betanet_fog_worker::programs::WORDS;
use betanet_journal_sqlite::SqliteJournal;
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Clock, Gateway, GatewayConfig, NodeId};
use betanet_store::{State, Storage};

use process::Worker;

/// Longest time for a few short tasks. The first compiles the program.
const BOUND: Duration = Duration::from_secs(300);

fn operator() -> Identity {
    Identity::from_seed(&[1; 32])
}

fn owner() -> Identity {
    Identity::from_seed(&[2; 32])
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// Clients of an operator and of a user, and mostly a coordinator in this process.
struct Fog {
    own: Option<(Gateway, Running)>,
    /// Its journal, if it is in this process.
    journal: Option<Arc<SqliteJournal>>,
    /// The first of the coordinators.
    peer: Peer,
    user: FogClient,
    operator: FogClient,
    module: Blob,
    tokens: std::cell::Cell<u8>,
    /// The coordinator's folder, if it is in this process.
    home: tempfile::TempDir,
}

impl Fog {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = GatewayConfig::in_state(home.path());
        config.listener.listen = vec!["127.0.0.1:0".into()];
        (config.limits.opens, config.limits.opens_per_second) = (Some(65_536), Some(16_384));
        let state = Arc::new(State::open(&config.state()).unwrap());
        // For the command line, which takes keys from files.
        let user = betanet_runtime::new_identity(&home.path().join("user.pem")).unwrap();
        let namespace = Namespace {
            users: vec![*owner().public(), *user.public()],
            ..Namespace::default()
        };
        let settings = Settings {
            operators: vec![*operator().public(), *user.public()],
            namespaces: [("lab".parse().unwrap(), namespace)].into(),
            ..Settings::default()
        };
        let me = Identity::from_seed(&[9; 32]);
        let stores = Stores::open(&state, 1 << 30).await.unwrap();
        let coordinator = Coordinator::new(me.clone(), settings, stores);
        let gateway = Gateway::builder(me, &config)
            .with_storage(Arc::clone(&state) as Arc<dyn Storage>)
            .service(PREFIX, coordinator.service())
            .start()
            .await
            .unwrap();
        let journal = SqliteJournal::open(&state, Default::default()).unwrap();
        let journal = Arc::new(journal);
        let peer = gateway.listening().peer();
        let kept = Arc::clone(&journal);
        let running = coordinator.start(&peer, kept).await.unwrap();
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let mut this = Self::of(std::slice::from_ref(&peer), home).await;
        this.own = Some((gateway, running));
        this.journal = Some(journal);
        this
    }

    /// Clients of coordinators that run elsewhere. Each of these has the program then.
    async fn of(peers: &[Peer], home: tempfile::TempDir) -> Self {
        let module = Blob::from(WORDS.to_vec());
        for peer in peers {
            let one = client(&owner(), std::slice::from_ref(peer));
            one.put_blob(&module).await.unwrap();
            one.close().await;
        }
        Self {
            operator: client(&operator(), peers),
            own: None,
            journal: None,
            peer: peers[0].clone(),
            user: client(&owner(), peers),
            module,
            tokens: std::cell::Cell::new(0),
            home,
        }
    }

    /// Orders a token for a node of an organisation.
    async fn token(&self, org: &str, kind: Kind) -> String {
        let n = self.tokens.get();
        self.tokens.set(n + 1);
        let request = TokenRequest {
            id: [n; 16],
            exp: now_ms() + 3_600_000,
            org: org.parse().unwrap(),
            node: None,
            kinds: List::try_from(vec![kind]).unwrap(),
        };
        let token = self.operator.token(&request).await.unwrap();
        token.expose().to_owned()
    }

    /// Starts a worker of an organisation, and waits until it has joined.
    async fn worker(&self, org: &str) -> Worker {
        let token = self.token(org, Kind::Compute).await;
        let mut worker = Worker::new(org);
        worker.start(&["--token", &token]);
        worker
    }

    /// A task that runs the program with these arguments. Each has a nonce of its own.
    fn task(&self, nonce: u64, args: &[&str]) -> Task {
        let args: Vec<_> = args.iter().map(|arg| arg.parse().unwrap()).collect();
        Task {
            args: List::try_from(args).unwrap(),
            module: Module {
                digest: *self.module.digest(),
                size: self.module.size(),
            },
            res: core(100),
            fuel: 100_000_000_000,
            ..task(&owner(), nonce, now_ms())
        }
    }

    async fn submit(&self, task: Task) -> TaskId {
        let task = Signed::sign(task, &owner()).unwrap();
        self.user.submit(&task).await.unwrap();
        task.id()
    }

    /// Waits until a task has ended.
    async fn end(&self, id: &TaskId) -> Status {
        let ended = async {
            let mut states = self.user.watch(id);
            loop {
                if let Some(status) = states.next().await.unwrap()
                    && status.state.ended()
                {
                    return status;
                }
            }
        };
        match tokio::time::timeout(BOUND, ended).await {
            Ok(status) => status,
            Err(_) => panic!("{id} has not ended: {:?}", self.user.status(id).await),
        }
    }

    /// Waits until a task has a copy in this state. Returns its fence.
    async fn copy(&self, id: &TaskId, state: &str) -> u64 {
        let found = async {
            loop {
                let status = self.user.status(id).await.unwrap();
                if let Some(copy) = status.copies.iter().find(|c| c.state.as_str() == state) {
                    return copy.fence;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOUND, found).await.unwrap()
    }

    /// A file of a task's output.
    async fn file(&self, status: &Status, path: &str) -> Vec<u8> {
        let output = self.user.output(&status.out.unwrap()).await.unwrap();
        let file = output.files.iter().find(|f| f.path.as_str() == path);
        let file = file.unwrap_or_else(|| panic!("{path} in {output:?}"));
        self.user.blob_bytes(&file.digest, 1 << 24).await.unwrap()
    }

    /// The log of a copy.
    async fn log(&self, id: &TaskId, fence: u64) -> String {
        let mut log = self.user.log(id, fence, 0).await.unwrap();
        let mut all = Vec::new();
        while let Some(bytes) = log.chunk().await.unwrap() {
            all.extend_from_slice(&bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// State of a node.
    async fn node(&self, id: &NodeId) -> NodeState {
        let nodes = self.operator.nodes(&Lists::default()).await.unwrap();
        nodes.items.iter().find(|n| n.id == *id).unwrap().state
    }

    async fn stop(self) {
        self.user.close().await;
        self.operator.close().await;
        if let Some((gateway, running)) = self.own {
            running.stop().await;
            gateway.shutdown().await;
        }
    }
}

/// A task's demand: so much of a core, in thousandths.
fn core(cpu: u64) -> Resources {
    let amounts = Amounts {
        cpu,
        memory: 64 << 20,
        ..Amounts::default()
    };
    Resources::demand(amounts).unwrap()
}

/// A task that only nodes of these organisations may run.
fn only(mut task: Task, orgs: &[&str]) -> Task {
    let need = Need {
        attribute: Attribute::Org,
        op: Op::In,
        values: List::try_from(
            orgs.iter()
                .map(|org| org.parse().unwrap())
                .collect::<Vec<_>>(),
        )
        .unwrap(),
    };
    task.place.need = List::try_from(vec![need]).unwrap();
    task
}

/// A blob as an input of a task.
fn input(path: &str, blob: &Blob) -> Input {
    Input {
        path: path.parse().unwrap(),
        source: Source::Blob {
            digest: *blob.digest(),
            size: blob.size(),
        },
    }
}

fn quorum(k: u64, n: u64) -> Verification {
    Verification {
        rule: betanet_fog::Verify::Quorum,
        k,
        n,
    }
}
