use betanet_naming::DOMAIN;
use betanet_naming::testkit::{Network, owner};

use super::world::{Asker, Idle, Ledger, now_ms};

/// Makes one record final on a node by a head that the first two signers sign, whatever else they signed.
async fn view(node: &Ledger, network: &Network, name: &str) {
    let asker = Asker::of(&node.peer, network).await;
    let ts = now_ms();
    let record = network.bound(name, &owner(1), 1, ts);
    let mut ledger = network.ledger();
    ledger.apply(ts, record.clone()).unwrap();
    let head = network.head(&ledger, ts, &[0, 1]);
    asker.make_final(&record, &head).await;
    node.running.reaches(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signers_with_two_views_are_caught_by_two_nodes_that_gossip_and_the_evidence_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let (one, two) = (home.path().join("1"), home.path().join("2"));
    let first = Ledger::alone(&one, &network, None).await;
    view(&first, &network, "a").await;
    let second = Ledger::alone(&two, &network, None).await;
    view(&second, &network, "b").await;
    // Only then does it learn of the first.
    second.stop().await;
    let mut idle = Idle::new(&two, &network, None).await;
    idle.names.know(vec![first.peer.clone()], Vec::new());
    let second = idle.start(&two).await;
    first.running.splits().await;
    second.running.splits().await;
    for node in [&first, &second] {
        let mut asker = Asker::of(&node.peer, &network).await;
        let newest = asker.newest().await;
        let split = newest.split.unwrap();
        assert_ne!(split.older().head().root, split.newer().head().root);
        let set = network.genesis().signers;
        let culprits = split.culprits(DOMAIN, &set, &set);
        let mut of = [*network.signers[0].public(), *network.signers[1].public()];
        of.sort_unstable();
        assert_eq!(culprits, of);
        // Nothing is taken any more; what was final still resolves.
        let record = network.bound("c", &owner(3), 1, now_ms());
        let refused = super::world::refusal(asker.post("records", &record).await);
        assert_eq!(refused.status, 503);
        assert!(
            node.gateway
                .faults()
                .await
                .iter()
                .any(|f| f.what == "names_split")
        );
    }
    let name = ["a", "b"];
    let mut asker = Asker::of(&first.peer, &network).await;
    assert!(asker.resolve(name[0]).await.node().is_some());
    // The evidence outlasts a crash.
    drop(second.running);
    second.gateway.shutdown().await;
    let again = Ledger::alone(&two, &network, None).await;
    again.running.splits().await;
    let mut asker = Asker::of(&again.peer, &network).await;
    assert!(asker.newest().await.split.is_some());
    assert!(asker.resolve(name[1]).await.node().is_some());
    again.stop().await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_late_gets_all_records_by_gossip() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 0);
    let first = Ledger::alone(&home.path().join("1"), &network, None).await;
    let asker = Asker::of(&first.peer, &network).await;
    let mut ledger = network.ledger();
    for n in 0..20_u16 {
        let ts = now_ms();
        let record = network.bound(&format!("n{n}"), &owner(n), 1, ts);
        ledger.apply(ts, record.clone()).unwrap();
        let head = network.head(&ledger, ts, &[0, 2]);
        ledger.accept(head.clone()).unwrap();
        asker.make_final(&record, &head).await;
    }
    let late = home.path().join("2");
    let mut idle = Idle::new(&late, &network, None).await;
    idle.names.know(vec![first.peer.clone()], Vec::new());
    let second = idle.start(&late).await;
    second.running.reaches(20).await;
    let mut asker = Asker::of(&second.peer, &network).await;
    assert_eq!(
        asker.resolve("n7").await.node(),
        Some(owner(7).public().node_id())
    );
    // And as the journal has it.
    second.stop().await;
    let again = Ledger::alone(&late, &network, None).await;
    again.running.reaches(20).await;
    let mut asker = Asker::of(&again.peer, &network).await;
    let head = asker.newest().await.head.unwrap();
    assert_eq!(head.head().root, ledger.log().root());
    again.stop().await;
    first.stop().await;
}
