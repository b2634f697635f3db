//! The conformance suite over a real PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::cell::Cell;

use betanet_journal::testkit::{Bed, Spoil, conform, model};
use betanet_journal::{Answer, Error, Journal};
use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings};
use tokio_postgres::NoTls;

/// A schema of its own for each case.
struct SchemaBed {
    url: String,
    schema: String,
}

impl SchemaBed {
    async fn execute(&self, sql: &str) -> u64 {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let path = format!("SET search_path TO {}", self.schema);
        client.batch_execute(&path).await.unwrap();
        let changed = client.execute(sql, &[]).await.unwrap();
        driver.abort();
        changed
    }
}

impl Bed for SchemaBed {
    fn open<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>> {
        Box::pin(async move {
            let settings = Settings::new(&self.url)?.with_schema(&self.schema)?;
            let journal = PostgresJournal::open(settings.with_leader(name)).await?;
            Ok(Box::new(journal) as Box<dyn Journal>)
        })
    }

    fn leases(&self) -> bool {
        true
    }

    fn end_lease(&self) -> Answer<'_, ()> {
        Box::pin(async {
            let sql = "UPDATE head SET lease_end = clock_timestamp() - interval '1 second'";
            assert_eq!(self.execute(sql).await, 1);
            Ok(())
        })
    }

    fn spoil(&self, what: Spoil) -> Answer<'_, ()> {
        let flip = "set_byte(body, 3, get_byte(body, 3) # 4)";
        let sql = match what {
            Spoil::Flip(index) => format!("UPDATE record SET body = {flip} WHERE ix = {index}"),
            Spoil::Remove(index) => format!("DELETE FROM record WHERE ix = {index}"),
            Spoil::RemoveLast => {
                "DELETE FROM record WHERE ix = (SELECT max(ix) FROM record)".into()
            }
            Spoil::Epoch => "UPDATE head SET epoch = epoch - 1".into(),
            Spoil::Part(at, part) => {
                format!("UPDATE part SET body = {flip} WHERE at = {at} AND part = {part}")
            }
            Spoil::Version(version) => format!("UPDATE head SET version = {version}"),
        };
        Box::pin(async move {
            match self.execute(&sql).await {
                1 => Ok(()),
                _ => Err(Error::Closed),
            }
        })
    }
}

fn block<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

#[test]
fn conforms() {
    let cluster = Cluster::start();
    let count = Cell::new(0);
    block(conform(async || {
        count.set(count.get() + 1);
        SchemaBed {
            url: cluster.url(),
            schema: format!("case_{}", count.get()),
        }
    }));
}

#[test]
fn agrees_with_the_model() {
    let cluster = Cluster::start();
    for seed in 0..4 {
        let bed = SchemaBed {
            url: cluster.url(),
            schema: format!("seed_{seed}"),
        };
        block(model(&bed, seed, 100));
    }
}
