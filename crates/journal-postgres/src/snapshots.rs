//! Snapshots and retention, in a transaction that has locked the head.

use betanet_journal::{Error, Head, Place, Restored, Snapshot, Sum};
use tokio_postgres::Transaction;

use crate::link::fault;
use crate::query::{self, int, position, set_head, set_snapshot};

/// Records that one commit of retention removes, so that appends need not wait long.
const SLICE: u64 = 4096;
/// Key of the parts of a snapshot that is being restored. No index is negative.
const STAGED: i64 = -1;

/// Saves a part.
pub(crate) async fn save(
    tx: &Transaction<'_>,
    head: &Head,
    at: u64,
    part: u32,
    body: &[u8],
) -> Result<(), Error> {
    let failed = |e| fault("save the snapshot", Place::Snapshot(at), e);
    let here = position(tx, head, at).await?;
    let mut open = query::snapshot(tx, at).await?;
    if part == 0 && open.is_none_or(|(_, finished)| !finished) {
        for table in ["snapshot", "part"] {
            let sql = format!("DELETE FROM {table} WHERE at = $1");
            tx.execute(&sql, &[&int(at)]).await.map_err(failed)?;
        }
        open = Some((Snapshot::begin(here, head.epoch), false));
    }
    let turn =
        |(s, finished): &(Snapshot, bool)| !finished && s.parts == part && s.epoch == head.epoch;
    let (mut snapshot, _) = open.filter(turn).ok_or(Error::Turn { at, part })?;
    snapshot.add(body);
    insert(tx, int(at), part, body, &snapshot.content)
        .await
        .map_err(failed)?;
    set_snapshot(tx, &snapshot, false).await.map_err(failed)
}

async fn insert(
    tx: &Transaction<'_>,
    at: i64,
    part: u32,
    body: &[u8],
    sum: &Sum,
) -> Result<(), tokio_postgres::Error> {
    let sql = "INSERT INTO part (at, part, body, sum) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, &[&at, &i64::from(part), &body, &&sum[..]])
        .await?;
    Ok(())
}

/// Finishes a snapshot.
pub(crate) async fn finish(
    tx: &Transaction<'_>,
    head: &Head,
    at: u64,
    parts: u32,
) -> Result<Snapshot, Error> {
    head.readable(at)?;
    let turn =
        |(s, finished): &(Snapshot, bool)| !finished && s.parts == parts && s.epoch == head.epoch;
    let open = query::snapshot(tx, at).await?.filter(turn);
    let (snapshot, _) = open.ok_or(Error::Turn { at, part: parts })?;
    set_snapshot(tx, &snapshot, true)
        .await
        .map_err(|e| fault("save the snapshot", Place::Snapshot(at), e))?;
    Ok(snapshot)
}

/// Removes a slice of what the newest `keep` snapshots do not need. Returns whether more is left.
pub(crate) async fn retain(
    tx: &Transaction<'_>,
    head: &mut Head,
    keep: usize,
) -> Result<bool, Error> {
    let failed = |e| fault("remove old records", Place::Whole, e);
    let sql = "SELECT at FROM snapshot WHERE finished ORDER BY at DESC LIMIT $1";
    let keep = i64::try_from(keep.max(1)).unwrap_or(i64::MAX);
    let kept = tx.query(sql, &[&keep]).await.map_err(failed)?;
    let Some(oldest) = kept.last().map(|row| query::number(row, 0)) else {
        return Ok(false);
    };
    for sql in [
        "DELETE FROM part WHERE at < $1 AND at >= 0",
        "DELETE FROM snapshot WHERE at < $1",
    ] {
        tx.execute(sql, &[&int(oldest)]).await.map_err(failed)?;
    }
    let base = oldest.min(head.base.index.saturating_add(SLICE));
    if base > head.base.index {
        head.base = position(tx, head, base).await?;
        tx.execute("DELETE FROM record WHERE ix <= $1", &[&int(base)])
            .await
            .map_err(failed)?;
        set_head(tx, head).await.map_err(failed)?;
    }
    Ok(base < oldest)
}

const RESTORE: &str = "restore the snapshot";

/// Removes the remains of an attempt to restore that failed.
pub(crate) async fn clear_staged(tx: &Transaction<'_>) -> Result<(), Error> {
    tx.execute("DELETE FROM part WHERE at = $1", &[&STAGED])
        .await
        .map(|_| ())
        .map_err(|e| fault(RESTORE, Place::Whole, e))
}

/// Keeps a part of a snapshot that is being restored.
pub(crate) async fn stage(
    tx: &Transaction<'_>,
    part: u32,
    body: &[u8],
    sum: &Sum,
) -> Result<(), Error> {
    insert(tx, STAGED, part, body, sum)
        .await
        .map_err(|e| fault(RESTORE, Place::Whole, e))
}

/// Replaces everything by the snapshot whose parts are staged.
pub(crate) async fn restore(
    tx: &Transaction<'_>,
    head: &mut Head,
    snapshot: &Snapshot,
) -> Result<Restored, Error> {
    let failed = |e| fault(RESTORE, Place::Whole, e);
    *head = head.restored(snapshot)?;
    tx.batch_execute("DELETE FROM record; DELETE FROM snapshot")
        .await
        .map_err(failed)?;
    tx.execute("DELETE FROM part WHERE at <> $1", &[&STAGED])
        .await
        .map_err(failed)?;
    let at = int(head.base.index);
    tx.execute("UPDATE part SET at = $1 WHERE at = $2", &[&at, &STAGED])
        .await
        .map_err(failed)?;
    set_snapshot(tx, &snapshot.moved(head), true)
        .await
        .map_err(failed)?;
    set_head(tx, head).await.map_err(failed)?;
    tx.execute(
        "UPDATE head SET lease_end = clock_timestamp(), holder = '', leader = ''",
        &[],
    )
    .await
    .map_err(failed)?;
    Ok(Restored {
        epoch: head.epoch,
        at: head.base.index,
    })
}
