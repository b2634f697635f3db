//! Ledger of the resources that tasks used of this device, day by day, kept on disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_fog::Task;
use betanet_harvest::{Entry, Ledger, Used};
use betanet_store::{Error, Kind, Storage};

const KIND: Kind = Kind::new("fog-usage", 1);
const NAME: &str = "usage";
/// The device of programs: guests run on the processor alone.
const DEVICE: &str = "cpu";

#[derive(Default)]
struct Kept {
    ledger: Ledger,
    changed: bool,
}

/// The ledger of a node.
pub(crate) struct Usage {
    storage: Arc<dyn Storage>,
    kept: Mutex<Kept>,
}

impl Usage {
    pub(crate) fn open(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let ledger = match storage.load(KIND, NAME)? {
            Some(loaded) => serde_json::from_slice::<Ledger>(&loaded.bytes)
                .map_err(|_| storage.unreadable(NAME))?,
            None => Ledger::default(),
        };
        let kept = Kept {
            ledger,
            changed: false,
        };
        Ok(Self {
            storage,
            kept: Mutex::new(kept),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a program that has ended.
    pub(crate) fn add(&self, now_ms: u64, task: &Task, fuel: u64, ran: Duration) {
        let mut used = Used {
            tasks: 1,
            fuel,
            ..Used::default()
        };
        used.memory(task.res.memory(), ran);
        self.more(now_ms, &used);
    }

    /// Adds what was used beside tasks' ends, such as processor time.
    pub(crate) fn more(&self, now_ms: u64, used: &Used) {
        let mut kept = self.kept();
        match kept.ledger.add(now_ms, DEVICE, used) {
            Ok(()) => kept.changed = true,
            Err(error) => tracing::warn!(%error, "what a program used is not counted"),
        }
    }

    /// All lines, the oldest day first.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.kept().ledger.clone().into()
    }

    /// Writes the ledger, if it has changed.
    pub(crate) fn save(&self) -> Result<(), Error> {
        let (bytes, changed) = {
            let mut kept = self.kept();
            let changed = std::mem::take(&mut kept.changed);
            (
                serde_json::to_vec(&kept.ledger).unwrap_or_default(),
                changed,
            )
        };
        if changed {
            self.storage.replace(KIND, NAME, &bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use betanet_store::MemoryStorage;

    use super::*;

    #[test]
    fn what_was_given_outlasts_the_process() {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let usage = Usage::open(Arc::clone(&storage)).unwrap();
        let used = Used {
            tasks: 2,
            fuel: 70,
            ..Used::default()
        };
        usage.more(86_400_000 * 5, &used);
        usage.more(86_400_000 * 6, &used);
        usage.save().unwrap();
        let again = Usage::open(Arc::clone(&storage)).unwrap().entries();
        assert_eq!(again.len(), 2);
        assert_eq!((again[1].day, again[1].used.fuel), (6, 70));
        storage.replace(KIND, NAME, b"no").unwrap();
        assert!(Usage::open(storage).is_err());
    }
}
