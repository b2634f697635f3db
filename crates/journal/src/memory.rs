//! A journal in memory, for simulations and tests: its time passes by command, and its faults are drawn by a seed.

mod disk;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use betanet_machine::{Rng, Seed};

use crate::record::check_bounds;
use crate::{
    Answer, Batch, Damage, Entry, Error, Facts, Head, Journal, Lead, PART_MAX, PARTS_MAX, Parts,
    Place, Record, Restored, Snapshot, Term,
};
use disk::Disk;

/// Probabilities of faults, each in thousandths of all appends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// The append is cut off: it fails with [`Error::Unknown`]. Whether it stands is drawn too.
    pub unknown: u16,
    /// Another coordinator takes over before the append, as if this leader's lease had ended.
    pub deposed: u16,
    /// The disk is full.
    pub full: u16,
}

/// What all coordinators of a journal in memory share.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Disk>>);

/// A coordinator's handle of a [`MemoryStore`]. Its futures are ready at once, except those of [`Journal::wait`].
#[derive(Debug)]
pub struct MemoryJournal {
    store: MemoryStore,
    id: u64,
    name: Box<str>,
}

impl MemoryStore {
    /// Creates an empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the journal for another coordinator of this name.
    #[must_use]
    pub fn open(&self, name: &str) -> MemoryJournal {
        let mut disk = self.lock();
        disk.handles += 1;
        MemoryJournal {
            store: self.clone(),
            id: disk.handles,
            name: name.into(),
        }
    }

    /// Lets time pass, in milliseconds. Leases end by it.
    pub fn pass(&self, ms: u64) {
        let mut disk = self.lock();
        disk.now_ms = disk.now_ms.saturating_add(ms);
    }

    /// Draws the faults of all later appends by a seed.
    pub fn set_faults(&self, faults: Faults, seed: &Seed) {
        self.lock().faults = Some((faults, Rng::new(seed)));
    }

    /// Flips one bit of a record's frame. Returns whether the record is there.
    #[must_use]
    pub fn flip(&self, index: u64, bit: usize) -> bool {
        let mut disk = self.lock();
        let Some(frame) = disk.frame(index) else {
            return false;
        };
        let at = bit / 8 % frame.len();
        frame[at] ^= 1 << (bit % 8);
        true
    }

    /// Truncates a record's frame to `len` bytes, as a torn write does. Returns whether the record is there.
    #[must_use]
    pub fn tear(&self, index: u64, len: usize) -> bool {
        let mut disk = self.lock();
        let found = disk.frame(index).map(|frame| frame.truncate(len));
        found.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "testkit")]
    pub(crate) fn spoil(&self, work: impl FnOnce(&mut Disk)) {
        work(&mut self.lock());
    }
}

impl MemoryJournal {
    /// Runs `work` on the disk now. The result is ready at once.
    fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> Result<T, Error>,
    ) -> Answer<'_, T> {
        let mut disk = self.store.lock();
        let done = disk.checked().and_then(|()| work(&mut disk));
        Box::pin(std::future::ready(done))
    }
}

impl Journal for MemoryJournal {
    fn lead(&self) -> Answer<'_, Lead> {
        self.with(|disk| {
            if let Some(held) = disk.held_by_another(self.id) {
                return Ok(Lead::Held(held));
            }
            let epoch = disk.head.next_epoch()?;
            disk.commit(Head { epoch, ..disk.head });
            disk.take_lease(self.id, &self.name);
            disk.lost = None;
            Ok(Lead::Leads(Term {
                epoch: disk.head.epoch,
                last: disk.head.last.index,
            }))
        })
    }

    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64> {
        self.with(|disk| {
            check_bounds(&records)?;
            disk.draw_deposed();
            disk.fence(epoch)?;
            let unknown = disk.draw_fault(epoch)?;
            if unknown != Some(false) {
                disk.append(epoch, &records)?;
                disk.take_lease(self.id, &self.name);
            }
            match unknown {
                Some(_) => Err(disk::cut_off()),
                None => Ok(disk.head.last.index),
            }
        })
    }

    fn resign(&self, epoch: u64) -> Answer<'_, ()> {
        self.with(|disk| {
            disk.fence(epoch)?;
            disk.lease = None;
            Ok(())
        })
    }

    fn read(&self, after: u64, batch: Batch) -> Answer<'_, Vec<Entry>> {
        self.with(|disk| disk.read(after, batch.clamped()))
    }

    fn wait(&self, after: u64) -> Answer<'_, u64> {
        Box::pin(std::future::poll_fn(move |context| {
            let mut disk = self.store.lock();
            disk.checked()?;
            if disk.head.last.index > after {
                return Poll::Ready(Ok(disk.head.last.index));
            }
            disk.remember(context.waker());
            Poll::Pending
        }))
    }

    fn save(&self, epoch: u64, at: u64, part: u32, body: Vec<u8>) -> Answer<'_, ()> {
        self.with(|disk| {
            if body.len() > PART_MAX || part >= PARTS_MAX {
                let long = body.len() > PART_MAX;
                let (found, most) = match long {
                    true => (body.len() as u64, PART_MAX as u64),
                    false => (u64::from(part) + 1, u64::from(PARTS_MAX)),
                };
                let what = if long { "bytes of a part" } else { "parts" };
                return Err(Error::Bounds { what, found, most });
            }
            disk.fence(epoch)?;
            disk.save(at, part, body)
        })
    }

    fn finish(&self, epoch: u64, at: u64, parts: u32) -> Answer<'_, Snapshot> {
        self.with(|disk| {
            disk.fence(epoch)?;
            disk.finish(at, parts)
        })
    }

    fn snapshots(&self) -> Answer<'_, Vec<Snapshot>> {
        self.with(|disk| Ok(disk.finished().collect()))
    }

    fn load(&self, at: u64, part: u32) -> Answer<'_, Vec<u8>> {
        self.with(|disk| disk.load(at, part))
    }

    fn restore(&self, snapshot: Snapshot, parts: Parts) -> Answer<'_, Restored> {
        self.with(|disk| {
            if let Some(held) = disk.held_by_another(self.id) {
                return Err(Error::Held(held));
            }
            let (mut bodies, mut seen) = (Vec::new(), Snapshot::begin(snapshot.at, snapshot.epoch));
            for body in parts {
                let body = body?;
                seen.add(&body);
                bodies.push((body, seen.content));
            }
            if seen != snapshot || seen.parts == 0 {
                let place = Place::Snapshot(snapshot.at.index);
                return Err(Error::damaged(place, Damage::Checksum));
            }
            disk.restore(snapshot, bodies)
        })
    }

    fn retain(&self, epoch: u64, keep: usize) -> Answer<'_, ()> {
        self.with(|disk| {
            disk.fence(epoch)?;
            disk.retain(keep.max(1))
        })
    }

    fn facts(&self) -> Answer<'_, Facts> {
        self.with(|disk| {
            Ok(Facts {
                version: disk.version,
                epoch: disk.head.epoch,
                base: disk.head.base.index,
                last: disk.head.last.index,
                size: disk.size(),
                free: None,
                floor: None,
                leader: disk.held_by_another(0),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::Kind;

    fn now<T>(answer: Answer<'_, T>) -> Result<T, Error> {
        answer.now_or_never().unwrap()
    }

    #[test]
    fn faults_follow_their_seed_and_leave_whole_appends() {
        let run = |seed: u64| {
            let store = MemoryStore::new();
            let faults = Faults {
                unknown: 200,
                deposed: 100,
                full: 100,
            };
            store.set_faults(faults, &Seed::from_number(seed));
            let journal = store.open("a");
            let kind = Kind::new("x").unwrap();
            let (mut seen, mut epoch, mut stood) = ([0; 5], 0, 0);
            for n in 0..400_u32 {
                if epoch == 0 {
                    store.pass(crate::LEASE_MS);
                    let Lead::Leads(term) = now(journal.lead()).unwrap() else {
                        panic!("no lease lasts");
                    };
                    (epoch, stood) = (term.epoch, term.last);
                }
                let pair = vec![Record::new(kind, n.to_be_bytes()); 2];
                let what = match now(journal.append(epoch, pair)) {
                    Ok(last) => {
                        assert_eq!(last, stood + 2);
                        stood = last;
                        0
                    }
                    Err(Error::Unknown { .. }) => {
                        let again = now(journal.append(epoch, Vec::new()));
                        assert!(matches!(
                            again,
                            Err(Error::Unknown { .. } | Error::EpochOver { .. })
                        ));
                        let last = now(journal.facts()).unwrap().last;
                        epoch = 0;
                        1 + usize::from(last != stood)
                    }
                    Err(Error::EpochOver { .. }) => {
                        epoch = 0;
                        3
                    }
                    Err(Error::DiskFull) => 4,
                    Err(e) => panic!("{e}"),
                };
                seen[what] += 1;
            }
            // All appends had two equal records, and each stands whole.
            let all = now(journal.read(0, Batch::default())).unwrap();
            for pair in all.chunks(2) {
                assert_eq!(pair[0].record, pair[1].record);
            }
            (seen, all)
        };
        let (seen, all) = run(1);
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
        assert_eq!(run(1), (seen, all));
        assert_ne!(run(2).0, seen);
    }

    #[test]
    fn each_torn_or_flipped_record_is_named() {
        let kind = Kind::new("x").unwrap();
        let fresh = || {
            let store = MemoryStore::new();
            let journal = store.open("a");
            assert!(now(journal.lead()).is_ok());
            let records = (0..5_u8).map(|n| Record::new(kind, [n; 9])).collect();
            assert_eq!(now(journal.append(1, records)).unwrap(), 5);
            (store, journal)
        };
        let named = |journal: &MemoryJournal, index: u64| {
            let good = now(journal.read(0, Batch::default()));
            let after = match good {
                Ok(good) => good.last().unwrap().index,
                Err(Error::Damaged { place, .. }) => {
                    return assert_eq!(place, Place::Record(index));
                }
                Err(e) => panic!("{e}"),
            };
            assert_eq!(after, index - 1);
            match now(journal.read(after, Batch::default())) {
                Err(Error::Damaged { place, .. }) => assert_eq!(place, Place::Record(index)),
                other => panic!("{other:?}"),
            }
        };
        for index in 1..=5 {
            for bit in 0..47 * 8 {
                let (store, journal) = fresh();
                assert!(store.flip(index, bit));
                named(&journal, index);
            }
            for len in 0..47 {
                let (store, journal) = fresh();
                assert!(store.tear(index, len));
                named(&journal, index);
            }
        }
        assert!(!fresh().0.flip(6, 0));
    }
}
