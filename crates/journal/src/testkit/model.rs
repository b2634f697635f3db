use std::collections::BTreeMap;

use betanet_machine::{Rng, Seed};

use super::{Bed, are, lead, read_all, records};
use crate::{Batch, Error, Journal, RESTORE_INDEXES, Record, Snapshot};

/// What the journal should hold.
#[derive(Default)]
struct Model {
    epoch: u64,
    base: u64,
    records: Vec<Record>,
    snapshots: BTreeMap<u64, (Snapshot, Vec<Vec<u8>>)>,
}

impl Model {
    fn last(&self) -> u64 {
        self.base + self.records.len() as u64
    }
}

/// Does `steps` random operations by several coordinators, and compares the journal with a simple model after each.
///
/// # Panics
///
/// The backend and the model differ.
pub async fn model(bed: &dyn Bed, seed: u64, steps: u32) {
    let mut rng = Rng::new(&Seed::from_number(seed));
    let mut handles = [bed.open("a").await.unwrap(), bed.open("b").await.unwrap()];
    // The epoch that each handle believes to lead.
    let mut epochs = [0; 2];
    let mut model = Model::default();
    let mut fresh = 0;
    for step in 0..steps {
        let who = usize::try_from(rng.below(2)).unwrap();
        let (journal, epoch) = (&*handles[who], epochs[who]);
        let leads = epoch == model.epoch && epoch > 0;
        let context = format!("seed {seed}, step {step}");
        match rng.below(20) {
            0..=8 => {
                let count = rng.below(5);
                let new = records(fresh..fresh + count);
                fresh += count;
                let done = journal.append(epoch, new.clone()).await;
                if fenced(leads, &done, &context) {
                    model.records.extend(new);
                    assert_eq!(done.unwrap(), model.last(), "{context}");
                }
            }
            9 | 10 => {
                bed.end_lease().await.unwrap();
                let term = lead(journal).await;
                model.epoch += 1;
                epochs[who] = model.epoch;
                let wanted = (model.epoch, model.last());
                assert_eq!((term.epoch, term.last), wanted, "{context}");
            }
            11 | 12 => {
                let at = model.base + rng.below(model.records.len() as u64 + 1);
                save(journal, &mut model, (epoch, at), leads, &mut rng, &context).await;
            }
            13 => {
                let keep = 1 + usize::try_from(rng.below(3)).unwrap();
                let done = journal.retain(epoch, keep).await;
                if fenced(leads, &done, &context) {
                    let oldest = model.snapshots.keys().rev().take(keep).min().copied();
                    let base = oldest.unwrap_or(model.base);
                    let cut = usize::try_from(base - model.base).unwrap();
                    model.records.drain(..cut);
                    model.base = base;
                    model.snapshots.retain(|at, _| *at >= base);
                }
            }
            14 if rng.below(4) == 0 => restore(bed, journal, &mut model, &mut rng).await,
            15 => {
                // The handle is dropped as by a crash, and opened again. It leads nothing then.
                handles[who] = bed.open("again").await.unwrap();
                epochs[who] = 0;
            }
            16 => {
                for (at, (snapshot, parts)) in &model.snapshots {
                    assert_eq!(snapshot.at.index, *at);
                    for (n, body) in (0..).zip(parts) {
                        assert_eq!(journal.load(*at, n).await.unwrap(), *body, "{context}");
                    }
                }
            }
            _ => {
                let after = model.base + rng.below(model.records.len() as u64 + 1);
                let skip = usize::try_from(after - model.base).unwrap();
                let all = read_all(journal, after).await.unwrap();
                assert!(are(&all, after + 1, &model.records[skip..]), "{context}");
            }
        }
        let facts = handles[who].facts().await.unwrap();
        let found = (facts.epoch, facts.base, facts.last);
        assert_eq!(found, (model.epoch, model.base, model.last()), "{context}");
    }
    for journal in &handles {
        let all = read_all(&**journal, model.base).await.unwrap();
        assert!(are(&all, model.base + 1, &model.records), "seed {seed}");
        let listed = journal.snapshots().await.unwrap();
        let wanted = model.snapshots.values().rev().map(|(s, _)| *s);
        assert!(listed.into_iter().eq(wanted), "seed {seed}");
        if model.base > 0 {
            let gone = journal.read(model.base - 1, Batch::default()).await;
            assert!(matches!(gone, Err(Error::Gone { .. })), "seed {seed}");
        }
    }
}

/// Whether an operation was accepted. It is exactly if its epoch is the present one.
fn fenced<T: std::fmt::Debug>(leads: bool, done: &Result<T, Error>, context: &str) -> bool {
    match done {
        Ok(_) => assert!(leads, "{context}: an old epoch was accepted"),
        Err(Error::EpochOver { .. }) => assert!(!leads, "{context}: {done:?}"),
        Err(e) => panic!("{context}: {e:?}"),
    }
    leads
}

async fn save(
    journal: &dyn Journal,
    model: &mut Model,
    (epoch, at): (u64, u64),
    leads: bool,
    rng: &mut Rng,
    context: &str,
) {
    if model.snapshots.contains_key(&at) {
        return;
    }
    let mut parts = Vec::new();
    for part in 0..1 + u32::try_from(rng.below(3)).unwrap() {
        let body = vec![rng.array::<1>()[0]; usize::try_from(rng.below(5000)).unwrap()];
        let done = journal.save(epoch, at, part, body.clone()).await;
        if !fenced(leads, &done, context) {
            return;
        }
        parts.push(body);
    }
    // Some are never finished.
    if rng.below(4) == 0 {
        return;
    }
    let count = u32::try_from(parts.len()).unwrap();
    let done = journal.finish(epoch, at, count).await;
    if fenced(leads, &done, context) {
        model.snapshots.insert(at, (done.unwrap(), parts));
    }
}

async fn restore(bed: &dyn Bed, journal: &dyn Journal, model: &mut Model, rng: &mut Rng) {
    let count = model.snapshots.len() as u64;
    if count == 0 {
        return;
    }
    bed.end_lease().await.unwrap();
    let which = usize::try_from(rng.below(count)).unwrap();
    let (snapshot, parts) = model.snapshots.values().nth(which).unwrap().clone();
    let source = Box::new(parts.clone().into_iter().map(Ok));
    let restored = journal.restore(snapshot, source).await.unwrap();
    let at = snapshot.at.index + RESTORE_INDEXES - 1;
    assert!(restored.at == at || restored.at == model.last() + RESTORE_INDEXES - 1);
    assert!(restored.at >= model.last() && restored.epoch > model.epoch);
    let kept = journal.snapshots().await.unwrap();
    assert_eq!(kept.len(), 1);
    *model = Model {
        epoch: restored.epoch,
        base: restored.at,
        records: Vec::new(),
        snapshots: BTreeMap::from([(restored.at, (kept[0], parts))]),
    };
}
