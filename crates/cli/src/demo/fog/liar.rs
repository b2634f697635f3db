//! A node of the demo that runs nothing, and claims results.

use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::TokenText;
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Node, Outcome, Output, OutputFile, Resources, Signed,
    to_vec,
};
use betanet_fog_client::node::{Ended, Engine, MemoryReceipts, Run, Running, Worker};
use betanet_fog_client::{Blob, FogClient};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::fog_failed;
use crate::Fail;

/// The standard output that it claims.
pub(super) const CLAIM: &str = "4\n";

struct Liar(FogClient);

impl Engine for Liar {
    fn name(&self) -> &str {
        "wasmtime"
    }

    fn run(&self, _: Arc<Run>) -> Running {
        let client = self.0.clone();
        Box::pin(async move {
            let stdout = Blob::from(CLAIM.as_bytes().to_vec());
            let file = OutputFile {
                path: "stdout".parse().unwrap_or_default(),
                digest: *stdout.digest(),
                size: stdout.size(),
            };
            let files = List::try_from(vec![file]).unwrap_or_default();
            let output = Blob::from(to_vec(&Output { exit: 0, files }));
            // Whether the coordinator has them changes nothing of the claim.
            let _ = client.put_blob(&stdout).await;
            let _ = client.put_blob(&output).await;
            Ended {
                status: Outcome::Ok,
                out: Some(*output.digest()),
                fuel: 1_000,
            }
        })
    }
}

pub(super) struct Lying {
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Lying {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.work).await;
    }
}

/// Starts the node.
pub(super) async fn start(client: FogClient, token: &TokenText) -> Result<Lying, Fail> {
    let me = client.me().clone();
    let amounts = Amounts {
        cpu: 8_000,
        memory: 8 << 30,
        ..Amounts::default()
    };
    let node = Node {
        cap: Resources::capacity(amounts).map_err(|e| fog_failed(&e))?,
        key: *me.public().as_bytes(),
        org: "org-4".parse().unwrap_or_default(),
        seq: 1,
        kind: Kind::Compute,
        zone: "zone-4".parse().unwrap_or_default(),
        level: Level::Public,
        model: Default::default(),
        price: 1,
        engine: "wasmtime".parse().unwrap_or_default(),
        labels: Labels::default(),
        region: "here".parse().unwrap_or_default(),
    };
    let node = Signed::sign(node, &me).map_err(|e| fog_failed(&e))?;
    let joined = client.join(&node, token).await;
    let joined = joined.map_err(|e| fog_failed(&e))?;
    let stop = CancellationToken::new();
    let engine = Liar(client.clone());
    let worker = Worker::new(client, &joined, engine, MemoryReceipts::default());
    let work = tokio::spawn(worker.run(stop.clone()));
    Ok(Lying { stop, work })
}
