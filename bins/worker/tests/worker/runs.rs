//! Programs run: inputs, outputs, logs, fuel.

use std::time::{Duration, Instant};

use betanet_fog::{Input, List, Receipt, Signed, Source, TaskState};
use betanet_fog_client::Blob;

use crate::process::Worker;
use crate::{Fog, input, now_ms};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_many_tasks_maps_and_reduces_over_two_workers() {
    let fog = Fog::start().await;
    let (one, two) = (fog.worker("one").await, fog.worker("two").await);
    let mut parts = Vec::new();
    for n in 0..12_u64 {
        let text = format!(
            "the fog {} ",
            "counts words ".repeat(usize::try_from(n).unwrap() + 1)
        );
        let blob = Blob::from(text.into_bytes());
        fog.user.put_blob(&blob).await.unwrap();
        let mut task = fog.task(n, &["count", "in/part"]);
        task.inputs = List::try_from(vec![input("in/part", &blob)]).unwrap();
        parts.push(fog.submit(task).await);
    }
    // The reducing task reads the standard outputs of all others.
    let mut sum = fog.task(99, &["sum"]);
    let names: Vec<String> = (0..parts.len()).map(|n| format!("p{n}")).collect();
    let mut args = vec!["sum".parse().unwrap()];
    args.extend(names.iter().map(|name| name.parse().unwrap()));
    sum.args = List::try_from(args).unwrap();
    sum.after = List::try_from(parts.clone()).unwrap();
    let inputs = parts.iter().zip(&names).map(|(task, name)| Input {
        path: name.parse().unwrap(),
        source: Source::File {
            task: *task,
            path: "stdout".parse().unwrap(),
        },
    });
    sum.inputs = List::try_from(inputs.collect::<Vec<_>>()).unwrap();
    let sum = fog.submit(sum).await;
    let status = fog.end(&sum).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    let text = String::from_utf8(fog.file(&status, "stdout").await).unwrap();
    assert_eq!(text, "counts 78\nfog 12\nthe 12\nwords 78\n");
    // Each task ran once, and both workers kept a receipt of each of theirs.
    Worker::kept(&[&one, &two], parts.len() + 1).await;
    for (worker, file) in [&one, &two]
        .iter()
        .flat_map(|w| w.receipts().into_iter().map(move |f| (w, f)))
    {
        let receipt = Signed::<Receipt>::open(&std::fs::read(file).unwrap(), now_ms()).unwrap();
        let status = worker.status();
        assert_eq!(receipt.engine.as_str(), status["engine"]);
        assert!(receipt.fuel > 0 && receipt.out.is_some());
    }
    // Processor time is looked at every 10 s.
    let began = Instant::now();
    let status = loop {
        let status = one.status();
        let cpu = status["given"][0]["cpu_ms"].as_u64();
        if cpu > Some(0) {
            break status;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{status}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(
        status["counts"]["returned"].as_u64().unwrap() > 0,
        "{status}"
    );
    let days = status["given"].as_array().unwrap().iter();
    let tasks: u64 = days.map(|day| day["tasks"].as_u64().unwrap()).sum();
    assert_eq!(tasks, status["counts"]["returned"], "{status}");
    let day = &status["given"][0];
    for what in ["fuel", "memory_kib_ms", "cpu_ms"] {
        assert!(day[what].as_u64() > Some(0), "{what}: {day}");
    }
    let of = format!("{{day=\"{}\",device=\"cpu\"}}", day["day"]);
    let metrics = one.metrics();
    for (name, value) in [
        ("tasks", day["tasks"].as_f64().unwrap()),
        ("fuel", day["fuel"].as_f64().unwrap()),
        (
            "gb_hours",
            day["memory_kib_ms"].as_f64().unwrap() * 1024.0 / 3.6e15,
        ),
        ("processor_seconds", 1e-3),
    ] {
        let name = format!("betanet_worker_given_{name}_total{of} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let told: f64 = line
            .unwrap_or_else(|| panic!("{name}: {metrics}"))
            .parse()
            .unwrap();
        // Processor time goes on meanwhile.
        assert!(told >= value * 0.999, "{name}{told}, not {value}");
    }
    for _ in 0..100 {
        if one.left() + two.left() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((one.left(), two.left()), (0, 0), "files of copies stay");
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_arrives_while_the_program_runs() {
    let fog = Fog::start().await;
    let _worker = fog.worker("one").await;
    let id = fog.submit(fog.task(1, &["spin", "1000"])).await;
    let fence = fog.copy(&id, "running").await;
    let mut early = String::new();
    let mut running = true;
    while running && early.is_empty() {
        early = fog.log(&id, fence).await;
        running = !fog.user.status(&id).await.unwrap().state.ended();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        running && early.starts_with("10 %\n"),
        "{running} {early:?}"
    );
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Succeeded);
    let all = fog.log(&id, fence).await;
    assert!(all.ends_with("100 %\n"), "{all}");
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_tasks_have_equal_outputs_and_fuel_on_each_node() {
    let fog = Fog::start().await;
    let workers = [
        fog.worker("one").await,
        fog.worker("two").await,
        fog.worker("three").await,
    ];
    let mut task = fog.task(1, &["clock"]);
    task.verify = crate::quorum(3, 3);
    let id = fog.submit(task).await;
    let status = fog.end(&id).await;
    assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
    let [one, two, three] = &workers;
    let receipts: Vec<_> = Worker::kept(&[one, two, three], 3)
        .await
        .into_iter()
        .map(|file| Signed::<Receipt>::open(&std::fs::read(file).unwrap(), now_ms()).unwrap())
        .collect();
    assert!(
        receipts
            .iter()
            .all(|r| (r.out, r.fuel) == (receipts[0].out, receipts[0].fuel))
    );
    // Another task has another seed.
    let other = fog.submit(fog.task(2, &["clock"])).await;
    let other = fog.end(&other).await;
    assert_ne!(other.out, status.out);
    fog.stop().await;
}
