use betanet_economy_service::verify;
use betanet_tokenomics::Code;

use super::world::{Asker, Books, FOG, genesis, payment};

/// Lives of a node, every other of which ends without a farewell. The journal keeps a snapshot every five records.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_is_rebuilt_from_the_journal_and_its_snapshots() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let (mut size, mut last) = (1, None);
    for life in 0..4 {
        let books = Books::leader(home.path(), &genesis, &[11, 12]).await;
        let asker = Asker::of(&books.peer, &genesis).await;
        books.running.reaches(size).await;
        if let Some(last) = last {
            assert_eq!(*asker.head().await.head(), last);
        }
        for _ in 0..7 {
            let sent = payment(&asker.trust, 1, size - 1, 2, FOG);
            let (_, body) = asker.send(&sent).await;
            assert_eq!((body.answer.code, body.answer.seq), (Code::Ok, size));
            size += 1;
            // What was accepted before a restart is known after it.
            let (_, again) = asker.send(&sent).await;
            assert_eq!(again.answer.seq, size - 1);
        }
        books.running.reaches(size).await;
        assert_eq!(asker.fog(2).await, u128::from((1_000 + size - 1) * FOG));
        let head = asker.head().await;
        last = Some(*head.head());
        let journal = asker.get("journal?after=0&n=1000").await.good().unwrap();
        let verified = verify(&journal, Some(&genesis), vec![head]).unwrap();
        assert_eq!(verified.covered, size);
        if life % 2 == 0 {
            drop(books.running);
            books.gateway.shutdown().await;
        } else {
            books.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_ledger_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let first = genesis();
    let books = Books::leader(home.path(), &first, &[11, 12]).await;
    books.running.reaches(1).await;
    books.stop().await;
    let mut other = first.clone();
    let at = other.windows(6).position(|w| w == b"a town").unwrap();
    other[at] = b'b';
    let settings = super::world::settings(&other, &[11]);
    let service =
        betanet_economy_service::EconomyService::new(super::world::identity(5), settings).unwrap();
    let error = service.start(super::world::journal(home.path())).await;
    assert!(matches!(
        error.unwrap_err(),
        betanet_economy_service::Error::Durable(_)
    ));
}
