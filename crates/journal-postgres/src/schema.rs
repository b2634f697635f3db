//! The tables.

use betanet_journal::{Error, Head, Place};
use tokio_postgres::Client;

use crate::link::fault;

/// The steps from an empty schema to the present version. A schema of version `n` has taken the first `n`.
pub(crate) const STEPS: [&str; 2] = [
    "CREATE TABLE head (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL, epoch bigint NOT NULL,
        base bigint NOT NULL, base_sum bytea NOT NULL, last bigint NOT NULL, last_sum bytea NOT NULL, sum bytea NOT NULL,
        claim bigint NOT NULL, leader text NOT NULL, holder text NOT NULL, lease_end timestamptz NOT NULL)
        WITH (fillfactor = 10);
    CREATE TABLE record (ix bigint PRIMARY KEY, epoch bigint NOT NULL, kind text NOT NULL, body bytea NOT NULL,
        sum bytea NOT NULL);
    ALTER TABLE record ALTER COLUMN body SET STORAGE EXTERNAL",
    "CREATE TABLE snapshot (at bigint PRIMARY KEY, before bytea NOT NULL, epoch bigint NOT NULL, parts bigint NOT NULL,
        bytes bigint NOT NULL, content bytea NOT NULL, sum bytea NOT NULL, finished boolean NOT NULL);
    CREATE TABLE part (at bigint NOT NULL, part bigint NOT NULL, body bytea NOT NULL, sum bytea NOT NULL,
        PRIMARY KEY (at, part));
    ALTER TABLE part ALTER COLUMN body SET STORAGE EXTERNAL",
];
/// Version of the tables.
pub(crate) const VERSION: u32 = 2;

/// Brings the tables to the present version.
pub(crate) async fn migrate(client: &mut Client, schema: &str) -> Result<(), Error> {
    let failed = |e| fault("create the journal's tables", Place::Whole, e);
    let tx = client.transaction().await.map_err(failed)?;
    // Several coordinators may start at once.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 7))";
    tx.execute(lock, &[&schema]).await.map_err(failed)?;
    let there = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
    let there: bool = tx
        .query_one(there, &[&schema])
        .await
        .map_err(failed)?
        .get(0);
    // Creating it needs a right that the user may lack.
    if !there {
        let create = format!("CREATE SCHEMA {schema}");
        tx.batch_execute(&create).await.map_err(failed)?;
    }
    let table = format!("{schema}.head");
    let row = tx
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await;
    let created: bool = row.map_err(failed)?.get(0);
    let found = if created {
        let row = tx.query_opt("SELECT version FROM head", &[]).await;
        let row = row.map_err(failed)?;
        let row = row.ok_or(Error::damaged(
            Place::Head,
            betanet_journal::Damage::Missing,
        ))?;
        u32::try_from(row.get::<_, i32>(0)).unwrap_or(0)
    } else {
        0
    };
    if found > VERSION {
        let known = VERSION;
        return Err(Error::Newer { found, known });
    }
    let taken = usize::try_from(found).unwrap_or(0);
    for step in STEPS.iter().skip(taken) {
        tx.batch_execute(step).await.map_err(failed)?;
    }
    let version = i32::try_from(VERSION).unwrap_or(i32::MAX);
    if !created {
        let head = Head::default();
        let (zeros, sum) = (&head.base.sum[..], &head.sum()[..]);
        let insert =
            "INSERT INTO head VALUES (true, $1, 0, 0, $2, 0, $2, $3, 0, '', '', clock_timestamp())";
        tx.execute(insert, &[&version, &zeros, &sum])
            .await
            .map_err(failed)?;
    } else if found < VERSION {
        tx.execute("UPDATE head SET version = $1", &[&version])
            .await
            .map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}
