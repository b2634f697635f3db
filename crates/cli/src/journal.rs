//! Journals of services in a folder of their own.

use std::path::Path;
use std::sync::Arc;

use betanet_journal::Journal;
use betanet_journal_sqlite::{Settings, SqliteJournal};
use betanet_store::State;

use crate::Fail;
use crate::fail::chain;

/// Folder in a coordinator's state for the journal of the economy.
pub(crate) const ECONOMY: &str = "economy";

/// Opens the SQLite journal of a folder, and holds the folder.
pub(crate) fn open(folder: &Path, name: &str) -> Result<Arc<dyn Journal>, Fail> {
    let state = State::open(folder).map_err(|e| Fail::Local(chain(&e)))?;
    let settings = Settings {
        leader: name.into(),
        ..Settings::default()
    };
    let journal = SqliteJournal::open(&Arc::new(state), settings);
    let journal =
        journal.map_err(|e| Fail::Local(format!("{}: {}", folder.display(), chain(&e))))?;
    Ok(Arc::new(journal))
}
