//! Logs of copies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use betanet_blobs::{APPEND_MAX, Digest, Error, LOG_MAX, LogSettings, Logs, READ_MAX};
use betanet_store::State;
use bytes::Bytes;
use futures_util::future::join_all;
use proptest::prelude::*;

use super::{files, random, room::Tmpfs};

struct Bed {
    home: tempfile::TempDir,
    logs: Option<Logs>,
}

fn quota(quota: u64) -> LogSettings {
    LogSettings { quota, floor: 0 }
}

impl Bed {
    async fn new(settings: LogSettings) -> Self {
        let mut bed = Self {
            home: tempfile::tempdir().unwrap(),
            logs: None,
        };
        bed.reopen(settings).await;
        bed
    }

    async fn reopen(&mut self, settings: LogSettings) {
        self.logs = None;
        let state = Arc::new(State::open(&self.home.path().join("state")).unwrap());
        self.logs = Some(Logs::open(&state, settings).await.unwrap());
    }

    fn logs(&self) -> &Logs {
        self.logs.as_ref().unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("state/logs")
    }
}

fn task(n: u8) -> Digest {
    Digest([n; 32])
}

async fn all(logs: &Logs, task: Digest, fence: u64) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    loop {
        let part = logs.read(task, fence, out.len() as u64..u64::MAX).await?;
        if part.is_empty() {
            return Ok(out);
        }
        assert!(part.len() as u64 <= READ_MAX);
        out.extend_from_slice(&part);
    }
}

#[tokio::test]
async fn a_log_grows_by_offset_and_outlasts_a_restart() {
    let mut bed = Bed::new(quota(1 << 30)).await;
    let content = random(1, 600_000);
    let mut at = 0;
    for part in content.chunks(APPEND_MAX) {
        let part = Bytes::copy_from_slice(part);
        let next = bed.logs().append(task(1), 7, at, part.clone()).await;
        assert_eq!(next.unwrap(), at + part.len() as u64);
        // The answer was lost.
        let again = bed.logs().append(task(1), 7, at, part.clone()).await;
        at += part.len() as u64;
        assert_eq!(again.unwrap(), at);
    }
    assert_eq!(
        bed.logs()
            .append(task(1), 8, 0, Bytes::new())
            .await
            .unwrap(),
        0
    );
    bed.logs()
        .append(task(2), 7, 0, "other".into())
        .await
        .unwrap();
    for restart in [false, true] {
        if restart {
            bed.reopen(quota(1 << 30)).await;
        }
        let logs = bed.logs();
        assert!(all(logs, task(1), 7).await.unwrap() == content);
        assert_eq!(logs.len(task(1), 7).await.unwrap(), Some(600_000));
        assert_eq!(logs.len(task(1), 8).await.unwrap(), Some(0));
        assert_eq!(logs.len(task(1), 9).await.unwrap(), None);
        assert_eq!(logs.fences(task(1)), [7, 8]);
        assert_eq!(&logs.read(task(2), 7, 1..3).await.unwrap()[..], b"th");
        assert_eq!(logs.used(), 602_112 + 2 * 4096);
    }
}

#[tokio::test]
async fn an_append_that_does_not_continue_is_refused() {
    let bed = Bed::new(quota(1 << 30)).await;
    let logs = bed.logs();
    let offset = |done: Result<u64, Error>| match done {
        Err(e @ Error::Offset { next }) => {
            assert_eq!(e.code(), Some("offset"));
            next
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(offset(logs.append(task(1), 1, 1, "x".into()).await), 0);
    assert!(logs.fences(task(1)).is_empty());
    logs.append(task(1), 1, 0, "abcdef".into()).await.unwrap();
    assert_eq!(offset(logs.append(task(1), 1, 7, "x".into()).await), 6);
    // Other bytes than those that stand, alone or with new ones behind them.
    assert_eq!(offset(logs.append(task(1), 1, 2, "cX".into()).await), 6);
    assert_eq!(offset(logs.append(task(1), 1, 4, "eXgh".into()).await), 6);
    // A part of it again, and more.
    assert_eq!(logs.append(task(1), 1, 4, "efgh".into()).await.unwrap(), 8);
    assert_eq!(logs.append(task(1), 1, 0, "abc".into()).await.unwrap(), 8);
    assert_eq!(all(logs, task(1), 1).await.unwrap(), b"abcdefgh");
    let beyond = logs.read(task(1), 1, 9..10).await;
    assert!(matches!(beyond, Err(Error::Range { size: 8 })));
    assert!(logs.read(task(1), 1, 8..8).await.unwrap().is_empty());
    let none = logs.read(task(3), 1, 0..1).await;
    assert!(matches!(none, Err(Error::NoLog { fence: 1, .. })));
}

#[tokio::test]
async fn lengths_are_bounded() {
    let bed = Bed::new(quota(20 << 20)).await;
    let logs = bed.logs();
    let long = Bytes::from(vec![0; APPEND_MAX + 1]);
    let refused = logs.append(task(1), 1, 0, long.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Some("too_large"));
    assert!(bed.logs().fences(task(1)).is_empty());
    let part = long.slice(1..);
    let fill = async |task: Digest, most: u64| {
        let mut at = 0;
        while at < most {
            at = logs.append(task, 1, at, part.clone()).await?;
        }
        Ok::<_, Error>(at)
    };
    assert_eq!(fill(task(1), LOG_MAX).await.unwrap(), LOG_MAX);
    for off in [LOG_MAX, LOG_MAX - 1, u64::MAX] {
        let refused = logs.append(task(1), 1, off, "xy".into()).await;
        assert!(matches!(refused, Err(Error::TooLarge { most: LOG_MAX })));
    }
    // 4 MiB are left of the quota.
    let refused = fill(task(2), 8 << 20).await;
    assert!(matches!(refused, Err(Error::Quota { .. })), "{refused:?}");
    assert_eq!(logs.used(), 20 << 20);
    assert_eq!(logs.len(task(2), 1).await.unwrap(), Some(4 << 20));
    // An empty log is charged too.
    let refused = logs.append(task(3), 1, 0, Bytes::new()).await;
    assert!(matches!(refused, Err(Error::Quota { needed: 4096, .. })));
    assert!(logs.remove(task(1), 1).await.unwrap());
    assert!(!logs.remove(task(1), 1).await.unwrap());
    assert_eq!(fill(task(2), 8 << 20).await.unwrap(), 8 << 20);
    assert_eq!((files(&bed.folder()).len(), logs.used()), (1, 8 << 20));
}

#[tokio::test]
async fn of_appends_at_the_same_offset_one_stands() {
    let bed = Bed::new(quota(1 << 30)).await;
    let mut content = Vec::new();
    for round in 0..20_u8 {
        let at = content.len() as u64;
        let appends = (0..8_u8).map(|n| {
            let part = Bytes::from(vec![round * 8 + n; 100 + usize::from(n)]);
            bed.logs().append(task(1), 1, at, part)
        });
        let done = join_all(appends).await;
        let stands: Vec<_> = (0..8_u8)
            .filter(|n| done[usize::from(*n)].is_ok())
            .collect();
        let [one] = stands[..] else {
            panic!("{stands:?}");
        };
        content.extend(vec![round * 8 + one; 100 + usize::from(one)]);
        assert!(all(bed.logs(), task(1), 1).await.unwrap() == content);
    }
}

#[tokio::test]
async fn appends_and_removals_at_once_keep_the_account() {
    let bed = Bed::new(quota(1 << 30)).await;
    let logs = bed.logs();
    let work = (0..400_u64).map(|n| async move {
        let (log, fence) = (task(u8::try_from(n % 3).unwrap()), n % 2);
        if n % 5 == 0 {
            logs.remove(log, fence).await.unwrap();
        } else {
            let done = logs.append(log, fence, 0, "the same".into()).await;
            assert_eq!(done.unwrap(), 8);
        }
    });
    join_all(work).await;
    let left = files(&bed.folder()).len() as u64;
    assert_eq!(bed.logs().used(), left * 4096);
    let known: usize = (0..3).map(|n| bed.logs().fences(task(n)).len()).sum();
    assert_eq!(known as u64, left);
}

#[tokio::test]
async fn a_full_disk_refuses_appends_and_keeps_what_stands() {
    let home = tempfile::tempdir().unwrap();
    let disk = Tmpfs::mount(home.path().join("disk"), "size=3m,mode=700");
    let part = Bytes::from(random(1, APPEND_MAX));
    for (floor, code) in [(1 << 20, "disk_floor"), (0, "disk_floor")] {
        let state = Arc::new(State::open(&disk.0.join("state")).unwrap());
        let settings = LogSettings {
            floor,
            ..LogSettings::default()
        };
        let logs = Logs::open(&state, settings).await.unwrap();
        let mut at = logs.len(task(1), 1).await.unwrap().unwrap_or(0);
        let refused = loop {
            match logs.append(task(1), 1, at, part.clone()).await {
                Ok(next) => at = next,
                Err(e) => break e,
            }
        };
        assert_eq!(refused.code(), Some(code), "{refused:?}");
        assert_eq!(matches!(refused, Error::DiskFull), floor == 0);
        assert!(at > 1 << 20);
        assert_eq!(logs.len(task(1), 1).await.unwrap(), Some(at));
        let whole = all(&logs, task(1), 1).await.unwrap();
        assert!(whole.chunks(APPEND_MAX).all(|c| c == part));
        assert_eq!(logs.used(), at);
        // A log that cannot begin does not exist.
        if floor == 0 {
            let begun = logs.append(task(2), 1, 0, part.clone()).await;
            assert!(begun.is_err());
            assert!(logs.fences(task(2)).is_empty());
            assert_eq!(files(&disk.0.join("state/logs")).len(), 1);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(u8, u64, usize, usize),
    Remove(u8, u64),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..3_u8, 0..2_u64, 0..4_usize, 0..9000_usize)
            .prop_map(|(task, fence, back, len)| Op::Append(task, fence, back, len)),
        1 => (0..3_u8, 0..2_u64).prop_map(|(task, fence)| Op::Remove(task, fence)),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn logs_agree_with_a_model(ops in proptest::collection::vec(op(), 1..60)) {
        const QUOTA: u64 = 60_000;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut bed = Bed::new(quota(QUOTA)).await;
            let mut model: BTreeMap<(u8, u64), Vec<u8>> = BTreeMap::new();
            let charge = |len: usize| (len as u64).next_multiple_of(4096).max(4096);
            let used = |model: &BTreeMap<_, Vec<u8>>| model.values().map(|l| charge(l.len())).sum::<u64>();
            for op in ops {
                match op {
                    Op::Append(t, fence, back, len) => {
                        let old = model.get(&(t, fence)).cloned();
                        let have = old.clone().unwrap_or_default();
                        // The last bytes again, and new ones.
                        let from = have.len() - back.min(have.len());
                        let mut part = have[from..].to_vec();
                        part.extend(random(len as u64, len));
                        let whole = [&have[..from], &part].concat();
                        let done = bed.logs().append(task(t), fence, from as u64, part.into()).await;
                        let before = old.as_ref().map_or(0, |l| charge(l.len()));
                        if used(&model) - before + charge(whole.len()) > QUOTA {
                            assert!(matches!(done, Err(Error::Quota { .. })), "{done:?}");
                        } else {
                            assert_eq!(done.unwrap(), whole.len() as u64);
                            model.insert((t, fence), whole);
                        }
                    }
                    Op::Remove(t, fence) => {
                        let had = bed.logs().remove(task(t), fence).await.unwrap();
                        assert_eq!(had, model.remove(&(t, fence)).is_some());
                    }
                    Op::Restart => bed.reopen(quota(QUOTA)).await,
                }
                assert_eq!(bed.logs().used(), used(&model));
                assert_eq!(files(&bed.folder()).len(), model.len());
                for ((t, fence), content) in &model {
                    let found = all(bed.logs(), task(*t), *fence).await.unwrap();
                    assert!(found == *content);
                }
            }
        });
    }
}
