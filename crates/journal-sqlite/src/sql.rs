//! The tables, and what fails about them.

use betanet_journal::{Chain, Damage, Error, Failure, Head, Place};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

/// The steps from an empty database to the present version. A database of version `n` has taken the first `n`.
pub(crate) const STEPS: [&str; 2] = [
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), epoch INTEGER NOT NULL, base INTEGER NOT NULL,
        base_sum BLOB NOT NULL, last INTEGER NOT NULL, last_sum BLOB NOT NULL, sum BLOB NOT NULL, commits INTEGER NOT NULL,
        leader TEXT NOT NULL) STRICT;
    CREATE TABLE record (ix INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, kind TEXT NOT NULL, body BLOB NOT NULL,
        sum BLOB NOT NULL) STRICT",
    "CREATE TABLE snapshot (at INTEGER PRIMARY KEY, before BLOB NOT NULL, epoch INTEGER NOT NULL, parts INTEGER NOT NULL,
        bytes INTEGER NOT NULL, content BLOB NOT NULL, sum BLOB NOT NULL, finished INTEGER NOT NULL) STRICT;
    CREATE TABLE part (at INTEGER NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, sum BLOB NOT NULL,
        PRIMARY KEY (at, part)) STRICT",
];
/// Version of the tables.
pub(crate) const VERSION: u32 = 2;
/// Marks a database as a journal: "BNJ1".
const APPLICATION: i32 = 0x424e_4a31;

/// Brings the tables to the present version.
pub(crate) fn migrate(db: &mut Connection) -> Result<(), Error> {
    let failed = |e| fault("create the journal's tables", Place::Whole, e);
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
    let tx = tx.map_err(failed)?;
    let pragma = |name: &str| tx.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
    let (found, application) = (
        pragma("user_version").map_err(failed)?,
        pragma("application_id").map_err(failed)?,
    );
    let tables: i64 = tx
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .map_err(failed)?;
    let ours = application == i64::from(APPLICATION) || (application == 0 && tables == 0);
    let known = i64::from(VERSION);
    if !ours || (found == 0) != (tables == 0) || found < 0 {
        return Err(Error::damaged(Place::Whole, Damage::Form));
    }
    if found > known {
        return Err(Error::Newer {
            found: u32::try_from(found).unwrap_or(u32::MAX),
            known: VERSION,
        });
    }
    let taken = usize::try_from(found).unwrap_or(0);
    for step in STEPS.iter().skip(taken) {
        tx.execute_batch(step).map_err(failed)?;
    }
    if found == 0 {
        tx.pragma_update(None, "application_id", APPLICATION)
            .map_err(failed)?;
        let head = Head::default();
        let sql = "INSERT INTO head VALUES (1, 0, 0, ?1, 0, ?1, ?2, 0, '')";
        tx.execute(sql, params![head.base.sum, head.sum()])
            .map_err(failed)?;
    }
    if found < known {
        tx.pragma_update(None, "user_version", VERSION)
            .map_err(failed)?;
    }
    tables_are_ours(&tx)?;
    tx.commit().map_err(failed)
}

/// Compares the tables with those of this version, since a flipped bit may rename a column.
fn tables_are_ours(db: &Connection) -> Result<(), Error> {
    let failed = |e| fault("read the journal's tables", Place::Whole, e);
    let mut query = db
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
        .map_err(failed)?;
    let found = query.query_map([], |r| r.get::<_, String>(0));
    let found: Result<Vec<String>, _> = found.map_err(failed)?.collect();
    let wanted = STEPS.iter().flat_map(|s| s.split(';')).map(str::trim);
    if found.map_err(failed)?.iter().map(String::as_str).eq(wanted) {
        Ok(())
    } else {
        Err(Error::damaged(Place::Whole, Damage::Form))
    }
}

fn number(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(at)
        .map(|n| u64::try_from(n).unwrap_or(u64::MAX))
}

/// Converts an index or epoch, which is at most `NUMBER_MAX`.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Reads the head and the number of commits.
pub(crate) fn head(db: &Connection) -> Result<(Head, u64), Error> {
    let sql = "SELECT epoch, base, base_sum, last, last_sum, sum, commits FROM head";
    let failed = |e| fault("read the journal's head", Place::Head, e);
    let mut query = db.prepare_cached(sql).map_err(failed)?;
    let read = query.query_row([], |row| {
        let head = Head {
            epoch: number(row, 0)?,
            base: Chain {
                index: number(row, 1)?,
                sum: row.get(2)?,
            },
            last: Chain {
                index: number(row, 3)?,
                sum: row.get(4)?,
            },
        };
        Ok((head, row.get::<_, Vec<u8>>(5)?, number(row, 6)?))
    });
    let read = read.optional().map_err(failed)?;
    let (head, sum, commits) = read.ok_or(Error::damaged(Place::Head, Damage::Missing))?;
    Ok((head.check(&sum)?, commits))
}

/// Writes the head as one more commit.
pub(crate) fn set_head(db: &Connection, head: &Head, commits: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE head SET epoch = ?1, base = ?2, base_sum = ?3, last = ?4, last_sum = ?5, sum = ?6, commits = ?7";
    let (base, last) = (head.base, head.last);
    let numbers = (int(head.epoch), int(base.index), int(last.index));
    db.prepare_cached(sql)?.execute(params![
        numbers.0,
        numbers.1,
        base.sum,
        numbers.2,
        last.sum,
        head.sum(),
        int(commits)
    ])?;
    Ok(())
}

/// Returns the position at an index that is kept.
pub(crate) fn position(db: &Connection, head: &Head, at: u64) -> Result<Chain, Error> {
    head.readable(at)?;
    if at == head.base.index {
        return Ok(head.base);
    }
    if at == head.last.index {
        return Ok(head.last);
    }
    let place = Place::Record(at);
    let failed = |e| fault("read the journal", place, e);
    let mut query = db
        .prepare_cached("SELECT sum FROM record WHERE ix = ?1")
        .map_err(failed)?;
    let sum = query.query_row([int(at)], |row| row.get(0)).optional();
    match sum.map_err(failed)? {
        Some(sum) => Ok(Chain { index: at, sum }),
        None => Err(Error::damaged(place, Damage::Missing)),
    }
}

/// Sorts a failure of SQLite: damage at `place`, a full disk, or the backend's own.
pub(crate) fn fault(action: &'static str, place: Place, e: rusqlite::Error) -> Error {
    use rusqlite::Error as E;
    let wrong_type = matches!(
        e,
        E::InvalidColumnType(..)
            | E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
    );
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig) => {
            Error::damaged(place, Damage::Form)
        }
        Some(ErrorCode::DiskFull) => Error::DiskFull,
        _ if wrong_type => Error::damaged(place, Damage::Form),
        _ => Error::Backend {
            action,
            source: Failure::from(e),
        },
    }
}
