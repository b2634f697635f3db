//! Refusals, redirects, repetitions and blobs.

use std::time::Duration;

use betanet_fog::bodies::{Price, StateRequest};
use betanet_fog::{Map, NodeState, RefusalCode};
use betanet_fog_client::{Blob, Error, Stored};
use betanet_runtime::{ErrorKind, Name, Reply};
use betanet_wire::NodeId;

use crate::{Coordinator, body, client, refuse};

fn price(at: u64) -> Price {
    Price {
        at,
        ts: 2,
        floor: 3,
        factor: Map::new(),
    }
}

#[tokio::test]
async fn a_refusal_has_its_code_its_key_and_the_bounds() {
    let one = Coordinator::start(1, |_, _, _, _| refuse(RefusalCode::BadValue, "to")).await;
    let ask = StateRequest {
        to: NodeState::Draining,
        until: 0,
    };
    let fog = client(&[&one]);
    let error = fog
        .set_node_state(&NodeId([7; 20]), &ask)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(RefusalCode::BadValue));
    assert_eq!(error.kind(), ErrorKind::Request);
    let text = error.to_string();
    assert!(
        text.starts_with("cannot change the node's state: bad_value (to): "),
        "{text}"
    );
    assert!(text.contains("active, draining, in maintenance"), "{text}");
    assert_eq!(
        one.seen(),
        [format!("POST /fog/1/nodes/{}/state", "07".repeat(20))]
    );
    fog.close().await;
}

#[tokio::test]
async fn the_coordinator_that_a_refusal_names_is_asked_and_kept() {
    let leads = Coordinator::start(2, |_, _, _, n| body(&price(n as u64))).await;
    let name = leads.peer().name().to_string();
    let follows = Coordinator::start(3, move |_, _, _, _| {
        refuse(RefusalCode::NotLeader, "").with_header("location", name.clone())
    })
    .await;
    let idle = Coordinator::start(4, |_, _, _, _| Reply::new(500)).await;
    // The named one is asked before the one between.
    let fog = client(&[&follows, &idle, &leads]);
    for n in 0..3 {
        assert_eq!(fog.price().await.unwrap().at, n);
    }
    assert_eq!((follows.seen().len(), leads.seen().len()), (1, 3));
    assert!(idle.seen().is_empty());
    fog.close().await;
}

#[tokio::test]
async fn without_a_leader_each_is_asked_until_one_leads() {
    let follower = |_: &str, _: &str, _: &[u8], n: usize| match n {
        0 | 1 => refuse(RefusalCode::NotLeader, "").with_header("retry-after", "0"),
        n => body(&price(n as u64)),
    };
    let one = Coordinator::start(5, follower).await;
    let two = Coordinator::start(6, follower).await;
    let fog = client(&[&one, &two]);
    assert_eq!(fog.price().await.unwrap().at, 2);
    assert_eq!((one.seen().len(), two.seen().len()), (3, 2));
    fog.close().await;
}

#[tokio::test]
async fn a_leader_that_nobody_can_reach_is_not_sought_for_ever() {
    let nobody = Name::from(NodeId([9; 20])).to_string();
    let one = Coordinator::start(7, move |_, _, _, _| {
        refuse(RefusalCode::NotLeader, "").with_header("location", nobody.clone())
    })
    .await;
    let fog = client(&[&one]);
    let error = fog.price().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(one.seen().len() < 40, "{}", one.seen().len());
    fog.close().await;
}

#[tokio::test]
async fn a_busy_coordinator_is_asked_again_after_its_time() {
    let one = Coordinator::start(8, |_, _, _, n| match n {
        0 => refuse(RefusalCode::Rate, "").with_header("retry-after", "1"),
        n => body(&price(n as u64)),
    })
    .await;
    let fog = client(&[&one]);
    let began = fog.clock().elapsed();
    assert_eq!(fog.price().await.unwrap().at, 1);
    assert!(fog.clock().elapsed() - began >= Duration::from_secs(1));
    fog.close().await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_with_its_status() {
    let one = Coordinator::start(9, |_, target, _, _| match target {
        "/fog/1/price" => Reply::text(200, "hello"),
        _ => Reply::text(404, "not found"),
    })
    .await;
    let fog = client(&[&one]);
    for (error, wanted) in [
        (fog.price().await.unwrap_err(), 200),
        (fog.topology().await.unwrap_err(), 404),
    ] {
        assert!(
            matches!(error, Error::Answer { status, .. } if status == wanted),
            "{error}"
        );
    }
    fog.close().await;
}

#[tokio::test]
async fn blobs_are_sent_whole_and_checked_when_they_come() {
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
    let wanted = bytes.clone();
    let one = Coordinator::start(10, move |method, _, sent, _| match method {
        "PUT" if sent == wanted => Reply::new(201),
        "PUT" => Reply::new(500),
        _ => Reply::new(200).with_body(wanted.clone()),
    })
    .await;
    let fog = client(&[&one]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let file = Blob::file(&path).unwrap();
    let memory = Blob::from(bytes.clone());
    assert_eq!(file.digest(), memory.digest());
    for blob in [&file, &memory] {
        assert_eq!(fog.put_blob(blob).await.unwrap(), Stored::New);
    }
    let fetched = fog.blob_bytes(memory.digest(), 2 << 20).await.unwrap();
    assert!(fetched == bytes);
    let other = Blob::from(vec![1]);
    let error = fog.blob_bytes(other.digest(), 2 << 20).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    let error = fog.blob_bytes(memory.digest(), 1000).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    fog.close().await;
}
