//! The control plane of a running node: one task that drives `stack::Node` over real sessions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_machine::{Machine as _, Time};
use betanet_mesh::{
    Addr, Carriage, Command, DialId, Draft, Event, ExchangeId, Host, Input, PEERS_EXCHANGES,
    Record, Saved, SeedPeer, Setup, Transmit,
};
use betanet_path::Cf;
use betanet_stack::{Node as Control, NodeCommand, NodeEvent, NodeInput};
use betanet_wire::{Code, NodeId, text};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::forward::RawStream;
use crate::node::QUIC;
use crate::view::{PeerInfo, View};
use crate::{Clock, Error, Network, Node, SessionHandle, seed};

/// Messages that wait for the task.
const INBOX: usize = 1024;
/// A dial of the mesh takes no longer.
const DIAL: Duration = Duration::from_secs(15);
/// The PING that measures a new session takes no longer.
const PING: Duration = Duration::from_secs(5);

/// How long a measurement is kept for a peer whose record is still to come.
const MEASURED_FOR: Duration = Duration::from_secs(60);
/// Links of a client.
const CLIENT_LINKS: usize = 4;
/// After this it makes do with what it has found.
const SETTLE: Duration = Duration::from_secs(4);
/// Between the first two lookups of one peer, doubled each time.
const FIND_AGAIN: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

enum Message {
    Input(Input),
    Reached {
        dial: DialId,
        ip: IpAddr,
        handle: Box<SessionHandle>,
        rtt: Option<Duration>,
    },
    Opened {
        kind: u8,
        peer: NodeId,
        from: Option<IpAddr>,
        stream: RawStream,
    },
    Find {
        node: NodeId,
        reply: oneshot::Sender<Option<Record>>,
    },
    Ways {
        exit: NodeId,
        nodes: usize,
        not: Vec<NodeId>,
        reply: oneshot::Sender<Vec<Vec<Record>>>,
    },
    Congestion(NodeId, Cf),
    Announce(Box<Draft>),
    View(oneshot::Sender<View>),
    Records(oneshot::Sender<Vec<Record>>),
    Known(NodeId, oneshot::Sender<Option<Record>>),
    Down(NodeId),
    Stop,
}

/// What an exchange's task is told to send.
enum Out {
    Data(Bytes, bool),
    Abort(Code),
}

/// A running mesh. Clones share it; with the last one it ends.
#[derive(Clone, Debug)]
pub struct Mesh {
    inbox: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// The address that is dialled for a multiaddr.
fn target(addr: &Addr) -> String {
    let at = match &addr.host {
        Host::Ip(IpAddr::V4(ip)) => format!("{ip}:{}", addr.port),
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", addr.port),
        Host::Dns(name) => format!("{name}:{}", addr.port),
    };
    match addr.carriage {
        Carriage::Tls(_) => at,
        Carriage::Quic => format!("{QUIC}{at}"),
    }
}

/// The multiaddr of a `host:port`, or of a `quic:host:port`.
pub(crate) fn multiaddr(address: &str) -> Option<Addr> {
    let (address, quic) = match address.strip_prefix(QUIC) {
        Some(address) => (address, true),
        None => (address, false),
    };
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|p| *p != 0)?;
    let place = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => return None,
        Ok(IpAddr::V4(ip)) => format!("/ip4/{ip}"),
        Ok(IpAddr::V6(ip)) => format!("/ip6/{ip}"),
        Err(_) if quic => format!("/dns4/{host}"),
        Err(_) => {
            return format!("/dns4/{host}/tcp/{port}/tls/sni/{host}")
                .parse()
                .ok();
        }
    };
    let text = if quic {
        format!("{place}/udp/{port}/quic-v1")
    } else {
        format!("{place}/tcp/{port}/tls")
    };
    text.parse().ok()
}

/// How a seed is dialled.
pub(crate) fn peer_of_seed(seed: &SeedPeer) -> Peer {
    Peer {
        key: seed.key,
        addrs: seed.addrs.iter().map(target).collect(),
        pin: seed.pin,
    }
}

/// What a peer's record says of how it is dialled.
pub(crate) fn peer_of(record: &Record) -> Option<Peer> {
    let addrs: Vec<String> = record.addrs().iter().map(target).collect();
    Some(Peer {
        key: PublicKey::from_bytes(&record.key()).ok()?,
        pin: record.pin(),
        addrs: (!addrs.is_empty()).then_some(addrs)?,
    })
}

impl Mesh {
    /// Begins: dials with `node`, and announces `draft` where the node listens. What is to be kept stands in `state`.
    ///
    /// # Errors
    ///
    /// [`Error::Entropy`].
    pub fn start(
        node: Arc<Node>,
        network: &Network,
        identity: Identity,
        draft: Option<Draft>,
        banned: Vec<NodeId>,
        state: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let (inbox, messages) = mpsc::channel(INBOX);
        let clock = Clock::start();
        let setup = Setup {
            identity,
            draft,
            seeds: network.seeds.clone(),
            policy: network.policy.clone(),
            saved: state.as_deref().map(load).unwrap_or_default(),
            banned: network.banned.iter().copied().chain(banned).collect(),
        };
        let task = Task {
            control: Control::new(clock.now(), setup, &seed()?),
            clock,
            node,
            inbox: inbox.downgrade(),
            links: BTreeMap::new(),
            nodes: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            measured: BTreeMap::new(),
            finding: BTreeMap::new(),
            choosing: Vec::new(),
            next: PEERS_EXCHANGES,
            state,
        };
        let dialling = Arc::clone(&task.node);
        tokio::spawn(task.run(messages));
        let mesh = Self { inbox };
        dialling.reports_to(mesh.reports());
        Ok(mesh)
    }

    /// Begins for a client, which nobody dials and which keeps nothing: few links, and a name that it shows to nobody.
    ///
    /// # Errors
    ///
    /// [`Error::Entropy`].
    pub fn client(node: Arc<Node>, network: &Network) -> Result<Self, Error> {
        let mut network = network.clone();
        network.policy.links = network.policy.links.min(CLIENT_LINKS);
        let identity = crate::files::fresh_identity()?;
        Self::start(node, &network, identity, None, Vec::new(), None)
    }

    /// Finds a peer and up to three ways to it over `nodes - 1` relays each that are not in `not`, while the network is still
    /// being joined. No two ways share a relay; the last node of each is the peer. One way at least.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::NoRelays`], once `patience` is over.
    pub async fn ways_to(
        &self,
        name: Name,
        nodes: usize,
        not: &[NodeId],
        patience: Duration,
    ) -> Result<Vec<Vec<Peer>>, Error> {
        let clock = Clock::start();
        let exit = name.node_id();
        let mut found = false;
        let mut next_find = Duration::ZERO;
        let mut wait = FIND_AGAIN;
        loop {
            if !found && clock.elapsed() >= next_find {
                let left = patience.saturating_sub(clock.elapsed());
                found = matches!(timeout(left, self.find(exit)).await, Ok(Some(_)));
                // Peers answer a few questions a minute of one asker.
                next_find = clock.elapsed() + wait;
                wait *= 2;
            }
            let known = self.relays().await;
            let waited = clock.elapsed();
            // With few to choose from, the first one reached would be on every path.
            let enough = known >= 2 * nodes || waited >= SETTLE || nodes == 1;
            if found && enough {
                let ways = self.ways(exit, nodes, not).await;
                if !ways.is_empty() {
                    return Ok(ways);
                }
            }
            if waited >= patience {
                let relays = nodes.saturating_sub(1);
                return Err(if found {
                    Error::NoRelays {
                        to: name,
                        relays,
                        known,
                    }
                } else {
                    Error::Unknown(name)
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Relays that were reached.
    async fn relays(&self) -> usize {
        let view = self.view().await;
        let relay = |p: &&PeerInfo| {
            p.reached.is_some() && (p.roles.contains(&"entry") || p.roles.contains(&"core"))
        };
        view.map_or(0, |v| v.peers.iter().filter(relay).count())
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(make(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Finds a peer: in the table, or by asking those near it. `None` when nobody reachable knows it.
    pub async fn find(&self, node: NodeId) -> Option<Peer> {
        peer_of(&self.record(node).await?)
    }

    /// Finds a peer's record, as [`Mesh::find`] does.
    pub(crate) async fn record(&self, node: NodeId) -> Option<Record> {
        self.ask(|reply| Message::Find { node, reply }).await?
    }

    /// A peer that is known, without asking others.
    pub(crate) async fn known(&self, node: NodeId) -> Option<Peer> {
        peer_of(&self.ask(|reply| Message::Known(node, reply)).await??)
    }

    /// The records of all peers that are known.
    pub(crate) async fn records(&self) -> Vec<Record> {
        self.ask(Message::Records).await.unwrap_or_default()
    }

    /// Says something else of this node from now on.
    pub(crate) async fn announce(&self, draft: Draft) {
        // A mesh that is over announces nothing.
        let _ = self.inbox.send(Message::Announce(Box::new(draft))).await;
    }

    /// Chooses the nodes of up to three paths to `exit`, without those in `not`. None while too few relays are known and
    /// healthy.
    pub async fn ways(&self, exit: NodeId, nodes: usize, not: &[NodeId]) -> Vec<Vec<Peer>> {
        let not = not.to_vec();
        let ways = self.ask(|reply| Message::Ways {
            exit,
            nodes,
            not,
            reply,
        });
        let peers = |way: &Vec<Record>| way.iter().map(peer_of).collect();
        let ways = ways.await.unwrap_or_default();
        ways.iter().filter_map(peers).collect()
    }

    /// What takes reports on peers to the mesh, without keeping it running.
    pub(crate) fn reports(&self) -> Reports {
        Reports(self.inbox.downgrade())
    }

    /// What is known.
    pub async fn view(&self) -> Option<View> {
        self.ask(Message::View).await
    }

    /// A peer is down, as a path over it showed.
    pub async fn down(&self, node: NodeId) {
        // A mesh that is over learns nothing more.
        let _ = self.inbox.send(Message::Down(node)).await;
    }

    /// Closes its links, and ends.
    pub async fn stop(&self) {
        // One that is over has closed them.
        let _ = self.inbox.send(Message::Stop).await;
        self.inbox.closed().await;
    }

    /// A peer opened a stream of the mesh.
    pub(crate) fn opened(&self, kind: u8, peer: NodeId, from: Option<IpAddr>, stream: RawStream) {
        let message = Message::Opened {
            kind,
            peer,
            from,
            stream,
        };
        // One that does not fit is reset as it drops.
        let _ = self.inbox.try_send(message);
    }
}

/// Takes what sessions tell of peers to the mesh, while that runs.
#[derive(Clone, Debug)]
pub(crate) struct Reports(mpsc::WeakSender<Message>);

impl Reports {
    /// A peer says how congested it is.
    pub(crate) fn congestion(&self, node: NodeId, cf: Cf) {
        if let Some(inbox) = self.0.upgrade() {
            // A mesh with a full inbox has more important news.
            let _ = inbox.try_send(Message::Congestion(node, cf));
        }
    }
}

struct Task {
    control: Control,
    clock: Clock,
    node: Arc<Node>,
    inbox: mpsc::WeakSender<Message>,
    links: BTreeMap<DialId, SessionHandle>,
    /// Whom running dials lead to.
    nodes: BTreeMap<DialId, NodeId>,
    exchanges: BTreeMap<ExchangeId, mpsc::Sender<Out>>,
    /// When sessions were measured that led to peers not known yet.
    measured: BTreeMap<NodeId, (Time, Duration)>,
    finding: BTreeMap<NodeId, Vec<oneshot::Sender<Option<Record>>>>,
    choosing: Vec<(NodeId, oneshot::Sender<Vec<Vec<Record>>>)>,
    next: ExchangeId,
    state: Option<PathBuf>,
}

impl Task {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        loop {
            self.settle();
            let due = self.control.poll_timeout().map(|w| w.at);
            let at = due.unwrap_or(Time::ZERO + self.clock.elapsed() + Duration::from_secs(60));
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Stop) | None => break,
                    Some(message) => self.message(message),
                },
                () = tokio::time::sleep_until(self.clock.instant(at)) => {
                    let now = self.clock.now();
                    self.control.handle_timeout(now);
                }
            }
        }
        let links = std::mem::take(&mut self.links).into_values();
        let closing = links.map(|handle| async move { handle.close().await });
        futures_util::future::join_all(closing).await;
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
            Message::View(reply) => {
                let _ = reply.send(View::of(&self.control));
            }
            Message::Known(node, reply) => {
                let known = self.control.mesh().table().get(node);
                let _ = reply.send(known.map(|e| e.record().clone()));
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

    fn settle(&mut self) {
        while let Some(transmit) = self.control.poll_transmit() {
            self.perform(transmit);
        }
        while let Some(event) = self.control.poll_event() {
            match event {
                NodeEvent::Mesh(event) => self.event(event),
                NodeEvent::Ways { exit, ways } => {
                    let table = self.control.mesh().table();
                    let record = |n: &NodeId| table.get(*n).map(|e| e.record().clone());
                    let known = |way: &Vec<NodeId>| way.iter().map(record).collect();
                    let records = ways.iter().filter_map(known).collect();
                    if let Some(i) = self.choosing.iter().position(|(e, _)| *e == exit) {
                        let _ = self.choosing.remove(i).1.send(records);
                    }
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Found(record) => self.found(record.node(), Some(&record)),
            Event::NotFound(node) => self.found(node, None),
            Event::Save(saved) => {
                if let Some(path) = self.state.clone()
                    && let Err(error) = save(&path, &saved)
                {
                    tracing::warn!(%error, path = %path.display(), "what is known of the mesh is not kept");
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

    /// Something that ends in a message to this task.
    fn spawn(&self, work: impl Future<Output = Message> + Send + 'static) {
        let inbox = self.inbox.clone();
        tokio::spawn(async move {
            let message = work.await;
            if let Some(inbox) = inbox.upgrade() {
                let _ = inbox.send(message).await;
            }
        });
    }

    fn perform(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Resolve { dial, name } => self.spawn(async move {
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
        self.spawn(async move {
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

    /// Tells when a link's session is over.
    fn watch(&self, link: DialId, handle: &SessionHandle) {
        let over = handle.over();
        self.spawn(async move {
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
        // One whose task is gone has told so.
        if let Some(sender) = self.exchanges.get(&exchange) {
            let _ = sender.try_send(out);
        }
    }
}

async fn ended(inbox: &mpsc::WeakSender<Message>, exchange: ExchangeId) {
    if let Some(inbox) = inbox.upgrade() {
        let _ = inbox.send(Message::Input(Input::Ended { exchange })).await;
    }
}

/// Passes an exchange's bytes between its stream and the machine.
async fn run_exchange(
    exchange: ExchangeId,
    stream: RawStream,
    mut out: mpsc::Receiver<Out>,
    inbox: mpsc::WeakSender<Message>,
    fin: bool,
) {
    let (mut body, mut sender) = stream.split();
    let mut sent_all = false;
    if fin {
        sent_all = sender.send(Bytes::new(), true).await.is_ok();
    }
    let mut heard_all = false;
    while !(sent_all && heard_all) {
        tokio::select! {
            told = out.recv(), if !sent_all => match told {
                Some(Out::Data(data, fin)) => {
                    if sender.send(data, fin).await.is_err() {
                        break;
                    }
                    sent_all = fin;
                }
                Some(Out::Abort(code)) => {
                    sender.abort(code).await;
                    return;
                }
                None => break,
            },
            read = body.chunk(), if !heard_all => {
                let (data, fin) = match read {
                    Ok(Some(data)) => (data, false),
                    Ok(None) => (Bytes::new(), true),
                    Err(_) => break,
                };
                heard_all = fin;
                let Some(inbox) = inbox.upgrade() else { return };
                let message = Message::Input(Input::Data { exchange, data, fin });
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
    ended(&inbox, exchange).await;
}

/// What was kept: the last `seq`, then an anchor's envelope in hex a line.
fn load(path: &Path) -> Saved {
    let Ok(text) = std::fs::read_to_string(path) else {
        return Saved::default();
    };
    let mut lines = text.lines();
    Saved {
        seq: lines.next().and_then(|l| l.parse().ok()).unwrap_or(0),
        anchors: lines.filter_map(text::unhex).map(Bytes::from).collect(),
    }
}

fn save(path: &Path, saved: &Saved) -> std::io::Result<()> {
    let mut out = format!("{}\n", saved.seq);
    for anchor in &saved.anchors {
        out.push_str(&text::hex(anchor));
        out.push('\n');
    }
    let fresh = path.with_extension(format!("tmp{}", std::process::id()));
    std::fs::write(&fresh, out)?;
    std::fs::rename(&fresh, path)
}
