use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_journal::{Damage, Error, FLOOR, Place};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OptionalExtension as _};

use crate::sql::{self, fault};
use crate::tip::Tip;

/// Name of the database within the state folder.
const FILE: &str = "journal.sqlite";
/// Name of the file of the last index.
const TIP: &str = "journal.tip";
/// Maximum length of a value that SQLite reads, above the longest record and part.
const VALUE_MAX: i32 = 2 << 20;
/// Time that a connection waits for a lock. Only a second handle on the same file makes it wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pages of the log after which SQLite moves them to the database: 16 MiB.
const CHECKPOINT_PAGES: i64 = 4096;
/// Size to which SQLite truncates the log after that, in bytes.
const LOG_MAX: i64 = 16 << 20;

/// Settings of a SQLite journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Name of the coordinator, which is kept with its epoch.
    pub leader: Box<str>,
    /// Free space on the disk below which appends are refused, in bytes. As much as the write-ahead log has is reserved beside it,
    /// since SQLite copies the log to the database. 0 accepts appends until the disk is full.
    pub floor: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            leader: "coordinator".into(),
            floor: FLOOR,
        }
    }
}

/// The files of a journal.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) log: PathBuf,
}

impl Files {
    pub(crate) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            database: folder.join(FILE),
            log: folder.join(format!("{FILE}-wal")),
        }
    }
}

/// Opens the database, checks it against the tip, and returns a connection that writes and one that reads.
pub(crate) fn open(files: &Files) -> Result<(Connection, Connection, Tip), Error> {
    let failed = |e| fault("open journal.sqlite", Place::Whole, e);
    create(&files.database)?;
    let mut db = Connection::open(&files.database).map_err(failed)?;
    configure(&db).map_err(failed)?;
    // The tip is created first: a journal without one has lost it.
    let empty = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .map(|n: i64| n == 0)
        .map_err(failed)?;
    let tip = Tip::open(&files.folder.join(TIP), false);
    let lost = matches!(
        tip,
        Err(Error::Damaged {
            place: Place::Tip,
            why: Damage::Missing
        })
    );
    let mut tip = match tip {
        Err(_) if lost && empty => Tip::open(&files.folder.join(TIP), true)?,
        tip => tip?,
    };
    if empty && tip.mark.commits > 0 {
        return Err(Error::damaged(Place::Whole, Damage::Missing));
    }
    if empty {
        begin(&db).map_err(failed)?;
    }
    sql::migrate(&mut db)?;
    check(&db, &mut tip)?;
    let reader = Connection::open(&files.database).map_err(failed)?;
    configure(&reader).map_err(failed)?;
    reader
        .pragma_update(None, "query_only", true)
        .map_err(failed)?;
    Ok((db, reader, tip))
}

/// Creates the database's file for its owner alone. SQLite gives its log the same mode.
fn create(path: &Path) -> Result<(), Error> {
    // An existing file is not opened here: closing it would drop the locks of this process's other connections.
    let mut options = OpenOptions::new();
    let created = options.write(true).create_new(true).mode(0o600).open(path);
    match created {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let meta = fs::metadata(path).map_err(Error::backend("open journal.sqlite"))?;
            if meta.permissions().mode() & 0o077 != 0 {
                let mode = fs::Permissions::from_mode(0o600);
                fs::set_permissions(path, mode)
                    .map_err(Error::backend("set the mode of journal.sqlite"))?;
            }
            Ok(())
        }
        created => created
            .map(|_| ())
            .map_err(Error::backend("create journal.sqlite")),
    }
}

/// Settings that hold for a connection.
fn configure(db: &Connection) -> rusqlite::Result<()> {
    db.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_MAX)?;
    db.busy_timeout(PATIENCE)?;
    db.set_prepared_statement_cache_capacity(32);
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "journal_size_limit", LOG_MAX)
}

/// Settings that a new file keeps.
fn begin(db: &Connection) -> rusqlite::Result<()> {
    // Retention returns pages to the disk.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "WAL")
}

/// Compares the database with the tip.
pub(crate) fn check(db: &Connection, tip: &mut Tip) -> Result<(), Error> {
    tip.reload()?;
    let last = tip.mark.last;
    let failed = |e| fault("read the journal", Place::Record(last.index), e);
    // The head and the record are of one moment, after that of the tip.
    let db = db.unchecked_transaction().map_err(failed)?;
    let (head, commits) = sql::head(&db)?;
    let sum: Option<Vec<u8>> = if last.index == head.base.index {
        Some(head.base.sum.to_vec())
    } else {
        db.query_row(
            "SELECT sum FROM record WHERE ix = ?1",
            [sql::int(last.index)],
            |r| r.get(0),
        )
        .optional()
        .map_err(failed)?
    };
    tip.check(commits, &head, sum.as_deref())?;
    if sum.is_none() && last.index > head.base.index {
        let place = Place::Record(last.index);
        return Err(Error::damaged(place, Damage::Missing));
    }
    Ok(())
}
