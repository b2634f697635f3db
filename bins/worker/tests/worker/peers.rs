//! Blobs that the coordinator has lost come from workers that have them.

use std::path::Path;

use betanet_fog::{Kind, List, Task, TaskState};
use betanet_fog_client::Blob;

use crate::process::Worker;
use crate::{Fog, input, only};

/// Removes all files of this name below a folder. Returns their number.
fn lose(folder: &Path, name: &str) -> usize {
    let mut lost = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            lost += lose(&path, name);
        } else if path.file_name().is_some_and(|n| n == name) {
            std::fs::remove_file(path).unwrap();
            lost += 1;
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_gets_a_blob_that_the_coordinator_has_lost_from_another() {
    let fog = Fog::start().await;
    let home = tempfile::tempdir().unwrap();
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/NETWORK.toml");
    let network = network.to_str().unwrap();
    let token = fog.token("one", Kind::Compute).await;
    let mut one = Worker::new("one");
    let part = ["--network", network, "--listen", "127.0.0.1:0"];
    let facts = one.start(&[&["--token", &token][..], &part].concat());
    let peer = facts["listening"]["peer"].as_str().unwrap();
    let book = b"the fog and the sea and the fog\n".repeat(1_000);
    let blob = Blob::from(book);
    fog.user.put_blob(&blob).await.unwrap();
    let count = |n: u64, org: &str| -> Task {
        let mut task = fog.task(n, &["count", "book"]);
        task.inputs = List::try_from(vec![input("book", &blob)]).unwrap();
        only(task, &[org])
    };
    let first = fog.submit(count(1, "one")).await;
    let status = fog.end(&first).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    // The coordinator takes no task whose blobs it does not have, so it loses this one later.
    let second = fog.submit(count(2, "two")).await;
    let third = fog.submit(count(3, "three")).await;
    let name: String = blob.digest().iter().map(|b| format!("{b:02x}")).collect();
    assert!(lose(fog.home.path(), &name) > 0);
    let config = home.path().join("two.toml");
    std::fs::write(&config, format!("[worker]\npeers = [{peer:?}]\n")).unwrap();
    let token = fog.token("two", Kind::Compute).await;
    let mut two = Worker::new("two");
    two.start(&["--token", &token, "--config", config.to_str().unwrap()]);
    let ended = fog.end(&second).await;
    assert_eq!(ended.state, TaskState::Succeeded, "{ended:?}");
    assert_eq!(ended.out, status.out);
    assert_eq!(two.status()["counts"]["fetched"], 2, "{}", two.status());
    // Without peers it is nowhere.
    let _three = fog.worker("three").await;
    let ended = fog.end(&third).await;
    assert_eq!(ended.state, TaskState::Failed, "{ended:?}");
    assert_eq!(ended.reason.as_str(), "input", "{ended:?}");
    let log = fog.log(&third, ended.copies.last().unwrap().fence).await;
    assert!(log.contains("cannot be fetched"), "{log}");
    fog.stop().await;
}
