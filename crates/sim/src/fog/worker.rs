//! The workers of the fleet.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Item, Request};
use betanet_fog::bodies::{Beat, Held};
use betanet_fog::{List, Outcome, Signed, TaskId};
use betanet_machine::Time;

use super::model::honest;
use super::records::receipt;
use super::storm::{Ask, Kept, Running, Storm};

impl<P: Placer + Default> Storm<P> {
    pub(super) fn take(&mut self, at: usize, items: Vec<Item>) {
        for item in items {
            let (now, part) = (self.w.now, self.w.rng.below(1_050));
            let worker = &mut self.workers[at];
            if !worker.alive || !worker.linked {
                return;
            }
            worker.after = worker.after.max(item.at());
            match item {
                Item::Drop { fence, .. } => {
                    worker.copies.remove(&fence);
                }
                Item::Run { work, .. } => {
                    if work.epoch < worker.epoch || worker.copies.contains_key(&work.fence) {
                        continue;
                    }
                    worker.epoch = work.epoch;
                    let task = &self.tasks[&work.task];
                    let (policy, span) = (task.offline, task.run_ms * part / 1_000);
                    worker.copies.insert(
                        work.fence,
                        Running {
                            work,
                            policy,
                            done: now + Duration::from_millis(100 + span),
                            started: false,
                            receipt: None,
                            stopped: false,
                        },
                    );
                }
            }
        }
    }

    pub(super) fn work(&mut self, at: usize) {
        let now = self.w.now;
        let me = self.workers[at].id.clone();
        if !self.workers[at].alive {
            return;
        }
        // Copies under `stop` do not outlive the leader's silence.
        let (sent, down) = self.workers[at].answered.unwrap_or((Time::ZERO, 90_000));
        let silent = (now - sent).as_millis() as u64;
        for copy in self.workers[at].copies.values_mut() {
            if copy.receipt.is_none()
                && copy
                    .policy
                    .worker_stops(0, down)
                    .is_some_and(|at| at <= silent)
            {
                copy.stopped = true;
            }
        }
        self.workers[at].copies.retain(|_, c| !c.stopped);
        let ready: Vec<u64> = {
            let done = self.workers[at]
                .copies
                .iter()
                .filter(|(_, c)| c.done <= now && c.receipt.is_none());
            done.map(|(f, _)| *f).collect()
        };
        for fence in ready {
            let draw = self.w.rng.below(100);
            let lie = self.workers[at].liar && self.w.rng.below(2) == 0;
            let node = self.workers[at].node;
            let copy = self.workers[at].copies.get_mut(&fence).unwrap();
            let outcome = match draw {
                0..=3 => Outcome::Internal,
                _ => honest(&copy.work.task),
            };
            let mut receipt = receipt(&me, &copy.work, outcome);
            if let Some(out) = receipt.out.as_mut().filter(|_| lie) {
                // No two nodes tell the same lie.
                out[..20].copy_from_slice(&node.0);
                self.outcome.lies += 1;
            }
            receipt.fuel = 1 + draw * 1_000_000_000;
            copy.receipt = Some(Box::new(Signed::sign(receipt, &me).unwrap()));
        }
        if !self.workers[at].linked {
            return;
        }
        if self.workers[at].next <= now {
            let worker = &mut self.workers[at];
            worker.seq += 1;
            // Without an answer it is tried again.
            worker.next = now + Duration::from_secs(5);
            let have: Vec<Held> = worker
                .copies
                .iter()
                .map(|(f, c)| Held {
                    task: c.work.task,
                    fence: *f,
                })
                .collect();
            let beat = Beat {
                rtt: List::new(),
                seq: worker.seq,
                gone: List::new(),
                have: List::try_from(have).unwrap(),
                work: true,
            };
            let node = worker.node;
            self.send(&me, Request::Beat(node, Box::new(beat)), Ask::Beat(at, now));
        }
        let (node, after) = (self.workers[at].node, self.workers[at].after);
        self.send(&me, Request::Work { node, after }, Ask::Work(at));
        let open: Vec<(u64, TaskId, bool, Option<Kept>)> = self.workers[at]
            .copies
            .iter()
            .map(|(f, c)| (*f, c.work.task, c.started, c.receipt.clone()))
            .collect();
        for (fence, task, started, receipt) in open {
            if let Some(receipt) = receipt {
                self.send(&me, Request::Done(task, receipt), Ask::Done(at, fence));
            } else if !started {
                self.send(&me, Request::Start(task, fence), Ask::Start(at, fence));
            }
        }
    }
}
