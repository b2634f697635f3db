use futures_util::future::{FutureExt as _, join, join_all};

use super::{Bed, are, lead, read_all, record, records};
use crate::{APPEND_BYTES_MAX, APPEND_RECORDS_MAX, Batch, Error, Kind, RECORD_MAX, Record};

pub(super) async fn indexes_count_from_one(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    assert!(journal.read(0, Batch::default()).await.unwrap().is_empty());
    let term = lead(&*journal).await;
    assert_eq!((term.epoch, term.last), (1, 0));
    assert_eq!(journal.append(1, records(1..=3)).await.unwrap(), 3);
    assert_eq!(journal.append(1, records(4..=5)).await.unwrap(), 5);
    // Without a record, the lease alone is renewed.
    assert_eq!(journal.append(1, Vec::new()).await.unwrap(), 5);
    let all = read_all(&*journal, 0).await.unwrap();
    assert!(are(&all, 1, &records(1..=5)));
    assert!(all.iter().all(|e| e.epoch == 1));
    for after in 0..=5 {
        let rest = read_all(&*journal, after).await.unwrap();
        assert!(are(&rest, after + 1, &records(after + 1..=5)), "{after}");
    }
    let ahead = journal.read(6, Batch::default()).await;
    assert!(matches!(ahead, Err(Error::Ahead { after: 6, last: 5 })));
    let facts = journal.facts().await.unwrap();
    assert_eq!((facts.epoch, facts.base, facts.last), (1, 0, 5));
    assert!(facts.size > 0);
}

pub(super) async fn appends_are_whole_or_refused(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    for epoch in [0, 1] {
        let early = journal.append(epoch, records(1..=1)).await;
        assert!(matches!(early, Err(Error::EpochOver { current: 0, .. })));
    }
    lead(&*journal).await;
    let kind = Kind::new("x").unwrap();
    let long = Record::new(kind, vec![0; RECORD_MAX + 1]);
    let many = vec![Record::new(kind, *b""); APPEND_RECORDS_MAX + 1];
    let full = vec![Record::new(kind, vec![0; RECORD_MAX]); APPEND_BYTES_MAX / RECORD_MAX + 1];
    for bad in [vec![record(1), long, record(2)], many, full] {
        let refused = journal.append(1, bad).await;
        assert!(matches!(refused, Err(Error::Bounds { .. })));
        let other = journal.append(2, records(1..=2)).await;
        assert!(matches!(
            other,
            Err(Error::EpochOver {
                epoch: 2,
                current: 1
            })
        ));
        assert_eq!(journal.facts().await.unwrap().last, 0);
    }
    // The longest are accepted, and any bytes come back.
    let longest = Record::new(Kind::new(&"k".repeat(32)).unwrap(), vec![0xfe; RECORD_MAX]);
    let any: Vec<u8> = (0..=255).collect();
    let good = vec![longest, Record::new(kind, *b""), Record::new(kind, any)];
    assert_eq!(journal.append(1, good.clone()).await.unwrap(), 3);
    assert!(are(&read_all(&*journal, 0).await.unwrap(), 1, &good));
}

pub(super) async fn concurrent_appends_are_each_whole(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    let sizes = |n: u64| 1 + n % 4;
    let appends = (0..64).map(|n| journal.append(1, records((0..sizes(n)).map(|k| n * 10 + k))));
    let done = join_all(appends).await;
    let all = read_all(&*journal, 0).await.unwrap();
    assert_eq!(all.len() as u64, (0..64).map(sizes).sum::<u64>());
    for (n, last) in (0..64).zip(done) {
        // An append's answer names its last record, and the others stand directly before it.
        let end = usize::try_from(last.unwrap()).unwrap();
        let own = &all[end - usize::try_from(sizes(n)).unwrap()..end];
        let wanted = records((0..sizes(n)).map(|k| n * 10 + k));
        assert!(are(own, own[0].index, &wanted), "append {n}");
    }
}

pub(super) async fn reads_keep_their_bounds(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    let kind = Kind::new("x").unwrap();
    let of = |len: usize| Record::new(kind, vec![5; len]);
    let all = vec![of(600), of(300), of(100), of(1), of(50_000)];
    journal.append(1, all).await.unwrap();
    for (after, records, bytes, count) in [
        (0, 10, 1000, 3),
        (0, 10, 1001, 4),
        (0, 2, 1000, 2),
        (0, 0, 0, 1),
        (0, 10, 599, 1),
        (4, 10, 10, 1),
        (3, usize::MAX, usize::MAX, 2),
    ] {
        let batch = Batch { records, bytes };
        let read = journal.read(after, batch).await.unwrap();
        assert_eq!(read.len(), count, "{after} {records} {bytes}");
    }
}

pub(super) async fn a_follower_wakes_up(bed: &dyn Bed) {
    let (journal, follower) = (bed.open("a").await.unwrap(), bed.open("b").await.unwrap());
    lead(&*journal).await;
    assert_eq!(journal.append(1, records(1..=2)).await.unwrap(), 2);
    assert_eq!(follower.wait(0).await.unwrap(), 2);
    assert_eq!(follower.wait(1).await.unwrap(), 2);
    assert!(follower.wait(2).now_or_never().is_none());
    // Waits begin before the append, by the leader's own handle and by another's.
    let waits = join(follower.wait(2), journal.wait(2));
    let (woken, appended) = join(waits, journal.append(1, records(3..=3))).await;
    assert_eq!(appended.unwrap(), 3);
    assert_eq!((woken.0.unwrap(), woken.1.unwrap()), (3, 3));
    assert!(are(
        &read_all(&*follower, 2).await.unwrap(),
        3,
        &records(3..=3)
    ));
}

pub(super) async fn a_crash_loses_nothing(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    journal.append(1, records(1..=4)).await.unwrap();
    journal.save(1, 2, 0, b"half".to_vec()).await.unwrap();
    drop(journal);
    for epoch in 2..5 {
        let journal = bed.reopen("a").await.unwrap();
        bed.end_lease().await.unwrap();
        let last = epoch + 2;
        let term = lead(&*journal).await;
        assert_eq!((term.epoch, term.last), (epoch, last));
        assert!(are(
            &read_all(&*journal, 0).await.unwrap(),
            1,
            &records(1..=last)
        ));
        assert!(journal.snapshots().await.unwrap().is_empty());
        // The next leader cannot finish the snapshot of another.
        let finished = journal.finish(epoch, 2, 1).await;
        assert!(matches!(finished, Err(Error::Turn { at: 2, .. })));
        let appended = journal.append(epoch, records([last + 1])).await;
        assert_eq!(appended.unwrap(), last + 1);
    }
}
