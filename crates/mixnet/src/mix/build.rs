//! Creation of a directory by maintainers: asks the relays for their layers, and publishes the result to the seeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{Headers, Method, Request, status};
use betanet_dial::{Network, Node};
use betanet_keys::{Maintainers, Name, Peer, VRF_PROOF, VrfPublic};
use betanet_mesh::{Record, Role};
use betanet_mix::{
    BEACON_SIG, Directory, MixKeys, Net, ORG_MAX, Relay, RelayKey, layer_of, layer_text, weight,
};
use betanet_relay::{Mesh, peer_of, peer_of_seed};
use betanet_session::Clock;
use betanet_wire::{NodeId, text};
use bytes::Bytes;
use tokio::time::timeout;

use super::PLACE;
use super::client::find::Finder;
use crate::Error;

/// Time limit of one relay's answer.
const ASK: Duration = Duration::from_secs(8);
/// Interval between two checks.
const LOOK: Duration = Duration::from_millis(200);

/// The maintainers' rating of a relay: two values in millionths of one, and its stake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LotteryWeight {
    /// Rating of its behaviour, in millionths.
    pub reputation: u32,
    /// Rating of its packet delivery, in millionths.
    pub performance: u32,
    /// Stake that it would lose.
    pub stake: u64,
}

impl Default for LotteryWeight {
    fn default() -> Self {
        Self {
            reputation: 1_000_000,
            performance: 1_000_000,
            stake: 0,
        }
    }
}

/// The parameters of a directory.
#[derive(Clone, Debug)]
pub struct DirectoryPlan {
    /// Epoch of the directory.
    pub epoch: u32,
    /// Registry number of the directory.
    pub seq: u64,
    /// Beacon signature of the epoch.
    pub beacon_sig: [u8; BEACON_SIG],
    /// Time limit for the relays' answers.
    pub wait: Duration,
    /// Number of known relays at which to stop waiting early. `None` waits for the full time.
    pub enough: Option<usize>,
    /// Ratings of relays.
    pub standing: BTreeMap<NodeId, LotteryWeight>,
    /// Rating of the relays without one: full marks by default.
    pub others: LotteryWeight,
}

/// A relay that is not in the directory, and the reason.
pub type LeftOut = (Name, String);

/// Joins the network, asks all of its relays for their layers, and creates a directory of those that prove them.
///
/// # Errors
///
/// The network has no mix, or the beacon is not valid for it.
pub async fn build_directory(
    network: &Network,
    plan: &DirectoryPlan,
) -> Result<(Directory, Vec<LeftOut>), Error> {
    let mix = network.mix.as_ref();
    let mix = mix.ok_or_else(|| Error::NoMix {
        network: network.name.clone(),
    })?;
    let beacon = mix.beacon_key.beacon(plan.epoch, &plan.beacon_sig);
    let wrong = betanet_mix::DirectoryError::Beacon(plan.epoch);
    let beacon = beacon.ok_or_else(|| Error::Directory(wrong.into()))?;
    let node = Arc::new(Node::client()?);
    let mesh = Mesh::client(Arc::clone(&node), network)?;
    let began = Clock::start();
    let records = loop {
        let known = relays(&mesh).await;
        let enough = plan.enough.is_some_and(|n| known.len() >= n);
        if enough || began.elapsed() >= plan.wait {
            break known;
        }
        tokio::time::sleep(LOOK).await;
    };
    let (mut listed, mut left_out) = (Vec::new(), Vec::new());
    for record in records {
        let asked = relay(&node, &record, (mix.layers, &beacon), plan).await;
        match asked {
            Ok(relay) => listed.push(relay),
            Err(why) => left_out.push((record.node().into(), why)),
        }
    }
    if repeated(&listed).next().is_some() {
        let finder = Finder {
            network: network.clone(),
            mesh: mesh.clone(),
            node: Arc::clone(&node),
            clock: began,
            patience: plan.wait,
        };
        let before = finder.directory(plan.epoch.saturating_sub(1)).await.ok();
        let copies = copies(&listed, before.as_ref());
        listed.retain(|r| !copies.contains(&r.node));
        let why = "it has a key that another relay has, and did not have it an epoch ago";
        left_out.extend(copies.into_iter().map(|n| (n.into(), why.to_owned())));
    }
    node.close().await;
    mesh.stop().await;
    listed.sort_by_key(|r: &Relay| r.node);
    let directory = Directory {
        epoch: plan.epoch,
        seq: plan.seq,
        list: Maintainers::new(&network.maintainers).hash(),
        layers: mix.layers,
        poisson: mix.poisson,
        beacon_sig: plan.beacon_sig,
        relays: listed,
    };
    directory
        .check(&mix.beacon_key)
        .map_err(|e| Error::Directory(e.into()))?;
    Ok((directory, left_out))
}

/// Returns relays whose key another relay also has: anybody can copy the data of a record, and obtain its owner's proof.
fn repeated(listed: &[Relay]) -> impl Iterator<Item = &Relay> {
    let meets = |a: &Relay, b: &Relay| a.node != b.node && (a.key == b.key || a.vrf == b.vrf);
    let twice = move |r: &&Relay| listed.iter().any(|other| meets(r, other));
    listed.iter().filter(twice)
}

/// Returns nodes with the key of another node, unless the earlier directory lists them with it.
fn copies(listed: &[Relay], before: Option<&Directory>) -> Vec<NodeId> {
    let had = |r: &&Relay| before.is_some_and(|d| d.lists(r.node, &r.vrf));
    let fresh = repeated(listed).filter(|r| !had(r));
    fresh.map(|r| r.node).collect()
}

/// Returns the records of nodes that claim to be mix relays.
async fn relays(mesh: &Mesh) -> Vec<Record> {
    let mut all = mesh.records().await;
    all.retain(|r| r.roles().has(Role::Mix));
    all
}

/// Asks one relay for the proof of its layer.
async fn relay(
    node: &Node,
    record: &Record,
    (layers, beacon): (u8, &[u8; 32]),
    plan: &DirectoryPlan,
) -> Result<Relay, String> {
    let claims = record.claims().map_err(|e| e.to_string())?;
    let keys = MixKeys::from_bytes(claims.mix).map_err(|e| format!("its Sphinx keys: {e}"))?;
    let key = keys.of(plan.epoch);
    let key =
        key.ok_or_else(|| format!("its record has no Sphinx key for epoch {}", plan.epoch))?;
    RelayKey::check(key).ok_or("its Sphinx key is none")?;
    if record.org().len() > ORG_MAX {
        return Err(format!(
            "it names its organisation in more than {ORG_MAX} bytes"
        ));
    }
    let peer = peer_of(record).ok_or("its record has no address that can be dialled")?;
    let target = format!(
        "{PLACE}layer/{}/{}",
        plan.epoch,
        text::hex(&plan.beacon_sig)
    );
    let mut reached = None;
    let asking = async {
        for address in &peer.addrs {
            // Take the IP network from the address at which the relay is reached, whatever its name resolves to elsewhere.
            let found = tokio::net::lookup_host(address).await.ok();
            let Some(at) = found.and_then(|mut all| all.next()) else {
                continue;
            };
            let one = Peer {
                addrs: vec![address.clone()],
                ..peer.clone()
            };
            let Ok(session) = node.connect_ip(&one, at.ip()).await else {
                continue;
            };
            reached = Some(at.ip());
            let request = Request::new(Method::Get, &target, Headers::default());
            let mut answer = session.ask(request).await?;
            let body = answer.body.all(1024).await?;
            session.close().await;
            return Ok((answer.head.status, body));
        }
        Err(Error::from(betanet_dial::Error::NoAddress))
    };
    let (answered, body) = match timeout(ASK, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("it is not reached: {error}")),
        Err(_) => return Err("it does not answer".into()),
    };
    let proof = body.filter(|_| answered == status::OK);
    let proof = proof.and_then(|b| <[u8; VRF_PROOF]>::try_from(b).ok());
    let proof = proof.ok_or_else(|| format!("it proves no layer: status {answered}"))?;
    let output = VrfPublic::from_bytes(*keys.vrf())
        .and_then(|vrf| vrf.verify(&layer_text(plan.epoch, beacon), &proof))
        .map_err(|_| "its proof does not hold".to_owned())?;
    let standing = plan
        .standing
        .get(&record.node())
        .copied()
        .unwrap_or(plan.others);
    Ok(Relay {
        node: record.node(),
        key,
        layer: layer_of(&output, layers),
        weight: weight(standing.reputation, standing.performance, standing.stake),
        org: record.org(),
        net: reached.map(Net::from).ok_or("it is not reached")?,
        vrf: *keys.vrf(),
        proof,
    })
}

/// Publishes a signed directory to all seeds. Returns the result of each.
///
/// # Errors
///
/// The system has no randomness.
pub async fn publish_directory(
    network: &Network,
    epoch: u32,
    signed: &[u8],
) -> Result<Vec<(Name, Result<u16, String>)>, Error> {
    let node = Node::client()?;
    let mut said = Vec::new();
    for seed in network.seeds.iter().map(peer_of_seed) {
        let putting = put(&node, &seed, epoch, signed);
        let outcome = match timeout(ASK, putting).await {
            Ok(Ok((code @ (status::CREATED | status::NO_CONTENT), _))) => Ok(code),
            Ok(Ok((code, why))) => Err(format!("{code}: {why}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer".into()),
        };
        said.push((seed.name(), outcome));
    }
    node.close().await;
    Ok(said)
}

async fn put(node: &Node, seed: &Peer, epoch: u32, signed: &[u8]) -> Result<(u16, String), Error> {
    let session = node.session(seed).await?;
    let headers = Headers::default().with("content-length", signed.len().to_string());
    let target = format!("{PLACE}{epoch}");
    let upload = session
        .upload(Request::new(Method::Put, &target, headers))
        .await?;
    // A seed that refuses early has answered, and the answer is read below.
    let _ = upload.send(Bytes::copy_from_slice(signed)).await;
    let mut answer = upload.finish().await?;
    let why = answer.body.all(4096).await?.unwrap_or_default();
    Ok((
        answer.head.status,
        String::from_utf8_lossy(&why).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn relay(node: u8, key: u8, vrf: u8) -> Relay {
        Relay {
            node: NodeId([node; 20]),
            key: [key; 32],
            layer: 0,
            weight: 1,
            org: String::new(),
            net: Net::from(IpAddr::from([10, node, 0, 1])),
            vrf: [vrf; 32],
            proof: [0; VRF_PROOF],
        }
    }

    #[test]
    fn who_copies_anothers_keys_is_left_out_and_its_owner_is_not() {
        let honest = vec![relay(1, 11, 21), relay(2, 12, 22), relay(3, 13, 23)];
        assert!(copies(&honest, None).is_empty());
        let before = Directory {
            epoch: 6,
            seq: 1,
            list: [0; 32],
            layers: 1,
            poisson: false,
            beacon_sig: [0; BEACON_SIG],
            relays: honest.clone(),
        };
        for copy in [relay(9, 12, 99), relay(9, 99, 22), relay(9, 12, 22)] {
            let mut listed = honest.clone();
            listed.push(copy);
            assert_eq!(copies(&listed, Some(&before)), [NodeId([9; 20])]);
            // Without an earlier directory to distinguish them, both are refused.
            assert_eq!(copies(&listed, None), [NodeId([2; 20]), NodeId([9; 20])]);
        }
    }
}
