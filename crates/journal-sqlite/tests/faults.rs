//! Faults of the process and of the disk. `BETANET_KILLS=1000` kills 1000 processes; the default is 200.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::testkit::{lead, read_all, record, records};
use betanet_journal::{Entry, Error, Journal as _, Place, verify};
use betanet_journal_sqlite::{Settings, SqliteJournal};
use betanet_machine::{Rng, Seed};
use betanet_store::State;
use futures_util::future::{join_all, join3};

/// Variable with the child's folder. Only a child has it.
const FOLDER: &str = "BETANET_JOURNAL_FOLDER";
const KILLS: u64 = 200;

fn block<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

fn open(folder: &Path, floor: u64) -> Result<SqliteJournal, Error> {
    let state = Arc::new(State::open(folder).unwrap());
    let leader = "test".into();
    SqliteJournal::open(&state, Settings { leader, floor })
}

/// Appends three at a time for ever, and prints each index once it is on disk. This is the child process of the test below.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    block(async {
        let journal = open(Path::new(&folder), 0).unwrap();
        let term = lead(&journal).await;
        let mut at = term.last;
        loop {
            // Record `n` has the content of `n`, in groups of one to four.
            let one =
                |from: u64, count: u64| journal.append(term.epoch, records(from..from + count));
            let (a, b) = (1 + at % 4, 1 + at % 3);
            let done = join3(one(at + 1, a), one(at + 1 + a, b), one(at + 1 + a + b, 1)).await;
            at = done.2.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "stands {at}").unwrap();
            out.flush().unwrap();
        }
    });
}

/// Starts a child and kills it after a while. Returns the last index that it reported to be on disk.
fn killed(folder: &Path, micros: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let index = |line: &str| line.rsplit_once("stands ")?.1.parse::<u64>().ok();
    let mut last = lines.by_ref().find_map(|l| index(&l.unwrap())).unwrap();
    std::thread::sleep(Duration::from_micros(micros));
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        last = index(&line).unwrap_or(last);
    }
    last
}

#[test]
fn a_killed_process_loses_nothing_and_leaves_nothing_half() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let kills = std::env::var("BETANET_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let mut rng = Rng::new(&Seed::from_number(5));
    let (mut before, mut beyond) = (0, 0);
    for round in 0..kills {
        let said = killed(&folder, rng.below(8_000));
        let journal = open(&folder, 0).unwrap();
        let facts = block(journal.facts()).unwrap();
        assert_eq!(facts.epoch, round + 1);
        assert!(
            facts.last >= said,
            "round {round}: {said} stood, {}",
            facts.last
        );
        // What was not acknowledged stands whole or not at all. The three appends of a round end at these indexes.
        let (a, b) = (1 + said % 4, 1 + said % 3);
        let ends = [said, said + a, said + a + b, said + a + b + 1];
        assert!(ends.contains(&facts.last), "{ends:?} {}", facts.last);
        beyond += u32::from(facts.last > said);
        let new = block(read_all(&journal, before)).unwrap();
        assert_eq!(new.len() as u64, facts.last - before);
        for entry in &new {
            assert_eq!(entry.record, record(entry.index));
        }
        before = facts.last;
        // Each child begins where the last one ended, so that its records have the content of their index.
        assert!(before > round);
    }
    // Otherwise no kill hit a commit.
    assert!(
        beyond > 0 || kills < 50,
        "no kill between a commit and its report"
    );
    let journal = open(&folder, 0).unwrap();
    let all = block(verify(&journal)).unwrap();
    assert_eq!(all.records, before);
}

/// A journal with 40 records and a snapshot, of which some are in the log alone, as a killed process leaves it.
struct Journal {
    _home: tempfile::TempDir,
    folder: PathBuf,
    /// Each file's name and content.
    files: Vec<(PathBuf, Vec<u8>)>,
}

const LAST: u64 = 40;

impl Journal {
    /// `log` keeps the last records in the log. Otherwise all are in the database.
    fn new(log: bool) -> Self {
        // In memory, where thousands of copies are written at once.
        let home = tempfile::tempdir_in("/dev/shm").unwrap();
        let folder = home.path().join("from");
        let copy = home.path().join("state");
        drop(State::open(&copy).unwrap());
        let mut journal = open(&folder, 0).unwrap();
        block(async {
            lead(&journal).await;
            for n in (1..=20).step_by(4) {
                journal.append(1, records(n..n + 4)).await.unwrap();
            }
            for part in 0..2 {
                let body = vec![7; 5000];
                journal.save(1, 20, part, body).await.unwrap();
            }
            journal.finish(1, 20, 2).await.unwrap();
        });
        drop(journal);
        journal = open(&folder, 0).unwrap();
        block(async {
            lead(&journal).await;
            for n in 21..=LAST {
                journal.append(2, records([n])).await.unwrap();
            }
        });
        if !log {
            drop(journal);
        }
        let mut files = Vec::new();
        for name in ["journal.sqlite", "journal.sqlite-wal", "journal.tip"] {
            if let Ok(bytes) = fs::read(folder.join(name)) {
                files.push((copy.join(name), bytes));
            }
        }
        assert_eq!(files.len(), if log { 3 } else { 2 });
        Self {
            _home: home,
            folder: copy,
            files,
        }
    }

    /// Puts the files in place, with another content of one.
    fn put(&self, other: Option<(usize, &[u8])>) {
        for name in ["journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
            let _ = fs::remove_file(self.folder.join(name));
        }
        for (n, (path, bytes)) in self.files.iter().enumerate() {
            let bytes = match other {
                Some((at, other)) if at == n => other,
                _ => bytes,
            };
            fs::write(path, bytes).unwrap();
        }
    }

    /// Reads all of it. Returns the records before the damage, and the damaged place.
    fn read(&self) -> (Vec<Entry>, Option<Place>) {
        let mut all: Vec<Entry> = Vec::new();
        let mut read = || -> Result<(), Error> {
            let journal = open(&self.folder, 0)?;
            block(async {
                loop {
                    let after = all.last().map_or(0, |e| e.index);
                    let some = journal.read(after, Default::default()).await?;
                    if some.is_empty() {
                        break;
                    }
                    all.extend(some);
                }
                assert_eq!(all.len() as u64, LAST, "the end was skipped");
                let [snapshot] = journal.snapshots().await?[..] else {
                    panic!("the snapshot was skipped");
                };
                assert_eq!((snapshot.at.index, snapshot.parts), (20, 2));
                for part in 0..2 {
                    assert!(journal.load(20, part).await? == vec![7; 5000]);
                }
                Ok(())
            })
        };
        let done = read();
        match done {
            Ok(()) => (all, None),
            Err(Error::Damaged { place, .. }) => (all, Some(place)),
            // A flipped version is a newer one.
            Err(Error::Newer { .. }) => (all, Some(Place::Whole)),
            Err(e) => panic!("{e}: {e:?}"),
        }
    }

    fn check(&self, context: &str) -> Option<Place> {
        let (all, place) = self.read();
        for (n, entry) in (1..).zip(&all) {
            assert_eq!((entry.index, &entry.record), (n, &record(n)), "{context}");
        }
        if let Some(Place::Record(index)) = place {
            // Opening the journal may find the last one first. A damaged page may be walked through, and yet not be found in.
            let next = all.len() as u64 + 1;
            assert!(
                all.is_empty() || (next - 1..=next).contains(&index),
                "{context}: {place:?}"
            );
        }
        place
    }
}

#[test]
fn a_flipped_bit_is_named_or_changes_nothing() {
    let mut rng = Rng::new(&Seed::from_number(9));
    let (mut named, mut harmless, mut records) = (0, 0, 0);
    for log in [false, true] {
        let journal = Journal::new(log);
        journal.put(None);
        assert_eq!(journal.check("whole"), None);
        for (n, (path, bytes)) in journal.files.iter().enumerate() {
            let step = if n == 2 || path.ends_with("journal.tip") {
                5
            } else {
                61
            };
            for from in (0..bytes.len()).step_by(step) {
                let at =
                    (from + usize::try_from(rng.below(step as u64)).unwrap()).min(bytes.len() - 1);
                let mut bad = bytes.clone();
                bad[at] ^= 1 << rng.below(8);
                journal.put(Some((n, &bad)));
                match journal.check(&format!("log {log}, {} at {at}", path.display())) {
                    None => harmless += 1,
                    Some(Place::Record(_)) => records += 1,
                    Some(_) => named += 1,
                }
            }
        }
    }
    println!("flips: {records} name a record, {named} another part, {harmless} change nothing");
    assert!(records > 100 && named > 100, "{records} {named} {harmless}");
}

#[test]
fn a_cut_at_each_byte_of_the_last_record_is_named() {
    for log in [false, true] {
        let journal = Journal::new(log);
        let file = usize::from(log);
        let (path, bytes) = &journal.files[file];
        // The last record's body is found by its content.
        let body = record(LAST).body;
        let at = bytes.windows(body.len()).rposition(|w| w == body).unwrap();
        // The row's header and kind stand before the body, and the checksum of 16 bytes after it.
        for cut in at - 40..at + body.len() + 16 {
            journal.put(Some((file, &bytes[..cut])));
            let place = journal.check(&format!("{} cut at {cut}", path.display()));
            match place {
                Some(Place::Record(index)) => assert_eq!(index, LAST),
                // SQLite itself misses pages of a database that ends early.
                Some(Place::Whole) if !log => {}
                other => panic!("{} cut at {cut}: {other:?}", path.display()),
            }
        }
        journal.put(Some((file, &[])));
        assert!(journal.check("an empty file").is_some());
    }
}

#[test]
fn an_old_copy_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let file = folder.join("journal.sqlite");
    let journal = open(&folder, 0).unwrap();
    block(async {
        lead(&journal).await;
        journal.append(1, records(1..=5)).await.unwrap();
    });
    drop(journal);
    let old = fs::read(&file).unwrap();
    let journal = open(&folder, 0).unwrap();
    block(async {
        assert_eq!(lead(&journal).await.epoch, 2);
        journal.append(2, records([6])).await.unwrap();
    });
    drop(journal);
    let new = fs::read(&file).unwrap();
    fs::write(&file, &old).unwrap();
    match open(&folder, 0) {
        Err(e @ Error::Damaged { .. }) => {
            let said = e.to_string();
            assert!(said.starts_with("record 6: missing"), "{said}");
        }
        other => panic!("{other:?}"),
    }
    fs::write(&file, &new).unwrap();
    fs::remove_file(folder.join("journal.tip")).unwrap();
    let without = open(&folder, 0);
    assert!(matches!(
        without,
        Err(Error::Damaged {
            place: Place::Tip,
            ..
        })
    ));
}

/// A small file system in memory, which is unmounted on drop.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir(&path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Appends 64 KiB at a time until an append is refused. Returns how many stand, and the refusal.
async fn fill(journal: &SqliteJournal, epoch: u64) -> (u64, Error) {
    let kind = record(1).kind;
    loop {
        let large = betanet_journal::Record::new(kind, vec![1; 64 << 10]);
        if let Err(e) = journal.append(epoch, vec![large]).await {
            return (journal.facts().await.unwrap().last, e);
        }
    }
}

#[test]
fn a_full_disk_refuses_appends_and_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(home.path().join("disk"), "size=13m,mode=700");
    let folder = disk.0.join("state");
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    // The floor refuses before the disk is full.
    let journal = open(&folder, 4 << 20).unwrap();
    block(async {
        lead(&journal).await;
        journal.append(1, records(1..=3)).await.unwrap();
        let (last, refused) = fill(&journal, 1).await;
        match refused {
            // As much as the log has is reserved for its copy in the database.
            Error::DiskFloor { free, floor } => {
                assert!(free < floor + (65 << 10) && floor > 4 << 20);
            }
            other => panic!("{other:?}"),
        }
        assert!(last > 20);
        // The lease and the snapshots' removal need no room, and reading goes on.
        assert_eq!(journal.append(1, Vec::new()).await.unwrap(), last);
        journal.retain(1, 1).await.unwrap();
        let part = journal.save(1, last, 0, vec![0; 1 << 20]).await;
        assert!(matches!(part, Err(Error::DiskFloor { .. })));
        assert_eq!(read_all(&journal, 0).await.unwrap().len() as u64, last);
    });
    drop(journal);
    // Without a floor, the disk itself refuses.
    let journal = open(&folder, 0).unwrap();
    let last = block(async {
        let epoch = lead(&journal).await.epoch;
        let (last, refused) = fill(&journal, epoch).await;
        assert!(matches!(refused, Error::DiskFull), "{refused:?}");
        assert_eq!(verify(&journal).await.unwrap().records, last);
        // Each append of a group is refused, and none stands.
        let kind = record(1).kind;
        let large = || betanet_journal::Record::new(kind, vec![1; 1 << 20]);
        let group = (0..4).map(|_| journal.append(epoch, vec![large(), large()]));
        for done in join_all(group).await {
            assert!(matches!(done, Err(Error::DiskFull)), "{done:?}");
        }
        last
    });
    drop(journal);
    fs::remove_file(&ballast).unwrap();
    let journal = open(&folder, 0).unwrap();
    block(async {
        assert_eq!(verify(&journal).await.unwrap().records, last);
        let epoch = lead(&journal).await.epoch;
        let appended = journal.append(epoch, records([1])).await;
        assert_eq!(appended.unwrap(), last + 1);
    });
}

#[test]
fn a_journal_of_version_1_is_migrated() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("state");
    let journal = open(&folder, 0).unwrap();
    block(async {
        lead(&journal).await;
        journal.append(1, records(1..=3)).await.unwrap();
    });
    drop(journal);
    // Version 1 had no snapshots.
    let db = rusqlite::Connection::open(folder.join("journal.sqlite")).unwrap();
    db.execute_batch("DROP TABLE snapshot; DROP TABLE part; PRAGMA user_version = 1")
        .unwrap();
    drop(db);
    let journal = open(&folder, 0).unwrap();
    block(async {
        assert_eq!(read_all(&journal, 0).await.unwrap().len(), 3);
        assert_eq!(lead(&journal).await.epoch, 2);
        journal.save(2, 3, 0, b"state".to_vec()).await.unwrap();
        journal.finish(2, 3, 1).await.unwrap();
        assert_eq!(journal.facts().await.unwrap().version, 2);
    });
}

#[test]
fn retention_returns_space_to_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let journal = open(&home.path().join("state"), 0).unwrap();
    block(async {
        lead(&journal).await;
        let kind = record(1).kind;
        for _ in 0..40 {
            let large = betanet_journal::Record::new(kind, vec![1; 1 << 20]);
            journal.append(1, vec![large]).await.unwrap();
        }
        journal.save(1, 40, 0, b"state".to_vec()).await.unwrap();
        journal.finish(1, 40, 1).await.unwrap();
        let full = journal.facts().await.unwrap().size;
        journal.retain(1, 1).await.unwrap();
        // The log is truncated at the next checkpoint, and the database when it is closed.
        assert!(full > 40 << 20);
        assert_eq!(journal.append(1, records([41])).await.unwrap(), 41);
    });
    drop(journal);
    let size = fs::metadata(home.path().join("state/journal.sqlite")).unwrap();
    assert!(size.len() < 10 << 20, "{}", size.len());
}
