//! A leader that is deposed, and one whose commit fails after it was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use betanet_economy_service::client;
use betanet_journal::{
    Answer, Batch, Entry, Error, Facts, Failure, Journal, Lead, Parts, Record, Restored, Snapshot,
};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_store::State;
use betanet_tokenomics::Code;

use super::world::{Asker, Books, FOG, genesis, payment, settings};

/// Tells once of a commit that its outcome is unknown, after it was made.
struct Cut {
    inner: SqliteJournal,
    armed: AtomicBool,
}

impl Journal for Cut {
    fn lead(&self) -> Answer<'_, Lead> {
        self.inner.lead()
    }
    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64> {
        Box::pin(async move {
            let cuts = records.iter().any(|r| r.kind.as_str() == "eco.record");
            let done = self.inner.append(epoch, records).await?;
            match cuts && self.armed.swap(false, Ordering::SeqCst) {
                true => Err(Error::Unknown {
                    source: Failure::from("the cable was cut"),
                }),
                false => Ok(done),
            }
        })
    }
    fn resign(&self, epoch: u64) -> Answer<'_, ()> {
        self.inner.resign(epoch)
    }
    fn read(&self, after: u64, batch: Batch) -> Answer<'_, Vec<Entry>> {
        self.inner.read(after, batch)
    }
    fn wait(&self, after: u64) -> Answer<'_, u64> {
        self.inner.wait(after)
    }
    fn save(&self, epoch: u64, at: u64, part: u32, body: Vec<u8>) -> Answer<'_, ()> {
        self.inner.save(epoch, at, part, body)
    }
    fn finish(&self, epoch: u64, at: u64, parts: u32) -> Answer<'_, Snapshot> {
        self.inner.finish(epoch, at, parts)
    }
    fn snapshots(&self) -> Answer<'_, Vec<Snapshot>> {
        self.inner.snapshots()
    }
    fn load(&self, at: u64, part: u32) -> Answer<'_, Vec<u8>> {
        self.inner.load(at, part)
    }
    fn restore(&self, snapshot: Snapshot, parts: Parts) -> Answer<'_, Restored> {
        self.inner.restore(snapshot, parts)
    }
    fn retain(&self, epoch: u64, keep: usize) -> Answer<'_, ()> {
        self.inner.retain(epoch, keep)
    }
    fn facts(&self) -> Answer<'_, Facts> {
        self.inner.facts()
    }
}

fn open(home: &std::path::Path) -> (Arc<State>, SqliteJournal) {
    let state = Arc::new(State::open(&home.join("economy")).unwrap());
    let journal = SqliteJournal::open(&state, SqliteSettings::default()).unwrap();
    (state, journal)
}

/// Sends an envelope until it is answered, and tells how often that took.
async fn until_answered(
    books: &Books,
    asker: &Asker,
    envelope: &betanet_tokenomics::Envelope,
) -> (u32, u64) {
    for tries in 0..2_000 {
        books.running.leads().await;
        let replied = asker.post("request", envelope.to_bytes()).await;
        if replied.status != 503 {
            let body = client::answer(&replied, &asker.peer.key, envelope).unwrap();
            assert_eq!(body.answer.code, Code::Ok);
            return (tries, body.answer.seq);
        }
    }
    panic!("no answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_happens_once() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let (_state, inner) = open(home.path());
    let journal = Arc::new(Cut {
        inner,
        armed: AtomicBool::new(false),
    });
    let kept: Arc<dyn Journal> = Arc::clone(&journal) as _;
    let books = Books::start(home.path(), settings(&genesis, &[11, 12]), kept).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(1).await;
    journal.armed.store(true, Ordering::SeqCst);
    let sent = payment(&asker.trust, 1, 0, 2, 7 * FOG);
    let (tries, seq) = until_answered(&books, &asker, &sent).await;
    assert!(tries > 0, "the first attempt has no answer");
    assert_eq!(seq, 1);
    books.running.reaches(2).await;
    assert_eq!(asker.fog(2).await, u128::from(1_007 * FOG));
    assert_eq!(asker.head().await.head().size, 2);
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_answers_nothing_that_is_not_in_the_journal() {
    let home = tempfile::tempdir().unwrap();
    let genesis = genesis();
    let (state, first) = open(home.path());
    let books = Books::start(home.path(), settings(&genesis, &[11, 12]), Arc::new(first)).await;
    let asker = Asker::of(&books.peer, &genesis).await;
    books.running.reaches(1).await;
    // Another handle begins an epoch, as a process that ignores the folder's lock would.
    let second = SqliteJournal::open(&state, SqliteSettings::default()).unwrap();
    assert!(matches!(second.lead().await.unwrap(), Lead::Leads(_)));
    drop(second);
    let sent = payment(&asker.trust, 1, 0, 2, 7 * FOG);
    let (tries, seq) = until_answered(&books, &asker, &sent).await;
    assert!(tries > 0, "the deposed leader has no answer");
    assert_eq!(seq, 1);
    books.running.reaches(2).await;
    assert_eq!(asker.fog(2).await, u128::from(1_007 * FOG));
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shares_the_journal_names_the_leader_and_takes_over() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let genesis = genesis();
    let store = betanet_journal::MemoryStore::new();
    let set = || settings(&genesis, &[11, 12]);
    let first = Books::start(home.path(), set(), Arc::new(store.open("the first"))).await;
    let second = Books::begin(other.path(), set(), Arc::new(store.open("the second"))).await;
    let (asker, late) = (
        Asker::of(&first.peer, &genesis).await,
        Asker::of(&second.peer, &genesis).await,
    );
    let sent = payment(&asker.trust, 1, 0, 2, 7 * FOG);
    let refused = async {
        loop {
            let refused = late.post("request", sent.to_bytes()).await;
            assert_eq!(refused.status, 503);
            // At first it reads the journal, and knows no leader.
            if refused.location.is_some() {
                return refused;
            }
        }
    };
    assert_eq!(refused.await.location.as_deref(), Some("the first"));
    assert_eq!(late.get("head").await.status, 503);
    assert_eq!(until_answered(&first, &asker, &sent).await, (0, 1));
    first.running.reaches(2).await;
    first.stop().await;
    second.running.leads().await;
    second.running.reaches(2).await;
    assert_eq!(late.fog(2).await, u128::from(1_007 * FOG));
    // What the first accepted, the second knows.
    assert_eq!(until_answered(&second, &late, &sent).await, (0, 1));
    second.stop().await;
}
