//! A node that returns wrong results is caught by others, and its receipts are kept as evidence.

use std::sync::Arc;

use betanet_fog::{List, NodeState, Outcome, Output, Signed, TaskState};
use betanet_fog_client::node::{Ended, Engine, MemoryReceipts, Run, Running, Worker};
use betanet_fog_client::testkit::{client, node};
use betanet_fog_client::{Blob, Lists};
use betanet_keys::Identity;
use tokio_util::sync::CancellationToken;

use crate::{Fog, quorum};

/// Claims that each program ended with exit code 0 and wrote nothing.
struct Liar;

impl Engine for Liar {
    fn name(&self) -> &str {
        "wasmtime 48.0.2"
    }

    fn run(&self, _: Arc<Run>) -> Running {
        Box::pin(async {
            let output = Output {
                exit: 0,
                files: List::new(),
            };
            Ended {
                status: Outcome::Ok,
                out: Some(*Blob::from(betanet_fog::to_vec(&output)).digest()),
                fuel: 1,
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_is_outvoted_and_quarantined() {
    let fog = Fog::start().await;
    let _honest = [fog.worker("one").await, fog.worker("two").await];
    let me = Identity::from_seed(&[77; 32]);
    let token = fog.token("acme", betanet_fog::Kind::Compute).await;
    let own = client(&me, std::slice::from_ref(&fog.peer));
    let described = Signed::sign(node(&me, 1), &me).unwrap();
    let token: betanet_fog::Text = token.parse().unwrap();
    let joined = own.join(&described, &token.into()).await.unwrap();
    let stop = CancellationToken::new();
    let worker = Worker::new(own.clone(), &joined, Liar, MemoryReceipts::default());
    let lying = tokio::spawn(worker.run(stop.clone()));
    let id = me.public().node_id();
    let mut state = NodeState::Active;
    for n in 0..6 {
        let mut task = fog.task(n, &["count"]);
        task.verify = quorum(2, 3);
        let task = fog.submit(task).await;
        let status = fog.end(&task).await;
        assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
        // The result is the honest one: an empty standard output is a file all the same.
        let output = fog.user.output(&status.out.unwrap()).await.unwrap();
        assert_eq!(output.files.len(), 1, "{output:?}");
        let nodes = fog.operator.nodes(&Lists::default()).await.unwrap();
        state = nodes.items.iter().find(|n| n.id == id).unwrap().state;
        if state == NodeState::Quarantined {
            break;
        }
    }
    assert_eq!(state, NodeState::Quarantined);
    stop.cancel();
    lying.await.unwrap();
    own.close().await;
    fog.stop().await;
}
