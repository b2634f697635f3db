//! The commit of an append, and the question after a cut connection whether it stands.

use std::time::Duration;

use betanet_journal::{Chain, Damage, Error, Failure, Head, Place, Record};
use tokio::time::timeout;
use tokio_postgres::{Client, Statement};

use crate::link::{Link, PATIENCE, fault, is_cut};
use crate::query::{self, int};
use crate::settings::Settings;

/// The leadership of this handle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    pub(crate) epoch: u64,
    /// Rises with each connection that followed a cut one. A statement of an older claim changes nothing.
    pub(crate) claim: i64,
    pub(crate) head: Head,
    /// Whether the head has to be read again, since a transaction that changes it was cut.
    pub(crate) stale: bool,
}

/// Outcome of an attempt to commit.
pub(crate) enum Outcome {
    Stands,
    Over,
    Refused(Error),
}

/// Raises the claim, which ends every statement of an older one. Returns the last position, or `None` if the epoch is over.
async fn raise(client: &Client, epoch: u64, claim: i64) -> Result<Option<Chain>, Failure> {
    let sql = "UPDATE head SET claim = $1 WHERE epoch = $2 AND claim < $1 RETURNING last, last_sum";
    let row = client.query_opt(sql, &[&claim, &int(epoch)]).await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Chain {
        index: query::number(&row, 0),
        sum: query::sum_of(&row, 1, Place::Head)?,
    }))
}

/// Asks whether the records stand, after the epoch has ended.
async fn stands(client: &mut Client, own: Own, head: &Head) -> Result<Outcome, Failure> {
    if head.last == own.head.last {
        return Ok(Outcome::Over);
    }
    let sql = "SELECT r.sum FROM record r WHERE r.ix = $1";
    let tx = client.transaction().await?;
    // The lock waits for a statement that is still at work.
    let row = query::head(&tx, true).await?;
    let record = tx.query_opt(sql, &[&int(head.last.index)]).await?;
    if record.is_some_and(|r| r.get::<_, &[u8]>(0) == head.last.sum) {
        return Ok(Outcome::Stands);
    }
    if row.head.base.index >= head.last.index {
        // A snapshot covers the index by now, and its record cannot be asked for.
        return Ok(Outcome::Refused(unknown(Lost)));
    }
    Ok(Outcome::Over)
}

/// Inserts records and moves the head on, if epoch, claim and last index are the leader's own.
const APPEND: &str = "WITH head AS (
        UPDATE head SET last = $1, last_sum = $2, sum = $3,
            lease_end = clock_timestamp() + $4::float8 * interval '1 second'
        WHERE epoch = $5 AND claim = $6 AND last = $7 RETURNING epoch),
    new AS (
        INSERT INTO record (ix, epoch, kind, body, sum)
        SELECT r.ix, head.epoch, r.kind, r.body, r.sum
        FROM head, unnest($8::bigint[], $9::text[], $10::bytea[], $11::bytea[]) AS r(ix, kind, body, sum))
    SELECT pg_notify($12, '') FROM head";

/// The columns of records to insert.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    indexes: Vec<i64>,
    kinds: Vec<&'a str>,
    bodies: Vec<&'a [u8]>,
    sums: Vec<Vec<u8>>,
}

impl<'a> Rows<'a> {
    pub(crate) fn push(&mut self, at: Chain, record: &'a Record) {
        self.indexes.push(int(at.index));
        self.kinds.push(record.kind.as_str());
        self.bodies.push(&record.body);
        self.sums.push(at.sum.to_vec());
    }

    /// Inserts the records and moves the head on in one statement. Returns whether epoch, claim and last index were its own.
    async fn send(
        &self,
        (client, statement): (&Client, &Statement),
        own: Own,
        claim: i64,
        head: &Head,
        lease: Duration,
        channel: &str,
    ) -> Result<bool, tokio_postgres::Error> {
        let (last, before) = (int(head.last.index), int(own.head.last.index));
        let sums = (&head.last.sum[..], &head.sum()[..]);
        let seconds = lease.as_secs_f64();
        let rows = client
            .query(
                statement,
                &[
                    &last,
                    &sums.0,
                    &sums.1,
                    &seconds,
                    &int(own.epoch),
                    &claim,
                    &before,
                    &self.indexes,
                    &self.kinds,
                    &self.bodies,
                    &self.sums,
                    &channel,
                ],
            )
            .await?;
        Ok(!rows.is_empty())
    }
}

/// Tries once to commit. An error says that the connection was cut, and the outcome is unknown.
pub(crate) async fn attempt(
    (link, settings): (&mut Link, &Settings),
    own: Own,
    (claim, cut): (&mut i64, bool),
    head: &Head,
    rows: &Rows<'_>,
) -> Result<Outcome, Failure> {
    let channel = format!("{}_journal", settings.schema);
    let lease = settings.lease;
    let client = link.client().await?;
    // A server that answers nothing leaves time for another attempt.
    let patience = (lease / 4).min(PATIENCE);
    if cut {
        *claim += 1;
        let raised = timeout(patience, raise(client, own.epoch, *claim)).await??;
        match raised {
            Some(last) if last == head.last && last != own.head.last => {
                return Ok(Outcome::Stands);
            }
            Some(last) if last == own.head.last => {}
            Some(_) => {
                let place = Place::Head;
                return Ok(Outcome::Refused(Error::damaged(place, Damage::Older)));
            }
            None => {
                // Another coordinator leads. What stands now stands for good.
                let stands = timeout(patience, stands(client, own, head)).await??;
                return Ok(stands);
            }
        }
    }
    let sent = async {
        let (client, statement) = link.append(APPEND).await?;
        let send = rows.send((client, &statement), own, *claim, head, lease, &channel);
        Ok::<_, Failure>(send.await)
    };
    match timeout(patience, sent).await?? {
        Ok(true) => Ok(Outcome::Stands),
        Ok(false) => Ok(Outcome::Over),
        Err(e) if is_cut(&e) => Err(e.into()),
        Err(e) => Ok(Outcome::Refused(fault(
            "append to the journal",
            Place::Whole,
            e,
        ))),
    }
}

/// This handle cannot know what it committed.
#[derive(Debug)]
pub(crate) struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an append of this epoch had an unknown outcome")
    }
}

impl std::error::Error for Lost {}

pub(crate) fn unknown(source: impl Into<Failure>) -> Error {
    Error::Unknown {
        source: source.into(),
    }
}
