//! A process that settles tasks, killed by SIGKILL at random moments: each task is paid exactly, and once.
//!
//! The test runs in a short form. `cargo xtask settle` runs it in full, by `BETANET_SETTLE_POINTS` and `BETANET_SETTLE_SEED`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Change, Record};
use betanet_escrow_service::reservation_id;
use betanet_fog::{Signed, Task};
use betanet_fog_service::Purpose;
use betanet_journal::{Batch, Journal};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_machine::{Rng, Seed};
use betanet_store::State;
use betanet_tokenomics::account::{ESCROW, FEES, MICRO, address};
use betanet_tokenomics::journal::Record as BookRecord;
use betanet_tokenomics::request::{Item, Op};
use betanet_tokenomics::{Asset, Envelope, Id};
use tempfile::TempDir;

use crate::world::{BUDGET, Disk, How, ME, Process, WORKER, genesis_with, key, now_ms, task};

/// Where the process that is killed keeps its state.
const HOME: &str = "BETANET_SETTLE_HOME";
/// The line that it prints once it serves.
const READY: &str = "settles";
/// Fee of a reservation, in µ, and the part of each pay that is a fee, in ppm.
const FEE: u128 = 100;
const FEE_PPM: u64 = 20_000;
/// What the owner of the tasks has at first.
const PURSE: u64 = 10_000_000 * MICRO;

fn size(name: &str, short: u64) -> u64 {
    let given = std::env::var(format!("BETANET_SETTLE_{name}"));
    given.map_or(short, |text| text.parse().unwrap())
}

fn journal(home: &Path, part: &str) -> Arc<dyn Journal> {
    let state = State::open_within(&home.join(part), Duration::from_secs(20)).unwrap();
    Arc::new(SqliteJournal::open(&Arc::new(state), SqliteSettings::default()).unwrap())
}

async fn start(home: &Path) -> (Process, Arc<dyn Journal>, Disk) {
    let disk = Disk {
        genesis: std::fs::read(home.join("GENESIS")).unwrap(),
        ..Disk::within(home)
    };
    let (fog, books) = (journal(home, "fog"), journal(home, "books"));
    let process = disk.start_on(How::default(), fog.clone(), books).await;
    process.return_to_work().await;
    (process, fog, disk)
}

/// What is killed. It is no test unless the other one starts it.
#[tokio::test(flavor = "multi_thread")]
async fn settler() {
    let Ok(home) = std::env::var(HOME) else {
        return;
    };
    let (one, _fog, _disk) = start(Path::new(&home)).await;
    println!("{READY}");
    // The owner submits, while the worker answers what it finds; the coordinator settles by itself.
    let mut nonce = now_ms() << 20;
    loop {
        nonce += 1;
        let id = one.local.submit(task(nonce, BUDGET)).await.unwrap();
        one.answer_all().await;
        if nonce.is_multiple_of(4) {
            while one.held(id).await {
                one.answer_all().await;
                one.ledger.changed(Duration::from_millis(10)).await;
            }
        }
    }
}

fn spawn(home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::settler", "--nocapture"])
        .env(HOME, home)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Removes the folders of a process that was killed, other than its journals.
fn clear(home: &Path) {
    for entry in std::fs::read_dir(home).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
}

/// Tasks that ended, with what their nodes are owed, and those that were accepted.
async fn owed(journal: &dyn Journal) -> (BTreeMap<Id, u64>, u64) {
    let (mut owed, mut ids, mut last) = (BTreeMap::new(), BTreeMap::new(), 0);
    loop {
        let entries = journal.read(last, Batch::default()).await.unwrap();
        if entries.is_empty() {
            return (owed, ids.len() as u64);
        }
        for entry in entries {
            last = entry.index;
            let record = Record::read(entry.record.kind.as_str(), &entry.record.body);
            match record.map(|r| r.change) {
                Ok(Change::Accepted { task, .. }) => {
                    let task = Signed::<Task>::restore(&task).unwrap();
                    let res = reservation_id(&task.owner, Purpose::Task, &task.id().0);
                    ids.insert(task.id(), res);
                }
                Ok(Change::Ended {
                    task,
                    deciding,
                    cost,
                    ..
                }) => {
                    let pays = if deciding.is_empty() { 0 } else { cost };
                    owed.insert(ids[&task], pays);
                }
                _ => {}
            }
        }
    }
}

/// What the ledger's records pay out of each reservation, and how often it was ended.
fn settled(records: &[Vec<u8>]) -> (BTreeMap<Id, (u64, u64)>, u64) {
    let (mut all, mut holds) = (BTreeMap::<Id, (u64, u64)>::new(), 0);
    for bytes in records {
        let record = BookRecord::from_bytes(bytes).unwrap();
        let Some(envelope) = Envelope::from_bytes(&record.req) else {
            continue;
        };
        match envelope.request.op {
            Op::Reserve { .. } => holds += 1,
            Op::Settle { end, list, res, .. } => {
                let (paid, ends) = all.entry(res).or_default();
                let worker = address(&key(WORKER));
                assert!(list.iter().all(|item: &Item| item.to == worker));
                *paid += list.iter().map(|item| item.pay).sum::<u64>();
                *ends += u64::from(end);
            }
            _ => {}
        }
    }
    (all, holds)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_while_it_settles_pays_each_task_once() {
    if std::env::var(HOME).is_ok() {
        return;
    }
    let points = size("POINTS", 12);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&size("SEED", 33).to_be_bytes());
    let mut rng = Rng::new(&Seed::new(seed));
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("GENESIS"), genesis_with(PURSE)).unwrap();
    for point in 0..points {
        let mut child = spawn(home.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // One in eight is killed while it starts: between its last process's settlements and its own.
        if rng.below(8) != 0 {
            let ready = lines.any(|line| line.is_ok_and(|line| line.ends_with(READY)));
            assert!(ready, "the process of point {point} ended by itself");
        }
        let pause = Duration::from_micros(rng.below(300_000));
        tokio::time::sleep(pause).await;
        child.kill().unwrap();
        child.wait().unwrap();
        clear(home.path());
        if (point + 1) % 500 == 0 {
            println!("{} points", point + 1);
        }
    }

    // The last one ends what is open.
    let (one, fog, _disk) = start(home.path()).await;
    let ended = async {
        loop {
            one.answer_all().await;
            if one.measure("escrow_open") == 0 {
                return;
            }
            one.ledger.changed(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .unwrap();
    let (owed, accepted) = owed(&*fog).await;
    assert_eq!(owed.len() as u64, accepted, "all that was accepted ended");
    let looked = one.ledger.look(|view| {
        assert!(view.latest.audit().is_ok());
        let of = |id| view.latest.counters(&id, Asset::Fog).available();
        let has = [address(&key(ME)), address(&key(WORKER)), ESCROW, FEES].map(of);
        (has, settled(view.records))
    });
    let (has, (paid, holds)) = looked.await.unwrap();
    let mut tasks = 0;
    for (res, owed) in &owed {
        assert_eq!(paid.get(res), Some(&(*owed, 1)), "{res:02x?}");
        tasks += u64::from(*owed > 0);
    }
    assert_eq!(paid.len(), owed.len(), "nothing else was settled");
    // Holds that were made before their task was accepted stay until their end.
    let orphans = u128::from(holds - accepted) * u128::from(BUDGET);
    let cost: u128 = owed.values().map(|c| u128::from(*c)).sum();
    let fees: u128 = owed
        .values()
        .map(|c| u128::from(c * FEE_PPM / 1_000_000))
        .sum();
    let held = u128::from(holds) * FEE;
    let expected = [
        u128::from(PURSE) - cost - held - orphans,
        u128::from(MICRO) + cost - fees,
        orphans,
        fees + held,
    ];
    assert_eq!(has, expected);
    println!(
        "{points} kills: {tasks} of {accepted} tasks were paid {cost} µFOG, each once; {holds} holds"
    );
    assert!(tasks > 0 || points < 8);
    one.stop().await;
}
