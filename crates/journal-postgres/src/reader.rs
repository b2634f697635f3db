//! Reads, each in a transaction of one moment.

use betanet_journal::{Answer, Batch, Damage, Entry, Error, Facts, Held, Place, Snapshot, Stored};
use tokio::time::timeout;
use tokio_postgres::{IsolationLevel, Transaction};

use crate::link::{Link, PATIENCE, fault};
use crate::query::{self, SNAPSHOT, described, int, number, position, sum_of};
use crate::schema::VERSION;

/// Runs `work` in a transaction that only reads. A cut connection is made again once.
pub(crate) async fn look<T>(
    link: &mut Link,
    work: impl for<'t> Fn(&'t Transaction<'t>) -> Answer<'t, T>,
) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        let run = async {
            let client = link.client().await?;
            let failed = |e| fault("read the journal", Place::Whole, e);
            let tx = client
                .build_transaction()
                .read_only(true)
                .isolation_level(IsolationLevel::RepeatableRead)
                .start()
                .await
                .map_err(failed)?;
            let out = work(&tx).await?;
            tx.commit().await.map_err(failed)?;
            Ok(out)
        };
        let done = match timeout(PATIENCE * 4, run).await {
            Ok(done) => done,
            Err(late) => Err(Error::backend("read the journal")(late)),
        };
        tries += 1;
        match done {
            Err(Error::Backend { .. }) if tries < 2 => link.cut(),
            Err(e) => {
                if matches!(e, Error::Backend { .. }) {
                    link.cut();
                }
                return Err(e);
            }
            done => return done,
        }
    }
}

pub(crate) async fn read(
    tx: &Transaction<'_>,
    after: u64,
    batch: Batch,
) -> Result<Vec<Entry>, Error> {
    let head = query::head(tx, false).await?.head;
    let mut chain = position(tx, &head, after).await?;
    let wanted = (head.last.index - after).min(batch.records as u64);
    // The server stops at the bound of bytes, so that no more is sent than is asked for.
    let sql = "SELECT ix, epoch, kind, body, sum FROM (
            SELECT *, sum(octet_length(body)) OVER (ORDER BY ix) AS bytes, row_number() OVER (ORDER BY ix) AS n
            FROM (SELECT * FROM record WHERE ix > $1 ORDER BY ix LIMIT $2) AS few) AS summed
        WHERE bytes <= $3 OR n = 1 ORDER BY ix";
    let bytes = i64::try_from(batch.bytes).unwrap_or(i64::MAX);
    let rows = tx.query(sql, &[&int(after), &int(wanted), &bytes]).await;
    let first = Place::Record(after + 1);
    let rows = rows.map_err(|e| fault("read the journal", first, e))?;
    if rows.is_empty() && wanted > 0 {
        return Err(Error::damaged(first, Damage::Missing));
    }
    let mut out = Vec::with_capacity(rows.len());
    for row in &rows {
        let entry = chain.admit(Stored {
            index: number(row, 0),
            epoch: number(row, 1),
            kind: row.get::<_, &str>(2).as_bytes(),
            body: row.get(3),
            sum: row.get(4),
        });
        match entry {
            Ok(entry) => out.push(entry),
            Err(e) if out.is_empty() => return Err(e),
            // The next read names it.
            Err(_) => break,
        }
    }
    Ok(out)
}

pub(crate) async fn snapshots(tx: &Transaction<'_>) -> Result<Vec<Snapshot>, Error> {
    let sql = format!("SELECT {SNAPSHOT} FROM snapshot WHERE finished ORDER BY at DESC");
    let rows = tx.query(&sql, &[]).await;
    let rows = rows.map_err(|e| fault("list the snapshots", Place::Whole, e))?;
    rows.iter().map(|row| Ok(described(row)?.0)).collect()
}

pub(crate) async fn load(tx: &Transaction<'_>, at: u64, part: u32) -> Result<Vec<u8>, Error> {
    let found = query::snapshot(tx, at).await?;
    let found = found.filter(|(s, finished)| *finished && part < s.parts);
    let (snapshot, _) = found.ok_or(Error::NoSnapshot { at })?;
    let place = Place::Part { at, part };
    let sql = "SELECT part, CASE WHEN part = $2 THEN body END, sum FROM part
        WHERE at = $1 AND part BETWEEN $2 - 1 AND $2 ORDER BY part";
    let rows = tx.query(sql, &[&int(at), &i64::from(part)]).await;
    let rows = rows.map_err(|e| fault("load the snapshot", place, e))?;
    if rows.len() != if part == 0 { 1 } else { 2 } {
        return Err(Error::damaged(place, Damage::Missing));
    }
    let mut seen = Snapshot::begin(snapshot.at, snapshot.epoch);
    seen.parts = part;
    let row = &rows[rows.len() - 1];
    if part > 0 {
        seen.content = sum_of(&rows[0], 2, place)?;
    }
    let body: Option<Vec<u8>> = row.get(1);
    let body = body.ok_or(Error::damaged(place, Damage::Missing))?;
    seen.add(&body);
    let ends = seen.parts < snapshot.parts || seen.content == snapshot.content;
    if seen.content != sum_of(row, 2, place)? || !ends {
        return Err(Error::damaged(place, Damage::Checksum));
    }
    Ok(body)
}

pub(crate) async fn facts(tx: &Transaction<'_>) -> Result<Facts, Error> {
    let row = query::head(tx, false).await?;
    let sql = "SELECT sum(pg_total_relation_size(t::regclass))::bigint FROM unnest(ARRAY['head', 'record', 'snapshot', 'part']) t";
    let size = tx.query_one(sql, &[]).await;
    let size = size.map_err(|e| fault("measure the journal", Place::Whole, e))?;
    let leader: Option<Held> = row.held();
    Ok(Facts {
        version: VERSION,
        epoch: row.head.epoch,
        base: row.head.base.index,
        last: row.head.last.index,
        size: number(&size, 0),
        free: None,
        floor: None,
        leader,
    })
}
