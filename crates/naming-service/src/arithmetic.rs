//! Verification of records outside the state, on all processors.

use std::sync::{Mutex, MutexGuard, PoisonError};

use betanet_log::Signers;
use betanet_naming::gossip::{Done, Work};
use betanet_naming::{Verified, Verifier};
use bytes::Bytes;
use tokio::sync::Semaphore;

/// Most threads that verify at once.
const THREADS_MAX: usize = 16;

/// Number of processors, as far as they are used.
pub(crate) fn threads() -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    all.min(THREADS_MAX)
}

/// The turns of threads that verify, and the verifiers that they keep.
#[derive(Debug)]
pub(crate) struct Arithmetic {
    turns: Semaphore,
    /// At most one for each turn.
    idle: Mutex<Vec<Verifier>>,
}

impl Arithmetic {
    pub(crate) fn new() -> Self {
        Self {
            turns: Semaphore::new(threads()),
            idle: Mutex::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Verifier>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A verifier for this set. Its tables are computed once for each set.
    fn take(&self, signers: &Signers) -> Verifier {
        let kept = self.idle().pop().filter(|v| v.signers() == signers);
        kept.unwrap_or_else(|| {
            let fits = |v: &&Verifier| v.signers() == signers;
            let other = self.idle().iter().find(fits).cloned();
            other.unwrap_or_else(|| Verifier::new(signers, usize::MAX))
        })
    }

    fn give_back(&self, verifier: Verifier) {
        let mut idle = self.idle();
        // Of another set, they are of no use any more.
        idle.retain(|v| v.signers() == verifier.signers());
        if idle.len() < threads() {
            idle.push(verifier);
        }
    }

    /// Runs a work of the gossip outside the executor's threads. `None` if its thread ended.
    pub(crate) async fn run(self: std::sync::Arc<Self>, work: Work) -> Option<Done> {
        let _turn = self.turns.acquire().await.ok()?;
        let this = std::sync::Arc::clone(&self);
        let run = move || {
            let mut kept = Some(this.take(&work.signers));
            let done = work.run_with(&mut kept);
            if let Some(verifier) = kept {
                this.give_back(verifier);
            }
            done
        };
        tokio::task::spawn_blocking(run).await.ok()
    }

    /// Verifies records outside the executor's threads.
    pub(crate) async fn verify(
        self: std::sync::Arc<Self>,
        signers: Signers,
        records: Vec<Bytes>,
    ) -> Option<Vec<Verified>> {
        let work = Work {
            exchange: 0,
            from: 0,
            records,
            signers,
        };
        Some(self.run(work).await?.records)
    }
}

/// Verifies many records on all processors, in their order, and waits for it.
pub(crate) fn verify_now(verifier: &Verifier, records: &[Bytes]) -> Vec<Verified> {
    let part = records.len().div_ceil(threads()).max(1);
    std::thread::scope(|scope| {
        let verify = |part| {
            let mut verifier = verifier.clone();
            scope.spawn(move || verifier.verify_all(part))
        };
        let threads: Vec<_> = records.chunks(part).map(verify).collect();
        let parts = threads.into_iter().zip(records.chunks(part));
        let done = parts.flat_map(|(thread, part)| {
            let again = |_| verifier.clone().verify_all(part);
            thread.join().unwrap_or_else(again)
        });
        done.collect()
    })
}
