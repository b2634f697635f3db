//! What is open, within its bound, and what became of settlements.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_tokenomics::Id;
use tokio::time::Instant;

/// Time in which the journal has what was found covered, or never will.
const COMING: Duration = Duration::from_secs(60);

/// Tasks and bids that are not settled, by their reservations.
#[derive(Debug, Default)]
struct Open {
    /// Those in the journal.
    known: BTreeSet<Id>,
    /// Those that were found covered and are not in the journal yet, with the time of the finding.
    coming: BTreeMap<Id, Instant>,
}

/// Counts of an escrow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    open: Mutex<Open>,
    pub(crate) sent: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) expired: AtomicU64,
    /// Records of the ledger that were searched for settlements of reservations that are gone.
    pub(crate) searched: AtomicU64,
    /// Evidence of wrong results that was sent, and that did not reach the ledger.
    pub(crate) accused: AtomicU64,
    pub(crate) unaccused: AtomicU64,
    /// Tries for which too few coordinators signed, and settlements that wait for signatures now.
    pub(crate) unsigned: AtomicU64,
    pub(crate) lacking: AtomicU64,
    /// Since when the oldest one that is due waits, in UNIX ms; 0 without one.
    pub(crate) oldest_ms: AtomicU64,
    /// Index of the last record of the fog's journal that was read.
    pub(crate) read: AtomicU64,
    /// Whether the task that pays has ended.
    pub(crate) ended: AtomicBool,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tasks and bids that are open, or about to be.
    pub(crate) fn len(&self) -> usize {
        let open = self.open();
        open.known.len() + open.coming.len()
    }

    /// Whether this one is open, or about to be.
    pub(crate) fn has(&self, id: &Id) -> bool {
        let open = self.open();
        open.known.contains(id) || open.coming.contains_key(id)
    }

    /// Whether these may be open, or are.
    pub(crate) fn has_room(&self, ids: &[Id], most: usize) -> bool {
        let more = ids.iter().filter(|id| !self.has(id)).count();
        more == 0 || self.len().saturating_add(more) <= most
    }

    /// Counts one that is covered, if there is room.
    pub(crate) fn admit(&self, id: Id, most: usize) -> bool {
        let mut open = self.open();
        if open.known.contains(&id) {
            return true;
        }
        let counted = open.known.len() + open.coming.len();
        if counted >= most && !open.coming.contains_key(&id) {
            return false;
        }
        open.coming.insert(id, Instant::now());
        true
    }

    /// This one was refused after it was counted.
    pub(crate) fn withdraw(&self, id: &Id) {
        self.open().coming.remove(id);
    }

    /// The journal has this one.
    pub(crate) fn opened(&self, id: Id) {
        let mut open = self.open();
        open.coming.remove(&id);
        open.known.insert(id);
    }

    /// This one is settled.
    pub(crate) fn closed(&self, id: &Id) {
        self.open().known.remove(id);
    }

    /// The journal begins anew.
    pub(crate) fn clear(&self) {
        self.open().known.clear();
    }

    /// The journal was read to its end, from this moment on: what should be in it by then and is not, was refused.
    pub(crate) fn read_since(&self, began: Instant) {
        self.open().coming.retain(|_, at| began < *at + COMING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_admitted_counts_until_it_is_settled_or_was_refused() {
        let tally = Tally::default();
        assert!(tally.admit([1; 16], 2) && tally.admit([2; 16], 2));
        assert!(!tally.has_room(&[[3; 16]], 2) && !tally.admit([3; 16], 2));
        // A repeat is no other one.
        assert!(tally.has_room(&[[1; 16], [2; 16]], 2) && tally.admit([1; 16], 2));
        tally.opened([1; 16]);
        assert!(tally.admit([1; 16], 2) && !tally.admit([3; 16], 2));
        assert_eq!(tally.len(), 2);
        // The second one may still come.
        tally.read_since(Instant::now());
        assert!(!tally.admit([3; 16], 2));
        tokio::time::advance(COMING).await;
        tally.read_since(Instant::now());
        assert!(tally.admit([3; 16], 2));
        assert!(!tally.admit([4; 16], 2));
        tally.closed(&[1; 16]);
        assert!(tally.admit([4; 16], 2));
        tally.withdraw(&[4; 16]);
        assert!(tally.admit([5; 16], 2));
    }
}
