//! Rows of the tables.

use betanet_journal::{Chain, Damage, Error, Head, Held, Place, Snapshot, Sum};
use tokio_postgres::{GenericClient, Row};

use crate::link::fault;
use crate::schema::VERSION;

/// The row of the head.
pub(crate) struct HeadRow {
    pub(crate) head: Head,
    pub(crate) leader: String,
    /// ID of the handle that holds the lease.
    pub(crate) holder: String,
    /// Time until the lease's end, in milliseconds. Negative once it has ended.
    pub(crate) left_ms: i64,
    /// The lease's end, to see whether it is renewed.
    pub(crate) lease_end: String,
}

impl HeadRow {
    /// The lease, if it lasts.
    pub(crate) fn held(&self) -> Option<Held> {
        let ends_in_ms = u64::try_from(self.left_ms).ok().filter(|ms| *ms > 0)?;
        Some(Held {
            name: self.leader.as_str().into(),
            epoch: self.head.epoch,
            ends_in_ms,
        })
    }
}

/// Converts an index or epoch, which is at most `NUMBER_MAX`.
pub(crate) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Reads a number of the database. A negative one is damage.
pub(crate) fn number(row: &Row, at: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(at)).unwrap_or(u64::MAX)
}

pub(crate) fn sum_of(row: &Row, at: usize, place: Place) -> Result<Sum, Error> {
    let sum = Sum::try_from(row.get::<_, &[u8]>(at));
    sum.map_err(|_| Error::damaged(place, Damage::Form))
}

/// Reads the head, and locks its row until the transaction's end if `lock`.
pub(crate) async fn head(client: &impl GenericClient, lock: bool) -> Result<HeadRow, Error> {
    let sql = "SELECT epoch, base, base_sum, last, last_sum, sum, leader, holder,
        floor(extract(epoch FROM lease_end - clock_timestamp()) * 1000)::bigint, lease_end::text, version FROM head";
    let sql = if lock {
        format!("{sql} FOR UPDATE")
    } else {
        sql.to_owned()
    };
    let row = client.query_opt(&sql, &[]).await;
    let row = row.map_err(|e| fault("read the journal's head", Place::Head, e))?;
    let row = row.ok_or(Error::damaged(Place::Head, Damage::Missing))?;
    let found = u32::try_from(row.get::<_, i32>(10)).unwrap_or(0);
    if found > VERSION {
        let known = VERSION;
        return Err(Error::Newer { found, known });
    }
    let chain = |index, sum| {
        Ok(Chain {
            index: number(&row, index),
            sum: sum_of(&row, sum, Place::Head)?,
        })
    };
    let head = Head {
        epoch: number(&row, 0),
        base: chain(1, 2)?,
        last: chain(3, 4)?,
    };
    Ok(HeadRow {
        head: head.check(row.get(5))?,
        leader: row.get(6),
        holder: row.get(7),
        left_ms: row.get(8),
        lease_end: row.get(9),
    })
}

/// Writes the head. The caller has locked its row.
pub(crate) async fn set_head(
    client: &impl GenericClient,
    head: &Head,
) -> Result<(), tokio_postgres::Error> {
    let sql =
        "UPDATE head SET epoch = $1, base = $2, base_sum = $3, last = $4, last_sum = $5, sum = $6";
    let (base, last) = (head.base, head.last);
    let numbers = (int(head.epoch), int(base.index), int(last.index));
    let sums = (&base.sum[..], &last.sum[..], &head.sum()[..]);
    client
        .execute(
            sql,
            &[
                &numbers.0, &numbers.1, &sums.0, &numbers.2, &sums.1, &sums.2,
            ],
        )
        .await?;
    Ok(())
}

/// Returns the position at an index that is kept.
pub(crate) async fn position(
    client: &impl GenericClient,
    head: &Head,
    at: u64,
) -> Result<Chain, Error> {
    head.readable(at)?;
    if at == head.base.index {
        return Ok(head.base);
    }
    if at == head.last.index {
        return Ok(head.last);
    }
    let place = Place::Record(at);
    let sql = "SELECT sum FROM record WHERE ix = $1";
    let row = client.query_opt(sql, &[&int(at)]).await;
    let row = row.map_err(|e| fault("read the journal", place, e))?;
    let row = row.ok_or(Error::damaged(place, Damage::Missing))?;
    Ok(Chain {
        index: at,
        sum: sum_of(&row, 0, place)?,
    })
}

/// Columns of a snapshot, as `described` reads them.
pub(crate) const SNAPSHOT: &str = "at, before, epoch, parts, bytes, content, sum, finished";

/// Reads the description of a snapshot, and whether it is finished.
pub(crate) fn described(row: &Row) -> Result<(Snapshot, bool), Error> {
    let at = number(row, 0);
    let place = Place::Snapshot(at);
    let snapshot = Snapshot {
        at: Chain {
            index: at,
            sum: sum_of(row, 1, place)?,
        },
        epoch: number(row, 2),
        parts: u32::try_from(row.get::<_, i64>(3)).unwrap_or(u32::MAX),
        bytes: number(row, 4),
        content: sum_of(row, 5, place)?,
    };
    Ok((snapshot.check(row.get(6))?, row.get(7)))
}

/// Reads the description of the snapshot at an index.
pub(crate) async fn snapshot(
    client: &impl GenericClient,
    at: u64,
) -> Result<Option<(Snapshot, bool)>, Error> {
    let sql = format!("SELECT {SNAPSHOT} FROM snapshot WHERE at = $1");
    let row = client.query_opt(&sql, &[&int(at)]).await;
    let row = row.map_err(|e| fault("read the snapshot", Place::Snapshot(at), e))?;
    row.as_ref().map(described).transpose()
}

pub(crate) async fn set_snapshot(
    client: &impl GenericClient,
    snapshot: &Snapshot,
    finished: bool,
) -> Result<(), tokio_postgres::Error> {
    let sql = format!(
        "INSERT INTO snapshot ({SNAPSHOT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (at) DO UPDATE SET parts = $4, bytes = $5, content = $6, sum = $7, finished = $8"
    );
    let Snapshot { at, content, .. } = snapshot;
    let (index, epoch) = (int(at.index), int(snapshot.epoch));
    let (parts, bytes) = (i64::from(snapshot.parts), int(snapshot.bytes));
    let (before, content, sum) = (&at.sum[..], &content[..], &snapshot.sum()[..]);
    client
        .execute(
            &sql,
            &[
                &index, &before, &epoch, &parts, &bytes, &content, &sum, &finished,
            ],
        )
        .await?;
    Ok(())
}
