//! Accounts whose journal fails during a commit.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use betanet_journal::{
    Answer, Batch, Entry, Error, Facts, Failure, Journal, Lead, MemoryStore, Parts, Record,
    Restored, Snapshot,
};
use betanet_runtime::SessionHandle;
use betanet_voucher_service::accounts::{
    AccountService, AccountSettings, AccountsRunning, Peers, PeersFuture,
};
use betanet_wire::{ChargeTo, NodeId};
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::world::identity;

const PEER: NodeId = NodeId([7; 20]);

/// A peer with a record, which is never reached.
struct Away;

impl Peers for Away {
    fn known(&self) -> PeersFuture<'_, BTreeSet<NodeId>> {
        Box::pin(std::future::ready([PEER].into()))
    }

    fn session(&self, _: NodeId) -> PeersFuture<'_, Option<SessionHandle>> {
        Box::pin(std::future::ready(None))
    }
}

/// Says once of a commit that its outcome is unknown.
struct Cut {
    inner: Box<dyn Journal>,
    armed: AtomicBool,
    /// Whether that commit is made.
    commits: bool,
    /// Tells that it has come.
    came: Semaphore,
    /// Lets it go on.
    goes: Semaphore,
}

impl Journal for Cut {
    fn lead(&self) -> Answer<'_, Lead> {
        self.inner.lead()
    }
    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64> {
        Box::pin(async move {
            if records.is_empty() || !self.armed.swap(false, Ordering::SeqCst) {
                return self.inner.append(epoch, records).await;
            }
            self.came.add_permits(1);
            self.goes.acquire().await.unwrap().forget();
            if self.commits {
                self.inner.append(epoch, records).await?;
            }
            Err(Error::Unknown {
                source: Failure::from("the cable was cut"),
            })
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

async fn start(
    store: &MemoryStore,
    every: Duration,
    commits: bool,
) -> (AccountService, AccountsRunning, Arc<Cut>) {
    let settings = AccountSettings {
        every,
        ..AccountSettings::default()
    };
    let journal = Arc::new(Cut {
        inner: Box::new(store.open("one")),
        armed: AtomicBool::new(false),
        commits,
        came: Semaphore::new(0),
        goes: Semaphore::new(0),
    });
    let service = AccountService::new(identity(41), settings);
    let cut = Arc::clone(&journal);
    let running = service.start(journal, Arc::new(Away)).await.unwrap();
    running.leads().await;
    (service, running, cut)
}

fn count(service: &AccountService) {
    service.meter().given(&PEER, ChargeTo::Unknown, 100);
    service.meter().taken(&PEER, ChargeTo::Unknown, 30);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_counted_once() {
    let store = MemoryStore::new();
    let (service, running, cut) = start(&store, Duration::from_secs(3_600), true).await;
    cut.goes.add_permits(1);
    cut.armed.store(true, Ordering::SeqCst);
    count(&service);
    assert!(running.settle().await.is_err());
    while running.settle().await.is_err() {
        running.leads().await;
    }
    let view = running.view().await.unwrap();
    assert_eq!((view.given.0, view.taken.0), (100, 30));
    // What comes later is counted too.
    count(&service);
    running.settle().await.unwrap();
    running.stop().await;
    let (_, running, _) = start(&store, Duration::from_secs(3_600), true).await;
    let view = running.view().await.unwrap();
    assert_eq!((view.given.0, view.taken.0), (200, 60));
    running.stop().await;
}

#[tokio::test]
async fn a_clean_stop_during_a_write_loses_no_count() {
    let store = MemoryStore::new();
    let (service, running, cut) = start(&store, Duration::from_millis(20), false).await;
    cut.armed.store(true, Ordering::SeqCst);
    count(&service);
    cut.came.acquire().await.unwrap().forget();
    // The counts are out of memory, and their commit will fail.
    let mut stop = Box::pin(running.stop());
    assert!(stop.as_mut().now_or_never().is_none());
    cut.goes.add_permits(1);
    stop.await;
    let (_, running, _) = start(&store, Duration::from_secs(3_600), false).await;
    let view = running.view().await.unwrap();
    assert_eq!((view.given.0, view.taken.0), (100, 30));
    running.stop().await;
}
