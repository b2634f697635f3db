//! Limits the files that answers hold open between two reads. Beyond the limit, each read opens its file again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Maximum number of open files of one session's answers.
const HELD_A_SESSION: usize = 8;
/// Maximum number of open files of all sessions.
const HELD: usize = 512;
/// Number of known sessions at which those without an exchange are forgotten.
const KNOWN: usize = 1024;

/// The counts of one session and of all sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
    sessions: Arc<Mutex<BTreeMap<u64, Weak<AtomicUsize>>>>,
}

/// The place of one open file, released on drop.
#[derive(Debug)]
pub(super) struct Place {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
}

fn add(to: &AtomicUsize, max: usize) -> bool {
    let next = |n: usize| (n < max).then_some(n + 1);
    to.fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
        .is_ok()
}

impl Held {
    /// Returns the counts of a session.
    pub(super) fn of_session(&self, session: u64) -> Self {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.get(&session).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| {
            if sessions.len() >= KNOWN {
                sessions.retain(|_, own| own.strong_count() > 0);
            }
            let own = Arc::default();
            sessions.insert(session, Arc::downgrade(&own));
            own
        });
        Self {
            own,
            all: Arc::clone(&self.all),
            sessions: Arc::clone(&self.sessions),
        }
    }

    /// Takes a place for one more file, if there is one.
    pub(super) fn enter(&self) -> Option<Place> {
        if !add(&self.own, HELD_A_SESSION) {
            return None;
        }
        if !add(&self.all, HELD) {
            self.own.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Place {
            own: Arc::clone(&self.own),
            all: Arc::clone(&self.all),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.own.fetch_sub(1, Ordering::AcqRel);
        self.all.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_its_share_and_all_have_no_more_than_there_is() {
        let held = Held::default();
        let own: Vec<_> = (0..99).filter_map(|_| held.enter()).collect();
        assert_eq!(own.len(), HELD_A_SESSION);
        let others: Vec<_> = (0..99).map(|n| held.of_session(n)).collect();
        assert!(Arc::ptr_eq(&held.of_session(1).own, &others[1].own));
        let places: Vec<_> = others
            .iter()
            .flat_map(|held| (0..99).filter_map(|_| held.enter()).collect::<Vec<_>>())
            .collect();
        assert_eq!(own.len() + places.len(), HELD);
        drop(own);
        assert!(held.enter().is_some());
        drop(places);
        assert_eq!(held.all.load(Ordering::Acquire), 0);
    }
}
