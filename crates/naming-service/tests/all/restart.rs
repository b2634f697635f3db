use betanet_naming::Status;
use betanet_naming::testkit::{Network, owner};

use super::world::{Asker, Ledger, now_ms};

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_and_waiting_records_are_rebuilt_from_the_journal_and_its_snapshots() {
    let home = tempfile::tempdir().unwrap();
    let mut network = Network::new(3, 0);
    let mut ledger = network.ledger();
    let mut size = 0;
    for life in 0..4_u16 {
        let node = Ledger::alone(home.path(), &network, None).await;
        node.running.reaches(size).await;
        let mut asker = Asker::of(&node.peer, &network).await;
        for n in 0..5 {
            let ts = now_ms();
            let record = network.bound(&format!("n{life}-{n}"), &owner(n), 1, ts);
            ledger.apply(ts, record.clone()).unwrap();
            let head = network.head(&ledger, ts, &[0, 1]);
            ledger.accept(head.clone()).unwrap();
            asker.make_final(&record, &head).await;
            size += 1;
        }
        let head = asker.newest().await.head.unwrap();
        assert_eq!(
            (head.head().size, head.head().root),
            (size, ledger.log().root())
        );
        for n in 0..5 {
            let found = asker.resolve(&format!("n0-{n}")).await;
            assert_eq!(found.node(), Some(owner(n).public().node_id()));
        }
        // A record that waits is not lost.
        let waits = network.bound(&format!("w{life}"), &owner(9), 1, now_ms());
        asker.post("records", &waits).await.unwrap();
        assert_eq!(asker.newest().await.waiting, 1);
        if life % 2 == 0 {
            drop(node.running);
            node.gateway.shutdown().await;
        } else {
            node.stop().await;
        }
        let again = Ledger::alone(home.path(), &network, None).await;
        again.running.reaches(size).await;
        let mut asker = Asker::of(&again.peer, &network).await;
        let newest = asker.newest().await;
        assert_eq!(newest.waiting, 1, "life {life}");
        let head_before = newest.head.unwrap();
        assert_eq!(head_before.head().root, head.head().root);
        assert_eq!(
            asker.resolve(&format!("w{life}")).await.status,
            Status::Unknown
        );
        let ts = now_ms();
        ledger.apply(ts, waits).unwrap();
        let head = network.head(&ledger, ts, &[1, 2]);
        ledger.accept(head.clone()).unwrap();
        asker.post("head", &head.to_bytes()).await.unwrap();
        size += 1;
        assert_eq!(
            asker.resolve(&format!("w{life}")).await.status,
            Status::Bound
        );
        assert_eq!(asker.newest().await.waiting, 0);
        again.stop().await;
    }
    // A rotation, and a reader that follows it from the first signers.
    let node = Ledger::alone(home.path(), &network, None).await;
    let mut asker = Asker::of(&node.peer, &network).await;
    let rotation = network.rotation(&[7, 8, 9], 1, &[0, 1]);
    let ts = now_ms();
    ledger.apply(ts, rotation.clone()).unwrap();
    network.signers = [7, 8, 9].map(betanet_naming::testkit::identity).into();
    let head = network.head(&ledger, ts, &[0, 1]);
    ledger.accept(head.clone()).unwrap();
    asker.make_final(&rotation, &head).await;
    let ts = now_ms();
    let record = network.bound("after", &owner(3), 1, ts);
    ledger.apply(ts, record.clone()).unwrap();
    let head = network.head(&ledger, ts, &[1, 2]);
    asker.make_final(&record, &head).await;
    assert_eq!(asker.resolve("after").await.status, Status::Bound);
    assert_eq!(asker.resolve("n0-0").await.status, Status::Bound);
    assert_eq!(asker.trust.sets().len(), 2);
    node.stop().await;
}
