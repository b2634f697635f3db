//! `coordinator snapshot`: saves, inspects and restores snapshots of the journal.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;

use betanet_coordinator::{Coordinator, Input, Setup};
use betanet_journal::file::{SnapshotFile, export};
use betanet_journal::{Batch, Error as JournalError, Journal, Lead, Snapshot};
use betanet_keys::Identity;
use betanet_machine::{Machine as _, Seed};
use betanet_runtime::Clock;
use betanet_scheduler::Placer;
use betanet_wire::text::hex;
use serde_json::json;

use super::{facts, journal};
use crate::Fail;
use crate::args::{CoordinatorInspectArgs, RestoreArgs, SaveArgs, SnapshotCommand};
use crate::fail::{chain, interruptible};

type Machine = Coordinator<Placer>;

pub(super) async fn run(command: SnapshotCommand) -> Result<(), Fail> {
    interruptible(async {
        match command {
            SnapshotCommand::Save(args) => save(args).await,
            SnapshotCommand::Inspect(args) => inspect(&args),
            SnapshotCommand::Restore(args) => restore(args).await,
        }
    })
    .await
}

#[allow(clippy::needless_pass_by_value, reason = "it is what map_err passes")]
fn local(error: JournalError) -> Fail {
    Fail::Local(chain(&error))
}

/// A machine that only reads: its key takes no part in its state.
fn setup() -> Setup {
    Setup::new(*Identity::from_seed(&[1; 32]).public())
}

async fn save(args: SaveArgs) -> Result<(), Fail> {
    let path = args.file.as_path();
    let mut file = File::create_new(path).map_err(Fail::file(path))?;
    let saved = match &args.admin {
        Some(admin) => from_running(admin, path, &mut file).await,
        None => from_journal(&args, path, &mut file).await,
    };
    let saved = saved.and_then(|snapshot| {
        file.sync_all().map_err(Fail::file(path))?;
        Ok(snapshot)
    });
    let snapshot = match saved {
        Ok(snapshot) => snapshot,
        Err(fail) => {
            // A part of a snapshot is of no use.
            let _ = std::fs::remove_file(path);
            return Err(fail);
        }
    };
    if args.json {
        say!("{}", facts(&snapshot));
    } else {
        say!(
            "{}: the state after record {}, {} bytes",
            path.display(),
            snapshot.at.index,
            snapshot.bytes
        );
    }
    Ok(())
}

async fn from_running(admin: &str, path: &Path, file: &mut File) -> Result<Snapshot, Fail> {
    crate::admin::post_to_file(admin, "/coordinator/snapshot", file).await?;
    let read = SnapshotFile::open(BufReader::new(File::open(path).map_err(Fail::file(path))?));
    let mut read = read.map_err(local)?;
    let snapshot = read.snapshot();
    // The connection may have ended early.
    for part in read.by_ref() {
        part.map_err(local)?;
    }
    Ok(snapshot)
}

async fn from_journal(args: &SaveArgs, path: &Path, file: &mut File) -> Result<Snapshot, Fail> {
    let journal = journal::of_args(&args.journal).await?;
    let term = match journal.lead().await.map_err(local)? {
        Lead::Leads(term) => term,
        Lead::Held(held) => {
            let why = format!("{} leads: ask it by --admin", held.name);
            return Err(Fail::Local(why));
        }
    };
    let machine = replay(&*journal).await?;
    let at = term.last;
    let exists = journal.snapshots().await.map_err(local)?;
    if exists.iter().all(|s| s.at.index != at) {
        let mut n = 0;
        for part in machine.snapshot() {
            let saved = journal.save(term.epoch, at, n, part).await;
            saved.map_err(local)?;
            n += 1;
        }
        journal.finish(term.epoch, at, n).await.map_err(local)?;
    }
    let mut out = BufWriter::new(file);
    let snapshot = export(&*journal, at, &mut out).await.map_err(local)?;
    out.flush().map_err(Fail::file(path))?;
    journal.resign(term.epoch).await.map_err(local)?;
    Ok(snapshot)
}

/// Builds the machine from a journal.
async fn replay(journal: &dyn Journal) -> Result<Machine, Fail> {
    let clock = Clock::start();
    let seed = Seed::new([0; 32]);
    let (mut machine, mut last) = match journal.snapshots().await.map_err(local)?.first() {
        None => (Coordinator::new(setup(), Placer::new(), &seed), 0),
        Some(snapshot) => {
            let mut parts = Vec::new();
            for part in 0..snapshot.parts {
                let body = journal.load(snapshot.at.index, part).await;
                parts.push(body.map_err(local)?);
            }
            (restored(&parts, snapshot.at.index)?, snapshot.at.index)
        }
    };
    loop {
        let entries = journal.read(last, Batch::default()).await.map_err(local)?;
        let Some(newest) = entries.last() else {
            return Ok(machine);
        };
        last = newest.index;
        for entry in entries {
            let input = Input::Entry {
                index: entry.index,
                kind: entry.record.kind.as_str().into(),
                body: entry.record.body.into(),
            };
            // A machine refuses requests alone.
            let _ = machine.handle_input(clock.now(), input);
            if machine.is_broken() {
                let why = format!("record {} is none of this version", entry.index);
                return Err(Fail::Local(why));
            }
        }
        while machine.poll_event().is_some() {}
    }
}

fn restored(parts: &[Vec<u8>], at: u64) -> Result<Machine, Fail> {
    let seed = Seed::new([0; 32]);
    let parts = parts.iter().map(Vec::as_slice);
    let machine = Coordinator::restore(setup(), Placer::new(), &seed, parts);
    machine.map_err(|e| Fail::Local(format!("the snapshot at {at}: {e}")))
}

fn open(path: &Path) -> Result<SnapshotFile<BufReader<File>>, Fail> {
    let file = File::open(path).map_err(Fail::file(path))?;
    let read = SnapshotFile::open(BufReader::new(file));
    read.map_err(|e| Fail::Local(format!("{}: {}", path.display(), chain(&e))))
}

fn inspect(args: &CoordinatorInspectArgs) -> Result<(), Fail> {
    let path = args.file.as_path();
    let read = open(path)?;
    let snapshot = read.snapshot();
    let parts: Result<Vec<Vec<u8>>, JournalError> = read.collect();
    let parts = parts.map_err(|e| Fail::Local(format!("{}: {}", path.display(), chain(&e))))?;
    let machine = restored(&parts, snapshot.at.index)?;
    let (tasks, _) = machine.tasks_size();
    let nodes = machine.nodes_known();
    let hash = hex(&machine.hash());
    if args.json {
        let mut all = facts(&snapshot);
        all["nodes"] = json!(nodes);
        all["tasks"] = json!(tasks);
        all["hash"] = json!(hash);
        say!("{all}");
    } else {
        say!("index       {}", snapshot.at.index);
        say!("epoch       {}", snapshot.epoch);
        say!(
            "size        {} bytes in {} parts",
            snapshot.bytes,
            snapshot.parts
        );
        say!("nodes       {nodes}");
        say!("tasks       {tasks}");
        say!("state       {hash}");
    }
    Ok(())
}

async fn restore(args: RestoreArgs) -> Result<(), Fail> {
    let path = args.file.as_path();
    // What cannot be restored must not replace anything.
    let read = open(path)?;
    let snapshot = read.snapshot();
    let parts: Result<Vec<Vec<u8>>, JournalError> = read.collect();
    let parts = parts.map_err(|e| Fail::Local(format!("{}: {}", path.display(), chain(&e))))?;
    restored(&parts, snapshot.at.index)?;
    let journal = journal::of_args(&args.journal).await?;
    let done = journal.restore(snapshot, Box::new(open(path)?)).await;
    let done = done.map_err(local)?;
    if args.json {
        say!("{}", json!({"index": done.at, "epoch": done.epoch}));
    } else {
        say!(
            "restored the state after record {}: the journal goes on after {}, in epochs above {}",
            snapshot.at.index,
            done.at,
            done.epoch
        );
    }
    Ok(())
}
