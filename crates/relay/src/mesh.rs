//! The control plane of a running node: one task that drives `stack::Node` over real sessions.

mod exchange;
mod saved;
mod task;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_keys::{Endpoint, Host as HostName, Identity, Name, Peer, PublicKey};
use betanet_mesh::{Addr, Carriage, DialId, Draft, Host, Input, Record, Saved, SeedPeer, Setup};
use betanet_path::Cf;
use betanet_session::ops::RawStream;
use betanet_session::{Clock, SessionHandle};
use betanet_store::Storage;
use betanet_wire::NodeId;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use betanet_dial::{Network, Node, QUIC, SeedSource, fresh_identity};

use crate::Error;
use crate::view::{PeerInfo, View};

pub use saved::adopt as adopt_saved;
use task::Task;

/// Capacity of the task's message queue.
const INBOX: usize = 1024;
/// Number of links of a client.
const CLIENT_LINKS: usize = 4;
/// Time after which a client uses the relays found so far.
const SETTLE: Duration = Duration::from_secs(4);
/// Interval between the first two lookups of one peer. It doubles each time.
const FIND_AGAIN: Duration = Duration::from_millis(500);
/// Time after which a client whom nobody answers asks for further seeds; it doubles with each question.
const MORE_AFTER: Duration = Duration::from_secs(3);
/// Interval at which a node asks for further seeds, and the first one after a failure.
const MORE_EVERY: Duration = Duration::from_secs(3600);
const MORE_AGAIN: Duration = Duration::from_secs(30);
/// Interval between two checks.
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
    Bootstrap(Vec<SeedPeer>),
    View(oneshot::Sender<View>),
    Records(oneshot::Sender<Vec<Record>>),
    Known(NodeId, oneshot::Sender<Option<Record>>),
    Tested(NodeId, oneshot::Sender<Option<Record>>),
    Down(NodeId),
    Stop,
}

/// A running mesh. Clones share it, and it ends with the last one.
#[derive(Clone, Debug)]
pub struct Mesh {
    inbox: mpsc::Sender<Message>,
    task: AbortHandle,
    elsewhere: Arc<Mutex<Option<Elsewhere>>>,
}

/// Another node with this node's key, as its record shows it.
#[derive(Clone, Debug)]
struct Elsewhere {
    seq: u64,
    /// Expiry of the record, in UNIX milliseconds.
    exp: u64,
    addrs: String,
}

/// What an operator does about two nodes of one key.
const TWO_NODES: &str =
    "peers reach that one; stop it or give it a key of its own, then restart this one";

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// Returns the address to dial for a multiaddr.
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

/// Returns the multiaddr of a `host:port` or `quic:host:port`.
#[must_use]
pub fn multiaddr(address: &str) -> Option<Addr> {
    let Endpoint { quic, address } = Endpoint::dialled(address).ok()?;
    let port = address.port;
    let place = match address.host {
        HostName::Ip(IpAddr::V4(ip)) => format!("/ip4/{ip}"),
        HostName::Ip(IpAddr::V6(ip)) => format!("/ip6/{ip}"),
        HostName::Name(host) if quic => format!("/dns4/{host}"),
        HostName::Name(host) => {
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

/// Returns how to dial a seed.
#[must_use]
pub fn peer_of_seed(seed: &SeedPeer) -> Peer {
    Peer {
        key: seed.key,
        addrs: seed.addrs.iter().map(target).collect(),
        pin: seed.pin,
    }
}

/// Returns how to dial a peer, according to its record.
#[must_use]
pub fn peer_of(record: &Record) -> Option<Peer> {
    let addrs: Vec<String> = record.addrs().iter().map(target).collect();
    Some(Peer {
        key: PublicKey::from_bytes(&record.key()).ok()?,
        pin: record.pin(),
        addrs: (!addrs.is_empty()).then_some(addrs)?,
    })
}

impl Mesh {
    /// Starts a mesh. It dials with `node`, and announces `draft` if the node listens. Persistent data is in `state`.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`]; [`Error::State`] if the persistent data is invalid.
    pub fn start(
        node: Arc<Node>,
        network: &Network,
        identity: Identity,
        draft: Option<Draft>,
        banned: Vec<NodeId>,
        state: Option<Arc<dyn Storage>>,
    ) -> Result<Self, Error> {
        let (inbox, messages) = mpsc::channel(INBOX);
        let dialling = Arc::clone(&node);
        let listens = draft.is_some();
        let setup = Setup {
            identity,
            draft,
            seeds: network.seeds.clone(),
            policy: network.policy.clone(),
            saved: state
                .as_deref()
                .map_or_else(|| Ok(Saved::default()), saved::load)?,
            banned: network.banned.iter().copied().chain(banned).collect(),
        };
        let task = Task::new(node, setup, state, inbox.downgrade())?;
        let elsewhere = Arc::clone(&task.elsewhere);
        let task = tokio::spawn(task.run(messages)).abort_handle();
        let mesh = Self {
            inbox,
            task,
            elsewhere,
        };
        if let Some(source) = &network.more_seeds {
            let asking = more_seeds(Arc::clone(source), mesh.inbox.downgrade(), listens);
            tokio::spawn(asking);
        }
        let reports = mesh.reports();
        dialling.reports_to(Box::new(move |node, cf| reports.congestion(node, cf)));
        Ok(mesh)
    }

    /// Starts a mesh for a client, which nobody dials. It has few links, shows its name to nobody, and keeps no data.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`].
    pub fn client(node: Arc<Node>, network: &Network) -> Result<Self, Error> {
        let mut network = network.clone();
        network.policy.links = network.policy.links.min(CLIENT_LINKS);
        let identity = fresh_identity()?;
        Self::start(node, &network, identity, None, Vec::new(), None)
    }

    /// Finds a peer, and up to three ways to it over `nodes - 1` relays each, none of them in `not`. May run while the node is
    /// still joining the network.
    ///
    /// No two ways share a relay, and the last node of each is the peer. Returns at least one way.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] or [`Error::NoRelays`], once `patience` has passed.
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
                // Peers answer a few queries a minute from each asker.
                next_find = clock.elapsed() + wait;
                wait *= 2;
            }
            let known = self.relays().await;
            let waited = clock.elapsed();
            // With few relays to choose from, the first one reached would be on every path.
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

    /// Names the seeds to ask beside those of the network's file, in place of those that were named before.
    pub async fn bootstrap(&self, seeds: Vec<SeedPeer>) {
        // A mesh that has ended asks nobody.
        let _ = self.inbox.send(Message::Bootstrap(seeds)).await;
    }

    /// Returns the number of reached relays.
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

    /// Finds a peer in the table, or by asking nodes near it. Returns `None` if no reachable node knows it.
    pub async fn find(&self, node: NodeId) -> Option<Peer> {
        peer_of(&self.record(node).await?)
    }

    /// Finds a peer's record, like [`Mesh::find`].
    pub async fn record(&self, node: NodeId) -> Option<Record> {
        self.ask(|reply| Message::Find { node, reply }).await?
    }

    /// Returns a peer that was reached before, without asking other nodes.
    pub(crate) async fn known_tested(&self, node: NodeId) -> Option<Peer> {
        peer_of(&self.ask(|reply| Message::Tested(node, reply)).await??)
    }

    /// Returns the record of a known peer, without asking other nodes.
    pub async fn known_record(&self, node: NodeId) -> Option<Record> {
        self.ask(|reply| Message::Known(node, reply)).await?
    }

    /// Returns the records of all known peers.
    pub async fn records(&self) -> Vec<Record> {
        self.ask(Message::Records).await.unwrap_or_default()
    }

    /// Replaces the announced description of this node.
    pub async fn announce(&self, draft: Draft) {
        // A mesh that has ended announces nothing.
        let _ = self.inbox.send(Message::Announce(Box::new(draft))).await;
    }

    /// Chooses the nodes of up to three paths to `exit`, without those in `not`. Returns none while too few relays are known and
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

    /// Returns the handle of the mesh's task.
    #[must_use]
    pub fn task(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Returns a handle for reports on peers, which does not keep the mesh running.
    pub(crate) fn reports(&self) -> Reports {
        Reports(self.inbox.downgrade())
    }

    /// Returns the addresses of another node that announces this node's key, and that peers prefer to this one.
    #[must_use]
    pub fn elsewhere(&self, unix_ms: u64) -> Option<String> {
        let seen = self
            .elsewhere
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let seen = seen.as_ref().filter(|e| e.exp > unix_ms)?;
        Some(format!(
            "a second node announces this node's key at {}: {TWO_NODES}",
            seen.addrs
        ))
    }

    /// Returns the current view of the network.
    pub async fn view(&self) -> Option<View> {
        self.ask(Message::View).await
    }

    /// Reports that a peer is down, as a path over it showed.
    pub async fn down(&self, node: NodeId) {
        // A mesh that has ended needs no reports.
        let _ = self.inbox.send(Message::Down(node)).await;
    }

    /// Closes the links and ends the mesh.
    pub async fn stop(&self) {
        // A mesh that has ended has closed its links.
        let _ = self.inbox.send(Message::Stop).await;
        self.inbox.closed().await;
    }

    /// Passes on a stream of the mesh that a peer opened.
    pub(crate) fn opened(&self, kind: u8, peer: NodeId, from: Option<IpAddr>, stream: RawStream) {
        let message = Message::Opened {
            kind,
            peer,
            from,
            stream,
        };
        // A stream that does not fit in the queue is reset on drop.
        let _ = self.inbox.try_send(message);
    }
}

/// Asks for further seeds while the mesh runs: a node at once and each hour, a client only while nobody answers it.
async fn more_seeds(source: Arc<dyn SeedSource>, mesh: mpsc::WeakSender<Message>, listens: bool) {
    let mut wait = if listens { Duration::ZERO } else { MORE_AFTER };
    let mut failed = MORE_AGAIN;
    loop {
        // Without a handle of its own, so that the mesh ends with its users.
        tokio::time::sleep(wait).await;
        let Some(open) = mesh.upgrade() else { return };
        wait = (wait.max(LOOK) * 2).min(MORE_EVERY);
        if !listens {
            let (reply, view) = oneshot::channel();
            if open.send(Message::View(reply)).await.is_err() {
                return;
            }
            let reached = |view: View| view.peers.iter().any(|peer| peer.reached.is_some());
            if view.await.is_ok_and(reached) {
                continue;
            }
        }
        drop(open);
        match source.seeds().await {
            Some(seeds) => {
                let Some(mesh) = mesh.upgrade() else { return };
                if mesh.send(Message::Bootstrap(seeds)).await.is_err() {
                    return;
                }
                (wait, failed) = (if listens { MORE_EVERY } else { wait }, MORE_AGAIN);
            }
            None if listens => (wait, failed) = (failed, (2 * failed).min(MORE_EVERY)),
            None => {}
        }
    }
}

/// Passes sessions' reports on peers to the mesh, while that runs.
#[derive(Clone, Debug)]
pub(crate) struct Reports(mpsc::WeakSender<Message>);

impl Reports {
    /// Reports a peer's congestion.
    pub(crate) fn congestion(&self, node: NodeId, cf: Cf) {
        if let Some(inbox) = self.0.upgrade() {
            // A mesh with a full inbox has more important messages.
            let _ = inbox.try_send(Message::Congestion(node, cf));
        }
    }
}
