//! Random operations against a model.

use std::collections::BTreeMap;

use betanet_blobs::{Digest, Error, Settings};
use betanet_machine::{Rng, Seed};
use futures_util::stream::{self, StreamExt as _};
use proptest::prelude::*;
#[cfg(feature = "s3")]
use proptest::strategy::ValueTree as _;

use super::{Bed, all, body, open_settings, random};

/// Number of different contents.
const CONTENTS: u64 = 12;
const QUOTA: u64 = 10 * 4096;

#[derive(Clone, Debug)]
enum Op {
    Put(u64),
    /// An upload whose bytes are not those announced.
    Wrong(u64),
    /// An upload that is dropped after some parts.
    Cancel(u64, usize),
    Get(u64),
    Remove(u64),
    Pin(u64, u8, u64),
    Unpin(u64, u8),
    Sweep(u64),
    Flip(u64, usize),
    Restart,
}

fn content(n: u64) -> Vec<u8> {
    // Of one to three units.
    random(n, usize::try_from(n * 997 % 12_000).unwrap())
}

fn size(n: u64) -> u64 {
    content(n).len() as u64
}

/// Bytes that a blob is charged: with one checksum and a footer, in units of 4 KiB.
fn charge(n: u64) -> u64 {
    let sums = if size(n) == 0 { 0 } else { 16 };
    (size(n) + sums + 64).next_multiple_of(4096)
}

fn op() -> impl Strategy<Value = Op> {
    let n = 0..CONTENTS;
    prop_oneof![
        6 => n.clone().prop_map(Op::Put),
        1 => n.clone().prop_map(Op::Wrong),
        1 => (n.clone(), 0..8_usize).prop_map(|(n, parts)| Op::Cancel(n, parts)),
        4 => n.clone().prop_map(Op::Get),
        1 => n.clone().prop_map(Op::Remove),
        2 => (n.clone(), 0..3_u8, 1..20_u64).prop_map(|(n, holder, until)| Op::Pin(n, holder, until)),
        2 => (n.clone(), 0..3_u8).prop_map(|(n, holder)| Op::Unpin(n, holder)),
        1 => (0..20_u64).prop_map(Op::Sweep),
        1 => (n, any::<usize>()).prop_map(|(n, at)| Op::Flip(n, at)),
        1 => Just(Op::Restart),
    ]
}

/// The model: what is stored in the order of its last use, and what is pinned.
#[derive(Default)]
struct Model {
    stored: Vec<u64>,
    pins: BTreeMap<(u64, u8), u64>,
    /// Blobs whose file is damaged, and those whose damage was found.
    spoilt: Vec<u64>,
    aside: Vec<u64>,
}

impl Model {
    fn pinned(&self, n: u64) -> bool {
        self.pins.keys().any(|(pinned, _)| *pinned == n)
    }

    fn used(&self) -> u64 {
        let all = self.stored.iter().chain(&self.aside);
        all.map(|n| charge(*n)).sum()
    }

    fn touch(&mut self, n: u64) {
        self.stored.retain(|s| *s != n);
        self.stored.push(n);
    }

    fn drop_blob(&mut self, n: u64) {
        self.stored.retain(|s| *s != n);
        self.spoilt.retain(|s| *s != n);
    }

    /// Makes room, or returns `false` and changes nothing.
    fn room(&mut self, bytes: u64) -> bool {
        let over = (self.used() + bytes).saturating_sub(QUOTA);
        let evictable = self.stored.iter().filter(|n| !self.pinned(**n));
        let spare: u64 = evictable.chain(&self.aside).map(|n| charge(*n)).sum();
        if over > spare {
            return false;
        }
        // Damaged files go in the order of their digests.
        self.aside.sort_by_key(|n| Digest::of(&content(*n)));
        while self.used() + bytes > QUOTA {
            if self.aside.is_empty() {
                let n = self.stored.iter().copied().find(|n| !self.pinned(*n));
                self.drop_blob(n.unwrap());
            } else {
                self.aside.remove(0);
            }
        }
        true
    }
}

async fn run(ops: Vec<Op>) {
    let settings = Settings {
        quota: QUOTA,
        ..open_settings()
    };
    let mut bed = Bed::new(settings).await;
    let mut model = Model::default();
    let digest = |n| Digest::of(&content(n));
    for op in ops {
        let there = |n, model: &Model| model.stored.contains(&n);
        match op.clone() {
            Op::Put(n) => {
                let done = bed
                    .blobs()
                    .put(digest(n), size(n), body(&content(n), 1000))
                    .await;
                if there(n, &model) {
                    assert!(!done.unwrap().new);
                    model.touch(n);
                } else if model.room(charge(n)) {
                    assert!(done.unwrap().new, "{op:?}");
                    model.touch(n);
                } else {
                    assert!(matches!(done, Err(Error::Quota { .. })), "{op:?} {done:?}");
                }
            }
            Op::Wrong(n) => {
                let wrong = vec![1; content(n).len()];
                let done = bed
                    .blobs()
                    .put(digest(n), size(n), body(&wrong, 1000))
                    .await;
                if there(n, &model) || size(n) == 0 {
                    // Nothing is read of it, or there is nothing to read.
                    if there(n, &model) || model.room(charge(n)) {
                        assert!(done.is_ok());
                        model.touch(n);
                    }
                } else if model.room(charge(n)) {
                    assert!(matches!(done, Err(Error::Digest { .. })), "{op:?} {done:?}");
                } else {
                    assert!(matches!(done, Err(Error::Quota { .. })), "{op:?} {done:?}");
                }
            }
            Op::Cancel(n, parts) => {
                let begun = body(&content(n), 1000).take(parts).chain(stream::pending());
                let blobs = bed.blobs().clone();
                let upload =
                    tokio::spawn(async move { blobs.put(digest(n), size(n), begun).await });
                // It runs until it waits for more, is refused, or has nothing to do.
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                upload.abort();
                let done = upload.await;
                bed.blobs().settle().await;
                // No pin ends at 0. This waits for deletions that are in progress.
                bed.blobs().sweep(0).await.unwrap();
                if there(n, &model) {
                    assert!(matches!(done, Ok(Ok(stored)) if !stored.new), "{done:?}");
                    model.touch(n);
                } else {
                    assert!(matches!(done, Err(_) | Ok(Err(Error::Quota { .. }))));
                    // It may have evicted others by then.
                    let left: Vec<u64> = model.stored.clone();
                    for s in left {
                        if bed.blobs().has(digest(s)).is_none() {
                            model.drop_blob(s);
                        }
                    }
                    let aside = bed.blobs().damaged();
                    model.aside.retain(|a| aside.contains(&digest(*a)));
                }
            }
            Op::Get(n) => {
                let got = all(bed.blobs(), digest(n)).await;
                if !there(n, &model) {
                    assert!(matches!(got, Err(Error::Missing(_))), "{op:?} {got:?}");
                } else if model.spoilt.contains(&n) {
                    assert!(matches!(got, Err(Error::Damaged { .. })), "{op:?} {got:?}");
                    set_aside(&mut model, n);
                } else {
                    assert!(got.unwrap() == content(n));
                    model.touch(n);
                }
            }
            Op::Remove(n) => {
                let had = bed.blobs().remove(digest(n)).await.unwrap();
                assert_eq!(had, there(n, &model));
                model.drop_blob(n);
            }
            Op::Pin(n, holder, until) => {
                bed.blobs().pin(digest(n), [holder; 32], until).unwrap();
                model.pins.insert((n, holder), until);
            }
            Op::Unpin(n, holder) => {
                let had = bed.blobs().unpin(digest(n), &[holder; 32]);
                assert_eq!(had, model.pins.remove(&(n, holder)).is_some());
            }
            Op::Sweep(now) => {
                let swept = bed.blobs().sweep(now).await.unwrap();
                let before = model.pins.len();
                model.pins.retain(|_, until| *until > now);
                assert_eq!((swept.pins, swept.blobs), (before - model.pins.len(), 0));
            }
            Op::Flip(n, at) => {
                if there(n, &model) && !model.spoilt.contains(&n) {
                    let mut bytes = bed.raw(digest(n)).await.unwrap();
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << (at % 8);
                    bed.write_raw(digest(n), &bytes).await;
                    model.spoilt.push(n);
                }
            }
            Op::Restart => {
                bed.reopen(settings).await;
                model.pins.clear();
                // The order is that of the files' times, which a file system may give alike: read all in a known order.
                let order = model.stored.clone();
                for n in order {
                    assert_eq!(bed.blobs().has(digest(n)), Some(size(n)));
                    let _ = all(bed.blobs(), digest(n)).await;
                    sync(&mut model, &bed, n);
                }
            }
        }
        let stored: Vec<u64> = (0..CONTENTS)
            .filter(|n| bed.blobs().has(digest(*n)).is_some())
            .collect();
        let mut expected = model.stored.clone();
        expected.sort_unstable();
        assert_eq!(stored, expected, "after {op:?}");
        let facts = bed.blobs().facts().await;
        assert_eq!((facts.bytes, facts.reserved), (model.used(), 0), "{op:?}");
        assert!(facts.bytes <= QUOTA);
        let evictable = model.stored.iter().filter(|n| !model.pinned(**n));
        assert_eq!(facts.evictable, evictable.map(|n| charge(*n)).sum::<u64>());
        let stored = bed.stored().await;
        let stored: u64 = stored.iter().map(|len| len.next_multiple_of(4096)).sum();
        assert_eq!(stored, facts.bytes, "after {op:?}");
    }
}

fn set_aside(model: &mut Model, n: u64) {
    model.drop_blob(n);
    model.aside.retain(|a| *a != n);
    model.aside.push(n);
}

/// A blob was read: it is used last, or its damage was found.
fn sync(model: &mut Model, bed: &Bed, n: u64) {
    if bed.blobs().has(Digest::of(&content(n))).is_some() {
        model.touch(n);
    } else {
        set_aside(model, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn blobs_agree_with_a_model(ops in proptest::collection::vec(op(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(ops));
    }
}

/// Random operations from a seed, for places where each takes long.
#[cfg(feature = "s3")]
pub(crate) async fn over_s3() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..3 {
        let ops = proptest::collection::vec(op(), 30..60);
        let mut ops = ops.new_tree(&mut runner).unwrap().current();
        // How far one comes before it is cancelled is not told here; another test has them.
        ops.retain(|op| !matches!(op, Op::Cancel(..)));
        run(ops).await;
    }
    many_at_once().await;
}

async fn many_at_once() {
    let settings = Settings {
        quota: QUOTA,
        ..open_settings()
    };
    let bed = Bed::new(settings).await;
    let rounds = if bed.is_far() { 20 } else { 150 };
    let tasks = (0..8).map(|seed| {
        let blobs = bed.blobs().clone();
        tokio::spawn(async move {
            let mut rng = Rng::new(&Seed::from_number(seed));
            for _ in 0..rounds {
                let n = rng.below(CONTENTS);
                let digest = Digest::of(&content(n));
                match rng.below(6) {
                    0 => drop(blobs.remove(digest).await.unwrap()),
                    1..=3 => match blobs.put(digest, size(n), body(&content(n), 1000)).await {
                        // Reservations of the others may take all the room.
                        Ok(_) | Err(Error::Quota { .. }) => {}
                        Err(e) => panic!("{e}"),
                    },
                    _ => match all(&blobs, digest).await {
                        Ok(bytes) => assert!(bytes == content(n)),
                        Err(Error::Missing(_)) => {}
                        Err(e) => panic!("{e}"),
                    },
                }
                let facts = blobs.facts().await;
                assert!(facts.bytes + facts.reserved <= QUOTA, "{facts:?}");
            }
        })
    });
    for task in futures_util::future::join_all(tasks).await {
        task.unwrap();
    }
    bed.blobs().settle().await;
    bed.blobs().sweep(0).await.unwrap();
    let facts = bed.blobs().facts().await;
    let stored = bed.stored().await;
    let stored: u64 = stored.iter().map(|len| len.next_multiple_of(4096)).sum();
    assert_eq!((stored, facts.reserved), (facts.bytes, 0));
    assert!(bed.blobs().damaged().is_empty());
    for n in 0..CONTENTS {
        let digest = Digest::of(&content(n));
        let there = bed.raw(digest).await.is_some();
        assert_eq!(bed.blobs().has(digest).is_some(), there);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_at_once_keep_the_account() {
    many_at_once().await;
}
