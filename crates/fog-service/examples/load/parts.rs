//! The limits that follow from the parts: signatures, the codec, and the journal alone.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{RunCopy, WorkItem};
use betanet_fog::{Assignment, List, Receipt, Signed, Task, to_vec};
use betanet_journal::{Batch, Journal, Lead, MemoryStore, Record};
use betanet_journal_postgres::PostgresJournal;
use betanet_journal_sqlite::SqliteJournal;
use betanet_runtime::Clock;
use betanet_store::State;

use crate::world::{COORDINATOR, NODE, Who, identity, now_ms};

/// Time for which a part is measured.
const TIME: Duration = Duration::from_secs(1);

/// Records whose bodies are appended again.
const SAMPLE: u64 = 2_000;

pub(crate) async fn open_journal(kind: &str, state: &Arc<State>, name: &str) -> Arc<dyn Journal> {
    match kind {
        "memory" => Arc::new(MemoryStore::new().open(name)),
        "sqlite" => Arc::new(SqliteJournal::open(state, Default::default()).unwrap()),
        url => {
            let settings = betanet_journal_postgres::Settings::new(url).unwrap();
            let schema = format!("{name}_{}", std::process::id());
            let settings = settings.with_schema(&schema).unwrap();
            Arc::new(PostgresJournal::open(settings).await.unwrap())
        }
    }
}

/// The last records that a journal has.
pub(crate) async fn records(journal: &dyn Journal, last: u64) -> Vec<Record> {
    let after = last.saturating_sub(SAMPLE);
    let entries = journal.read(after, Batch::default()).await.unwrap();
    entries.into_iter().map(|e| e.record).collect()
}

/// Measures signatures and codec, and prints the tasks per second that they allow.
pub(crate) fn signatures_and_codec(task: &Signed<Task>, cores: usize) {
    let (sign, verify) = signatures(task);
    // The coordinator verifies task and receipt, and signs the assignment.
    limit("signatures alone", 2.0 * verify + sign, cores);
    println!(
        "  a verification {:.1} µs, a signature {:.1} µs",
        verify * 1e6,
        sign * 1e6
    );
    limit("codec alone", codec(task), cores);
}

/// Measures a journal of this kind, which appends groups of so many records, and prints the tasks per second that it allows.
pub(crate) async fn journal(kind: &str, written: &[Record], (each, group): (f64, usize)) {
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(home.path()).unwrap());
    let journal = open_journal(kind, &state, "parts").await;
    let Ok(Lead::Leads(term)) = journal.lead().await else {
        panic!("the journal cannot be led")
    };
    let mut again = written.iter().cycle();
    let (began, mut n) = (Clock::start(), 0_u32);
    while began.elapsed() < TIME {
        let records = again.by_ref().take(group).cloned().collect();
        journal.append(term.epoch, records).await.unwrap();
        n += 1;
    }
    let commits = f64::from(n) / began.elapsed().as_secs_f64();
    println!(
        "journal alone: {commits:.0} commits/s of {group} records, one after the other, which allows {:.0} tasks/s",
        commits * group as f64 / each.max(1.0)
    );
}

fn limit(what: &str, seconds: f64, cores: usize) {
    println!(
        "{what}: {:.1} µs a task, which allows {:.0} tasks/s on {cores} cores",
        seconds * 1e6,
        cores as f64 / seconds
    );
}

/// Mean processor time of a call, in seconds. Others who use the machine meanwhile do not count.
fn timed(mut f: impl FnMut()) -> f64 {
    let spent = || crate::seconds("/proc/thread-self/stat").unwrap_or(0.0);
    let (began, mut n) = (spent(), 0_u32);
    while spent() - began < TIME.as_secs_f64() {
        for _ in 0..1_000 {
            f();
        }
        n += 1_000;
    }
    (spent() - began) / f64::from(n)
}

/// Times of a signature and of a verification.
fn signatures(task: &Signed<Task>) -> (f64, f64) {
    let me = identity(COORDINATOR, 0);
    let sig = me.sign("load", &[task.rec()]);
    let sign = timed(|| {
        black_box(me.sign("load", &[black_box(task.rec())]));
    });
    let verify = timed(|| {
        me.public()
            .verify("load", &[black_box(task.rec())], &sig)
            .unwrap();
    });
    (sign, verify)
}

fn assignment(task: &Signed<Task>) -> Assignment {
    Assignment {
        inputs: List::new(),
        end: now_ms(),
        key: *identity(COORDINATOR, 0).public().as_bytes(),
        copy: 0,
        devs: List::new(),
        node: identity(NODE, 0).public().node_id(),
        task: task.id(),
        epoch: 1,
        fence: 1_000_000,
    }
}

/// Time of decoding task and receipt, and of encoding the item with the assignment.
fn codec(task: &Signed<Task>) -> f64 {
    let signed = Signed::sign(assignment(task), &identity(COORDINATOR, 0)).unwrap();
    let (bytes, receipt) = (
        task.to_bytes(),
        Who::new(NODE, 0).receipt(&signed).to_bytes(),
    );
    timed(|| {
        let task = Signed::<Task>::restore(black_box(&bytes)).unwrap();
        black_box(Signed::<Receipt>::restore(black_box(&receipt)).unwrap());
        black_box(to_vec(black_box(signed.value())));
        let item = WorkItem::Run(RunCopy {
            at: signed.fence,
            task: task.envelope().clone(),
            work: signed.envelope().clone(),
        });
        black_box(to_vec(&item));
    })
}
