//! Ways by which a worker reaches its coordinator: over TCP behind a cover site, over QUIC, and over a path of relays.

use betanet_fog::{Kind, TaskState};

use crate::coordinators::{Coordinator, Relay};
use crate::process::Worker;
use crate::{Fog, only};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_and_works_over_tcp_over_quic_and_over_a_path() {
    let (_coordinator, peer) = Coordinator::alone(&["--quic"], &[]);
    let fog = Fog::of(std::slice::from_ref(&peer), tempfile::tempdir().unwrap()).await;
    let relay = Relay::to(&peer);
    for (n, way) in [
        &["--transport", "tcp"][..],
        &["--transport", "quic"],
        &["--via", &relay.peer],
    ]
    .into_iter()
    .enumerate()
    {
        let org = format!("way{n}");
        let token = fog.token(&org, Kind::Compute).await;
        let mut worker = Worker::new(&org);
        let to = ["--token", &token];
        worker.start(&[&to[..], way].concat());
        let id = fog
            .submit(only(fog.task(n as u64, &["count"]), &[&org]))
            .await;
        assert_eq!(fog.end(&id).await.state, TaskState::Succeeded, "{way:?}");
        assert_eq!(worker.status()["counts"]["returned"], 1, "{way:?}");
    }
    fog.stop().await;
}
