//! A hop's work on a path header, beside the one verification and the one signature that it cannot do without.

use std::hint::black_box;

use betanet_path::{Control, Hop, TTL, build};
use betanet_runtime::Identity;

use crate::{Effort, Figure, median, spent};
use betanet_wire::ChargeTo;

const UNIX_MS: u64 = 1_755_000_000_000;

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n: u64 = 200;
    let [client, entry, exit] = [1, 2, 3].map(|i| Identity::from_seed(&[i; 32]));
    let nodes = [entry.public().node_id(), exit.public().node_id()];
    let headers: Vec<Vec<u8>> = (0..n)
        .map(|i| {
            let built = build(&client, &nodes, UNIX_MS + i, TTL, None).unwrap();
            built.control.to_bytes()
        })
        .collect();
    let digest = [7; 32];
    let sig = client.sign("", &[&digest]);
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    let mut ratios = Vec::new();
    for _ in 0..effort.rounds {
        let now = betanet_machine::Now::new(betanet_machine::Time::ZERO, UNIX_MS);
        // One peer has 1/64 of the memory.
        let mut hop = Hop::new(64 * 1024);
        let took = spent(|| {
            for header in &headers {
                let control = Control::from_bytes(header).unwrap();
                black_box(
                    hop.receive(now, &entry, (client.public(), ChargeTo::Unknown), control)
                        .unwrap(),
                );
            }
        });
        let arithmetic = spent(|| {
            for _ in 0..n {
                client.public().verify("", &[&digest], &sig).unwrap();
                black_box(entry.sign("", &[&digest]));
            }
        });
        ratios.push(arithmetic / took);
        ours.push(took / n as f64 * 1e6);
        peers.push(arithmetic / n as f64 * 1e6);
    }
    let (ours, peer) = (median(ours), median(peers));
    vec![Figure {
        name: "path header vs its two signatures",
        ratio: median(ratios),
        bound: 0.9,
        at_least: true,
        detail: format!("{ours:.1} us, of which {peer:.1} us one verification and one signature"),
    }]
}
