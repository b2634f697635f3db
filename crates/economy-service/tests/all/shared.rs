//! Two leaders of a ledger over one PostgreSQL database: one leads, the other takes over.

use std::sync::Arc;
use std::time::Duration;

use betanet_durable::Role;
use betanet_economy_service::verify;
use betanet_journal::Journal;
use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings as PostgresSettings};
use betanet_tokenomics::Code;

use super::world::{Asker, Books, FOG, genesis, payment, settings};

async fn journal(cluster: &Cluster, name: &str) -> Arc<dyn Journal> {
    let settings = PostgresSettings::new(&cluster.url()).unwrap();
    let settings = settings.with_schema("books_economy").unwrap();
    let journal = PostgresJournal::open(settings.with_leader(name)).await;
    Arc::new(journal.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_leader_has_each_answered_payment_once() {
    let cluster = Cluster::start();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let genesis = genesis();
    let with = || settings(&genesis, &[11, 12]);
    let one = Books::start(homes[0].path(), with(), journal(&cluster, "one").await).await;
    let two = Books::begin(homes[1].path(), with(), journal(&cluster, "two").await).await;
    let followed = async {
        while !matches!(two.running.role(), Role::Follows(leader) if &*leader == "one") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed)
        .await
        .unwrap();
    let asker = Asker::of(&one.peer, &genesis).await;
    let waiting = Asker::of(&two.peer, &genesis).await;
    // Whoever follows takes nothing, and its state has what is committed.
    let first = payment(&asker.trust, 1, 0, 2, FOG);
    assert_eq!(waiting.post("request", first.to_bytes()).await.status, 503);
    let mut sent = vec![first];
    for nonce in 1..20 {
        sent.push(payment(&asker.trust, 1, nonce, 2, FOG));
    }
    let mut places = Vec::new();
    for envelope in &sent {
        let (_, body) = asker.send(envelope).await;
        assert_eq!(body.answer.code, Code::Ok);
        places.push(body.answer.seq);
    }
    // It is cut off while payments are under way: some are answered, some are not.
    let rest: Vec<_> = (20..40)
        .map(|nonce| payment(&asker.trust, 1, nonce, 2, FOG))
        .collect();
    let cut = async {
        for envelope in &rest {
            let (_, body) = asker.send(envelope).await;
            assert_eq!(body.answer.code, Code::Ok);
            places.push(body.answer.seq);
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(60), cut).await;
    drop(one.running);
    let led = tokio::time::timeout(Duration::from_secs(40), two.running.leads());
    led.await.unwrap();
    // All are sent again, in their order: what was answered has the same place, and nothing is paid twice.
    let mut again = Vec::new();
    for envelope in sent.iter().chain(&rest) {
        let (_, body) = waiting.send(envelope).await;
        assert_eq!(body.answer.code, Code::Ok);
        again.push(body.answer.seq);
    }
    assert_eq!(again[..places.len()], places);
    two.running.reaches(41).await;
    assert_eq!(waiting.fog(2).await, u128::from(1_040 * FOG));
    let records = waiting.get("journal?after=0&n=200").await.good().unwrap();
    let verified = verify(&records, Some(&genesis), vec![waiting.head().await]).unwrap();
    assert_eq!((verified.covered, verified.economy.records()), (41, 41));
    // The first comes back, and follows.
    one.gateway.shutdown().await;
    let one = Books::begin(homes[0].path(), with(), journal(&cluster, "one").await).await;
    let followed = async {
        while !matches!(one.running.role(), Role::Follows(leader) if &*leader == "two") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), followed)
        .await
        .unwrap();
    one.stop().await;
    two.stop().await;
}
