use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;

use betanet_machine::Rng;

use super::Faults;
use crate::chain::{Chain, Head};
use crate::{
    Batch, Damage, Entry, Error, Held, LEASE_MS, Place, Record, Restored, Snapshot, Sum, frame,
};

/// Version of the tables.
const VERSION: u32 = 1;
/// Maximum number of futures that wait. Beyond it all are woken and register again.
const WAITING_MAX: usize = 1024;

/// The content of a journal in memory.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(super) handles: u64,
    pub(super) now_ms: u64,
    pub(crate) version: u32,
    pub(crate) head: Head,
    /// Sum of the head, as written.
    pub(crate) head_sum: Sum,
    /// Frames of the records after the base.
    pub(crate) frames: VecDeque<Vec<u8>>,
    pub(crate) saved: BTreeMap<u64, Saved>,
    pub(super) lease: Option<Lease>,
    /// The epoch in which an append had an unknown outcome.
    pub(super) lost: Option<u64>,
    pub(super) faults: Option<(Faults, Rng)>,
    waiting: Vec<Waker>,
}

#[derive(Debug)]
pub(super) struct Lease {
    holder: u64,
    name: Box<str>,
    end_ms: u64,
}

/// A snapshot, finished or not.
#[derive(Debug)]
pub(crate) struct Saved {
    snapshot: Snapshot,
    /// Content and checksum of each part.
    pub(crate) parts: Vec<(Vec<u8>, Sum)>,
    finished: bool,
}

/// Fault of an append that was cut off.
#[derive(Debug, thiserror::Error)]
#[error("the append was cut off")]
struct CutOff;

pub(super) fn cut_off() -> Error {
    Error::Unknown {
        source: Box::new(CutOff),
    }
}

impl Default for Disk {
    fn default() -> Self {
        let head = Head::default();
        Self {
            handles: 0,
            now_ms: 0,
            version: VERSION,
            head,
            head_sum: head.sum(),
            frames: VecDeque::new(),
            saved: BTreeMap::new(),
            lease: None,
            lost: None,
            faults: None,
            waiting: Vec::new(),
        }
    }
}

impl Disk {
    /// Refuses a newer version and a damaged head. Called before each operation, as a backend does that reads its head.
    pub(super) fn checked(&self) -> Result<(), Error> {
        if self.version > VERSION {
            return Err(Error::Newer {
                found: self.version,
                known: VERSION,
            });
        }
        self.head.check(&self.head_sum).map(|_| ())
    }

    /// Writes the head, with its checksum.
    pub(super) fn commit(&mut self, head: Head) {
        self.head = head;
        self.head_sum = head.sum();
    }

    pub(super) fn frame(&mut self, index: u64) -> Option<&mut Vec<u8>> {
        let at = index.checked_sub(self.head.base.index + 1)?;
        self.frames.get_mut(usize::try_from(at).ok()?)
    }

    pub(super) fn held_by_another(&self, handle: u64) -> Option<Held> {
        let lease = self.lease.as_ref()?;
        let lasts = lease.end_ms > self.now_ms && lease.holder != handle;
        lasts.then(|| Held {
            name: lease.name.clone(),
            epoch: self.head.epoch,
            ends_in_ms: lease.end_ms - self.now_ms,
        })
    }

    pub(super) fn take_lease(&mut self, holder: u64, name: &str) {
        self.lease = Some(Lease {
            holder,
            name: name.into(),
            end_ms: self.now_ms.saturating_add(LEASE_MS),
        });
    }

    pub(super) fn fence(&self, epoch: u64) -> Result<(), Error> {
        self.head.fence(epoch)?;
        match self.lost {
            Some(lost) if lost == epoch => Err(cut_off()),
            _ => Ok(()),
        }
    }

    /// Draws whether another coordinator takes over now.
    pub(super) fn draw_deposed(&mut self) {
        if let Some((faults, rng)) = &mut self.faults
            && rng.below(1000) < u64::from(faults.deposed)
        {
            let epoch = self.head.epoch + 1;
            self.commit(Head { epoch, ..self.head });
            self.lease = None;
        }
    }

    /// Draws the fault of an append. An append of unknown outcome gives `Some`: whether it stands.
    pub(super) fn draw_fault(&mut self, epoch: u64) -> Result<Option<bool>, Error> {
        let Some((faults, rng)) = &mut self.faults else {
            return Ok(None);
        };
        if rng.below(1000) < u64::from(faults.full) {
            return Err(Error::DiskFull);
        }
        if rng.below(1000) < u64::from(faults.unknown) {
            self.lost = Some(epoch);
            return Ok(Some(rng.below(2) == 1));
        }
        Ok(None)
    }

    pub(super) fn append(&mut self, epoch: u64, records: &[Record]) -> Result<(), Error> {
        let mut last = self.head.last;
        let mut frames = Vec::with_capacity(records.len());
        for record in records {
            let mut bytes = Vec::new();
            frame::encode(&mut last, epoch, record, &mut bytes)?;
            frames.push(bytes);
        }
        self.frames.extend(frames);
        self.commit(Head { last, ..self.head });
        self.wake();
        Ok(())
    }

    pub(super) fn remember(&mut self, waker: &Waker) {
        if self.waiting.iter().any(|w| w.will_wake(waker)) {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.wake();
        }
        self.waiting.push(waker.clone());
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Returns the position at an index, and the number of the frame after it.
    fn position(&self, at: u64) -> Result<(Chain, usize), Error> {
        self.head.readable(at)?;
        let skip = usize::try_from(at - self.head.base.index).unwrap_or(usize::MAX);
        if skip == 0 {
            return Ok((self.head.base, 0));
        }
        // The frame holds the checksum behind its length, index and epoch.
        let sum = self.frames.get(skip - 1).and_then(|f| f.get(20..36));
        let sum = sum.and_then(|s| s.try_into().ok());
        let missing = Error::damaged(Place::Record(at), Damage::Truncated);
        let sum = sum.ok_or(missing)?;
        Ok((Chain { index: at, sum }, skip))
    }

    pub(super) fn read(&self, after: u64, batch: Batch) -> Result<Vec<Entry>, Error> {
        let (mut chain, skip) = self.position(after)?;
        let (mut out, mut bytes) = (Vec::new(), 0);
        for frame in self.frames.iter().skip(skip).take(batch.records) {
            let entry = match frame::decode(&mut chain, frame) {
                Ok((entry, _)) => entry,
                Err(e) if out.is_empty() => return Err(e),
                Err(_) => return Ok(out),
            };
            bytes += entry.record.body.len();
            if bytes > batch.bytes && !out.is_empty() {
                break;
            }
            out.push(entry);
        }
        if out.is_empty() && after < self.head.last.index {
            return Err(Error::damaged(Place::Record(after + 1), Damage::Missing));
        }
        Ok(out)
    }

    pub(super) fn save(&mut self, at: u64, part: u32, body: Vec<u8>) -> Result<(), Error> {
        let position = self.position(at)?.0;
        let epoch = self.head.epoch;
        let there = self.saved.get(&at);
        if part == 0 && there.is_none_or(|s| !s.finished) {
            let saved = Saved {
                snapshot: Snapshot::begin(position, epoch),
                parts: Vec::new(),
                finished: false,
            };
            self.saved.insert(at, saved);
        }
        let open = self.saved.get_mut(&at).filter(|s| !s.finished);
        // A leader goes on with its own snapshot only.
        let turn = |s: &&mut Saved| s.snapshot.parts == part && s.snapshot.epoch == epoch;
        let saved = open.filter(turn).ok_or(Error::Turn { at, part })?;
        saved.snapshot.add(&body);
        saved.parts.push((body, saved.snapshot.content));
        Ok(())
    }

    pub(super) fn finish(&mut self, at: u64, parts: u32) -> Result<Snapshot, Error> {
        self.head.readable(at)?;
        let epoch = self.head.epoch;
        let open = self.saved.get_mut(&at).filter(|s| !s.finished);
        let turn = |s: &&mut Saved| s.snapshot.parts == parts && s.snapshot.epoch == epoch;
        let saved = open.filter(turn).ok_or(Error::Turn { at, part: parts })?;
        saved.finished = true;
        Ok(saved.snapshot)
    }

    /// Finished snapshots, newest first.
    pub(super) fn finished(&self) -> impl Iterator<Item = Snapshot> {
        let all = self.saved.values().rev().filter(|s| s.finished);
        all.map(|s| s.snapshot)
    }

    pub(super) fn load(&self, at: u64, part: u32) -> Result<Vec<u8>, Error> {
        let saved = self.saved.get(&at).filter(|s| s.finished);
        let none = Error::NoSnapshot { at };
        let number = usize::try_from(part).unwrap_or(usize::MAX);
        let found = saved.and_then(|s| Some((s, s.parts.get(number)?)));
        let (saved, (body, sum)) = found.ok_or(none)?;
        let mut seen = Snapshot::begin(saved.snapshot.at, saved.snapshot.epoch);
        seen.parts = part;
        if let Some(before) = number.checked_sub(1) {
            seen.content = saved.parts[before].1;
        }
        seen.add(body);
        if seen.content != *sum {
            let place = Place::Part { at, part };
            return Err(Error::damaged(place, Damage::Checksum));
        }
        Ok(body.clone())
    }

    pub(super) fn restore(
        &mut self,
        snapshot: Snapshot,
        parts: Vec<(Vec<u8>, Sum)>,
    ) -> Result<Restored, Error> {
        let head = self.head.restored(&snapshot)?;
        self.commit(head);
        self.frames.clear();
        self.saved.clear();
        self.lease = None;
        let saved = Saved {
            snapshot: snapshot.moved(&head),
            parts,
            finished: true,
        };
        self.saved.insert(head.base.index, saved);
        self.wake();
        Ok(Restored {
            epoch: head.epoch,
            at: head.base.index,
        })
    }

    pub(super) fn retain(&mut self, keep: usize) -> Result<(), Error> {
        let Some(oldest) = self.finished().take(keep).last() else {
            return Ok(());
        };
        let (base, skip) = self.position(oldest.at.index)?;
        self.frames.drain(..skip);
        self.commit(Head { base, ..self.head });
        self.saved.retain(|at, _| *at >= base.index);
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        let frames = self.frames.iter().map(|f| f.len() as u64).sum::<u64>();
        let parts = self.saved.values().map(|s| s.snapshot.bytes).sum::<u64>();
        frames + parts
    }
}
