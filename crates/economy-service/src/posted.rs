//! What became of heads that were to be posted: for the poster, for those who bring signatures, and for metrics and health.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use betanet_keys::{Envelope, Maintainers};

use crate::anchor::Anchored;

/// Time without a posted head, in ms, after which the node is unhealthy.
const LATE_MS: u64 = 600_000;

/// What became of posts.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    /// Epochs whose head, or a later one's, stands in the ledger of names: the last one and 1.
    pub(crate) epochs: AtomicU64,
    /// Number of records under the newest head that stands there, and its time.
    pub(crate) size: AtomicU64,
    pub(crate) head_ms: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Since when a head is to be posted, in UNIX ms; 0 without one.
    pub(crate) since_ms: AtomicU64,
    /// Why the last try failed; empty if it did not.
    why: Mutex<String>,
    /// The record that is to be posted, with the signatures so far. Each is valid.
    open: Mutex<Option<Envelope>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Posted {
    /// Keeps why the last try failed. Returns whether it is another reason than before.
    pub(super) fn tell(&self, why: &str) -> bool {
        let mut last = lock(&self.why);
        let is_new = *last != why;
        why.clone_into(&mut last);
        is_new
    }

    /// A head stands.
    pub(super) fn stands(&self, head: &Anchored) {
        let epochs = head.epoch.saturating_add(1);
        self.epochs.store(epochs, Ordering::Relaxed);
        let of = head.head.head();
        self.size.store(of.size, Ordering::Relaxed);
        self.head_ms.store(of.ts, Ordering::Relaxed);
        self.since_ms.store(0, Ordering::Relaxed);
        *lock(&self.open) = None;
        self.tell("");
    }

    /// The record with the signatures so far. `sign` adds those of this node to a record that is new.
    pub(super) fn collects(
        &self,
        record: &[u8],
        sign: impl FnOnce(&mut Envelope),
    ) -> Option<Envelope> {
        let mut open = lock(&self.open);
        if open.as_ref().is_none_or(|open| open.record() != record) {
            let mut envelope = Envelope::new(record.to_vec()).ok()?;
            sign(&mut envelope);
            *open = Some(envelope);
        }
        open.clone()
    }

    /// The record that waits for signatures.
    pub(crate) fn open(&self) -> Option<Vec<u8>> {
        lock(&self.open).as_ref().map(Envelope::to_bytes)
    }

    /// Signatures of the record that waits.
    pub(crate) fn signatures(&self) -> u64 {
        let open = lock(&self.open);
        open.as_ref().map_or(0, |open| open.signatures() as u64)
    }

    /// Takes valid signatures of the record that waits. Returns whether there was a new one; `None`: another record waits.
    pub(crate) fn take(&self, mut brought: Envelope, list: &Maintainers) -> Option<bool> {
        let waits = |open: &Option<Envelope>| {
            let open = open.as_ref();
            open.is_some_and(|open| open.record() == brought.record())
        };
        if !waits(&lock(&self.open)) {
            return None;
        }
        // Verified without the lock.
        brought.clean(list).ok()?;
        let mut open = lock(&self.open);
        let open = open.as_mut()?;
        let before = open.signatures();
        open.join(&brought).ok()?;
        open.clean(list).ok()?;
        Some(open.signatures() > before)
    }

    /// Whether a head was to be posted for too long.
    pub(super) fn is_late(&self, now_ms: u64) -> bool {
        let since = self.since_ms.load(Ordering::Relaxed);
        since != 0 && now_ms.saturating_sub(since) >= LATE_MS
    }

    /// What is wrong, for the node's health.
    pub(crate) fn fault(&self, now_ms: u64) -> Option<String> {
        if !self.is_late(now_ms) {
            return None;
        }
        let why = lock(&self.why).clone();
        let why = match why.is_empty() {
            true => "its record waits for a head of that ledger",
            false => &why,
        };
        Some(format!(
            "no head of this epoch stands in the ledger of names for 10 minutes: {why}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;
    use betanet_log::{Head, SignedHead};

    use super::*;
    use crate::anchor::{anchor, anchored};

    #[test]
    fn signatures_are_collected_for_the_record_that_waits_and_lateness_is_told() {
        let keys: Vec<Identity> = (1..=6_u8).map(|n| Identity::from_seed(&[n; 32])).collect();
        let public: Vec<_> = keys.iter().map(|k| *k.public()).collect();
        let list = Maintainers::new(&public);
        let head = SignedHead::new(Head {
            ts: 5,
            set: [1; 32],
            root: [2; 32],
            size: 7,
            state: Some([3; 32]),
        });
        let record = |epoch| anchor(&[4; 32], epoch, &head, list.hash());
        let by = |epoch, who: &[usize]| {
            let mut envelope = Envelope::new(record(epoch)).unwrap();
            who.iter().for_each(|at| envelope.sign(&keys[*at]));
            envelope
        };
        let posted = Posted::default();
        assert_eq!(posted.take(by(1, &[1]), &list), None);
        let open = posted.collects(&record(1), |e| e.sign(&keys[0])).unwrap();
        assert_eq!((open.signatures(), posted.signatures()), (1, 1));
        assert_eq!(posted.take(by(2, &[1]), &list), None);
        assert_eq!(posted.take(by(1, &[1, 2]), &list), Some(true));
        assert_eq!(posted.take(by(1, &[2]), &list), Some(false));
        let mut stranger = by(1, &[]);
        stranger.sign(&Identity::from_seed(&[9; 32]));
        assert_eq!(posted.take(stranger, &list), Some(false));
        assert_eq!(posted.signatures(), 3);
        // The next epoch's record begins anew.
        let open = posted.collects(&record(2), |_| ()).unwrap();
        assert_eq!(open.signatures(), 0);

        assert_eq!(posted.fault(LATE_MS), None);
        posted.since_ms.store(1, Ordering::Relaxed);
        assert_eq!(posted.fault(LATE_MS), None);
        assert!(posted.tell("3 of 5 signed") && !posted.tell("3 of 5 signed"));
        assert!(
            posted
                .fault(LATE_MS + 1)
                .unwrap()
                .ends_with(": 3 of 5 signed")
        );
        posted.stands(&anchored(&record(2)).unwrap());
        assert_eq!(posted.fault(10 * LATE_MS), None);
        let told = |of: &AtomicU64| of.load(Ordering::Relaxed);
        assert_eq!((told(&posted.epochs), told(&posted.size)), (3, 7));
        assert_eq!(posted.open(), None);
    }
}
