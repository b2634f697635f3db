//! Tests that kill processes while they write state. `BETANET_KILLS=1000` kills 1000 of them; the default is a few.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use betanet_store::{Kind, State, Storage};

const VALUE: Kind = Kind::new("value", 1);
const NOTES: Kind = Kind::new("notes", 1);
/// Variable with the child's folder. Only a child has it.
const FOLDER: &str = "BETANET_KILLED_FOLDER";
const KILLS: u32 = 100;
/// Number of records after which a journal starts over.
const RECORDS: u64 = 64;

/// The value of a step: its number, and a varying number of bytes so that the duration of writes differs.
fn content(step: u64) -> Vec<u8> {
    let len = usize::try_from(step * 7919 % 70_000).unwrap();
    let mut bytes = step.to_be_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(step.to_le_bytes()[0], len));
    bytes
}

fn step_of(bytes: &[u8]) -> u64 {
    let (step, _) = bytes.split_first_chunk::<8>().unwrap();
    let step = u64::from_be_bytes(*step);
    assert!(bytes == content(step), "neither the old value nor the new");
    step
}

/// Writes step after step, and prints each once it is on disk. This is the child process of the test below.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let state = State::open(Path::new(&folder)).unwrap();
    let mut step = state
        .load(VALUE, "value")
        .unwrap()
        .map_or(0, |v| step_of(&v.bytes));
    loop {
        step += 1;
        if step.is_multiple_of(RECORDS) {
            state.remove("notes").unwrap();
        }
        state.append(NOTES, "notes", &step.to_be_bytes()).unwrap();
        state.replace(VALUE, "value", &content(step)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "step {step}").unwrap();
        out.flush().unwrap();
    }
}

/// Starts a child and kills it after a varying time. Returns the last step that the child reported to be on disk.
fn killed(folder: &Path, round: u32) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let step = |line: &str| line.rsplit_once("step ")?.1.parse::<u64>().ok();
    // The child has begun. The kill hits it at any point of its work.
    let mut last = lines.by_ref().find_map(|l| step(&l.unwrap())).unwrap();
    let wait = u64::from(round) * 7_368_787 % 3_000;
    std::thread::sleep(Duration::from_micros(wait));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        last = step(&line).unwrap_or(last);
    }
    last
}

#[test]
fn after_a_kill_each_file_has_its_old_or_its_new_content() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let kills = std::env::var("BETANET_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let mut between = 0;
    for round in 0..kills {
        let said = killed(&folder, round);
        // The lock was released with its holder's end.
        let state = State::open(&folder).unwrap();
        let value = state.load(VALUE, "value").unwrap().unwrap();
        let value = step_of(&value.bytes);
        assert!(value == said || value == said + 1, "{said} {value}");
        let notes = state.records(NOTES, "notes").unwrap();
        let notes: Vec<u64> = notes
            .iter()
            .map(|n| u64::from_be_bytes(n[..].try_into().unwrap()))
            .collect();
        // The note is written before the value. The step that starts the journal over may be in progress, or repeated after a
        // kill.
        match notes.last() {
            Some(last) => assert!((value..=value + 1).contains(last), "{last} {value}"),
            None => assert!((value + 1).is_multiple_of(RECORDS), "{value}"),
        }
        assert!(notes.windows(2).all(|w| w[1] == w[0] + 1 || w[1] == w[0]));
        between += u32::from(notes.last() != Some(&value));
        let left = std::fs::read_dir(&folder).unwrap();
        let names: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
        assert!(names.len() <= 3, "{names:?}");
    }
    // Otherwise no kill hit a write.
    assert!(between > 0, "no kill between two writes");
}
