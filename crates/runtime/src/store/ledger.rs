//! Accounts the charges of a folder's files against its quota.

use std::collections::BTreeSet;

use betanet_bar::StoreError;

/// Bytes charged for each file or folder besides its content.
pub(super) const ENTRY: u64 = 4096;

/// The charge of a set of files and folders.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Charge {
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

impl Charge {
    /// Returns the charge of a file of this length.
    pub(super) const fn file(len: u64) -> Self {
        Self {
            bytes: len.saturating_add(ENTRY),
            entries: 1,
        }
    }

    /// Returns the charge of so many folders, or other entries without content.
    pub(super) const fn folders(count: u64) -> Self {
        Self {
            bytes: count.saturating_mul(ENTRY),
            entries: count,
        }
    }

    /// Returns the charge of bytes added to a charged file.
    pub(super) const fn more(bytes: u64) -> Self {
        Self { bytes, entries: 0 }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
        }
    }

    pub(super) const fn less(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            entries: self.entries.saturating_sub(other.entries),
        }
    }

    /// Returns the smaller value of each field.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.min(other.bytes),
            entries: self.entries.min(other.entries),
        }
    }

    const fn fits(self, limit: Self) -> bool {
        self.bytes <= limit.bytes && self.entries <= limit.entries
    }
}

/// The current charges and their limit.
#[derive(Debug)]
pub(super) struct Ledger {
    limit: Charge,
    /// Charge of the visible files and their kept headers.
    kept: Charge,
    /// Charge of the writes in progress. It is exact.
    pending: Charge,
    /// Charge of the files that these writes replace, up to what is written for each. It does not count towards the limit.
    credit: Charge,
    /// Paths of these files. Each has one write with credit, so that the folder holds at most two copies of it.
    replaced: BTreeSet<String>,
    /// Whether more was removed than had been charged, which means that others change the folder too.
    doubt: bool,
    /// Counts the changes of `kept`.
    changes: u64,
}

impl Ledger {
    pub(super) const fn new(bytes: u64, entries: u64) -> Self {
        Self {
            limit: Charge { bytes, entries },
            kept: Charge::folders(0),
            pending: Charge::folders(0),
            credit: Charge::folders(0),
            replaced: BTreeSet::new(),
            doubt: false,
            changes: 0,
        }
    }

    #[cfg(test)]
    pub(super) const fn total(&self) -> (Charge, Charge) {
        (self.kept, self.pending)
    }

    const fn all(&self) -> Charge {
        self.pending.plus(self.kept).less(self.credit)
    }

    /// Returns whether a write may have credit for the file that it replaces.
    pub(super) fn begin_replacing(&mut self, path: &str) -> bool {
        self.replaced.insert(path.to_owned())
    }

    /// Ends the credit of a write.
    pub(super) fn end_replacing(&mut self, path: &str, credit: Charge) {
        self.replaced.remove(path);
        self.credit = self.credit.less(credit);
    }

    /// Returns whether there is no room for an empty file.
    pub(super) const fn is_full(&self) -> bool {
        !self.all().plus(Charge::file(0)).fits(self.limit)
    }

    pub(super) const fn in_doubt(&self) -> bool {
        self.doubt
    }

    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// Announces a change of the kept files.
    pub(super) const fn begin_change(&mut self) {
        self.changes += 1;
    }

    /// Replaces the counted charge by a measured one, unless the files have changed meanwhile. Returns whether it was replaced.
    pub(super) fn measured(&mut self, kept: Charge, changes: u64) -> bool {
        if self.changes != changes {
            return false;
        }
        self.kept = kept;
        self.doubt = false;
        true
    }

    /// Adds a charge to the writes in progress, of which `credit` replaces what is kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Quota`].
    pub(super) const fn reserve(&mut self, more: Charge, credit: Charge) -> Result<(), StoreError> {
        if !self.all().plus(more).less(credit).fits(self.limit) {
            return Err(StoreError::Quota);
        }
        self.pending = self.pending.plus(more);
        self.credit = self.credit.plus(credit);
        Ok(())
    }

    /// Adds the charge of a commit besides its file, if there is room after removing `old`. `credit` is that of the write, which
    /// `old` replaces.
    ///
    /// # Errors
    ///
    /// [`StoreError::Quota`].
    pub(super) const fn reserve_for(
        &mut self,
        more: Charge,
        old: Charge,
        credit: Charge,
    ) -> Result<(), StoreError> {
        let after = self.all().plus(credit).plus(more).less(old);
        if !after.fits(self.limit) {
            return Err(StoreError::Quota);
        }
        self.pending = self.pending.plus(more);
        Ok(())
    }

    /// Releases a charge of a write in progress.
    pub(super) const fn release(&mut self, charge: Charge) {
        self.pending = self.pending.less(charge);
    }

    /// Moves a charge from the writes in progress to the kept files.
    pub(super) const fn keep(&mut self, charge: Charge) {
        self.pending = self.pending.less(charge);
        self.kept = self.kept.plus(charge);
    }

    /// Removes a charge from the kept files.
    pub(super) const fn forget(&mut self, charge: Charge) {
        if !charge.fits(self.kept) {
            self.doubt = true;
        }
        self.kept = self.kept.less(charge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Charge = Charge::folders(0);

    #[test]
    fn what_is_taken_away_twice_makes_no_room_beyond_the_quota() {
        let mut ledger = Ledger::new(10_000, 2);
        assert_eq!(ledger.reserve(Charge::file(1), NONE), Ok(()));
        ledger.keep(Charge::file(1));
        ledger.forget(Charge::file(9000));
        assert!(ledger.in_doubt());
        assert_eq!(
            ledger.reserve(Charge::file(5905), NONE),
            Err(StoreError::Quota)
        );
        assert_eq!(ledger.reserve(Charge::file(5904), NONE), Ok(()));
        assert!(ledger.measured(Charge::default(), 0) && !ledger.in_doubt());
        ledger.begin_change();
        assert!(
            !ledger.measured(Charge::file(1), 0),
            "it has changed meanwhile"
        );
    }

    #[test]
    fn entries_have_a_bound_of_their_own() {
        let mut ledger = Ledger::new(1 << 40, 2);
        assert_eq!(ledger.reserve(Charge::folders(2), NONE), Ok(()));
        assert_eq!(ledger.reserve(Charge::more(7), NONE), Ok(()));
        assert_eq!(
            ledger.reserve(Charge::file(0), NONE),
            Err(StoreError::Quota)
        );
        ledger.release(Charge::folders(1));
        assert_eq!(
            ledger.reserve(Charge::file(u64::MAX), NONE),
            Err(StoreError::Quota)
        );
        let (two, one) = (Charge::folders(2), Charge::folders(1));
        assert_eq!(ledger.reserve_for(two, NONE, NONE), Err(StoreError::Quota));
        assert_eq!(ledger.reserve_for(two, one, NONE), Ok(()));
    }
}
