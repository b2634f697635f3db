use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Admission;

/// Magic bytes of a stored memory.
const HEAD: &[u8; 8] = b"BN-TKT11";
/// Length of one entry on disk: a client's key, the hour, and the arrival time in UNIX milliseconds.
const ENTRY: usize = 32 + 8 + 8;

/// How long a client's key is remembered for an hour.
const KEPT_MS: u64 = 2 * 3_600_000;

/// Used tickets. A full memory accepts no further ticket, and no entry is forgotten early.
#[derive(Debug)]
pub struct Replay {
    seen: BTreeMap<([u8; 32], u64), u64>,
    max: usize,
}

impl Replay {
    /// Creates an empty memory of at most `max` tickets.
    #[must_use]
    pub const fn new(max: usize) -> Self {
        let seen = BTreeMap::new();
        Self { seen, max }
    }

    /// Decodes the output of [`Replay::to_bytes`]; `None` for anything else. Expired entries are omitted. Of more than `max`, the
    /// latest are kept, which a full memory must not forget early.
    #[must_use]
    pub fn from_bytes(bytes: &[u8], max: usize, unix_ms: u64) -> Option<Self> {
        let (entries, rest) = bytes.strip_prefix(HEAD)?.as_chunks::<ENTRY>();
        if !rest.is_empty() {
            return None;
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        let mut kept: Vec<(u64, ([u8; 32], u64))> = Vec::with_capacity(entries.len());
        for entry in entries {
            let (key, times) = entry.split_first_chunk::<32>()?;
            let at = number(&times[8..]);
            if at.saturating_add(KEPT_MS) > unix_ms {
                kept.push((at, (*key, number(&times[..8]))));
            }
        }
        kept.sort_unstable();
        let over = kept.len().saturating_sub(max);
        let seen = kept.into_iter().skip(over).map(|(at, key)| (key, at));
        let seen = seen.collect();
        Some(Self { seen, max })
    }

    /// Encodes the entries that must survive a restart, at most 48 bytes per ticket.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD.len() + self.seen.len() * ENTRY);
        out.extend_from_slice(HEAD);
        for ((key, hour), at) in &self.seen {
            out.extend_from_slice(key);
            out.extend_from_slice(&hour.to_be_bytes());
            out.extend_from_slice(&at.to_be_bytes());
        }
        out
    }

    /// Records this client's key for this hour; `false` if it was seen before or cannot be remembered.
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
    fn a_ticket_counts_once_beyond_a_restart() {
        let of = |n, hour| Admission {
            client: [n; 32],
            hour,
        };
        let now = 500_000 * 3_600_000;
        let mut replay = Replay::new(4);
        for n in 0..4 {
            assert!(replay.first_use(now + u64::from(n), &of(n, 500_000)));
        }
        let kept = replay.to_bytes();
        let mut again = Replay::from_bytes(&kept, 4, now + 10).unwrap();
        for n in 0..4 {
            assert!(!again.first_use(now + 10, &of(n, 500_000)));
        }
        assert!(!again.first_use(now + 10, &of(9, 500_000)), "full");
        // Expired entries are omitted; of too many, the last are kept.
        let mut later = Replay::from_bytes(&kept, 4, now + KEPT_MS + 1).unwrap();
        assert_eq!(later.seen.len(), 2);
        assert!(!later.first_use(now + KEPT_MS + 1, &of(3, 500_000)));
        assert_eq!(Replay::from_bytes(&kept, 2, now).unwrap().seen.len(), 2);
        for bad in [&kept[1..], &kept[..kept.len() - 1], &kept[..7], b""] {
            assert!(Replay::from_bytes(bad, 4, now).is_none());
        }
    }

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
