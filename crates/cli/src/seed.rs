//! `betanet seed`: simulated nodes and tasks for a panel, made through its API and the protocol of fog nodes.

mod device;
mod ledger;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::Kind;
use betanet_fog_client::Blob;
use betanet_runtime::read_secret;
use betanet_wire::text::hex;
use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Fail;
use crate::args::SeedArgs;
use crate::panel_api::{ANSWER_MAX, Api, Body};
use crate::progress::Bar;
use crate::stop::{Stop, Stops};
use device::Device;
pub(crate) use ledger::{Cast, history};
use record::{Made, Record, Simulated};

/// Organisation of all simulated nodes.
const ORG: &str = "simulated";
/// Nodes that join at once.
const AT_ONCE: usize = 8;
/// Join tokens that are ordered at once.
const TOKENS: usize = 100;
/// Looks at the list of nodes, half a second apart.
const LOOKS: u32 = 240;
const LOOK: Duration = Duration::from_millis(500);

/// The program of simulated tasks: it ends at once. A real node that is given such a task runs it.
const fn module() -> &'static [u8] {
    b"\0asm\x01\0\0\0\
      \x01\x04\x01\x60\0\0\
      \x03\x02\x01\0\
      \x05\x03\x01\0\x01\
      \x07\x13\x02\x06_start\0\0\x06memory\x02\0\
      \x0a\x04\x01\x02\0\x0b\
      \0\x12\x11betanet simulated"
}

/// How much a seed makes.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) ns: String,
    pub(crate) devices: u32,
    pub(crate) mixnodes: u32,
    pub(crate) tasks: u32,
}

/// Simulated nodes at work. Dropped, they end without a word.
pub(crate) struct Planted {
    work: JoinSet<()>,
    stop: CancellationToken,
    /// What was made and what was there, for scripts.
    pub(crate) told: Value,
}

impl Planted {
    /// Ends the nodes, which give back what they hold. They stay in the list and go offline.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.work.join_next().await.is_some() {}
    }
}

pub(crate) async fn run(args: SeedArgs) -> Result<(), Fail> {
    if let Some(folder) = &args.ledger {
        return ledger::write(folder, args.json);
    }
    let (Some(api), Some(file)) = (&args.api, &args.token_file) else {
        let why = "a seed needs a panel and a token, --api URL --token-file FILE, or a new folder for a ledger, --ledger DIR";
        return Err(Fail::Usage(why.to_owned()));
    };
    let token = read_secret(file)?;
    let token = token.lines().next().unwrap_or_default().trim();
    let api = Api::new(api, token, ANSWER_MAX)?;
    let record = Record::open(args.state.as_deref())?;
    let mut stops = Stops::listen();
    let stopped = |stop: Stop| Err(Fail::Stopped(stop));
    if args.remove {
        return tokio::select! {
            done = remove(&api, &record, args.json) => done,
            stop = stops.told() => stopped(stop),
        };
    }
    let wanted = Wanted {
        ns: args.ns,
        devices: args.devices,
        mixnodes: args.mixnodes,
        tasks: args.tasks,
    };
    let planted = tokio::select! {
        planted = plant(&api, &record, &wanted) => planted?,
        stop = stops.told() => return stopped(stop),
    };
    say(&planted.told, args.json);
    if !args.json {
        note!("the simulated nodes run until Ctrl-C; betanet seed --remove takes them away");
    }
    let _ = stops.told().await;
    planted.stop().await;
    Ok(())
}

/// The same in a folder, for the demo.
pub(crate) async fn plant_in(
    folder: &std::path::Path,
    api: &Api,
    wanted: &Wanted,
) -> Result<Planted, Fail> {
    plant(api, &Record::open(Some(folder))?, wanted).await
}

fn say(told: &Value, as_json: bool) {
    if as_json {
        say!("{told}");
        return;
    }
    for (what, counts) in told.as_object().into_iter().flatten() {
        let counts = counts.as_object().into_iter().flatten();
        let counts: Vec<String> = counts.map(|(of, n)| format!("{n} {of}")).collect();
        say!("simulated {what}: {}", counts.join(", "));
    }
}

/// The simulated nodes that the panel lists, by ID.
async fn listed(api: &Api) -> Result<BTreeMap<String, Value>, Fail> {
    let all = api.list(&format!("/api/v1/nodes?org={ORG}")).await?;
    let id = |node: &Value| Some(node["id"].as_str()?.to_owned());
    Ok(all.into_iter().filter_map(|n| Some((id(&n)?, n))).collect())
}

/// Orders join tokens of a kind.
async fn tokens(api: &Api, kind: Kind, n: usize) -> Result<Vec<String>, Fail> {
    let order = json!({"kind": kind.as_str(), "org": ORG, "hours": 24, "count": n});
    let path = "/api/v1/node-tokens";
    let answer = api.ask(Method::POST, path, Body::Json(order)).await?;
    let items = answer["items"].as_array().into_iter().flatten();
    let texts = items.filter_map(|i| Some(i["token"].as_str()?.to_owned()));
    let texts: Vec<String> = texts.collect();
    match texts.len() == n {
        true => Ok(texts),
        false => Err(Fail::Peer(format!("{path}: fewer tokens than ordered"))),
    }
}

fn id(made: &Made, node: &Simulated) -> String {
    hex(&made.identity(node).public().node_id().0)
}

/// Makes the nodes and tasks that are missing. Those of earlier runs are used again.
async fn plant(api: &Api, record: &Record, wanted: &Wanted) -> Result<Planted, Fail> {
    let mut made = match record.load(&api.origin())? {
        Some(made) => made,
        None => record.fresh(&api.origin())?,
    };
    let nodes = device::all(wanted.devices, wanted.mixnodes);
    let known = listed(api).await?;
    let there = |made: &Made, node: &Simulated| {
        known.contains_key(&id(made, node)) && made.tokens.contains_key(&node.name())
    };
    for kind in [Kind::EdgeDevice, Kind::Mixnode] {
        let of = nodes.iter().filter(|n| n.kind == kind);
        let new: Vec<&Simulated> = of.filter(|n| !there(&made, n)).collect();
        for some in new.chunks(TOKENS) {
            for (node, token) in some.iter().zip(tokens(api, kind, some.len()).await?) {
                made.tokens.insert(node.name(), token);
            }
            // A token that is not kept could not be used again.
            record.save(&made)?;
        }
    }
    let old = nodes.iter().filter(|n| known.contains_key(&id(&made, n)));
    let old = old.count();
    let strangers = known.len().saturating_sub(old);
    let stop = CancellationToken::new();
    let work = join(&made, &nodes, &stop).await?;
    active(api, &made, &nodes).await?;
    let before = made.tasks.len();
    submit(api, record, &mut made, wanted).await?;
    let after = made.tasks.len();
    let told = json!({
        "nodes": {"made": nodes.len() - old, "there before": old, "of other seeds": strangers},
        "tasks": {"made": after - before, "there before": before},
    });
    Ok(Planted { work, stop, told })
}

/// Lets all nodes join, a few at once, and sets them to work.
async fn join(
    made: &Made,
    nodes: &[Simulated],
    stop: &CancellationToken,
) -> Result<JoinSet<()>, Fail> {
    let mut joining = JoinSet::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    for node in nodes {
        let (node, me) = (node.clone(), made.identity(node));
        let token = made.tokens.get(&node.name()).cloned().unwrap_or_default();
        let places = Arc::clone(&places);
        joining.spawn(async move {
            let _place = places.acquire_owned().await;
            Device::join(&node, &me, &token).await
        });
    }
    let mut work = JoinSet::new();
    let bar = Bar::counted(nodes.len() as u64);
    while let Some(joined) = joining.join_next().await {
        let joined = joined.map_err(|e| Fail::Local(e.to_string()))?;
        work.spawn(joined?.run(stop.clone()));
        bar.inc(1);
    }
    Ok(work)
}

/// Waits until the panel shows each node as active.
async fn active(api: &Api, made: &Made, nodes: &[Simulated]) -> Result<(), Fail> {
    let wanted: BTreeSet<String> = nodes.iter().map(|n| id(made, n)).collect();
    for _ in 0..LOOKS {
        let known = listed(api).await?;
        let active = |id: &String| known.get(id).is_some_and(|n| n["state"] == "active");
        if wanted.iter().all(active) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    let why = "not every simulated node became active within two minutes";
    Err(Fail::Peer(why.to_owned()))
}

/// A simulated task. Two of five end soon, two run for an hour, and one needs more memory than any simulated node has, and waits.
fn task(ns: &str, n: usize) -> Value {
    let (seconds, memory) = match n % 5 {
        0 | 1 => (1 + n % 9, 64),
        2 | 3 => (3600, 64),
        _ => (1, 1 << 20),
    };
    let tier = ["bronze", "silver", "gold"][n % 3];
    json!({
        "ns": ns,
        "module": hex(Blob::from(module().to_vec()).digest()),
        "args": ["simulated", seconds.to_string(), format!("simulated-task-{}", n + 1)],
        "tier": tier,
        "cpu": 100,
        "memory_mib": memory,
        "timeout_s": 7200,
        "budget_micro": 1_000_000_000_000_u64,
    })
}

/// Submits the tasks that no earlier run has submitted.
async fn submit(api: &Api, record: &Record, made: &mut Made, wanted: &Wanted) -> Result<(), Fail> {
    let most = wanted.tasks as usize;
    if made.tasks.len() >= most {
        return Ok(());
    }
    let digest = hex(Blob::from(module().to_vec()).digest());
    let stored = Body::Bytes(module().to_vec());
    api.ask(Method::PUT, &format!("/api/v1/modules/{digest}"), stored)
        .await?;
    let bar = Bar::counted((most - made.tasks.len()) as u64);
    while made.tasks.len() < most {
        let task = Body::Json(task(&wanted.ns, made.tasks.len()));
        let answer = api.ask(Method::POST, "/api/v1/tasks", task).await?;
        let id = answer["id"].as_str().unwrap_or_default();
        made.tasks.push(id.to_owned());
        record.save(made)?;
        bar.inc(1);
    }
    Ok(())
}

/// Takes away what earlier runs made. Tasks that have ended stay in the history of the coordinator.
async fn remove(api: &Api, record: &Record, as_json: bool) -> Result<(), Fail> {
    let Some(made) = record.load(&api.origin())? else {
        say(
            &json!({"nodes": {"removed": 0}, "tasks": {"cancelled": 0}}),
            as_json,
        );
        return Ok(());
    };
    let mut cancelled = 0;
    for task in &made.tasks {
        let path = format!("/api/v1/tasks/{task}/cancel");
        let answer = api.call(Method::POST, &path, Body::None).await?;
        // It may have ended, and may be forgotten.
        match answer.status.as_u16() {
            200..300 => cancelled += 1,
            404 | 409 => {}
            _ => drop(api.ask(Method::POST, &path, Body::None).await?),
        }
    }
    let known = listed(api).await?;
    let own = made.tokens.keys().filter_map(|name| Simulated::named(name));
    let own: Vec<Simulated> = own.filter(|n| known.contains_key(&id(&made, n))).collect();
    // Nodes that still hold copies run once more, until those have ended.
    let holds = |known: &BTreeMap<String, Value>, n: &&Simulated| {
        known.get(&id(&made, n)).is_some_and(|n| n["live"] != 0)
    };
    let busy: Vec<Simulated> = own.iter().filter(|n| holds(&known, n)).cloned().collect();
    let stop = CancellationToken::new();
    let mut work = join(&made, &busy, &stop).await?;
    let mut looks = 0;
    while !busy.is_empty() && looks < LOOKS {
        let known = listed(api).await?;
        if !busy.iter().any(|n| holds(&known, &n)) {
            break;
        }
        looks += 1;
        tokio::time::sleep(LOOK).await;
    }
    stop.cancel();
    while work.join_next().await.is_some() {}
    let bar = Bar::counted(own.len() as u64);
    for node in &own {
        let token = made.tokens.get(&node.name());
        Device::leave(&made.identity(node), token.map_or("", String::as_str)).await?;
        bar.inc(1);
    }
    record.forget()?;
    let told = json!({"nodes": {"removed": own.len()}, "tasks": {"cancelled": cancelled}});
    say(&told, as_json);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_say_that_they_are_simulated_and_some_wait() {
        let all: Vec<Value> = (0..50).map(|n| task("lab", n)).collect();
        assert!(all.iter().all(|t| t["args"][0] == "simulated"));
        let waits = all.iter().filter(|t| t["memory_mib"] == 1 << 20);
        assert_eq!(waits.count(), 10);
    }
}
