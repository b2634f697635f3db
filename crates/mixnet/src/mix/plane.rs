//! The data plane for mix packets. A packet is read from a session, unwrapped in a batch on a worker thread, delayed, and sent to
//! the next node. It never passes through the node's control task.

use std::borrow::{Borrow, BorrowMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread;

use betanet_dial::Node;
use betanet_machine::{Rng, Seed, Time};
use betanet_mix::plane::{BATCH, FEW, UNREAD, UNREAD_OF, batch};
use betanet_mix::{
    Crowded, Cut, Delivered, Departure, Fate, Outcome, Packet, Pool, Refusal, Reply, Taken, Via,
    Waiting, epoch_at, unwrap_batch,
};
use betanet_relay::Mesh;
use betanet_session::{Clock, PeerSession, Streams, Substream};
use betanet_wire::{ChargeTo, NodeId};
use tokio::sync::{Semaphore, mpsc};

use super::links::{self, Links};
use super::listed::{Listed, Lookups};
use super::memory::Keys;
use crate::CountMix;

/// Options of the data plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlaneOptions {
    /// Whether packets are relayed. Otherwise only those that end here are accepted.
    pub(crate) forwards: bool,
    /// Number of worker threads that unwrap packets.
    pub(crate) workers: usize,
    /// Maximum number of delayed packets.
    pub(crate) waiting: usize,
    /// Packets per thousand that are dropped on purpose, and the seed of the random choice.
    pub(crate) lose: (u16, u64),
}

/// A packet to unwrap.
struct Job {
    via: Via,
    peer: NodeId,
    arrived: Time,
    packet: Box<Packet>,
    /// The places to release.
    places: Option<Arc<Places>>,
}

/// The places of a session, and of the party charged for it, among the packets that wait to be unwrapped.
struct Places {
    session: Semaphore,
    payer: Arc<Semaphore>,
}

impl Places {
    /// Waits for `count` places of each kind.
    async fn take(&self, count: u32) -> Option<()> {
        self.session.acquire_many(count).await.ok()?.forget();
        self.payer.acquire_many(count).await.ok()?.forget();
        Some(())
    }
}

impl Borrow<Packet> for Job {
    fn borrow(&self) -> &Packet {
        &self.packet
    }
}

impl BorrowMut<Packet> for Job {
    fn borrow_mut(&mut self) -> &mut Packet {
        &mut self.packet
    }
}

pub(super) struct Inner {
    pub(super) own: NodeId,
    options: PlaneOptions,
    pub(super) clock: Clock,
    keys: RwLock<Arc<Keys>>,
    jobs: Mutex<VecDeque<Job>>,
    ready: Condvar,
    room: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    due: Condvar,
    pool: Mutex<Pool>,
    local: OnceLock<mpsc::Sender<Delivered>>,
    /// The node and mesh that send packets on, once the node runs.
    pub(super) ways: Mutex<Option<(Arc<Node>, Mesh)>>,
    pub(super) sessions: Mutex<BTreeMap<NodeId, PeerSession>>,
    /// Places of the parties charged for sessions, while they have sessions.
    payers: Mutex<BTreeMap<ChargeTo, Weak<Semaphore>>>,
    pub(super) links: Links,
    pub(super) listed: Arc<Listed>,
    pub(super) lookups: Lookups,
    pub(super) metrics: Arc<dyn CountMix>,
    /// Random choice of dropped packets, for rehearsals.
    dice: Mutex<Rng>,
    stopping: AtomicBool,
    pub(super) runtime: tokio::runtime::Handle,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node's data plane for mix packets. It ends with its last clone.
pub struct Plane {
    pub(super) inner: Arc<Inner>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Plane {
    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub(crate) fn start(
        own: NodeId,
        options: PlaneOptions,
        metrics: Arc<dyn CountMix>,
        clock: Clock,
    ) -> std::io::Result<Arc<Self>> {
        let inner = Arc::new(Inner {
            own,
            options,
            clock,
            keys: RwLock::default(),
            jobs: Mutex::default(),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(UNREAD)),
            waiting: Mutex::new(Waiting::new(options.waiting)),
            due: Condvar::new(),
            pool: Mutex::new(Pool::new(options.waiting + UNREAD)),
            local: OnceLock::new(),
            ways: Mutex::default(),
            sessions: Mutex::default(),
            payers: Mutex::default(),
            links: Links::new(options.waiting),
            listed: Arc::default(),
            lookups: Lookups::default(),
            metrics,
            dice: Mutex::new(Rng::new(&Seed::from_number(options.lose.1))),
            stopping: AtomicBool::new(false),
            runtime: tokio::runtime::Handle::current(),
        });
        // If a thread cannot be started, dropping this stops the others.
        let mut plane = Self {
            inner: Arc::clone(&inner),
            threads: Vec::new(),
        };
        for n in 0..options.workers {
            let inner = Arc::clone(&inner);
            let thread = thread::Builder::new().name(format!("mix-{n}"));
            plane.threads.push(thread.spawn(move || inner.work())?);
        }
        inner
            .runtime
            .spawn(links::pass_time(Arc::downgrade(&inner)));
        let departing = thread::Builder::new().name("mix-out".into());
        plane.threads.push(departing.spawn(move || inner.depart())?);
        Ok(Arc::new(plane))
    }

    /// Returns whether one of its threads has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.threads.iter().any(thread::JoinHandle::is_finished)
    }

    /// Replaces the keys.
    pub(crate) fn set_keys(&self, keys: Keys) {
        let mut held = self
            .inner
            .keys
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(keys);
    }

    /// Sets the receiver of payloads for this node.
    pub(crate) fn deliver_to(&self, local: mpsc::Sender<Delivered>) {
        // This is set once, before any packet arrives.
        let _ = self.inner.local.set(local);
    }

    /// Sets the node and mesh that send packets on.
    pub(crate) fn join(&self, node: Arc<Node>, mesh: Mesh) {
        *lock(&self.inner.ways) = Some((node, mesh));
    }

    /// Stops the threads. The node and this plane hold each other, so neither would end by itself.
    pub fn stop(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        *lock(&self.inner.ways) = None;
        lock(&self.inner.sessions).clear();
        // Take the locks, so that no thread misses the signal between its check and its sleep.
        drop(lock(&self.inner.jobs));
        self.inner.ready.notify_all();
        drop(lock(&self.inner.waiting));
        self.inner.due.notify_all();
    }

    /// Sends a packet that begins here. It is charged to the exchange's session.
    pub(crate) fn send(&self, reply: Reply) {
        let Reply { first, packet, via } = reply;
        let due = self.inner.clock.now().mono;
        self.inner.onward(Departure {
            next: first,
            packet,
            due,
            via,
        });
    }

    /// Returns the relays to which packets are sent.
    pub(super) fn listed(&self) -> Weak<Listed> {
        Arc::downgrade(&self.inner.listed)
    }

    /// Updates the metrics from the queues and the pool.
    pub fn count(&self) {
        let inner = &self.inner;
        let (hits, misses) = lock(&inner.pool).hits_and_misses();
        inner.metrics.pool(hits, misses);
        inner.metrics.unread(lock(&inner.jobs).len());
        inner.metrics.waiting(lock(&inner.waiting).len());
        let held = inner.keys.read().unwrap_or_else(PoisonError::into_inner);
        let tags = held.memories.values().map(|m| lock(m).len()).sum();
        inner.metrics.replays(tags);
        inner.metrics.links(inner.links.len());
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Streams for Plane {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        let inner = Arc::clone(&self.inner);
        let session = session.clone();
        self.inner.runtime.spawn(inner.read(session, stream));
    }
}

impl Inner {
    /// Reads a session's packets, at the pace of unwrapping.
    async fn read(self: Arc<Self>, session: PeerSession, mut stream: Substream) {
        let peer = session.peer().node_id();
        let (id, charge) = (session.id(), session.charge());
        {
            let mut sessions = lock(&self.sessions);
            // A session may have one stream at a time. A second one would have a second share of the queue.
            if sessions.get(&peer).is_some_and(|s| s.id() == id) {
                return;
            }
            sessions.insert(peer, session);
        }
        // This side sends nothing on the stream.
        stream.end();
        let mut via = Via {
            session: id,
            charge: self.listed.payer(peer, charge),
        };
        let mut places = self.places(via.charge);
        let mut cut = Cut::default();
        while let Ok(Some(bytes)) = stream.next().await {
            let arrived = self.clock.now().mono;
            let packets = cut.cut(&bytes, &mut lock(&self.pool));
            let Ok(count) = u32::try_from(packets.len()) else {
                break;
            };
            if count == 0 {
                continue;
            }
            self.metrics.packets_in(count.into());
            // A relay may be listed after its session began.
            let payer = self.listed.payer(peer, charge);
            if payer != via.charge {
                via.charge = payer;
                places = self.places(payer);
            }
            // Take the session's own places first, then the shared ones: a slow session then delays no other.
            let (Some(()), Ok(all)) = (
                places.take(count).await,
                self.room.acquire_many(count).await,
            ) else {
                break;
            };
            all.forget();
            let mut jobs = lock(&self.jobs);
            jobs.extend(packets.into_iter().map(|packet| Job {
                via,
                peer,
                arrived,
                packet,
                places: Some(Arc::clone(&places)),
            }));
            drop(jobs);
            if count as usize > FEW {
                self.ready.notify_all();
            } else {
                self.ready.notify_one();
            }
        }
        let mut sessions = lock(&self.sessions);
        if sessions.get(&peer).is_some_and(|s| s.id() == id) {
            sessions.remove(&peer);
        }
    }

    /// Returns the places of a session, and of the party charged for it.
    fn places(&self, charge: ChargeTo) -> Arc<Places> {
        let mut payers = lock(&self.payers);
        let standing = payers.get(&charge).and_then(Weak::upgrade);
        let payer = standing.unwrap_or_else(|| {
            payers.retain(|_, places| places.strong_count() > 0);
            let fresh = Arc::new(Semaphore::new(UNREAD_OF.1));
            payers.insert(charge, Arc::downgrade(&fresh));
            fresh
        });
        let session = Semaphore::new(UNREAD_OF.0);
        Arc::new(Places { session, payer })
    }

    /// Returns the party charged for a link. A client with a session here, or a relay of the directory, is charged for its own
    /// link. Otherwise the sender is charged.
    pub(super) fn payer_of_link(&self, next: NodeId, sender: ChargeTo) -> ChargeTo {
        let session = lock(&self.sessions).get(&next).map(PeerSession::charge);
        self.listed.payer(next, session.unwrap_or(sender))
    }

    /// Returns the current epoch.
    pub(super) fn epoch(&self) -> u32 {
        epoch_at(self.clock.now().unix_ms)
    }

    /// Runs one worker thread.
    fn work(self: &Arc<Self>) {
        let mut taken: Vec<Job> = Vec::with_capacity(BATCH);
        loop {
            let mut jobs = lock(&self.jobs);
            while jobs.is_empty() {
                if self.stopping.load(Ordering::Acquire) {
                    return;
                }
                jobs = self
                    .ready
                    .wait(jobs)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let n = batch(jobs.len(), self.options.workers);
            taken.extend(jobs.drain(..n));
            if !jobs.is_empty() {
                self.ready.notify_one();
            }
            drop(jobs);
            self.unwrap(&mut taken);
        }
    }

    fn unwrap(self: &Arc<Self>, batch: &mut Vec<Job>) {
        let held = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let held = Arc::clone(&held);
        let mut peers = [(NodeId([0; 20]), ChargeTo::Unknown); BATCH];
        for (peer, job) in peers.iter_mut().zip(batch.iter()) {
            *peer = (job.peer, job.via.charge);
        }
        let mut outcomes: [Outcome; BATCH] = [Err(Refusal::Epoch); BATCH];
        let mut full = 0;
        let seen = |at: usize, key, tag: &[u8; 16]| {
            let memory = held.memories.get(&key);
            let taken = memory.map_or(Taken::Full, |m| lock(m).take(peers[at], tag));
            full += u64::from(taken == Taken::Full);
            taken != Taken::New
        };
        unwrap_batch(&held.keys, batch, seen, &mut outcomes);
        self.metrics.batch(batch.len(), full);
        let mut done: Vec<Box<Packet>> = Vec::with_capacity(batch.len());
        let mut onward = Vec::with_capacity(batch.len());
        for (job, outcome) in batch.drain(..).zip(outcomes) {
            self.room.add_permits(1);
            if let Some(places) = &job.places {
                places.session.add_permits(1);
                places.payer.add_permits(1);
            }
            match Fate::of(outcome, job.arrived, self.options.forwards) {
                Fate::Onward { .. } if self.loses() => {
                    self.metrics.dropped("rehearsal");
                    done.push(job.packet);
                }
                Fate::Onward { next, due, wait_ms } => onward.push((job, next, due, wait_ms)),
                fate => {
                    self.ends_here(&job, fate);
                    done.push(job.packet);
                }
            }
        }
        if !onward.is_empty() {
            let now = self.clock.now().mono;
            for (job, next, due, wait_ms) in onward.extract_if(.., |(_, _, due, _)| *due <= now) {
                self.metrics.delayed(wait_ms);
                self.onward(Departure {
                    next,
                    packet: job.packet,
                    due,
                    via: job.via,
                });
            }
            let mut waiting = lock(&self.waiting);
            for (job, next, _, wait_ms) in onward {
                let pushed = waiting.push(job.arrived, job.via, wait_ms, next, job.packet);
                match pushed {
                    Ok(()) => self.metrics.delayed(wait_ms),
                    Err((crowded, packet)) => {
                        self.metrics.dropped(match crowded {
                            Crowded::Queue => "queue_full",
                            Crowded::Session => "session_share",
                            Crowded::Address => "address_share",
                            _ => "crowded",
                        });
                        done.push(packet);
                    }
                }
            }
            drop(waiting);
            self.due.notify_one();
        }
        self.give(done);
    }

    /// Decides whether to drop a packet for a rehearsal.
    fn loses(&self) -> bool {
        let (permille, _) = self.options.lose;
        permille > 0 && lock(&self.dice).below(1000) < u64::from(permille)
    }

    /// Returns buffers to the pool.
    #[expect(clippy::vec_box, reason = "the pool keeps packets by their pointers")]
    pub(super) fn give(&self, packets: Vec<Box<Packet>>) {
        let mut pool = lock(&self.pool);
        for packet in packets {
            pool.give(packet);
        }
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

    /// Sends packets when they are due, until the node stops.
    fn depart(self: Arc<Self>) {
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
            for departure in leaving.drain(..) {
                self.onward(departure);
            }
        }
    }

    /// Passes a packet to the link to its next node.
    fn onward(self: &Arc<Self>, departure: Departure) {
        if departure.next == self.own {
            return self.again(departure);
        }
        links::send(self, departure);
    }

    /// Handles a packet whose next node is this one.
    fn again(&self, departure: Departure) {
        let Departure { packet, via, .. } = departure;
        let Ok(room) = self.room.try_acquire() else {
            self.metrics.dropped("queue_full");
            return self.give(vec![packet]);
        };
        room.forget();
        lock(&self.jobs).push_back(Job {
            via,
            peer: self.own,
            arrived: self.clock.now().mono,
            packet,
            places: None,
        });
        self.ready.notify_one();
    }
}
