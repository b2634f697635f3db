//! Accounting of writes: the quota, and the measurements that correct it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_bar::StoreError;
use betanet_carrier::Folder;
use cap_std::fs::Dir;

use super::ledger::Ledger;
use super::measure::{Measured, measure};
use super::medium;
use super::own::{OWN, sweep, tidy};
use betanet_dial::on_disk;

/// Minimum interval between two measurements of the folder.
const REST: Duration = Duration::from_millis(20);
/// Minimum interval between two measurements, as a multiple of the last one's duration.
const REST_TIMES: u32 = 50;
/// Interval at which writes cause a new measurement, since others may change the folder too.
const STALE: Duration = Duration::from_secs(60);

pub(crate) type Ticks = dyn Fn() -> Duration + Send + Sync;

/// State that all writes to a folder share.
pub(super) struct Writes {
    pub(super) ledger: Mutex<Ledger>,
    /// Held while committing or removing, so that no other rename happens between check and rename.
    pub(super) turn: Mutex<()>,
    /// The measured folder.
    pub(super) of: Mutex<Arc<Dir>>,
    /// Time of the last measurement, and its duration. Locked while measuring.
    pub(super) measured: Mutex<(Duration, Duration)>,
    pub(super) elapsed: Box<Ticks>,
}

impl std::fmt::Debug for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writes").finish_non_exhaustive()
    }
}

pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writes {
    /// Measures the folder and starts counting. Removes headers without a resource, if the whole folder could be read.
    pub(super) fn begin(&self, folder: &Folder, dir: &Dir) -> io::Result<()> {
        dir.create_dir_all(OWN)
            .and_then(|()| sweep(dir))
            .map_err(|e| {
                let own = folder.path().join(OWN);
                io::Error::new(
                    e.kind(),
                    format!("{} cannot be written: {e}", own.display()),
                )
            })?;
        let found = measure(dir);
        for (path, error) in &found.skipped {
            let path = folder.path().join(path);
            tracing::warn!(path = %path.display(), %error, "a folder cannot be read: the quota leaves it out");
        }
        let kept = found.charge.less(tidy(dir, found.orphans));
        let mut ledger = lock(&self.ledger);
        let changes = ledger.changes();
        ledger.measured(kept, changes);
        if ledger.is_full() {
            tracing::warn!(
                path = %folder.path().display(),
                bytes = kept.bytes,
                entries = kept.entries,
                "the folder is as large as its quota lets it be: nothing can be written"
            );
        }
        Ok(())
    }

    /// Returns the folder that is currently at the path, measured.
    pub(super) fn dir(&self, folder: &Folder) -> Result<Arc<Dir>, StoreError> {
        let dir = folder.dir();
        if Arc::ptr_eq(&lock(&self.of), &dir) {
            return Ok(dir);
        }
        let _turn = lock(&self.turn);
        let mut of = lock(&self.of);
        if !Arc::ptr_eq(&of, &dir) {
            lock(&self.ledger).begin_change();
            on_disk(|| self.begin(folder, &dir)).map_err(medium)?;
            *of = Arc::clone(&dir);
        }
        drop(of);
        Ok(dir)
    }

    /// Measures again, unless that was done a moment ago. Returns whether it was done now.
    pub(super) fn again(&self) -> bool {
        let Ok(mut last) = self.measured.try_lock() else {
            return false;
        };
        let now = (self.elapsed)();
        let rest = REST.max(last.1.saturating_mul(REST_TIMES));
        if now.saturating_sub(last.0) < rest {
            return false;
        }
        on_disk(|| {
            let (dir, changes) = {
                let _turn = lock(&self.turn);
                (Arc::clone(&lock(&self.of)), lock(&self.ledger).changes())
            };
            let found = measure(&dir);
            // No write may run during the removal.
            let _turn = lock(&self.turn);
            if self.settle(&dir, found, changes) {
                return;
            }
            // If writes never pause, they wait this once.
            let dir = Arc::clone(&lock(&self.of));
            let changes = lock(&self.ledger).changes();
            self.settle(&dir, measure(&dir), changes);
        });
        let ended = (self.elapsed)();
        *last = (ended, ended.saturating_sub(now));
        true
    }

    /// Takes a measurement as the new count, unless something was written since. The caller holds `turn`.
    fn settle(&self, dir: &Dir, found: Measured, changes: u64) -> bool {
        if !lock(&self.ledger).measured(found.charge, changes) {
            return false;
        }
        let gone = tidy(dir, found.orphans);
        lock(&self.ledger).forget(gone);
        true
    }

    /// Measures again in the background, if the count may be wrong.
    pub(super) fn look_again(self: &Arc<Self>) {
        let doubt = lock(&self.ledger).in_doubt();
        let since = match self.measured.try_lock() {
            Ok(last) => (self.elapsed)().saturating_sub(last.0),
            Err(_) => return,
        };
        if doubt || since >= STALE {
            let this = Arc::clone(self);
            let named = std::thread::Builder::new().name("measure".into());
            // If no thread can be started, the next write tries again.
            let _ = named.spawn(move || this.again());
        }
    }

    /// Charges a write. Measures the disk again first if there seems to be no room.
    pub(super) fn charge(
        &self,
        take: impl Fn(&mut Ledger) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let taken = take(&mut lock(&self.ledger));
        if taken.is_err() && self.again() {
            return take(&mut lock(&self.ledger));
        }
        taken
    }
}
