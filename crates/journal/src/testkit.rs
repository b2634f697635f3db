//! The conformance suite: what every backend has to hold. A backend implements [`Bed`], and its tests run [`conform`] and
//! [`model`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod bed;
mod cases;
mod faults;
mod model;
mod state;

pub use bed::{Bed, MemoryBed, Spoil};
pub use model::model;

use crate::{Answer, Batch, Entry, Journal, Kind, Lead, Record, Term};

/// Runs every case of the suite, each in a journal of its own.
///
/// # Panics
///
/// The backend does not hold the contract.
pub async fn conform<B: Bed>(fresh: impl AsyncFn() -> B) {
    macro_rules! run {
        ($($module:ident: $($case:ident),+;)+) => {$($(
            println!("case {}", stringify!($case));
            $module::$case(&fresh().await).await;
        )+)+};
    }
    run! {
        cases: indexes_count_from_one, appends_are_whole_or_refused, concurrent_appends_are_each_whole,
            reads_keep_their_bounds, a_follower_wakes_up, a_crash_loses_nothing;
        faults: a_deposed_leader_changes_nothing, leases_exclude_and_end, damage_is_named, a_lost_end_is_named,
            a_damaged_head_is_named,
            a_newer_version_is_refused;
        state: snapshots_are_listed_once_finished, snapshots_keep_their_turn, retention_removes_what_a_snapshot_covers,
            a_restored_snapshot_goes_on_above, a_damaged_snapshot_restores_nothing, a_snapshot_moves_to_another_journal;
    }
    // Two journals for the last case come from the same place.
    state::a_journal_is_restored_from_a_file(&fresh().await, &fresh().await).await;
}

/// Returns a record of a test.
#[must_use]
pub fn record(n: u64) -> Record {
    let kinds = ["accepted", "ready", "assigned", "returned"];
    let at = usize::try_from(n % 4).unwrap();
    let len = usize::try_from(n * 7919 % 300).unwrap();
    let mut body = n.to_be_bytes().to_vec();
    body.extend(std::iter::repeat_n(n.to_le_bytes()[0], len));
    Record::new(Kind::new(kinds[at]).unwrap(), body)
}

/// Returns records of a test.
pub fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<Record> {
    numbers.into_iter().map(record).collect()
}

/// Leads, or panics if another coordinator holds the lease.
///
/// # Panics
///
/// The journal cannot be led.
pub async fn lead(journal: &dyn Journal) -> Term {
    match journal.lead().await.unwrap() {
        Lead::Leads(term) => term,
        Lead::Held(held) => panic!("{held:?}"),
    }
}

/// Reads all records after an index, in batches of a few.
///
/// # Errors
///
/// See [`Journal::read`].
pub fn read_all(journal: &dyn Journal, after: u64) -> Answer<'_, Vec<Entry>> {
    Box::pin(async move {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let after = all.last().map_or(after, |e| e.index);
            let batch = Batch {
                records: 3,
                bytes: 1 << 16,
            };
            let some = journal.read(after, batch).await?;
            assert!(some.len() <= 3);
            if some.is_empty() {
                return Ok(all);
            }
            all.extend(some);
        }
    })
}

/// Whether the entries are these records, with consecutive indexes from `first` on.
fn are(entries: &[Entry], first: u64, records: &[Record]) -> bool {
    let same = |(n, (entry, record)): (usize, (&Entry, &Record))| {
        entry.index == first + n as u64 && entry.record == *record
    };
    entries.len() == records.len() && entries.iter().zip(records).enumerate().all(same)
}
