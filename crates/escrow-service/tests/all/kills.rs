//! A process that settles tasks, killed by SIGKILL at random moments: each task is paid exactly, and once.
//!
//! Processes follow each other over the same journals: each goes on where the one before was killed. After a series of them, the sums are
//! checked, and the next series begins with journals of its own, so that no process reads a long past.
//!
//! The test runs in a short form. `cargo xtask settle` runs it in full, by `BETANET_SETTLE_POINTS` and `BETANET_SETTLE_SEED`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
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
/// The line that it prints once it serves, and the one after each step of a task.
const READY: &str = "settles";
const STEP: &str = "step";
/// Kills of one series.
const SERIES: u64 = 50;
/// Most steps before a kill, and the longest pause after the last one, in µs: about as long as a step takes.
const STEPS: u64 = 24;
const PAUSE_US: u64 = 4_000;
/// Longest pause before a kill of a process that starts, in µs: about as long as a start takes.
const START_US: u64 = 60_000;
/// Number of the signal that no process sees.
const SIGKILL: i32 = 9;
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
        println!("{STEP}");
        one.answer_all().await;
        println!("{STEP}");
        if nonce.is_multiple_of(4) {
            while one.held(id).await {
                one.answer_all().await;
                one.ledger.changed(Duration::from_millis(10)).await;
            }
            println!("{STEP}");
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

/// A folder in memory where there is one: what a process has written outlives its kill there too, and no other crash is tried here.
fn home() -> TempDir {
    match TempDir::new_in("/dev/shm") {
        Ok(home) => home,
        Err(_) => TempDir::new().unwrap(),
    }
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

/// Starts a process and kills it: at a step, shortly after one, or, once in eight, while it starts between the settlements of the last
/// process and its own.
async fn kill_one(home: &Path, rng: &mut Rng) {
    let mut child = spawn(home);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut comes = |word: &str| {
        let came = lines.any(|line| line.is_ok_and(|line| line.ends_with(word)));
        assert!(came, "the process ended by itself");
    };
    let pause = match rng.below(8) {
        0 => rng.below(START_US),
        _ => {
            comes(READY);
            for _ in 0..rng.below(STEPS) {
                comes(STEP);
            }
            rng.below(PAUSE_US)
        }
    };
    tokio::time::sleep(Duration::from_micros(pause)).await;
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "{status}");
    clear(home);
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

/// What a series did.
#[derive(Debug, Default)]
struct Done {
    accepted: u64,
    paid: u64,
    cost: u128,
    holds: u64,
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
    let (mut all, mut killed) = (Done::default(), 0);
    while killed < points {
        let kills = SERIES.min(points - killed);
        let done = series(kills, &mut rng).await;
        killed += kills;
        all.accepted += done.accepted;
        all.paid += done.paid;
        all.cost += done.cost;
        all.holds += done.holds;
        println!(
            "{killed} kills: {} of {} tasks were paid {} µFOG, each once; {} holds",
            all.paid, all.accepted, all.cost, all.holds
        );
    }
}

/// Kills so many processes over the same journals, and checks what was paid.
async fn series(kills: u64, rng: &mut Rng) -> Done {
    let home = home();
    std::fs::write(home.path().join("GENESIS"), genesis_with(PURSE)).unwrap();
    for _ in 0..kills {
        kill_one(home.path(), rng).await;
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
    assert!(tasks > 0 || kills < 8);
    one.stop().await;
    Done {
        accepted,
        paid: tasks,
        cost,
        holds,
    }
}
