//! Paths that others build over this node or to it: the sessions, streams and threads around [`betanet_path::Relay`], which
//! decides.

mod splice;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use betanet_carrier::Tunnel;
use betanet_htx::handshake::MESSAGE_1;
use betanet_htx::kind;
use betanet_keys::{Identity, Peer};
use betanet_machine::{Machine as _, Time};
use betanet_path::relay::{
    DialId, Event, First, HEADERS_MAX, Input, Message, NEXT_HOP, Refused, Rules, Transmit,
};
use betanet_path::{Control, Failure};
use betanet_wire::{ChargeTo, Code, NodeId};
use tokio::sync::{Notify, mpsc};
use tokio::time::{sleep_until, timeout, timeout_at};

use super::load::Load;
use super::{CameFrom, ForwardCarrier, Paths, RawStream, read};
use crate::{CountPaths, CountPeers, Mesh, PathOutcome};
use betanet_dial::{Error, Node};
use betanet_session::ops::Op;
use betanet_session::{Clock, SessionHandle};
use splice::{Held, go_on};

/// Maximum interval between two checks of the relay's clock.
const LOOK: Duration = Duration::from_secs(60);

/// Opens sessions that arrive over a path.
pub trait Exits: Send + Sync {
    /// Tries message 1 of a session over these nodes, for which `charge` pays. Returns `None` if it does not open, or no session
    /// is wanted.
    fn open_forwarded(
        &self,
        nodes: Vec<NodeId>,
        charge: ChargeTo,
        message1: &[u8],
    ) -> Option<Tunnel>;
}

/// Queue to the session that brought a path. `None` if this node opened the session.
type Back = Option<mpsc::Sender<Op>>;

/// A stream that has named its path, and the bytes read from it.
struct Begun {
    stream: RawStream,
    first: First,
    from: CameFrom,
}

type Core = betanet_path::Relay<Back, Box<SessionHandle>, Begun>;
type Todo = Transmit<Back, Box<SessionHandle>, Begun>;

/// Relays paths of others: always to this node, and onward if enabled.
pub struct Relay {
    identity: Identity,
    clock: Clock,
    exits: Weak<dyn Exits>,
    /// Peers to which paths may be extended; empty if this node is not a relay.
    onward: BTreeMap<NodeId, Peer>,
    node: Arc<Node>,
    /// Finds peers for others' paths, once the node is part of a network.
    mesh: OnceLock<Mesh>,
    metrics: Arc<dyn CountPaths>,
    /// Accounts with the peers, where the node keeps them.
    peers: OnceLock<Arc<dyn CountPeers>>,
    load: Arc<Load>,
    core: Mutex<Core>,
    /// Notified when a dial has begun, whose deadline may come before all others.
    dials: Arc<Notify>,
}

impl Relay {
    /// Creates a relay to `onward`, over sessions of `node`, which dials with the same identity.
    pub fn new(
        identity: Identity,
        clock: Clock,
        exits: Weak<dyn Exits>,
        node: Node,
        metrics: Arc<dyn CountPaths>,
        onward: &[Peer],
        carries: bool,
    ) -> Arc<Self> {
        let onward: BTreeMap<NodeId, Peer> = onward
            .iter()
            .map(|p| (p.key.node_id(), p.clone()))
            .collect();
        let rules = Rules {
            onward: onward.keys().copied().collect(),
            carries,
        };
        let core = Core::new(identity.public().node_id(), rules, HEADERS_MAX);
        let dials = Arc::new(Notify::new());
        let relay = Arc::new_cyclic(|own: &Weak<Self>| Self {
            identity,
            clock,
            exits,
            onward,
            node: Arc::new(node.with_paths(own.clone())),
            mesh: OnceLock::new(),
            metrics,
            peers: OnceLock::new(),
            load: Load::start(),
            core: Mutex::new(core),
            dials: Arc::clone(&dials),
        });
        tokio::spawn(wake(Arc::downgrade(&relay), clock, dials));
        relay
    }

    /// Returns the node that dials.
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.node)
    }

    /// Sets the network that the relay is part of.
    pub fn join(&self, mesh: Mesh) {
        // This is set once: a gateway starts its mesh before it accepts sessions.
        let _ = self.mesh.set(mesh);
        self.lock().join();
    }

    /// Has the bytes of relayed streams counted by peers.
    pub fn counts_peers(&self, peers: Arc<dyn CountPeers>) {
        // This is set once, before the node accepts sessions.
        let _ = self.peers.set(peers);
    }

    /// Returns the mesh, if the node is part of a network.
    pub fn mesh(&self) -> Option<&Mesh> {
        self.mesh.get()
    }

    /// Leaves the network, and closes the sessions with the next hops.
    pub async fn close(&self) {
        if let Some(mesh) = self.mesh() {
            mesh.stop().await;
        }
        self.node.close().await;
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes an event to the relay's state machine. Returns the actions that it requests.
    fn told(self: &Arc<Self>, what: impl FnOnce(&mut Core)) -> Vec<Todo> {
        let (todo, events): (Vec<_>, Vec<_>) = {
            let mut core = self.lock();
            what(&mut core);
            let todo = std::iter::from_fn(|| core.poll_transmit()).collect();
            (todo, std::iter::from_fn(|| core.poll_event()).collect())
        };
        events.into_iter().for_each(|event| self.event(event));
        todo
    }

    fn heard(self: &Arc<Self>, input: Input<Back, Box<SessionHandle>, Begun>) -> Vec<Todo> {
        self.told(|core| {
            if let Err(error) = core.handle_input(self.clock.now(), input) {
                // The queues are emptied after each event.
                tracing::error!(%error, "a relay does not take what happened");
            }
        })
    }

    /// Passes an event to the relay's state machine, and performs the requested actions.
    fn input(self: &Arc<Self>, input: Input<Back, Box<SessionHandle>, Begun>) {
        let todo = self.heard(input);
        todo.into_iter().for_each(|todo| self.perform(todo));
    }

    fn event(self: &Arc<Self>, event: Event<Begun>) {
        match event {
            Event::Ends => self.metrics.path(PathOutcome::Exit),
            Event::GoesOn => self.metrics.path(PathOutcome::Onward),
            Event::Refused(why) => {
                if let Refused::Header(error) = why {
                    tracing::debug!(%error, code = %error.code(), "path refused");
                }
                self.metrics.path(PathOutcome::Refused);
            }
            Event::Session {
                stream,
                nodes,
                charge,
            } => {
                tokio::spawn(Arc::clone(self).end_here((nodes, charge), stream));
            }
            Event::Load { from, cf } => {
                if let Some(mesh) = self.mesh() {
                    mesh.reports().congestion(from, cf);
                }
            }
        }
    }

    /// Performs an action that may wait.
    fn perform(self: &Arc<Self>, todo: Todo) {
        let relay = Arc::clone(self);
        match todo {
            Transmit::Check(work) => self.input(Input::Judged(work.run(&self.identity))),
            Transmit::Answer { to, message } => {
                tokio::spawn(async move { relay.send(to, message).await });
            }
            Transmit::Acknowledge { to, token } => {
                let message = Message::Ready(self.acknowledged(token));
                tokio::spawn(async move { relay.send(to, message).await });
            }
            // A refusal only follows an input from `control`, which answers it.
            Transmit::Refuse { .. } => {}
            Transmit::Dial {
                dial,
                next,
                charge,
                until,
                control,
            } => {
                self.dials.notify_one();
                tokio::spawn(relay.dial(dial, (next, charge), until, control));
            }
            Transmit::Open {
                stream,
                ahead,
                onward,
                place,
            } => {
                let held = Held::new(relay, place);
                tokio::spawn(go_on(held, stream, ahead, onward));
            }
            Transmit::Fail { told, streams } => {
                tokio::spawn(async move {
                    if let Some((back, message)) = told {
                        // Send this before refusing the streams that wait, so that the builder learns the reason.
                        relay.send(back, message).await;
                    }
                    for begun in streams {
                        begun.stream.refuse(Code::POLICY_REJECTED).await;
                    }
                });
            }
            Transmit::Reject { stream, code } => {
                tokio::spawn(stream.stream.refuse(code));
            }
        }
    }

    async fn send(&self, to: Back, message: Message) {
        let Some(ops) = to else { return };
        let message = message.sign(&self.identity).to_bytes().into();
        // A closed session needs no errors.
        let _ = ops.send(Op::PathControl(message)).await;
    }

    fn acknowledged(&self, token: [u8; 8]) -> Control {
        Control::ProbeAck {
            token,
            cf: self.load.feedback(),
        }
    }

    /// Returns a peer with which a path may begin: one of the configured next hops, or one that the network knows.
    pub async fn peer(&self, node: NodeId) -> Option<Peer> {
        match (self.onward.get(&node), self.mesh()) {
            (Some(peer), _) => Some(peer.clone()),
            (None, Some(mesh)) => timeout(NEXT_HOP, mesh.find(node)).await.ok().flatten(),
            (None, None) => None,
        }
    }

    /// Finds a peer for another node's path: at once if it is known, otherwise with one of the few lookups for others.
    async fn find_for(self: &Arc<Self>, charge: ChargeTo, node: NodeId) -> Option<Peer> {
        let mesh = self.mesh()?;
        if let Some(peer) = mesh.known_tested(node).await {
            return Some(peer);
        }
        if !self.lock().look_up(charge) {
            return None;
        }
        let looking = Looking {
            relay: Arc::clone(self),
            charge,
        };
        let mesh = mesh.clone();
        // The asker gives up sooner than the mesh does. The place is released only once the lookup is over.
        let looking = tokio::spawn(async move {
            let found = mesh.find(node).await;
            drop(looking);
            found
        });
        looking.await.ok().flatten()
    }

    /// Finds the next hop, opens the session with it, and sends the header on.
    async fn dial(
        self: Arc<Self>,
        dial: DialId,
        (node, charge): (NodeId, ChargeTo),
        until: Time,
        control: Control,
    ) {
        let mut why = Failure::PeerDown;
        let sent = async {
            let peer = match self.onward.get(&node) {
                Some(peer) => peer.clone(),
                None => self.find_for(charge, node).await.ok_or_else(|| {
                    why = Failure::NoRoute;
                    Error::NoAddress
                })?,
            };
            let session = self.node.session(&peer).await?;
            session.path_control(control.to_bytes().into()).await?;
            Ok::<_, Error>(session)
        };
        let outcome = match timeout_at(self.clock.instant(until), sent).await {
            Ok(Ok(session)) => {
                let ahead = Box::new(session);
                Input::Reached { dial, ahead }
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the next hop of a path is not reached");
                Input::Unreached { dial, why }
            }
            // The relay has given it up.
            Err(_) => return,
        };
        self.input(outcome);
    }

    /// Reads the path that a stream is bound to.
    async fn carry(self: Arc<Self>, from: CameFrom, mut stream: RawStream) {
        let mut first = First::new(self.clock.now());
        let path = loop {
            if let Some(path) = first.path() {
                break path;
            }
            if !self.more(&mut stream, &mut first).await {
                return stream.refuse(Code::POLICY_REJECTED).await;
            }
        };
        self.input(Input::Stream {
            from: from.key.node_id(),
            charge: from.charge,
            path,
            stream: Begun {
                stream,
                first,
                from,
            },
        });
    }

    /// Reads more bytes. Returns `false` if the stream ends before they are sufficient, or exceeds the time limit.
    async fn more(&self, stream: &mut RawStream, first: &mut First) -> bool {
        match timeout_at(self.clock.instant(first.until()), stream.next()).await {
            Ok(Ok(Some(more))) => {
                first.push(&more);
                true
            }
            Ok(Ok(None) | Err(_)) | Err(_) => false,
        }
    }

    /// Opens the session that begins in the stream.
    async fn end_here(self: Arc<Self>, (nodes, charge): (Vec<NodeId>, ChargeTo), begun: Begun) {
        let Begun {
            mut stream,
            mut first,
            ..
        } = begun;
        first.ends_here(self.clock.now());
        let message = loop {
            match first.message(&MESSAGE_1) {
                Ok(None) => {}
                Ok(message) => break message,
                Err(_) => break None,
            }
            if !self.more(&mut stream, &mut first).await {
                break None;
            }
        };
        let tunnel = message.and_then(|m| self.exits.upgrade()?.open_forwarded(nodes, charge, &m));
        drop(self);
        match tunnel {
            Some(tunnel) => {
                let rest = first.into_rest().into();
                tunnel(Box::new(ForwardCarrier::new(rest, stream))).await;
            }
            None => stream.refuse(Code::AUTH_FAILED).await,
        }
    }
}

/// A lookup for another node's path, until it is dropped.
struct Looking {
    relay: Arc<Relay>,
    charge: ChargeTo,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.relay.lock().looked_up(self.charge);
    }
}

/// Advances the relay's clock, for as long as the relay exists.
async fn wake(relay: Weak<Relay>, clock: Clock, dials: Arc<Notify>) {
    let mut next = clock.now().mono;
    loop {
        let look = clock.now().mono + LOOK;
        tokio::select! {
            () = sleep_until(clock.instant(next.min(look))) => {}
            () = dials.notified() => {}
        }
        let Some(relay) = relay.upgrade() else { return };
        let todo = relay.told(|core| core.handle_timeout(clock.now()));
        next = relay.lock().poll_timeout().map_or(look, |wake| wake.at);
        todo.into_iter().for_each(|todo| relay.perform(todo));
    }
}

impl Paths for Relay {
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        ops: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code> {
        let mut answer = Ok(None);
        let ours = ops.is_none();
        let mut todo = self.heard(Input::Control {
            from: from.key,
            charge: from.charge,
            session: ops,
            ours,
            control: read(payload)?,
        });
        while let Some(next) = todo.pop() {
            match next {
                // The relay is not locked during expensive arithmetic.
                Transmit::Check(work) => {
                    todo.extend(self.heard(Input::Judged(work.run(&self.identity))));
                }
                Transmit::Answer { message, .. } => {
                    answer = Ok(Some(message.sign(&self.identity)));
                }
                Transmit::Acknowledge { token, .. } => {
                    answer = Ok(Some(self.acknowledged(token)));
                }
                Transmit::Refuse { code, .. } => answer = Err(code),
                Transmit::Fail {
                    told: Some((Some(back), message)),
                    ..
                } => {
                    let error = message.sign(&self.identity).to_bytes();
                    // A session whose queue is full notices the end of its streams.
                    let _ = back.try_send(Op::PathControl(error.into()));
                }
                other => self.perform(other),
            }
        }
        answer
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
mod tests;
