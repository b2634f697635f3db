//! Wrong input: each ends with its named reason, and leaves nothing.

use std::time::Duration;

use betanet_fog::{Input, Kind, List, Module, RefusalCode, Signed, Source, TaskState};
use betanet_fog_client::Blob;

use crate::process::{Worker, program};
use crate::{Fog, input};

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_program_ends_with_its_reason() {
    let fog = Fog::start().await;
    let worker = fog.worker("one").await;
    let module = async |bytes: &[u8]| {
        let blob = Blob::from(bytes.to_vec());
        fog.user.put_blob(&blob).await.unwrap();
        Module {
            digest: *blob.digest(),
            size: blob.size(),
        }
    };
    let mut tasks = Vec::new();
    for (n, (bytes, reason)) in [
        (&b"this is no program"[..], "module"),
        (&b"\0asm\x09\0\0\0"[..], "module"),
        (&b"\0asm\x01\0\0\0"[..], "module"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut task = fog.task(n as u64, &[]);
        task.module = module(bytes).await;
        tasks.push((task, reason));
    }
    let mut flood = fog.task(10, &["flood", "200000"]);
    flood.out_max = 100_000;
    tasks.push((flood, "output"));
    let mut fuel = fog.task(11, &["spin", "1000"]);
    fuel.fuel = 1_000_000;
    tasks.push((fuel, "fuel"));
    tasks.push((fog.task(12, &["exit", "7"]), "exit"));
    for (task, reason) in tasks {
        let id = fog.submit(task).await;
        let status = fog.end(&id).await;
        assert_eq!(status.state, TaskState::Failed, "{reason}: {status:?}");
        assert_eq!(status.reason.as_str(), reason, "{status:?}");
        if reason != "exit" {
            assert_eq!(status.out, None);
            let log = fog.log(&id, status.copies.last().unwrap().fence).await;
            assert!(log.contains(&format!("[worker] {reason}: ")), "{log}");
        }
        leaves_nothing(&worker).await;
    }
    let exit = fog.submit(fog.task(13, &["exit", "7"])).await;
    let exit = fog.end(&exit).await;
    let output = fog.user.output(&exit.out.unwrap()).await.unwrap();
    assert_eq!(output.exit, 7);
    assert_eq!(worker.status()["counts"]["refused"], 0);
    fog.stop().await;
}

/// Waits until no file of a copy is left.
async fn leaves_nothing(worker: &Worker) {
    for _ in 0..250 {
        if worker.left() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} folders of copies stay", worker.left());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_is_missing_or_another_ends_the_task_before_its_program_runs() {
    let fog = Fog::start().await;
    let worker = fog.worker("one").await;
    let book = Blob::from(b"the fog and the sea\n".to_vec());
    let mut task = fog.task(1, &["count", "book"]);
    task.inputs = List::try_from(vec![input("book", &book)]).unwrap();
    // Nobody has stored it.
    let signed = Signed::sign(task.clone(), &crate::owner()).unwrap();
    let refused = fog.user.submit(&signed).await.unwrap_err();
    assert_eq!(refused.code(), Some(RefusalCode::Unknown), "{refused}");
    // A file that the task before it does not leave.
    let first = fog.submit(fog.task(2, &["spin", "1"])).await;
    let mut second = fog.task(3, &["count", "book"]);
    second.after = List::try_from(vec![first]).unwrap();
    let file = Input {
        path: "book".parse().unwrap(),
        source: Source::File {
            task: first,
            path: "no/such/file".parse().unwrap(),
        },
    };
    second.inputs = List::try_from(vec![file]).unwrap();
    let second = fog.submit(second).await;
    let status = fog.end(&second).await;
    assert_eq!(status.state, TaskState::Cancelled, "{status:?}");
    assert_eq!(status.reason.as_str(), "dependency", "{status:?}");
    // A program that opens what it was not given.
    let third = fog.submit(fog.task(4, &["count", "book"])).await;
    let status = fog.end(&third).await;
    assert_eq!(status.state, TaskState::Failed, "{status:?}");
    assert_eq!(status.reason.as_str(), "exit", "{status:?}");
    leaves_nothing(&worker).await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_kind_or_none_at_all_is_refused_by_name() {
    let fog = Fog::start().await;
    let token = fog.token("one", Kind::EdgeDevice).await;
    for (args, code, said) in [
        (vec!["--token", &token], 1, "token_scope"),
        (vec![], 2, "--token TOKEN"),
        (vec!["--token", "bnj1aaaa"], 2, "token_malformed"),
    ] {
        let worker = Worker::new("one");
        let out = worker.command().args(&args).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{told}");
    }
    fog.stop().await;
}

#[test]
fn settings_that_cannot_be_used_are_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("w.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let mut command = program();
        command.arg("check").arg("--config").arg(&path);
        command.current_dir(home.path()).output().unwrap()
    };
    let out = check("[worker]\nstate = \"state\"\nkind = \"toaster\"\nspare = 1000\n");
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    for part in ["worker.kind", "toaster", "worker.spare"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let out = check("[worker]\nstate = \"state\"\norg = \"acme\"\n[harvest]\n");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(!home.path().join("state").exists());
    let shown = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/worker.toml");
    let out = program()
        .arg("check")
        .arg("--config")
        .arg(shown)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}
