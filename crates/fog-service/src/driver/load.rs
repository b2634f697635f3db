//! Builds the machine from the journal: its newest snapshot, and the records after it.

use std::time::Duration;

use betanet_coordinator::{Coordinator, Input, Setup};
use betanet_journal::{Batch, Entry, Error as JournalError, Journal};
use betanet_machine::{Machine as _, Now};
use betanet_scheduler::Placer;
use betanet_session::Clock;
use tokio::time::Instant;

use super::Loaded;
use crate::Error;

/// Interval between two words about a long replay.
const WORD: Duration = Duration::from_secs(2);

/// Loads the machine.
///
/// # Errors
///
/// The journal is damaged or cannot be reached. Its content is no coordinator's of this version.
pub(crate) async fn load(setup: &Setup, journal: &dyn Journal) -> Result<Loaded, Error> {
    loop {
        match load_once(setup, journal).await {
            // A newer snapshot has replaced the records meanwhile.
            Err(Error::Journal(JournalError::Gone { .. })) => {}
            loaded => return loaded,
        }
    }
}

async fn load_once(setup: &Setup, journal: &dyn Journal) -> Result<Loaded, Error> {
    let clock = Clock::start();
    let seed = betanet_session::seed().map_err(|_| Error::Randomness)?;
    let mut loaded = match journal.snapshots().await?.first() {
        None => Loaded {
            machine: Coordinator::new(setup.clone(), Placer::new(), &seed),
            base: 0,
        },
        Some(snapshot) => {
            let mut parts = Vec::new();
            for part in 0..snapshot.parts {
                parts.push(journal.load(snapshot.at.index, part).await?);
            }
            let at = snapshot.at.index;
            let restored = Coordinator::restore(
                setup.clone(),
                Placer::new(),
                &seed,
                parts.iter().map(Vec::as_slice),
            );
            Loaded {
                machine: restored.map_err(|why| Error::Snapshot { at, why })?,
                base: at,
            }
        }
    };
    let first = loaded.last();
    let mut told = Instant::now();
    loop {
        let entries = journal.read(loaded.last(), Batch::default()).await?;
        if entries.is_empty() {
            return Ok(loaded);
        }
        if let Err(index) = loaded.apply(clock.now(), entries) {
            return Err(Error::Record { index });
        }
        if told.elapsed() >= WORD {
            told = Instant::now();
            tracing::info!(records = loaded.last() - first, "replaying the journal");
        }
    }
}

impl Loaded {
    /// Index of the last record that it has. A restored snapshot stands under a higher one than its own last record.
    pub(super) fn last(&self) -> u64 {
        self.machine.last().max(self.base)
    }

    /// Applies records in order. Returns the index of the one that it does not know how to apply.
    pub(super) fn apply(&mut self, now: Now, entries: Vec<Entry>) -> Result<(), u64> {
        for Entry { index, record, .. } in entries {
            let entry = Input::Entry {
                index,
                kind: record.kind.as_str().into(),
                body: record.body.into(),
            };
            // A machine refuses requests alone.
            let _ = self.machine.handle_input(now, entry);
            if self.machine.is_broken() {
                return Err(index);
            }
        }
        while self.machine.poll_event().is_some() {}
        Ok(())
    }
}
