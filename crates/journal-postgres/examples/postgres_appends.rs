//! Measures appends per second, and raw PostgreSQL transactions per second beside them, in a cluster of its own:
//! `cargo run --release --features testkit --example postgres_appends`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use betanet_journal::{Journal, Kind, Lead, Record, verify};
use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings};
use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls};

/// Length of a record's body, in bytes.
const BODY: usize = 300;
/// Duration of each measurement.
const TIME: Duration = Duration::from_secs(3);
/// Writes 4 KiB at a time to a file and syncs it. Returns writes per second.
fn syncs(path: &Path) -> std::io::Result<f64> {
    let mut file = File::create(path)?;
    let (mut done, began) = (0_u32, Instant::now());
    while began.elapsed() < TIME {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        done += 1;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// Inserts of `count` rows by one statement.
async fn raw(client: &Client, count: u32) -> Result<f64, tokio_postgres::Error> {
    let insert = client
        .prepare("INSERT INTO r (kind, body, sum) SELECT 'accepted', b, '\\x00' FROM unnest($1::bytea[]) AS b")
        .await?;
    let bodies = vec![vec![7_u8; BODY]; usize::try_from(count).unwrap_or(1)];
    let (mut done, began) = (0, Instant::now());
    while began.elapsed() < TIME {
        client.execute(&insert, &[&bodies]).await?;
        done += count;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// Appends of `count` records, `at_once` at a time. Returns records per second, and the 99th percentile of an append in ms.
async fn appends(journal: &PostgresJournal, epoch: u64, at_once: u32, count: u32) -> (f64, f64) {
    let kind = Kind::new("accepted").unwrap_or_else(|| unreachable!());
    let records = || vec![Record::new(kind, [7; BODY]); usize::try_from(count).unwrap_or(1)];
    let began = Instant::now();
    let one = |_| async {
        let mut times = Vec::new();
        while began.elapsed() < TIME {
            let start = Instant::now();
            if journal.append(epoch, records()).await.is_err() {
                break;
            }
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        times
    };
    let mut times: Vec<f64> = join_all((0..at_once).map(one)).await.concat();
    let took = began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or(0.0);
    let appends = f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX));
    (appends * f64::from(count) / took, p99)
}

fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await?;
        let driver = tokio::spawn(connection);
        client
            .batch_execute("CREATE TABLE r (ix bigserial PRIMARY KEY, kind text, body bytea, sum bytea)")
            .await?;
        let journal = PostgresJournal::open(Settings::new(&cluster.url())?).await?;
        let Lead::Leads(term) = journal.lead().await? else {
            return Err("another coordinator leads".into());
        };
        println!("4 KiB written and synced {:>9.0}/s", syncs(&cluster.folder().join("sync"))?);
        println!("records of {BODY} bytes; records per second, 99 of 100 appends within ms, raw transactions per second");
        for (what, at_once, count) in [
            ("one at a time", 1, 1),
            ("8 appends at once", 8, 1),
            ("64 appends at once", 64, 1),
            ("512 appends at once", 512, 1),
            ("64 records an append", 1, 64),
            ("64 appends of 64", 64, 64),
        ] {
            let raw = raw(&client, at_once * count).await?;
            let (rate, p99) = appends(&journal, term.epoch, at_once, count).await;
            println!(
                "{what:<22} {rate:>9.0}/s  {p99:>6.1} ms   raw PostgreSQL {raw:>9.0}/s in {:>6.0} transactions/s   ratio {:.2}",
                raw / f64::from(at_once * count),
                rate / raw
            );
        }
        let began = Instant::now();
        let all = verify(&journal).await?;
        let rate = f64::from(u32::try_from(all.records)?) / began.elapsed().as_secs_f64();
        println!("read and verified      {rate:>9.0}/s");
        driver.abort();
        Ok::<(), Box<dyn Error>>(())
    })
}
