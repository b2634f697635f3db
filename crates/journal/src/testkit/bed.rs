use crate::{Answer, Error, Journal, MemoryStore};

/// Damage that a test does to a journal behind its back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spoil {
    /// Flips a bit of a record's body.
    Flip(u64),
    /// Removes a record from the middle.
    Remove(u64),
    /// Removes the last record, as if the storage had been cut off.
    RemoveLast,
    /// Changes the epoch that is stored.
    Epoch,
    /// Flips a bit of a snapshot's part.
    Part(u64, u32),
    /// Sets the version of the tables.
    Version(u32),
}

/// A place for one journal, which coordinators open.
pub trait Bed: Sync {
    /// Opens the journal for another coordinator of this name.
    fn open<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>>;

    /// Opens the journal after all handles were dropped without a word, as after a crash.
    fn reopen<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>> {
        self.open(name)
    }

    /// Whether a leader holds a lease that excludes others. Otherwise each attempt to lead succeeds.
    fn leases(&self) -> bool;

    /// Ends the lease that lasts, if any.
    fn end_lease(&self) -> Answer<'_, ()>;

    /// Damages the journal.
    fn spoil(&self, what: Spoil) -> Answer<'_, ()>;
}

/// A journal in memory for the suite.
#[derive(Debug, Default)]
pub struct MemoryBed(MemoryStore);

impl Bed for MemoryBed {
    fn open<'a>(&'a self, name: &'a str) -> Answer<'a, Box<dyn Journal>> {
        let journal: Box<dyn Journal> = Box::new(self.0.open(name));
        Box::pin(std::future::ready(Ok(journal)))
    }

    fn leases(&self) -> bool {
        true
    }

    fn end_lease(&self) -> Answer<'_, ()> {
        self.0.pass(crate::LEASE_MS);
        Box::pin(std::future::ready(Ok(())))
    }

    fn spoil(&self, what: Spoil) -> Answer<'_, ()> {
        let mut done = true;
        match what {
            Spoil::Flip(index) => done = self.0.flip(index, 50 * 8),
            Spoil::Remove(index) => self.0.spoil(|disk| {
                let at = usize::try_from(index - disk.head.base.index - 1).unwrap_or(0);
                done = disk.frames.remove(at).is_some();
            }),
            Spoil::RemoveLast => self.0.spoil(|disk| done = disk.frames.pop_back().is_some()),
            Spoil::Epoch => self.0.spoil(|disk| disk.head.epoch ^= 1),
            Spoil::Part(at, part) => self.0.spoil(|disk| {
                let part = usize::try_from(part).unwrap_or(0);
                let saved = disk.saved.get_mut(&at);
                let first = saved.and_then(|s| s.parts.get_mut(part)?.0.first_mut());
                done = first.map(|b| *b ^= 1).is_some();
            }),
            Spoil::Version(version) => self.0.spoil(|disk| disk.version = version),
        }
        Box::pin(std::future::ready(if done {
            Ok(())
        } else {
            Err(Error::Closed)
        }))
    }
}
