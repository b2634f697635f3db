//! Devices: those that are there can be announced, and no program gets one.

use std::path::Path;

use betanet_fog::{Amounts, Kind, List, Resources, Signed, TaskState, Token, Word};
use betanet_keys::Identity;

use crate::Fog;
use crate::process::{Worker, program};

/// Files of a machine with one card.
fn card(root: &Path) {
    let files = root.join("dev");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("nvidia0"), "").unwrap();
    let told = root.join("proc/driver/nvidia/gpus/0000:01:00.0");
    std::fs::create_dir_all(&told).unwrap();
    let text = "Model: \t\t NVIDIA Test 1\nDevice Minor: \t 0\n";
    std::fs::write(told.join("information"), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_asks_for_a_device_ends_as_input_and_is_told_why() {
    let fog = Fog::start().await;
    let root = tempfile::tempdir().unwrap();
    card(root.path());
    let config = root.path().join("worker.toml");
    std::fs::write(&config, "[worker]\ndevices = [\"nvidia0\"]\n").unwrap();
    let token = fog.token("one", Kind::Compute).await;
    let mut worker = Worker::new("one").with_sensors(root.path());
    let facts = worker.start(&["--token", &token, "--config", config.to_str().unwrap()]);
    assert_eq!(facts["announced"]["gpu"], 1_000, "{facts}");
    let device = &facts["devices"][0];
    assert_eq!(
        (&device["name"], &device["granted"]),
        (&"nvidia0".into(), &true.into()),
        "{facts}"
    );
    let mut task = fog.task(1, &["spin", "1"]);
    let amounts = Amounts {
        cpu: 100,
        memory: 64 << 20,
        gpu: 500,
        ..Amounts::default()
    };
    task.res = Resources::demand(amounts).unwrap();
    let id = fog.submit(task).await;
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Failed, "{status:?}");
    assert_eq!(status.reason.as_str(), "input", "{status:?}");
    let log = fog.log(&id, status.copies.last().unwrap().fence).await;
    assert!(
        log.contains("programs of WASI cannot use devices") && log.contains("nvidia0"),
        "{log}"
    );
    // Nothing ran for it. What asks for none runs beside the card.
    let counts = &worker.status()["counts"];
    assert_eq!(
        (&counts["fuel"], &counts["fetched"]),
        (&0.into(), &0.into())
    );
    let id = fog.submit(fog.task(2, &["spin", "1"])).await;
    assert_eq!(fog.end(&id).await.state, TaskState::Succeeded);
    fog.stop().await;
}

/// A token with which nobody joins.
fn unused_token() -> String {
    let me = Identity::from_seed(&[3; 32]);
    let token = Token {
        id: [1; 16],
        exp: crate::now_ms() + 60_000,
        key: *me.public().as_bytes(),
        org: Word::default(),
        pin: Some([9; 32]),
        node: None,
        addrs: List::try_from(vec!["127.0.0.1:9".parse().unwrap()]).unwrap(),
        kinds: List::try_from(vec![Kind::Compute]).unwrap(),
    };
    let token = Signed::sign(token, &me).unwrap().to_text().unwrap();
    token.as_str().to_owned()
}

#[test]
fn a_device_that_is_not_there_is_a_usage_error() {
    let root = tempfile::tempdir().unwrap();
    card(root.path());
    let config = root.path().join("worker.toml");
    for (devices, parts) in [
        (
            r#"["anything"]"#,
            &["worker.devices", "anything", "nvidia0"][..],
        ),
        (r#"["nvidia0", "nvidia0"]"#, &["worker.devices", "twice"]),
    ] {
        let text = format!("[worker]\nstate = \"state\"\norg = \"one\"\ndevices = {devices}\n");
        std::fs::write(&config, text).unwrap();
        let token = unused_token();
        // A check, and a start.
        for args in [&["check"][..], &["--token", &token]] {
            let out = program()
                .args(args)
                .arg("--config")
                .arg(&config)
                .env("BETANET_SENSORS", root.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(2), "{args:?}: {said}");
            for part in parts {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    }
}
