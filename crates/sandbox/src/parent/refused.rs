//! Programs whose compilation was given up, so that their next copies do not cost the same time again.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Most programs that are remembered. The one that was given up first is forgotten first.
const REFUSED_MAX: usize = 64;
/// How long. The machine may have been short of memory, so a program gets another turn.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// Compilers of so many programs may end one after another before this machine is held to be the reason.
const GONE_MAX: usize = 2;

#[derive(Default)]
pub(crate) struct Refused {
    given_up: Mutex<VecDeque<([u8; 32], Instant)>>,
    /// Programs whose compilers ended without a word since one was compiled last.
    gone: Mutex<BTreeSet<[u8; 32]>>,
}

impl Refused {
    /// A compiler ended without a word. Whether its program is held to be the reason: not if those of other programs end too.
    pub(crate) fn gone(&self, digest: [u8; 32]) -> bool {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        if gone.len() <= GONE_MAX {
            gone.insert(digest);
        }
        gone.len() <= GONE_MAX
    }

    /// A program was compiled: this machine can do it.
    pub(crate) fn compiled(&self) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.clear();
    }

    pub(crate) fn add(&self, digest: [u8; 32], now: Instant) {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.retain(|(known, _)| *known != digest);
        if given_up.len() >= REFUSED_MAX {
            given_up.pop_front();
        }
        given_up.push_back((digest, now));
    }

    pub(crate) fn knows(&self, digest: [u8; 32], now: Instant) -> bool {
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.retain(|(_, at)| now.saturating_duration_since(*at) < REFUSED_FOR);
        given_up.iter().any(|(known, _)| *known == digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_remembered_for_a_while_and_no_more_than_there_is_room_for() {
        let (refused, now) = (Refused::default(), Instant::now());
        let digest = |n: usize| [u8::try_from(n).unwrap(); 32];
        for n in 0..=REFUSED_MAX {
            refused.add(digest(n), now);
        }
        assert!(!refused.knows(digest(0), now));
        assert!((1..=REFUSED_MAX).all(|n| refused.knows(digest(n), now)));
        let last = now + REFUSED_FOR - Duration::from_millis(1);
        assert!(refused.knows(digest(1), last));
        // One that is given up anew is remembered from then on.
        refused.add(digest(1), last);
        assert!(!refused.knows(digest(2), now + REFUSED_FOR));
        assert!(refused.knows(digest(1), now + REFUSED_FOR));
        assert_eq!(refused.given_up.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_machine_on_which_no_compiler_lives_is_held_to_be_the_reason() {
        let refused = Refused::default();
        assert!(refused.gone([1; 32]) && refused.gone([1; 32]) && refused.gone([2; 32]));
        assert!(!refused.gone([3; 32]) && !refused.gone([1; 32]));
        assert!((4..200).all(|n| !refused.gone([n; 32])));
        assert_eq!(refused.gone.lock().unwrap().len(), GONE_MAX + 1);
        refused.compiled();
        assert!(refused.gone([3; 32]));
    }
}
