use super::{Bed, Spoil, are, lead, read_all, records};
use crate::{Batch, Error, Lead, Place};

fn over<T: std::fmt::Debug>(result: Result<T, Error>, epoch: u64, current: u64) {
    match result {
        Err(Error::EpochOver {
            epoch: e,
            current: c,
        }) => assert_eq!((e, c), (epoch, current)),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_deposed_leader_changes_nothing(bed: &dyn Bed) {
    let (a, b) = (bed.open("a").await.unwrap(), bed.open("b").await.unwrap());
    assert_eq!(lead(&*a).await.epoch, 1);
    a.append(1, records(1..=3)).await.unwrap();
    a.save(1, 3, 0, b"part".to_vec()).await.unwrap();
    bed.end_lease().await.unwrap();
    // The lease's end alone deposes nobody.
    assert_eq!(a.append(1, records(4..=4)).await.unwrap(), 4);
    bed.end_lease().await.unwrap();
    let term = lead(&*b).await;
    assert_eq!((term.epoch, term.last), (2, 4));
    over(a.append(1, records(9..=9)).await, 1, 2);
    over(a.append(1, Vec::new()).await, 1, 2);
    over(a.save(1, 3, 1, b"more".to_vec()).await, 1, 2);
    over(a.finish(1, 3, 1).await, 1, 2);
    over(a.retain(1, 1).await, 1, 2);
    over(a.resign(1).await, 1, 2);
    over(a.append(3, records(9..=9)).await, 3, 2);
    // Between those of the next leader too, and when both append at once.
    for n in 5..20 {
        let both =
            futures_util::future::join(a.append(1, records([n + 1000])), b.append(2, records([n])));
        let (old, new) = both.await;
        over(old, 1, 2);
        assert_eq!(new.unwrap(), n);
    }
    for journal in [&a, &b] {
        let all = read_all(&**journal, 0).await.unwrap();
        assert!(are(&all, 1, &records(1..20)));
        let epochs = all.iter().map(|e| e.epoch);
        assert!(epochs.eq([1; 4].into_iter().chain([2; 15])));
        assert!(journal.snapshots().await.unwrap().is_empty());
    }
    // Leadership goes back and forth, and the epoch rises by one each time.
    for epoch in 3..9 {
        bed.end_lease().await.unwrap();
        let (new, old) = if epoch % 2 == 0 { (&b, &a) } else { (&a, &b) };
        assert_eq!(lead(&**new).await.epoch, epoch);
        over(old.append(epoch - 1, Vec::new()).await, epoch - 1, epoch);
    }
}

pub(super) async fn leases_exclude_and_end(bed: &dyn Bed) {
    let (a, b) = (
        bed.open("first").await.unwrap(),
        bed.open("second").await.unwrap(),
    );
    lead(&*a).await;
    a.append(1, records(1..=1)).await.unwrap();
    if bed.leases() {
        for _ in 0..3 {
            let Lead::Held(held) = b.lead().await.unwrap() else {
                panic!("two leaders");
            };
            assert_eq!((&*held.name, held.epoch), ("first", 1));
            assert!((1..=crate::LEASE_MS).contains(&held.ends_in_ms));
            assert_eq!(b.facts().await.unwrap().leader.unwrap().name, held.name);
        }
        // An attempt to lead changes nothing.
        assert_eq!(a.append(1, records(2..=2)).await.unwrap(), 2);
    }
    // A leader that resigns need not be waited for, and its own epoch is not over until another leads.
    a.resign(1).await.unwrap();
    assert_eq!(lead(&*b).await.epoch, 2);
    over(a.append(1, Vec::new()).await, 1, 2);
    // A coordinator may lead again under its own lease.
    assert_eq!(lead(&*b).await.epoch, 3);
    over(b.append(2, Vec::new()).await, 2, 3);
    assert!(b.append(3, records(3..=3)).await.is_ok());
}

/// Reads to the end or to the damage, and returns the last good index and the damaged place.
async fn first_damage(bed: &dyn Bed) -> (u64, Option<Place>) {
    // A backend may find the damage when it is opened.
    let journal = match bed.reopen("reader").await {
        Ok(journal) => journal,
        Err(Error::Damaged { place, .. }) => return (0, Some(place)),
        Err(e) => panic!("{e}"),
    };
    let mut after = 0;
    loop {
        match journal.read(after, Batch::default()).await {
            Ok(some) if some.is_empty() => return (after, None),
            Ok(some) => after = some.last().map_or(after, |e| e.index),
            Err(Error::Damaged { place, .. }) => return (after, Some(place)),
            Err(e) => panic!("{e}"),
        }
    }
}

pub(super) async fn damage_is_named(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    journal.append(1, records(1..=9)).await.unwrap();
    drop(journal);
    assert_eq!(first_damage(bed).await, (9, None));
    for (what, index) in [
        (Spoil::Flip(7), 7),
        (Spoil::Remove(5), 5),
        (Spoil::Flip(1), 1),
    ] {
        bed.spoil(what).await.unwrap();
        let (good, place) = first_damage(bed).await;
        assert!(good < index, "{what:?}");
        assert_eq!(place, Some(Place::Record(index)), "{what:?}");
    }
}

pub(super) async fn a_lost_end_is_named(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    for n in 1..=4 {
        journal.append(1, records([n])).await.unwrap();
    }
    drop(journal);
    bed.spoil(Spoil::RemoveLast).await.unwrap();
    let (good, place) = first_damage(bed).await;
    assert!(good < 4);
    assert_eq!(place, Some(Place::Record(4)));
}

pub(super) async fn a_damaged_head_is_named(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    for epoch in 1..=2 {
        bed.end_lease().await.unwrap();
        assert_eq!(lead(&*journal).await.epoch, epoch);
    }
    journal.append(2, records(1..=2)).await.unwrap();
    drop(journal);
    bed.end_lease().await.unwrap();
    bed.spoil(Spoil::Epoch).await.unwrap();
    // No leader begins upon an epoch that was changed.
    let led = match bed.reopen("a").await {
        Ok(journal) => journal.lead().await.map(|_| ()),
        Err(e) => Err(e),
    };
    match led {
        Err(Error::Damaged { place, .. }) => assert_eq!(place, Place::Head),
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_newer_version_is_refused(bed: &dyn Bed) {
    let journal = bed.open("a").await.unwrap();
    lead(&*journal).await;
    let known = journal.facts().await.unwrap().version;
    drop(journal);
    bed.spoil(Spoil::Version(known + 1)).await.unwrap();
    let opened = match bed.reopen("a").await {
        Ok(journal) => journal.lead().await.map(|_| ()),
        Err(e) => Err(e),
    };
    match opened {
        Err(Error::Newer { found, known: k }) => assert_eq!((found, k), (known + 1, known)),
        other => panic!("{other:?}"),
    }
}
