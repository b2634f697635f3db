//! When to ask which node for its level. Without clock or socket.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use betanet_fog::Level;
use betanet_machine::{Rng, Time};
use betanet_wire::NodeId;

/// Most nodes that are asked at the same time. One client of the mix has 64 exchanges.
pub(super) const ASKING_MAX: usize = 32;

/// Interval after a node proved all that it claims: a quarter of the day for which that counts, and up to a third of it.
const PROVED: (Duration, Duration) = (hours(6), hours(2));

/// Longest delay before a new node's first question, so that a rush of nodes does not arrive at the mix at once.
const FIRST: Duration = Duration::from_secs(2);

/// Interval after the first failure. It doubles with each one in a row.
const FAILED: Duration = Duration::from_secs(60);

/// Longest interval after a failure.
const FAILED_MAX: Duration = hours(1);

const fn hours(n: u64) -> Duration {
    Duration::from_secs(3_600 * n)
}

#[derive(Debug)]
struct Entry {
    claim: Level,
    /// When to ask next; `None` while it is asked.
    due: Option<Time>,
    failures: u32,
}

/// The nodes that claim a level above public.
#[derive(Debug)]
pub(super) struct Agenda {
    nodes: BTreeMap<NodeId, Entry>,
    due: BTreeSet<(Time, NodeId)>,
    asking: BTreeSet<NodeId>,
    rng: Rng,
}

impl Agenda {
    pub(super) const fn new(rng: Rng) -> Self {
        Self {
            nodes: BTreeMap::new(),
            due: BTreeSet::new(),
            asking: BTreeSet::new(),
            rng,
        }
    }

    fn within(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(micros.max(1)))
    }

    fn set(&mut self, id: NodeId, at: Option<Time>) {
        let Some(entry) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(old) = std::mem::replace(&mut entry.due, at) {
            self.due.remove(&(old, id));
        }
        if let Some(at) = at {
            self.due.insert((at, id));
        }
    }

    /// Takes all nodes that claim a level. Others are forgotten.
    pub(super) fn claims(&mut self, now: Time, claims: &[(NodeId, Level)]) {
        let claims: BTreeMap<NodeId, Level> = claims.iter().copied().collect();
        let gone = self.nodes.keys().filter(|id| !claims.contains_key(id));
        for id in gone.copied().collect::<Vec<_>>() {
            self.set(id, None);
            self.nodes.remove(&id);
        }
        for (id, claim) in claims {
            let known = self.nodes.get(&id).map(|e| e.claim);
            if known == Some(claim) {
                continue;
            }
            let entry = Entry {
                claim,
                due: self.nodes.get(&id).and_then(|e| e.due),
                failures: 0,
            };
            self.nodes.insert(id, entry);
            // One that is asked now comes back with the answer.
            if !self.asking.contains(&id) {
                let at = now + self.within(FIRST);
                self.set(id, Some(at));
            }
        }
    }

    /// Takes a node that is due, and the level to ask for.
    pub(super) fn next(&mut self, now: Time) -> Option<(NodeId, Level)> {
        if self.asking.len() >= ASKING_MAX {
            return None;
        }
        let (_, id) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.set(id, None);
        let claim = self.nodes.get(&id)?.claim;
        self.asking.insert(id);
        Some((id, claim))
    }

    /// Takes the outcome of a question: the level that was proved, public for none.
    pub(super) fn answered(&mut self, now: Time, id: NodeId, proved: Level) {
        self.asking.remove(&id);
        let Some(entry) = self.nodes.get_mut(&id) else {
            return;
        };
        let (least, jitter) = if proved >= entry.claim {
            entry.failures = 0;
            PROVED
        } else {
            let doubled = FAILED.saturating_mul(1 << entry.failures.min(6));
            entry.failures = entry.failures.saturating_add(1);
            let least = doubled.min(FAILED_MAX);
            (least, least / 2)
        };
        let at = now + least + self.within(jitter);
        self.set(id, Some(at));
    }

    /// When the next node is due; `None` while as many are asked as may be.
    pub(super) fn wake(&self) -> Option<Time> {
        let room = self.asking.len() < ASKING_MAX;
        self.due.first().map(|(at, _)| *at).filter(|_| room)
    }

    /// Forgets all nodes. Questions in progress still count.
    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.due.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = hours(24);

    fn id(n: u64) -> NodeId {
        let mut id = [0; 20];
        id[..8].copy_from_slice(&n.to_be_bytes());
        NodeId(id)
    }

    fn agenda() -> Agenda {
        Agenda::new(Rng::new(&betanet_machine::Seed::new([7; 32])))
    }

    #[test]
    fn a_node_that_answers_is_asked_thrice_in_a_day_at_least_and_at_other_hours() {
        let mut agenda = agenda();
        let mut now = Time::ZERO;
        agenda.claims(now, &[(id(1), Level::Secret)]);
        let mut gaps = Vec::new();
        for _ in 0..50 {
            let at = agenda.wake().unwrap();
            gaps.push(at - now);
            now = at;
            // The node's claims are looked at again meanwhile, which changes nothing.
            agenda.claims(now, &[(id(1), Level::Secret)]);
            assert_eq!(agenda.next(now), Some((id(1), Level::Secret)));
            assert_eq!(agenda.next(now), None);
            agenda.answered(now, id(1), Level::Secret);
        }
        assert!(gaps[0] < FIRST);
        let later = &gaps[1..];
        assert!(later.iter().all(|g| *g >= DAY / 4 && *g < DAY / 3));
        let (least, most) = (later.iter().min().unwrap(), later.iter().max().unwrap());
        assert!(*most - *least > hours(1), "{least:?} {most:?}");
    }

    #[test]
    fn a_node_that_does_not_answer_is_asked_ever_more_rarely_but_often_within_a_day() {
        let mut agenda = agenda();
        let claim = [(id(1), Level::Secret)];
        agenda.claims(Time::ZERO, &claim);
        let (mut asked, mut last) = (Vec::new(), Time::ZERO);
        while let Some(at) = agenda.wake().filter(|at| *at < Time::ZERO + DAY) {
            agenda.next(at).unwrap();
            // A lower level than the claimed one is a failure too.
            agenda.answered(at, id(1), Level::Confidential);
            asked.push(at - last);
            last = at;
        }
        assert!((16..40).contains(&asked.len()), "{}", asked.len());
        assert!(asked[1] < FAILED * 2 && asked[5] > FAILED * 8);
        assert!(asked.iter().all(|gap| *gap <= FAILED_MAX * 3 / 2));
        // An answer makes it one like any other.
        agenda.next(last + hours(2)).unwrap();
        agenda.answered(last + hours(2), id(1), Level::Secret);
        assert!(agenda.wake().unwrap() - last >= hours(8));
    }

    #[test]
    fn no_more_than_32_are_asked_at_once() {
        let mut agenda = agenda();
        let claims: Vec<_> = (0..1_000).map(|n| (id(n), Level::Private)).collect();
        agenda.claims(Time::ZERO, &claims);
        let now = Time::ZERO + FIRST;
        let mut asked = BTreeSet::new();
        while asked.len() < claims.len() {
            let group: Vec<_> = std::iter::from_fn(|| agenda.next(now)).collect();
            assert!(!group.is_empty() && group.len() <= ASKING_MAX);
            if group.len() == ASKING_MAX {
                assert_eq!(agenda.wake(), None, "nothing to do until one answers");
            }
            for (id, _) in group {
                assert!(asked.insert(id), "each is asked once");
                agenda.answered(now, id, Level::Private);
            }
        }
    }

    #[test]
    fn a_node_that_left_is_forgotten_and_a_new_claim_is_asked_for_at_once() {
        let mut agenda = agenda();
        let now = Time::ZERO + FIRST;
        agenda.claims(
            Time::ZERO,
            &[(id(1), Level::Private), (id(2), Level::Private)],
        );
        assert!(agenda.next(now).is_some() && agenda.next(now).is_some());
        agenda.claims(now, &[(id(2), Level::Private)]);
        agenda.answered(now, id(1), Level::Private);
        agenda.answered(now, id(2), Level::Private);
        assert_eq!((agenda.nodes.len(), agenda.due.len()), (1, 1));
        // It describes itself anew.
        agenda.claims(now, &[(id(2), Level::Secret)]);
        assert!(agenda.wake().unwrap() - now < FIRST);
        assert_eq!(agenda.next(now + FIRST), Some((id(2), Level::Secret)));
        // Another leads: what was asked is no longer known.
        agenda.clear();
        agenda.answered(now, id(2), Level::Secret);
        assert_eq!(agenda.wake(), None);
        assert!(agenda.asking.is_empty());
    }
}
