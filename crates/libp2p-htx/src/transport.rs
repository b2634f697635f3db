//! Dialling and listening.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use betanet_htx::Config;
use betanet_keys::Identity;
use betanet_runtime::{
    Gateway, GatewayConfig, MemoryStorage, Node, PeerSession, Streams, Substream, Trust,
};
use futures_util::future::BoxFuture;
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p_identity::PeerId;
use tokio::sync::mpsc;

use crate::address::{Target, announced, peer_id};
use crate::muxer::INBOUND_MAX;
use crate::{Error, Muxer};

/// Maximum number of unaccepted connections; further ones are refused.
const INCOMING_MAX: usize = 1024;

/// Configuration of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the web site that other visitors see.
    pub cover: PathBuf,
    /// A PEM chain and key; `None` for a self-signed certificate, whose hash is announced.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Certificate check for addresses without a certhash.
    pub trust: Trust,
    /// Maximum number of sessions of one address; `None` for the profile's 8.
    pub per_address: Option<usize>,
    /// Streams that one peer may open at once, and each second; `None` for the profile's 100 and 20.
    pub opens: Option<(u32, u32)>,
}

impl Options {
    /// Options with the web site in folder `cover`.
    #[must_use]
    pub fn new(cover: PathBuf) -> Self {
        Self {
            cover,
            certificate: None,
            trust: Trust::web_pki(),
            per_address: None,
            opens: None,
        }
    }
}

/// State that sessions share with the transport.
#[derive(Default)]
struct Shared {
    /// Receiver of each session's streams.
    sessions: BTreeMap<u64, mpsc::Sender<Substream>>,
    /// Streams of dialled sessions that arrived before their muxer existed.
    early: BTreeMap<u64, Vec<Substream>>,
    incoming: VecDeque<(IpAddr, PeerId, Muxer)>,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Hub(Arc<Mutex<Shared>>);

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Routes a new session's streams to the returned receiver.
    fn register(&self, session: &PeerSession) -> mpsc::Receiver<Substream> {
        let (sender, receiver) = mpsc::channel(INBOUND_MAX);
        let mut shared = self.lock();
        for stream in shared.early.remove(&session.id()).unwrap_or_default() {
            // The channel has room for all streams that may be open.
            let _ = sender.try_send(stream);
        }
        shared.sessions.insert(session.id(), sender);
        drop(shared);
        self.forget_after(session);
        receiver
    }

    /// Forgets a session once it has ended, with or without a muxer.
    fn forget_after(&self, session: &PeerSession) {
        let (hub, id, over) = (self.clone(), session.id(), session.over());
        tokio::spawn(async move {
            over.await;
            let mut shared = hub.lock();
            shared.sessions.remove(&id);
            shared.early.remove(&id);
        });
    }

    fn known(&self, session: &PeerSession, stream: Substream) -> Option<Substream> {
        match self.lock().sessions.get(&session.id()) {
            Some(sender) => {
                // A stream beyond the limit is reset on drop.
                let _ = sender.try_send(stream);
                None
            }
            None => Some(stream),
        }
    }
}

/// Streams on sessions that this node dialled.
struct Dialled(Hub);

impl Streams for Dialled {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        if let Some(stream) = self.0.known(session, stream) {
            let mut shared = self.0.lock();
            let early = shared.early.entry(session.id()).or_default();
            if early.is_empty() {
                self.0.forget_after(session);
            }
            if early.len() < INBOUND_MAX {
                early.push(stream);
            }
        }
    }
}

/// Streams on sessions that came to a listener; the first stream makes a connection.
struct Accepted(Hub);

impl Streams for Accepted {
    fn opened(&self, session: &PeerSession, _: u8, stream: Substream) {
        let Some(stream) = self.0.known(session, stream) else {
            return;
        };
        let Ok(peer) = peer_id(session.peer()) else {
            return;
        };
        let receiver = self.0.register(session);
        let muxer = Muxer::new(session.clone(), None, receiver);
        let _ = self.0.known(session, stream);
        let mut shared = self.0.lock();
        if shared.incoming.len() < INCOMING_MAX {
            let ip = session.ip().unwrap_or(IpAddr::from([0, 0, 0, 0]));
            shared.incoming.push_back((ip, peer, muxer));
        }
        if let Some(waker) = shared.waker.take() {
            waker.wake();
        }
    }
}

type Starting = BoxFuture<'static, Result<Gateway, betanet_runtime::Error>>;

enum State {
    Starting(Starting),
    Listening(Box<Gateway>, Multiaddr),
}

struct Listener {
    asked: Target,
    state: State,
}

/// A betanet node as a libp2p transport. Give it to `SwarmBuilder::with_other_transport`.
pub struct Transport {
    identity: Identity,
    options: Options,
    node: Arc<Node>,
    hub: Hub,
    listeners: Vec<(ListenerId, Listener)>,
    closed: VecDeque<ListenerId>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({})", self.identity.public())
    }
}

/// Result of an outgoing or incoming connection.
type Output = (PeerId, Muxer);

impl Transport {
    /// A node with this identity, which must also be its swarm's: see [`crate::keypair`].
    ///
    /// # Errors
    ///
    /// The system provides no randomness.
    pub fn new(identity: Identity, options: Options) -> Result<Self, Error> {
        let hub = Hub::default();
        let node = Node::new(Some(identity.clone()), Config::default())
            .map_err(betanet_runtime::Error::from)?
            .with_trust(options.trust.clone())
            .with_stream_handler(Arc::new(Dialled(hub.clone())));
        Ok(Self {
            identity,
            options,
            node: Arc::new(node),
            hub,
            listeners: Vec::new(),
            closed: VecDeque::new(),
        })
    }

    fn config(&self, target: &Target) -> Result<GatewayConfig, Error> {
        let host = target.sni.clone().unwrap_or_else(|| "localhost".into());
        let certificate = self.options.certificate.clone();
        let mut config = GatewayConfig::default();
        config.listener.listen = vec![target.address.clone()];
        config.site.cover = Some(self.options.cover.clone());
        config.node.key = PathBuf::from("libp2p");
        config.tls.hosts = vec![host];
        config.limits.per_address = self.options.per_address;
        config.limits.opens = self.options.opens.map(|o| o.0);
        config.limits.opens_per_second = self.options.opens.map(|o| o.1);
        config.tls.certificate = certificate.as_ref().map(|c| c.0.clone());
        config.tls.certificate_key = certificate.map(|c| c.1);
        // A new certificate is made at each start.
        config.tls.keep = false;
        config.check().map_err(Error::Options)?;
        Ok(config)
    }
}

impl libp2p_core::Transport for Transport {
    type Output = Output;
    type Error = Error;
    type ListenerUpgrade = Ready<Result<Output, Error>>;
    type Dial = BoxFuture<'static, Result<Output, Error>>;

    fn listen_on(&mut self, id: ListenerId, addr: Multiaddr) -> Result<(), TransportError<Error>> {
        let target =
            Target::of(&addr).map_err(|_| TransportError::MultiaddrNotSupported(addr.clone()))?;
        if target.ip.is_none() || target.peer.is_some() || target.pin.is_some() {
            return Err(TransportError::MultiaddrNotSupported(addr));
        }
        let config = self.config(&target).map_err(TransportError::Other)?;
        let identity = self.identity.clone();
        let taker: Arc<dyn Streams> = Arc::new(Accepted(self.hub.clone()));
        // The identity exists only in memory, and so does its state.
        let gateway = Gateway::builder(identity, &config)
            .streams(taker)
            .with_storage(Arc::new(MemoryStorage::default()));
        let starting: Starting = Box::pin(gateway.start());
        let listener = Listener {
            asked: target,
            state: State::Starting(starting),
        };
        self.listeners.push((id, listener));
        if let Some(waker) = self.hub.lock().waker.take() {
            waker.wake();
        }
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listeners.iter().position(|(l, _)| *l == id) else {
            return false;
        };
        let (_, listener) = self.listeners.swap_remove(at);
        if let State::Listening(gateway, _) = listener.state {
            tokio::spawn(async move { gateway.shutdown().await });
        }
        self.closed.push_back(id);
        true
    }

    fn dial(&mut self, addr: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        let target = Target::of(&addr).map_err(|_| TransportError::MultiaddrNotSupported(addr))?;
        let (id, peer) = target.peer().map_err(|e| TransportError::Other(e.into()))?;
        let (node, hub) = (Arc::clone(&self.node), self.hub.clone());
        Ok(Box::pin(async move {
            let handle = node.connect(&peer).await;
            let handle = handle.map_err(betanet_runtime::Error::from)?;
            let session = handle.peer_session();
            let inbound = hub.register(&session);
            Ok((id, Muxer::new(session, Some(handle), inbound)))
        }))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Error>> {
        if let Some(listener_id) = self.closed.pop_front() {
            let reason = Ok(());
            return Poll::Ready(TransportEvent::ListenerClosed {
                listener_id,
                reason,
            });
        }
        let mut failed = None;
        for (id, listener) in &mut self.listeners {
            let State::Starting(starting) = &mut listener.state else {
                continue;
            };
            match starting.as_mut().poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    failed = Some((*id, error));
                    break;
                }
                Poll::Ready(Ok(gateway)) => {
                    let facts = gateway.listening();
                    let port = facts.bound.first().map(std::net::SocketAddr::port);
                    let ip = listener.asked.ip.unwrap_or(IpAddr::from([0, 0, 0, 0]));
                    let pin = facts.pinned.then_some(facts.pin);
                    let listen_addr = announced(&listener.asked, ip, port.unwrap_or(0), pin);
                    listener.state = State::Listening(Box::new(gateway), listen_addr.clone());
                    let listener_id = *id;
                    return Poll::Ready(TransportEvent::NewAddress {
                        listener_id,
                        listen_addr,
                    });
                }
            }
        }
        if let Some((listener_id, error)) = failed {
            self.listeners.retain(|(l, _)| *l != listener_id);
            let reason = Err(error.into());
            return Poll::Ready(TransportEvent::ListenerClosed {
                listener_id,
                reason,
            });
        }
        let first = self.listeners.iter().find_map(|(id, l)| match &l.state {
            State::Listening(_, addr) => Some((*id, addr.clone())),
            State::Starting(_) => None,
        });
        let mut shared = self.hub.lock();
        if let Some((listener_id, local_addr)) = first
            && let Some((ip, peer, muxer)) = shared.incoming.pop_front()
        {
            let send_back_addr = Multiaddr::from(ip)
                .with(Protocol::Tcp(0))
                .with(Protocol::Tls);
            return Poll::Ready(TransportEvent::Incoming {
                listener_id,
                upgrade: ready(Ok((peer, muxer))),
                local_addr,
                send_back_addr,
            });
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
