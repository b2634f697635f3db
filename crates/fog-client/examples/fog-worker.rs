//! A worker for tests: real protocol, no programs. It joins with tokens, takes copies, and returns what the task's arguments say.
//!
//! Its standard output is the task's arguments, one a line. It is no product: nothing is isolated, because nothing is run.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_fog::bodies::TokenRequest;
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Node as FogNode, Outcome, Output, OutputFile, Resources,
    Signed, to_vec,
};
use betanet_fog_client::node::{
    Answers, COVER, Ended, Engine, MemoryReceipts, MixWay, REACH, Report, Run, Running, Ways,
    Worker,
};
use betanet_fog_client::{Blob, Direct, FogClient};
use betanet_keys::{Identity, Peer};
use betanet_machine::Rng;
use betanet_runtime::{
    Clock, Gateway, GatewayConfig, Network, Node, SessionConfig, SharedFolder, load_identity, seed,
};
use tokio_util::sync::CancellationToken;

const USAGE: &str = "\
fog-worker --coordinator PEER [--coordinator PEER]... (--token TOKEN... | --operator KEYFILE) [OPTIONS]

  --nodes N        nodes in this process (1); each needs a token of its own, or --operator orders them
  --org ORG        organisation; with {n} in it, one for each node (test-{n})
  --zone ZONE      zone (test)
  --region REGION  region (test)
  --kind KIND      kind of node (compute)
  --cpu MILLI      thousandths of a core of each node (4000)
  --memory BYTES   memory of each node (8589934592)
  --gpu MILLI      thousandths of devices of each node (0)
  --price PPM      lowest demand factor (1)
  --delay MS       time that a copy takes (0)
  --lie PERCENT    share of copies with a wrong output (0)
  --no-blobs       name outputs without storing them
  --network FILE   be part of this network, and prove --level there over its mix; blobs of private tasks go over it
  --level LEVEL    level that each node claims: private, confidential or secret (public)
  --listen ADDR    where it listens then; port 0 lets the system choose (127.0.0.1:0)
  --state DIR      folder for what a node of the network keeps; needed with --network
  --seconds S      end after this time; without it, on Ctrl-C

Example: fog-worker --coordinator bnp1… --operator ./operator.pem --nodes 3 --delay 200";

/// Values by flag.
struct Flags(BTreeMap<String, Vec<String>>);

impl Flags {
    fn read() -> Result<Self, Box<dyn Error>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut args = std::env::args().skip(1);
        while let Some(flag) = args.next() {
            let name = flag.strip_prefix("--").ok_or(USAGE)?.to_owned();
            let value = match name.as_str() {
                "help" => return Err(USAGE.into()),
                "no-blobs" => String::new(),
                _ => args.next().ok_or(USAGE)?,
            };
            all.entry(name).or_default().push(value);
        }
        Ok(Self(all))
    }

    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.all(name).last().map_or(default, String::as_str)
    }

    fn level(&self) -> Result<Level, Box<dyn Error>> {
        let text = self.text("level", "public");
        let level = Level::from_word(text);
        level.ok_or_else(|| {
            format!("--level {text}: public, private, confidential or secret").into()
        })
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
        match self.all(name).last() {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("--{name} {text}: a number").into()),
        }
    }
}

/// Returns the task's arguments as its output.
struct Echo {
    client: FogClient,
    ways: Ways,
    delay: Duration,
    lie: u64,
    blobs: bool,
    draws: AtomicU64,
}

impl Echo {
    /// Whether the next copy's output is wrong: the given share of all, evenly.
    fn lies(&self) -> bool {
        let n = self.draws.fetch_add(1, Ordering::Relaxed);
        (n + 1) * self.lie / 100 != n * self.lie / 100
    }
}

async fn output(client: FogClient, stdout: String, stored: bool) -> Result<[u8; 32], String> {
    let stdout = Blob::from(stdout.into_bytes());
    let file = OutputFile {
        path: "stdout".parse().map_err(|_| "a path")?,
        digest: *stdout.digest(),
        size: stdout.size(),
    };
    let files = List::try_from(vec![file]).map_err(|e| e.to_string())?;
    let output = Blob::from(to_vec(&Output { exit: 0, files }));
    if stored {
        for blob in [&stdout, &output] {
            client.put_blob(blob).await.map_err(|e| e.to_string())?;
        }
    }
    Ok(*output.digest())
}

impl Engine for Echo {
    fn name(&self) -> &str {
        "fog-worker 0.1"
    }

    fn serves(&self, _: Level) -> bool {
        // The way of a level that the node cannot go is refused when it is asked for.
        true
    }

    fn run(&self, run: Arc<Run>) -> Running {
        let (client, ways, delay) = (self.client.clone(), self.ways.clone(), self.delay);
        let (blobs, lies) = (self.blobs, self.lies());
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            let mut stdout: String = run
                .task
                .args
                .iter()
                .map(|a| format!("{}\n", a.as_str()))
                .collect();
            if lies {
                stdout.push_str(&format!("a lie of {}\n", client.me().public()));
            }
            let stored = async {
                // Held until the task is done: its cover is sent meanwhile.
                let way = ways.at(run.task.level).await.map_err(|e| e.to_string())?;
                output(way.client().clone(), stdout, blobs).await
            };
            match stored.await {
                Ok(digest) => Ended {
                    status: Outcome::Ok,
                    out: Some(digest),
                    fuel: run.task.fuel / 2,
                },
                Err(why) => {
                    println!("{}: {why}", run.id);
                    Ended {
                        status: Outcome::Internal,
                        out: None,
                        fuel: 0,
                    }
                }
            }
        })
    }
}

fn description(flags: &Flags, n: u64, key: &Identity) -> Result<FogNode, Box<dyn Error>> {
    let amounts = Amounts {
        cpu: flags.number("cpu", 4000)?,
        memory: flags.number("memory", 8 << 30)?,
        storage: 1 << 40,
        gpu: flags.number("gpu", 0)?,
        bandwidth: 1_000_000_000,
        relay: 100_000_000,
    };
    let org = flags.text("org", "test-{n}").replace("{n}", &n.to_string());
    Ok(FogNode {
        cap: Resources::capacity(amounts)?,
        key: *key.public().as_bytes(),
        org: org.parse()?,
        seq: Clock::start().now().unix_ms,
        kind: flags.text("kind", "compute").parse()?,
        zone: flags.text("zone", "test").parse()?,
        level: flags.level()?,
        model: "".parse()?,
        price: flags.number("price", 1)?,
        engine: "fog-worker 0.1".parse()?,
        labels: Labels::default(),
        region: flags.text("region", "test").parse()?,
    })
}

fn client(me: Identity, coordinators: &[Peer]) -> Result<FogClient, Box<dyn Error>> {
    let node = Node::new(Some(me.clone()), SessionConfig::default())?;
    Ok(FogClient::new(
        me,
        Direct::new(Arc::new(node), coordinators.to_vec()),
    ))
}

/// A node's part in the network, and its way over the mix.
struct Part {
    answers: Answers,
    gateway: Gateway,
    way: MixWay,
}

impl Part {
    async fn start(flags: &Flags, n: u64, me: &Identity) -> Result<Option<Self>, Box<dyn Error>> {
        let Some(file) = flags.all("network").last() else {
            return Ok(None);
        };
        let folder = flags
            .all("state")
            .last()
            .ok_or("--network needs --state DIR")?;
        let folder = Path::new(folder).join(n.to_string());
        std::fs::create_dir_all(&folder)?;
        let mut config = GatewayConfig::in_state(&folder);
        config.mesh.network = Some(file.into());
        config.listener.listen = vec![flags.text("listen", "127.0.0.1:0").to_owned()];
        config.check()?;
        let answers = Answers::new(me.clone());
        let gateway = Gateway::builder(me.clone(), &config)
            .service(REACH, answers.service())
            .start()
            .await?;
        let way = MixWay {
            network: Network::read(Path::new(file))?,
            state: Some(SharedFolder::new(folder.join("guard"))),
            cover: COVER,
            dial_from: None,
        };
        Ok(Some(Self {
            answers,
            gateway,
            way,
        }))
    }
}

/// Tokens of the command line, or ordered ones.
async fn tokens(flags: &Flags, peers: &[Peer], n: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let mut tokens = flags.all("token").to_vec();
    let Some(file) = flags.all("operator").last() else {
        return Ok(tokens);
    };
    let operator = client(load_identity(Path::new(file))?, peers)?;
    let mut rng = Rng::new(&seed()?);
    let kind: Kind = flags.text("kind", "compute").parse()?;
    while (tokens.len() as u64) < n {
        let request = TokenRequest {
            id: rng.array(),
            exp: Clock::start().now().unix_ms + 3_600_000,
            org: "".parse()?,
            node: None,
            kinds: List::try_from(vec![kind])?,
        };
        tokens.push(operator.token(&request).await?.expose().to_owned());
    }
    operator.close().await;
    Ok(tokens)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::read()?;
    let peers = flags.all("coordinator").iter().map(|text| text.parse());
    let peers = peers.collect::<Result<Vec<Peer>, _>>()?;
    let nodes = flags.number("nodes", 1)?;
    let tokens = tokens(&flags, &peers, nodes).await?;
    if (tokens.len() as u64) < nodes || peers.is_empty() {
        return Err(USAGE.into());
    }
    let stop = CancellationToken::new();
    let returned = Arc::new(AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    let mut parts = Vec::new();
    let mut rng = Rng::new(&seed()?);
    for (n, token) in (1..=nodes).zip(tokens) {
        let me = Identity::from_seed(&rng.array());
        let fog = client(me.clone(), &peers)?;
        let node = Signed::sign(description(&flags, n, &me)?, &me)?;
        let token: betanet_fog::Text = token.parse()?;
        let part = Part::start(&flags, n, &me).await?;
        let joined = fog.join(&node, &token.into()).await?;
        if let Some(part) = &part {
            part.answers.learn(&joined);
        }
        let way = part.as_ref().map(|part| part.way.clone());
        parts.extend(part);
        println!(
            "node {} joined at {}",
            betanet_keys::Name::from(me.public().node_id()),
            joined.join
        );
        let engine = Echo {
            client: fog.clone(),
            ways: Ways::new(fog.clone(), way),
            delay: Duration::from_millis(flags.number("delay", 0)?),
            lie: flags.number("lie", 0)?.min(100),
            blobs: flags.all("no-blobs").is_empty(),
            draws: AtomicU64::new(n),
        };
        let count = Arc::clone(&returned);
        let worker = Worker::new(fog, &joined, engine, MemoryReceipts::default());
        let worker = worker.with_reports(move |report| match report {
            Report::Returned(..) => drop(count.fetch_add(1, Ordering::Relaxed)),
            Report::Refused(task, fence, code) => println!("{task} {fence}: {code}"),
            _ => {}
        });
        workers.spawn(worker.run(stop.clone()));
    }
    match flags.number("seconds", 0)? {
        0 => tokio::signal::ctrl_c().await?,
        seconds => tokio::time::sleep(Duration::from_secs(seconds)).await,
    }
    stop.cancel();
    while workers.join_next().await.is_some() {}
    for part in parts {
        part.gateway.shutdown().await;
    }
    println!("returned {}", returned.load(Ordering::Relaxed));
    Ok(())
}
