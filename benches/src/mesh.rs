//! What a node does with a peer's record, beside the arithmetic that it cannot do without: the key's subgroup check and one
//! verification.

use std::hint::black_box;

use betanet_mesh::{Draft, Record, Role, Roles};
use betanet_runtime::{Identity, PublicKey};

use crate::{Effort, Figure, median, spent};

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n: u32 = 200;
    let issuer = Identity::from_seed(&[1; 32]);
    let draft = Draft {
        addrs: vec![
            "/ip4/192.0.2.1/tcp/443/tls/sni/node.example"
                .parse()
                .unwrap(),
        ],
        roles: Roles::from_iter([Role::Entry, Role::Core]),
        feat: vec!["pq".into()],
        org: "Example".into(),
        pin: Some([7; 32]),
        ..Draft::default()
    };
    let record = draft.sign(&issuer, 1_755_000_000_000, 3_600_000);
    let sig = issuer.sign("", &[b"x"]);
    let (mut ours, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let took = spent(|| {
            for _ in 0..n {
                black_box(Record::from_envelope(record.envelope()).unwrap());
            }
        });
        let arithmetic = spent(|| {
            for _ in 0..n {
                let key = PublicKey::from_bytes(black_box(issuer.public().as_bytes())).unwrap();
                key.verify("", &[b"x"], &sig).unwrap();
            }
        });
        ratios.push(arithmetic / took);
        ours.push(took / f64::from(n) * 1e6);
        peers.push(arithmetic / f64::from(n) * 1e6);
    }
    let (ours, peer) = (median(ours), median(peers));
    vec![Figure {
        name: "peer record vs its key and signature",
        ratio: median(ratios),
        bound: 0.9,
        at_least: true,
        detail: format!("{ours:.1} us, of which {peer:.1} us the key's check and one verification"),
    }]
}
