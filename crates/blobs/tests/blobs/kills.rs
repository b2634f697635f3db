//! Processes that are killed while they store blobs. `BETANET_KILLS=1000` kills 1000; the default is 40.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use betanet_blobs::{Blobs, Digest, LogSettings, Logs};
use betanet_machine::{Rng, Seed};
use betanet_store::State;
use bytes::Bytes;

use super::{files, open_settings, put, random};

/// Variable with the child's folder. Only a child has it.
const FOLDER: &str = "BETANET_BLOBS_FOLDER";

/// Content of blob `n`, of up to 600 KB.
fn content(n: u64) -> Vec<u8> {
    random(n, usize::try_from(n * 7919 % 600_000).unwrap())
}

async fn open(folder: &Path) -> (Blobs, Logs) {
    let state = Arc::new(State::open(folder).unwrap());
    let settings = LogSettings {
        floor: 0,
        ..LogSettings::default()
    };
    let blobs = Blobs::open(&state, open_settings()).await.unwrap();
    (blobs, Logs::open(&state, settings).await.unwrap())
}

/// Stores blobs and appends to a log for ever, and prints each number once both are stored. This is the child of the test below.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (blobs, logs) = open(Path::new(&folder)).await;
    let task = Digest::of(b"task");
    let mut n = blobs.facts().await.blobs;
    loop {
        let off = logs.len(task, 1).await.unwrap().unwrap_or(0);
        n += 1;
        put(&blobs, &content(n)).await.unwrap();
        let line = Bytes::from(format!("{n:08}"));
        logs.append(task, 1, off, line).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "stored {n}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts a child and kills it after a while. Returns the last number that it reported.
fn killed(folder: &Path, micros: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: &str| line.rsplit_once("stored ")?.1.parse::<u64>().ok();
    let mut last = lines.by_ref().find_map(|l| number(&l.unwrap())).unwrap();
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        last = number(&line).unwrap_or(last);
    }
    last
}

#[tokio::test]
async fn a_killed_process_leaves_whole_blobs_alone() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let kills = std::env::var("BETANET_KILLS").map_or(40, |n| n.parse().unwrap());
    let mut rng = Rng::new(&Seed::from_number(5));
    let (mut cut, mut before) = (0, 0);
    for round in 0..kills {
        let said = killed(&folder, rng.below(20_000));
        let unfinished = |path: &Path| path.to_string_lossy().contains('#');
        let all = files(&folder.join("blobs"));
        cut += all.iter().filter(|(path, _)| unfinished(path)).count();
        let (blobs, logs) = open(&folder).await;
        let all = files(&folder.join("blobs"));
        assert!(!all.iter().any(|(path, _)| unfinished(path)));
        let facts = blobs.facts().await;
        // One more may be stored than was reported.
        assert!((said..=said + 1).contains(&facts.blobs), "round {round}");
        assert_eq!((facts.damaged, all.len() as u64), (0, facts.blobs));
        for n in before + 1..=facts.blobs {
            blobs.verify(Digest::of(&content(n))).await.unwrap();
        }
        before = facts.blobs;
        let log = logs.len(Digest::of(b"task"), 1).await.unwrap().unwrap();
        assert!(log >= 8, "round {round}");
    }
    println!("{kills} kills, {cut} of them in the midst of an upload; {before} blobs");
    assert!(cut > 0 || kills < 20, "no kill hit an upload");
}
