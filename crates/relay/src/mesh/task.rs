//! The task of a mesh. It owns the state machine, its sessions and its exchanges.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_dial::{Node, on_disk};
use betanet_keys::{Name, Peer, PublicKey};
use betanet_machine::{Io, Machine as _, Now, Time, drive};
use betanet_mesh::{
    Addr, Command, DialId, Event, ExchangeId, Host, Input, PEERS_EXCHANGES, Record, Setup, Transmit,
};
use betanet_session::ops::RawStream;
use betanet_session::{Clock, SessionHandle, seed};
use betanet_stack::{Node as Control, NodeCommand, NodeEvent, NodeInput};
use betanet_store::Storage;
use betanet_wire::NodeId;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::exchange::{Out, ended, run_exchange};
use super::{Elsewhere, Message, TWO_NODES, saved, target};
use crate::Error;
use crate::view::View;

/// Time limit of a dial.
const DIAL: Duration = Duration::from_secs(15);
/// Time limit of the PING that measures a new session.
const PING: Duration = Duration::from_secs(5);
/// Time for which a measurement is kept for a peer whose record has not arrived yet.
const MEASURED_FOR: Duration = Duration::from_secs(60);

pub(super) struct Task {
    control: Control,
    clock: Clock,
    node: Arc<Node>,
    inbox: mpsc::WeakSender<Message>,
    links: BTreeMap<DialId, SessionHandle>,
    /// Destinations of the dials in progress.
    nodes: BTreeMap<DialId, NodeId>,
    exchanges: BTreeMap<ExchangeId, mpsc::Sender<Out>>,
    /// Round-trip times of sessions with peers that are not known yet, and when they were measured.
    measured: BTreeMap<NodeId, (Time, Duration)>,
    finding: BTreeMap<NodeId, Vec<oneshot::Sender<Option<Record>>>>,
    choosing: Vec<(NodeId, oneshot::Sender<Vec<Vec<Record>>>)>,
    next: ExchangeId,
    /// Number of inputs refused by the mesh's queues, at the last check.
    refused: u64,
    state: Option<Arc<dyn Storage>>,
    /// Another node with this node's key, until this node issues a later record.
    pub(super) elsewhere: Arc<Mutex<Option<Elsewhere>>>,
}

impl Io for Task {
    type Machine = Control;

    fn machine(&mut self) -> &mut Control {
        &mut self.control
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.perform(transmit);
    }

    fn event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Mesh(event) => self.told(event),
            NodeEvent::Ways { exit, ways } => self.chosen(exit, &ways),
        }
    }
}

impl Task {
    /// Creates the task. Persistent data is in `state`.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`].
    pub(super) fn new(
        node: Arc<Node>,
        setup: Setup,
        state: Option<Arc<dyn Storage>>,
        inbox: mpsc::WeakSender<Message>,
    ) -> Result<Self, Error> {
        let clock = Clock::start();
        Ok(Self {
            control: Control::new(clock.now(), setup, &seed()?),
            clock,
            node,
            inbox,
            links: BTreeMap::new(),
            nodes: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            measured: BTreeMap::new(),
            finding: BTreeMap::new(),
            choosing: Vec::new(),
            next: PEERS_EXCHANGES,
            refused: 0,
            state,
            elsewhere: Arc::default(),
        })
    }

    /// Runs until it is stopped, or has no users left.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            let at = self.clock.again(drive(&mut self));
            self.look_at_queues();
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Stop) | None => break,
                    Some(message) => self.message(message),
                },
                () = tokio::time::sleep_until(at) => {}
            }
        }
        let links = std::mem::take(&mut self.links).into_values();
        let closing = links.map(|handle| async move { handle.close().await });
        futures_util::future::join_all(closing).await;
    }

    /// Logs when the mesh's queues have refused something.
    fn look_at_queues(&mut self) {
        let stats = self.control.mesh().stats();
        let refused = stats.untold + stats.unsent;
        if std::mem::replace(&mut self.refused, refused) != refused {
            tracing::warn!(refused, "the mesh has more to say than its queues take");
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.clock.now();
        // The mesh refuses no input.
        let _ = self.control.handle_input(now, NodeInput::Mesh(input));
    }

    fn message(&mut self, message: Message) {
        let now = self.clock.now();
        match message {
            Message::Input(input) => {
                match &input {
                    Input::Ended { exchange } => {
                        self.exchanges.remove(exchange);
                    }
                    Input::Lost { link } => {
                        self.links.remove(link);
                    }
                    Input::Failed { dial } => {
                        if let Some(node) = self.nodes.remove(dial) {
                            let _ = self.control.handle_input(now, NodeInput::TimedOut(node));
                        }
                    }
                    _ => {}
                }
                self.input(input);
            }
            Message::Reached {
                dial,
                ip,
                handle,
                rtt,
            } => {
                self.watch(dial, &handle);
                self.links.insert(dial, *handle);
                self.input(Input::Reached { dial, ip });
                if let (Some(node), Some(rtt)) = (self.nodes.remove(&dial), rtt) {
                    self.measured.insert(node, (now.mono, rtt));
                    let _ = self
                        .control
                        .handle_input(now, NodeInput::Answered { node, rtt });
                }
            }
            Message::Opened {
                kind,
                peer,
                from,
                stream,
            } => {
                self.next += 1;
                let exchange = self.next;
                self.exchanges
                    .insert(exchange, self.carry(exchange, stream));
                self.input(Input::Opened {
                    exchange,
                    kind,
                    peer,
                    from,
                });
            }
            Message::Find { node, reply } => {
                self.finding.entry(node).or_default().push(reply);
                let lookup = NodeCommand::Mesh(Command::Lookup(node));
                if self.control.handle_command(now, lookup).is_err() {
                    self.found(node, None);
                }
            }
            Message::Congestion(node, cf) => {
                let _ = self
                    .control
                    .handle_input(now, NodeInput::Congestion(node, cf));
            }
            Message::Ways {
                exit,
                nodes,
                not,
                reply,
            } => {
                let ways = NodeCommand::Ways { exit, nodes, not };
                self.choosing.push((exit, reply));
                if self.control.handle_command(now, ways).is_err() {
                    self.choosing.pop();
                }
            }
            Message::Announce(draft) => {
                let announce = NodeCommand::Mesh(Command::Announce(Some(*draft)));
                // The mesh refuses no draft.
                let _ = self.control.handle_command(now, announce);
            }
            Message::Bootstrap(seeds) => {
                let bootstrap = NodeCommand::Mesh(Command::Bootstrap(seeds));
                // A mesh with full queues is told again in an hour.
                let _ = self.control.handle_command(now, bootstrap);
            }
            Message::View(reply) => {
                let _ = reply.send(View::of(&self.control));
            }
            Message::Known(node, reply) => {
                let known = self.control.mesh().table().get(node);
                let _ = reply.send(known.map(|e| e.record().clone()));
            }
            Message::Tested(node, reply) => {
                let entry = self.control.mesh().table().get(node);
                let tested = entry.filter(|e| e.tested().is_some());
                let _ = reply.send(tested.map(|e| e.record().clone()));
            }
            Message::Records(reply) => {
                let table = self.control.mesh().table();
                let _ = reply.send(table.iter().map(|e| e.record().clone()).collect());
            }
            Message::Stop => {}
            Message::Down(node) => {
                let _ = self.control.handle_input(now, NodeInput::Down(node));
            }
        }
    }

    fn found(&mut self, node: NodeId, record: Option<&Record>) {
        for reply in self.finding.remove(&node).unwrap_or_default() {
            let _ = reply.send(record.cloned());
        }
    }

    fn chosen(&mut self, exit: NodeId, ways: &[Vec<NodeId>]) {
        let table = self.control.mesh().table();
        let record = |n: &NodeId| table.get(*n).map(|e| e.record().clone());
        let known = |way: &Vec<NodeId>| way.iter().map(record).collect();
        let records = ways.iter().filter_map(known).collect();
        if let Some(i) = self.choosing.iter().position(|(e, _)| *e == exit) {
            let _ = self.choosing.remove(i).1.send(records);
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Found(record) => self.found(record.node(), Some(&record)),
            Event::NotFound(node) => self.found(node, None),
            Event::Elsewhere(record) => self.seen_elsewhere(&record),
            Event::Save(news) => {
                let mut seen = self
                    .elsewhere
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                if seen.as_ref().is_some_and(|e| e.seq < news.seq) {
                    *seen = None;
                }
                drop(seen);
                if let Some(state) = &self.state
                    && let Err(error) = on_disk(|| saved::save(&**state, &news))
                {
                    tracing::warn!(%error, "what is known of the mesh is not kept");
                }
            }
            Event::Excluded(node) => {
                tracing::warn!(peer = %Name::from(node), "a peer says two things under one number: excluded");
            }
            Event::Tested { record, ip } => {
                tracing::debug!(peer = %Name::from(record.node()), %ip, "peer reached");
                // A seed is reached before its record is known.
                let now = self.clock.now();
                self.measured
                    .retain(|_, (at, _)| *at + MEASURED_FOR > now.mono);
                let node = record.node();
                if let Some((_, rtt)) = self.measured.remove(&node) {
                    let _ = self
                        .control
                        .handle_input(now, NodeInput::Answered { node, rtt });
                }
            }
            Event::Gone(node) => tracing::debug!(peer = %Name::from(node), "peer forgotten"),
            Event::Changed(_) => {}
        }
    }

    /// Records that another node announces this node's key. Logs each place once.
    fn seen_elsewhere(&self, record: &Record) {
        let addrs: Vec<String> = record.addrs().iter().map(ToString::to_string).collect();
        let news = Elsewhere {
            seq: record.seq(),
            exp: record.exp(),
            addrs: addrs.join(" "),
        };
        let mut seen = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if seen.as_ref().is_none_or(|e| e.addrs != news.addrs) {
            tracing::warn!(addrs = %news.addrs, "a second node announces this node's key: {TWO_NODES}");
        }
        *seen = Some(news);
    }

    /// Spawns work that ends with a message to this task. If the work panics, the message is `or`.
    fn spawn(&self, or: Input, work: impl Future<Output = Message> + Send + 'static) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let worked = AssertUnwindSafe(work).catch_unwind().await;
            let message = worked.unwrap_or(Message::Input(or));
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(message).await;
            }
        });
    }

    fn perform(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Resolve { dial, name } => self.spawn(Input::Failed { dial }, async move {
                let found = tokio::net::lookup_host((name, 0)).await;
                let ips = found
                    .map(|all| all.map(|a| a.ip()).collect())
                    .unwrap_or_default();
                Message::Input(Input::Resolved { dial, ips })
            }),
            Transmit::Dial {
                dial,
                key,
                pin,
                addr,
                ip,
            } => self.dial(dial, &key, pin, &addr, ip),
            Transmit::Open {
                exchange,
                link,
                kind,
                data,
                fin,
            } => match self.links.get(&link) {
                Some(handle) => {
                    let handle = handle.clone();
                    self.open(exchange, handle, kind, data, fin);
                }
                None => self.input(Input::Ended { exchange }),
            },
            Transmit::Send {
                exchange,
                data,
                fin,
            } => self.tell(exchange, Out::Data(data, fin)),
            Transmit::Abort { exchange, code } => {
                self.tell(exchange, Out::Abort(code));
                self.exchanges.remove(&exchange);
            }
            Transmit::Hang { link } => {
                if let Some(handle) = self.links.remove(&link) {
                    tokio::spawn(async move { handle.close().await });
                }
            }
            Transmit::Check(work) => {
                let inbox = self.inbox.clone();
                tokio::task::spawn_blocking(move || {
                    let done = work.run();
                    if let Some(inbox) = inbox.upgrade() {
                        let _ = inbox.blocking_send(Message::Input(Input::Checked(done)));
                    }
                });
            }
        }
    }

    fn dial(
        &mut self,
        dial: DialId,
        key: &[u8; 32],
        pin: Option<[u8; 32]>,
        addr: &Addr,
        ip: Option<IpAddr>,
    ) {
        let ip = ip.or(match addr.host {
            Host::Ip(ip) => Some(ip),
            Host::Dns(_) => None,
        });
        let (Ok(key), Some(ip)) = (PublicKey::from_bytes(key), ip) else {
            return self.input(Input::Failed { dial });
        };
        self.nodes.insert(dial, key.node_id());
        let addrs = vec![target(addr)];
        let peer = Peer { key, addrs, pin };
        let node = Arc::clone(&self.node);
        self.spawn(Input::Failed { dial }, async move {
            match timeout(DIAL, node.connect_ip(&peer, ip)).await {
                Ok(Ok(handle)) => {
                    let rtt = timeout(PING, handle.ping()).await.ok().and_then(Result::ok);
                    Message::Reached {
                        dial,
                        ip,
                        handle: Box::new(handle),
                        rtt,
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a peer of the mesh is not reached");
                    Message::Input(Input::Failed { dial })
                }
                Err(_) => Message::Input(Input::Failed { dial }),
            }
        });
    }

    /// Reports when a link's session is over.
    fn watch(&self, link: DialId, handle: &SessionHandle) {
        let over = handle.over();
        self.spawn(Input::Lost { link }, async move {
            over.await;
            Message::Input(Input::Lost { link })
        });
    }

    fn open(
        &mut self,
        exchange: ExchangeId,
        handle: SessionHandle,
        kind: u8,
        data: Bytes,
        fin: bool,
    ) {
        let inbox = self.inbox.clone();
        let (sender, out) = mpsc::channel(8);
        self.exchanges.insert(exchange, sender);
        tokio::spawn(async move {
            match handle.open_raw(kind, data).await {
                Ok(stream) => run_exchange(exchange, stream, out, inbox, fin).await,
                Err(_) => ended(&inbox, exchange).await,
            }
        });
    }

    /// Runs an exchange that a peer began.
    fn carry(&self, exchange: ExchangeId, stream: RawStream) -> mpsc::Sender<Out> {
        let (sender, out) = mpsc::channel(8);
        tokio::spawn(run_exchange(
            exchange,
            stream,
            out,
            self.inbox.clone(),
            false,
        ));
        sender
    }

    fn tell(&mut self, exchange: ExchangeId, out: Out) {
        // A task that has ended has reported it.
        if let Some(sender) = self.exchanges.get(&exchange) {
            let _ = sender.try_send(out);
        }
    }
}
