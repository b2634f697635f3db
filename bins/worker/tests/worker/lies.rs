//! A node that returns wrong results is caught by others, and its receipts are kept as evidence.

use std::collections::BTreeSet;
use std::sync::Arc;

use betanet_fog::{
    Grant, Kind, List, NodeState, Outcome, Output, Receipt, RefusalCode, Signed, TaskState,
    Verification, Verify,
};
use betanet_fog_client::node::{Ended, Engine, MemoryReceipts, Run, Running, Worker};
use betanet_fog_client::testkit::{client, node};
use betanet_fog_client::{Blob, FogClient, Lists};
use betanet_keys::{Identity, PublicKey};
use betanet_runtime::NodeId;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::journal::{receipts, records};
use crate::{Fog, now_ms, only, quorum};

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

/// A node of the organisation `acme` that lies.
struct Lying {
    id: NodeId,
    own: FogClient,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Lying {
    async fn start(fog: &Fog) -> Self {
        let me = Identity::from_seed(&[77; 32]);
        let token = fog.token("acme", Kind::Compute).await;
        let own = client(&me, std::slice::from_ref(&fog.peer));
        let described = Signed::sign(node(&me, 1), &me).unwrap();
        let token: betanet_fog::Text = token.parse().unwrap();
        let joined = own.join(&described, &token.into()).await.unwrap();
        let stop = CancellationToken::new();
        let worker = Worker::new(own.clone(), &joined, Liar, MemoryReceipts::default());
        Self {
            id: me.public().node_id(),
            own,
            work: tokio::spawn(worker.run(stop.clone())),
            stop,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.work.await.unwrap();
        self.own.close().await;
    }
}

/// Lets tasks run until the liar is caught. Each has the honest result.
async fn until_caught(fog: &Fog, liar: &NodeId, verify: Verification, most: u64) {
    for n in 0..most {
        let mut task = fog.task(n, &["count"]);
        task.verify = verify;
        let task = fog.submit(task).await;
        let status = fog.end(&task).await;
        assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
        // An empty standard output is a file all the same.
        let output = fog.user.output(&status.out.unwrap()).await.unwrap();
        assert_eq!(output.files.len(), 1, "{output:?}");
        if fog.node(liar).await == NodeState::Quarantined {
            return;
        }
    }
    panic!(
        "{most} tasks ended, and the liar is {:?}",
        fog.node(liar).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_is_outvoted_and_quarantined_and_its_receipts_are_kept() {
    let fog = Fog::start().await;
    let _honest = [fog.worker("one").await, fog.worker("two").await];
    let liar = Lying::start(&fog).await;
    until_caught(&fog, &liar.id, quorum(2, 3), 6).await;
    // Whoever has the journal can prove each lie: it signed another output than the task has.
    let all = records(&**fog.journal.as_ref().unwrap()).await;
    let ran = receipts(&all);
    let of = |r: &&Receipt| PublicKey::from_bytes(&r.key).unwrap().node_id() == liar.id;
    let lies: Vec<_> = ran.values().filter(of).collect();
    assert!(lies.len() >= 2, "{lies:?}");
    for lie in lies {
        let status = fog.user.status(&lie.task).await.unwrap();
        assert_eq!((lie.status, lie.fuel), (Outcome::Ok, 1));
        assert!(lie.out.is_some() && lie.out != status.out, "{status:?}");
    }
    liar.stop().await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spot_checks_catch_a_node_that_lies() {
    let fog = Fog::start().await;
    let _honest = [fog.worker("one").await, fog.worker("two").await];
    let liar = Lying::start(&fog).await;
    let spot = Verification {
        rule: Verify::Spot,
        ..Verification::NONE
    };
    until_caught(&fog, &liar.id, spot, 40).await;
    liar.stop().await;
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_clock_makes_differ_is_no_lie() {
    let fog = Fog::start().await;
    let workers = [fog.worker("one").await, fog.worker("two").await];
    let clock = |n: u64| {
        let mut task = fog.task(n, &["clock"]);
        task.grants = List::try_from(vec![Grant::Clock]).unwrap();
        task
    };
    // The seconds that the program saw, twice on each.
    let mut times = Vec::new();
    let began = now_ms() / 1_000;
    for (n, org) in ["one", "two", "one", "two"].into_iter().enumerate() {
        let id = fog.submit(only(clock(n as u64), &[org])).await;
        let status = fog.end(&id).await;
        assert_eq!(status.state, TaskState::Succeeded, "{status:?}");
        let text = String::from_utf8(fog.file(&status, "stdout").await).unwrap();
        times.push(text.split_once(' ').unwrap().0.to_owned());
    }
    let seconds = |time: &String| time.split_once('.').unwrap().0.parse::<u64>().unwrap();
    assert!(times.iter().all(|t| seconds(t) >= began), "{times:?}");
    let different: BTreeSet<_> = times.iter().collect();
    assert_eq!(different.len(), times.len(), "{times:?}");
    // Without the grant all see the task's own clock.
    let id = fog.submit(fog.task(8, &["clock"])).await;
    let status = fog.end(&id).await;
    let text = String::from_utf8(fog.file(&status, "stdout").await).unwrap();
    assert!(text.starts_with("0."), "{text}");
    let nodes = fog.operator.nodes(&Lists::default()).await.unwrap();
    assert_eq!(nodes.items.len(), workers.len());
    for node in &nodes.items {
        assert_eq!(node.state, NodeState::Active, "{node:?}");
    }
    // Results that differ by right are never compared: such a task is not taken.
    let spot = Verification {
        rule: Verify::Spot,
        ..Verification::NONE
    };
    for verify in [quorum(2, 2), spot] {
        let mut task = clock(9);
        task.verify = verify;
        let refused = Signed::sign(task, &crate::owner()).unwrap_err();
        assert_eq!(
            (refused.code, refused.key),
            (RefusalCode::BadValue, "verify")
        );
    }
    fog.stop().await;
}
