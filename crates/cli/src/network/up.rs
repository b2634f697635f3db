//! `betanet network up`: runs a test network as separate processes, which this one supervises.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use betanet_mix::epoch_at;
use betanet_runtime::Clock;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::directories;
use super::place::{NodeDir, Place};
use crate::Fail;
use crate::args::UpArgs;
use crate::stop::Stops;

/// Time limit for a node's first line.
const READY: Duration = Duration::from_secs(120);
/// Time limit for a node's end, which includes the drain of its sessions.
const ENDS: Duration = Duration::from_secs(30);
/// Interval between two attempts to publish directories.
const AGAIN: Duration = Duration::from_secs(30);

/// A started process, and a thread that waits for it.
struct Process {
    pid: u32,
    /// Its first line; empty if it ended without one.
    line: oneshot::Receiver<String>,
    /// Description of its end.
    ended: oneshot::Receiver<String>,
}

/// A running node. It ends when its standard input is closed, so it never outlives this process.
struct Running {
    node: NodeDir,
    process: Process,
    leash: Option<ChildStdin>,
    facts: Value,
}

pub(crate) async fn up(args: &UpArgs) -> Result<(), Fail> {
    let place = Place::open(&args.dir)?;
    if args.detach {
        return detach(args, &place).await;
    }
    let held = place.hold()?;
    if held.is_none() {
        let dir = args.dir.display();
        return Err(Fail::Local(format!(
            "{dir}: is up already; betanet network down {dir} ends it"
        )));
    }
    directories::forget(&place, epoch_at(Clock::start().now().unix_ms))?;
    let mut stops = Stops::listen();
    write(&place.run("up.pid"), &std::process::id().to_string())?;
    let mut running = Vec::new();
    let done = tokio::select! {
        done = stand(&place, args, &mut running) => done,
        stop = stops.told() => Err(Fail::Stopped(stop)),
    };
    let done = match done {
        Ok(()) => {
            tokio::select! {
                _ = stops.told() => Ok(()),
                () = watch(&mut running) => Err(Fail::Local("no node runs any more".into())),
                () = renew(&place) => Ok(()),
            }
        }
        Err(why) => Err(why),
    };
    note!("stopping {} nodes", running.len());
    let mut late = Vec::new();
    for (name, ended) in end(running).await {
        let _ = fs::remove_file(place.run(&format!("{name}.pid")));
        if !ended {
            late.push(name);
        }
    }
    let _ = fs::remove_file(place.run("up.pid"));
    if done.is_ok() && !late.is_empty() {
        return Err(Fail::Local(format!(
            "ended by force, as they did not in {} s: {}",
            ENDS.as_secs(),
            late.join(" ")
        )));
    }
    done
}

fn write(path: &Path, text: &str) -> Result<(), Fail> {
    fs::write(path, text).map_err(Fail::file(path))
}

/// Starts all nodes, waits until each is ready, publishes directories if there is a mix, and reports that the network is ready.
async fn stand(place: &Place, args: &UpArgs, running: &mut Vec<Running>) -> Result<(), Fail> {
    for node in place.nodes.clone() {
        let log = place.run(&format!("{}.log", node.name));
        let log = File::create(&log).map_err(Fail::file(&log))?;
        let one = start(node, log)?;
        let file = place.run(&format!("{}.pid", one.node.name));
        write(&file, &one.process.pid.to_string())?;
        running.push(one);
    }
    let mut failed = Vec::new();
    for one in running.iter_mut() {
        match timeout(READY, ready(one)).await {
            Ok(Ok(())) if args.json => {}
            Ok(Ok(())) => {
                let address = one.facts["addresses"][0].as_str().unwrap_or_default();
                say!("{:<8} stands at {address}", one.node.name);
            }
            Ok(Err(why)) => failed.push(why),
            Err(_) => failed.push(format!("{}: it does not say that it stands", one.node.name)),
        }
    }
    if !failed.is_empty() {
        let logs = place.run("*.log");
        return Err(Fail::Local(format!(
            "{}\n       see {}",
            failed.join("\n       "),
            logs.display()
        )));
    }
    let mut published = Vec::new();
    if place.nodes.iter().any(|n| n.mixes) {
        let now = Clock::start().now().unix_ms;
        for epoch in [epoch_at(now), epoch_at(now) + 1] {
            let relays = directories::publish(place, epoch).await?;
            if !args.json {
                say!("epoch {epoch}: a directory of {relays} relays");
            }
            published.push(json!({"epoch": epoch, "relays": relays}));
        }
    }
    let nodes = running
        .iter()
        .map(|r| json!({"node": r.node.name, "facts": r.facts}));
    let nodes: Vec<Value> = nodes.collect();
    if args.json {
        say!("{}", json!({"nodes": nodes, "directories": published}));
        return Ok(());
    }
    say!("all {} nodes stand", running.len());
    let relay = running.iter().find(|r| r.node.name.starts_with("relay"));
    if let Some(relay) = relay {
        let (network, name) = (place.network(), relay.facts["name"].as_str());
        let (network, name) = (network.display(), name.unwrap_or_default());
        say!("  betanet get --network {network} --path 3 bar://{name}/hello.txt");
        if !published.is_empty() {
            say!("  betanet get --network {network} --mix 3 bar://{name}/hello.txt");
        }
    }
    Ok(())
}

/// Returns a command that runs this program again.
fn this() -> Result<Command, Fail> {
    let this = std::env::current_exe();
    let this = this.map_err(|e| Fail::Local(format!("this program's own file: {e}")))?;
    let mut command = Command::new(this);
    // Ctrl-C at the terminal must reach only the process started there, which ends the others in order.
    command.stdout(Stdio::piped()).process_group(0);
    Ok(command)
}

fn start(node: NodeDir, log: File) -> Result<Running, Fail> {
    let mut command = this()?;
    command.args(["network", "node"]).arg(&node.config);
    let child = command.stdin(Stdio::piped()).stderr(log).spawn();
    let mut child = child.map_err(|e| Fail::Local(format!("{}: {e}", node.name)))?;
    let leash = child.stdin.take();
    Ok(Running {
        process: watched(child)?,
        node,
        leash,
        facts: Value::Null,
    })
}

/// Reads a process's first line and waits for its end, on a thread.
fn watched(mut child: Child) -> Result<Process, Fail> {
    let (say, line) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let pid = child.id();
    let waiting = std::thread::Builder::new().spawn(move || {
        let mut text = String::new();
        if let Some(out) = child.stdout.take() {
            let mut out = BufReader::new(out);
            let _ = out.read_line(&mut text);
            let _ = say.send(text);
            // Later output is not used, but must be read.
            let _ = std::io::copy(&mut out, &mut std::io::sink());
        }
        let how = child.wait();
        let _ = end.send(how.map_or_else(|e| e.to_string(), |s| s.to_string()));
    });
    waiting.map_err(|e| Fail::Local(format!("a thread cannot be started: {e}")))?;
    Ok(Process { pid, line, ended })
}

/// Waits for a node's first line, which it prints when it is ready.
async fn ready(one: &mut Running) -> Result<(), String> {
    let line = (&mut one.process.line).await.unwrap_or_default();
    if line.is_empty() {
        let how = (&mut one.process.ended).await.unwrap_or_default();
        return Err(format!("{}: it ended: {how}", one.node.name));
    }
    one.facts = serde_json::from_str(&line).map_err(|e| format!("{}: {e}", one.node.name))?;
    Ok(())
}

/// Reports nodes that end by themselves. Returns when none is running.
async fn watch(running: &mut Vec<Running>) {
    while !running.is_empty() {
        let ends = running.iter_mut().map(|r| &mut r.process.ended);
        let (how, at, _) = futures_util::future::select_all(ends).await;
        let gone = running.swap_remove(at);
        let how = how.unwrap_or_default();
        note!("{} ended by itself: {how}", gone.node.name);
    }
}

/// Publishes the directory of each future epoch, one epoch ahead.
async fn renew(place: &Place) {
    if !place.nodes.iter().any(|n| n.mixes) {
        std::future::pending::<()>().await;
    }
    loop {
        let now = Clock::start().now().unix_ms;
        let next = epoch_at(now) + 1;
        match directories::publish(place, next).await {
            Ok(_) => {
                let begins = betanet_mix::epoch_start(next).saturating_sub(now);
                tokio::time::sleep(Duration::from_millis(begins + 1)).await;
            }
            Err(why) => {
                note!("epoch {next}: no directory: {}", why.why());
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Ends all nodes in order. Returns for each whether it ended without being killed.
async fn end(mut running: Vec<Running>) -> Vec<(String, bool)> {
    for one in &mut running {
        drop(one.leash.take());
    }
    let by = tokio::time::Instant::now() + ENDS;
    let mut all = Vec::new();
    for one in running {
        // A node that failed to start has already been waited for, and its channel is used up.
        let process = one.process;
        let in_time = process.ended.is_terminated()
            || tokio::time::timeout_at(by, process.ended).await.is_ok();
        if !in_time {
            super::down::send(process.pid, Signal::KILL);
        }
        all.push((one.node.name, in_time));
    }
    all
}

/// Starts this command as a background process, and waits until its network is ready.
async fn detach(args: &UpArgs, place: &Place) -> Result<(), Fail> {
    let log = place.run("up.log");
    fs::create_dir_all(place.dir.join("run")).map_err(Fail::file(&place.dir))?;
    let file = File::create(&log).map_err(Fail::file(&log))?;
    let mut command = this()?;
    command.args(["network", "up", "--json"]).arg(&place.dir);
    let child = command.stdin(Stdio::null()).stderr(file).spawn();
    let child = child.map_err(|e| Fail::Local(format!("betanet network up: {e}")))?;
    let mut process = watched(child)?;
    let mut stops = Stops::listen();
    let line = tokio::select! {
        line = &mut process.line => line.unwrap_or_default(),
        _ = stops.told() => String::new(),
    };
    if line.is_empty() {
        super::down::send(process.pid, Signal::TERM);
        let _ = process.ended.await;
        let said = fs::read_to_string(&log).unwrap_or_default();
        let said = said
            .lines()
            .filter_map(|l| l.strip_prefix("error: ").or(l.strip_prefix("       ")));
        return Err(Fail::Local(said.collect::<Vec<_>>().join("\n       ")));
    }
    if args.json {
        say!("{}", line.trim_end());
        return Ok(());
    }
    let facts: Value = serde_json::from_str(&line).unwrap_or_default();
    let nodes = facts["nodes"].as_array().map_or(0, Vec::len);
    let dir = args.dir.display();
    say!(
        "all {nodes} nodes stand; betanet network status {dir} tells of them, betanet network down {dir} ends them"
    );
    Ok(())
}
