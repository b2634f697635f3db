use core::fmt;

/// An answer that waits for a commit.
///
/// A machine decides ahead of the disk: its state already has what is not committed yet. So each answer, refusals included, is
/// released only once the journal holds every record that it may rest on. If a commit fails, drop the machine and all held answers,
/// and rebuild it from the journal.
pub struct Held<T> {
    after: u64,
    value: T,
}

impl<T> Held<T> {
    pub(crate) const fn new(after: u64, value: T) -> Self {
        Self { after, value }
    }

    /// Number of records that must be committed first.
    #[must_use]
    pub const fn after(&self) -> u64 {
        self.after
    }

    /// The answer, once so many records are committed.
    ///
    /// # Errors
    ///
    /// Itself, while fewer are.
    pub fn release(self, committed: u64) -> Result<T, Self> {
        match committed >= self.after {
            true => Ok(self.value),
            false => Err(self),
        }
    }
}

impl<T> fmt::Display for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the answer waits for record {} to be committed",
            self.after
        )
    }
}

/// As the error of [`Held::release`].
impl<T> core::error::Error for Held<T> {}

impl<T> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held(after {})", self.after)
    }
}

/// A decision: the record to append to the journal, if anything changes, and the answer that waits for it.
#[derive(Debug)]
pub struct Decided<T> {
    /// The record's bytes. Records are appended in the order of the decisions.
    pub record: Option<alloc::vec::Vec<u8>>,
    /// The answer.
    pub answer: Held<T>,
}
