//! Attacks on what a node does for the mix.

use std::sync::Arc;
use std::time::Duration;

use betanet_keys::Identity;
use betanet_mix::{BeaconSecret, Command, Delay, Hop, RelayKey, epoch_at, public_key};
use betanet_runtime::{
    Clock, DirectoryPlan, Headers, Method, Network, Node, PeerSession, Request, Streams, Substream,
    Transport, build_directory,
};
use betanet_wire::NodeId;
use betanet_wire::text::hex;
use bytes::{Bytes, BytesMut};
use tokio::time::{sleep, timeout};

use super::Plan;
use super::inside::asking;
use super::web::many;
use crate::mixnode::packets_to;

pub(super) async fn puts(plan: Arc<Plan>) -> String {
    many(plan, 8, "bodies", |plan, count, _| async move {
        let session = asking(&plan, &count).await?;
        let epoch = epoch_at(Clock::start().now().unix_ms);
        let mut open = Vec::new();
        for i in 0..100_u32 {
            let path = format!("/.bn/mix/{}", epoch + i % 2);
            let put = Request::new(Method::Put, &path, Headers::default());
            let Ok(Ok(upload)) = timeout(Duration::from_secs(2), session.upload(put)).await else {
                break;
            };
            // All but its end.
            for _ in 0..64 {
                let sent = upload.send(Bytes::from_static(&[1; 16_000]));
                if !matches!(timeout(Duration::from_millis(200), sent).await, Ok(Ok(()))) {
                    break;
                }
            }
            count.add(1);
            open.push(upload);
        }
        sleep(Duration::from_secs(20)).await;
        None
    })
    .await
}

pub(super) async fn layers(plan: Arc<Plan>) -> String {
    many(plan, 8, "requests", |plan, count, i| async move {
        let session = asking(&plan, &count).await?;
        let epoch = epoch_at(Clock::start().now().unix_ms);
        for n in 0_u8.. {
            // A signature, but of another beacon's key or epoch: it takes a pairing to see that.
            let beacon = BeaconSecret::from_seed(
                &[n, u8::try_from(i).unwrap(), 3, 4, 5, 6, 7, 8]
                    .repeat(4)
                    .try_into()
                    .unwrap(),
            );
            let sig = beacon.unwrap().sign(epoch);
            let path = format!("/.bn/mix/layer/{epoch}/{}", hex(&sig));
            let get = Request::new(Method::Get, &path, Headers::default());
            let mut answer = timeout(Duration::from_secs(10), session.ask(get))
                .await
                .ok()?
                .ok()?;
            let _ = answer.body.all(4096).await;
            count.add(1);
        }
        Some(())
    })
    .await
}

/// Takes what comes back and drops it.
struct Dropped;

impl Streams for Dropped {
    fn opened(&self, _: &PeerSession, _: u8, mut stream: Substream) {
        stream.end();
    }
}

pub(super) async fn links(plan: Arc<Plan>) -> String {
    many(plan, 1, "packets", |plan, count, _| async move {
        let network = Network::read(&plan.network).unwrap();
        let epoch = epoch_at(Clock::start().now().unix_ms);
        let all = DirectoryPlan {
            epoch,
            seq: 1,
            beacon_sig: BeaconSecret::from_seed(&[7; 32]).unwrap().sign(epoch),
            wait: Duration::from_secs(10),
            enough: Some(1),
            standing: std::collections::BTreeMap::new(),
            others: betanet_runtime::LotteryWeight::default(),
        };
        let (directory, _) = build_directory(&network, &all).await.ok()?;
        let own = plan.peer.key.node_id();
        let relay = directory.relays.iter().find(|r| r.node == own)?;
        let key = RelayKey::check(relay.key).unwrap();
        let me = Identity::from_seed(&[0xb5; 32]);
        let node = Node::new(Some(me), betanet_htx::Config::default())
            .unwrap()
            .with_transport(Transport::Tcp)
            .with_source_address(Some(plan.from));
        let node = node.with_mix_handler(Arc::new(Dropped));
        let session = node.connect(&plan.peer).await.ok()?;
        let mut stream = session.peer_session().open(0x02).await.ok()?;
        for n in 0_u64.. {
            let hops = |i: u64| {
                let mut next = [0xc3; 20];
                next[..8].copy_from_slice(&(n * 64 + i).to_le_bytes());
                let last = RelayKey::check(public_key(&[9; 32])).unwrap();
                [
                    Hop {
                        key,
                        command: Command::Forward {
                            delay: Delay::Chosen(0),
                            next: NodeId(next),
                        },
                    },
                    Hop {
                        key: last,
                        command: Command::Deliver { id: [1; 16] },
                    },
                ]
            };
            let mut bytes = BytesMut::new();
            for packet in packets_to(64, n * 64, epoch, hops) {
                bytes.extend_from_slice(&packet.0);
            }
            std::future::poll_fn(|cx| stream.poll_ready(cx))
                .await
                .ok()?;
            stream.send(bytes.freeze()).ok()?;
            count.add(64);
            sleep(Duration::from_millis(5)).await;
        }
        Some(())
    })
    .await
}
