//! One task a client of the mix: its machine between the guard's stream and the users' sessions.

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
use betanet_session::{Error, Feed, Inbox, Substream};
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
use crate::{Body, Clock, ExchangeError, SessionHandle};

/// Packets that wait for the guard's stream.
const OUT: usize = 1024;
/// Bytes of a request that the machine is given at once.
const SEND: usize = 32 << 10;
/// Requests that wait for a place; those beyond are refused.
const WAITING: usize = 256;
/// What it gets to say its last words.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How often keys, and after its epoch's begin a directory, are looked for.
const RENEW: Duration = Duration::from_secs(30);

/// For the task.
pub(super) enum Message {
    /// What a session's user asks.
    Op(Box<(Recipient, Op)>),
    /// Another epoch's relays.
    Topology(Topology),
    /// A gateway's key of another epoch.
    Recipient(Recipient),
    /// Another session with the guard.
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
    /// Finds the guard again.
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
                    // A task that is gone needs no packets.
                    let _ = built.blocking_send(work.run());
                });
            }
            ClientTransmit::Packet(packet) => {
                // One that finds no room is lost, and sent again like any other.
                let _ = self.out.try_send(packet);
            }
        }
    }

    fn event(&mut self, event: MixEvent) {
        self.told(event);
    }

    /// Requests that waited until there is room for one more exchange.
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
                    // The gateway is still told that its answer is whole: else it would repeat the end of it.
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
                    // Refused only while much waits, which is taken below: like a packet lost on the way.
                    let _ = self.asker.handle_input(self.clock.now(), ClientInput::Packet(packet));
                }
                Some(done) = self.built.1.recv() => {
                    let _ = self.asker.handle_input(self.clock.now(), ClientInput::Built(done));
                }
                () = tokio::time::sleep_until(at) => {}
            }
        }
        drop(self);
        // A guard that takes nothing is not waited for.
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

    /// Begins an exchange, or gives the request back for later.
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
            // In their turn: what comes behind may be what makes a place for one.
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
            // There is no session end to end that they could be for: whoever waits for an answer is told by the drop.
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

    /// Notes a loop, for an audit after its epoch.
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

/// Writes packets to the guard's stream, several at once where they come so.
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

/// Opens another session with the guard, where one ended.
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
                    // A task that is gone needs no session.
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

/// Takes up the relays of each new epoch, and the keys that relays and gateways publish.
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
        // A few seconds into the epoch, so that its directory is there.
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
                        // It is among those that are known from here on.
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
