//! The task of a mix client: runs its state machine between the guard's stream and the users' sessions.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_htx::StreamId;
use betanet_keys::Name;
use betanet_machine::{Io, Machine as _, Now, Time, drive};
use betanet_mix::links::TOGETHER;
use betanet_mix::{
    ClientError, ClientInput, ClientStats, ClientTransmit, Delay, Done, Looped, PACKET, Packet,
    Recipient, Topology, epoch_at, epoch_start,
};
use betanet_session::ops::{Ask, Op};
use betanet_session::{Body, Clock, Error, ExchangeError, Feed, Inbox, SessionHandle, Substream};
use betanet_stack::{Kind, MixCommand, MixError, MixEvent, MixRequester};
use betanet_wire::{NodeId, text};
use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::super::plane::lock;
use super::find::{Chart, Finder};
use super::recipient_of;

/// Capacity of the queue of packets to the guard.
const OUT: usize = 1024;
/// Maximum bytes of a request passed to the state machine at once.
const SEND: usize = 32 << 10;
/// Maximum number of requests that wait for a place. More are refused.
const WAITING: usize = 256;
/// Time for the last packets at the end.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Interval at which keys, and a new epoch's directory, are looked up.
const RENEW: Duration = Duration::from_secs(30);

/// A message to the task.
pub(super) enum Message {
    /// An operation of a session's user.
    Op(Box<(Recipient, Op)>),
    /// The relays of a new epoch.
    Topology(Topology),
    /// A gateway's key of a new epoch.
    Recipient(Recipient),
    /// A new session with the guard.
    Guard(Box<(SessionHandle, Substream, Zeroizing<[u8; 32]>)>),
    Stop,
}

struct Blocked {
    data: Bytes,
    fin: bool,
    done: oneshot::Sender<Result<(), Error>>,
}

pub(super) struct Task {
    asker: MixRequester,
    clock: Clock,
    loops_file: Option<PathBuf>,
    stats: Arc<Mutex<ClientStats>>,
    inboxes: BTreeMap<StreamId, Feed>,
    blocked: BTreeMap<StreamId, Blocked>,
    waiting: VecDeque<(Recipient, Box<Ask>)>,
    built: (mpsc::Sender<Done>, mpsc::Receiver<Done>),
    out: mpsc::Sender<Box<Packet>>,
    /// For reconnecting to the guard.
    guard: (Arc<Finder>, NodeId, mpsc::WeakSender<Message>),
}

impl Io for Task {
    type Machine = MixRequester;

    fn machine(&mut self) -> &mut MixRequester {
        &mut self.asker
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn transmit(&mut self, transmit: ClientTransmit) {
        match transmit {
            ClientTransmit::Build(work) => {
                let built = self.built.0.clone();
                tokio::task::spawn_blocking(move || {
                    // A task that has ended needs no packets.
                    let _ = built.blocking_send(work.run());
                });
            }
            ClientTransmit::Packet(packet) => {
                // A packet without room is lost, and retransmitted like any other.
                let _ = self.out.try_send(packet);
            }
        }
    }

    fn event(&mut self, event: MixEvent) {
        self.told(event);
    }

    /// Begins waiting requests while there is room for exchanges.
    fn take(&mut self) -> bool {
        let mut began = false;
        while let Some((to, ask)) = self.waiting.pop_front() {
            if let Err(ask) = self.ask(to, ask) {
                self.waiting.push_front((to, ask));
                break;
            }
            began = true;
        }
        began
    }
}

impl Task {
    pub(super) fn new(
        asker: MixRequester,
        clock: Clock,
        loops_file: Option<PathBuf>,
        stats: Arc<Mutex<ClientStats>>,
        guard: (Arc<Finder>, NodeId, mpsc::WeakSender<Message>),
    ) -> Self {
        Self {
            asker,
            clock,
            loops_file,
            stats,
            inboxes: BTreeMap::new(),
            blocked: BTreeMap::new(),
            waiting: VecDeque::new(),
            built: mpsc::channel(16),
            out: mpsc::channel(1).0,
            guard,
        }
    }

    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut packets: mpsc::Receiver<Box<Packet>>,
        (mut session, stream): (SessionHandle, Substream),
    ) {
        let mut writer;
        (self.out, writer) = write_to(stream);
        let mut over = Box::pin(session.over());
        let mut alone = false;
        let mut stop: Option<Time> = None;
        loop {
            let next = drive(&mut self);
            let stats = *self.asker.stats();
            let before = std::mem::replace(&mut *lock(&self.stats), stats);
            if before.untold != stats.untold {
                tracing::debug!(untold = stats.untold, "loops found no room to be told of");
            }
            if stop.is_some_and(|at| self.asker.is_idle() || at <= self.clock.now().mono) {
                break;
            }
            let at = self.clock.again(next);
            let at = stop.map_or(at, |stop| at.min(self.clock.instant(stop)));
            tokio::select! {
                message = messages.recv(), if stop.is_none() => match message {
                    // Still acknowledge the answer's end to the gateway, which would otherwise repeat it.
                    None | Some(Message::Stop) => {
                        stop = Some(self.clock.now().mono + LAST_WORDS);
                    }
                    Some(Message::Guard(again)) => {
                        let (other, stream, key) = *again;
                        self.command(MixCommand::Session(key));
                        (self.out, writer) = write_to(stream);
                        over = Box::pin(other.over());
                        alone = false;
                        session = other;
                    }
                    Some(Message::Op(op)) => self.operate(op.0, op.1),
                    Some(Message::Topology(topology)) => {
                        self.command(MixCommand::Topology(topology));
                    }
                    Some(Message::Recipient(to)) => self.command(MixCommand::Recipient(to)),
                },
                () = &mut over, if !alone => {
                    alone = true;
                    let (finder, guard, messages) = self.guard.clone();
                    tokio::spawn(enter_again(finder, guard, messages));
                }
                Some(packet) = packets.recv() => {
                    // This is refused only while queues are full, which are emptied below. The effect is that of a lost packet.
                    let _ = self.asker.handle_input(self.clock.now(), ClientInput::Packet(packet));
                }
                Some(done) = self.built.1.recv() => {
                    let _ = self.asker.handle_input(self.clock.now(), ClientInput::Built(done));
                }
                () = tokio::time::sleep_until(at) => {}
            }
        }
        drop(self);
        // Do not wait for a guard that takes nothing.
        let _ = timeout(LAST_WORDS, writer).await;
        session.close().await;
    }

    fn command(&mut self, command: MixCommand) {
        if let Err(error) = self.asker.handle_command(self.clock.now(), command) {
            tracing::debug!(%error, "the mix's client refuses");
        }
    }

    fn told(&mut self, event: MixEvent) {
        match event {
            MixEvent::Head { stream, response } => {
                if let Some(inbox) = self.inboxes.get(&stream) {
                    inbox.head(response);
                }
            }
            MixEvent::Body { stream, data } => {
                if let Some(inbox) = self.inboxes.get(&stream) {
                    inbox.body(data);
                }
            }
            MixEvent::End { stream } => {
                self.blocked.remove(&stream);
                if let Some(inbox) = self.inboxes.remove(&stream) {
                    inbox.end(Ok(()));
                }
            }
            MixEvent::Failed {
                stream,
                why,
                delivered,
            } => {
                self.blocked.remove(&stream);
                if let Some(inbox) = self.inboxes.remove(&stream) {
                    inbox.end(Err(ExchangeError::Mix { why, delivered }));
                }
            }
            MixEvent::Writable { stream } => {
                if let Some(Blocked { data, fin, done }) = self.blocked.remove(&stream) {
                    self.send(stream, data, fin, done);
                }
            }
            MixEvent::Looped(looped) => self.looped(&looped),
            MixEvent::LoopLost => tracing::info!("a loop did not come back"),
        }
    }

    /// Begins an exchange, or returns the request to be retried.
    fn ask(&mut self, to: Recipient, ask: Box<Ask>) -> Result<(), Box<Ask>> {
        if ask.reply.is_closed() {
            return Ok(());
        }
        let command = MixCommand::Ask {
            to,
            request: ask.request.clone(),
            more: ask.more,
        };
        match self.asker.handle_command(self.clock.now(), command) {
            Ok(opened) => {
                let Some(stream) = opened else {
                    return Ok(());
                };
                let inbox = Inbox::default();
                self.inboxes.insert(stream, Feed::new(inbox.clone()));
                let Ask {
                    more, ops, reply, ..
                } = *ask;
                let _ = reply.send(Ok(Body::new(stream, inbox, ops, more)));
            }
            Err(error) if error.kind() == Kind::NotNow => return Err(ask),
            Err(error) => drop(ask.reply.send(Err(Error::Asked(error)))),
        }
        Ok(())
    }

    fn operate(&mut self, to: Recipient, op: Op) {
        match op {
            // Keep the order: a later operation may free a place.
            Op::Ask(ask) if self.waiting.len() < WAITING => self.waiting.push_back((to, ask)),
            Op::Ask(ask) => {
                let error = MixError::Client(ClientError::Exchanges);
                drop(ask.reply.send(Err(Error::Asked(error))));
            }
            Op::Send {
                stream,
                data,
                fin,
                done,
            } => self.send(stream, data, fin, done),
            Op::Consume { stream, bytes } => {
                self.asker.consume(self.clock.now(), stream, bytes);
            }
            Op::Abort { stream, .. } => {
                self.inboxes.remove(&stream);
                self.blocked.remove(&stream);
                self.asker.abort(self.clock.now(), stream);
            }
            // These require a session end to end, which does not exist here. Dropping them notifies anyone who waits.
            Op::Open(_)
            | Op::PathControl(_)
            | Op::Ping(_)
            | Op::Rekey
            | Op::Facts(_)
            | Op::LotteryKey(_)
            | Op::EndsIdle(_)
            | Op::Shutdown
            | Op::Finish
            | Op::Answer(_)
            | Op::Close => {}
        }
    }

    fn send(
        &mut self,
        stream: StreamId,
        mut data: Bytes,
        fin: bool,
        done: oneshot::Sender<Result<(), Error>>,
    ) {
        loop {
            let part = data.split_to(data.len().min(SEND));
            let last = data.is_empty();
            let command = MixCommand::Send {
                stream,
                data: part.clone(),
                fin: fin && last,
            };
            match self.asker.handle_command(self.clock.now(), command) {
                Ok(_) if last => {
                    let _ = done.send(Ok(()));
                    return;
                }
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotNow => {
                    let mut rest = BytesMut::from(&part[..]);
                    rest.extend_from_slice(&data);
                    let data = rest.freeze();
                    self.blocked.insert(stream, Blocked { data, fin, done });
                    return;
                }
                Err(error) => {
                    let _ = done.send(Err(Error::Asked(error)));
                    return;
                }
            }
        }
    }

    /// Records a loop, for an audit after its epoch.
    fn looped(&self, looped: &Looped) {
        let Some(path) = &self.loops_file else { return };
        let hops: Vec<serde_json::Value> = looped
            .hops
            .iter()
            .map(|hop| {
                let (by, ms) = match hop.delay {
                    Delay::Chosen(ms) => ("client", ms),
                    Delay::Sampled(ms) => ("relay", ms),
                };
                serde_json::json!({
                    "node": Name::from(hop.node).to_string(),
                    "tag": text::hex(&hop.tag),
                    "delay_by": by,
                    "ms": ms,
                })
            })
            .collect();
        let line = serde_json::json!({
            "epoch": looped.epoch,
            "took_ms": looped.took.as_secs_f64() * 1000.0,
            "hops": hops,
        });
        let noted = append(path, &format!("{line}\n"));
        if let Err(error) = noted {
            tracing::warn!(%error, path = %path.display(), "a loop is not noted");
        }
    }
}

/// Appends to a file that only its owner may read.
fn append(path: &std::path::Path, line: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).append(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())
}

/// Writes packets to the guard's stream, in batches when several are queued.
fn write_to(mut stream: Substream) -> (mpsc::Sender<Box<Packet>>, JoinHandle<()>) {
    let (out, mut packets) = mpsc::channel::<Box<Packet>>(OUT);
    let writer = tokio::spawn(async move {
        let mut batch = Vec::with_capacity(TOGETHER);
        while packets.recv_many(&mut batch, TOGETHER).await > 0 {
            let mut bytes = BytesMut::with_capacity(batch.len() * PACKET);
            for packet in batch.drain(..) {
                bytes.extend_from_slice(&packet.0);
            }
            if stream.write(bytes.freeze()).await.is_err() {
                return;
            }
        }
    });
    (out, writer)
}

/// Opens a new session with the guard after one has ended.
async fn enter_again(finder: Arc<Finder>, guard: NodeId, messages: mpsc::WeakSender<Message>) {
    let mut rest = Duration::from_millis(500);
    loop {
        let entered = finder.enter(guard).await;
        let Some(messages) = messages.upgrade() else {
            return;
        };
        match entered {
            Ok((session, stream, _)) => {
                if let Ok(key) = session.lottery_key().await {
                    // A task that has ended needs no session.
                    let _ = messages
                        .send(Message::Guard(Box::new((session, stream, key))))
                        .await;
                    return;
                }
            }
            Err(error) => tracing::warn!(%error, "packets wait for the guard"),
        }
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(RENEW);
    }
}

/// Loads the relays of each new epoch, and new keys of relays and gateways.
pub(super) async fn watch(
    finder: Arc<Finder>,
    (guard, relays): (NodeId, usize),
    recipients: Arc<Mutex<BTreeMap<NodeId, Recipient>>>,
    messages: mpsc::WeakSender<Message>,
    mut chart: Chart,
) {
    loop {
        let now = finder.clock.now().unix_ms;
        let next = epoch_start(chart.topology.epoch().saturating_add(1));
        // Wait a few seconds into the epoch, so that its directory is available.
        let wait = Duration::from_millis(next.saturating_sub(now)) + Duration::from_secs(5);
        tokio::time::sleep(wait.min(RENEW)).await;
        let Some(messages) = messages.upgrade() else {
            return;
        };
        let renewed = if epoch_at(finder.clock.now().unix_ms) > chart.topology.epoch() {
            match finder.chart(relays).await {
                Ok(fresh) => {
                    chart = fresh;
                    if chart.topology.find(guard).is_none() {
                        tracing::warn!(guard = %Name::from(guard), "the guard is not in the new directory");
                    }
                    let known: Vec<NodeId> = lock(&recipients).keys().copied().collect();
                    for node in known {
                        // Its record is known from here on.
                        finder.mesh.record(node).await;
                    }
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, "the new epoch's relays are not known yet");
                    continue;
                }
            }
        } else {
            chart.renew(&finder.mesh.records().await)
        };
        if renewed {
            let topology = chart.topology.clone();
            if messages.send(Message::Topology(topology)).await.is_err() {
                return;
            }
        }
        for record in finder.mesh.records().await {
            let Some((_, to)) = recipient_of(&record, chart.topology.epoch()) else {
                continue;
            };
            let changed = match lock(&recipients).get_mut(&to.node) {
                Some(known) => std::mem::replace(known, to) != to,
                None => false,
            };
            if changed && messages.send(Message::Recipient(to)).await.is_err() {
                return;
            }
        }
    }
}
