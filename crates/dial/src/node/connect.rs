//! Connects to a peer: chooses an address and a transport, and opens a session.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use betanet_carrier::client::{self, Trust, Way};
use betanet_carrier::{Carrier, Fingerprint, Padded, Shaped};
use betanet_htx::ticket::Ticket;
use betanet_htx::{By, Config, Secrets, Session, kind};
use betanet_keys::{Peer, PublicKey};
use betanet_machine::Seed;
use betanet_path::{TTL, build};
use betanet_session::ops::{OPS, RawStream};
use betanet_session::{
    Controls, Driver, Error as SessionError, ForwardCarrier, OuterFacts, SessionHandle, Silence,
};
use betanet_stack::Connection;
use betanet_traffic::shape::Shape;
use betanet_traffic::template::Template;
use betanet_wire::{Code, NodeId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Node, Transport};
use crate::address::QUIC;
use crate::{Error, farewell};

/// Head start of QUIC before TCP is tried too, in milliseconds. A random time of up to the same length is added.
const HEAD_START: u64 = 250;
/// Time for which a peer that did not answer over QUIC is dialled over TCP.
const QUIC_RESTS: Duration = Duration::from_secs(300);
/// Maximum number of peers for which that is remembered.
const RESTING_MAX: usize = 1024;
/// Time after which a waiting caller is notified that there is no session yet.
const SLOW: Duration = Duration::from_secs(4);
/// Time limit for opening a session on an open connection, without relays.
pub(super) const OPENS: Duration = Duration::from_secs(10);

/// The shape that a connection follows, and the trace with which it begins.
type Followed = Option<(Arc<Shape>, u16)>;

/// A path to build.
pub struct PathTo<'a> {
    /// The first node, which is dialled.
    pub entry: &'a Peer,
    /// All nodes of the path. The last is the peer.
    pub nodes: Vec<NodeId>,
    /// Start of the path, in milliseconds since the UNIX epoch.
    pub begun: u64,
    /// Lifetime of the path.
    pub ttl: Duration,
}

impl Node {
    /// Opens a new session at the first of the peer's addresses that succeeds. If the peer has addresses for both, QUIC is tried
    /// first, and TCP in parallel soon after.
    ///
    /// # Errors
    ///
    /// The failure at the last address.
    pub async fn connect(&self, peer: &Peer) -> Result<SessionHandle, Error> {
        self.told_if_slow(self.connect_anywhere(peer)).await
    }

    /// Reports once if opening a session takes long.
    async fn told_if_slow<T>(&self, opening: impl Future<Output = T>) -> T {
        let mut opening = std::pin::pin!(opening);
        if let Some(told) = &self.silence {
            match timeout(SLOW, &mut opening).await {
                Ok(opened) => return opened,
                Err(_) => told(Silence::Opening(SLOW)),
            }
        }
        opening.await
    }

    async fn connect_anywhere(&self, peer: &Peer) -> Result<SessionHandle, Error> {
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
                            // A node that was reached but is not the peer is not tried over the other transport.
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

    /// Races QUIC against TCP. An error comes with the addresses that failed.
    async fn connect_both<'a>(
        &self,
        peer: &Peer,
        quic: &'a str,
        tcp: &'a str,
    ) -> Result<SessionHandle, (Vec<&'a str>, Error)> {
        let start = Duration::from_millis(HEAD_START + self.lock().rng.below(HEAD_START));
        let (to_quic, way) = (quic.strip_prefix(QUIC).unwrap_or(quic), self.way(None));
        let trust = self.trust_for(peer);
        let (shape, trace) = self.look().await;
        let outer = client::race(to_quic, tcp, &trust, way, &*shape, start).await;
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
        let session = self.establish(peer, address, outer, trace).await;
        session.map_err(|e| (vec![address], e))
    }

    /// Opens a new session at the peer's first address, whose host was resolved to `ip`.
    ///
    /// # Errors
    ///
    /// The failure at that address.
    pub async fn connect_ip(&self, peer: &Peer, ip: IpAddr) -> Result<SessionHandle, Error> {
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
        let (shape, trace) = self.look().await;
        let outer = dial(address, &self.trust_for(peer), self.way(at), &*shape).await?;
        self.establish(peer, address, outer, trace).await
    }

    /// Returns the fingerprint of a connection, and the page load of the shape that it follows, if any.
    async fn look(&self) -> (Arc<dyn Fingerprint>, Followed) {
        let usual = Arc::clone(&self.shape);
        let Some(selector) = self.traffic.clone() else {
            return (usual, None);
        };
        let seed = Seed::new(self.lock().rng.array());
        let shape = Arc::clone(selector.shape());
        // The selector may be stored in a file.
        let drawing = Arc::clone(&selector);
        let drawn = tokio::task::spawn_blocking(move || drawing.draw(&seed));
        // Drawing fails only when the executor is shutting down.
        let trace = drawn.await.unwrap_or_default();
        let pausing = usual.pausing(selector.pauses(trace)).unwrap_or(usual);
        (pausing, Some((shape, trace)))
    }

    /// Returns the template whose ID is sent to the peer. `None` stands for zeros.
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

    /// Opens a session over an open outer connection.
    async fn establish(
        &self,
        peer: &Peer,
        address: &str,
        mut outer: client::Outer,
        followed: Followed,
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
        let label = match &followed {
            Some((shape, trace)) => label + &shape.mark(ekm0, *trace),
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
        .map_err(|e| SessionError::Request(e.into()))?;
        let ping = template.as_ref().filter(|t| t.ping_ms > 0);
        if let Some(template) = ping {
            outer.pinging(Duration::from_millis(template.ping_ms));
        }
        let told = template.filter(|t| t.origin_h2.is_some());
        let told = told.map(|t| (t, outer.watched()));
        // The request that opens the tunnel replaces the shape's first.
        let first = followed
            .as_ref()
            .and_then(|(shape, trace)| shape.traces().get(usize::from(*trace))?.first());
        if let Some(first) = first {
            outer.shaped(first.size);
        }
        let mut carrier = outer.open(&peer.key, &label).await.map_err(outer_error)?;
        if let Some((shape, trace)) = followed {
            let shaped = Shaped::client(carrier, shape, trace, held).map_err(outer_error)?;
            carrier = Box::new(shaped);
        } else if let Some(padding) = self.padding {
            carrier = Box::new(Padded::new(carrier, padding));
        }
        let opened = match self.run(session, carrier, peer, facts, Some(OPENS)).await {
            Err(Error::Session(SessionError::Carrier(source))) => Err(outer_error(source)),
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
            // The caller must not assume that the session exists.
            session.close().await;
            let refused = SessionError::Session {
                code: Code::UNSUPPORTED_FEATURE,
                reason: "the peer knows no PADDING, which was asked for".into(),
                by: By::Local,
            };
            return Err(refused.into());
        }
        Ok(session)
    }

    /// Opens a new session over `relays`, in this order. No relay can read the session. Each knows all nodes of the path, lengths
    /// and times, so this gives no anonymity.
    ///
    /// Without relays, this is [`Node::connect`].
    ///
    /// # Errors
    ///
    /// The first relay cannot be reached, a hop ended the path ([`Error::PathEnded`]), or the peer is not the expected one.
    pub async fn connect_over(&self, relays: &[Peer], peer: &Peer) -> Result<SessionHandle, Error> {
        let Some(entry) = relays.first() else {
            return self.connect(peer).await;
        };
        let nodes = relays
            .iter()
            .chain([peer])
            .map(|p| p.key.node_id())
            .collect();
        let begun = self.clock.now().unix_ms;
        let path = PathTo {
            entry,
            nodes,
            begun,
            ttl: TTL,
        };
        self.connect_by(self, path, peer).await
    }

    /// Opens a new session over a path that `before` builds. Uses a separate session with the path's entry.
    ///
    /// # Errors
    ///
    /// See [`Node::connect_over`].
    #[doc(hidden)]
    pub async fn connect_by(
        &self,
        before: &Self,
        path: PathTo<'_>,
        peer: &Peer,
    ) -> Result<SessionHandle, Error> {
        let outer = before.session(path.entry).await?;
        let own = before.identity_for(&path.entry.key)?;
        let paths = &before.own_paths;
        let begun = paths.stamp(path.begun);
        let built = build(&own, &path.nodes, begun, path.ttl, None).map_err(Error::Path)?;
        let entry = path.entry.key.node_id();
        let noted = paths.wait(entry, built.path, built.route);
        let opened = async {
            let control = built.control.to_bytes();
            outer.path_control(control.into()).await?;
            let first = Bytes::copy_from_slice(&built.path);
            let stream = outer.open_raw(kind::FORWARD, first).await?;
            paths.bind(entry, built.path, stream.inbox());
            self.run_over(path.nodes, stream, peer, outer.outer().clone())
                .await
        };
        let opened = opened.await;
        let ended = noted.then(|| paths.forget(entry, built.path));
        match (opened, ended.flatten()) {
            (Err(_), Some((why, by))) => Err(Error::PathEnded { by: by.into(), why }),
            (opened, _) => opened,
        }
    }

    /// Opens a session with `peer` in a stream that leads to it over `nodes`.
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
        .map_err(|e| SessionError::Request(e.into()))?;
        let carrier = Box::new(ForwardCarrier::new(Bytes::new(), stream));
        // Each relay dials the next. The session itself limits the time for that.
        let running = self.run(session, carrier, peer, outer, None);
        self.told_if_slow(running).await
    }

    /// Starts a session's task, and waits until the session is open, for at most `patience` if given.
    pub(super) async fn run(
        &self,
        session: Session,
        carrier: Box<dyn Carrier>,
        peer: &Peer,
        outer: OuterFacts,
        patience: Option<Duration>,
    ) -> Result<SessionHandle, Error> {
        let (ops, receiver) = mpsc::channel(OPS);
        let (opened, open) = oneshot::channel();
        let driver = Driver::new(
            Connection::new(session),
            carrier,
            self.clock,
            Controls::Handles(receiver),
            self.paths(),
            Arc::clone(&self.metrics),
            Some(opened),
        );
        let driver = driver
            .taking(self.registry.clone())
            .telling(self.silence.clone());
        let identity = driver.identity();
        let outcome = Arc::clone(&identity.2);
        farewell::spawn(driver.run());
        let open = match patience {
            Some(patience) => timeout(patience, open).await.map_err(|_| {
                let timeout = betanet_carrier::Error::Timeout(patience.as_secs());
                SessionError::Carrier(timeout)
            })?,
            None => open.await,
        };
        let ended = Err(SessionError::Exchange(outcome.error(0)));
        open.unwrap_or(ended)?;
        Ok(SessionHandle::new(ops, peer.key, outer, identity))
    }
}

/// Opens an outer connection to `HOST:PORT` over TCP, or to `quic:HOST:PORT`.
pub(super) async fn dial(
    address: &str,
    trust: &Trust,
    way: Way,
    shape: &dyn Fingerprint,
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
