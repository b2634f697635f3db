//! The threads that unwrap packets in batches, and decide where each goes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use betanet_mix::plane::{BATCH, batch};
use betanet_mix::{Crowded, Delivered, Departure, Fate, Packet, Taken, process};
use betanet_wire::NodeId;

use super::super::links::bytes_of;
use super::arrivals::Job;
use super::{Inner, lock};

/// One worker thread, with the memory that it reuses for each batch.
pub(super) struct Worker {
    inner: Arc<Inner>,
    batch: Vec<Job>,
    /// Buffers that return to the pool.
    #[expect(clippy::vec_box, reason = "the pool keeps packets by their pointers")]
    done: Vec<Box<Packet>>,
    /// Packets that leave at once.
    leaving: Vec<Departure>,
    /// Packets that are delayed, each with its next node and delay in milliseconds.
    staying: Vec<(Job, NodeId, u16)>,
}

impl Worker {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            batch: Vec::with_capacity(BATCH),
            done: Vec::with_capacity(BATCH),
            leaving: Vec::with_capacity(BATCH),
            staying: Vec::with_capacity(BATCH),
        }
    }

    /// Unwraps packets until the node stops.
    pub(super) fn run(mut self) {
        while self.take() {
            self.unwrap();
        }
    }

    /// Waits for a batch. Returns `false` if the node stops.
    fn take(&mut self) -> bool {
        let inner = &self.inner;
        let mut jobs = lock(&inner.jobs);
        while jobs.is_empty() {
            if inner.stopping.load(Ordering::Acquire) {
                return false;
            }
            jobs = inner
                .ready
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let n = batch(jobs.len(), inner.options.workers);
        self.batch.extend(jobs.drain(..n));
        if !jobs.is_empty() {
            inner.ready.notify_one();
        }
        true
    }

    fn unwrap(&mut self) {
        let inner = &self.inner;
        let held = inner.keys();
        let mut fates = [Fate::Cover; BATCH];
        let take = |key, account, tag: &[u8; 16]| {
            let memory = held.memories.get(&key);
            memory.map_or(Taken::Full, |m| lock(m).take(account, tag))
        };
        let forwards = inner.options.forwards;
        let full = process(&held.keys, &mut self.batch, forwards, take, &mut fates);
        inner.metrics.batch(self.batch.len(), full);
        inner.release(&self.batch);
        inner.account(&self.batch, &fates);
        self.sort(&fates);
        if !self.leaving.is_empty() {
            self.inner.onward(&mut self.leaving);
        }
        if !self.staying.is_empty() {
            self.delay();
        }
        self.inner.give(self.done.drain(..));
    }

    /// Sorts the packets of the batch by their fates.
    fn sort(&mut self, fates: &[Fate; BATCH]) {
        let inner = &self.inner;
        let now = inner.clock.now().mono;
        let (mut delays, mut delayed) = ([0; BATCH], 0);
        for (job, fate) in self.batch.drain(..).zip(fates) {
            match *fate {
                Fate::Onward { .. } if inner.loses() => {
                    inner.metrics.dropped("rehearsal");
                    self.done.push(job.packet);
                }
                Fate::Onward { next, due, wait_ms } if due <= now => {
                    delays[delayed] = wait_ms;
                    delayed += 1;
                    self.leaving.push(Departure {
                        next,
                        packet: job.packet,
                        due,
                        via: job.via,
                    });
                }
                Fate::Onward { next, wait_ms, .. } => self.staying.push((job, next, wait_ms)),
                fate => {
                    inner.ends_here(&job, fate);
                    self.done.push(job.packet);
                }
            }
        }
        inner.metrics.delayed(&mut delays.into_iter().take(delayed));
    }

    /// Queues the packets that are delayed.
    fn delay(&mut self) {
        let inner = &self.inner;
        let (mut delays, mut delayed) = ([0; BATCH], 0);
        let mut waiting = lock(&inner.waiting);
        let before = waiting.wake();
        for (job, next, wait_ms) in self.staying.drain(..) {
            match waiting.push(job.at, job.via, wait_ms, next, job.packet) {
                Ok(()) => {
                    delays[delayed] = wait_ms;
                    delayed += 1;
                }
                Err((crowded, packet)) => {
                    inner.metrics.dropped(match crowded {
                        Crowded::Queue => "queue_full",
                        Crowded::Session => "session_share",
                        Crowded::Address => "address_share",
                        _ => "crowded",
                    });
                    self.done.push(packet);
                }
            }
        }
        let sooner = waiting.wake() != before;
        drop(waiting);
        // The departure thread sleeps until the first packet is due.
        if sooner {
            inner.due.notify_one();
        }
        inner.metrics.delayed(&mut delays.into_iter().take(delayed));
    }
}

impl Inner {
    /// Counts the packets that go on, by the peers that brought them.
    fn account(&self, batch: &[Job], fates: &[Fate; BATCH]) {
        let Some(peers) = self.peers.get() else {
            return;
        };
        let onward = batch.iter().zip(fates);
        let onward = onward.filter(|(_, fate)| matches!(fate, Fate::Onward { .. }));
        let mut jobs = onward.map(|(job, _)| job).peekable();
        while let Some(first) = jobs.next() {
            let mut n = 1;
            while jobs.next_if(|job| job.peer == first.peer).is_some() {
                n += 1;
            }
            peers.given(&first.peer, first.via.charge, bytes_of(n));
        }
    }

    /// Decides whether to drop a packet for a rehearsal.
    fn loses(&self) -> bool {
        let (permille, _) = self.options.lose;
        permille > 0 && lock(&self.dice).below(1000) < u64::from(permille)
    }

    fn ends_here(&self, job: &Job, fate: Fate) {
        match fate {
            Fate::Deliver => {
                let Some(local) = self.local.get() else {
                    return self.metrics.dropped("no_recipient");
                };
                let Some(payload) = job.packet.payload().first_chunk() else {
                    return;
                };
                let delivered = Delivered {
                    via: job.via,
                    payload: Box::new(*payload),
                };
                match local.try_send(delivered) {
                    Ok(()) => self.metrics.delivered(),
                    Err(_) => self.metrics.dropped("recipient_full"),
                }
            }
            Fate::Cover => self.metrics.dropped("cover"),
            Fate::NoReplyBlock => self.metrics.dropped("no_reply_block"),
            Fate::NoRelay | Fate::Onward { .. } => self.metrics.dropped("no_relay"),
            Fate::Refused(refusal) => self.metrics.refused(refusal),
        }
    }
}
