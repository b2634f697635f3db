use betanet_naming::testkit::Network;
use betanet_naming_service::client;

use super::world::{Asker, signers};

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_record_is_final_on_all_three_nodes_and_proven() {
    let home = tempfile::tempdir().unwrap();
    let network = Network::new(3, 6);
    let all = signers(home.path(), &network, &[0, 1, 2]).await;
    let subject = ("EconomyHead", &[7; 32][..]);
    // One after another, each submitted to another node. The second replaces the first.
    for (size, (n, seq)) in (1..).zip([(2, 0), (0, 1), (1, 5)]) {
        let asker = Asker::of(&all[n].peer, &network).await;
        let record = network.registered(subject.0, subject.1, seq);
        asker.post("records", &record).await.unwrap();
        for node in &all {
            node.running.reaches(size).await;
            let mut asker = Asker::of(&node.peer, &network).await;
            let request = client::registry_request(subject.0, subject.1);
            let bytes = asker.get(request).await.unwrap();
            let found = client::registered(&bytes, subject, &mut asker.trust);
            assert_eq!(found.unwrap().unwrap().to_bytes(), record);
        }
    }
    for node in all {
        node.stop().await;
    }
}
