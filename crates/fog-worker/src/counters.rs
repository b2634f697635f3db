//! Counters of a node's work.

use std::sync::atomic::{AtomicU64, Ordering};

use betanet_fog::Outcome;

/// Counters of a node. They begin at zero with each start.
#[derive(Debug, Default)]
pub struct Counters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    started: AtomicU64,
    returned: AtomicU64,
    refused: AtomicU64,
    stopped: AtomicU64,
    beats: AtomicU64,
    fuel: AtomicU64,
    fetched: AtomicU64,
    fetched_bytes: AtomicU64,
    hits: AtomicU64,
    output_bytes: AtomicU64,
    /// UNIX ms of the last beat that was answered; 0 before the first.
    beaten: AtomicU64,
}

/// The numbers of [`Counters`] at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// Programs that ended, by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Copies that began.
    pub started: u64,
    /// Receipts that a coordinator took.
    pub returned: u64,
    /// Receipts that were refused for good.
    pub refused: u64,
    /// Copies that were stopped without a receipt.
    pub stopped: u64,
    /// Beats that were answered.
    pub beats: u64,
    /// Fuel that programs burned.
    pub fuel: u64,
    /// Blobs that were fetched.
    pub fetched: u64,
    /// Their bytes.
    pub fetched_bytes: u64,
    /// Blobs that were here already.
    pub hits: u64,
    /// Bytes of outputs that were stored.
    pub output_bytes: u64,
    /// UNIX ms of the last beat that was answered; 0 before the first.
    pub beaten_ms: u64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn ended(&self, outcome: Outcome, fuel: u64) {
        let at = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = at.and_then(|at| self.outcomes.get(at)) {
            add(counter, 1);
        }
        add(&self.fuel, fuel);
    }

    pub(crate) fn started(&self) {
        add(&self.started, 1);
    }

    pub(crate) fn returned(&self) {
        add(&self.returned, 1);
    }

    pub(crate) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(crate) fn stopped(&self) {
        add(&self.stopped, 1);
    }

    pub(crate) fn beaten(&self, now_ms: u64) {
        add(&self.beats, 1);
        self.beaten.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn blob_fetched(&self, bytes: u64) {
        add(&self.fetched, 1);
        add(&self.fetched_bytes, bytes);
    }

    pub(crate) fn blob_hit(&self) {
        add(&self.hits, 1);
    }

    pub(crate) fn stored(&self, bytes: u64) {
        add(&self.output_bytes, bytes);
    }

    /// The numbers now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            outcomes: self.outcomes.each_ref().map(of),
            started: of(&self.started),
            returned: of(&self.returned),
            refused: of(&self.refused),
            stopped: of(&self.stopped),
            beats: of(&self.beats),
            fuel: of(&self.fuel),
            fetched: of(&self.fetched),
            fetched_bytes: of(&self.fetched_bytes),
            hits: of(&self.hits),
            output_bytes: of(&self.output_bytes),
            beaten_ms: of(&self.beaten),
        }
    }
}
