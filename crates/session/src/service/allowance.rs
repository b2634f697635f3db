//! Limits the bytes that a session's answers buffer before the session takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Maximum number of bytes that all answers of one session may read ahead.
const BUDGET: usize = 1 << 20;

/// Maximum bytes read from a body at once.
pub const CHUNK: usize = 64 << 10;
/// Maximum bytes read at once after the budget is spent.
pub const TRICKLE: usize = 4 << 10;

/// The read-ahead budget of a session. Clones share one count.
#[derive(Clone, Debug, Default)]
pub struct Allowance(Arc<AtomicUsize>);

/// Bytes reserved from the budget. Dropping this returns them.
#[derive(Debug)]
pub struct Lent {
    of: Allowance,
    bytes: usize,
}

impl Allowance {
    /// Reserves a whole chunk, or returns `None` if the budget has no room for one.
    pub fn chunk(&self) -> Option<Lent> {
        let more = |held: usize| (held + CHUNK <= BUDGET).then_some(held + CHUNK);
        let taken = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        taken.ok().map(|_| Lent {
            of: self.clone(),
            bytes: CHUNK,
        })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_a_session_hold_a_mebibyte() {
        let allowance = Allowance::default();
        let mut lent: Vec<Lent> = std::iter::from_fn(|| allowance.chunk()).collect();
        assert_eq!(lent.len() * CHUNK, 1 << 20);
        lent.pop();
        assert!(allowance.chunk().is_some());
        drop(lent);
        assert_eq!(allowance.0.load(Ordering::Acquire), 0);
    }
}
