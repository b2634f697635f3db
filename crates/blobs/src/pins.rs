use std::collections::BTreeMap;

use crate::{Digest, Error};

/// Maximum number of pins of all blobs together.
pub(crate) const PINS_MAX: usize = 1 << 20;

/// Who holds a pin, such as the ID of a task.
pub type Holder = [u8; 32];

/// Pins, each with the time at which it expires.
#[derive(Debug)]
pub(crate) struct Pins {
    by_digest: BTreeMap<Digest, BTreeMap<Holder, u64>>,
    count: usize,
}

impl Pins {
    pub(crate) const fn new() -> Self {
        Self {
            by_digest: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Pins for a holder until a time, which replaces its earlier time.
    pub(crate) fn pin(
        &mut self,
        digest: Digest,
        holder: Holder,
        until_ms: u64,
    ) -> Result<(), Error> {
        let held = self.by_digest.get(&digest);
        let known = held.is_some_and(|held| held.contains_key(&holder));
        if !known && self.count >= PINS_MAX {
            return Err(Error::Full {
                what: "pins",
                most: PINS_MAX as u64,
            });
        }
        let held = self.by_digest.entry(digest).or_default();
        if held.insert(holder, until_ms).is_none() {
            self.count += 1;
        }
        Ok(())
    }

    /// Returns whether the holder had a pin.
    pub(crate) fn unpin(&mut self, digest: &Digest, holder: &Holder) -> bool {
        let Some(held) = self.by_digest.get_mut(digest) else {
            return false;
        };
        let had = held.remove(holder).is_some();
        self.count -= usize::from(had);
        if held.is_empty() {
            self.by_digest.remove(digest);
        }
        had
    }

    /// Drops the pins that end by `now_ms`. Returns their number, and the digests that have none left.
    pub(crate) fn expire(&mut self, now_ms: u64) -> (usize, Vec<Digest>) {
        let (mut ended, mut free) = (0, Vec::new());
        self.by_digest.retain(|digest, held| {
            let before = held.len();
            held.retain(|_, until| *until > now_ms);
            ended += before - held.len();
            if held.is_empty() {
                free.push(*digest);
            }
            !held.is_empty()
        });
        self.count -= ended;
        (ended, free)
    }
}
