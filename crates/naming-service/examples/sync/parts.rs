//! The limits that follow from the parts: signatures, the ledger alone, and the journal alone.

use std::path::Path;

use betanet_journal::Lead;
use betanet_naming::{Verified, Verifier};
use betanet_runtime::Clock;

use crate::world::{World, finals};

/// Records of which a part is measured.
const SAMPLE: usize = 20_000;
/// Records of one answer of the gossip.
const ANSWER: usize = 256;

/// Processor seconds of this thread that some work takes.
fn spent<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let now = || crate::seconds("/proc/thread-self/stat").unwrap_or(0.0);
    let began = now();
    let done = work();
    (now() - began, done)
}

fn limit(what: &str, seconds: f64, records: usize, cores: usize) {
    let each = seconds / records as f64;
    println!(
        "{what}: {:.1} µs a record, which allows {:.0} records/s on {cores} cores",
        each * 1e6,
        cores as f64 / each
    );
}

fn verified(world: &World) -> (f64, Vec<Verified>) {
    let sample = &world.records[..SAMPLE.min(world.records.len())];
    let mut verifier = Verifier::new(&world.network.genesis().signers, usize::MAX);
    spent(|| verifier.verify_all(sample))
}

/// Reading and verifying records.
pub(crate) fn signatures(world: &World, cores: usize) {
    let (took, all) = verified(world);
    limit("signatures alone", took, all.len(), cores);
}

/// The ordered state, in memory, without signatures.
pub(crate) fn ledger(world: &World) {
    let (_, all) = verified(world);
    let mut ledger = world.network.ledger();
    let (took, ()) = spent(|| {
        for part in all.chunks(ANSWER) {
            for verified in part {
                ledger.replay(verified).unwrap();
            }
        }
    });
    limit("the ledger alone", took, all.len(), 1);
}

/// Commits of the records of one answer each, one after the other.
pub(crate) fn journal(world: &World, home: &Path) {
    let journal = crate::sqlite(&home.join("parts"));
    let sample = &world.records[..SAMPLE.min(world.records.len())];
    let runtime = crate::runtime("parts");
    let (took, commits) = runtime.block_on(async {
        let Ok(Lead::Leads(term)) = journal.lead().await else {
            unreachable!("nobody else has it")
        };
        let (clock, mut commits) = (Clock::start(), 0);
        for part in sample.chunks(ANSWER) {
            journal
                .append(term.epoch, vec![finals(part)])
                .await
                .unwrap();
            commits += 1;
        }
        (clock.elapsed().as_secs_f64(), commits)
    });
    println!(
        "journal alone: {:.2} ms a commit of {ANSWER} records, which allows {:.0} records/s",
        took * 1e3 / f64::from(commits),
        sample.len() as f64 / took
    );
}
