//! Privacy levels over a real mix: who proves one, where tasks go, and how their requests and blobs travel.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod net;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_fog::bodies::Reach;
use betanet_fog::{
    Amounts, Digest, Level, List, Module, Outcome, Output, OutputFile, RefusalCode, Resources,
    Signed, Task, TaskId, TaskState, to_vec,
};
use betanet_fog_client::node::{
    Answers, Ended, Engine, MemoryReceipts, MixWay, REACH, Run, Running, Ways, Worker,
};
use betanet_fog_client::testkit::{self, token_request};
use betanet_fog_client::{Blob, FogClient, Mixed, Patience};
use betanet_fog_service::{Coordinator, MixWays, Namespace, PREFIX, Settings, Stores};
use betanet_journal::MemoryStore;
use betanet_keys::{Identity, Name, Peer};
use betanet_runtime::{Clock, Gateway, Headers, Method, MixClient, Node, Request, Role};
use betanet_runtime::{SessionConfig, State};
use betanet_wire::NodeId;
use tokio_util::sync::CancellationToken;

use net::{Net, identity};

const MIXNODES: u8 = 7;
const COORDINATOR: u8 = 20;
const OPERATOR: u8 = 21;
const USER: u8 = 22;

/// Length of the module, which the node fetches.
const MODULE: usize = 100_000;

/// Payload of a packet is less.
const PACKET: usize = 2_048;

/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(150);

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// A coordinator that is part of the network.
struct Fog {
    peer: Peer,
    gateway: Gateway,
    running: betanet_fog_service::Running,
}

impl Fog {
    async fn start(net: &Net) -> Self {
        let me = identity(COORDINATOR);
        let config = net.config(COORDINATOR, Role::Gateway);
        let state = Arc::new(State::open(&config.state()).unwrap());
        let stores = Stores::open(&state, 1 << 28).await.unwrap();
        let lab = Namespace {
            users: vec![*identity(USER).public()],
            ..Namespace::default()
        };
        let settings = Settings {
            operators: vec![*identity(OPERATOR).public()],
            namespaces: [("lab".parse().unwrap(), lab)].into(),
            ..Settings::default()
        };
        let coordinator = Coordinator::new(me.clone(), settings, stores);
        let gateway = Gateway::builder(me, &config)
            .with_storage(state)
            .service(PREFIX, coordinator.service())
            .start()
            .await
            .unwrap();
        let peer = gateway.listening().peer();
        let ways = MixWays {
            network: net.network(),
            state: None,
            dial_from: config.node.dial_from,
        };
        coordinator.prove_levels(ways).unwrap();
        let journal = Arc::new(MemoryStore::new().open("one"));
        let running = coordinator.start(&peer, journal).await.unwrap();
        let leads = |role: &_| matches!(role, betanet_fog_service::Role::Leads(_));
        running.handle().wait_for(leads).await;
        Self {
            peer,
            gateway,
            running,
        }
    }

    fn name(&self) -> Name {
        self.peer.name()
    }
}

/// The engine's work: each task that it ran, and the number of relays that the task's blobs passed.
type Done = Arc<Mutex<Vec<(TaskId, usize)>>>;

/// Fetches the module and stores an output, over the way of the task's level.
struct Fetches {
    ways: Ways,
    done: Done,
}

async fn fetched(ways: Ways, run: &Run, done: Done) -> Digest {
    let way = ways.at(run.task.level).await.unwrap();
    let fog = way.client();
    let module = fog.blob_bytes(&run.task.module.digest, 1 << 20).await;
    let stdout = Blob::from(format!("{} bytes\n", module.unwrap().len()).into_bytes());
    let file = OutputFile {
        path: "stdout".parse().unwrap(),
        digest: *stdout.digest(),
        size: stdout.size(),
    };
    let files = List::try_from(vec![file]).unwrap();
    let output = Blob::from(to_vec(&Output { exit: 0, files }));
    for blob in [&stdout, &output] {
        fog.put_blob(blob).await.unwrap();
    }
    done.lock().unwrap().push((run.id, fog.relays()));
    *output.digest()
}

impl Engine for Fetches {
    fn name(&self) -> &str {
        "test"
    }

    fn serves(&self, _: Level) -> bool {
        true
    }

    fn run(&self, run: Arc<Run>) -> Running {
        let (ways, done) = (self.ways.clone(), Arc::clone(&self.done));
        Box::pin(async move {
            Ended {
                status: Outcome::Ok,
                out: Some(fetched(ways, &run, done).await),
                fuel: 1_000,
            }
        })
    }
}

/// A node that is part of the network and claims a level.
struct Member {
    id: NodeId,
    gateway: Gateway,
    done: Done,
    stop: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl Member {
    async fn join(net: &Net, fog: &Fog, n: u8, level: Level) -> Self {
        let me = identity(n);
        let answers = Answers::new(me.clone());
        let config = net.config(n, Role::Gateway);
        let gateway = Gateway::builder(me.clone(), &config)
            .service(REACH, answers.service())
            .start()
            .await
            .unwrap();
        let operator = testkit::client(&identity(OPERATOR), std::slice::from_ref(&fog.peer));
        let asked = token_request(n.into(), now_ms());
        let token = operator.token(&asked).await.unwrap();
        let token: betanet_fog::Text = token.expose().parse().unwrap();
        operator.close().await;
        let mut described = testkit::node(&me, now_ms());
        described.level = level;
        described.cap = Resources::capacity(Amounts {
            relay: 10_000_000,
            ..described.cap.amounts()
        })
        .unwrap();
        let described = Signed::sign(described, &me).unwrap();
        let client = testkit::client(&me, std::slice::from_ref(&fog.peer));
        let joined = client.join(&described, &token.into()).await.unwrap();
        answers.learn(&joined);
        let way = MixWay {
            network: net.network(),
            state: None,
            cover: Duration::from_millis(10),
            dial_from: config.node.dial_from,
        };
        let done = Done::default();
        let engine = Fetches {
            ways: Ways::new(client.clone(), Some(way)),
            done: Arc::clone(&done),
        };
        let worker = Worker::new(client, &joined, engine, MemoryReceipts::default());
        let stop = CancellationToken::new();
        let working = tokio::spawn(worker.run(stop.clone()));
        Self {
            id: me.public().node_id(),
            gateway,
            done,
            stop,
            working,
        }
    }

    async fn leave(self) {
        self.stop.cancel();
        self.working.await.unwrap();
        self.gateway.shutdown().await;
    }
}

/// A user of the fog over the mix.
struct User {
    fog: FogClient,
    mix: Arc<MixClient>,
}

impl User {
    async fn over(net: &Net, fog: &Fog, level: Level) -> Self {
        let cover = level.cover().then_some(Duration::from_millis(10));
        let mix = Arc::new(net.client(level.relays(), cover).await);
        let connect = Mixed::new(Arc::clone(&mix), level.relays(), vec![fog.name()]);
        let patience = Patience {
            repeat: Duration::from_secs(1),
            ..Patience::default()
        };
        let fog = FogClient::with_patience(identity(USER), connect, patience);
        Self { fog, mix }
    }

    async fn close(self) {
        self.fog.close().await;
        self.mix.close().await;
    }

    /// Submits a task once a node has its level.
    async fn submitted(&self, task: &Signed<Task>) {
        let submitting = async {
            loop {
                match self.fog.submit(task).await {
                    Ok(_) => return,
                    Err(e) if e.code() == Some(RefusalCode::PrivacyUnavailable) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        tokio::time::timeout(LONG, submitting).await.unwrap();
    }

    async fn ended(&self, id: &TaskId) -> betanet_fog::bodies::Status {
        let ending = async {
            let mut watch = self.fog.watch(id);
            loop {
                match watch.next().await.unwrap() {
                    Some(status) if status.state.ended() => return status,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LONG, ending).await.unwrap()
    }
}

fn module(level: Level) -> Blob {
    Blob::from(vec![u8::try_from(level.relays()).unwrap(); MODULE])
}

fn task(level: Level) -> Signed<Task> {
    let owner: Identity = identity(USER);
    let mut task = testkit::task(&owner, level.relays() as u64, now_ms());
    let module = module(level);
    task.module = Module {
        digest: *module.digest(),
        size: module.size(),
    };
    task.level = level;
    task.res = Resources::demand(Amounts {
        relay: 1_000_000,
        ..task.res.amounts()
    })
    .unwrap();
    Signed::sign(task, &owner).unwrap()
}

/// Status of a request that a user sends directly, in spite of a client's own check.
async fn directly(fog: &Fog, method: Method, task: &Signed<Task>) -> u16 {
    let me = Some(identity(USER));
    let node = Node::new(me, SessionConfig::default()).unwrap();
    let session = node.session(&fog.peer).await.unwrap();
    let target = format!("/fog/1/tasks/{}", task.id());
    let mut headers = Headers::default();
    let body = if method == Method::Put {
        task.to_bytes()
    } else {
        Vec::new()
    };
    if method.has_body() {
        headers.set("content-length", body.len().to_string());
    }
    let mut request = Request::new(method, &target, headers);
    request.body = body;
    let answer = session.ask(request).await.unwrap();
    let status = answer.head.status;
    drop(answer);
    node.close().await;
    status
}

/// Status of a question that is put to a node directly.
async fn asked_directly(member: &Member, body: Vec<u8>) -> u16 {
    let node = Node::client().unwrap();
    let peer = member.gateway.listening().peer();
    let session = node.session(&peer).await.unwrap();
    let mut headers = Headers::default();
    headers.set("content-length", body.len().to_string());
    let mut request = Request::new(Method::Post, REACH, headers);
    request.body = body;
    let status = session.ask(request).await.unwrap().head.status;
    node.close().await;
    status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_above_public_run_on_nodes_that_were_reached_and_travel_over_the_mix() {
    let net = Net::start(MIXNODES).await;
    let fog = Fog::start(&net).await;
    let user = User::over(&net, &fog, Level::Private).await;
    user.fog.put_blob(&module(Level::Private)).await.unwrap();
    // No node has the level.
    let private = task(Level::Private);
    let refused = user.fog.submit(&private).await.unwrap_err();
    assert_eq!(refused.code(), Some(RefusalCode::PrivacyUnavailable));
    // One that claims it, and one that claims nothing.
    let plain = Member::join(&net, &fog, 30, Level::Public).await;
    let first = Member::join(&net, &fog, 31, Level::Private).await;
    let before = net.packets();
    user.submitted(&private).await;
    let status = user.ended(&private.id()).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    assert_eq!(status.copies[0].node, first.id);
    assert_eq!(*first.done.lock().unwrap(), [(private.id(), 3)]);
    // The module came in packets, each of which left three relays.
    let least = 3 * (MODULE / PACKET) as u64;
    assert!(net.packets() - before > least, "{}", net.packets());
    let output = user.fog.output(&status.out.unwrap()).await.unwrap();
    assert_eq!(output.files.len(), 1);
    // Directly, neither the task nor anything about it is taken.
    for method in [Method::Put, Method::Get, Method::Del] {
        assert_eq!(directly(&fog, method, &private).await, 403, "{method:?}");
    }
    // Nor does a node answer directly, and it reads no long question.
    let question = to_vec(&Reach {
        level: Level::Private,
        nonce: [1; 32],
    });
    assert_eq!(asked_directly(&first, question).await, 403);
    assert_eq!(asked_directly(&first, vec![0; 257]).await, 400);
    // Over three relays, a higher level is not sent. Nobody has it anyway.
    for level in [Level::Confidential, Level::Secret] {
        let refused = user.fog.submit(&task(level)).await.unwrap_err();
        assert_eq!(refused.code(), Some(RefusalCode::PrivacyRoute));
    }
    user.close().await;
    let second = Member::join(&net, &fog, 32, Level::Secret).await;
    for level in [Level::Confidential, Level::Secret] {
        let user = User::over(&net, &fog, level).await;
        let task = task(level);
        user.fog.put_blob(&module(level)).await.unwrap();
        user.submitted(&task).await;
        let status = user.ended(&task.id()).await;
        assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
        assert_eq!(status.copies[0].node, second.id);
        let done = second.done.lock().unwrap().pop();
        assert_eq!(done, Some((task.id(), level.relays())));
        let listed = user.fog.tasks(&Default::default()).await.unwrap().items;
        let listed = listed.iter().any(|t| t.id == task.id());
        assert_eq!(listed, level != Level::Secret);
        user.close().await;
    }
    assert!(plain.done.lock().unwrap().is_empty());
    for member in [plain, first, second] {
        member.leave().await;
    }
    fog.running.stop().await;
    fog.gateway.shutdown().await;
    net.stop().await;
}
