//! A client of the mix. It finds the directory and its guard, and opens sessions over relays.

pub(super) mod find;
mod session;
mod task;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_dial::{Network, Node};
use betanet_keys::{Name, PublicKey};
use betanet_mix::{
    Client, ClientStats, Cover, MixKeys, PACKET, Packet, Recipient, RelayKey, Setup, epoch_at,
};
use betanet_relay::{Mesh, peer_of};
use betanet_session::ops::{OPS, Op};
use betanet_session::{
    Clock, OuterFacts, PeerSession, SessionHandle, Streams, Substream, seed, session_id,
};
use betanet_stack::MixRequester;
use betanet_store::SharedFolder;
use betanet_wire::NodeId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::plane::lock;
use crate::Error;

pub use session::MixSession;
use task::{Message, Task, watch};

/// Capacity of the queue of packets to open.
const PACKETS: usize = 1024;
/// Capacity of the task's message queue.
const MESSAGES: usize = 256;
/// Interval between the first two lookups of a gateway, doubled each time. Peers answer a few queries a minute from each asker.
const LOOK: Duration = Duration::from_millis(500);
/// Time limit of dialling the guard to see whether it answers.
const ANSWERS: Duration = Duration::from_secs(5);

/// Options of a client of the mix.
#[derive(Clone, Debug)]
pub struct MixOptions {
    /// Number of relays of each path, 1 to 7.
    pub relays: usize,
    /// Cover traffic beside real packets.
    pub cover: Cover,
    /// Folder in which the guard is stored. Without it, each client draws a new one.
    pub state: Option<SharedFolder>,
    /// File in which loops are recorded, one line of JSON each, for `betanet mix audit`.
    pub loops_file: Option<PathBuf>,
    /// Time limit for finding the directory, the relays and the peers.
    pub patience: Duration,
}

impl Default for MixOptions {
    fn default() -> Self {
        Self {
            relays: 3,
            cover: Cover::default(),
            state: None,
            loops_file: None,
            patience: Duration::from_secs(20),
        }
    }
}

/// Receives packets on a client's sessions.
struct Inlet(mpsc::Sender<Box<Packet>>);

impl Streams for Inlet {
    fn opened(&self, _: &PeerSession, _: u8, mut stream: Substream) {
        let packets = self.0.clone();
        tokio::spawn(async move {
            stream.end();
            let mut partial: Vec<u8> = Vec::with_capacity(PACKET);
            while let Ok(Some(bytes)) = stream.next().await {
                let mut rest = &bytes[..];
                while partial.len() + rest.len() >= PACKET {
                    let (now, after) = rest.split_at(PACKET - partial.len());
                    partial.extend_from_slice(now);
                    rest = after;
                    let mut packet = Box::new(Packet([0; PACKET]));
                    packet.0.copy_from_slice(&partial);
                    partial.clear();
                    if packets.send(packet).await.is_err() {
                        return;
                    }
                }
                partial.extend_from_slice(rest);
            }
        });
    }
}

/// A client that has joined a network and uses its mix. Its sessions lead to gateways that do not learn who asks, over relays of
/// which none knows both ends.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::path::Path;
/// use betanet_bar::{Headers, Method, Request};
/// use betanet_dial::{Network, Node};
/// use betanet_mixnet::{MixClient, MixOptions};
///
/// let network = Network::read(Path::new("NETWORK.toml"))?;
/// let client = MixClient::join(Node::client()?, &network, &MixOptions::default()).await?;
/// let session = client.session("bn1:…".parse()?).await?;
/// let get = Request::new(Method::Get, "/index.html", Headers::default());
/// let mut answer = session.ask(get).await?;
/// while let Some(bytes) = answer.body.chunk().await? {
///     println!("{} bytes", bytes.len());
/// }
/// client.close().await;
/// # Ok(()) }
/// ```
pub struct MixClient {
    mesh: Mesh,
    node: Arc<Node>,
    clock: Clock,
    epoch: u32,
    guard: NodeId,
    messages: mpsc::Sender<Message>,
    recipients: Arc<Mutex<BTreeMap<NodeId, Recipient>>>,
    stats: Arc<Mutex<ClientStats>>,
    outer: OuterFacts,
    patience: Duration,
}

impl MixClient {
    /// Joins the network, checks its directory of relays, and opens the session with the guard.
    ///
    /// # Errors
    ///
    /// [`Error::NoMix`], [`Error::NoDirectory`], [`Error::Directory`], [`Error::MixRests`], [`Error::Mix`] if the relays are not
    /// sufficient, and [`Error::Guard`].
    pub async fn join(node: Node, network: &Network, options: &MixOptions) -> Result<Self, Error> {
        let (inlet, packets) = mpsc::channel(PACKETS);
        let node = Arc::new(node.with_mix_handler(Arc::new(Inlet(inlet))));
        let clock = Clock::start();
        let mesh = Mesh::client(Arc::clone(&node), network)?;
        let finder = find::Finder {
            network: network.clone(),
            mesh: mesh.clone(),
            node: Arc::clone(&node),
            clock,
            patience: options.patience,
        };
        let chart = finder.chart(options.relays).await?;
        if let Some(rests) = chart.rests(&network.name, clock.now().unix_ms) {
            return Err(rests);
        }
        let topology = &chart.topology;
        let guard = finder.guard(topology, options.state.as_ref())?;
        let (session, stream, peer) = finder.enter(guard).await?;
        let setup = Setup {
            own: node.identity_for(&peer.key)?.public().node_id(),
            session_key: session.lottery_key().await?,
            guard,
            relays: options.relays,
            topology: topology.clone(),
            cover: options.cover,
        };
        let client = Client::new(clock.now(), setup, &seed()?)?;
        let (messages, inbox) = mpsc::channel(MESSAGES);
        let outer = session.outer().clone();
        let finder = Arc::new(finder);
        let recipients = Arc::default();
        let stats = Arc::default();
        let task = Task::new(
            MixRequester::new(client),
            clock,
            options.loops_file.clone(),
            Arc::clone(&stats),
            (Arc::clone(&finder), guard, messages.downgrade()),
        );
        let this = Self {
            mesh,
            node,
            clock,
            epoch: topology.epoch(),
            guard,
            messages,
            recipients,
            stats,
            outer,
            patience: options.patience,
        };
        tokio::spawn(watch(
            finder,
            (guard, options.relays),
            Arc::clone(&this.recipients),
            this.messages.downgrade(),
            chart,
        ));
        tokio::spawn(task.run(inbox, packets, (session, stream)));
        Ok(this)
    }

    /// Returns the guard, which is the first relay of all this client's traffic.
    #[must_use]
    pub fn guard(&self) -> Name {
        self.guard.into()
    }

    /// Dials the guard again, and returns whether it answers within 5 s.
    ///
    /// The other relays are not dialled: each of them would see this client's address.
    pub async fn guard_answers(&self) -> bool {
        let answers = async {
            let peer = peer_of(&self.mesh.known_record(self.guard).await?)?;
            let session = self.node.connect(&peer).await.ok()?;
            session.close().await;
            Some(())
        };
        let answered = tokio::time::timeout(ANSWERS, answers).await;
        matches!(answered, Ok(Some(())))
    }

    /// Returns the counters.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        *lock(&self.stats)
    }

    /// Opens a session through the mix. Its requests reach the gateway without the client's name.
    ///
    /// # Errors
    ///
    /// [`betanet_relay::Error::Unknown`] or [`Error::NotMixing`].
    pub async fn session(&self, gateway: Name) -> Result<MixSession, Error> {
        let began = Clock::start();
        let (mut known, mut wait) = (false, LOOK);
        let (key, to) = loop {
            if let Some(record) = self.mesh.record(gateway.node_id()).await {
                known = true;
                let epoch = epoch_at(self.clock.now().unix_ms).max(self.epoch);
                if let Some(found) = recipient_of(&record, epoch) {
                    break found;
                }
            }
            if began.elapsed() > self.patience {
                return Err(if known {
                    Error::NotMixing(gateway)
                } else {
                    betanet_relay::Error::Unknown(gateway).into()
                });
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        };
        lock(&self.recipients).insert(to.node, to);
        let (ops, mut asked) = mpsc::channel::<Op>(OPS);
        let over = CancellationToken::new();
        let ended = over.clone();
        let messages = self.messages.clone();
        let recipients = Arc::clone(&self.recipients);
        let node = to.node;
        tokio::spawn(async move {
            let _over = ended.drop_guard();
            while let Some(op) = asked.recv().await {
                if matches!(op, Op::Close | Op::Shutdown | Op::Finish) {
                    break;
                }
                // The gateway's key may have changed since.
                let Some(to) = lock(&recipients).get(&node).copied() else {
                    break;
                };
                if messages
                    .send(Message::Op(Box::new((to, op))))
                    .await
                    .is_err()
                {
                    break;
                }
            }
        });
        let identity = (session_id(), over, Arc::default());
        let handle = SessionHandle::new(ops, key, self.outer.clone(), identity);
        Ok(MixSession::new(handle))
    }

    /// Leaves the network.
    pub async fn close(&self) {
        // A task that has ended has closed its session.
        let _ = self.messages.send(Message::Stop).await;
        self.messages.closed().await;
        self.node.close().await;
        self.mesh.stop().await;
    }
}

/// Returns the key in a peer's record for an epoch, if it ends paths.
fn recipient_of(record: &betanet_mesh::Record, epoch: u32) -> Option<(PublicKey, Recipient)> {
    let claims = record.claims().ok()?;
    let keys = MixKeys::from_bytes(claims.mix).ok()?;
    let key = RelayKey::check(keys.of(epoch)?)?;
    let node = record.node();
    Some((peer_of(record)?.key, Recipient { node, key }))
}
