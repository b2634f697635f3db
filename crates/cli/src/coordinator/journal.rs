//! Opens the journal that the settings name.

use std::path::Path;
use std::sync::Arc;

use betanet_journal::Journal;
use betanet_journal_postgres::{PostgresJournal, Settings as PostgresSettings};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_store::State;

use super::settings::Fog;
use crate::Fail;
use crate::args::StoreArgs;
use crate::fail::chain;
use crate::journal::ECONOMY;

/// Opens the journal under the name of this coordinator.
pub(super) async fn open(
    fog: &Fog,
    state: &Arc<State>,
    name: &str,
) -> Result<Arc<dyn Journal>, Fail> {
    match database(fog, None)? {
        None => sqlite(state, name, fog.floor),
        Some(settings) => postgres(settings.with_leader(name)).await,
    }
}

/// Opens the journal of the economy: a folder beside the fog's, or a schema of its own in the same database.
pub(super) async fn economy(
    fog: &Fog,
    folder: &Path,
    name: &str,
) -> Result<Arc<dyn Journal>, Fail> {
    match database(fog, Some(ECONOMY))? {
        None => crate::journal::open(&folder.join(ECONOMY), name),
        Some(settings) => postgres(settings.with_leader(name)).await,
    }
}

/// Folder in the state for what was signed for other coordinators.
const SIGNED: &str = "cosigned";

/// Opens the journal of the settlements that this coordinator signed for others: a folder of its own, wherever the fog's journal is.
pub(super) fn signed(folder: &Path, name: &str) -> Result<Arc<dyn Journal>, Fail> {
    crate::journal::open(&folder.join(SIGNED), name)
}

/// Settings of the database, if the settings name one. `part` is a journal beside the fog's.
fn database(fog: &Fog, part: Option<&str>) -> Result<Option<PostgresSettings>, Fail> {
    let Some(url) = &fog.store else {
        return Ok(None);
    };
    let schema = match (&fog.schema, part) {
        (schema, None) => schema.clone(),
        (Some(schema), Some(part)) => Some(format!("{schema}_{part}")),
        (None, Some(part)) => Some(format!("betanet_{part}")),
    };
    of_url(url, fog.store_ca.as_deref(), schema.as_deref()).map(Some)
}

/// Settings of the database at a URL, with the authorities of its certificate and a schema.
fn of_url(
    url: &str,
    authorities: Option<&Path>,
    schema: Option<&str>,
) -> Result<PostgresSettings, Fail> {
    let mut settings = PostgresSettings::new(url).map_err(|e| Fail::Usage(chain(&e)))?;
    if let Some(file) = authorities {
        let pem = std::fs::read(file).map_err(Fail::file(file))?;
        let with = settings.with_authorities(&pem);
        settings = with.map_err(|e| Fail::Usage(chain(&e)))?;
    }
    if let Some(schema) = schema {
        let with = settings.with_schema(schema);
        settings = with.map_err(|e| Fail::Usage(chain(&e)))?;
    }
    Ok(settings)
}

pub(super) async fn postgres(settings: PostgresSettings) -> Result<Arc<dyn Journal>, Fail> {
    let journal = PostgresJournal::open(settings).await;
    let journal = journal.map_err(|e| Fail::Local(format!("the database: {}", chain(&e))))?;
    Ok(Arc::new(journal))
}

pub(super) fn sqlite(
    state: &Arc<State>,
    name: &str,
    floor: Option<u64>,
) -> Result<Arc<dyn Journal>, Fail> {
    let mut settings = SqliteSettings {
        leader: name.into(),
        ..SqliteSettings::default()
    };
    settings.floor = floor.unwrap_or(settings.floor);
    let journal = SqliteJournal::open(state, settings);
    let journal = journal.map_err(|e| Fail::Local(chain(&e)))?;
    Ok(Arc::new(journal))
}

/// Opens the journal of a coordinator that does not run.
pub(super) async fn of_args(args: &StoreArgs) -> Result<Arc<dyn Journal>, Fail> {
    match (args.state.as_deref(), args.store.as_deref()) {
        (_, Some(url)) if url != "sqlite" => {
            let settings = of_url(url, args.store_ca.as_deref(), args.schema.as_deref())?;
            postgres(settings.with_leader("snapshot")).await
        }
        (Some(folder), _) => sqlite(&super::hold(folder)?, "snapshot", None),
        (None, _) => {
            let why = "name the journal: --state DIR or --store URL";
            Err(Fail::Usage(why.to_owned()))
        }
    }
}
