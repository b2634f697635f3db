use betanet_keys::Common;
use betanet_naming::testkit::Network;
use betanet_naming_service::client;
use betanet_wire::cbor;

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
    // All records of a type, by their keys; of another type there are none.
    let asker = Asker::of(&all[0].peer, &network).await;
    let other = network.registered(subject.0, b"another", 1);
    asker.post("records", &other).await.unwrap();
    for node in &all {
        node.running.reaches(4).await;
        let mut asker = Asker::of(&node.peer, &network).await;
        for (ty, keys) in [(subject.0, &[subject.1, b"another"][..]), ("Test", &[])] {
            let bytes = asker.get(client::registry_list_request(ty)).await.unwrap();
            let list = client::registry(&bytes, ty, &mut asker.trust).unwrap();
            let read = |e: &betanet_keys::Envelope| {
                let common: Common<'_> = cbor::from_slice(e.record()).unwrap();
                (common.key.to_vec(), common.seq)
            };
            let list: Vec<(Vec<u8>, u64)> = list.iter().map(read).collect();
            let seqs = [5, 1];
            let want: Vec<(Vec<u8>, u64)> = keys
                .iter()
                .zip(seqs)
                .map(|(key, seq)| (key.to_vec(), seq))
                .collect();
            assert_eq!(list, want, "{ty}");
            // By other signers' keys they count for nothing, nor as records of another type.
            let strangers = Network::new(4, 6).genesis();
            let mut strangers = client::Trust::new(&strangers);
            let read = client::registry(&bytes, ty, &mut strangers);
            assert!(read.is_err(), "{ty}");
            let read = client::registry(&bytes, "Else", &mut asker.trust);
            assert_eq!(read.is_ok(), keys.is_empty(), "{ty}");
        }
    }
    for node in all {
        node.stop().await;
    }
}
