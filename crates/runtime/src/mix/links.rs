//! Where packets go on: one task for each next node, for as long as there are packets for it.

mod table;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use betanet_htx::kind;
use betanet_machine::Time;
use betanet_mix::{PACKET, Packet, Via};
use betanet_session::{Substream, TOGETHER};
use betanet_wire::NodeId;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::plane::{Inner, lock};
pub(super) use table::Links;
use table::{Made, Place};

/// A packet that could not be sent by then is dropped.
const DEAD: Duration = Duration::from_secs(2);
/// A link without packets is closed after this.
const IDLE: Duration = Duration::from_secs(300);
/// From the wish for a session to an open stream.
const OPEN: Duration = Duration::from_secs(10);
/// A next node that nothing is known of is looked for no longer: its packets are dead by then.
const FIND: Duration = DEAD;
/// Rest after a failure, doubled up to the second.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(16));

/// A packet on its way out.
pub(super) struct Outgoing {
    pub(super) packet: Box<Packet>,
    /// When it was to leave.
    pub(super) due: Time,
    /// What it came over, which pays for it.
    pub(super) via: Via,
    /// Its place among those that wait for links.
    place: Option<Place>,
}

impl Outgoing {
    pub(super) const fn new(packet: Box<Packet>, due: Time, via: Via) -> Self {
        Self {
            packet,
            due,
            via,
            place: None,
        }
    }
}

/// Why a link does not stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fails {
    /// Nobody of this name takes packets: none of the directory, no gateway that is known, no session.
    Unknown,
    /// Nothing is known of it, and as many are looked for as may be.
    Busy,
    /// It is not reached now.
    Down,
}

/// Gives a packet to the link with a node, which is made when there is none. What is not taken is counted.
pub(super) fn send(inner: &Arc<Inner>, next: NodeId, outgoing: Outgoing) {
    match inner.links.send(inner, next, outgoing) {
        Ok(None) => {}
        Ok(Some(Made { id, queue, rest })) => {
            let task = Link {
                inner: Arc::downgrade(inner),
                next,
                id,
                held: VecDeque::new(),
                stream: None,
                rest: rest.unwrap_or(REST.0),
            };
            inner.runtime.spawn(task.run(queue));
        }
        Err((cause, outgoing)) => {
            inner.metrics.dropped(cause);
            inner.give(vec![outgoing.packet]);
        }
    }
}

struct Link {
    inner: Weak<Inner>,
    next: NodeId,
    id: u64,
    held: VecDeque<Outgoing>,
    stream: Option<Substream>,
    rest: Duration,
}

/// A stream to the next node: on the session that it opened, or on one that is dialled.
async fn open(inner: Arc<Inner>, next: NodeId, via: Via) -> Result<Substream, Fails> {
    let standing = lock(&inner.sessions).get(&next).cloned();
    if let Some(session) = standing
        && let Ok(stream) = session.open(kind::MIX).await
    {
        return Ok(stream);
    }
    let ways = lock(&inner.ways).clone();
    let (node, mesh) = ways.ok_or(Fails::Down)?;
    let peer = match mesh.known_record(next).await {
        Some(record) => inner.listed.takes_packets(&record, inner.epoch()),
        None => {
            // Who sends packets for nobody does not make this node ask others about all of them.
            let _asking = inner.lookups.begin(via.charge).ok_or(Fails::Busy)?;
            let record = timeout(FIND, mesh.record(next)).await.ok().flatten();
            record.and_then(|r| inner.listed.takes_packets(&r, inner.epoch()))
        }
    };
    let peer = peer.ok_or(Fails::Unknown)?;
    let reaching = async {
        let session = node.session(&peer).await?;
        let stream = session.peer_session().open(kind::MIX).await?;
        Ok::<_, crate::Error>(stream)
    };
    reaching.await.map_err(|error| {
        tracing::debug!(%error, "a next node is not reached");
        Fails::Down
    })
}

impl Link {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        let fails = self.carry(&mut queue).await;
        // The slot is free at once. What came in between is dropped with the rest.
        queue.close();
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        let down = (fails == Some(Fails::Down)).then_some(self.rest);
        inner.links.ended(&inner, (self.next, self.id), fails, down);
        while let Ok(outgoing) = queue.try_recv() {
            self.held.push_back(outgoing);
        }
        let cause = match fails {
            Some(Fails::Unknown | Fails::Busy) => "unknown_next",
            _ => "dead_hop",
        };
        let dropped: Vec<Box<Packet>> = self.held.drain(..).map(|o| o.packet).collect();
        dropped.iter().for_each(|_| inner.metrics.dropped(cause));
        inner.give(dropped);
    }

    /// Sends what comes, until nothing does, or it cannot be sent.
    async fn carry(&mut self, queue: &mut mpsc::Receiver<Outgoing>) -> Option<Fails> {
        let mut fresh = Vec::with_capacity(TOGETHER);
        loop {
            if self.held.is_empty() {
                let came = timeout(IDLE, queue.recv_many(&mut fresh, TOGETHER)).await;
                if !matches!(came, Ok(1..)) {
                    return None;
                }
                self.held.extend(fresh.drain(..));
            }
            let inner = self.inner.upgrade()?;
            if self.stream.is_none() {
                let failed = self.connect(&inner, queue).await;
                // While there are packets it is tried again.
                let waits = failed == Some(Fails::Down) && !self.held.is_empty();
                if failed.is_some() && !waits {
                    return failed;
                }
                continue;
            }
            self.write(&inner).await;
        }
    }

    /// Opens a stream; what waits too long meanwhile is dropped.
    async fn connect(
        &mut self,
        inner: &Arc<Inner>,
        queue: &mut mpsc::Receiver<Outgoing>,
    ) -> Option<Fails> {
        let via = self.held.front().map(|o| o.via).unwrap_or_default();
        let opening = timeout(OPEN, open(Arc::clone(inner), self.next, via));
        tokio::pin!(opening);
        let mut failed = false;
        let resting = tokio::time::sleep(self.rest);
        tokio::pin!(resting);
        let mut fresh = Vec::new();
        loop {
            let oldest = self.held.front().map(|o| o.due + DEAD);
            let until = inner.clock.instant(oldest.unwrap_or(Time::ZERO));
            let room = TOGETHER.saturating_sub(self.held.len());
            tokio::select! {
                opened = &mut opening, if !failed => match opened {
                    Ok(Ok(mut stream)) => {
                        // Nothing comes back on it but its end.
                        let ended = futures_util::FutureExt::now_or_never(stream.next());
                        if !matches!(ended, Some(Err(_))) {
                            self.stream = Some(stream);
                            self.rest = REST.0;
                            return None;
                        }
                        failed = true;
                    }
                    Ok(Err(Fails::Down)) | Err(_) => failed = true,
                    Ok(Err(nobody)) => return Some(nobody),
                },
                () = &mut resting, if failed => {
                    self.rest = (self.rest * 2).min(REST.1);
                    self.drop_overdue(inner);
                    return Some(Fails::Down);
                }
                () = sleep_until(until), if oldest.is_some() => self.drop_overdue(inner),
                n = queue.recv_many(&mut fresh, room), if room > 0 => {
                    if n == 0 {
                        return Some(Fails::Down);
                    }
                    self.held.extend(fresh.drain(..));
                }
            }
        }
    }

    fn drop_overdue(&mut self, inner: &Inner) {
        let now = inner.clock.now().mono;
        let mut dead = Vec::new();
        while self.held.front().is_some_and(|o| o.due + DEAD <= now) {
            if let Some(outgoing) = self.held.pop_front() {
                inner.metrics.dropped("dead_hop");
                dead.push(outgoing.packet);
            }
        }
        inner.give(dead);
    }

    /// Sends what is held.
    async fn write(&mut self, inner: &Arc<Inner>) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        self.drop_overdue(inner);
        let count = self.held.len().min(TOGETHER);
        let Some(oldest) = self.held.front().map(|o| o.due) else {
            self.stream = Some(stream);
            return;
        };
        let mut bytes = BytesMut::with_capacity(count * PACKET);
        for outgoing in self.held.iter().take(count) {
            bytes.extend_from_slice(&outgoing.packet.0);
        }
        let bytes: Bytes = bytes.freeze();
        let sent = timeout_at(inner.clock.instant(oldest + DEAD), stream.write(bytes)).await;
        if matches!(sent, Ok(Ok(()))) {
            self.stream = Some(stream);
            let now = inner.clock.now().mono;
            let gone: Vec<Outgoing> = self.held.drain(..count).collect();
            inner.metrics.sent(gone.iter().map(|o| now - o.due));
            inner.give(gone.into_iter().map(|o| o.packet).collect());
        } else {
            // Without its stream it is tried on another one, while there is time.
            self.drop_overdue(inner);
        }
    }
}
