//! Questions that each coordinator may ask: signatures are verified and a record is written for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use betanet_wire::NodeId;
use tokio::time::Instant;

/// Questions of one coordinator at once.
const ASKED_AT_ONCE: u32 = 512;
/// Questions of one coordinator a second, once those are used.
const ASKED_A_SECOND: u32 = 128;

/// Time by which a coordinator has all its questions again. The callers are those that the ledger lists, at most 15.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<NodeId, Instant>>);

impl Rates {
    /// Takes one question, if there is one.
    pub(crate) fn take(&self, of: NodeId, now: Instant) -> bool {
        let one = Duration::from_secs(1) / ASKED_A_SECOND;
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that were listed once.
        full.retain(|_, at| *at > now);
        let at = full.entry(of).or_insert(now);
        let next = (*at).max(now) + one;
        let taken = next <= now + one * ASKED_AT_ONCE;
        if taken {
            *at = next;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinator_asks_512_times_at_once_and_128_times_a_second() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken = |n, now| {
            let all = 0..2_000;
            all.filter(|_| rates.take(NodeId([n; 20]), now)).count()
        };
        assert_eq!(taken(1, now), 512);
        assert_eq!(taken(1, now + Duration::from_secs(1)), 128);
        assert_eq!(taken(2, now), 512, "others are not charged");
        let later = now + Duration::from_secs(60);
        assert_eq!(taken(2, later), 512);
        assert_eq!(rates.0.lock().unwrap().len(), 1);
    }
}
