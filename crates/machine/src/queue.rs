use alloc::collections::VecDeque;

use core::hash::{Hash, Hasher};

use crate::{Time, Wake};

/// A bounded first-in first-out queue that records the time since which it has held items.
#[derive(Clone, Debug)]
pub struct Queue<T> {
    items: VecDeque<T>,
    bound: usize,
    refused: u64,
    since: Time,
}

impl<T> Queue<T> {
    /// Creates a queue of at most `bound` items.
    #[must_use]
    pub const fn new(bound: usize) -> Self {
        Self {
            items: VecDeque::new(),
            bound,
            refused: 0,
            since: Time::ZERO,
        }
    }

    /// Adds an item. Returns `false` and counts a refusal when the queue is full.
    #[must_use = "a refused item is lost unless the caller reports it"]
    pub fn push(&mut self, now: Time, item: T) -> bool {
        if self.items.len() >= self.bound {
            self.refused += 1;
            return false;
        }
        if self.items.is_empty() {
            self.since = now;
        }
        self.items.push_back(item);
        true
    }

    /// Adds an item that must not be refused, even beyond the bound. The machine bounds the number of such items by other means:
    /// it checks [`Queue::room`] before it accepts the work, or adds one item for each object that it holds.
    pub fn push_reserved(&mut self, now: Time, item: T) {
        if self.items.is_empty() {
            self.since = now;
        }
        self.items.push_back(item);
    }

    /// Removes and returns the oldest item.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// The newest item, to extend it in place.
    pub fn back_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut()
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the queue is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of items that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.bound.saturating_sub(self.items.len())
    }

    /// Number of refused items.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Removes all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// A wake-up that is due at once while the queue holds an item (clause 2 of the contract).
    #[must_use]
    pub fn wake(&self, why: &'static str) -> Option<Wake> {
        (!self.items.is_empty()).then_some(Wake {
            at: self.since,
            why,
        })
    }
}

impl<T: Hash> Hash for Queue<T> {
    /// Without the count of what was refused.
    fn hash<H: Hasher>(&self, state: &mut H) {
        crate::hash_fields!(self, state, Queue { items, bound, since } without { refused: "statistics" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_counts_and_keeps_its_order() {
        let mut q = Queue::new(2);
        assert!(q.push(Time::from_micros(1), 'a') && q.push(Time::from_micros(2), 'b'));
        assert!(!q.push(Time::from_micros(3), 'c'));
        assert_eq!((q.refused(), q.room(), q.len()), (1, 0, 2));
        assert_eq!(q.wake("w").map(|w| w.at), Some(Time::from_micros(1)));
        assert_eq!((q.pop(), q.pop(), q.pop()), (Some('a'), Some('b'), None));
        assert_eq!(q.wake("w"), None);
    }
}
