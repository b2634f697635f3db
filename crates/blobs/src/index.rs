//! The index of the stored blobs, and the account of their bytes. It touches no disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::pins::{Holder, Pins};
use crate::seal::stored_len;
use crate::{Digest, Error, Facts, Settings};

/// Unit in which a stored blob is charged, in bytes: little content does not make many files.
pub(crate) const UNIT: u64 = 4096;

/// Returns the bytes that a blob of this length is charged.
pub(crate) const fn charge(size: u64) -> u64 {
    stored_len(size).next_multiple_of(UNIT)
}

/// A folder of the store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Area {
    /// Blobs that are served.
    Served,
    /// Blobs that were found to be damaged.
    Damaged,
}

#[derive(Debug)]
struct Blob {
    size: u64,
    /// Differs from that of an earlier blob of the same digest.
    id: u64,
    /// Turn of its last use.
    used: u64,
    readers: u32,
}

/// What has to be done before bytes can be stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Plan {
    /// They are reserved.
    Reserved,
    /// Files have to be deleted first.
    Purge,
}

#[derive(Debug)]
pub(crate) struct Index {
    settings: Settings,
    blobs: BTreeMap<Digest, Blob>,
    pins: Pins,
    /// Blobs that may be evicted, by turn of their last use.
    order: BTreeMap<u64, Digest>,
    /// Bytes charged for them.
    evictable: u64,
    damaged: BTreeMap<Digest, u64>,
    damaged_bytes: u64,
    /// Files that are to be deleted, with the bytes charged for them.
    doomed: BTreeMap<(Area, Digest), u64>,
    doomed_bytes: u64,
    /// Bytes charged for all files.
    used: u64,
    /// Bytes reserved for uploads, and how many of them are not on the disk yet.
    reserved: u64,
    pending: u64,
    uploads: u64,
    evicted: u64,
    turn: u64,
    /// Files that were deleted while the store is listed: the list may still have them.
    gone: Option<BTreeSet<Digest>>,
}

impl Index {
    pub(crate) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            blobs: BTreeMap::new(),
            pins: Pins::new(),
            order: BTreeMap::new(),
            evictable: 0,
            damaged: BTreeMap::new(),
            damaged_bytes: 0,
            doomed: BTreeMap::new(),
            doomed_bytes: 0,
            used: 0,
            reserved: 0,
            pending: 0,
            uploads: 0,
            evicted: 0,
            turn: 0,
            gone: None,
        }
    }

    const fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Adds a blob that is on the disk, as the one used last. A file of that name that was to be deleted was replaced by it.
    pub(crate) fn add(&mut self, digest: Digest, size: u64) {
        self.purged(Area::Served, digest);
        // A list of the store may have had it before its upload told so.
        if let Some(before) = self.take(&digest) {
            self.used -= charge(before);
        }
        let turn = self.turn();
        let blob = Blob {
            size,
            id: turn,
            used: turn,
            readers: 0,
        };
        self.used += charge(size);
        self.blobs.insert(digest, blob);
        self.settle(digest);
    }

    /// A file is among the damaged ones now, unless it was missing, and no longer among those that are served.
    pub(crate) fn set_aside(&mut self, digest: Digest, bytes: Option<u64>) {
        self.purged(Area::Served, digest);
        let Some(bytes) = bytes else {
            return;
        };
        self.purged(Area::Damaged, digest);
        let bytes = bytes.next_multiple_of(UNIT).max(UNIT);
        let before = self.damaged.insert(digest, bytes).unwrap_or(0);
        self.damaged_bytes = self.damaged_bytes - before + bytes;
        self.used = self.used - before + bytes;
    }

    /// Returns the length of a blob.
    pub(crate) fn size(&self, digest: &Digest) -> Option<u64> {
        self.blobs.get(digest).map(|blob| blob.size)
    }

    /// Returns the length of a blob, and makes it the one used last.
    pub(crate) fn touch(&mut self, digest: &Digest) -> Option<u64> {
        let turn = self.turn();
        let blob = self.blobs.get_mut(digest)?;
        let size = blob.size;
        let before = std::mem::replace(&mut blob.used, turn);
        if self.order.remove(&before).is_some() {
            self.order.insert(turn, *digest);
        }
        Some(size)
    }

    /// Enters a blob into the order of eviction, or takes it out.
    fn settle(&mut self, digest: Digest) {
        let Some(blob) = self.blobs.get(&digest) else {
            return;
        };
        let bytes = charge(blob.size);
        if blob.readers == 0 && !self.pins.has(&digest) {
            if self.order.insert(blob.used, digest).is_none() {
                self.evictable += bytes;
            }
        } else if self.order.remove(&blob.used).is_some() {
            self.evictable -= bytes;
        }
    }

    /// Takes a blob out of the index. Returns its length.
    fn take(&mut self, digest: &Digest) -> Option<u64> {
        let blob = self.blobs.remove(digest)?;
        if self.order.remove(&blob.used).is_some() {
            self.evictable -= charge(blob.size);
        }
        Some(blob.size)
    }

    /// Takes a blob out of the index. Its file is to be deleted, and charged until then. Returns whether there was one.
    pub(crate) fn doom(&mut self, digest: Digest) -> bool {
        let Some(size) = self.take(&digest) else {
            return false;
        };
        let bytes = charge(size);
        self.doomed.insert((Area::Served, digest), bytes);
        self.doomed_bytes += bytes;
        true
    }

    /// Returns the files that are to be deleted.
    pub(crate) fn doomed(&self) -> Vec<(Area, Digest)> {
        self.doomed.keys().copied().collect()
    }

    /// Whether a file is still to be deleted.
    pub(crate) fn is_doomed(&self, area: Area, digest: Digest) -> bool {
        self.doomed.contains_key(&(area, digest))
    }

    /// A file that was to be deleted is there no longer.
    pub(crate) fn purged(&mut self, area: Area, digest: Digest) {
        if let (Some(gone), Area::Served) = (&mut self.gone, area) {
            gone.insert(digest);
        }
        if let Some(bytes) = self.doomed.remove(&(area, digest)) {
            self.doomed_bytes -= bytes;
            self.used -= bytes;
        }
    }

    /// Reserves room for a blob, or says which files have to be deleted first.
    ///
    /// `free` is the free space on the disk in bytes, if there is a disk that can run out.
    ///
    /// # Errors
    ///
    /// [`Error::Quota`], [`Error::Full`] and [`Error::DiskFloor`]: no file is to be deleted.
    pub(crate) fn reserve(&mut self, size: u64, free: Option<u64>) -> Result<Plan, Error> {
        let bytes = charge(size);
        let blobs = self.count() + self.uploads + 1;
        let (quota, most) = (self.settings.quota, self.settings.blobs);
        let over_quota = (self.used + self.reserved + bytes).saturating_sub(quota);
        let floor = self.settings.floor;
        let needed = floor.saturating_add(self.pending + bytes);
        let over_disk = free.map_or(0, |free| needed.saturating_sub(free));
        let over_count = blobs.saturating_sub(most);
        if over_quota == 0 && over_disk == 0 && over_count == 0 {
            self.reserved += bytes;
            self.pending += bytes;
            self.uploads += 1;
            return Ok(Plan::Reserved);
        }
        let spare = self.doomed_bytes + self.damaged_bytes + self.evictable;
        if over_quota > spare {
            return Err(Error::Quota {
                needed: bytes,
                quota,
            });
        }
        if over_disk > spare {
            let free = free.unwrap_or(0);
            return Err(Error::DiskFloor { free, floor });
        }
        let files = self.doomed.len() + self.damaged.len() + self.order.len();
        if over_count > files as u64 {
            return Err(Error::Full {
                what: "blobs",
                most,
            });
        }
        let over = over_quota.max(over_disk);
        while self.doomed_bytes < over || (self.doomed.len() as u64) < over_count {
            if !self.evict() {
                break;
            }
        }
        Ok(Plan::Purge)
    }

    /// Dooms blobs until quota and floor hold, as far as some may be evicted.
    pub(crate) fn shrink(&mut self, free: Option<u64>) {
        let over_quota = (self.used + self.reserved).saturating_sub(self.settings.quota);
        let needed = self.settings.floor.saturating_add(self.pending);
        let over_disk = free.map_or(0, |free| needed.saturating_sub(free));
        let over = over_quota.max(over_disk);
        while self.doomed_bytes < over && self.evict() {}
    }

    /// Dooms a damaged file, or the blob that was used longest ago. Returns `false` if none may go.
    fn evict(&mut self) -> bool {
        if let Some((digest, bytes)) = self.damaged.pop_first() {
            self.damaged_bytes -= bytes;
            self.doomed.insert((Area::Damaged, digest), bytes);
            self.doomed_bytes += bytes;
            return true;
        }
        let Some(digest) = self.order.values().next().copied() else {
            return false;
        };
        self.evicted += 1;
        self.doom(digest)
    }

    /// Number of files, without those of uploads.
    fn count(&self) -> u64 {
        (self.blobs.len() + self.damaged.len() + self.doomed.len()) as u64
    }

    /// Some of a reservation's bytes are on the disk now.
    pub(crate) fn written(&mut self, bytes: u64) {
        self.pending = self.pending.saturating_sub(bytes);
    }

    /// Ends a reservation, of which `pending` bytes were not on the disk.
    pub(crate) fn release(&mut self, size: u64, pending: u64) {
        self.reserved -= charge(size);
        self.pending = self.pending.saturating_sub(pending);
        self.uploads -= 1;
    }

    pub(crate) fn pin(
        &mut self,
        digest: Digest,
        holder: Holder,
        until_ms: u64,
    ) -> Result<(), Error> {
        self.pins.pin(digest, holder, until_ms)?;
        self.settle(digest);
        Ok(())
    }

    pub(crate) fn unpin(&mut self, digest: Digest, holder: &Holder) -> bool {
        let had = self.pins.unpin(&digest, holder);
        self.settle(digest);
        had
    }

    /// Drops the pins that have ended. Returns their number.
    pub(crate) fn expire(&mut self, now_ms: u64) -> usize {
        let (ended, free) = self.pins.expire(now_ms);
        for digest in free {
            self.settle(digest);
        }
        ended
    }

    /// Begins to read a blob, which is not evicted meanwhile. Returns its length and ID.
    pub(crate) fn begin_read(&mut self, digest: &Digest) -> Option<(u64, u64)> {
        self.touch(digest)?;
        let blob = self.blobs.get_mut(digest)?;
        blob.readers += 1;
        let out = (blob.size, blob.id);
        self.settle(*digest);
        Some(out)
    }

    pub(crate) fn end_read(&mut self, digest: Digest, id: u64) {
        if let Some(blob) = self.blobs.get_mut(&digest).filter(|blob| blob.id == id) {
            blob.readers = blob.readers.saturating_sub(1);
            self.settle(digest);
        }
    }

    /// Like `doom`, unless another blob stands in the place of this one by now.
    pub(crate) fn doom_damaged(&mut self, digest: Digest, id: u64) -> bool {
        let same = self.blobs.get(&digest).is_some_and(|blob| blob.id == id);
        same && self.doom(digest)
    }

    /// Whether the blob of this ID is still in the index.
    pub(crate) fn is(&self, digest: &Digest, id: u64) -> bool {
        self.blobs.get(digest).is_some_and(|blob| blob.id == id)
    }

    /// Begins to list the store. Returns the turn from which on changes are this index's own.
    pub(crate) fn begin_listing(&mut self) -> u64 {
        self.gone = Some(BTreeSet::new());
        self.turn()
    }

    pub(crate) fn cancel_listing(&mut self) {
        self.gone = None;
    }

    /// Adds the listed blobs that are not known, and drops those that were not listed. Changes since then are kept.
    pub(crate) fn end_listing(&mut self, since: u64, listed: BTreeMap<Digest, u64>) {
        let left = self.blobs.iter();
        let left = left.filter(|(digest, blob)| blob.id < since && !listed.contains_key(digest));
        let left: Vec<Digest> = left.map(|(digest, _)| *digest).collect();
        for digest in left {
            if let Some(size) = self.take(&digest) {
                self.used -= charge(size);
            }
        }
        let gone = self.gone.take().unwrap_or_default();
        for (digest, size) in listed {
            let own = self.blobs.contains_key(&digest)
                || self.doomed.contains_key(&(Area::Served, digest))
                || gone.contains(&digest);
            if !own {
                self.add(digest, size);
            }
        }
    }

    pub(crate) fn damaged(&self) -> Vec<Digest> {
        self.damaged.keys().copied().collect()
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            blobs: self.blobs.len() as u64,
            bytes: self.used,
            reserved: self.reserved,
            evictable: self.evictable,
            pins: self.pins.count() as u64,
            damaged: self.damaged.len() as u64,
            evicted: self.evicted,
            quota: self.settings.quota,
            free: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_adds_and_drops_what_others_did_and_nothing_else() {
        let digest = |n: u8| Digest([n; 32]);
        let mut index = Index::new(Settings::default());
        for n in 0..4 {
            index.add(digest(n), 100);
        }
        let since = index.begin_listing();
        // While the store is listed: an upload is done, one blob is deleted, one is to be deleted.
        index.add(digest(7), 100);
        assert!(index.doom(digest(1)) && index.doom(digest(2)));
        index.purged(Area::Served, digest(1));
        // 0 was removed by another, 5 was stored by another, and 8 is an upload that has not told yet.
        let listed = [1, 2, 3, 5, 8].map(|n| (digest(n), 100));
        index.end_listing(since, listed.into());
        let left: Vec<u8> = index.blobs.keys().map(|d| d.0[0]).collect();
        assert_eq!(left, [3, 5, 7, 8]);
        assert_eq!(index.facts().bytes, 5 * UNIT);
        index.add(digest(8), 100);
        index.purged(Area::Served, digest(2));
        let facts = index.facts();
        assert_eq!(
            (facts.blobs, facts.bytes, facts.evictable),
            (4, 4 * UNIT, 4 * UNIT)
        );
    }
}
