use betanet_keys::Identity;
use betanet_tokenomics::{Envelope, Id, Request};
use betanet_vouchers::message::Blinded;
use betanet_vouchers::testkit::{BEGIN, World};
use betanet_vouchers::{Denomination, MIN_LIFE};

use super::*;

const ID: Id = [3; 16];

fn points() -> Vec<Blinded> {
    [0, 2]
        .map(|e| Blinded {
            denomination: Denomination::new(e).unwrap(),
            point: [e + 1; 48],
        })
        .to_vec()
}

fn record(id: Id, op: &Op, ts: u64) -> Record {
    let me = Identity::from_seed(&[1; 32]);
    let by = [(me.public().node_id(), 0)];
    let request = Request::new(&by, ts + 1, id, op).unwrap();
    Record {
        req: Envelope::sign(request, &[0; 32], &[&me]).to_bytes(),
        seq: 5,
        ts,
    }
}

fn buy(world: &World, points: &[Blinded], vu: u64) -> Op {
    Op::Buy {
        bh: blinded_hash(points),
        keyset: world.id.0,
        vu,
    }
}

fn issue(world: &World, points: &[Blinded], id: Id) -> IssueRequest {
    let bytes = IssueRequest::encode(id, &world.id, points, &purchase_pay(5));
    IssueRequest::from_bytes(&bytes).unwrap()
}

#[test]
fn a_purchase_pays_for_its_own_issue_alone() {
    let world = World::new(1, 1, 1, &[0, 1, 2]);
    let (keyset, points) = (world.keyset(), points());
    let good = record(ID, &buy(&world, &points, 5), BEGIN);
    let of = |record: &Record, request: &IssueRequest| purchase(record, request, keyset);
    let paid = of(&good, &issue(&world, &points, ID)).unwrap().paid;
    assert_eq!((paid.amount, paid.at), (5, BEGIN));

    let mut others = points.clone();
    others[0].point[9] ^= 1;
    let swapped: Vec<Blinded> = points.iter().rev().copied().collect();
    assert_eq!(
        of(&good, &issue(&world, &points, [4; 16])),
        None,
        "another ID"
    );
    assert_eq!(
        of(&good, &issue(&world, &others, ID)),
        None,
        "another point"
    );
    assert_eq!(
        of(&good, &issue(&world, &swapped, ID)),
        None,
        "another order"
    );
    assert_eq!(of(&good, &issue(&world, &points[..1], ID)), None, "fewer");
    let mut elsewhere = issue(&world, &points, ID);
    elsewhere.keyset.0[0] ^= 1;
    assert_eq!(of(&good, &elsewhere), None, "another keyset");

    let request = issue(&world, &points, ID);
    let wrong = [
        record(ID, &buy(&world, &points, 4), BEGIN),
        record(ID, &buy(&world, &points, 6), BEGIN),
        record(ID, &buy(&world, &points, 5), BEGIN + MIN_LIFE),
        record(ID, &Op::Swap { back: false, vu: 5 }, BEGIN),
        Record {
            req: Vec::new(),
            seq: 5,
            ts: BEGIN,
        },
        Record {
            req: world.keyset().as_bytes().to_vec(),
            seq: 5,
            ts: BEGIN,
        },
    ];
    for record in wrong {
        assert_eq!(of(&record, &request), None);
    }
    let last = record(ID, &buy(&world, &points, 5), BEGIN + MIN_LIFE - 1);
    assert!(of(&last, &request).is_some());
}

#[test]
fn the_payment_is_a_number_of_eight_bytes() {
    assert_eq!(purchase_pay(258), [0, 0, 0, 0, 0, 0, 1, 2]);
    for number in [1, 258, (1 << 63) - 1] {
        assert_eq!(purchase_number(&purchase_pay(number)), Some(number));
    }
    for pay in [
        &purchase_pay(0)[..],
        &purchase_pay(1 << 63),
        &[1; 7],
        &[1; 9],
        &[],
    ] {
        assert_eq!(purchase_number(pay), None);
    }
}

#[test]
fn the_corpus_stays_good() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/purchase");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        fuzz(&std::fs::read(entry.unwrap().path()).unwrap());
        n += 1;
    }
    assert!(n >= 3);
}

/// Writes the corpus again: `cargo test -p betanet-voucher-service write_corpus` with the variable `CORPUS` set to its folder.
#[test]
fn inputs_of_the_corpus_reach_the_purchase() {
    let world = World::new(1, 1, 1, &[0, 1, 2]);
    let points = points();
    let good = record(ID, &buy(&world, &points, 5), BEGIN);
    let request = IssueRequest::encode(ID, &world.id, &points, &purchase_pay(5));
    let other = IssueRequest::encode([9; 16], &world.id, &points, &purchase_pay(5));
    let joined = |record: &Record, request: &[u8]| {
        let record = record.to_bytes();
        let length = u16::try_from(record.len()).unwrap().to_be_bytes();
        [&length[..], &record, request].concat()
    };
    let tick = Record {
        req: Vec::new(),
        seq: 5,
        ts: BEGIN,
    };
    let all = [
        ("good", joined(&good, &request)),
        ("other-id", joined(&good, &other)),
        ("tick", joined(&tick, &request)),
        ("cut", joined(&good, &request[..40])),
    ];
    for (name, bytes) in all {
        fuzz(&bytes);
        if let Some(folder) = std::env::var_os("CORPUS") {
            std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
        }
    }
}
