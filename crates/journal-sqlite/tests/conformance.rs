//! The conformance suite over SQLite files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::sync::{Arc, Mutex};

use betanet_journal::testkit::{Bed, Spoil, conform, model};
use betanet_journal::{Answer, Error, Journal};
use betanet_journal_sqlite::{Settings, SqliteJournal};
use betanet_store::State;
use rusqlite::Connection;

/// A state folder of its own for each case.
struct FileBed {
    home: tempfile::TempDir,
    /// The folder's holder, which all handles share as one process does.
    state: Mutex<Option<Arc<State>>>,
}

impl FileBed {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            state: Mutex::new(None),
        }
    }

    fn db(&self) -> Connection {
        Connection::open(self.home.path().join("state/journal.sqlite")).unwrap()
    }
}

impl Bed for FileBed {
    fn open<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>> {
        let mut state = self.state.lock().unwrap();
        let state = state.get_or_insert_with(|| {
            let state = State::open(&self.home.path().join("state"));
            Arc::new(state.unwrap())
        });
        let settings = Settings {
            leader: name.into(),
            floor: 0,
        };
        let opened = SqliteJournal::open(state, settings);
        let opened = opened.map(|journal| Box::new(journal) as Box<dyn Journal>);
        Box::pin(std::future::ready(opened))
    }

    fn reopen<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>> {
        // The holder has gone, and another takes the folder.
        *self.state.lock().unwrap() = None;
        self.open(name)
    }

    fn leases(&self) -> bool {
        false
    }

    fn end_lease(&self) -> Answer<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn spoil(&self, what: Spoil) -> Answer<'_, ()> {
        let flip = "CAST(substr(body, 1, 3) || x'ff' || substr(body, 5) AS BLOB)";
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
            Spoil::Version(version) => format!("PRAGMA user_version = {version}"),
        };
        let changed = self.db().execute(&sql, []).unwrap();
        let done = changed == 1 || matches!(what, Spoil::Version(_));
        Box::pin(std::future::ready(done.then_some(()).ok_or(Error::Closed)))
    }
}

fn block<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(work)
}

#[test]
fn conforms() {
    block(conform(async || FileBed::new()));
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..6 {
        block(model(&FileBed::new(), seed, 120));
    }
}

#[test]
fn a_second_process_is_refused_by_name() {
    let bed = FileBed::new();
    let _first = block(bed.open("a")).unwrap();
    // As another process would: the folder has one holder.
    let second = State::open(&bed.home.path().join("state"));
    let said = second.unwrap_err().to_string();
    assert!(said.contains(&std::process::id().to_string()), "{said}");
}

#[test]
fn only_the_owner_reads_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = FileBed::new();
    let journal = block(bed.open("a")).unwrap();
    block(journal.lead()).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(bed.home.path().join("state")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    let wanted = [
        "journal.sqlite",
        "journal.sqlite-shm",
        "journal.sqlite-wal",
        "journal.tip",
        "lock",
    ];
    assert_eq!(names, wanted);
}
