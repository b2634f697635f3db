//! Records on their way to the journal: what comes while one append is under way is in the next.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use betanet_coordinator::Entry;
use betanet_journal::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, Error as JournalError, Journal, Kind, Record,
};
use betanet_machine::Time;

/// The outcome of an append.
pub(super) struct Appended {
    /// When it began.
    pub(super) began: Time,
    /// Number of records.
    pub(super) records: u64,
    /// Index of the last record.
    pub(super) index: Result<u64, JournalError>,
    /// Index that the last record must have.
    pub(super) expected: u64,
}

type Running = Pin<Box<dyn Future<Output = Appended> + Send>>;

/// Appends that wait, and the one that runs.
#[derive(Default)]
pub(super) struct Appends {
    waiting: VecDeque<Vec<Entry>>,
    /// Whether the lease is to be renewed, even without records.
    renew: bool,
    /// Index of the last record that was taken from the machine.
    last: u64,
    running: Option<Running>,
}

impl Appends {
    pub(super) fn new(last: u64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    /// Takes records of the machine that belong together.
    pub(super) fn push(&mut self, records: Vec<Entry>) {
        if records.is_empty() {
            self.renew = true;
        } else {
            self.waiting.push_back(records);
        }
    }

    /// Starts an append, unless one runs or nothing waits.
    pub(super) fn start(&mut self, journal: &Arc<dyn Journal>, epoch: u64, now: Time) {
        if self.running.is_some() || (self.waiting.is_empty() && !self.renew) {
            return;
        }
        self.renew = false;
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let more: usize = next.iter().map(|e| e.body.len()).sum();
            let fits = records.len() + next.len() <= APPEND_RECORDS_MAX
                && bytes + more <= APPEND_BYTES_MAX;
            // A single group is always tried: the journal has the last word on what is too much.
            if !fits && !records.is_empty() {
                break;
            }
            bytes += more;
            for entry in self.waiting.pop_front().into_iter().flatten() {
                records.extend(Kind::new(entry.kind).map(|k| Record::new(k, entry.body)));
            }
        }
        let n = records.len() as u64;
        self.last += n;
        let expected = self.last;
        let journal = Arc::clone(journal);
        self.running = Some(Box::pin(async move {
            let index = journal.append(epoch, records).await;
            Appended {
                began: now,
                records: n,
                index,
                expected,
            }
        }));
    }

    /// Waits for the append that runs; for ever, if none does.
    pub(super) async fn done(&mut self) -> Appended {
        match &mut self.running {
            Some(running) => {
                let appended = running.await;
                self.running = None;
                appended
            }
            None => std::future::pending().await,
        }
    }

    /// Whether everything that was taken is committed.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }
}
