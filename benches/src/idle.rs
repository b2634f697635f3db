//! Resident memory of a server process per idle session; the clients live in this one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use betanet_runtime::{Node, Peer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::download::gateway_for;
use crate::{Effort, Figure};

/// As many files as the system lets this process have.
pub(crate) fn raise_files() -> u64 {
    let most = getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, wanted).unwrap();
    most.unwrap_or(u64::MAX)
}

/// The server's process: prints its peer string, serves until its input ends.
pub(crate) fn server(crowd: Option<usize>) {
    raise_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let home = tempfile::tempdir().unwrap();
    let gateway = runtime.block_on(gateway_for(home.path(), 1, crowd));
    println!("{}", gateway.listening().peer());
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).unwrap_or(0) > 0 {
        println!("{}", gateway.sessions());
        line.clear();
    }
}

pub(crate) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let wanted: u64 = if effort.quick { 500 } else { 10_000 };
    let n = wanted.min(raise_files().saturating_sub(200));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("idle-server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let peer: Peer = lines.next().unwrap().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let node = Arc::new(
        Node::client()
            .unwrap()
            .with_transport(betanet_runtime::Transport::Tcp),
    );
    let connect = |count: u64| {
        runtime.block_on(async {
            let mut out = Vec::new();
            for _ in 0..count {
                out.push(node.connect(&peer).await.unwrap());
            }
            out
        })
    };
    // The first few bring in code and buffers that all share.
    let warm = connect(50.min(n / 2));
    let before = resident_kib(child.id());
    let many = connect(n - warm.len() as u64);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let after = resident_kib(child.id());
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "count").unwrap();
    let standing: u64 = lines.next().unwrap().unwrap().parse().unwrap();
    assert_eq!(standing, n);
    drop((many, warm, input));
    child.kill().unwrap();
    child.wait().unwrap();
    let each = after.saturating_sub(before) as f64 / (n - 50.min(n / 2)) as f64;
    vec![Figure {
        name: "MiB for 10 000 idle sessions",
        ratio: each * 10_000.0 / 1024.0,
        bound: 400.0,
        at_least: false,
        detail: format!("{each:.1} KiB each, {n} sessions accepted and counted"),
    }]
}
