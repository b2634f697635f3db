mod carried;
mod connect;
mod look;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use betanet_carrier::Fingerprint;
use betanet_carrier::client::Trust;
use betanet_htx::pace::Padding;
use betanet_htx::{Config, Extra, L2, kind, offered_caps};
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_machine::{Rng, Time};
use betanet_session::{
    Clock, Count, OnSilence, Paths, SessionHandle, Silence, StreamRegistry, StreamType, Streams,
    native, seed,
};
use betanet_stack::{Dial, Dialer, RENEW_AFTER};

use crate::files::fresh_identity;
use crate::fronts::FrontRules;
use crate::own_paths::{OwnPaths, Reports};
use crate::templates::Templates;
use crate::{Error, TraceSelector};

pub use carried::serve_carrier;
pub use connect::PathTo;
pub use look::{calibrate_origin, visit};

/// The transport protocols that a node dials over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Transport {
    /// QUIC if the peer has it, with TCP as a fallback when QUIC does not answer soon.
    #[default]
    Either,
    /// TCP alone.
    Tcp,
    /// QUIC alone.
    Quic,
}

/// Maximum number of identities drawn until the peer is the side that decides on versions.
const DECIDES: u32 = 64;

/// Time that a relay's idle session with a peer that it dialled for others stays open: longer than a path's lifetime.
const POOL_IDLE: Duration = Duration::from_secs(200);

/// Minimum waiting time that is reported.
const SAID_FROM: Duration = Duration::from_secs(1);

struct Pooled {
    handle: SessionHandle,
    since: Time,
}

struct State {
    rng: Rng,
    dialer: Dialer,
    /// Pooled sessions by their nodes: the relays, then the peer.
    pool: BTreeMap<Vec<PublicKey>, Pooled>,
    fresh: BTreeMap<PublicKey, Identity>,
    /// Peers that did not answer over QUIC, and until when QUIC is not tried.
    no_quic: BTreeMap<PublicKey, Time>,
}

/// Returns the default fingerprint for dialling: a browser's, if this build has one.
///
/// # Errors
///
/// [`Error::Fingerprint`].
pub fn default_fingerprint() -> Result<Arc<dyn Fingerprint>, Error> {
    #[cfg(feature = "mimic")]
    let shape = betanet_mimic::Chromium::new().map_err(Error::Fingerprint)?;
    #[cfg(not(feature = "mimic"))]
    let shape = betanet_carrier::Plain;
    Ok(Arc::new(shape))
}

/// The dialling side of a node.
pub struct Node {
    identity: Option<Identity>,
    config: Config,
    clock: Clock,
    metrics: Arc<dyn Count>,
    trust: Trust,
    shape: Arc<dyn Fingerprint>,
    transport: Transport,
    /// Storage of origins' templates.
    templates: Option<Templates>,
    /// Rules for the allowed templates.
    fronts: FrontRules,
    /// The shape that the traffic follows.
    traffic: Option<Arc<TraceSelector>>,
    /// Padding of sent data when no shape is followed.
    padding: Option<Padding>,
    /// Local address from which to dial.
    from: Option<IpAddr>,
    registry: StreamRegistry,
    /// Callback of its sessions for a peer's silence.
    silence: Option<OnSilence>,
    own_paths: Arc<OwnPaths>,
    relay: Option<Weak<dyn Paths>>,
    state: Mutex<State>,
}

impl Node {
    /// Creates a node that dials with this identity. Without ciphers in `config`, it uses the fastest of this machine.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`], [`Error::Fingerprint`].
    pub fn new(identity: Option<Identity>, config: Config) -> Result<Self, Error> {
        let seed = seed()?;
        Ok(Self {
            identity,
            config: native(config),
            clock: Clock::start(),
            metrics: Arc::new(()),
            trust: Trust::web_pki(),
            shape: default_fingerprint()?,
            transport: Transport::default(),
            templates: None,
            fronts: FrontRules::default(),
            traffic: None,
            padding: None,
            from: None,
            registry: StreamRegistry::default(),
            silence: None,
            own_paths: Arc::default(),
            relay: None,
            state: Mutex::new(State {
                rng: Rng::new(&seed.split("node")),
                dialer: Dialer::new(&seed.split("dialer")),
                pool: BTreeMap::new(),
                fresh: BTreeMap::new(),
                no_quic: BTreeMap::new(),
            }),
        })
    }

    /// Creates a client without a listening role. It shows each peer a separate identity.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`], [`Error::Fingerprint`].
    pub fn client() -> Result<Self, Error> {
        Self::new(None, Config::default())
    }

    /// Sets the trusted roots for peers without a pin. The default is Mozilla's.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Sets the fingerprint that an observer sees when the node dials.
    #[must_use]
    pub fn with_fingerprint(mut self, shape: Arc<dyn Fingerprint>) -> Self {
        self.shape = shape;
        self
    }

    /// Sets the transport protocols for dialling.
    #[must_use]
    pub const fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Tells peers the template of their web site. It is observed with one GET before the first session there and then once a
    /// day, separately over TCP and over QUIC.
    #[must_use]
    pub fn with_templates(mut self, templates: Templates) -> Self {
        self.templates = Some(templates);
        self
    }

    /// Applies these rules to the templates that it sends.
    #[must_use]
    pub fn with_front_rules(mut self, fronts: FrontRules) -> Self {
        self.fronts = fronts;
        self
    }

    /// Sends in the bursts and records of a shape. The node then dials over TCP only, because QUIC's datagrams are not shaped.
    #[must_use]
    pub fn with_trace_selector(mut self, selector: TraceSelector) -> Self {
        self.traffic = Some(Arc::new(selector));
        self.transport = Transport::Tcp;
        self
    }

    /// Pads sent data when no shape is followed.
    #[must_use]
    pub const fn with_padding(mut self, padding: Padding) -> Self {
        self.padding = Some(padding);
        self
    }

    /// Reports when opening a session takes long, when a session's peer falls silent, and when it is heard again.
    #[must_use]
    pub fn with_silence_hook(mut self, told: OnSilence) -> Self {
        self.silence = Some(told);
        self
    }

    /// Sets the local address from which to dial.
    #[must_use]
    pub const fn with_source_address(mut self, from: Option<IpAddr>) -> Self {
        self.from = from;
        self
    }

    /// Passes libp2p substreams that peers open on this node's sessions to `taker`.
    #[must_use]
    pub fn with_stream_handler(mut self, taker: Arc<dyn Streams>) -> Self {
        self.registry.libp2p = Some(taker);
        self.offering()
    }

    /// Passes streams of an embedding program's type that peers open on this node's sessions to `handler`.
    #[must_use]
    pub fn with_stream_type(mut self, kind: StreamType, handler: impl Streams) -> Self {
        let handler: Arc<dyn Streams> = Arc::new(handler);
        self.registry.own.insert(kind.number(), (kind, handler));
        self.offering()
    }

    /// Passes mix packet streams that peers open on this node's sessions to `taker`.
    #[must_use]
    pub fn with_mix_handler(mut self, taker: Arc<dyn Streams>) -> Self {
        self.registry.mix = Some(taker);
        self.offering()
    }

    /// Opens sessions for a peer of version 1.1. Streams that the other end opens for that peer go to `taker`.
    #[must_use]
    pub fn translating(mut self, taker: Arc<dyn Streams>) -> Self {
        self.registry.libp2p = Some(taker);
        self.config = translated(self.config);
        self
    }

    fn offering(mut self) -> Self {
        self.config.accepts = [kind::BAR]
            .into_iter()
            .chain(self.registry.kinds())
            .collect();
        self.config.caps = self.registry.caps(&self.config);
        self
    }

    /// Makes this the dialling side of a relay, which handles path messages.
    #[doc(hidden)]
    #[must_use]
    pub fn with_paths(mut self, relay: Weak<dyn Paths>) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Reports the load that peers state to a mesh.
    #[doc(hidden)]
    pub fn reports_to(&self, reports: Reports) {
        self.own_paths.reports_to(reports);
    }

    fn paths(&self) -> Option<Arc<dyn Paths>> {
        match &self.relay {
            Some(relay) => relay.upgrade(),
            None => Some(Arc::clone(&self.own_paths) as Arc<dyn Paths>),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the identity that this peer sees.
    ///
    /// # Errors
    ///
    /// [`betanet_session::Error::Entropy`].
    pub fn identity_for(&self, peer: &PublicKey) -> Result<Identity, Error> {
        if let Some(own) = &self.identity {
            return Ok(own.clone());
        }
        let mut state = self.lock();
        if let Some(known) = state.fresh.get(peer) {
            return Ok(known.clone());
        }
        let mut made = fresh_identity()?;
        // With a shape, the first answer of the server is longer if the server decides on the version, and only then can it be
        // padded. The side with the lower PeerID decides.
        let mut tries = if self.traffic.is_some() { DECIDES } else { 0 };
        while tries > 0 && made.public().peer_id() < peer.peer_id() {
            made = fresh_identity()?;
            tries -= 1;
        }
        state.fresh.insert(*peer, made.clone());
        Ok(made)
    }

    /// Returns the open session with a peer. Otherwise opens one, after the waiting time that earlier failures require.
    ///
    /// # Errors
    ///
    /// The session cannot be opened, or the peer is not dialled yet after repeated failures.
    pub async fn session(&self, peer: &Peer) -> Result<SessionHandle, Error> {
        self.session_over(&[], peer).await
    }

    /// Like [`Node::session`], over relays, the first of which is dialled: see [`Node::connect_over`].
    ///
    /// # Errors
    ///
    /// See [`Node::session`].
    pub async fn session_over(&self, relays: &[Peer], peer: &Peer) -> Result<SessionHandle, Error> {
        let way: Vec<PublicKey> = relays.iter().chain([peer]).map(|p| p.key).collect();
        let now = self.clock.now().mono;
        let dial = {
            let mut state = self.lock();
            if let Some(p) = state.pool.get(&way)
                && !p.handle.is_closed()
                && now - p.since < RENEW_AFTER
            {
                return Ok(p.handle.clone());
            }
            if let Some(p) = state.pool.remove(&way) {
                // An open session is not success yet. One that was refused, or cut before it was useful, counts as a failure.
                let outcome = p.handle.outcome();
                if outcome.worked() || !p.handle.is_closed() {
                    state.dialer.succeeded(&peer.key);
                }
                if p.handle.is_closed() && outcome.is_refused() {
                    state.dialer.refused(now, &peer.key);
                } else if p.handle.is_closed() && !outcome.is_well() {
                    state.dialer.failed(now, &peer.key);
                }
            }
            state.dialer.may_dial(now, &peer.key)
        };
        if let Dial::At(at) = dial {
            let wait = at - now;
            if wait > Duration::from_secs(120) {
                return Err(Error::Resting(wait.as_secs()));
            }
            if let Some(told) = self.silence.as_ref().filter(|_| wait >= SAID_FROM) {
                told(Silence::Resting(wait));
            }
            tokio::time::sleep(wait).await;
        }
        // This is boxed, because the connection to the first relay is a session too.
        match Box::pin(self.connect_over(relays, peer)).await {
            Ok(handle) => {
                let since = self.clock.now().mono;
                if self.relay.is_some() {
                    handle.ends_idle(POOL_IDLE).await;
                }
                let mut state = self.lock();
                state.pool.retain(|_, p| !p.handle.is_closed());
                let pooled = Pooled {
                    handle: handle.clone(),
                    since,
                };
                state.pool.insert(way, pooled);
                Ok(handle)
            }
            Err(e) => {
                let now = self.clock.now().mono;
                self.lock().dialer.failed(now, &peer.key);
                Err(e)
            }
        }
    }

    /// Closes the sessions that [`Node::session`] keeps open.
    pub async fn close(&self) {
        let pool = std::mem::take(&mut self.lock().pool);
        for pooled in pool.into_values() {
            pooled.handle.close().await;
        }
    }
}

/// Returns the configuration of sessions for peers of 1.1: their streams are libp2p streams, and the version says so.
fn translated(mut config: Config) -> Config {
    let extra = Extra {
        aes: config.offers_aes(),
        libp2p: true,
        mix: false,
        naming: false,
        l2: L2::Translated,
    };
    config.accepts = vec![kind::LIBP2P];
    config.caps = offered_caps(config.pq.offered(), extra);
    config
}
