//! What users do, and what the weather does.

use alloc::boxed::Box;
use alloc::vec;

use betanet_coordinator::Request;
use betanet_coordinator::placer::Placer;
use betanet_fog::bodies::StateRequest;
use betanet_fog::{
    List, NodeState, Offline, Policy, Resources, Signed, Tier, Verification, Verify,
};

use super::records::{amounts, task_of};
use super::storm::{Ask, Storm};

impl<P: Placer + Default> Storm<P> {
    fn submit(&mut self) {
        let at = self.pick(self.users.len());
        let user = self.users[at].clone();
        let mut task = task_of(&user, self.tasks.len() as u64);
        let weather = self.s.clone();
        let cpu = [250, 1_000, 2_000, 4_000][self.pick(4)];
        task.res = Resources::demand(amounts(cpu, 1 << 30)).unwrap();
        task.prio = self.w.rng.below(10);
        task.run_ms = 30_000 + self.w.rng.below(weather.run_ms.max(1));
        task.deadline = self.w.unix() + 600_000 + self.w.rng.below(3_600_000);
        task.retry.most = self.w.rng.below(4);
        let strategy = self.pick(self.s.strategies.len().max(1));
        if let Some(strategy) = self.s.strategies.get(strategy) {
            task.strategy = *strategy;
        }
        task.offline = match self.pick(4) {
            0 => Policy {
                rule: Offline::Keep,
                ms: self.w.rng.below(120_000),
            },
            1 => Policy {
                rule: Offline::Replace,
                ms: 0,
            },
            _ => Policy {
                rule: Offline::Stop,
                ms: self.w.rng.below(120_000),
            },
        };
        let quorum = Verification {
            rule: Verify::Quorum,
            k: 2,
            n: 3,
        };
        (task.tier, task.verify) = match self.pick(8) {
            0 => (Tier::Platinum, quorum),
            1 => (Tier::Gold, Verification::NONE),
            2 => (Tier::Silver, quorum),
            3 | 4 => (
                Tier::Bronze,
                Verification {
                    rule: Verify::Spot,
                    k: 0,
                    n: 0,
                },
            ),
            5 => (Tier::Silver, Verification::NONE),
            _ => (Tier::Bronze, Verification::NONE),
        };
        if self.happens(200) && !self.acknowledged.is_empty() {
            let nth = self.pick(self.acknowledged.len());
            let before = *self.acknowledged.iter().nth(nth).unwrap();
            task.after = List::try_from(vec![before]).unwrap();
        }
        self.choose_rent(&user, &mut task);
        let signed = Signed::sign(task.clone(), &user).unwrap();
        let id = signed.id();
        self.tasks.insert(id, task);
        let request = Request::Submit {
            task: Box::new(signed),
            missing: None,
        };
        self.send(&user, request, Ask::Submit(id));
    }

    pub(super) fn weather(&mut self) {
        let weather = self.s.clone();
        for _ in 0..weather.burst {
            if self.tasks.len() < weather.tasks as usize && self.happens(600) {
                self.submit();
            }
        }
        if self.happens(10) && !self.acknowledged.is_empty() {
            let nth = self.pick(self.acknowledged.len());
            let id = *self.acknowledged.iter().nth(nth).unwrap();
            let owner = self.tasks[&id].owner;
            let user = self
                .users
                .iter()
                .find(|u| *u.public().as_bytes() == owner)
                .unwrap()
                .clone();
            self.send(&user, Request::Cancel(id), Ask::Other);
        }
        if self.happens(weather.crashes) {
            let at = self.pick(self.workers.len());
            let worker = &mut self.workers[at];
            worker.alive = !worker.alive;
            if worker.alive {
                // Its memory is gone; receipts were stored before they were sent.
                worker.copies.retain(|_, c| c.receipt.is_some());
                worker.next = self.w.now;
            }
        }
        if self.happens(weather.partitions) {
            let zone = self.w.rng.below(weather.zones.max(1));
            let linked = self.happens(500);
            for worker in self.workers.iter_mut().filter(|w| w.zone == zone) {
                worker.linked = linked;
            }
        }
        if self.happens(weather.partitions) {
            let at = self.pick(self.workers.len());
            self.workers[at].linked = !self.workers[at].linked;
        }
        if self.happens(weather.partitions) {
            let at = self.pick(self.workers.len());
            let member = self.pick(self.w.members.len());
            let one = self.happens(500);
            self.workers[at].side = one.then_some(member);
        }
        if self.happens(20) {
            let at = self.pick(self.workers.len());
            let to = if self.happens(500) {
                NodeState::Draining
            } else {
                NodeState::Active
            };
            let until = self.w.unix() + 20_000;
            let asked = StateRequest { to, until };
            let (me, node) = (self.workers[at].id.clone(), self.workers[at].node);
            self.send(&me, Request::State(node, asked), Ask::Other);
        }
        if self.happens(weather.slow) {
            self.slow_down();
        }
        if self.is_dying() || self.happens(weather.depositions) {
            self.depose();
        }
        if weather.skew_ms > 0 && self.happens(20) {
            let by = self.w.rng.below(2 * weather.skew_ms + 1);
            self.w.skew = by as i64 - weather.skew_ms as i64;
        }
        if self.happens(weather.shrinks) {
            self.shrink();
        }
    }

    /// A node describes less capacity than it had, or what it had at first.
    fn shrink(&mut self) {
        let at = self.pick(self.workers.len());
        let cpu = [2_000, 4_000][self.pick(2)];
        let worker = &mut self.workers[at];
        worker.record.seq += 1;
        let mut cap = worker.record.cap.amounts();
        self.shrunk |= cpu < cap.cpu;
        cap.cpu = cpu;
        worker.record.cap = Resources::capacity(cap).unwrap();
        let me = worker.id.clone();
        let signed = Signed::sign(worker.record.clone(), &me).unwrap();
        self.send(&me, Request::Describe(Box::new(signed)), Ask::Other);
    }
}
