//! Measures tasks per second from acceptance over assignment to the result, each committed before it is answered.
//!
//! `load direct|sockets memory|sqlite|postgres://… [TASKS] [NODES] [UNDER_WAY]`. Without sockets, requests go to the machine as values whose
//! signatures were verified; with them, users and nodes have sessions over loopback, and everything is signed and verified.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program for measurements"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_bar::{Headers, Method, Request as BarRequest};
use betanet_coordinator::{Caller, Item, Reply, Request};
use betanet_fog::bodies::{Beat, Join, TokenAnswer, TokenRequest, WorkItem};
use betanet_fog::{
    Assignment, List, Node, Outcome, Receipt, Received, Signed, Task, TaskId, from_slice, to_vec,
};
use betanet_fog_client::testkit::{self, MODULE};
use betanet_fog_service::{Coordinator, Handle, Namespace, PREFIX, Role, Settings, Stores};
use betanet_journal::{Journal, MemoryStore};
use betanet_journal_postgres::PostgresJournal;
use betanet_journal_sqlite::SqliteJournal;
use betanet_keys::{Identity, hash};
use betanet_runtime::{Clock, Gateway, GatewayConfig, SessionHandle};
use betanet_store::State;
use betanet_wire::text::hex;
use tokio::sync::Semaphore;

const OPERATOR: u8 = 1;
const USER: u8 = 2;

fn identity(kind: u8, n: usize) -> Identity {
    let mut seed = [kind; 32];
    seed[1..9].copy_from_slice(&(n as u64).to_be_bytes());
    Identity::from_seed(&seed)
}

fn caller(kind: u8, n: usize) -> Caller {
    let key = *identity(kind, n).public();
    Caller {
        key: *key.as_bytes(),
        node: key.node_id(),
        operator: kind == OPERATOR,
        namespaces: if kind == USER {
            vec!["lab".parse().unwrap()]
        } else {
            Vec::new()
        },
    }
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

fn task(n: usize, now_ms: u64) -> Signed<Task> {
    let owner = identity(USER, 0);
    Signed::sign(testkit::task(&owner, n as u64, now_ms), &owner).unwrap()
}

fn node(n: usize) -> Signed<Node> {
    let me = identity(3, n);
    Signed::sign(testkit::node(&me, 1), &me).unwrap()
}

fn receipt(work: &Assignment, n: usize) -> Signed<Receipt> {
    let id = identity(3, n);
    let now = now_ms();
    let receipt = Receipt {
        inputs: work.inputs_digest(),
        end: now,
        key: *id.public().as_bytes(),
        out: Some([7; 32]),
        copy: work.copy,
        fuel: 1_000,
        task: work.task,
        epoch: work.epoch,
        fence: work.fence,
        start: now,
        engine: "load".parse().unwrap(),
        module: hash(&[MODULE]),
        status: Outcome::Ok,
    };
    Signed::sign(receipt, &id).unwrap()
}

fn token() -> TokenRequest {
    testkit::token_request(0, now_ms())
}

fn beat(seq: u64) -> Beat {
    Beat {
        rtt: List::new(),
        seq,
        gone: List::new(),
        have: List::new(),
        work: true,
    }
}

/// Times at which tasks were sent and done.
#[derive(Default)]
struct Times {
    sent: Mutex<BTreeMap<TaskId, Clock>>,
    took: Mutex<Vec<Duration>>,
    done: AtomicUsize,
}

impl Times {
    fn sent(&self, id: TaskId) {
        self.sent.lock().unwrap().insert(id, Clock::start());
    }

    fn done(&self, id: TaskId) {
        let sent = self.sent.lock().unwrap().remove(&id);
        if let Some(sent) = sent {
            self.took.lock().unwrap().push(sent.elapsed());
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn journal(kind: &str, state: &Arc<State>) -> Arc<dyn Journal> {
    match kind {
        "memory" => Arc::new(MemoryStore::new().open("load")),
        "sqlite" => Arc::new(SqliteJournal::open(state, Default::default()).unwrap()),
        url => {
            let settings = betanet_journal_postgres::Settings::new(url).unwrap();
            let schema = format!("load_{}", std::process::id());
            let settings = settings.with_schema(&schema).unwrap();
            Arc::new(PostgresJournal::open(settings).await.unwrap())
        }
    }
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, kind] = [0, 1].map(|n| args.get(n).cloned().unwrap_or_default());
    let number = |n: usize, or: usize| args.get(n).map_or(or, |text| text.parse().unwrap());
    let (tasks, nodes, under_way) = (number(2, 20_000), number(3, 50), number(4, 200));
    let home = tempfile::tempdir().unwrap();
    let mut config = GatewayConfig::in_state(home.path().join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    config.limits.per_address = Some(10_000);
    config.limits.opens = Some(1 << 20);
    config.limits.opens_per_second = Some(1 << 20);
    let state = Arc::new(State::open(&config.state()).unwrap());
    let stores = Stores::open(&state, 1 << 30).await.unwrap();
    let users = vec![*identity(USER, 0).public()];
    let lab = Namespace {
        users,
        ..Namespace::default()
    };
    let settings = Settings {
        operators: vec![*identity(OPERATOR, 0).public()],
        namespaces: [("lab".parse().unwrap(), lab)].into(),
        ..Settings::default()
    };
    let me = identity(9, 0);
    let coordinator = Coordinator::new(me.clone(), settings, stores);
    let gateway = Gateway::builder(me, &config)
        .with_storage(state.clone())
        .service(PREFIX, coordinator.service())
        .extension(coordinator.extension())
        .start()
        .await
        .unwrap();
    let journal = journal(&kind, &state).await;
    let peer = gateway.listening().peer();
    let running = coordinator.start(&peer, journal).await.unwrap();
    let leads = |role: &Role| matches!(role, Role::Leads(_));
    running.handle().wait_for(leads).await;
    let now = now_ms();
    let signed: Vec<Signed<Task>> = (0..tasks).map(|n| task(n, now)).collect();
    let times = Arc::new(Times::default());
    let (began, cpu) = (Clock::start(), cpu_seconds());
    let began = match mode.as_str() {
        "direct" => direct(running.handle(), signed, (nodes, under_way), &times).await,
        "sockets" => sockets(&gateway, signed, (nodes, under_way), &times).await,
        _ => panic!(
            "load direct|sockets memory|sqlite|postgres://… [TASKS] [NODES] [UNDER_WAY]: {began:?}"
        ),
    };
    let took = began.elapsed();
    let mut all = times.took.lock().unwrap().clone();
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100];
    println!(
        "{mode} {} tasks={tasks} nodes={nodes}: {:.0} tasks/s, p50 {:.1} ms, p99 {:.1} ms, CPU {:.0} µs a task",
        kind.split(':').next().unwrap_or_default(),
        tasks as f64 / took.as_secs_f64(),
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
        (cpu_seconds() - cpu) * 1e6 / tasks as f64,
    );
    let metrics = gateway.render_metrics();
    for line in metrics
        .lines()
        .filter(|l| l.contains("fog_commit") || l.contains("fog_records"))
    {
        if !line.starts_with('#') {
            println!("{line}");
        }
    }
    running.stop().await;
    gateway.shutdown().await;
}

/// Processor time of this process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |n: usize| {
        fields
            .get(n)
            .and_then(|t| t.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (ticks(11) + ticks(12)) / 100.0
}

async fn direct(
    handle: &Handle,
    signed: Vec<Signed<Task>>,
    (nodes, under_way): (usize, usize),
    times: &Arc<Times>,
) -> Clock {
    let order = Request::IssueToken(token());
    let Ok(Reply::Token(token)) = handle.ask(caller(OPERATOR, 0), order).await else {
        panic!("no token")
    };
    let token = Signed::sign(*token, &identity(9, 0))
        .unwrap()
        .to_text()
        .unwrap();
    let total = signed.len();
    for n in 0..nodes.min(1) {
        join_direct(handle, n, &token).await;
    }
    let under_way = Arc::new(Semaphore::new(under_way));
    let began = Clock::start();
    let worker = {
        let (handle, times, under_way) =
            (handle.clone(), Arc::clone(times), Arc::clone(&under_way));
        tokio::spawn(async move {
            let (id, mut after) = (identity(3, 0).public().node_id(), 0);
            while times.done.load(Ordering::Relaxed) < total {
                let asked = Request::Work { node: id, after };
                let Ok(Reply::Work(items)) = handle.ask(caller(3, 0), asked).await else {
                    panic!("no work")
                };
                if items.is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                for item in items {
                    after = after.max(item.at());
                    let Item::Run { work, .. } = item else {
                        continue;
                    };
                    let (handle, times, under_way) =
                        (handle.clone(), Arc::clone(&times), Arc::clone(&under_way));
                    tokio::spawn(async move {
                        let receipt = Box::new(receipt(&work, 0));
                        let done = Request::Done(work.task, receipt);
                        handle.ask(caller(3, 0), done).await.unwrap();
                        times.done(work.task);
                        under_way.add_permits(1);
                    });
                }
            }
        })
    };
    for task in signed {
        under_way.acquire().await.unwrap().forget();
        let (handle, times) = (handle.clone(), Arc::clone(times));
        tokio::spawn(async move {
            times.sent(task.id());
            let submit = Request::Submit {
                task: Box::new(task),
                missing: None,
            };
            handle.ask(caller(USER, 0), submit).await.unwrap();
        });
    }
    worker.await.unwrap();
    began
}

async fn join_direct(handle: &Handle, n: usize, token: &betanet_fog::Text) {
    let join = Request::Join {
        node: Box::new(Received::new(node(n).envelope().clone()).unwrap()),
        token: token.clone().into(),
    };
    handle.ask(caller(3, n), join).await.unwrap();
    let id = identity(3, n).public().node_id();
    let beat = Request::Beat(id, Box::new(beat(1)));
    handle.ask(caller(3, n), beat).await.unwrap();
}

async fn ask(session: &SessionHandle, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let mut headers = Headers::default();
    if method.has_body() {
        headers.set("content-length", body.len().to_string());
    }
    let mut request = BarRequest::new(method, &format!("{PREFIX}/{path}"), headers);
    request.body = body;
    let mut answer = session.ask(request).await.unwrap();
    let body = answer.body.all(1 << 21).await.unwrap().unwrap();
    (answer.head.status, body)
}

async fn session(gateway: &Gateway, who: Identity) -> SessionHandle {
    let node = betanet_runtime::Node::new(Some(who), Default::default()).unwrap();
    node.with_transport(betanet_runtime::Transport::Tcp)
        .connect(&gateway.listening().peer())
        .await
        .unwrap()
}

async fn sockets(
    gateway: &Gateway,
    signed: Vec<Signed<Task>>,
    (nodes, under_way): (usize, usize),
    times: &Arc<Times>,
) -> Clock {
    let operator = session(gateway, identity(OPERATOR, 0)).await;
    let (_, body) = ask(&operator, Method::Post, "tokens", to_vec(&token())).await;
    let TokenAnswer { token } = from_slice(&body).unwrap();
    let user = Arc::new(session(gateway, identity(USER, 0)).await);
    let blob = format!("blob/{}", hex(&hash(&[MODULE])));
    assert_eq!(ask(&user, Method::Put, &blob, MODULE.to_vec()).await.0, 201);
    let under_way = Arc::new(Semaphore::new(under_way));
    let total = signed.len();
    let mut workers = Vec::new();
    // A token is for one node.
    let (_, mut token) = ((), Some(token));
    for n in 0..nodes {
        let token = match token.take() {
            Some(token) => token,
            None => {
                let mut order = self::token();
                order.id[..8].copy_from_slice(&(n as u64).to_be_bytes());
                let (_, body) = ask(&operator, Method::Post, "tokens", to_vec(&order)).await;
                from_slice::<TokenAnswer>(&body).unwrap().token
            }
        };
        let s = Arc::new(session(gateway, identity(3, n)).await);
        let join = to_vec(&Join {
            node: node(n).envelope().clone(),
            token,
        });
        assert_eq!(ask(&s, Method::Post, "join", join).await.0, 201);
        let id = hex(&identity(3, n).public().node_id().0);
        let path = format!("nodes/{id}/beat");
        assert_eq!(ask(&s, Method::Post, &path, to_vec(&beat(1))).await.0, 200);
        workers.push((s, id));
    }
    let began = Clock::start();
    let mut running = Vec::new();
    for (n, (s, id)) in workers.into_iter().enumerate() {
        let (times, under_way) = (Arc::clone(times), Arc::clone(&under_way));
        running.push(tokio::spawn(work(s, n, id, times, under_way, total)));
    }
    for task in signed {
        under_way.acquire().await.unwrap().forget();
        let (user, times) = (Arc::clone(&user), Arc::clone(times));
        tokio::spawn(async move {
            let id = task.id();
            times.sent(id);
            let path = format!("tasks/{}", hex(&id.0));
            let (status, body) = ask(&user, Method::Put, &path, task.to_bytes()).await;
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        });
    }
    while times.done.load(Ordering::Relaxed) < total {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running.iter().for_each(tokio::task::JoinHandle::abort);
    began
}

/// A node that takes its items and hands in receipts.
async fn work(
    s: Arc<SessionHandle>,
    n: usize,
    id: String,
    times: Arc<Times>,
    under_way: Arc<Semaphore>,
    total: usize,
) {
    let mut after = 0;
    while times.done.load(Ordering::Relaxed) < total {
        let path = format!("{PREFIX}/nodes/{id}/work?after={after}&wait=60000");
        let request = BarRequest::new(Method::Get, &path, Headers::default());
        let mut answer = s.ask(request).await.unwrap();
        let mut buffer: Vec<u8> = Vec::new();
        while let Ok(Some(bytes)) = answer.body.chunk().await {
            buffer.extend_from_slice(&bytes);
            while let Some((len, rest)) = buffer.split_first_chunk::<4>() {
                let len = u32::from_be_bytes(*len) as usize;
                if rest.len() < len {
                    break;
                }
                let item: WorkItem = from_slice(&rest[..len]).unwrap();
                buffer.drain(..4 + len);
                match item {
                    WorkItem::Drop(drop) => after = drop.at,
                    WorkItem::Run(run) => {
                        after = run.at;
                        let (s, times, under_way) =
                            (Arc::clone(&s), Arc::clone(&times), Arc::clone(&under_way));
                        tokio::spawn(async move {
                            let work = Received::<Assignment>::new(run.work).unwrap();
                            let work = work.verify().unwrap().check(now_ms()).unwrap();
                            let body = receipt(&work, n).to_bytes();
                            let path = format!("tasks/{}/done", hex(&work.task.0));
                            let (status, _) = ask(&s, Method::Post, &path, body).await;
                            assert_eq!(status, 204);
                            times.done(work.task);
                            under_way.add_permits(1);
                        });
                    }
                }
            }
        }
    }
}
