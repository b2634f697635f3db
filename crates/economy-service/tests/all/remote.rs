use std::sync::Arc;

use betanet_economy_service::client::Trust;
use betanet_economy_service::rows::{Account, id_record, table};
use betanet_economy_service::{Remote, RemoteError};
use betanet_keys::Peer;
use betanet_runtime::Node;
use betanet_tokenomics::{Code, Envelope};

use super::world::{Asker, Books, FOG, account, genesis, journal, payment, settings};

fn remote(genesis: &[u8], peers: &[&Peer]) -> Remote {
    let node = Arc::new(Node::client().unwrap());
    let peers = peers.iter().map(|p| (*p).clone()).collect();
    Remote::new(node, peers, Trust::new(genesis).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_reads_proven_records_and_rows_and_refuses_the_rest() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let genesis = genesis();
    let leader = Books::leader(home.path(), &genesis, &[11]).await;
    let asker = Asker::of(&leader.peer, &genesis).await;
    let sent = payment(&asker.trust, 1, 0, 2, FOG);
    let alone = remote(&genesis, &[&leader.peer]);
    // Signed by one of two, nothing is final.
    let answer = alone.submit(&sent).await.unwrap().answer;
    assert_eq!((answer.code, answer.seq), (Code::Ok, 1));
    assert!(matches!(alone.record(1).await, Err(RemoteError::NoHead)));
    assert!(matches!(alone.rows(&[]).await, Err(RemoteError::NoHead)));

    let mut following = settings(&genesis, &[12]);
    following.leaders = vec![leader.peer.clone()];
    let follower = Books::start(other.path(), following, journal(other.path())).await;
    leader.running.reaches(2).await;
    let record = alone.record(1).await.unwrap().unwrap();
    let read = Envelope::from_bytes(&record.req).unwrap();
    assert_eq!(read.request.digest(), sent.request.digest());
    assert_eq!(alone.record(9).await.unwrap(), None, "no head covers it");
    let keys = [
        (table::ACCOUNTS, account(1).0.to_vec()),
        (table::ACCOUNTS, account(9).0.to_vec()),
        (table::IDS, sent.request.id.to_vec()),
    ];
    let (head, rows) = alone.rows(&keys).await.unwrap();
    assert!(head.head().size >= 2 && alone.newest().is_some());
    assert_eq!(Account::read(rows[0].as_deref().unwrap()).unwrap().nonce, 1);
    assert_eq!(rows[1], None);
    assert_eq!(id_record(rows[2].as_deref().unwrap()), Ok(1));

    // A follower takes no requests, and proves as well as the leader.
    let two = remote(&genesis, &[&follower.peer, &leader.peer]);
    follower.running.reaches(2).await;
    let next = payment(&asker.trust, 1, 1, 2, FOG);
    assert_eq!(two.submit(&next).await.unwrap().answer.code, Code::Ok);
    assert!(two.record(1).await.unwrap().is_some());
    let alone = remote(&genesis, &[&follower.peer]);
    let refused = alone.submit(&next).await;
    assert!(
        matches!(refused, Err(RemoteError::Client(_))),
        "{refused:?}"
    );

    // Another genesis is named as the cause.
    let foreign = super::world::genesis();
    let wrong = remote(&foreign, &[&leader.peer]).head().await;
    assert!(matches!(wrong, Err(RemoteError::OtherLedger)), "{wrong:?}");
    follower.stop().await;
    leader.stop().await;
    // What is gone is an error for now.
    assert!(two.record(1).await.is_err() && two.head().await.is_err());
}
