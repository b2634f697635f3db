//! Small tasks through a coordinator and three workers, all of them processes, beside the same module in a loop of the engine alone.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use betanet_fog::bodies::TokenRequest;
use betanet_fog::{
    Amounts, Kind, Level, List, Module as TaskModule, Offline, Placement, Policy, Resources, Retry,
    Signed, Strategy, Task, TaskId, Tier, Verification,
};
use betanet_fog_client::{Blob, Direct, FogClient};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Clock, Node, SessionConfig};
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use wasmtime::{Engine, Module};

use crate::sandbox::{WORK, call, engine};
use crate::{Effort, Figure, beside, median, spent};

/// Processor time of a task, by the engine alone.
const TIME: Duration = Duration::from_millis(10);
const WORKERS: usize = 3;
/// Submissions that are under way at a time.
const AT_A_TIME: usize = 32;
/// Longest time for the tasks of a round.
const BOUND: Duration = Duration::from_secs(300);

/// Ticks of `/proc` in a second, on each Linux.
const TICKS: f64 = 100.0;

/// A process that is ended when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Processor time of it and of its children that have ended, in seconds.
    fn spent(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let (_, rest) = stat.rsplit_once(')').unwrap();
        let fields = rest.split_whitespace().skip(11).take(4);
        let ticks: u64 = fields.map(|n| n.parse::<u64>().unwrap()).sum();
        ticks as f64 / TICKS
    }
}

/// Starts a program, and waits for the line that tells what it is.
fn start(name: &str, args: &[&str], home: &Path) -> (Process, serde_json::Value) {
    let mut command = Command::new(beside(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("BETANET_") {
            command.env_remove(variable);
        }
    }
    command.args(["--json"]).args(args);
    command.current_dir(home).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    (Process(child), serde_json::from_str(&line).unwrap())
}

fn client(me: &Identity, coordinator: &Peer) -> FogClient {
    let node = Node::new(Some(me.clone()), SessionConfig::default()).unwrap();
    FogClient::new(
        me.clone(),
        Direct::new(Arc::new(node), vec![coordinator.clone()]),
    )
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

/// Time in which tokens are used and tasks end.
const HOUR_MS: u64 = 3_600_000;

/// UNIX ms of each task's two moments: accepted, ended.
type Times = BTreeMap<TaskId, (u64, u64)>;

struct Fog {
    owner: Identity,
    user: FogClient,
    module: Blob,
    times: Arc<Mutex<Times>>,
    ended: watch::Receiver<u64>,
    next: u64,
    processes: Vec<Process>,
}

/// Notes each task's moments as the coordinator tells them.
async fn follow(user: FogClient, times: Arc<Mutex<Times>>, ended: watch::Sender<u64>) {
    let mut events = user.events(0, true);
    while let Ok(Some(event)) = events.next().await {
        let Some(task) = event.task else { continue };
        let mut times = times.lock().unwrap();
        match &*event.kind {
            "accepted" => times.entry(task).or_default().0 = event.ts,
            "ended" => {
                times.entry(task).or_default().1 = event.ts;
                ended.send_modify(|n| *n += 1);
            }
            _ => {}
        }
    }
}

impl Fog {
    async fn start(home: &Path, module: Vec<u8>) -> Self {
        let [operator, owner] = [1, 2].map(|n| Identity::from_seed(&[n; 32]));
        let keys = [&operator, &owner].map(|who| who.public().to_string());
        let user = format!("lab={}", keys[1]);
        let listen = ["--listen", "127.0.0.1:0", "--state", "coordinator"];
        let roles = ["--operator", &keys[0], "--user", &user];
        let (process, facts) = start("coordinator", &[listen, roles].concat(), home);
        let peer: Peer = facts["peer"].as_str().unwrap().parse().unwrap();
        let mut processes = vec![process];
        let ordering = client(&operator, &peer);
        let spare = std::thread::available_parallelism().map_or(1, usize::from);
        for n in 0..WORKERS {
            let order = TokenRequest {
                id: [n as u8; 16],
                exp: now_ms() + HOUR_MS,
                org: "acme".parse().unwrap(),
                node: None,
                kinds: List::try_from(vec![Kind::Compute]).unwrap(),
            };
            let token = ordering.token(&order).await.unwrap();
            let file = home.join(format!("{n}.toml"));
            let settings =
                format!("[worker]\nstate = \"worker{n}\"\norg = \"acme\"\nspare = {spare}\n");
            std::fs::write(&file, settings).unwrap();
            let config = ["--config", file.to_str().unwrap()];
            let args = [&config[..], &["--token", token.expose()]].concat();
            processes.push(start("worker", &args, home).0);
        }
        ordering.close().await;
        let user = client(&owner, &peer);
        let module = Blob::from(module);
        user.put_blob(&module).await.unwrap();
        let times = Arc::default();
        let (told, ended) = watch::channel(0);
        tokio::spawn(follow(user.clone(), Arc::clone(&times), told));
        Self {
            owner,
            user,
            module,
            times,
            ended,
            next: 0,
            processes,
        }
    }

    /// Processor time of all processes, this one included, in seconds.
    fn spent(&self) -> f64 {
        let others = self.processes.iter().map(Process::spent);
        crate::cpu().as_secs_f64() + others.sum::<f64>()
    }

    /// A task that asks for a core.
    fn task(&mut self) -> Signed<Task> {
        self.next += 1;
        let amounts = Amounts {
            cpu: 1000,
            memory: 16 << 20,
            ..Amounts::default()
        };
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.next.to_be_bytes());
        let task = Task {
            ns: "lab".parse().unwrap(),
            env: Default::default(),
            res: Resources::demand(amounts).unwrap(),
            rsv: None,
            args: List::new(),
            fuel: 1 << 40,
            prio: 5,
            tier: Tier::Bronze,
            after: List::new(),
            group: Default::default(),
            level: Level::Public,
            nonce,
            owner: *self.owner.public().as_bytes(),
            place: Placement::default(),
            retry: Retry {
                most: 3,
                base: 1_000,
                cap: 60_000,
            },
            start: 0,
            budget: 1 << 40,
            grants: List::new(),
            inputs: List::new(),
            module: TaskModule {
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
            deadline: now_ms() + HOUR_MS,
            strategy: Strategy::LeastLoaded,
        };
        Signed::sign(task, &self.owner).unwrap()
    }

    /// Runs so many tasks. Returns the seconds until all have ended, and the ms from accepted to ended of each.
    async fn run(&mut self, n: usize) -> (f64, Vec<u64>) {
        let before = *self.ended.borrow();
        let began = Instant::now();
        let tasks: Vec<Signed<Task>> = (0..n).map(|_| self.task()).collect();
        let user = &self.user;
        let submitting = stream::iter(&tasks).for_each_concurrent(AT_A_TIME, |task| async move {
            user.submit(task).await.unwrap();
        });
        let ended = &mut self.ended;
        let all = async {
            submitting.await;
            let wanted = before + n as u64;
            ended.wait_for(|count| *count >= wanted).await.unwrap();
        };
        tokio::time::timeout(BOUND, all).await.unwrap();
        let took = began.elapsed().as_secs_f64();
        let times = self.times.lock().unwrap();
        let of = |task: &Signed<Task>| times.get(&task.id()).map(|(from, to)| to - from);
        (took, tasks.iter().filter_map(of).collect())
    }
}

/// Seconds of so many runs in a loop, on so many threads.
fn alone(engine: &Engine, module: &Module, n: usize, threads: usize) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for _ in (thread..n).step_by(threads) {
                    call(engine, module, true);
                }
            });
        }
    });
    began.elapsed().as_secs_f64()
}

/// The module whose run takes [`TIME`], and its bytes.
fn calibrated(engine: &Engine) -> (Module, Vec<u8>) {
    let made = |count: u32| {
        let bytes = wat::parse_str(WORK.replace("COUNT", &count.to_string())).unwrap();
        (Module::new(engine, &bytes).unwrap(), bytes)
    };
    let first = 20_000_000;
    let (module, _) = made(first);
    let took = median(
        (0..9)
            .map(|_| {
                spent(|| {
                    let _ = call(engine, &module, true);
                })
            })
            .collect(),
    );
    made((f64::from(first) * TIME.as_secs_f64() / took) as u32)
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (rounds, n) = if effort.quick { (2, 10) } else { (10, 100) };
    let engine = engine(true);
    let (module, bytes) = calibrated(&engine);
    let home = tempfile::tempdir().unwrap();
    let mut fog = runtime.block_on(Fog::start(home.path(), bytes));
    // Each worker compiles the module once.
    runtime.block_on(fog.run(4 * WORKERS));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut times: [Vec<f64>; 3] = Default::default();
    let (mut latencies, mut processor) = (Vec::new(), [0.0; 2]);
    for _ in 0..rounds {
        let before = crate::cpu();
        times[0].push(alone(&engine, &module, n, cores));
        processor[0] += (crate::cpu() - before).as_secs_f64();
        let before = fog.spent();
        let (took, each) = runtime.block_on(fog.run(n));
        times[1].push(took);
        processor[1] += fog.spent() - before;
        latencies.extend(each);
        times[2].push(alone(&engine, &module, n, 1));
    }
    runtime.block_on(fog.user.close());
    latencies.sort_unstable();
    let sums = times.map(|all| all.iter().sum::<f64>());
    let [loops, through, one] = sums;
    let total = (rounds * n) as f64;
    let rate = |time: f64| total / time;
    let at = |part: usize| latencies[(latencies.len() - 1) * part / 100];
    let at_least = |name, ratio, detail| Figure {
        name,
        ratio,
        bound: 0.6,
        at_least: true,
        detail,
    };
    vec![
        at_least(
            "tasks / wasmtime on all cores",
            loops / through,
            format!(
                "{total:.0} tasks in {through:.2} s, {:.1}/s, {:.1}/s on {cores} cores; accepted to ended p50 {} ms, p99 {} ms",
                rate(through),
                rate(loops),
                at(50),
                at(99),
            ),
        ),
        at_least(
            "tasks / wasmtime in one loop",
            one / through,
            format!("{:.1}/s, {:.1}/s", rate(through), rate(one)),
        ),
        // Others on the machine change the times of day above, and this one less.
        at_least(
            "tasks / wasmtime, processor time",
            processor[0] / processor[1],
            format!(
                "{:.2} ms of a core a task, {:.2} ms",
                processor[1] * 1e3 / total,
                processor[0] * 1e3 / total,
            ),
        ),
    ]
}
