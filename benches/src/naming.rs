//! The ledger of names beside the arithmetic that it cannot do without: hashing for the log, signatures for the records.

use std::hint::black_box;
use std::time::Instant;

use betanet_keys::{Equation, PreparedKeys};
use betanet_log::{Log, Memory, Signature, leaf_hash, node_hash, verify_inclusion};
use betanet_naming::testkit::{Network, T0, owner};
use betanet_naming::{Alias, AliasRecord, Finalized, Ledger, Proof, Verified, Verifier};
use bytes::Bytes;

use crate::{Effort, Figure, median, spent};

/// Bytes of a record in the log's measurement, about those of an alias record with two signatures.
const RECORD: usize = 400;

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n: u32 = if effort.quick { 100_000 } else { 1_000_000 };
    let mut figures = log(effort, n);
    figures.extend(records(effort));
    figures.extend(restart(n));
    figures
}

/// Wall seconds that some work takes: the bounds of a restart and a proof are times.
#[allow(clippy::disallowed_methods, reason = "a measurement has a clock")]
fn took<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let done = work();
    (began.elapsed().as_secs_f64(), done)
}

fn log(effort: Effort, n: u32) -> Vec<Figure> {
    let record = |i: u32| {
        let mut record = [7; RECORD];
        record[..4].copy_from_slice(&i.to_be_bytes());
        record
    };
    let m = n / 10;
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let append = spent(|| {
            let mut log = Log::new(Memory::default());
            for i in 0..m {
                log.append(&record(i)).unwrap();
            }
            black_box(log.root());
        });
        let hashes = spent(|| {
            let mut last = [0; 32];
            for i in 0..m {
                last = node_hash(&last, &leaf_hash(&record(i)));
            }
            black_box(last);
        });
        ratios.push(hashes / append);
        rates.push(f64::from(m) / append);
    }
    let mut log = Log::new(Memory::default());
    for i in 0..n {
        log.append(&record(i)).unwrap();
    }
    let size = u64::from(n);
    let mut proofs = Vec::new();
    for i in 0..1000_u64 {
        let index = i * 7919 % size;
        let (made, proof) = took(|| log.inclusion(index, size).unwrap());
        let leaf = log.leaf(index).unwrap();
        assert!(verify_inclusion(&leaf, index, size, &proof, &log.root()));
        proofs.push(made * 1e3);
    }
    let proof = median(proofs);
    let (write, snapshot) = took(|| log.snapshot(size).unwrap());
    let (read, again) = took(|| Log::from_snapshot(&snapshot).unwrap());
    assert_eq!(again.root(), log.root());
    vec![
        Figure {
            name: "log append vs its hashes",
            ratio: median(ratios),
            bound: 0.6,
            at_least: true,
            detail: format!("{:.0} records/s of {RECORD} bytes", median(rates)),
        },
        Figure {
            name: "log inclusion proof, ms",
            ratio: proof,
            bound: 1.0,
            at_least: false,
            detail: format!("{:.2} us among {n} records", proof * 1e3),
        },
        Figure {
            name: "log from a snapshot, s per 10^6 records",
            ratio: read * 1e6 / f64::from(n),
            bound: 2.0,
            at_least: false,
            detail: format!(
                "{n} records: written in {write:.2} s, read in {read:.2} s, {} MB",
                snapshot.len() / 1_000_000
            ),
        },
    ]
}

fn alias(i: u32) -> Alias {
    Alias::from_wire(&format!("name-{i}.example")).unwrap()
}

/// Records of names by few owners, final by two signers.
fn finalized(network: &Network, n: u32) -> Vec<Bytes> {
    let owners: Vec<_> = (0..16).map(owner).collect();
    let one = |i: u32| {
        let owner = &owners[i as usize % owners.len()];
        let record = AliasRecord::bind(alias(i), owner, 1, T0);
        network.finalized(record, owner.public(), &[0, 1])
    };
    (0..n).map(one).collect()
}

/// Records with all of their signatures: one at a time, and many under tables of the signers' keys and checked keys of owners, which
/// are kept. Batch verification is not among them: the profile's rule is one at a time, without the cofactor.
fn records(effort: Effort) -> Vec<Figure> {
    let network = Network::new(3, 0);
    let signers = network.genesis().signers;
    let n: u32 = if effort.quick { 256 } else { 2048 };
    let records = finalized(&network, n);
    let mut verifier = Verifier::new(&signers, usize::MAX);
    let (mut single, mut many, mut floor) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        single.push(spent(|| {
            let mut ledger = network.ledger();
            for record in &records {
                ledger.apply(T0, record.clone()).unwrap();
            }
            black_box(ledger.log().root());
        }));
        many.push(spent(|| {
            let mut ledger = network.ledger();
            for verified in verifier.verify_all(&records) {
                ledger.apply_verified(T0, &verified).unwrap();
            }
            black_box(ledger.log().root());
        }));
        // The arithmetic alone: a signature of a checked key, and two under tables.
        let sample = Finalized::from_bytes(&records[0]).unwrap();
        let tables = PreparedKeys::new(signers.keys());
        let of = |s: &Signature| Some((signers.position(&s.signer)?, s.sig));
        let signed: Vec<_> = sample.signatures().iter().filter_map(of).collect();
        let key = *owner(0).public();
        let (sig, digest) = (sample.record().sig, sample.digest());
        floor.push(spent(|| {
            for _ in 0..n / 64 {
                let mut all = Vec::with_capacity(3 * 64);
                for _ in 0..64 {
                    all.push(Equation::of(&key, black_box(&digest), &sig).unwrap());
                    for (at, sig) in &signed {
                        all.push(tables.equation(*at, black_box(&digest), sig).unwrap());
                    }
                }
                black_box(Equation::hold(&all));
            }
        }));
    }
    let rate = |times: &[f64]| f64::from(n) / median(times.to_vec());
    let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
    vec![
        Figure {
            name: "names: records by kept tables vs their signatures",
            ratio: ratio(&floor, &many),
            bound: 0.75,
            at_least: true,
            detail: format!("{:.0} records/s, with two signers each", rate(&many)),
        },
        Figure {
            name: "names: records by kept tables vs without",
            ratio: ratio(&many, &single),
            bound: 1.0,
            at_least: false,
            detail: format!("{:.0} records/s", rate(&single)),
        },
    ]
}

/// A ledger of many names that restarts from a snapshot and proves one.
fn restart(n: u32) -> Vec<Figure> {
    let network = Network::new(3, 0);
    let signers = network.genesis().signers;
    let mut ledger = network.ledger();
    // One owner and one signature a record would do; what counts is the number of names. Verified once, on two cores.
    let records = finalized(&network, n);
    let half = records.len() / 2;
    let verify =
        |part: &[Bytes]| -> Vec<Verified> { Verifier::new(&signers, part.len()).verify_all(part) };
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| verify(&records[half..]));
        (verify(&records[..half]), other.join().unwrap())
    });
    for part in [first, second] {
        for part in part.chunks(2048) {
            for verified in part {
                ledger.apply_verified(T0, verified).unwrap();
            }
            let head = network.head(&ledger, T0, &[0, 1]);
            ledger.accept(head).unwrap();
        }
    }
    let (write, snapshot) = took(|| ledger.snapshot().unwrap());
    let genesis = network.genesis();
    let before = crate::cpu();
    let (read, again) = took(|| Ledger::from_snapshot(&genesis, &snapshot).unwrap());
    // Processor time: others may use the machine, and the restart is one thread's work.
    let busy = (crate::cpu() - before).as_secs_f64();
    assert_eq!(again.fingerprint(), ledger.fingerprint());
    let of = |index: u64| records.get(usize::try_from(index).unwrap()).cloned();
    let mut proofs = Vec::new();
    for i in 0..200 {
        let alias = alias(i * 4999 % n);
        let (made, proof) = took(|| again.prove(&alias, of).unwrap());
        proofs.push(made * 1e3);
        if i == 0 {
            let read = Proof::from_bytes(&proof.to_bytes()).unwrap();
            read.verify(std::slice::from_ref(&signers)).unwrap();
        }
    }
    let proof = median(proofs);
    vec![
        Figure {
            name: "names: restart from a snapshot, core-s per 10^6",
            ratio: busy * 1e6 / f64::from(n),
            bound: 2.0,
            at_least: false,
            detail: format!(
                "{n} names: written in {write:.2} s, read in {read:.2} s ({busy:.2} s of a core), {} MB",
                snapshot.len() / 1_000_000
            ),
        },
        Figure {
            name: "names: proof of a name, ms",
            ratio: proof,
            bound: 1.0,
            at_least: false,
            detail: format!("{:.1} us among {n} names", proof * 1e3),
        },
    ]
}
