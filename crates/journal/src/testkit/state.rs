use super::{Bed, Spoil, are, lead, read_all, records};
use crate::file::{SnapshotFile, export};
use crate::{
    Batch, Error, Journal, Lead, PART_MAX, Place, RESTORE_INDEXES, Record, Restored, Snapshot,
};

/// The parts of a test's snapshot.
fn parts(n: u8) -> Vec<Vec<u8>> {
    vec![vec![n; 100_000], Vec::new(), vec![n ^ 1; 7]]
}

async fn save(journal: &dyn Journal, epoch: u64, at: u64, parts: &[Vec<u8>]) -> Snapshot {
    for (n, body) in (0..).zip(parts) {
        journal.save(epoch, at, n, body.clone()).await.unwrap();
    }
    let count = u32::try_from(parts.len()).unwrap();
    journal.finish(epoch, at, count).await.unwrap()
}

async fn load(journal: &dyn Journal, snapshot: &Snapshot) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for part in 0..snapshot.parts {
        all.push(journal.load(snapshot.at.index, part).await.unwrap());
    }
    all
}

async fn restore(
    journal: &dyn Journal,
    snapshot: Snapshot,
    parts: Vec<Vec<u8>>,
) -> Result<Restored, Error> {
    let parts = Box::new(parts.into_iter().map(Ok));
    journal.restore(snapshot, parts).await
}

/// A leader with the records 1 to 10.
async fn ten(bed: &dyn Bed) -> Box<dyn Journal> {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    journal.append(1, records(1..=10)).await.unwrap();
    journal
}

pub(super) async fn snapshots_are_listed_once_finished(bed: &dyn Bed) {
    let journal = ten(bed).await;
    assert!(journal.snapshots().await.unwrap().is_empty());
    for (part, body) in (0..).zip(parts(1)) {
        journal.save(1, 4, part, body).await.unwrap();
        // Appends go on between the parts.
        journal
            .append(1, records([11 + u64::from(part)]))
            .await
            .unwrap();
        assert!(journal.snapshots().await.unwrap().is_empty());
        let early = journal.load(4, 0).await;
        assert!(matches!(early, Err(Error::NoSnapshot { at: 4 })));
    }
    let first = journal.finish(1, 4, 3).await.unwrap();
    assert_eq!((first.at.index, first.epoch), (4, 1));
    assert_eq!((first.parts, first.bytes), (3, 100_007));
    let second = save(&*journal, 1, 9, &parts(2)).await;
    let empty = save(&*journal, 1, 6, &[Vec::new()]).await;
    assert_eq!(journal.snapshots().await.unwrap(), [second, empty, first]);
    assert_eq!(load(&*journal, &first).await, parts(1));
    assert_eq!(load(&*journal, &second).await, parts(2));
    let beyond = journal.load(4, 3).await;
    assert!(matches!(beyond, Err(Error::NoSnapshot { at: 4 })));
    // They outlast a crash.
    drop(journal);
    let journal = bed.reopen("a").await.unwrap();
    assert_eq!(journal.snapshots().await.unwrap().len(), 3);
    assert_eq!(load(&*journal, &first).await, parts(1));
    assert!(are(
        &read_all(&*journal, 4).await.unwrap(),
        5,
        &records(5..=13)
    ));
}

pub(super) async fn snapshots_keep_their_turn(bed: &dyn Bed) {
    let journal = ten(bed).await;
    let turn = |result: Result<(), Error>, part: u32| match result {
        Err(Error::Turn { at: 5, part: p }) => assert_eq!(p, part),
        other => panic!("{other:?}"),
    };
    turn(journal.save(1, 5, 1, b"x".to_vec()).await, 1);
    journal.save(1, 5, 0, b"old".to_vec()).await.unwrap();
    turn(journal.save(1, 5, 2, b"x".to_vec()).await, 2);
    // Part 0 begins anew.
    journal.save(1, 5, 0, b"new".to_vec()).await.unwrap();
    journal.save(1, 5, 1, b"end".to_vec()).await.unwrap();
    turn(journal.save(1, 5, 1, b"x".to_vec()).await, 1);
    turn(journal.finish(1, 5, 1).await.map(|_| ()), 1);
    turn(journal.finish(1, 5, 3).await.map(|_| ()), 3);
    let snapshot = journal.finish(1, 5, 2).await.unwrap();
    for part in 0..3 {
        turn(journal.save(1, 5, part, b"x".to_vec()).await, part);
    }
    turn(journal.finish(1, 5, 2).await.map(|_| ()), 2);
    let all = load(&*journal, &snapshot).await;
    assert_eq!(all, [b"new".to_vec(), b"end".to_vec()]);
    let ahead = journal.save(1, 11, 0, Vec::new()).await;
    assert!(matches!(ahead, Err(Error::Ahead { .. })));
    let long = journal.save(1, 6, 0, vec![0; PART_MAX + 1]).await;
    assert!(matches!(long, Err(Error::Bounds { .. })));
}

pub(super) async fn retention_removes_what_a_snapshot_covers(bed: &dyn Bed) {
    let journal = ten(bed).await;
    // Without a snapshot everything is kept.
    journal.retain(1, 1).await.unwrap();
    assert!(are(
        &read_all(&*journal, 0).await.unwrap(),
        1,
        &records(1..=10)
    ));
    let mut all = Vec::new();
    for at in [3, 6, 8] {
        all.insert(0, save(&*journal, 1, at, &parts(1)).await);
    }
    journal.save(1, 5, 0, b"unfinished".to_vec()).await.unwrap();
    for (keep, base) in [(5, 3), (3, 3), (2, 6), (0, 8)] {
        journal.retain(1, keep).await.unwrap();
        assert_eq!(journal.snapshots().await.unwrap(), all[..keep.clamp(1, 3)]);
        assert_eq!(journal.facts().await.unwrap().base, base);
        let rest = read_all(&*journal, base).await.unwrap();
        assert!(are(&rest, base + 1, &records(base + 1..=10)));
        match journal.read(base - 1, Batch::default()).await {
            Err(Error::Gone { after, base: b }) => assert_eq!((after, b), (base - 1, base)),
            other => panic!("{other:?}"),
        }
    }
    let gone = journal.save(1, 5, 1, Vec::new()).await;
    assert!(matches!(gone, Err(Error::Gone { .. })));
    // Indexes go on, also once no record is left.
    let last = save(&*journal, 1, 10, &parts(3)).await;
    journal.retain(1, 1).await.unwrap();
    assert!(read_all(&*journal, 10).await.unwrap().is_empty());
    drop(journal);
    bed.end_lease().await.unwrap();
    let journal = bed.reopen("a").await.unwrap();
    assert_eq!(lead(&*journal).await.last, 10);
    assert_eq!(journal.append(2, records([11])).await.unwrap(), 11);
    assert!(are(
        &read_all(&*journal, 10).await.unwrap(),
        11,
        &records([11])
    ));
    assert_eq!(load(&*journal, &last).await, parts(3));
}

pub(super) async fn a_restored_snapshot_goes_on_above(bed: &dyn Bed) {
    let journal = ten(bed).await;
    let snapshot = save(&*journal, 1, 4, &parts(1)).await;
    if bed.leases() {
        let other = bed.open("b").await.unwrap();
        let held = restore(&*other, snapshot, parts(1)).await;
        assert!(matches!(held, Err(Error::Held(_))), "{held:?}");
    }
    let mut highest = (1, 10);
    for round in 0..3 {
        bed.end_lease().await.unwrap();
        let restored = restore(&*journal, snapshot, parts(1)).await.unwrap();
        assert!(restored.epoch > highest.0 && restored.at >= highest.1);
        if round == 0 {
            assert_eq!(restored.at + 1, 4 + RESTORE_INDEXES);
        }
        // The old leader's epoch is over, and the restored one has no leader.
        let old = journal.append(highest.0, records([1])).await;
        assert!(matches!(old, Err(Error::EpochOver { .. })));
        let all = journal.snapshots().await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].at.index, restored.at);
        assert_eq!(load(&*journal, &all[0]).await, parts(1));
        for gone in [0, 4, 7, 10] {
            let read = journal.read(gone, Batch::default()).await;
            assert!(matches!(read, Err(Error::Gone { .. })), "{read:?}");
        }
        let term = lead(&*journal).await;
        assert_eq!((term.epoch, term.last), (restored.epoch + 1, restored.at));
        let last = journal.append(term.epoch, records(1..=2)).await.unwrap();
        assert_eq!(last, restored.at + 2);
        let rest = read_all(&*journal, restored.at).await.unwrap();
        assert!(are(&rest, restored.at + 1, &records(1..=2)));
        highest = (term.epoch, last);
    }
}

pub(super) async fn a_damaged_snapshot_restores_nothing(bed: &dyn Bed) {
    let journal = ten(bed).await;
    let snapshot = save(&*journal, 1, 4, &parts(1)).await;
    let mut flipped = parts(1);
    flipped[0][77] ^= 1;
    let short = parts(1)[..2].to_vec();
    let long = [parts(1), vec![Vec::new()]].concat();
    for bad in [flipped, short, long, Vec::new()] {
        let refused = restore(&*journal, snapshot, bad).await;
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    }
    let source = Box::new([Ok(vec![1]), Err(Error::Closed)].into_iter());
    let broken = journal.restore(snapshot, source).await;
    assert!(matches!(broken, Err(Error::Closed)), "{broken:?}");
    assert_eq!(journal.snapshots().await.unwrap(), [snapshot]);
    assert_eq!(journal.append(1, records([11])).await.unwrap(), 11);
    // A part that rots in the journal is named.
    bed.spoil(Spoil::Part(4, 0)).await.unwrap();
    match journal.load(4, 0).await {
        Err(Error::Damaged { place, .. }) => assert_eq!(place, Place::Part { at: 4, part: 0 }),
        other => panic!("{other:?}"),
    }
    assert_eq!(journal.load(4, 2).await.unwrap(), parts(1)[2]);
}

pub(super) async fn a_snapshot_moves_to_another_journal(bed: &dyn Bed) {
    let journal = ten(bed).await;
    let snapshot = save(&*journal, 1, 4, &parts(1)).await;
    let mut file = Vec::new();
    assert_eq!(export(&*journal, 4, &mut file).await.unwrap(), snapshot);
    let opened = SnapshotFile::open(&file[..]).unwrap();
    assert_eq!(opened.snapshot(), snapshot);
    let read: Result<Vec<_>, _> = opened.collect();
    assert_eq!(read.unwrap(), parts(1));
    let none = export(&*journal, 5, &mut Vec::new()).await;
    assert!(matches!(none, Err(Error::NoSnapshot { at: 5 })));
    let verified = crate::verify(&*journal).await.unwrap();
    assert_eq!((verified.records, verified.snapshots), (10, 1));
}

pub(super) async fn a_journal_is_restored_from_a_file(from: &dyn Bed, to: &dyn Bed) {
    let journal = ten(from).await;
    let snapshot = save(&*journal, 1, 10, &parts(9)).await;
    let mut file = Vec::new();
    export(&*journal, 10, &mut file).await.unwrap();
    // The first journal went on before it was lost.
    journal.append(1, records(11..=30)).await.unwrap();
    let next = to.open("b").await.unwrap();
    let source = SnapshotFile::open(std::io::Cursor::new(file)).unwrap();
    let restored = next.restore(snapshot, Box::new(source)).await.unwrap();
    assert!(restored.epoch > 1);
    assert_eq!(restored.at, 9 + RESTORE_INDEXES);
    let Lead::Leads(term) = next.lead().await.unwrap() else {
        panic!("nobody leads");
    };
    let last = next.append(term.epoch, vec![records([31]).remove(0); 2]);
    assert_eq!(last.await.unwrap(), 11 + RESTORE_INDEXES);
    let all: Vec<Record> = read_all(&*next, restored.at)
        .await
        .unwrap()
        .into_iter()
        .map(|e| e.record)
        .collect();
    assert_eq!(all, records([31, 31]));
}
