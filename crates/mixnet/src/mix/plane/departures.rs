//! Packets that leave: when they are due, to the links with their next nodes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use betanet_mix::Departure;
use betanet_mix::plane::BATCH;

use super::super::links;
use super::arrivals::Job;
use super::{Inner, lock};

impl Inner {
    /// Sends packets when they are due, until the node stops.
    pub(super) fn depart(self: Arc<Self>) {
        let mut leaving: Vec<Departure> = Vec::with_capacity(BATCH);
        loop {
            let mut waiting = lock(&self.waiting);
            while leaving.is_empty() {
                if self.stopping.load(Ordering::Acquire) {
                    return;
                }
                let now = self.clock.now().mono;
                while leaving.len() < BATCH
                    && let Some(departure) = waiting.pop(now)
                {
                    leaving.push(departure);
                }
                if !leaving.is_empty() {
                    break;
                }
                waiting = match waiting.wake() {
                    Some(at) => {
                        let woken = self.due.wait_timeout(waiting, at - now);
                        woken.unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => {
                        let woken = self.due.wait(waiting);
                        woken.unwrap_or_else(PoisonError::into_inner)
                    }
                };
            }
            drop(waiting);
            self.onward(&mut leaving);
        }
    }

    /// Passes a batch of packets to the links to their next nodes. The vector is left empty.
    pub(super) fn onward(self: &Arc<Self>, leaving: &mut Vec<Departure>) {
        if leaving.iter().any(|departure| departure.next == self.own) {
            for own in leaving.extract_if(.., |departure| departure.next == self.own) {
                self.again(own);
            }
        }
        if !leaving.is_empty() {
            links::send(self, leaving);
        }
    }

    /// Handles a packet whose next node is this one.
    fn again(&self, departure: Departure) {
        let Departure { packet, via, .. } = departure;
        let Ok(room) = self.room.try_acquire() else {
            self.metrics.dropped("queue_full");
            return self.give([packet]);
        };
        room.forget();
        lock(&self.jobs).push_back(Job {
            via,
            peer: self.own,
            at: self.clock.now().mono,
            packet,
            data: None,
        });
        self.ready.notify_one();
    }
}
