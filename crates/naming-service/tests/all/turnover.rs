//! Signers that follow others: by rotation while they are online, and by an emergency advance.

use betanet_naming::signer::{Memory, Refusal, Signer};
use betanet_naming::testkit::{DAY, Network, identity, owner};
use betanet_naming::{AliasRecord, Finalized, Ledger as Records, Status};
use betanet_naming_service::{Claim, client};

use super::world::{Asker, Ledger, alias, nodes, now_ms};

#[tokio::test(flavor = "multi_thread")]
async fn signers_sign_online_across_a_rotation_of_their_set() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    // The fourth is no signer before the rotation, and the first none after it.
    let of: Vec<_> = (1..=4).map(identity).collect();
    let all = nodes(home.path(), &network, &of, &[0, 1, 2, 3]).await;
    let reach = async |size| {
        for node in &all {
            node.running.reaches(size).await;
        }
    };
    let asker = Asker::of(&all[3].peer, &network).await;
    let first = network.bound("a", &owner(1), 1, now_ms());
    asker.post("records", &first).await.unwrap();
    reach(1).await;
    let rotation = network.rotation(&[2, 3, 4], 1, &[0, 1]);
    asker.post("records", &rotation).await.unwrap();
    reach(2).await;
    let new = Network {
        signers: (2..=4).map(identity).collect(),
        maintainers: Vec::new(),
    };
    // Records of the new signers only, one of whom was none before.
    let second = new.finalized(
        AliasRecord::bind(alias("b"), &owner(2), 1, now_ms()),
        owner(2).public(),
        &[1, 2],
    );
    asker.post("records", &second).await.unwrap();
    reach(3).await;
    for node in &all {
        let mut asker = Asker::of(&node.peer, &network).await;
        for (name, by) in [("a", 1), ("b", 2)] {
            let found = asker.resolve(name).await;
            assert_eq!(found.node(), Some(owner(by).public().node_id()), "{name}");
        }
        let head = asker.newest().await.head.unwrap();
        assert_eq!(head.head().set, *new.genesis().signers.hash());
        assert_eq!(asker.trust.sets().len(), 2);
    }
    for node in all {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_offline_signers_follow_an_emergency_advance() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 5);
    let new = Network {
        signers: (7..=9).map(identity).collect(),
        maintainers: Vec::new(),
    };
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let now = now_ms();
    let mut ledger: Records = network.ledger();
    let record = network.bound("a", &owner(1), 1, now);
    ledger.apply(now, record.clone()).unwrap();
    // The signers' last head is old.
    let last = network.head(&ledger, now - 15 * DAY, &[0, 1]);
    ledger.accept(last.clone()).unwrap();
    asker.make_final(&record, &last).await;
    let key = *network.genesis().signers.hash();
    let keys: Vec<[u8; 32]> = new.signers.iter().map(|i| *i.public().as_bytes()).collect();
    let carried = last.to_bytes();
    let turn = network.advance(&carried, now, (1, &key), |form| {
        form.new = Some(keys.clone());
    });
    // And one that binds an alias for them.
    let bound = AliasRecord::bind(alias("c"), &owner(3), 1, now);
    let by = owner(3);
    let rec = Finalized::new(bound, by.public());
    let bind = network.advance(&carried, now, (1, b"c"), |form| {
        form.rec = Some(rec.signed_bytes());
        form.owner = Some(*by.public().as_bytes());
    });
    for advance in [turn, bind] {
        ledger.apply(now, advance.clone()).unwrap();
        let head = new.head(&ledger, now, &[0, 1]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&advance, &head).await;
    }
    for (name, by) in [("a", 1), ("c", 3)] {
        let found = asker.resolve(name).await;
        assert_eq!(found.status, Status::Bound);
        assert_eq!(found.node(), Some(owner(by).public().node_id()), "{name}");
    }
    assert_eq!(asker.trust.sets().len(), 2);
    // Without the maintainers' keys, a reader follows nobody.
    let bytes = asker.get(client::alias_request(&alias("c"))).await.unwrap();
    let strangers = Network::new(3, 6).genesis();
    let mut other = client::Trust::new(&strangers);
    assert!(client::resolved(&bytes, &alias("c"), &mut other, now).is_err());

    // A signer without a network signs what comes next, by the proofs in the claim.
    let bytes = asker
        .get(client::history_request(&alias("c")))
        .await
        .unwrap();
    let history = client::history(&bytes, &alias("c"), &mut asker.trust).unwrap();
    let renewed = AliasRecord::bind(alias("c"), &owner(3), 2, now_ms());
    let claim = Claim {
        record: Finalized::new(renewed, owner(3).public()),
        history: history.into_iter().map(|(_, proof)| proof).collect(),
        rotations: asker.trust.rotations().to_vec(),
    };
    let read = Claim::from_bytes(&claim.to_bytes()).unwrap();
    let known = read.ledger(&network.genesis()).unwrap();
    assert_eq!(known.last_seq(&alias("c")), 1);
    let mut finalized = read.record.clone();
    for signer in &new.signers[..2] {
        let mut signer = Signer::new(signer.clone(), Memory::default());
        let signed = signer.sign_record(now_ms(), &known, &read.record);
        finalized.add(signed.unwrap().stored());
    }
    let mut gone = Signer::new(network.signers[0].clone(), Memory::default());
    let refused = gone.sign_record(now_ms(), &known, &read.record);
    assert_eq!(refused.err(), Some(Refusal::NotSigner));
    let record = finalized.to_bytes().into();
    ledger
        .apply(now_ms(), bytes::Bytes::clone(&record))
        .unwrap();
    let head = new.head(&ledger, now_ms(), &[1, 2]);
    asker.make_final(&record, &head).await;
    assert_eq!(asker.resolve("c").await.seq(), 2);
    node.stop().await;
}
