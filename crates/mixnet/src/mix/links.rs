//! Links to the next nodes. Each has a task that opens its stream and writes to it; [`betanet_mix::Links`] decides what is sent,
//! and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use betanet_htx::kind;
use betanet_machine::{Machine as _, Now, Time};
use betanet_mix::links::{Cause, DEAD, Fails, LinkEvent, LinkInput, LinkTransmit};
use betanet_mix::{Departure, PACKET, Via};
use betanet_wire::{ChargeTo, NodeId};
use bytes::BytesMut;
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::plane::{Inner, lock};
use betanet_session::Substream;

/// Time limit for finding an unknown next node. Its packets have expired by then.
const FIND: Duration = DEAD;
/// Maximum interval between two checks of the links' clock.
const LOOK: Duration = Duration::from_secs(60);
/// Capacity of a link's command queue: it has one request at a time, and one that was given up may still be queued.
const ORDERS: usize = 2;

struct Driven {
    core: betanet_mix::Links,
    tasks: BTreeMap<u64, mpsc::Sender<LinkTransmit>>,
    /// Time of the next check of the links' clock.
    looks: Time,
}

/// The open links.
pub(super) struct Links {
    driven: Mutex<Driven>,
    /// Notified when the clock must be checked earlier.
    sooner: Arc<Notify>,
}

impl Links {
    /// Creates the links of a node in which so many packets may be delayed.
    pub(super) fn new(waiting: usize) -> Self {
        Self {
            driven: Mutex::new(Driven {
                core: betanet_mix::Links::new(waiting),
                tasks: BTreeMap::new(),
                looks: Time::ZERO,
            }),
            sooner: Arc::new(Notify::new()),
        }
    }

    /// Returns the number of open links.
    pub(super) fn len(&self) -> usize {
        lock(&self.driven).core.len()
    }
}

/// Bytes of so many packets.
pub(super) fn bytes_of(packets: usize) -> u64 {
    u64::try_from(packets.saturating_mul(PACKET)).unwrap_or(u64::MAX)
}

/// The bytes of packets by the parties charged for the sessions that brought them, one item for each run.
fn by_payer(packets: &[Departure]) -> impl Iterator<Item = (ChargeTo, u64)> {
    let runs = packets.chunk_by(|a, b| a.via.charge == b.via.charge);
    runs.filter_map(|run| Some((run.first()?.via.charge, bytes_of(run.len()))))
}

const fn named(cause: Cause) -> &'static str {
    match cause {
        Cause::LinkFull => "link_full",
        Cause::Session => "session_share",
        Cause::Address => "address_share",
        Cause::LinkShare => "link_share",
        Cause::Unknown => "unknown_next",
        _ => "dead_hop",
    }
}

/// Passes a batch of packets to the links to their next nodes, which are created if they do not exist. Dropped packets are
/// counted. The vector is left empty.
pub(super) fn send(inner: &Arc<Inner>, departures: &mut Vec<Departure>) {
    let mut not_taken = Vec::new();
    told(inner, None, |core, now| {
        let payer = |next, charge| inner.payer_of_link(next, charge);
        core.send_all(now, departures, payer, |not| not_taken.push(not));
    });
    for (cause, _) in &not_taken {
        inner.metrics.dropped(named(*cause));
    }
    inner.give(not_taken.into_iter().map(|(_, departure)| departure.packet));
}

/// Passes an event to the links' state machine, and performs the requested actions. Returns the next action of the link `own`,
/// which its task performs itself.
fn told(
    inner: &Arc<Inner>,
    own: Option<u64>,
    what: impl FnOnce(&mut betanet_mix::Links, Now),
) -> Option<LinkTransmit> {
    let mut driven = lock(&inner.links.driven);
    let now = inner.clock.now();
    what(&mut driven.core, now);
    let mut next = None;
    while let Some(transmit) = driven.core.poll_transmit() {
        match id_of(&transmit) {
            Some(id) if own == Some(id) => next = Some(transmit),
            _ => driven.perform(inner, now, transmit),
        }
    }
    let ended: Vec<LinkEvent> = std::iter::from_fn(|| driven.core.poll_event()).collect();
    let wake = driven.core.poll_timeout().map(|wake| wake.at);
    if let Some(at) = wake.filter(|at| *at < driven.looks) {
        driven.looks = at;
        inner.links.sooner.notify_one();
    }
    drop(driven);
    for event in ended {
        let packets = match event {
            LinkEvent::Sent { packets } => {
                inner
                    .metrics
                    .sent(&mut packets.iter().map(|p| now.mono - p.due));
                packets
            }
            LinkEvent::Dropped { cause, packets } => {
                let dropped = packets.len() as u64;
                inner.metrics.dropped_all(named(cause), dropped);
                packets
            }
        };
        inner.give(packets.into_iter().map(|p| p.packet));
    }
    next
}

/// Returns the link that a request is for, unless it ends the link.
const fn id_of(transmit: &LinkTransmit) -> Option<u64> {
    match transmit {
        LinkTransmit::Open { op, .. } | LinkTransmit::Write { op, .. } => Some(op.id),
        LinkTransmit::Close { .. } => None,
    }
}

impl Driven {
    fn perform(&mut self, inner: &Arc<Inner>, now: Now, transmit: LinkTransmit) {
        let id = match &transmit {
            LinkTransmit::Open { op, .. } | LinkTransmit::Write { op, .. } => op.id,
            LinkTransmit::Close { id } => {
                self.tasks.remove(id);
                return;
            }
        };
        let task = self.tasks.entry(id).or_insert_with(|| {
            let (task, orders) = mpsc::channel(ORDERS);
            inner.runtime.spawn(run(Arc::downgrade(inner), orders));
            task
        });
        let Err(not) = task.try_send(transmit) else {
            return;
        };
        // The task has ended because the node is stopping.
        self.tasks.remove(&id);
        let outcome = match not.into_inner() {
            LinkTransmit::Open { op, .. } => {
                let why = Fails::Down;
                LinkInput::Failed { op, why }
            }
            LinkTransmit::Write { op, packets, .. } => LinkInput::Broken { op, packets },
            LinkTransmit::Close { .. } => return,
        };
        let Ok(()) = self.core.handle_input(now, outcome);
    }
}

/// Advances the links' clock, for as long as the node runs.
pub(super) async fn pass_time(inner: Weak<Inner>) {
    while let Some(this) = inner.upgrade() {
        told(&this, None, |core, now| core.handle_timeout(now));
        let look = this.clock.now().mono + LOOK;
        let next = {
            let mut driven = lock(&this.links.driven);
            let wake = driven.core.poll_timeout();
            driven.looks = wake.map_or(look, |wake| wake.at.min(look));
            driven.looks
        };
        let (next, sooner) = (this.clock.instant(next), Arc::clone(&this.links.sooner));
        drop(this);
        tokio::select! {
            () = sleep_until(next) => {}
            () = sooner.notified() => {}
        }
    }
}

/// Runs one link.
async fn run(inner: Weak<Inner>, mut orders: mpsc::Receiver<LinkTransmit>) {
    let mut stream: Option<Substream> = None;
    let mut next = None;
    // Memory of the last write, while one write follows another. The session releases it once it has sent the bytes.
    let mut buffer = BytesMut::new();
    loop {
        let order = match next.take() {
            Some(order) => order,
            None => {
                buffer = BytesMut::new();
                let Some(order) = orders.recv().await else {
                    return;
                };
                order
            }
        };
        let Some(inner) = inner.upgrade() else {
            return;
        };
        let id = id_of(&order);
        let outcome = match order {
            LinkTransmit::Open { op, via, until } => {
                let opening = open(Arc::clone(&inner), op.next, via);
                let opened = timeout_at(inner.clock.instant(until), opening).await;
                match opened.unwrap_or(Err(Fails::Down)) {
                    Ok(opened) => {
                        stream = Some(opened);
                        LinkInput::Opened { op }
                    }
                    Err(why) => LinkInput::Failed { op, why },
                }
            }
            LinkTransmit::Write { op, packets, until } => {
                buffer.reserve(packets.len() * PACKET);
                for departure in &packets {
                    buffer.extend_from_slice(&departure.packet.0);
                }
                let bytes = buffer.split().freeze();
                let writing = async { stream.as_mut()?.write(bytes).await.ok() };
                let written = timeout_at(inner.clock.instant(until), writing).await;
                if matches!(written, Ok(Some(()))) {
                    if let Some(peers) = inner.peers.get() {
                        for (charge, bytes) in by_payer(&packets) {
                            peers.taken(&op.next, charge, bytes);
                        }
                    }
                    LinkInput::Written { op, packets }
                } else {
                    stream = None;
                    LinkInput::Broken { op, packets }
                }
            }
            LinkTransmit::Close { .. } => return,
        };
        next = told(&inner, id, |core, now| {
            let Ok(()) = core.handle_input(now, outcome);
        });
    }
}

/// Opens a stream to the next node, on a session that it opened or on one that is dialled.
async fn open(inner: Arc<Inner>, next: NodeId, via: Via) -> Result<Substream, Fails> {
    let standing = lock(&inner.sessions).get(&next).cloned();
    if let Some(session) = standing
        && let Ok(stream) = session.open(kind::MIX).await
    {
        return standing_stream(stream);
    }
    let ways = lock(&inner.ways).clone();
    let (node, mesh) = ways.ok_or(Fails::Down)?;
    let peer = match mesh.known_record(next).await {
        Some(record) => inner.listed.takes_packets(&record, inner.epoch()),
        None => {
            // A sender of packets to unknown nodes must not cause lookups of all of them.
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
    let stream = reaching.await.map_err(|error| {
        tracing::debug!(%error, "a next node is not reached");
        Fails::Down
    })?;
    standing_stream(stream)
}

/// Returns the stream unless it has ended. Only its end can arrive on it.
fn standing_stream(mut stream: Substream) -> Result<Substream, Fails> {
    match futures_util::FutureExt::now_or_never(stream.next()) {
        Some(Err(_)) => Err(Fails::Down),
        _ => Ok(stream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_one_write_are_on_those_who_brought_them() {
        let from = |n: u8| Departure {
            next: NodeId([1; 20]),
            packet: Box::new(betanet_mix::Packet([0; PACKET])),
            due: Time::ZERO,
            via: Via {
                session: n.into(),
                charge: ChargeTo::V4([192, 0, 2, n]),
            },
        };
        let packets: Vec<Departure> = [1, 1, 2, 1].map(from).into();
        let on = |n| ChargeTo::V4([192, 0, 2, n]);
        let expected = [
            (on(1), bytes_of(2)),
            (on(2), bytes_of(1)),
            (on(1), bytes_of(1)),
        ];
        assert_eq!(by_payer(&packets).collect::<Vec<_>>(), expected);
        assert_eq!(by_payer(&[]).count(), 0);
    }
}
