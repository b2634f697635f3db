//! A simulated node: it speaks the protocol of fog nodes, and runs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{JoinAnswer, TokenText};
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Map, Node as FogNode, Outcome, Output, OutputFile,
    RefusalCode, Resources, Signed, Text, Word, to_vec,
};
use betanet_fog_client::node::{Ended, Engine, MemoryReceipts, Run, Running, Worker};
use betanet_fog_client::{Blob, Direct, FogClient};
use betanet_keys::{Identity, Peer};
use betanet_runtime::{Clock, Node, SessionConfig};
use tokio_util::sync::CancellationToken;

use super::record::Simulated;
use super::{ORG, module};
use crate::Fail;
use crate::fail::chain;

/// Name of the engine, as receipts state it.
const ENGINE: &str = "simulated 0.1";
/// Longest time that a simulated task takes, in s.
const SECONDS_MAX: u64 = 24 * 3600;

fn failed(error: &(dyn std::error::Error + 'static)) -> Fail {
    Fail::Peer(format!("fog: {}", chain(error)))
}

/// Waits for as long as a task of the seed says. It fails tasks of others, since it runs no program.
struct Waits {
    client: FogClient,
    name: String,
}

/// The seconds that a task of the seed takes; `None` for others.
fn seconds(run: &Run) -> Option<u64> {
    let own = Blob::from(module().to_vec());
    if run.task.module.digest != *own.digest() {
        return None;
    }
    let seconds = run.task.args.get(1)?;
    Some(seconds.as_str().parse().ok()?).map(|s: u64| s.min(SECONDS_MAX))
}

async fn output(client: FogClient, text: String) -> Option<[u8; 32]> {
    let stdout = Blob::from(text.into_bytes());
    let file = OutputFile {
        path: "stdout".parse().ok()?,
        digest: *stdout.digest(),
        size: stdout.size(),
    };
    let files = List::try_from(vec![file]).ok()?;
    let output = Blob::from(to_vec(&Output { exit: 0, files }));
    for blob in [&stdout, &output] {
        client.put_blob(blob).await.ok()?;
    }
    Some(*output.digest())
}

impl Engine for Waits {
    fn name(&self) -> &str {
        ENGINE
    }

    fn run(&self, run: Arc<Run>) -> Running {
        let (client, name) = (self.client.clone(), self.name.clone());
        Box::pin(async move {
            const FAILED: Ended = Ended {
                status: Outcome::Internal,
                out: None,
                fuel: 0,
            };
            let Some(seconds) = seconds(&run) else {
                return FAILED;
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let text = format!("{name} waited for {seconds} s; no program ran\n");
            match output(client, text).await {
                Some(digest) => Ended {
                    status: Outcome::Ok,
                    out: Some(digest),
                    fuel: 0,
                },
                None => FAILED,
            }
        })
    }
}

/// The description of a node, which says that it is simulated wherever a text can.
fn description(of: &Simulated, me: &Identity) -> Option<FogNode> {
    let n = u64::from(of.n);
    let cores = 1 + n % 4;
    let amounts = Amounts {
        cpu: 1000 * cores,
        memory: cores << 30,
        storage: 16 << 30,
        gpu: 0,
        bandwidth: 10_000_000,
        relay: 1_000_000,
    };
    let word = |text: &str| text.parse::<Word>().ok();
    let labels = BTreeMap::from([(word("simulated")?, word(&of.name())?)]);
    Some(FogNode {
        cap: Resources::capacity(amounts).ok()?,
        key: *me.public().as_bytes(),
        org: word(ORG)?,
        seq: Clock::start().now().unix_ms,
        kind: of.kind,
        zone: word(&format!("simulated-zone-{}", 1 + n % 4))?,
        level: Level::Public,
        model: word("simulated")?,
        price: 1,
        engine: ENGINE.parse().ok()?,
        labels: Labels::new(Map::try_from(labels).ok()?).ok()?,
        region: word("simulated")?,
    })
}

/// A node that has joined.
pub(super) struct Device {
    client: FogClient,
    joined: JoinAnswer,
    name: String,
}

impl Device {
    /// A client of the coordinator that the token names, with the node's identity.
    fn client(me: &Identity, token: &str) -> Result<FogClient, Fail> {
        let why = "the API gave a join token that does not read";
        let peer: Peer = crate::worker::peer_of(token).ok_or_else(|| Fail::Peer(why.to_owned()))?;
        let node = Node::new(Some(me.clone()), SessionConfig::default())?;
        let direct = Direct::new(Arc::new(node), vec![peer]);
        Ok(FogClient::new(me.clone(), direct))
    }

    /// Joins, or joins again with the token of an earlier run.
    pub(super) async fn join(of: &Simulated, me: &Identity, token: &str) -> Result<Self, Fail> {
        let client = Self::client(me, token)?;
        let bug = || Fail::Local(format!("{}: no description", of.name()));
        let node = description(of, me).ok_or_else(bug)?;
        let node = Signed::sign(node, me).map_err(|e| failed(&e))?;
        let token: Text = token.parse().map_err(|_| bug())?;
        let token = TokenText::from(token);
        let joined = client.join(&node, &token).await;
        let joined = joined.map_err(|e| failed(&e))?;
        Ok(Self {
            client,
            joined,
            name: of.name(),
        })
    }

    /// Works until it is told to stop, and then gives back what it holds.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self {
            client,
            joined,
            name,
        } = self;
        let engine = Waits {
            client: client.clone(),
            name,
        };
        let worker = Worker::new(client.clone(), &joined, engine, MemoryReceipts::default());
        worker.run(stop).await;
        client.close().await;
    }

    /// Leaves the fog. Copies must have ended; a node that is not there is gone already.
    pub(super) async fn leave(me: &Identity, token: &str) -> Result<(), Fail> {
        let client = Self::client(me, token)?;
        let left = client.leave().await;
        client.close().await;
        match left {
            Err(error) if error.code() == Some(RefusalCode::Unknown) => Ok(()),
            left => left.map_err(|e| failed(&e)),
        }
    }
}

/// The kinds of simulated nodes and how many of each.
pub(super) fn all(devices: u32, mixnodes: u32) -> Vec<Simulated> {
    let of = |kind, most| (1..=most).map(move |n| Simulated { kind, n });
    let devices = of(Kind::EdgeDevice, devices);
    devices.chain(of(Kind::Mixnode, mixnodes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_says_that_it_is_simulated() {
        for of in all(3, 2) {
            let me = Identity::from_seed(&[7; 32]);
            let node = description(&of, &me).unwrap();
            for text in [
                node.org.as_str(),
                node.region.as_str(),
                node.zone.as_str(),
                node.model.as_str(),
                node.engine.as_str(),
            ] {
                assert!(text.starts_with("simulated"), "{text}");
            }
            assert!(Signed::sign(node, &me).is_ok());
        }
    }
}
