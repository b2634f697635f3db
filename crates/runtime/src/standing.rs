//! The open sessions, from an operator's view: origin, age and traffic. Peers and addresses are not shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_htx::Stats;
use betanet_machine::Time;
use betanet_session::Count;
use betanet_wire::Code;

use crate::Metrics;

/// One session.
#[derive(Debug)]
pub(crate) struct Seen {
    since: Time,
    /// Whether the session came over relays.
    relayed: bool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Seen {
    /// Takes the session's counters.
    pub(crate) fn count(&self, stats: &Stats) {
        self.bytes_in.store(stats.bytes_in, Ordering::Relaxed);
        self.bytes_out.store(stats.bytes_out, Ordering::Relaxed);
    }
}

/// Counts a session, both in its own entry and in the totals.
pub(crate) struct Counted {
    pub(crate) seen: Arc<Seen>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Count for Counted {
    fn opened(&self) {
        self.metrics.opened();
    }

    fn closed(&self, code: Code) {
        self.metrics.closed(code);
    }

    fn traffic(&self, before: &Stats, now: &Stats) {
        self.metrics.traffic(before, now);
        self.seen.count(now);
    }

    fn served(&self, status: u16) {
        self.metrics.served(status);
    }
}

/// All open sessions. Clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    by_id: BTreeMap<u64, Arc<Seen>>,
}

/// The entry of one session, removed on drop.
#[derive(Debug)]
pub(crate) struct Line {
    list: Sessions,
    id: u64,
    seen: Arc<Seen>,
}

/// Status report of one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub(crate) struct Told {
    way: &'static str,
    age_s: u64,
    bytes_in: u64,
    bytes_out: u64,
}

/// Status report of all sessions.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub(crate) struct ToldAll {
    standing: usize,
    direct: usize,
    over_relays: usize,
    /// The oldest sessions.
    oldest: Vec<Told>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a session.
    pub(crate) fn enter(&self, since: Time, relayed: bool) -> Line {
        let seen = Arc::new(Seen {
            since,
            relayed,
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        });
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.by_id.insert(id, Arc::clone(&seen));
        drop(state);
        let list = self.clone();
        Line { list, id, seen }
    }

    /// Returns the number of entries, including handshakes in progress.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Returns the counts by origin, and up to `most` sessions, oldest first.
    pub(crate) fn told(&self, now: Time, most: usize) -> ToldAll {
        let state = self.lock();
        // A session that has carried no bytes has not finished its handshake.
        let carried = |s: &&Arc<Seen>| s.bytes_in.load(Ordering::Relaxed) > 0;
        let all = || state.by_id.values().filter(carried);
        let over_relays = all().filter(|s| s.relayed).count();
        let one = |s: &Arc<Seen>| Told {
            way: if s.relayed { "relays" } else { "direct" },
            age_s: (now - s.since).as_secs(),
            bytes_in: s.bytes_in.load(Ordering::Relaxed),
            bytes_out: s.bytes_out.load(Ordering::Relaxed),
        };
        ToldAll {
            standing: all().count(),
            direct: all().count() - over_relays,
            over_relays,
            oldest: all().take(most).map(one).collect(),
        }
    }
}

impl Line {
    /// Returns the entry into which the session counts.
    pub(crate) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.list.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sessions_are_listed_while_they_stand() {
        let sessions = Sessions::default();
        let at = |s| Time::ZERO + Duration::from_secs(s);
        let first = sessions.enter(at(1), false);
        let second = sessions.enter(at(5), true);
        let mut stats = Stats::default();
        stats.bytes_in = 7;
        first.seen().count(&stats);
        second.seen().count(&stats);
        let beginning = sessions.enter(at(6), false);
        let told = sessions.told(at(11), 1);
        assert_eq!((told.standing, told.direct, told.over_relays), (2, 1, 1));
        let [one] = &told.oldest[..] else { panic!() };
        assert_eq!((one.way, one.age_s, one.bytes_in), ("direct", 10, 7));
        drop(first);
        assert_eq!(sessions.told(at(11), 9).oldest[0].way, "relays");
        drop((second, beginning));
        assert_eq!(sessions.told(at(11), 9).standing, 0);
    }
}
