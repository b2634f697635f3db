//! Nodes that have joined, for tests and measurements.

use betanet_coordinator::{Change, Record, Request};
use betanet_fog::bodies::Beat;
use betanet_fog::{List, Signed};
use betanet_journal::{Journal as _, Kind, Lead, MemoryStore};
use betanet_keys::Identity;
use betanet_sim::fog::{caller, node_of};

use crate::world::World;

/// A journal in which so many nodes have joined.
pub(crate) async fn journal(nodes: &[Identity]) -> MemoryStore {
    let store = MemoryStore::new();
    let journal = store.open("one");
    let Lead::Leads(term) = journal.lead().await.unwrap() else {
        panic!("somebody leads");
    };
    let ts = now_ms();
    for (n, id) in nodes.iter().enumerate() {
        let node = node_of(id, &format!("z{}", n % 64), &format!("org{}", n / 10));
        let node = Signed::sign(node, id).unwrap().to_bytes();
        let id = id.public().node_id();
        let joined = Change::Joined {
            token: id.0[..16].try_into().unwrap(),
            node: node.into(),
            exp: 0,
            vouched: true,
        };
        let both = [joined, Change::Online { node: id }].map(|change| {
            let entry = Record { ts, change }.to_entry();
            betanet_journal::Record::new(Kind::new(entry.kind).unwrap(), entry.body)
        });
        journal.append(term.epoch, both.into()).await.unwrap();
    }
    journal.resign(term.epoch).await.unwrap();
    store
}

pub(crate) fn now_ms() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

pub(crate) async fn beats(world: &World, nodes: &[Identity], seq: u64) {
    for node in nodes {
        let beat = Beat {
            rtt: List::new(),
            seq,
            gone: List::new(),
            have: List::new(),
            work: true,
        };
        let request = Request::Beat(node.public().node_id(), Box::new(beat));
        let answer = world.handle().ask(caller(node, false), request).await;
        answer.unwrap();
    }
}
