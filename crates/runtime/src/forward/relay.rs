//! The paths that others build over this node or to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use betanet_carrier::Tunnel;
use betanet_htx::handshake::MESSAGE_1;
use betanet_htx::kind;
use betanet_keys::{Identity, Peer};
use betanet_machine::Now;
use betanet_path::{Accepted, Control, Failure, Header, Hop, LinkPath, PathError, PathId, Route};
use betanet_session::ops::Op;
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::load::Load;
use super::{CameFrom, ForwardCarrier, Paths, RawStream, read};
use crate::shares::{Share, Shares};
use crate::{Clock, Error, Mesh, Metrics, Node, SessionHandle};

/// Path headers remembered, of which one peer has 1/64, and one address 1/32.
const HEADERS_MAX: usize = 65_536;
/// From a FORWARD stream's opening to its path id, and to message 1 at the exit.
const FIRST_BYTES: Duration = Duration::from_secs(10);
/// From a path's header to the session with the next hop.
const NEXT_HOP: Duration = Duration::from_secs(10);

/// Dials to next hops that paths of others bring about, at once; and of one who pays.
const DIALS: (usize, usize) = (128, 16);
/// Of the mesh's lookups at once as many are for those dials, and of one who pays; the others are this node's own.
const LOOKUPS: (usize, usize) = (8, 2);

/// Streams at once to one next hop, whose session has room for 256; and of one who pays.
const STREAMS: (usize, usize) = (224, 64);

/// Who opens sessions that came over a path.
pub(crate) trait Exits: Send + Sync {
    /// Tries message 1 of a session over these nodes, for which `charge` pays; `None` when it does not open, or no session is wanted.
    fn open_forwarded(
        &self,
        nodes: Vec<NodeId>,
        charge: ChargeTo,
        message1: &[u8],
    ) -> Option<Tunnel>;
}

/// What became of the dial to the next hop.
#[derive(Clone)]
enum Next {
    Dialling,
    Open(Box<SessionHandle>),
    Failed,
}

/// Where streams bound to a path go.
#[derive(Clone)]
enum Link {
    Exit(Vec<NodeId>),
    Onward(PathId, watch::Receiver<Next>),
}

/// A path that leads over this node, and the session that brought it.
struct Carried {
    link: Link,
    route: Route,
    back: mpsc::Sender<Op>,
}

/// Carries paths of others: to itself always, onward where that is wanted.
pub(crate) struct Relay {
    identity: Identity,
    clock: Clock,
    exits: Weak<dyn Exits>,
    /// The peers that paths may go on to; none where this node is no relay.
    onward: BTreeMap<NodeId, Peer>,
    node: Arc<Node>,
    /// Where the peers of others' paths are found, once the node is part of a network.
    mesh: OnceLock<Mesh>,
    /// Whether paths of others go on to whomever the network knows.
    carries: bool,
    metrics: Arc<Metrics>,
    load: Arc<Load>,
    dials: Arc<Shares>,
    lookups: Arc<Shares>,
    /// The streams to each next hop.
    streams: Mutex<BTreeMap<NodeId, Arc<Shares>>>,
    paths: Mutex<State>,
}

struct State {
    hop: Hop,
    carried: BTreeMap<LinkPath, Carried>,
}

impl State {
    /// As it is now: without the paths that have ended.
    fn at(&mut self, now: Now) -> &mut Self {
        for ended in self.hop.expire(now) {
            self.carried.remove(&ended);
        }
        self
    }
}

impl Relay {
    /// A relay to `onward`, by sessions of `node`, which dials with the same identity.
    pub(crate) fn new(
        identity: Identity,
        clock: Clock,
        exits: Weak<dyn Exits>,
        node: Node,
        metrics: Arc<Metrics>,
        onward: &[Peer],
        carries: bool,
    ) -> Arc<Self> {
        let hop = Hop::new(HEADERS_MAX);
        let carried = BTreeMap::new();
        Arc::new_cyclic(|own: &Weak<Self>| Self {
            identity,
            clock,
            exits,
            onward: onward
                .iter()
                .map(|p| (p.key.node_id(), p.clone()))
                .collect(),
            node: Arc::new(node.with_paths(own.clone())),
            mesh: OnceLock::new(),
            carries,
            metrics,
            load: Load::start(),
            dials: Shares::new(DIALS.0, DIALS.1),
            lookups: Shares::new(LOOKUPS.0, LOOKUPS.1),
            streams: Mutex::default(),
            paths: Mutex::new(State { hop, carried }),
        })
    }

    /// What it dials with.
    pub(crate) fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Becomes part of a network.
    pub(crate) fn join(&self, mesh: Mesh) {
        // Once: a gateway starts its mesh before it takes sessions.
        let _ = self.mesh.set(mesh);
    }

    /// The network's peers, as this node knows them.
    pub(crate) fn mesh(&self) -> Option<&Mesh> {
        self.mesh.get()
    }

    /// Leaves the network, and closes the sessions with the next hops.
    pub(crate) async fn close(&self) {
        if let Some(mesh) = self.mesh() {
            mesh.stop().await;
        }
        self.node.close().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(
        self: &Arc<Self>,
        from: &CameFrom,
        control: Control,
        back: mpsc::Sender<Op>,
    ) -> Result<Option<Control>, Code> {
        let now = self.clock.now();
        let prev = from.key.node_id();
        let refused = |error: PathError| {
            tracing::debug!(%error, code = %error.code(), "path refused");
            self.metrics.path("refused");
            error.code()
        };
        let own = self.identity.public().node_id();
        let header = Header::read(now, own, prev, control).map_err(refused)?;
        // Who has its share costs no arithmetic, and nobody waits for anybody's.
        let stamp = {
            let mut state = self.lock();
            let hop = &mut state.at(now).hop;
            hop.room(now, prev, from.charge).map_err(refused)?;
            hop.stamp(now)
        };
        let stands = header.verify(stamp, &self.identity, &from.key);
        let stands = stands.map_err(refused)?;
        let mut state = self.lock();
        let State { hop, carried } = state.at(now);
        let accepted = hop.take(now, from.charge, stands).map_err(refused)?;
        let path = match &accepted {
            Accepted::Exit { path } | Accepted::Forward { path, .. } => *path,
        };
        let Some(route) = hop.route(prev, path).cloned() else {
            return Ok(None);
        };
        if hop.carried(now, prev, path).is_none() {
            // Within what clocks may differ by, and yet no stream may be opened on it any more.
            hop.end(prev, path);
            drop(state);
            self.metrics.path("refused");
            let error = route.error(Failure::TtlExpired, path, &self.identity);
            return Ok(Some(error));
        }
        let link = match accepted {
            Accepted::Exit { .. } => {
                self.metrics.path("exit");
                Link::Exit(route.nodes.clone())
            }
            Accepted::Forward {
                next: next_node,
                onward,
                control,
                ..
            } => {
                let peer = self.onward.get(&next_node).cloned();
                let asks = self.carries && self.mesh().is_some();
                if peer.is_none() && !asks {
                    hop.end(prev, path);
                    drop(state);
                    let why = if self.onward.is_empty() {
                        Failure::PolicyDeny
                    } else {
                        Failure::NoRoute
                    };
                    self.metrics.path("refused");
                    return Ok(Some(route.error(why, path, &self.identity)));
                }
                let charge = from.charge;
                let Some(share) = self.dials.enter(charge) else {
                    hop.end(prev, path);
                    drop(state);
                    self.metrics.path("refused");
                    let error = route.error(Failure::PolicyDeny, path, &self.identity);
                    return Ok(Some(error));
                };
                self.metrics.path("onward");
                let (found, next) = watch::channel(Next::Dialling);
                let relay = Arc::clone(self);
                tokio::spawn(async move {
                    let next = (next_node, peer, charge);
                    relay.dial(next, control, (prev, path), found).await;
                    drop(share);
                });
                Link::Onward(onward, next)
            }
        };
        let entry = Carried { link, route, back };
        carried.insert((prev, path), entry);
        Ok(None)
    }

    /// A peer that paths may begin with, as this node dials it: one that they go on to, or that the network knows.
    pub(crate) async fn peer(&self, node: NodeId) -> Option<Peer> {
        match (self.onward.get(&node), self.mesh()) {
            (Some(peer), _) => Some(peer.clone()),
            (None, Some(mesh)) => timeout(NEXT_HOP, mesh.find(node)).await.ok().flatten(),
            (None, None) => None,
        }
    }

    /// Finds a peer for a path of somebody's: at once where it is known, and else by a lookup of the few that are for others.
    async fn find_for(&self, charge: ChargeTo, node: NodeId) -> Option<Peer> {
        let mesh = self.mesh()?;
        if let Some(peer) = mesh.known_tested(node).await {
            return Some(peer);
        }
        let share = self.lookups.enter(charge)?;
        let mesh = mesh.clone();
        // Whoever waits for it gives up sooner than the mesh does: the place is free once the lookup is over, not before.
        let looking = tokio::spawn(async move {
            let found = mesh.find(node).await;
            drop(share);
            found
        });
        looking.await.ok().flatten()
    }

    /// A place for one more stream to a next hop: who opens many leaves places for others.
    fn stream_to(&self, next: NodeId, charge: ChargeTo) -> Option<Share> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // A share holds those that it is one of.
        streams.retain(|node, shares| *node == next || Arc::strong_count(shares) > 1);
        let shares = streams.entry(next);
        shares
            .or_insert_with(|| Shares::new(STREAMS.0, STREAMS.1))
            .enter(charge)
    }

    /// Finds the next hop and the session with it, and sends the header on.
    async fn dial(
        self: Arc<Self>,
        (node, peer, charge): (NodeId, Option<Peer>, ChargeTo),
        control: Control,
        path: LinkPath,
        found: watch::Sender<Next>,
    ) {
        let mut why = Failure::PeerDown;
        let sent = async {
            let peer = match peer {
                Some(peer) => peer,
                None => self.find_for(charge, node).await.ok_or_else(|| {
                    why = Failure::NoRoute;
                    Error::NoAddress
                })?,
            };
            let session = self.node.session(&peer).await?;
            session.path_control(control.to_bytes().into()).await?;
            Ok::<_, Error>(session)
        };
        let next = match timeout(NEXT_HOP, sent).await {
            Ok(Ok(session)) => Next::Open(Box::new(session)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the next hop of a path is not reached");
                Next::Failed
            }
            Err(_) => Next::Failed,
        };
        if matches!(next, Next::Failed) {
            // Before the streams that wait are refused: the builder then knows why.
            self.fail(path, why).await;
        }
        found.send_replace(next);
    }

    /// Tells the previous hop that a path ended here, and forgets it.
    async fn fail(&self, path: LinkPath, why: Failure) {
        let carried = {
            let mut state = self.lock();
            state.hop.end(path.0, path.1);
            state.carried.remove(&path)
        };
        if let Some(Carried { route, back, .. }) = carried {
            let error = route.error(why, path.1, &self.identity);
            // A session that is gone needs no errors.
            let _ = back.send(Op::PathControl(error.to_bytes().into())).await;
        }
    }

    /// Passes an ERROR back under the name that the previous link gave the path.
    fn pass_back(
        &self,
        from: NodeId,
        failure: Failure,
        path: PathId,
        key: [u8; 32],
        sig: [u8; 64],
    ) {
        let mut state = self.lock();
        let Some((prev, path)) = state.hop.back(from, path) else {
            return;
        };
        state.hop.end(prev, path);
        if let Some(carried) = state.carried.remove(&(prev, path)) {
            let error = Control::Error {
                failure,
                path,
                key,
                sig,
            };
            // A session whose queue is full notices the end of its streams.
            let _ = carried
                .back
                .try_send(Op::PathControl(error.to_bytes().into()));
        }
    }

    async fn carry(self: Arc<Self>, from: CameFrom, mut stream: RawStream) {
        let charge = from.charge;
        let from = from.key.node_id();
        let mut first = BytesMut::new();
        let Ok(true) = timeout(FIRST_BYTES, read_to(&mut stream, &mut first, 8)).await else {
            return stream.refuse(Code::POLICY_REJECTED).await;
        };
        let mut path = PathId::default();
        first.copy_to_slice(&mut path);
        let link = {
            let state = self.lock();
            // A path that expired takes no new streams.
            state
                .hop
                .carried(self.clock.now(), from, path)
                .and_then(|_| state.carried.get(&(from, path)))
                .map(|c| c.link.clone())
        };
        match link {
            None => stream.refuse(Code::POLICY_REJECTED).await,
            Some(Link::Exit(nodes)) => self.end_here((nodes, charge), stream, first).await,
            Some(Link::Onward(onward, mut next)) => {
                let decided = next
                    .wait_for(|n| !matches!(n, Next::Dialling))
                    .await
                    .map(|n| n.clone());
                let Ok(Next::Open(session)) = decided else {
                    return stream.refuse(Code::POLICY_REJECTED).await;
                };
                let next = session.peer().node_id();
                let Some(_share) = self.stream_to(next, charge) else {
                    self.metrics.path("refused");
                    return stream.refuse(Code::POLICY_REJECTED).await;
                };
                let mut head = BytesMut::from(&onward[..]);
                head.extend_from_slice(&first);
                match session.open_raw(kind::FORWARD, head.freeze()).await {
                    Ok(ahead) => {
                        self.metrics.streams_forwarded.inc();
                        splice(stream, ahead, &self.load).await;
                    }
                    Err(_) => stream.refuse(Code::POLICY_REJECTED).await,
                }
                if session.is_closed() {
                    self.fail((from, path), Failure::PeerDown).await;
                }
            }
        }
    }

    /// A session begins in the stream.
    async fn end_here(
        &self,
        (nodes, charge): (Vec<NodeId>, ChargeTo),
        mut stream: RawStream,
        mut first: BytesMut,
    ) {
        let message = async {
            if !read_to(&mut stream, &mut first, 2).await {
                return None;
            }
            let len = usize::from(first.get_u16());
            if !MESSAGE_1.contains(&len) || !read_to(&mut stream, &mut first, len).await {
                return None;
            }
            Some(first.split_to(len))
        };
        let message = timeout(FIRST_BYTES, message).await.ok().flatten();
        let tunnel = message.and_then(|m| self.exits.upgrade()?.open_forwarded(nodes, charge, &m));
        match tunnel {
            Some(tunnel) => tunnel(Box::new(ForwardCarrier::new(first.freeze(), stream))).await,
            None => stream.refuse(Code::AUTH_FAILED).await,
        }
    }
}

/// Reads until there are `len` bytes; `false` when the stream ends before.
async fn read_to(stream: &mut RawStream, bytes: &mut BytesMut, len: usize) -> bool {
    while bytes.len() < len {
        match stream.next().await {
            Ok(Some(more)) => bytes.extend_from_slice(&more),
            Ok(None) | Err(_) => return false,
        }
    }
    true
}

/// Passes bytes both ways until both have ended; when one breaks off, so does the other.
async fn splice(behind: RawStream, ahead: RawStream, load: &Load) {
    let (mut from_behind, mut to_behind) = behind.split();
    let (mut from_ahead, mut to_ahead) = ahead.split();
    let onward = async {
        while let Some(bytes) = from_behind.chunk().await? {
            let _waits = load.waits();
            to_ahead.send(bytes, false).await?;
        }
        to_ahead.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    let back = async {
        while let Some(bytes) = from_ahead.chunk().await? {
            let _waits = load.waits();
            to_behind.send(bytes, false).await?;
        }
        to_behind.send(Bytes::new(), true).await?;
        Ok::<(), Error>(())
    };
    // What broke is reset by the drops.
    let _ = tokio::try_join!(onward, back);
}

impl Paths for Relay {
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        ops: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code> {
        Ok(match read(payload)? {
            path @ (Control::Single { .. } | Control::Multi { .. }) => {
                let Some(ops) = ops else {
                    // Over a session of one's own nobody else's paths come.
                    return Err(Code::POLICY_REJECTED);
                };
                self.accept(from, path, ops)?
            }
            Control::Probe(token) => Some(Control::ProbeAck {
                token,
                cf: self.load.feedback(),
            }),
            Control::Error {
                failure,
                path,
                key,
                sig,
            } => {
                self.pass_back(from.key.node_id(), failure, path, key, sig);
                None
            }
            Control::ProbeAck { cf, .. } | Control::Congestion(cf) => {
                if let Some(mesh) = self.mesh() {
                    mesh.reports().congestion(from.key.node_id(), cf);
                }
                None
            }
        })
    }

    fn opened(self: Arc<Self>, from: &CameFrom, kind: u8, stream: RawStream) {
        match (kind, self.mesh()) {
            (kind::FORWARD, _) => {
                tokio::spawn(self.carry(*from, stream));
            }
            (kind::DISCOVER | kind::GOSSIP, Some(mesh)) => {
                mesh.opened(kind, from.key.node_id(), from.ip, stream);
            }
            _ => {
                tokio::spawn(stream.refuse(Code::UNSUPPORTED_FEATURE));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::network_file;
    use crate::{Network, Node};
    use futures_util::FutureExt as _;
    use tokio::task::JoinHandle;

    type Found = JoinHandle<Option<Peer>>;

    fn hop(n: u8) -> NodeId {
        NodeId([n; 20])
    }

    /// Lookups for next hops that nobody knows, three for each of so many payers; those that were refused at once are left out.
    async fn looked_for(relay: &Arc<Relay>, hops: &mut u8, payers: u8) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        for (payer, _) in (0..payers).flat_map(|p| [(p, 0), (p, 1), (p, 2)]) {
            *hops += 1;
            let (relay, node) = (Arc::clone(relay), hop(*hops));
            let charge = ChargeTo::V4([192, 0, 2, payer]);
            let finding = async move { relay.find_for(charge, node).await };
            all.push(tokio::spawn(async {
                timeout(NEXT_HOP, finding).await.ok().flatten()
            }));
        }
        still_runs(&mut all).await;
        all
    }

    /// Leaves those out that have found nothing.
    async fn still_runs(all: &mut Vec<Found>) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        all.retain_mut(|one| match one.now_or_never() {
            Some(found) => {
                assert_eq!(found.unwrap().map(|p| p.key), None);
                false
            }
            None => true,
        });
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_for_others_leave_half_of_them_to_the_node_for_as_long_as_they_last() {
        let home = tempfile::tempdir().unwrap();
        let network = Network::read(&network_file(home.path())).unwrap();
        let identity = Identity::from_seed(&[2; 32]);
        let node = Node::new(Some(identity.clone()), betanet_htx::Config::default()).unwrap();
        let nobody: Weak<dyn Exits> = Weak::<Nobody>::new();
        let metrics = Arc::new(Metrics::new());
        let clock = Clock::start();
        let relay = Relay::new(identity.clone(), clock, nobody, node, metrics, &[], true);
        let mesh = Mesh::start(relay.node(), &network, identity, None, Vec::new(), None).unwrap();
        relay.join(mesh.clone());
        let mut hops = 0;
        let mut others = looked_for(&relay, &mut hops, 8).await;
        assert_eq!(others.len(), LOOKUPS.0);
        // Who waited for them gives up; the mesh goes on with them, and there is no more room than before.
        tokio::time::sleep(NEXT_HOP).await;
        still_runs(&mut others).await;
        assert!(others.is_empty());
        assert!(looked_for(&relay, &mut hops, 8).await.is_empty());
        let mut own: Vec<Found> = (0..16_u8)
            .map(|n| {
                let mesh = mesh.clone();
                tokio::spawn(async move { mesh.find(hop(200 + n)).await })
            })
            .collect();
        still_runs(&mut own).await;
        assert_eq!(own.len(), 8, "of the mesh's 16");
        // All are over: there is room again.
        tokio::time::sleep(Duration::from_secs(25)).await;
        still_runs(&mut own).await;
        assert!(own.is_empty());
        assert_eq!(looked_for(&relay, &mut hops, 8).await.len(), LOOKUPS.0);
        mesh.stop().await;
    }

    struct Nobody;

    impl Exits for Nobody {
        fn open_forwarded(&self, _: Vec<NodeId>, _: ChargeTo, _: &[u8]) -> Option<Tunnel> {
            None
        }
    }
}
