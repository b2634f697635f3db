//! Measures appends per second, and raw SQLite transactions per second beside them: `cargo run --release --example sqlite_appends [FOLDER]`.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement reads the clock and prints"
)]

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_journal::{Batch, Journal, Kind, Lead, Record, verify};
use betanet_journal_sqlite::{Settings, SqliteJournal};
use betanet_store::State;
use futures_util::future::join_all;
use rusqlite::{Connection, params};

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

/// Transactions of `count` rows, with the journal's own settings of SQLite.
fn raw(path: &Path, count: u32) -> rusqlite::Result<f64> {
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", 4096)?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS r (ix INTEGER PRIMARY KEY, kind TEXT, body BLOB, sum BLOB)",
    )?;
    let (body, sum, began) = ([7_u8; BODY], [1_u8; 16], Instant::now());
    let mut done = 0;
    while began.elapsed() < TIME {
        let tx = db.transaction()?;
        let mut insert =
            tx.prepare_cached("INSERT INTO r (kind, body, sum) VALUES (?1, ?2, ?3)")?;
        for _ in 0..count {
            insert.execute(params!["accepted", body, sum])?;
        }
        drop(insert);
        tx.commit()?;
        done += count;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// Appends of `count` records, `at_once` at a time. Returns records per second, and the 99th percentile of an append in ms.
async fn appends(journal: &SqliteJournal, epoch: u64, at_once: u32, count: u32) -> (f64, f64) {
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
    let home = match std::env::args_os().nth(1) {
        Some(folder) => tempfile::tempdir_in(PathBuf::from(folder))?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let state = Arc::new(State::open(&home.path().join("state"))?);
    let journal = SqliteJournal::open(&state, Settings::default())?;
    runtime.block_on(async {
        let Lead::Leads(term) = journal.lead().await? else {
            return Err("another coordinator leads".into());
        };
        println!("4 KiB written and synced {:>9.0}/s", syncs(&home.path().join("sync"))?);
        println!("records of {BODY} bytes; records per second, 99 of 100 appends within ms, raw transactions per second");
        for (what, at_once, count) in [
            ("one at a time", 1, 1),
            ("8 appends at once", 8, 1),
            ("64 appends at once", 64, 1),
            ("512 appends at once", 512, 1),
            ("64 records an append", 1, 64),
            ("64 appends of 64", 64, 64),
        ] {
            let raw = raw(&home.path().join("raw"), at_once * count)?;
            let (rate, p99) = appends(&journal, term.epoch, at_once, count).await;
            println!(
                "{what:<22} {rate:>9.0}/s  {p99:>6.1} ms   raw SQLite {raw:>9.0}/s in {:>6.0} transactions/s   ratio {:.2}",
                raw / f64::from(at_once * count),
                rate / raw
            );
        }
        let began = Instant::now();
        let all = verify(&journal).await?;
        let rate = f64::from(u32::try_from(all.records)?) / began.elapsed().as_secs_f64();
        println!("read and verified      {rate:>9.0}/s");
        let first = journal.read(0, Batch::default()).await?;
        assert_eq!(first[0].index, 1);
        Ok::<(), Box<dyn Error>>(())
    })
}
