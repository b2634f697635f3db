//! Packets that arrive: from the sessions' streams into the queue of the workers.

use std::sync::{Arc, Weak};

use betanet_mix::plane::{FEW, UNREAD_OF};
use betanet_mix::{Arrived, Cut, Via};
use betanet_session::{PeerSession, Substream};
use betanet_wire::ChargeTo;
use tokio::sync::Semaphore;

use super::{Inner, lock};

/// A packet to unwrap, with the places to release.
pub(super) type Job = Arrived<Option<Arc<Places>>>;

/// The places of a session, and of the party charged for it, among the packets that wait to be unwrapped.
pub(super) struct Places {
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

    /// Releases `count` places of each kind.
    fn release(&self, count: usize) {
        self.session.add_permits(count);
        self.payer.add_permits(count);
    }
}

impl Inner {
    /// Reads a session's packets, at the pace of unwrapping.
    pub(super) async fn read(self: Arc<Self>, session: PeerSession, mut stream: Substream) {
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
            let at = self.clock.now().mono;
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
                at,
                packet,
                data: Some(Arc::clone(&places)),
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

    /// Releases the places of a batch of packets that no longer wait to be unwrapped.
    pub(super) fn release(&self, batch: &[Job]) {
        self.room.add_permits(batch.len());
        let same = |a: &Job, b: &Job| match (&a.data, &b.data) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        for part in batch.chunk_by(same) {
            if let Some(places) = part.first().and_then(|job| job.data.as_ref()) {
                places.release(part.len());
            }
        }
    }
}
