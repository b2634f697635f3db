use super::*;
use betanet_dial::Network;
use betanet_keys::PublicKey;
use betanet_mesh::{Policy, SeedPeer};
use betanet_path::relay::LOOKUPS;
use futures_util::FutureExt as _;
use tokio::task::JoinHandle;

type Found = JoinHandle<Option<Peer>>;

fn hop(n: u8) -> NodeId {
    NodeId([n; 20])
}

/// A network whose seeds do not answer.
fn network() -> Network {
    let key = |n: u8| *Identity::from_seed(&[n; 32]).public();
    let keys = |from: u8, n: u8| (from..from + n).map(key).collect::<Vec<PublicKey>>();
    let seed = |n| SeedPeer {
        key: key(n),
        addrs: vec!["/ip4/127.0.0.1/tcp/1/tls".parse().unwrap()],
        pin: None,
    };
    Network {
        name: "test".into(),
        seeds: (80..85).map(seed).collect(),
        signers: keys(60, 3),
        ledgers: Vec::new(),
        maintainers: keys(70, 5),
        banned: Vec::new(),
        policy: Policy {
            private: true,
            ..Policy::default()
        },
        mix: None,
        more_seeds: None,
    }
}

/// Starts lookups for unknown next hops, three for each of so many parties. Leaves out those that were refused at once.
async fn looked_for(relay: &Arc<Relay>, hops: &mut u8, payers: u8) -> Vec<Found> {
    let mut all: Vec<Found> = Vec::new();
    for (payer, _) in (0..payers).flat_map(|p| [(p, 0), (p, 1), (p, 2)]) {
        *hops += 1;
        let (relay, node) = (Arc::clone(relay), hop(*hops));
        let charge = ChargeTo::V4([192, 0, 2, payer]);
        let finding = async move { relay.find_for(charge, node).await };
        all.push(tokio::spawn(async {
            timeout(NEXT_HOP, finding).await.ok().flatten()
        }));
    }
    still_runs(&mut all).await;
    all
}

/// Removes the lookups that have ended without a result.
async fn still_runs(all: &mut Vec<Found>) {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    all.retain_mut(|one| match one.now_or_never() {
        Some(found) => {
            assert_eq!(found.unwrap().map(|p| p.key), None);
            false
        }
        None => true,
    });
}

#[tokio::test(start_paused = true)]
async fn lookups_for_others_leave_half_of_them_to_the_node_for_as_long_as_they_last() {
    let network = network();
    let identity = Identity::from_seed(&[2; 32]);
    let node = Node::new(Some(identity.clone()), betanet_htx::Config::default()).unwrap();
    let nobody: Weak<dyn Exits> = Weak::<Nobody>::new();
    let metrics = Arc::new(());
    let clock = Clock::start();
    let relay = Relay::new(identity.clone(), clock, nobody, node, metrics, &[], true);
    let mesh = Mesh::start(relay.node(), &network, identity, None, Vec::new(), None).unwrap();
    relay.join(mesh.clone());
    let mut hops = 0;
    let mut others = looked_for(&relay, &mut hops, 8).await;
    assert_eq!(others.len(), LOOKUPS.0);
    // The askers give up. The mesh continues the lookups, so no places are released.
    tokio::time::sleep(NEXT_HOP).await;
    still_runs(&mut others).await;
    assert!(others.is_empty());
    assert!(looked_for(&relay, &mut hops, 8).await.is_empty());
    let mut own: Vec<Found> = (0..16_u8)
        .map(|n| {
            let mesh = mesh.clone();
            tokio::spawn(async move { mesh.find(hop(200 + n)).await })
        })
        .collect();
    still_runs(&mut own).await;
    assert_eq!(own.len(), 8, "of the mesh's 16");
    // All lookups are over, so there are free places again.
    tokio::time::sleep(Duration::from_secs(25)).await;
    still_runs(&mut own).await;
    assert!(own.is_empty());
    assert_eq!(looked_for(&relay, &mut hops, 8).await.len(), LOOKUPS.0);
    mesh.stop().await;
}

struct Nobody;

impl Exits for Nobody {
    fn open_forwarded(&self, _: Vec<NodeId>, _: ChargeTo, _: &[u8]) -> Option<Tunnel> {
        None
    }
}
