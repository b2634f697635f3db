//! Programs with the network's grant, on workers whose operators give it or do not.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use betanet_fog::{Grant, Kind, List, Map, Module, Task, TaskState};
use betanet_fog_client::Blob;
use betanet_fog_worker::HOSTS;

use crate::process::Worker;
use crate::{Fog, only};

/// The component that the sandbox's tests have, with a program of its own.
const GUEST: &str = include_str!("../../../../crates/sandbox/tests/sandbox/network/guest.wat");

/// Connects, says hello, and prints the answer.
fn program(to: SocketAddr) -> Blob {
    let port = to.port();
    let connect = format!(
        "(call $connect4 (i32.const {port}) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1))"
    );
    let talk = "(call $send (i32.const 1024) (i32.const 5)) (call $receive)";
    let text = GUEST
        .replace("DATA", "(data (i32.const 1024) \"hello\")")
        .replace(
            "BODY",
            &format!("{connect} (if (global.get $to) (then {talk}))"),
        );
    Blob::from(wat::parse_str(&text).unwrap())
}

/// A task that may reach these hosts.
fn granted(mut task: Task, program: &Blob, hosts: &str) -> Task {
    task.module = Module {
        digest: *program.digest(),
        size: program.size(),
    };
    let hosts = (HOSTS.parse().unwrap(), hosts.parse().unwrap());
    task.env = Map::try_from(BTreeMap::from([hosts])).unwrap();
    task.grants = List::try_from(vec![Grant::Network]).unwrap();
    task
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reaches_the_host_that_it_names_where_the_operator_gives_the_network() {
    let fog = Fog::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        stream.write_all(b"you said ").unwrap();
        stream.write_all(&said).unwrap();
        // Another connection would be taken before its end is told.
        listener.set_nonblocking(true).unwrap();
        listener
    });
    let program = program(at);
    fog.user.put_blob(&program).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let mut workers = Vec::new();
    for (org, settings) in [
        (
            "open",
            "network = true\nnetwork_private = [\"127.0.0.1\"]\n",
        ),
        ("public", "network = true\n"),
        ("closed", ""),
    ] {
        let token = fog.token(org, Kind::Compute).await;
        let config = home.path().join(org);
        std::fs::write(&config, format!("[worker]\n{settings}")).unwrap();
        let mut worker = Worker::new(org);
        worker.start(&["--token", &token, "--config", config.to_str().unwrap()]);
        workers.push(worker);
    }
    let named = at.to_string();
    for (n, (org, hosts, prints)) in [
        ("open", named.as_str(), Some("c 0\nyou said hello")),
        // A host that the task does not name.
        ("open", "127.0.0.1:1 localhost:1", Some("c 301\n")),
        // This machine, which no operator named.
        ("public", named.as_str(), Some("c 301\n")),
        ("closed", named.as_str(), None),
    ]
    .into_iter()
    .enumerate()
    {
        let task = granted(fog.task(n as u64, &[]), &program, hosts);
        let id = fog.submit(only(task, &[org])).await;
        let status = fog.end(&id).await;
        if let Some(prints) = prints {
            assert_eq!(
                status.state,
                TaskState::Succeeded,
                "{org} {hosts}: {status:?}"
            );
            let printed = fog.file(&status, "stdout").await;
            assert_eq!(String::from_utf8_lossy(&printed), prints, "{org} {hosts}");
        } else {
            assert_eq!(status.state, TaskState::Failed, "{status:?}");
            let log = fog.log(&id, status.copies.last().unwrap().fence).await;
            assert!(log.contains("`network` is off"), "{log}");
        }
    }
    let listener = server.join().unwrap();
    let more = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(more, Err(std::io::ErrorKind::WouldBlock));
    fog.stop().await;
}
