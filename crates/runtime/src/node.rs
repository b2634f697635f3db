use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use betanet_bar::{Client, Handler, ReadFailed, Request, Response, status};
use betanet_carrier::client::{self, Trust, Way};
use betanet_carrier::{Carrier, Padded, Shape, Shaped};
use betanet_htx::pace::Padding;
use betanet_htx::shape::Shape as TrafficShape;
use betanet_htx::template::Template;
use betanet_htx::ticket::Ticket;
use betanet_htx::{By, Config, Secrets, Session, kind, offered_caps};
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_machine::{Rng, Time};
use betanet_path::{TTL, build};
use betanet_stack::{Connection, Dial, Dialer, RENEW_AFTER};
use betanet_wire::{Code, NodeId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::driver::{Driver, OPS, Wishes};
use crate::files::fresh_identity;
use crate::forward::{ForwardCarrier, OwnPaths, Paths, RawStream, Relay};
use crate::fronts::FrontRules;
use crate::mesh::Reports;
use crate::streams::Takers;
use crate::templates::{Calibrated, Templates};
use crate::translate::translated;
use crate::{Clock, Error, Metrics, OuterFacts, SessionHandle, Streams, seed};

/// Answers nothing: a client that serves no one.
#[derive(Clone, Copy, Debug)]
struct NoService;

impl Handler for NoService {
    type Exchange = ();
    fn begin(&mut self, _: Client, _: Request) -> Result<(), Response> {
        Err(Response::new(status::NOT_FOUND))
    }
    fn body(&mut self, (): &mut (), _: &[u8]) -> Result<(), Response> {
        Ok(())
    }
    fn end(&mut self, (): &mut ()) -> Response {
        Response::new(status::NOT_FOUND)
    }
    fn read(&mut self, (): &mut (), _: usize) -> Result<Bytes, ReadFailed> {
        Ok(Bytes::new())
    }
}

/// What an address begins with that is dialled over QUIC: `quic:HOST:PORT`.
pub(crate) const QUIC: &str = "quic:";
/// What QUIC gets before TCP is tried beside it: this many milliseconds, and up to as many again.
const HEAD_START: u64 = 250;
/// How long a peer whose QUIC was not answered is dialled over TCP.
const QUIC_RESTS: Duration = Duration::from_secs(300);
/// Peers of which that is remembered.
const RESTING_MAX: usize = 1024;

/// What a node dials over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// QUIC where the peer has it, and TCP where that is not answered soon.
    #[default]
    Either,
    /// TCP alone.
    Tcp,
    /// QUIC alone.
    Quic,
}

/// Identities that are drawn until the peer is the one that decides on versions.
const DECIDES: u32 = 64;

struct Pooled {
    handle: SessionHandle,
    since: Time,
}

struct State {
    rng: Rng,
    dialer: Dialer,
    /// By the peer, behind those that it is reached over.
    pool: BTreeMap<Vec<PublicKey>, Pooled>,
    fresh: BTreeMap<PublicKey, Identity>,
    /// Peers whose QUIC was not answered, and until when it is not tried.
    no_quic: BTreeMap<PublicKey, Time>,
}

/// What dialling looks like, unless said otherwise: a browser, where this was built with one.
pub(crate) fn default_shape() -> Result<Arc<dyn Shape>, Error> {
    #[cfg(feature = "mimic")]
    let shape = betanet_mimic::Chromium::new().map_err(Error::Shape)?;
    #[cfg(not(feature = "mimic"))]
    let shape = betanet_carrier::Plain;
    Ok(Arc::new(shape))
}

/// A node's dialling side.
pub struct Node {
    identity: Option<Identity>,
    config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    trust: Trust,
    shape: Arc<dyn Shape>,
    transport: Transport,
    /// Where templates of origins are kept.
    templates: Option<Templates>,
    /// Which templates are let pass.
    fronts: FrontRules,
    /// The shape that traffic follows.
    traffic: Option<Arc<TrafficShape>>,
    /// How what is sent is padded, without a shape.
    padding: Option<Padding>,
    /// The local address to dial from.
    from: Option<IpAddr>,
    takers: Takers,
    own_paths: Arc<OwnPaths>,
    relay: Option<Weak<Relay>>,
    state: Mutex<State>,
}

impl Node {
    /// A node that dials with this identity.
    ///
    /// # Errors
    ///
    /// [`Error::Entropy`], [`Error::Shape`].
    pub fn new(identity: Option<Identity>, config: Config) -> Result<Self, Error> {
        let seed = seed()?;
        Ok(Self {
            identity,
            config,
            clock: Clock::start(),
            metrics: Arc::new(Metrics::new()),
            trust: Trust::web_pki(),
            shape: default_shape()?,
            transport: Transport::default(),
            templates: None,
            fronts: FrontRules::default(),
            traffic: None,
            padding: None,
            from: None,
            takers: Takers::default(),
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

    /// A client without a listening role: each peer sees an identity of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Entropy`], [`Error::Shape`].
    pub fn client() -> Result<Self, Error> {
        Self::new(None, Config::default())
    }

    /// With other roots than Mozilla's for peers without a pin.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Looks to an observer like `shape` where it dials.
    #[must_use]
    pub fn shaped(mut self, shape: Arc<dyn Shape>) -> Self {
        self.shape = shape;
        self
    }

    /// Dials over this.
    #[must_use]
    pub const fn dialling_over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Tells peers the template of their web site, which is looked at once a day, with one GET, before the first session there: one
    /// over TCP, one over QUIC.
    #[must_use]
    pub fn telling_templates(mut self, templates: Templates) -> Self {
        self.templates = Some(templates);
        self
    }

    /// Holds the templates that it tells to these rules.
    #[must_use]
    pub fn held_to(mut self, fronts: FrontRules) -> Self {
        self.fronts = fronts;
        self
    }

    /// Sends in the bursts and records of a shape, over TCP alone: what QUIC's datagrams look like is not shaped.
    #[must_use]
    pub fn following(mut self, shape: Arc<TrafficShape>) -> Self {
        if let Some(pausing) = self.shape.pausing(shape.pauses().collect()) {
            self.shape = pausing;
        }
        self.traffic = Some(shape);
        self.transport = Transport::Tcp;
        self
    }

    /// Pads what it sends, where no shape is followed.
    #[must_use]
    pub const fn padding(mut self, padding: Padding) -> Self {
        self.padding = Some(padding);
        self
    }

    /// Dials from this local address.
    #[must_use]
    pub const fn dialling_from(mut self, from: Option<IpAddr>) -> Self {
        self.from = from;
        self
    }

    /// Gives libp2p substreams that peers open on sessions of this node to `taker`.
    #[must_use]
    pub fn taking_streams(mut self, taker: Arc<dyn Streams>) -> Self {
        self.takers.libp2p = Some(taker);
        self.offering()
    }

    /// Gives streams of packets of the mix that peers open on sessions of this node to `taker`.
    #[must_use]
    pub fn mixing(mut self, taker: Arc<dyn Streams>) -> Self {
        self.takers.mix = Some(taker);
        self.offering()
    }

    /// Opens sessions for a peer of version 1.1, whose other end opens streams for it that `taker` takes.
    #[must_use]
    pub(crate) fn translating(mut self, taker: Arc<dyn Streams>) -> Self {
        self.takers.libp2p = Some(taker);
        self.config = translated(self.config);
        self
    }

    fn offering(mut self) -> Self {
        self.config.accepts = [kind::BAR].into_iter().chain(self.takers.kinds()).collect();
        self.config.caps = offered_caps(self.config.pq.offered(), self.takers.extra());
        self
    }

    /// The dialling side of a relay, which takes path messages.
    pub(crate) fn with_paths(mut self, relay: Weak<Relay>) -> Self {
        self.relay = Some(relay);
        self
    }

    /// Tells a mesh what peers say of their load.
    pub(crate) fn reports_to(&self, reports: Reports) {
        self.own_paths.reports_to(reports);
    }

    fn paths(&self) -> Option<Arc<dyn Paths>> {
        match &self.relay {
            Some(relay) => relay.upgrade().map(|r| r as Arc<dyn Paths>),
            None => Some(Arc::clone(&self.own_paths) as Arc<dyn Paths>),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity that this peer sees.
    pub(crate) fn identity_for(&self, peer: &PublicKey) -> Result<Identity, Error> {
        if let Some(own) = &self.identity {
            return Ok(own.clone());
        }
        let mut state = self.lock();
        if let Some(known) = state.fresh.get(peer) {
            return Ok(known.clone());
        }
        let mut made = fresh_identity()?;
        // Of a shape's first answers the server's is longer where it decides, and only then can be filled up: the lower PeerID does.
        let mut tries = if self.traffic.is_some() { DECIDES } else { 0 };
        while tries > 0 && made.public().peer_id() < peer.peer_id() {
            made = fresh_identity()?;
            tries -= 1;
        }
        state.fresh.insert(*peer, made.clone());
        Ok(made)
    }

    /// The session with a peer: the one that stands, or a fresh one after the wait that earlier failures ask for.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or the peer rests after repeated failures.
    pub async fn session(&self, peer: &Peer) -> Result<SessionHandle, Error> {
        self.session_over(&[], peer).await
    }

    /// The same over relays, the first of which is dialled: see [`Node::connect_over`].
    ///
    /// # Errors
    ///
    /// As [`Node::session`].
    pub async fn session_over(&self, relays: &[Peer], peer: &Peer) -> Result<SessionHandle, Error> {
        let way: Vec<PublicKey> = relays.iter().chain([peer]).map(|p| p.key).collect();
        let now = self.clock.now().mono;
        let dial = {
            let mut state = self.lock();
            if let Some(p) = state.pool.get(&way) {
                if !p.handle.is_closed() && now - p.since < RENEW_AFTER {
                    return Ok(p.handle.clone());
                }
                state.pool.remove(&way);
            }
            state.dialer.may_dial(now, &peer.key)
        };
        if let Dial::At(at) = dial {
            let wait = at - now;
            if wait > Duration::from_secs(120) {
                return Err(Error::Resting(wait.as_secs()));
            }
            tokio::time::sleep(wait).await;
        }
        // In a box: the way to the first relay is a session too.
        match Box::pin(self.connect_over(relays, peer)).await {
            Ok(handle) => {
                let since = self.clock.now().mono;
                let mut state = self.lock();
                state.dialer.succeeded(&peer.key);
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

    /// Closes the sessions that stand for [`Node::session`].
    pub async fn close(&self) {
        let pool = std::mem::take(&mut self.lock().pool);
        for pooled in pool.into_values() {
            pooled.handle.close().await;
        }
    }

    /// Opens a fresh session, at the first of the peer's addresses where that succeeds. Where the peer has addresses for both, QUIC
    /// is tried first, and TCP beside it soon after.
    ///
    /// # Errors
    ///
    /// What failed at the last address.
    pub async fn connect(&self, peer: &Peer) -> Result<SessionHandle, Error> {
        let over_quic = |a: &&str| a.starts_with(QUIC);
        let addresses = || peer.addrs.iter().map(String::as_str);
        let quic = addresses().filter(over_quic);
        let tcp = addresses().filter(|a| !over_quic(a));
        let mut last = Error::NoAddress;
        let mut left: Vec<&str> = match self.transport {
            Transport::Quic => quic.collect(),
            Transport::Tcp => tcp.collect(),
            Transport::Either => {
                let both = quic.clone().next().zip(tcp.clone().next());
                let mut left: Vec<&str> = tcp.chain(quic).collect();
                if let Some((quic, tcp)) = both
                    && !self.quic_rests(&peer.key)
                {
                    match self.connect_both(peer, quic, tcp).await {
                        Ok(handle) => return Ok(handle),
                        Err((tried, e)) => {
                            // Who was reached and is not the peer is not asked again over the other.
                            if e.is_of_the_way() {
                                left.retain(|a| !tried.contains(a));
                            } else {
                                left.retain(|a| *a != quic && *a != tcp);
                            }
                            last = e;
                        }
                    }
                }
                left
            }
        };
        if left.is_empty() && self.transport == Transport::Quic {
            return Err(Error::NoQuic);
        }
        for address in left.drain(..) {
            match self.connect_at(peer, address, None).await {
                Ok(handle) => return Ok(handle),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    fn quic_rests(&self, key: &PublicKey) -> bool {
        let now = self.clock.now().mono;
        let mut state = self.lock();
        state.no_quic.retain(|_, until| *until > now);
        state.no_quic.contains_key(key)
    }

    /// Races QUIC against TCP; with a failure comes at which addresses it was one.
    async fn connect_both<'a>(
        &self,
        peer: &Peer,
        quic: &'a str,
        tcp: &'a str,
    ) -> Result<SessionHandle, (Vec<&'a str>, Error)> {
        let start = Duration::from_millis(HEAD_START + self.lock().rng.below(HEAD_START));
        let (to_quic, way) = (quic.strip_prefix(QUIC).unwrap_or(quic), self.way(None));
        let trust = self.trust_for(peer);
        let outer = client::race(to_quic, tcp, &trust, way, &*self.shape, start).await;
        let outer = outer.map_err(|source| {
            let address = tcp.to_owned();
            (vec![quic, tcp], Error::Outer { address, source })
        })?;
        let address = match &outer.facts().instead {
            None => quic,
            Some(why) => {
                tracing::info!(peer = %peer.name(), why, "over TCP, as QUIC was tried and failed");
                let mut state = self.lock();
                if state.no_quic.len() < RESTING_MAX {
                    let until = self.clock.now().mono + QUIC_RESTS;
                    state.no_quic.insert(peer.key, until);
                }
                tcp
            }
        };
        let session = self.establish(peer, address, outer).await;
        session.map_err(|e| (vec![address], e))
    }

    /// Opens a fresh session at the peer's first address, whose host was resolved to `ip`.
    pub(crate) async fn connect_ip(&self, peer: &Peer, ip: IpAddr) -> Result<SessionHandle, Error> {
        let address = peer.addrs.first().ok_or(Error::NoAddress)?;
        self.connect_at(peer, address, Some(ip)).await
    }

    const fn way(&self, at: Option<IpAddr>) -> Way {
        Way {
            at,
            from: self.from,
        }
    }

    fn trust_for(&self, peer: &Peer) -> Trust {
        match &peer.pin {
            Some(pin) => Trust::Pin(*pin),
            None => self.trust.clone(),
        }
    }

    async fn connect_at(
        &self,
        peer: &Peer,
        address: &str,
        at: Option<IpAddr>,
    ) -> Result<SessionHandle, Error> {
        let outer = dial(address, &self.trust_for(peer), self.way(at), &*self.shape).await?;
        self.establish(peer, address, outer).await
    }

    /// The template whose ID the peer is told, zeros where there is none.
    async fn template(&self, peer: &Peer, address: &str) -> Result<Option<Template>, Error> {
        let now_ms = self.clock.now().unix_ms;
        let template = match &self.templates {
            Some(templates) => {
                let (trust, once) = (self.trust_for(peer), (false, Duration::ZERO));
                let looked = templates.calibrate(address, &trust, &*self.shape, now_ms, once);
                Some(looked.await?.template)
            }
            None => None,
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let id = template.as_ref().map_or([0; 32], Template::id);
        self.fronts.check(&id, Some(host), now_ms)?;
        Ok(template)
    }

    /// A session over an outer connection that stands.
    async fn establish(
        &self,
        peer: &Peer,
        address: &str,
        mut outer: client::Outer,
    ) -> Result<SessionHandle, Error> {
        let outer_error = |source| Error::Outer {
            address: address.to_owned(),
            source,
        };
        let facts = outer.facts().clone();
        let held = facts.held;
        let ekm0 = outer.ekm0();
        let (secrets, label) = {
            let rng = &mut self.lock().rng;
            (Secrets::draw(rng), Ticket::fresh_label(&rng.array()))
        };
        let label = match &self.traffic {
            Some(shape) => label + &shape.mark(ekm0),
            None => label,
        };
        let identity = self.identity_for(&peer.key)?;
        let template = self.template(peer, address).await?;
        let config = Config {
            template: template.as_ref().map_or([0; 32], Template::id),
            ..self.config.clone()
        };
        let session = Session::connect(
            self.clock.now(),
            config,
            &identity,
            &peer.key,
            ekm0,
            secrets,
        )
        .map_err(betanet_stack::Error::from)?;
        let ping = template.as_ref().filter(|t| t.ping_ms > 0);
        if let Some(template) = ping {
            outer.pinging(Duration::from_millis(template.ping_ms));
        }
        let told = template.filter(|t| t.origin_h2.is_some());
        let told = told.map(|t| (t, outer.watched()));
        // The request that opens the tunnel takes the place of the shape's first.
        let first = self
            .traffic
            .as_ref()
            .and_then(|s| s.traces().first()?.first());
        if let Some(first) = first {
            outer.shaped(first.size);
        }
        let mut carrier = outer.open(&peer.key, &label).await.map_err(outer_error)?;
        if let Some(shape) = &self.traffic {
            let shaped = Shaped::client(carrier, Arc::clone(shape), held).map_err(outer_error)?;
            carrier = Box::new(shaped);
        } else if let Some(padding) = self.padding {
            carrier = Box::new(Padded::new(carrier, padding));
        }
        let opened = match self.run(session, carrier, peer, facts).await {
            Err(Error::Outer { source, .. }) => Err(outer_error(source)),
            other => other,
        };
        if let (Some((told, watch)), Some(templates)) = (told, &self.templates)
            && let Some(seen) = watch.settings()
            && templates.compare(address, &told, seen)
        {
            tracing::warn!(
                address,
                "other SETTINGS than in the template: it is looked at again"
            );
        }
        let session = opened?;
        let wants = self.padding.is_some() || self.traffic.is_some();
        if wants
            && !session
                .facts()
                .await?
                .features
                .iter()
                .any(|f| f == "padding")
        {
            // Whoever asked for it is not to believe that it is there.
            session.close().await;
            return Err(Error::Session {
                code: Code::UNSUPPORTED_FEATURE,
                reason: "the peer knows no PADDING, which was asked for".into(),
                by: By::Local,
            });
        }
        Ok(session)
    }

    /// Opens a fresh session over `relays`, in this order. None of them reads what the session says; each of them knows all
    /// nodes of the path, lengths and times: this is no anonymity. Without relays it is [`Node::connect`].
    ///
    /// # Errors
    ///
    /// The first relay is not reached, a hop ended the path ([`Error::PathEnded`]), or the peer is not the one wanted.
    pub async fn connect_over(&self, relays: &[Peer], peer: &Peer) -> Result<SessionHandle, Error> {
        let Some(entry) = relays.first() else {
            return self.connect(peer).await;
        };
        let outer = self.session(entry).await?;
        let nodes: Vec<NodeId> = relays
            .iter()
            .chain([peer])
            .map(|p| p.key.node_id())
            .collect();
        let now = self.clock.now();
        let built = build(
            &self.identity_for(&entry.key)?,
            &nodes,
            now.unix_ms,
            TTL,
            None,
        )?;
        let entry = entry.key.node_id();
        let noted = self.own_paths.wait(entry, built.path, built.route);
        let opened = async {
            let control = built.control.to_bytes();
            outer.path_control(control.into()).await?;
            let first = Bytes::copy_from_slice(&built.path);
            let stream = outer.open_raw(kind::FORWARD, first).await?;
            self.own_paths.bind(entry, built.path, stream.inbox());
            self.run_over(nodes, stream, peer, outer.outer.clone())
                .await
        };
        let opened = opened.await;
        let ended = noted.then(|| self.own_paths.forget(entry, built.path));
        match (opened, ended.flatten()) {
            (Err(_), Some((why, by))) => Err(Error::PathEnded { by: by.into(), why }),
            (opened, _) => opened,
        }
    }

    /// A session with `peer` in a stream that leads to it over `nodes`.
    async fn run_over(
        &self,
        nodes: Vec<NodeId>,
        stream: RawStream,
        peer: &Peer,
        outer: OuterFacts,
    ) -> Result<SessionHandle, Error> {
        let secrets = Secrets::draw(&mut self.lock().rng);
        let session = Session::connect(
            self.clock.now(),
            self.config.clone().over(nodes),
            &self.identity_for(&peer.key)?,
            &peer.key,
            &[0; 32],
            secrets,
        )
        .map_err(betanet_stack::Error::from)?;
        let carrier = Box::new(ForwardCarrier::new(Bytes::new(), stream));
        self.run(session, carrier, peer, outer).await
    }

    /// Starts a session's task, and waits until it is open.
    async fn run(
        &self,
        session: Session,
        carrier: Box<dyn Carrier>,
        peer: &Peer,
        outer: OuterFacts,
    ) -> Result<SessionHandle, Error> {
        let (ops, receiver) = mpsc::channel(OPS);
        let (opened, open) = oneshot::channel();
        let driver = Driver::new(
            Connection::new(session, NoService),
            carrier,
            self.clock,
            Wishes::Handles(receiver),
            self.paths(),
            Arc::clone(&self.metrics),
            Some(opened),
        );
        let driver = driver.taking(self.takers.clone());
        let (id, over) = driver.identity();
        tokio::spawn(driver.run());
        let ended = Err(Error::NoAddress);
        open.await.unwrap_or(ended)?;
        Ok(SessionHandle {
            ops,
            peer: peer.key,
            outer,
            over,
            id,
        })
    }
}

/// Looks at a front origin as [`Templates::calibrate`] does, with what dialling looks like in this build.
///
/// # Errors
///
/// As that.
pub async fn calibrate_origin(
    templates: &Templates,
    address: &str,
    trust: &Trust,
    again: bool,
    idle: Duration,
) -> Result<Calibrated, Error> {
    let now_ms = Clock::start().now().unix_ms;
    let shape = default_shape()?;
    templates
        .calibrate(address, trust, &*shape, now_ms, (again, idle))
        .await
}

/// Looks at a listener from outside, as any visitor: what TLS agreed on, and what `GET /` is answered.
///
/// # Errors
///
/// What failed.
pub async fn visit(address: &str) -> Result<(OuterFacts, u16, Option<String>), Error> {
    let outer = dial(
        address,
        &Trust::Anything,
        Way::default(),
        &*default_shape()?,
    )
    .await?;
    let facts = outer.facts().clone();
    let (status, server) = outer.visit().await.map_err(|source| Error::Outer {
        address: address.to_owned(),
        source,
    })?;
    Ok((facts, status, server))
}

/// An outer connection to `HOST:PORT` over TCP, or to `quic:HOST:PORT`.
async fn dial(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Shape,
) -> Result<client::Outer, Error> {
    match address.strip_prefix(QUIC) {
        Some(address) => client::connect_quic(address, trust, way, shape).await,
        None => client::connect(address, trust, way, shape).await,
    }
    .map_err(|source| Error::Outer {
        address: address.to_owned(),
        source,
    })
}
