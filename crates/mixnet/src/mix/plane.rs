//! The data plane for mix packets. A packet is read from a session, unwrapped in a batch on a worker thread, delayed, and sent to
//! the next node. It never passes through the node's control task.

mod arrivals;
mod departures;
mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::thread;

use betanet_dial::Node;
use betanet_machine::{Rng, Seed};
use betanet_mix::plane::UNREAD;
use betanet_mix::{Delivered, Departure, Packet, Pool, Reply, Waiting, epoch_at};
use betanet_relay::{CountPeers, Mesh};
use betanet_session::{Clock, PeerSession, Streams, Substream};
use betanet_wire::{ChargeTo, NodeId};
use tokio::sync::{Semaphore, mpsc};

use super::links::{self, Links};
use super::listed::{Listed, Lookups};
use super::memory::Keys;
use crate::CountMix;
use arrivals::Job;
use workers::Worker;

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
    /// Accounts with the peers, where the node keeps them.
    pub(super) peers: OnceLock<Arc<dyn CountPeers>>,
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
            peers: OnceLock::new(),
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
            let worker = Worker::new(Arc::clone(&inner));
            let thread = thread::Builder::new().name(format!("mix-{n}"));
            plane.threads.push(thread.spawn(move || worker.run())?);
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

    /// Has the bytes of packets counted by peers.
    pub(crate) fn counts_peers(&self, peers: Arc<dyn CountPeers>) {
        // This is set once, before any packet arrives.
        let _ = self.inner.peers.set(peers);
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
        self.inner.onward(&mut vec![Departure {
            next: first,
            packet,
            due,
            via,
        }]);
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
        let keys = inner.keys();
        let tags = keys.memories.values().map(|m| lock(m).len()).sum();
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
    /// Returns the current keys, with their replay memories.
    fn keys(&self) -> Arc<Keys> {
        let held = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }

    /// Returns the current epoch.
    pub(super) fn epoch(&self) -> u32 {
        epoch_at(self.clock.now().unix_ms)
    }

    /// Returns the party charged for a link. A client with a session here, or a relay of the directory, is charged for its own
    /// link. Otherwise the sender is charged.
    pub(super) fn payer_of_link(&self, next: NodeId, sender: ChargeTo) -> ChargeTo {
        let session = lock(&self.sessions).get(&next).map(PeerSession::charge);
        self.listed.payer(next, session.unwrap_or(sender))
    }

    /// Returns buffers to the pool.
    pub(super) fn give(&self, packets: impl IntoIterator<Item = Box<Packet>>) {
        let mut packets = packets.into_iter().peekable();
        if packets.peek().is_some() {
            let mut pool = lock(&self.pool);
            packets.for_each(|packet| pool.give(packet));
        }
    }
}
