//! What holds of every world: invariants, replay, and what its journal says.

use alloc::collections::{BTreeMap, BTreeSet};

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Coordinator, Input};
use betanet_fog::{Signed, Task};
use betanet_machine::{Machine as _, Seed};

use super::world::World;

impl<P: Placer + Default> World<P> {
    /// Checks the invariants, and that a replay of the journal gives the same state.
    pub fn check(&mut self) {
        let at = self.leader();
        self.members[at].machine.get().audit().unwrap();
        let mut copy = self.fresh();
        let now = self.clock();
        for stored in &self.journal.entries {
            let entry = Input::Entry {
                index: stored.index,
                kind: stored.kind.into(),
                body: stored.body.clone().into(),
            };
            copy.handle_input(now, entry).unwrap();
        }
        let leader = self.members[at].machine.get();
        if leader.last() == self.journal.last {
            assert_eq!(
                copy.get().hash(),
                leader.hash(),
                "a replay gives the same state"
            );
        }
        let parts = leader.snapshot();
        assert!(parts.iter().all(|p| p.len() <= 1 << 20));
        let parts = parts.iter().map(|p| &p[..]);
        let restored =
            Coordinator::restore(self.setup(), P::default(), &Seed::from_number(0), parts).unwrap();
        assert_eq!(
            restored.hash(),
            leader.hash(),
            "a snapshot gives the same state"
        );
        restored.audit().unwrap();
        self.check_journal();
    }

    /// Checks what holds of every journal: a task is accepted and ends once, a copy ends once, under a fence that was given once.
    pub fn check_journal(&self) {
        use betanet_coordinator::{Change, Record};
        let (mut accepted, mut ended, mut live) =
            (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        let mut gone: BTreeMap<u64, (&str, u64)> = BTreeMap::new();
        let mut last = (0, 0);
        for stored in &self.journal.entries {
            assert!(stored.index > last.0 && stored.epoch >= last.1);
            last = (stored.index, stored.epoch);
            match Record::read(stored.kind, &stored.body).unwrap().change {
                Change::Accepted { task, .. } => {
                    assert!(accepted.insert(Signed::<Task>::restore(&task).unwrap().id()));
                }
                Change::Assigned { task, .. } => {
                    assert!(!ended.contains(&task), "nothing is placed after the end");
                    live.insert(stored.index, task);
                }
                Change::Returned { fence, .. } | Change::Lost { fence, .. } => {
                    let kind = stored.kind;
                    let known = live.remove(&fence).is_some();
                    assert!(
                        known,
                        "a live copy ends once: {kind} {fence} at {} {:?}",
                        stored.index,
                        gone.get(&fence)
                    );
                    gone.insert(fence, (kind, stored.index));
                }
                Change::Ended { task, .. } => {
                    gone.extend(
                        live.iter()
                            .filter(|(_, t)| **t == task)
                            .map(|(f, _)| (*f, ("ended", stored.index))),
                    );
                    assert!(
                        accepted.contains(&task) && ended.insert(task),
                        "a task ends once"
                    );
                    live.retain(|_, t| *t != task);
                }
                _ => {}
            }
        }
    }
}
