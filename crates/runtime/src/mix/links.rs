//! Where packets go on: one task for each next node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_htx::kind;
use betanet_machine::Time;
use betanet_mix::{PACKET, Packet};
use betanet_wire::NodeId;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::padding::TOGETHER;
use super::plane::{Inner, lock};
use crate::Error;
use crate::streams::Substream;

/// Packets that wait for one next node.
const QUEUE: usize = 2048;
/// A packet that could not be sent by then is dropped.
const DEAD: Duration = Duration::from_secs(2);
/// A link without packets is closed after this.
const IDLE: Duration = Duration::from_secs(300);
/// From the wish for a session to an open stream.
const OPEN: Duration = Duration::from_secs(10);
/// Rest after a failure, doubled up to the second.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(16));
/// Next nodes at once.
const LINKS_MAX: usize = 4096;

/// A packet on its way out.
pub(super) struct Outgoing {
    pub(super) packet: Box<Packet>,
    /// When it was to leave.
    pub(super) due: Time,
}

/// The links that stand.
#[derive(Default)]
pub(super) struct Links(Mutex<BTreeMap<NodeId, mpsc::Sender<Outgoing>>>);

impl Links {
    /// Gives a packet to the link with a node, which is made when there is none.
    pub(super) fn send(
        &self,
        inner: &Arc<Inner>,
        next: NodeId,
        outgoing: Outgoing,
    ) -> Result<(), Outgoing> {
        use mpsc::error::TrySendError::{Closed, Full};
        let mut links = lock(&self.0);
        let outgoing = match links.get(&next) {
            Some(link) => match link.try_send(outgoing) {
                Ok(()) => return Ok(()),
                Err(Full(outgoing)) => return Err(outgoing),
                Err(Closed(outgoing)) => outgoing,
            },
            None => outgoing,
        };
        links.remove(&next);
        if links.len() >= LINKS_MAX {
            links.retain(|_, link| !link.is_closed());
        }
        if links.len() >= LINKS_MAX {
            return Err(outgoing);
        }
        let (link, queue) = mpsc::channel(QUEUE);
        let sent = link.try_send(outgoing);
        links.insert(next, link);
        drop(links);
        let task = Link {
            inner: Arc::downgrade(inner),
            next,
            held: VecDeque::new(),
            stream: None,
            rest: REST.0,
        };
        inner.runtime.spawn(task.run(queue));
        // The queue is new, and its task has it.
        sent.map_err(|e| e.into_inner())
    }
}

struct Link {
    inner: std::sync::Weak<Inner>,
    next: NodeId,
    held: VecDeque<Outgoing>,
    stream: Option<Substream>,
    rest: Duration,
}

/// A stream to the next node: on the session that it opened, or on one that is dialled.
async fn open(inner: Arc<Inner>, next: NodeId) -> Result<Substream, Error> {
    let standing = lock(&inner.sessions).get(&next).cloned();
    if let Some(session) = standing
        && let Ok(stream) = session.open(kind::MIX).await
    {
        return Ok(stream);
    }
    let (node, mesh) = lock(&inner.ways).clone().ok_or(Error::NoAddress)?;
    let peer = match mesh.known(next).await {
        Some(peer) => peer,
        None => {
            // Who sends packets for nobody does not make this node ask others about all of them.
            let _asking = inner.lookups.try_acquire().map_err(|_| Error::NoAddress)?;
            mesh.find(next).await.ok_or(Error::NoAddress)?
        }
    };
    let session = node.session(&peer).await?;
    session.peer_session().open(kind::MIX).await
}

impl Link {
    async fn run(mut self, mut queue: mpsc::Receiver<Outgoing>) {
        let mut fresh = Vec::with_capacity(TOGETHER);
        loop {
            if self.held.is_empty() {
                let came = timeout(IDLE, queue.recv_many(&mut fresh, TOGETHER)).await;
                if !matches!(came, Ok(1..)) {
                    return;
                }
                self.held.extend(fresh.drain(..));
            }
            let Some(inner) = self.inner.upgrade() else {
                return;
            };
            if self.stream.is_none() {
                self.connect(&inner, &mut queue).await;
                continue;
            }
            self.write(&inner).await;
        }
    }

    /// Opens a stream; what waits too long meanwhile is dropped.
    async fn connect(&mut self, inner: &Arc<Inner>, queue: &mut mpsc::Receiver<Outgoing>) {
        let opening = timeout(OPEN, open(Arc::clone(inner), self.next));
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
                            return;
                        }
                        failed = true;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "a next node is not reached");
                        failed = true;
                    }
                    Err(_) => failed = true,
                },
                () = &mut resting, if failed => {
                    self.rest = (self.rest * 2).min(REST.1);
                    return self.drop_overdue(inner);
                }
                () = sleep_until(until), if oldest.is_some() => self.drop_overdue(inner),
                n = queue.recv_many(&mut fresh, room), if room > 0 => {
                    if n == 0 {
                        return;
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
