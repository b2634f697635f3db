//! The thread that writes.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

use betanet_journal::{
    Chain, Damage, Error, Head, PARTS_MAX, Parts, Place, Record, Restored, Snapshot, Term,
};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::open::{self, Files};
use crate::sql::{fault, head, int, position, set_head};
use crate::tip::Tip;

/// Maximum number of appends that are committed together.
const GROUP: usize = 1024;
/// Maximum length of their records, in bytes.
const GROUP_BYTES: usize = 8 << 20;
/// Records, parts or pages that one commit of retention removes, so that appends need not wait long.
const SLICE: u64 = 512;
/// Key of the parts of a snapshot that is being restored. No index is negative.
const STAGED: i64 = -1;

/// An append that waits for its turn.
pub(crate) struct Append {
    pub(crate) epoch: u64,
    pub(crate) records: Vec<Record>,
    pub(crate) reply: oneshot::Sender<Result<u64, Error>>,
    /// Its share of the queue, which is released once it is done.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A piece of work for the thread.
pub(crate) enum Job {
    Append(Append),
    Other(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// State of the thread.
pub(crate) struct Writer {
    /// `None` once a commit failed with unknown outcome.
    db: Option<Connection>,
    tip: Tip,
    files: Files,
    floor: u64,
    leader: Box<str>,
    committed: Box<dyn Fn() + Send>,
}

impl Writer {
    pub(crate) fn new(
        (db, tip, files): (Connection, Tip, Files),
        floor: u64,
        leader: Box<str>,
        committed: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            db: Some(db),
            tip,
            files,
            floor,
            leader,
            committed,
        }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => job,
                None => match queue.recv() {
                    Ok(job) => job,
                    Err(_) => return,
                },
            };
            match job {
                Job::Other(work) => work(&mut self),
                Job::Append(first) => {
                    let mut bytes = size(&first.records);
                    let mut group = vec![first];
                    while group.len() < GROUP && bytes < GROUP_BYTES {
                        match queue.try_recv() {
                            Ok(Job::Append(append)) => {
                                bytes += size(&append.records);
                                group.push(append);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.commit_group(group, bytes);
                }
            }
        }
    }

    /// Commits the appends of a group together, and answers each.
    fn commit_group(&mut self, group: Vec<Append>, bytes: usize) {
        let floor = self.above_floor(bytes as u64);
        let floor = floor.err();
        let done = self.write(|tx, now, _| {
            let mut outcomes = VecDeque::with_capacity(group.len());
            let sql = "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5)";
            let failed = |e| fault("append to the journal", Place::Whole, e);
            let mut insert = tx.prepare_cached(sql).map_err(failed)?;
            for append in &group {
                if let Err(over) = now.fence(append.epoch) {
                    outcomes.push_back(Err(over));
                    continue;
                }
                if let Some(low) = floor.as_ref().filter(|_| !append.records.is_empty()) {
                    outcomes.push_back(Err(low.again()));
                    continue;
                }
                for record in &append.records {
                    let Chain { index, sum } = now.last.seal(append.epoch, record)?;
                    let (index, epoch) = (int(index), int(append.epoch));
                    let kind = record.kind.as_str();
                    insert
                        .execute(params![index, epoch, kind, record.body, sum])
                        .map_err(failed)?;
                }
                outcomes.push_back(Ok(now.last.index));
            }
            Ok(outcomes)
        });
        match done {
            Ok(outcomes) => {
                for (append, outcome) in group.into_iter().zip(outcomes) {
                    answer(append, outcome);
                }
            }
            Err(e) => {
                let copies: Vec<Error> = group.iter().skip(1).map(|_| e.for_another()).collect();
                for (append, e) in group.into_iter().zip(std::iter::once(e).chain(copies)) {
                    answer(append, Err(e));
                }
            }
        }
    }

    /// Refuses to write `bytes` more if the disk then had less free space than the floor and what the log needs in the database.
    fn above_floor(&self, bytes: u64) -> Result<(), Low> {
        if self.floor == 0 {
            return Ok(());
        }
        let log = std::fs::metadata(&self.files.log).map_or(0, |meta| meta.len());
        let floor = self.floor.saturating_add(log);
        match free(&self.files) {
            Some(free) if free < floor.saturating_add(bytes) => Err(Low { free, floor }),
            _ => Ok(()),
        }
    }

    /// Runs `work` in a transaction. Commits it if the head or another table was changed, and then marks the tip.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, &mut Head, &mut bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let db = self.db.as_mut().ok_or(Error::Closed)?;
        let failed = |e| fault("write to the journal", Place::Whole, e);
        let tx = db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let (before, commits) = head(&tx)?;
        let mut now = before;
        // Whether tables besides the head and the records changed.
        let mut changed = false;
        let out = work(&tx, &mut now, &mut changed)?;
        if now == before && !changed {
            return Ok(out);
        }
        set_head(&tx, &now, commits + 1).map_err(failed)?;
        if let Err(e) = tx.commit() {
            return match fault("commit to the journal", Place::Whole, e) {
                // The commit's last page is written after all others, and was not.
                Error::DiskFull => Err(Error::DiskFull),
                Error::Backend { source, .. } => {
                    self.db = None;
                    Err(Error::Unknown { source })
                }
                other => {
                    self.db = None;
                    Err(Error::Unknown {
                        source: Box::new(other),
                    })
                }
            };
        }
        if let Err(e) = self.tip.advance(commits + 1, &now) {
            // The commit stands. Without its mark, later damage would go unnoticed.
            self.db = None;
            return Err(Error::Unknown {
                source: Box::new(e),
            });
        }
        (self.committed)();
        Ok(out)
    }

    pub(crate) fn lead(&mut self) -> Result<Term, Error> {
        if let Some(db) = &self.db {
            open::check(db, &mut self.tip)?;
        }
        let leader = self.leader.clone();
        self.write(|tx, now, _| {
            now.epoch = now.next_epoch()?;
            tx.execute("UPDATE head SET leader = ?1", [&*leader])
                .map_err(|e| fault("write to the journal", Place::Head, e))?;
            Ok(Term {
                epoch: now.epoch,
                last: now.last.index,
            })
        })
    }

    pub(crate) fn resign(&mut self, epoch: u64) -> Result<(), Error> {
        self.write(|_, now, _| now.fence(epoch))
    }

    pub(crate) fn save(
        &mut self,
        epoch: u64,
        at: u64,
        part: u32,
        body: &[u8],
    ) -> Result<(), Error> {
        self.above_floor(body.len() as u64)
            .map_err(|low| low.again())?;
        self.write(|tx, now, changed| {
            now.fence(epoch)?;
            let here = position(tx, now, at)?;
            let failed = |e| fault("save the snapshot", Place::Snapshot(at), e);
            let mut open = open_snapshot(tx, at)?;
            if part == 0 && open.is_none_or(|(_, finished)| !finished) {
                for table in ["snapshot", "part"] {
                    let sql = format!("DELETE FROM {table} WHERE at = ?1");
                    tx.execute(&sql, [int(at)]).map_err(failed)?;
                }
                open = Some((Snapshot::begin(here, epoch), false));
            }
            let turn =
                |(s, finished): &(Snapshot, bool)| !finished && s.parts == part && s.epoch == epoch;
            let (mut snapshot, _) = open.filter(turn).ok_or(Error::Turn { at, part })?;
            snapshot.add(body);
            let sql = "INSERT INTO part VALUES (?1, ?2, ?3, ?4)";
            tx.execute(sql, params![int(at), part, body, snapshot.content])
                .map_err(failed)?;
            set_snapshot(tx, &snapshot, false).map_err(failed)?;
            *changed = true;
            Ok(())
        })
    }

    pub(crate) fn finish(&mut self, epoch: u64, at: u64, parts: u32) -> Result<Snapshot, Error> {
        self.write(|tx, now, changed| {
            now.fence(epoch)?;
            now.readable(at)?;
            let turn = |(s, finished): &(Snapshot, bool)| {
                !finished && s.parts == parts && s.epoch == epoch
            };
            let open = open_snapshot(tx, at)?.filter(turn);
            let (snapshot, _) = open.ok_or(Error::Turn { at, part: parts })?;
            set_snapshot(tx, &snapshot, true)
                .map_err(|e| fault("save the snapshot", Place::Snapshot(at), e))?;
            *changed = true;
            Ok(snapshot)
        })
    }

    /// Removes a slice of what the newest `keep` snapshots do not need. Returns whether more is left.
    pub(crate) fn retain(&mut self, epoch: u64, keep: usize) -> Result<bool, Error> {
        let more = self.write(|tx, now, changed| {
            now.fence(epoch)?;
            let failed = |e| fault("remove old records", Place::Whole, e);
            let sql = "SELECT at FROM snapshot WHERE finished = 1 ORDER BY at DESC LIMIT 1 OFFSET ?1";
            let skip = i64::try_from(keep.max(1) - 1).unwrap_or(i64::MAX);
            let count: i64 = tx
                .query_row("SELECT count(*) FROM snapshot WHERE finished = 1", [], |r| {
                    r.get(0)
                })
                .map_err(failed)?;
            let oldest: Option<i64> = tx
                .query_row(sql, [skip.min(count - 1).max(0)], |r| r.get(0))
                .optional()
                .map_err(failed)?;
            let Some(oldest) = oldest.and_then(|at| u64::try_from(at).ok()) else {
                return Ok(false);
            };
            let sql = "DELETE FROM part WHERE rowid IN (SELECT rowid FROM part WHERE at < ?1 AND at >= 0 LIMIT 64)";
            let parts = tx.execute(sql, [int(oldest)]).map_err(failed)?;
            let sql = "DELETE FROM snapshot WHERE at < ?1";
            let snapshots = tx.execute(sql, [int(oldest)]).map_err(failed)?;
            let base = oldest.min(now.base.index.saturating_add(SLICE));
            now.base = position(tx, now, base)?;
            tx.execute("DELETE FROM record WHERE ix <= ?1", [int(base)])
                .map_err(failed)?;
            *changed = parts + snapshots > 0;
            Ok(parts > 0 || base < oldest)
        })?;
        Ok(more || self.shrink()?)
    }

    /// Returns a slice of the free pages to the disk, while they are more than half of the file.
    fn shrink(&mut self) -> Result<bool, Error> {
        let db = self.db.as_ref().ok_or(Error::Closed)?;
        let failed = |e| fault("shrink the journal", Place::Whole, e);
        let pragma = |name: &str| db.pragma_query_value(None, name, |r| r.get::<_, i64>(0));
        let (free, all) = (
            pragma("freelist_count").map_err(failed)?,
            pragma("page_count").map_err(failed)?,
        );
        if free < CHUNK_PAGES || free * 2 < all {
            return Ok(false);
        }
        let mut step = db
            .prepare(&format!("PRAGMA incremental_vacuum({CHUNK_PAGES})"))
            .map_err(failed)?;
        let mut rows = step.query([]).map_err(failed)?;
        while rows.next().map_err(failed)?.is_some() {}
        Ok(true)
    }

    pub(crate) fn restore(&mut self, snapshot: &Snapshot, parts: Parts) -> Result<Restored, Error> {
        let failed = |e| fault("restore the snapshot", Place::Whole, e);
        // The remains of an attempt that failed.
        self.write(|tx, _, changed| {
            let sql = "DELETE FROM part WHERE at = ?1";
            *changed = tx.execute(sql, [STAGED]).map_err(failed)? > 0;
            Ok(())
        })?;
        let mut seen = Snapshot::begin(snapshot.at, snapshot.epoch);
        for body in parts {
            let body = body?;
            if seen.parts >= PARTS_MAX.min(snapshot.parts) {
                seen.parts = u32::MAX;
                break;
            }
            self.above_floor(body.len() as u64)
                .map_err(|low| low.again())?;
            let part = seen.parts;
            seen.add(&body);
            self.write(|tx, _, changed| {
                let sql = "INSERT INTO part VALUES (?1, ?2, ?3, ?4)";
                tx.execute(sql, params![STAGED, part, body, seen.content])
                    .map_err(failed)?;
                *changed = true;
                Ok(())
            })?;
        }
        if seen != *snapshot || seen.parts == 0 {
            let place = Place::Snapshot(snapshot.at.index);
            return Err(Error::damaged(place, Damage::Checksum));
        }
        self.write(|tx, now, _| {
            *now = now.restored(snapshot)?;
            tx.execute_batch("DELETE FROM record; DELETE FROM snapshot")
                .map_err(failed)?;
            tx.execute("DELETE FROM part WHERE at <> ?1", [STAGED])
                .map_err(failed)?;
            let sql = "UPDATE part SET at = ?1 WHERE at = ?2";
            tx.execute(sql, [int(now.base.index), STAGED])
                .map_err(failed)?;
            set_snapshot(tx, &snapshot.moved(now), true).map_err(failed)?;
            Ok(Restored {
                epoch: now.epoch,
                at: now.base.index,
            })
        })
    }
}

/// Pages that one step of shrinking returns.
const CHUNK_PAGES: i64 = 1024;

/// Free space, and the floor that it is below.
#[derive(Clone, Copy)]
struct Low {
    free: u64,
    floor: u64,
}

impl Low {
    const fn again(self) -> Error {
        Error::DiskFloor {
            free: self.free,
            floor: self.floor,
        }
    }
}

/// Returns the free space on the journal's disk, in bytes, as far as this user may use it.
pub(crate) fn free(files: &Files) -> Option<u64> {
    let stat = rustix::fs::statvfs(&files.folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

fn size(records: &[Record]) -> usize {
    records.iter().map(|r| r.body.len()).sum()
}

fn answer(append: Append, outcome: Result<u64, Error>) {
    drop(append.permit);
    // The caller may have gone.
    let _ = append.reply.send(outcome);
}

/// Reads the description of a snapshot, and whether it is finished.
pub(crate) fn open_snapshot(db: &Connection, at: u64) -> Result<Option<(Snapshot, bool)>, Error> {
    let place = Place::Snapshot(at);
    let failed = |e| fault("read the snapshot", place, e);
    let sql =
        "SELECT before, epoch, parts, bytes, content, sum, finished FROM snapshot WHERE at = ?1";
    let mut query = db.prepare_cached(sql).map_err(failed)?;
    let read = query.query_row([int(at)], |row| {
        let snapshot = Snapshot {
            at: Chain {
                index: at,
                sum: row.get(0)?,
            },
            epoch: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(u64::MAX),
            parts: row.get(2)?,
            bytes: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(u64::MAX),
            content: row.get(4)?,
        };
        Ok((snapshot, row.get::<_, Vec<u8>>(5)?, row.get::<_, i64>(6)?))
    });
    match read.optional().map_err(failed)? {
        None => Ok(None),
        Some((snapshot, sum, finished @ 0..=1)) => Ok(Some((snapshot.check(&sum)?, finished == 1))),
        Some(_) => Err(Error::damaged(place, Damage::Form)),
    }
}

fn set_snapshot(db: &Connection, snapshot: &Snapshot, finished: bool) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO snapshot VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    db.prepare_cached(sql)?.execute(params![
        int(snapshot.at.index),
        snapshot.at.sum,
        int(snapshot.epoch),
        snapshot.parts,
        int(snapshot.bytes),
        snapshot.content,
        snapshot.sum(),
        finished
    ])?;
    Ok(())
}
