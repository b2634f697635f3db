//! The thread that reads.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use betanet_journal::{Batch, Chain, Damage, Entry, Error, Facts, Place, Snapshot, Stored, Sum};
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::open::Files;
use crate::sql::{VERSION, fault, head, int, position};
use crate::writer::{free, open_snapshot};

/// Interval at which the thread looks for commits of other handles while somebody waits.
const LOOK: Duration = Duration::from_millis(100);

/// A future that waits for an index.
pub(crate) struct Wait {
    pub(crate) after: u64,
    pub(crate) reply: oneshot::Sender<Result<u64, Error>>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// A piece of work for the thread.
pub(crate) enum Ask {
    Other(Box<dyn FnOnce(&mut Reader) + Send>),
    Wait(Wait),
    /// This process has committed something.
    Committed,
}

/// State of the thread.
pub(crate) struct Reader {
    db: Connection,
    files: Files,
    floor: u64,
    waiting: Vec<Wait>,
    /// A snapshot's checksum, and what was read and checked of it so far. The checksum of a part stands behind its bytes: to read that
    /// of the part before is to read the part before once more.
    read: Option<(Sum, Snapshot)>,
}

impl Reader {
    pub(crate) const fn new(db: Connection, files: Files, floor: u64) -> Self {
        Self {
            db,
            files,
            floor,
            waiting: Vec::new(),
            read: None,
        }
    }

    /// Works until the queue is closed.
    pub(crate) fn run(mut self, queue: &Receiver<Ask>) {
        loop {
            let ask = if self.waiting.is_empty() {
                queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                queue.recv_timeout(LOOK)
            };
            match ask {
                Ok(Ask::Other(work)) => {
                    work(&mut self);
                    continue;
                }
                Ok(Ask::Wait(wait)) => self.waiting.push(wait),
                Ok(Ask::Committed) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.wake();
        }
    }

    /// Answers those whose index is there, and forgets those who have gone.
    fn wake(&mut self) {
        self.waiting.retain(|wait| !wait.reply.is_closed());
        if self.waiting.is_empty() {
            return;
        }
        match head(&self.db) {
            Ok((head, _)) => {
                let last = head.last.index;
                for wait in self.waiting.extract_if(.., |w| w.after < last) {
                    let _ = wait.reply.send(Ok(last));
                }
            }
            Err(e) => {
                // The first hears of it, and the others ask again.
                if let Some(wait) = self.waiting.pop() {
                    let _ = wait.reply.send(Err(e));
                }
            }
        }
    }

    pub(crate) fn read(&mut self, after: u64, batch: Batch) -> Result<Vec<Entry>, Error> {
        let failed = |e| fault("read the journal", Place::Record(after + 1), e);
        // The head and the records are of one moment.
        let tx = self.db.transaction().map_err(failed)?;
        let (head, _) = head(&tx)?;
        let mut chain = position(&tx, &head, after)?;
        let wanted = (head.last.index - after).min(batch.records as u64);
        let sql =
            "SELECT ix, epoch, kind, body, sum FROM record WHERE ix > ?1 ORDER BY ix LIMIT ?2";
        let mut query = tx.prepare_cached(sql).map_err(failed)?;
        let mut rows = query
            .query(params![int(after), int(wanted)])
            .map_err(failed)?;
        let (mut out, mut bytes) = (Vec::new(), 0);
        for _ in 0..wanted {
            let (entry, len) = match next(&mut rows, &mut chain) {
                Ok(read) => read,
                Err(e) if out.is_empty() => return Err(e),
                Err(_) => return Ok(out),
            };
            bytes += len;
            if bytes > batch.bytes && !out.is_empty() {
                break;
            }
            out.push(entry);
        }
        Ok(out)
    }

    pub(crate) fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let failed = |e| fault("list the snapshots", Place::Whole, e);
        let tx = self.db.transaction().map_err(failed)?;
        let sql = "SELECT at FROM snapshot ORDER BY at DESC";
        let mut query = tx.prepare_cached(sql).map_err(failed)?;
        let all = query.query_map([], |row| row.get::<_, i64>(0));
        let mut out = Vec::new();
        for at in all.map_err(failed)? {
            let at = u64::try_from(at.map_err(failed)?).unwrap_or(u64::MAX);
            match open_snapshot(&tx, at)? {
                Some((snapshot, true)) => out.push(snapshot),
                Some((_, false)) => {}
                None => return Err(Error::damaged(Place::Snapshot(at), Damage::Form)),
            }
        }
        Ok(out)
    }

    pub(crate) fn load(&mut self, at: u64, part: u32) -> Result<Vec<u8>, Error> {
        let place = Place::Part { at, part };
        let failed = |e| fault("load the snapshot", place, e);
        let tx = self.db.transaction().map_err(failed)?;
        let found = open_snapshot(&tx, at)?.filter(|(s, finished)| *finished && part < s.parts);
        let (snapshot, _) = found.ok_or(Error::NoSnapshot { at })?;
        let mut query = tx
            .prepare_cached("SELECT body, sum FROM part WHERE at = ?1 AND part = ?2")
            .map_err(failed)?;
        let mut seen = Snapshot::begin(snapshot.at, snapshot.epoch);
        seen.parts = part;
        let known = self.read.take().filter(|(whole, known)| {
            *whole == snapshot.content && known.at == snapshot.at && known.parts == part
        });
        if let Some((_, known)) = known {
            seen.content = known.content;
        } else if let Some(before) = part.checked_sub(1) {
            let sum: Option<Sum> = query
                .query_row(params![int(at), before], |row| row.get(1))
                .optional()
                .map_err(failed)?;
            let before = Place::Part { at, part: before };
            seen.content = sum.ok_or(Error::damaged(before, Damage::Missing))?;
        }
        let read: Option<(Vec<u8>, Sum)> = query
            .query_row(params![int(at), part], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(failed)?;
        let (body, sum) = read.ok_or(Error::damaged(place, Damage::Missing))?;
        seen.add(&body);
        let ends = seen.parts < snapshot.parts || seen.content == snapshot.content;
        if seen.content != sum || !ends {
            return Err(Error::damaged(place, Damage::Checksum));
        }
        self.read = Some((snapshot.content, seen));
        Ok(body)
    }

    pub(crate) fn facts(&mut self) -> Result<Facts, Error> {
        let (head, _) = head(&self.db)?;
        let size = |path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        Ok(Facts {
            version: VERSION,
            epoch: head.epoch,
            base: head.base.index,
            last: head.last.index,
            size: size(&self.files.database) + size(&self.files.log),
            free: free(&self.files),
            floor: Some(self.floor),
            leader: None,
        })
    }
}

/// Reads the next record and checks it. Also returns the length of its body.
fn next(rows: &mut rusqlite::Rows<'_>, chain: &mut Chain) -> Result<(Entry, usize), Error> {
    let place = Place::Record(chain.index.saturating_add(1));
    let failed = |e| fault("read the journal", place, e);
    let Some(row) = rows.next().map_err(failed)? else {
        return Err(Error::damaged(place, Damage::Missing));
    };
    let form = || Error::damaged(place, Damage::Form);
    let number = |at| {
        let n: i64 = row.get(at).map_err(failed)?;
        u64::try_from(n).map_err(|_| form())
    };
    let bytes = |at| row.get_ref(at).map_err(failed);
    let entry = chain.admit(Stored {
        index: number(0)?,
        epoch: number(1)?,
        kind: bytes(2)?.as_bytes().map_err(|_| form())?,
        body: bytes(3)?.as_blob().map_err(|_| form())?.to_vec(),
        sum: bytes(4)?.as_blob().map_err(|_| form())?,
    })?;
    let len = entry.record.body.len();
    Ok((entry, len))
}
