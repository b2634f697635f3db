//! Blocking disk work on separate threads. Limits the number overall and per party charged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use betanet_wire::ChargeTo;
use tokio::sync::Semaphore;

/// Maximum number of concurrent threads of one folder.
const AT_ONCE: usize = 64;
/// Maximum number of those that work for one party charged.
const AT_ONCE_A_PAYER: usize = 16;
/// Number of known parties at which those without work are forgotten.
const PAYERS: usize = 256;

/// The disk work of one folder.
#[derive(Debug)]
pub(super) struct Disk {
    all: Arc<Semaphore>,
    payers: Mutex<BTreeMap<ChargeTo, Weak<Semaphore>>>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(AT_ONCE)),
            payers: Mutex::default(),
        }
    }
}

/// The disk work of one party charged.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// The work was not completed: it panicked, or the process is ending.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the disk's work was not done")]
pub(super) struct Undone;

impl Disk {
    pub(super) fn of(&self, charge: ChargeTo) -> Worker {
        let mut payers = self.payers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = payers.get(&charge).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            if payers.len() >= PAYERS {
                payers.retain(|_, own| own.strong_count() > 0);
            }
            let own = Arc::new(Semaphore::new(AT_ONCE_A_PAYER));
            payers.insert(charge, Arc::downgrade(&own));
            own
        });
        Worker {
            all: Arc::clone(&self.all),
            own,
        }
    }
}

impl Worker {
    /// Runs `work` on another thread, which it occupies even after nobody waits for the result.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Undone> {
        let own = self.own.acquire_owned().await.map_err(|_| Undone)?;
        let all = self.all.acquire_owned().await.map_err(|_| Undone)?;
        let working = tokio::task::spawn_blocking(move || {
            let _places = (own, all);
            work()
        });
        working.await.map_err(|_| Undone)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_has_64_threads_and_16_of_a_payer() {
        let disk = Disk::default();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let (began, begun) = mpsc::channel();
        let mut waiting = Vec::new();
        for n in 0..8_u8 {
            for _ in 0..20 {
                let worker = disk.of(ChargeTo::V4([192, 0, 2, n]));
                let (released, began) = (Arc::clone(&released), began.clone());
                waiting.push(tokio::spawn(worker.run(move || {
                    began.send(n).unwrap();
                    let _ = released.lock().map(|r| r.recv());
                })));
            }
        }
        let mut of_payer = [0; 8];
        for _ in 0..AT_ONCE {
            while disk.all.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            let n = begun.recv().unwrap();
            of_payer[usize::from(n)] += 1;
        }
        assert!(
            of_payer.iter().all(|n| *n <= AT_ONCE_A_PAYER),
            "{of_payer:?}"
        );
        // An asker that leaves does not cause more threads.
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::task::yield_now().await;
        assert_eq!(disk.all.available_permits(), 0);
        assert!(begun.try_recv().is_err());
        drop(release);
    }

    #[test]
    fn payers_without_work_are_forgotten() {
        let disk = Disk::default();
        for n in 0..=u16::MAX {
            let [a, b] = n.to_be_bytes();
            drop(disk.of(ChargeTo::V4([10, 0, a, b])));
        }
        assert!(disk.payers.lock().unwrap().len() <= PAYERS);
    }
}
