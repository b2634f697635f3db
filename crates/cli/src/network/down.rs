//! `betanet network down` and `betanet network status`.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::place::{NodeDir, Place, is};
use crate::Fail;
use crate::admin::ask;

/// Time limit for the end of all processes of a network.
const ENDS: Duration = Duration::from_secs(60);

/// Looks at processes that have given their locks back, and the time between two.
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(10);

/// Sends a signal to a process, if it still exists.
pub(super) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

pub(crate) fn down(dir: &Path) -> Result<(), Fail> {
    let place = Place::open(dir)?;
    let names = place.nodes.iter().map(|n| format!("{}.lock", n.name));
    let mut locks = vec!["lock".to_owned()];
    locks.extend(names);
    if place.held(&locks)?.is_none() {
        say!("{} is not up", dir.display());
        return Ok(());
    }
    // The word distinguishes the process from a later one with the same ID. It removes its own file before its end.
    let up = place.process("up.pid", "up");
    let of_node = |n: &NodeDir| {
        let config = n.config.to_string_lossy().into_owned();
        let pid = place.process(&format!("{}.pid", n.name), &config)?;
        Some((pid, config))
    };
    let mut all: Vec<(u32, String)> = place.nodes.iter().filter_map(of_node).collect();
    if let Some(up) = up {
        send(up, Signal::TERM);
        all.push((up, "up".to_owned()));
    }
    // Nodes end with the process that started them, even if that was killed. Each process holds its lock until its end.
    let (done, wait) = mpsc::channel();
    let files = place.locks(&locks)?;
    let waiting = std::thread::Builder::new().spawn(move || {
        let all = files.iter().try_for_each(fs::File::lock);
        let _ = done.send(all);
    });
    waiting.map_err(|e| Fail::Local(format!("a thread cannot be started: {e}")))?;
    match wait.recv_timeout(ENDS) {
        Ok(all) => all.map_err(Fail::file(&place.run("lock")))?,
        Err(_) => {
            let held = place.held(&locks)?.unwrap_or_default();
            return Err(Fail::Local(format!(
                "{}: what holds {} does not end in {} s; see {}",
                dir.display(),
                place.run(&held).display(),
                ENDS.as_secs(),
                place.run("up.log").display()
            )));
        }
    }
    // A process gives its lock back a moment before its end.
    let stands = || all.iter().any(|(pid, says)| is(*pid, says));
    let (_silent, pause) = mpsc::channel::<()>();
    for _ in 0..LOOKS {
        if !stands() {
            break;
        }
        let _ = pause.recv_timeout(LOOK);
    }
    say!("{} is down", dir.display());
    Ok(())
}

pub(crate) async fn status(dir: &Path, as_json: bool) -> Result<(), Fail> {
    let place = Place::open(dir)?;
    let up = place.hold()?.is_none();
    let mut nodes = Vec::new();
    let mut well = up;
    for node in &place.nodes {
        let config = node.config.to_string_lossy();
        let pid = place.process(&format!("{}.pid", node.name), &config);
        let told = match (&node.admin, pid) {
            (Some(admin), Some(_)) => ask(admin, "/status").await.ok(),
            _ => None,
        };
        let told = told.unwrap_or_default();
        well &= pid.is_some() && told["healthy"] == true;
        nodes.push(json!({"node": node.name, "pid": pid, "admin": node.admin, "status": told}));
    }
    let directories = epochs(&place);
    if as_json {
        say!(
            "{}",
            json!({"up": up, "well": well, "nodes": nodes, "directories": directories})
        );
    } else {
        say!("{} is {}", dir.display(), if up { "up" } else { "down" });
        for node in &nodes {
            let status = &node["status"];
            let how = match (&node["pid"], &status["healthy"]) {
                (Value::Null, _) => "does not run".to_owned(),
                (pid, Value::Bool(true)) => format!(
                    "pid {pid}, well, {} direct sessions, {} over relays",
                    status["sessions"]["direct"], status["sessions"]["over_relays"]
                ),
                (pid, Value::Bool(false)) => format!("pid {pid}, not well: {}", status["faults"]),
                (pid, _) => format!("pid {pid}, does not answer"),
            };
            say!("{:<8} {how}", node["node"].as_str().unwrap_or_default());
        }
        if !directories.is_empty() {
            let epochs: Vec<String> = directories.iter().map(u32::to_string).collect();
            say!("directories of the epochs {}", epochs.join(" "));
        }
    }
    match (up, well) {
        (true, true) => Ok(()),
        (true, false) => Err(Fail::Peer("not all nodes are well".into())),
        (false, _) => Err(Fail::Peer("the network is not up".into())),
    }
}

/// Returns the epochs that have directories.
fn epochs(place: &Place) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(place.dir.join("directories")) else {
        return Vec::new();
    };
    let name = |e: fs::DirEntry| e.file_name().into_string().ok();
    let names = entries.flatten().filter_map(name);
    let mut all: Vec<u32> = names
        .filter_map(|n| n.strip_suffix(".dir")?.parse().ok())
        .collect();
    all.sort_unstable();
    all
}
