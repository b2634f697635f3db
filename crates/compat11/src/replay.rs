use alloc::collections::BTreeMap;

use crate::Admission;

/// How long a client's key is remembered for an hour.
const KEPT_MS: u64 = 2 * 3_600_000;

/// Tickets that were used. When it is full, none is taken; none is forgotten early.
#[derive(Debug)]
pub struct Replay {
    seen: BTreeMap<([u8; 32], u64), u64>,
    max: usize,
}

impl Replay {
    /// Remembers so many at most.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        let seen = BTreeMap::new();
        Self { seen, max }
    }

    /// Whether this client's key was not seen for this hour before, and is remembered now.
    pub fn first_use(&mut self, unix_ms: u64, admission: &Admission) -> bool {
        if self.seen.len() >= self.max {
            self.seen.retain(|_, at| *at + KEPT_MS > unix_ms);
        }
        let key = (admission.client, admission.hour);
        let again = self
            .seen
            .get(&key)
            .is_some_and(|at| *at + KEPT_MS > unix_ms);
        let first = !again && self.seen.len() < self.max;
        if first {
            self.seen.insert(key, unix_ms);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_hour_are_taken_once_in_two_hours_and_a_full_memory_takes_none() {
        let mut replay = Replay::new(2);
        let of = |n, hour| Admission {
            client: [n; 32],
            hour,
        };
        assert!(replay.first_use(0, &of(1, 5)));
        assert!(!replay.first_use(KEPT_MS - 1, &of(1, 5)));
        assert!(replay.first_use(KEPT_MS - 1, &of(1, 6)));
        assert!(!replay.first_use(KEPT_MS - 1, &of(2, 5)), "full");
        assert!(replay.first_use(KEPT_MS, &of(2, 5)), "the first is over");
        assert!(!replay.first_use(KEPT_MS, &of(1, 6)));
    }
}
