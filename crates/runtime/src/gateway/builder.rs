//! Builds a gateway from its configuration, and from the services and streams that an embedding program registers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use betanet_carrier::client::Trust;
use betanet_carrier::{Jitter, Limits, QuicListener, SessionGate, Site};
use betanet_htx::{Aes, Config, L2, Pq, kind};
use betanet_keys::{Identity, Name};
use betanet_legacy::{ToServer, Translator};
use betanet_machine::Rng;
use betanet_mesh::{Draft, Policy};
use betanet_mixnet::{Mixing, PLACE};
use betanet_relay::{CountPeers, Relay, adopt_saved, multiaddr};
use betanet_session::{OwnTask, Router, Service, StreamRegistry, StreamType, native};
use betanet_store::Storage;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::acceptor::SessionAcceptor;
use super::parts::{certificate, cover, folder, look_of, mix_setup, reload, written};
use super::{Gateway, Listening};
use crate::admission::AdmissionControl;
use crate::connection_limiter::ConnectionLimiter;
use crate::health::{Accepting, Part, Pulse, Vitals};
use crate::listeners::{Bound, Listeners, accept, accept_quic, bind, leaves_v4};
use crate::metrics::Refusal;
use crate::reach::{Reach, interfaces, reach};
use crate::standing::Sessions;
use crate::{
    Clock, CoverSite, Error, Extension, FrontRules, GatewayConfig, Mesh, Metrics, Network, Node,
    Streams, seed,
};

/// A gateway that is not started yet.
///
/// A service is registered by the path prefix that it answers, over direct sessions and over the mix; the longest matching prefix
/// applies. Without a service for `/`, the configured folder is served there; without a folder, such requests get 404.
///
/// A stream type is registered by its number and feature. Its streams carry bytes both ways, in a format of the program's own.
///
/// ```no_run
/// use betanet_runtime::{
///     Call, Gateway, GatewayConfig, PeerSession, Reply, StreamType, Substream, load_or_new_identity,
/// };
///
/// async fn greet(call: Call) -> Reply {
///     Reply::text(200, format!("hello from {}\n", call.request.path()))
/// }
///
/// fn echo(_: &PeerSession, _: u8, mut stream: Substream) {
///     tokio::spawn(async move {
///         while let Ok(Some(bytes)) = stream.next().await {
///             if stream.write(bytes).await.is_err() {
///                 return;
///             }
///         }
///         let _ = stream.finish().await;
///     });
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config = GatewayConfig::in_state("./node");
/// let identity = load_or_new_identity(&config.node.key)?;
/// let gateway = Gateway::builder(identity, &config)
///     .service("/hello/", greet)
///     .stream_type(StreamType::new(0x80, "example-echo")?, echo)
///     .start()
///     .await?;
/// println!("peer {}", gateway.listening().peer());
/// # Ok(()) }
/// ```
pub struct GatewayBuilder {
    identity: Identity,
    config: GatewayConfig,
    router: Router,
    streams: Option<Arc<dyn Streams>>,
    types: BTreeMap<u8, (StreamType, Arc<dyn Streams>)>,
    storage: Option<Arc<dyn Storage>>,
    extensions: Vec<Arc<dyn Extension>>,
    peers: Option<Arc<dyn CountPeers>>,
    prices: BTreeMap<String, u64>,
}

impl std::fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}

impl GatewayBuilder {
    pub(super) fn new(identity: Identity, config: GatewayConfig) -> Self {
        Self {
            identity,
            config,
            router: Router::default(),
            streams: None,
            types: BTreeMap::new(),
            storage: None,
            extensions: Vec::new(),
            peers: None,
            prices: BTreeMap::new(),
        }
    }

    /// Registers `service` for a path prefix, such as `/log/`.
    #[must_use]
    pub fn service(mut self, prefix: &str, service: impl Service) -> Self {
        self.router.set(prefix, Arc::new(OwnTask::new(service)));
        self
    }

    /// Passes libp2p substreams that peers open to `taker`.
    #[must_use]
    pub fn streams(mut self, taker: Arc<dyn Streams>) -> Self {
        self.streams = Some(taker);
        self
    }

    /// Passes streams of `kind` that peers open to `handler`, and offers its feature. An earlier handler of this type is replaced.
    #[must_use]
    pub fn stream_type(mut self, kind: StreamType, handler: impl Streams) -> Self {
        let handler: Arc<dyn Streams> = Arc::new(handler);
        self.types.insert(kind.number(), (kind, handler));
        self
    }

    /// Keeps the node's state in `storage`, instead of the configured folder.
    #[must_use]
    pub fn with_storage(mut self, storage: Arc<dyn Storage>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Adds metrics, health checks and pages at the admin address.
    #[must_use]
    pub fn extension(mut self, extension: Arc<dyn Extension>) -> Self {
        self.extensions.push(extension);
        self
    }

    /// Has bytes that nodes forward for each other counted by peers: those of relayed streams, and of packets of the mix.
    #[must_use]
    pub fn count_peers(mut self, peers: Arc<dyn CountPeers>) -> Self {
        self.peers = Some(peers);
        self
    }

    /// Announces a price in the node's record.
    #[must_use]
    pub fn price(mut self, of: &str, units: u64) -> Self {
        self.prices.insert(of.to_owned(), units);
        self
    }

    /// Opens the listeners that the configuration names.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start(self) -> Result<Gateway, Error> {
        let Self {
            identity,
            config,
            mut router,
            streams,
            types,
            storage,
            extensions,
            peers,
            prices,
        } = self;
        let config = &config;
        if !router.has("/") {
            router.set("/", folder(config)?);
        }
        config.keeps_secrets()?;
        // Hold the folder before reading any of it, so that only this node uses it.
        let held = match &storage {
            None => config.hold_state(false)?,
            Some(_) => None,
        };
        let storage = storage.or_else(|| held.clone().map(|s| s as Arc<dyn Storage>));
        let connections_max = crate::descriptors::connections(
            config.limits.max_connections,
            config.traffic.jitter.is_some(),
        )?;
        let certificate = certificate(config)?;
        let mut bound = Vec::new();
        for address in &config.listener.listen {
            let leaves_v4 = leaves_v4(address, &config.listener.listen);
            bound.push(bind(address, config.listener.quic, leaves_v4).await?);
        }
        let facts = certificate.facts();
        let now = i64::try_from(Clock::start().now().unix_ms / 1000).unwrap_or(i64::MAX);
        if let Err(why) = facts.counts_at(now) {
            tracing::warn!("the certificate does not count: {why}");
        }
        let sockets: Vec<_> = bound.iter().map(Bound::socket).collect();
        let Reach { addresses, note } = if config.listener.advertise.is_empty() {
            reach(&sockets, &facts, &interfaces())
        } else {
            let addresses = config.listener.advertise.clone();
            Reach {
                addresses,
                note: None,
            }
        };
        let cover = cover(config, storage.as_deref(), &addresses)?;
        let network = match &config.mesh.network {
            Some(path) => {
                let mut network = Network::read(path)?;
                network.more_seeds.clone_from(&config.mesh.more_seeds);
                Some(network)
            }
            None => None,
        };
        let mut fronts = FrontRules {
            profile: config.traffic.profile,
            ..FrontRules::default()
        };
        if let Some(network) = &network {
            fronts = FrontRules::read(
                config.traffic.profile,
                config.traffic.front_origins.as_deref(),
                network,
            )?;
        }
        let mut policy = network
            .as_ref()
            .map_or_else(Policy::default, |n| n.policy.clone());
        policy.per_address = config.limits.per_address.unwrap_or(policy.per_address);
        policy.opens = config.limits.streams().unwrap_or(policy.opens);
        let metrics = Arc::new(Metrics::new());
        let keeper =
            AdmissionControl::new(&policy, config.limits.max_sessions, Arc::clone(&metrics));
        let standing = keeper.clone();
        let sessions = Sessions::default();
        let limits = [
            (
                Refusal::AddressConnections,
                config.limits.connections_per_address,
            ),
            (Refusal::AddressPace, config.limits.connects_per_second),
            (Refusal::Connections, connections_max),
            (Refusal::AddressSessions, policy.per_address),
            (Refusal::Sessions, config.limits.max_sessions),
            (Refusal::Opens, policy.opens.0 as usize),
        ]
        .map(|(refusal, n)| (refusal, n as u64));
        let stop = CancellationToken::new();
        let key = *identity.public();
        let clock = Clock::start();
        let rng = Mutex::new(Rng::new(&seed()?));
        let aes = if config.node.aes {
            Aes::Offer
        } else {
            Aes::Off
        };
        let dials = Config {
            aes,
            ..Config::default()
        };
        let node =
            Node::new(Some(identity.clone()), dials)?.with_source_address(config.node.dial_from);
        let node = match &config.tls.ca {
            Some(file) => node.with_trust(Trust::roots_of(file).map_err(Error::Certificate)?),
            None => node,
        };
        let mut accepts = vec![kind::BAR, kind::FORWARD];
        if network.is_some() {
            accepts.extend([kind::DISCOVER, kind::GOSSIP]);
        }
        let mut mixing = match (&network, &storage) {
            (Some(network), Some(storage)) => {
                let counted = (metrics.mix.clone() as _, metrics.clone() as _);
                let own = key.node_id();
                Mixing::prepare(own, &mix_setup(config), network, &**storage, counted, clock)?
            }
            _ => None,
        };
        let compat11 = config.legacy.compat11();
        let settings = Some(&compat11).filter(|c| c.is_on());
        let translator = settings.zip(storage.clone()).map(|(settings, storage)| {
            let kept = (storage, config.node.key.as_path());
            let own = identity.clone();
            Translator::new(own, settings, kept, metrics.clone(), clock).map(Arc::new)
        });
        let translator = translator.transpose()?;
        let accepts11 = translator.as_ref().filter(|_| compat11.accept);
        let registry = StreamRegistry {
            libp2p: streams,
            mix: mixing.as_ref().and_then(Mixing::taker),
            translated: accepts11
                .filter(|t| t.dials())
                .map(|t| Arc::new(ToServer(Arc::clone(t))) as Arc<dyn Streams>),
            own: types,
            l2: if accepts11.is_some() {
                L2::Either
            } else {
                L2::Own
            },
        };
        accepts.extend(registry.kinds());
        if let Some(mixing) = &mixing {
            router.set(PLACE, Arc::new(mixing.well_known()));
        }
        let service: Arc<dyn Service> = Arc::new(router);
        let over_mix = Arc::clone(&service);
        let node = match &registry.mix {
            Some(taker) => node.with_mix_handler(Arc::clone(taker)),
            None => node,
        };
        let carries = network.is_some() && config.mesh.roles.relays();
        let own = identity.clone();
        let takes = native(Config {
            pq: if config.node.pq { Pq::Offer } else { Pq::Off },
            aes,
            accepts,
            ..Config::default()
        });
        let acceptor = Arc::new_cyclic(|acceptor: &Weak<SessionAcceptor>| SessionAcceptor {
            relay: Relay::new(
                identity.clone(),
                clock,
                acceptor.clone(),
                node,
                metrics.clone(),
                &config.relay.onward,
                carries,
            ),
            identity,
            config: Config {
                caps: registry.caps(&takes),
                ..takes
            },
            service,
            clock,
            rng,
            metrics: Arc::clone(&metrics),
            sessions: sessions.clone(),
            stop: stop.clone(),
            keeper,
            registry,
            shape: config.traffic.shape.clone().map(Arc::new),
            padding: config.traffic.padding,
            fronts,
            translator: translator.clone(),
        });
        let relay = Arc::clone(&acceptor.relay);
        if let Some(peers) = &peers {
            relay.counts_peers(Arc::clone(peers));
            if let Some(mixing) = &mixing {
                mixing.counts_peers(Arc::clone(peers));
            }
        }
        let gate: Arc<dyn SessionGate> = acceptor;
        let open = (!config.site.cover_only).then(|| Arc::clone(&gate));
        let site = Site::new(Arc::clone(&certificate), cover, open, Limits::default());
        let site = site.map_err(Error::Certificate)?.with_pace_of(gate);
        let shown = config.site.cover_site();
        let site = match &shown {
            CoverSite::Origin(origin) => site.with_http2_look(look_of(origin).await),
            CoverSite::Folder(_) | CoverSite::Made => site,
        };
        let site = Arc::new(match config.traffic.jitter {
            Some(up_to) => site.with_jitter(Jitter::new(up_to, &seed()?)),
            None => site,
        });
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let mut tasks = JoinSet::new();
        let mut accepting = Vec::new();
        let connection_limiter = ConnectionLimiter::new(
            config.limits.connections_per_address,
            config.limits.connects_per_second,
        );
        let connection_limiter =
            Arc::new(connection_limiter.counting(Arc::clone(&metrics.refusals)));
        let common = Listeners {
            site: Arc::clone(&site),
            stop: stop.clone(),
            connections: Arc::clone(&connections),
            max: connections_max,
            connection_limiter,
            clock,
        };
        let mut quic = Vec::new();
        let mut listeners = Vec::new();
        for Bound { tcp, udp, local } in bound {
            let pulse = Pulse::new(clock);
            listeners.push(Accepting {
                address: local.to_string(),
                task: tasks.spawn(accept(tcp, common.clone(), pulse.clone())),
                pulse,
            });
            if let Some(udp) = udp {
                let listener = QuicListener::new(&site, udp).map_err(Error::Certificate)?;
                let listener = Arc::new(listener);
                quic.push(Arc::clone(&listener));
                let pulse = Pulse::new(clock);
                listeners.push(Accepting {
                    address: format!("quic:{local}"),
                    task: tasks.spawn(accept_quic(listener, common.clone(), pulse.clone())),
                    pulse,
                });
            }
        }
        accepting.extend(listeners.iter().map(|l| l.task.clone()));
        let mut parts = Vec::new();
        let pin = certificate.pin();
        let mut carrying = None;
        if let Some(network) = &network {
            let draft = Draft {
                addrs: addresses.iter().filter_map(|a| multiaddr(a)).collect(),
                roles: config.mesh.roles,
                feat: if config.node.pq {
                    vec!["pq".into()]
                } else {
                    Vec::new()
                },
                org: config.mesh.org.clone(),
                pin: facts.self_signed.then_some(pin),
                mix: mixing.as_ref().map(Mixing::record).unwrap_or_default(),
                price: prices,
            };
            if let Some(storage) = &storage {
                adopt_saved(&**storage, &config.node.key.with_extension("mesh"))?;
            }
            let banned = config.mesh.ban.iter().map(Name::node_id).collect();
            let said = Some(draft.clone());
            let mesh = Mesh::start(relay.node(), network, own, said, banned, storage.clone())?;
            parts.push(Part::task("the mesh", mesh.task()));
            if let Some(mixing) = mixing.take() {
                let ways = (relay.node(), mesh.clone());
                let (running, plane) = mixing.start(ways, draft, over_mix, network);
                accepting.extend(running.iter().map(|(_, task)| task.clone()));
                parts.extend(
                    running
                        .into_iter()
                        .map(|(name, task)| Part::task(name, task)),
                );
                if let Some(plane) = plane.clone() {
                    parts.push(Part::new("the mix's packets", move || plane.has_ended()));
                }
                carrying = plane;
            }
            relay.join(mesh);
        }
        let pulse = Pulse::new(clock);
        accepting.push(tasks.spawn(pulse.clone().beat()));
        let reloading = tasks.spawn(reload(Arc::clone(&certificate)));
        parts.push(Part::task("the certificate", reloading.clone()));
        accepting.push(reloading);
        if let Some(translator) = &translator {
            let keeping = tasks.spawn(Arc::clone(translator).keep());
            parts.push(Part::task("version 1.1", keeping.clone()));
            accepting.push(keeping);
        }
        let vitals = Arc::new(Vitals {
            pulse,
            stop: stop.clone(),
            listeners,
            parts,
            certificate,
            folders: written(config, storage.is_some()),
            front: match &shown {
                CoverSite::Origin(origin) => Some(origin.clone()),
                CoverSite::Folder(_) | CoverSite::Made => None,
            },
            turn: Arc::new(Semaphore::new(1)),
        });
        Ok(Gateway {
            listening: Listening {
                name: key.node_id().into(),
                key,
                addresses,
                bound: sockets.iter().map(|s| s.local).collect(),
                note,
                pin,
                pinned: facts.self_signed,
                tickets11: translator.as_ref().and_then(|t| t.ticket_key()),
            },
            translator,
            held,
            storage,
            extensions,
            site,
            metrics,
            standing,
            sessions,
            vitals,
            limits,
            clock,
            stop,
            relay,
            plane: carrying,
            accepting,
            quic: Mutex::new(quic),
            tasks: Mutex::new(Some(tasks)),
            connections,
        })
    }
}
