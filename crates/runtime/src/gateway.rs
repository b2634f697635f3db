mod door;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use betanet_bar::{Access, Handler, MemoryStore, Service};
use betanet_carrier::client::{Trust, Way};
use betanet_carrier::{
    CertSource, Certificate, Cover, Gate, Http2Look, Jitter, Limits, Origin as FrontOrigin, Plain,
    QuicListener, Site, calibrate,
};
use betanet_htx::{Config, L2, Pq, kind, offered_caps};
use betanet_keys::{Endpoint, Identity, Name, Peer, PublicKey};
use betanet_machine::Rng;
use betanet_mesh::{Draft, Policy};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admission::Doorkeeper;
use crate::doorstep::Doorstep;
use crate::files::file_error;
use crate::forward::Relay;
use crate::fronts::FrontRules;
use crate::health::{Accepting, Fault, Part, Pulse, Vitals, writable};
use crate::listeners::{Bound, Listeners, accept, accept_quic, bind, leaves_v4};
use crate::made::made_site;
use crate::mesh::multiaddr;
use crate::metrics::Refusal;
use crate::mix::{MixPlane, Mixing, WellKnown};
use crate::reach::{Reach, interfaces, reach};
use crate::standing::Sessions;
use crate::streams::Takers;
use crate::translate::{ToServer, Translator};
use crate::{
    Clock, CoverSite, Error, FolderStore, GatewayConfig, Mesh, Metrics, Network, Node, Streams,
    View, seed,
};
use door::Door;

/// How often certificate files are looked at.
const RELOAD: Duration = Duration::from_secs(5);
/// From the wish to stop to the last session's end: its drain, its CLOSE, its last bytes.
const GRACE: Duration = Duration::from_secs(15);

/// What a front origin gets to show its SETTINGS.
const LOOK: Duration = Duration::from_secs(5);

/// What the ends of connections over QUIC get to be told.
const ENDS: Duration = Duration::from_secs(1);

/// What a gateway prints when it stands.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The node's name.
    pub name: Name,
    /// Its key.
    pub key: PublicKey,
    /// Where others dial it: what the configuration advertises, the hosts of its certificate, or where it listens. Never an
    /// unspecified address.
    pub addresses: Vec<String>,
    /// Where its sockets are, with the ports that the system chose.
    pub bound: Vec<SocketAddr>,
    /// What may keep others from dialling these addresses.
    pub note: Option<String>,
    /// Its certificate's pin.
    pub pin: [u8; 32],
    /// Whether clients are told the pin: the certificate is signed by its own key. Others are checked by web PKI, and may have
    /// another key tomorrow.
    pub pinned: bool,
    /// What clients of version 1.1 make their tickets for, where they are taken: the key and its id.
    pub tickets11: Option<([u8; 32], [u8; 8])>,
}

impl Listening {
    /// What a client needs to know.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            key: self.key,
            addrs: self.addresses.clone(),
            pin: self.pinned.then_some(self.pin),
        }
    }
}

/// What a site says first over HTTP/2 that shows this origin's pages: what the origin says, or where it is not reached what nginx does.
async fn look_of(origin: &FrontOrigin) -> Http2Look {
    let nginx = Http2Look::nginx();
    let Some(address) = origin.over_tls() else {
        return nginx;
    };
    let trust = origin.trust();
    let asked = calibrate(&address, &trust, Way::default(), &Plain, Duration::ZERO);
    match tokio::time::timeout(LOOK, asked).await {
        Ok(Ok(seen)) => seen.look().unwrap_or(nginx),
        Ok(Err(error)) => {
            tracing::warn!(%address, %error, "what the origin's HTTP/2 looks like is not known");
            nginx
        }
        Err(_) => {
            tracing::warn!(%address, "the origin does not say in time what its HTTP/2 looks like");
            nginx
        }
    }
}

/// The folders that a node writes to while it runs: what it serves, where others may write, and the one of its key, unless that
/// was not to be written from the start and nothing is kept there.
fn written(config: &GatewayConfig) -> Vec<PathBuf> {
    let served = config.serve.iter().filter(|_| config.may_write());
    let state = match config.key.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let keeps = config.network.is_some() || config.compat11.is_on();
    let state = Some(state.to_owned()).filter(|f| keeps || writable(f).is_ok());
    served.cloned().chain(state).collect()
}

/// A node that listens: a web site to everybody, BAR over sessions to those who know its key.
pub struct Gateway {
    listening: Listening,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    standing: Doorkeeper,
    sessions: Sessions,
    vitals: Arc<Vitals>,
    limits: [(Refusal, u64); 6],
    clock: Clock,
    stop: CancellationToken,
    relay: Arc<Relay>,
    plane: Option<Arc<MixPlane>>,
    translator: Option<Arc<Translator>>,
    accepting: Vec<AbortHandle>,
    /// Listeners over QUIC, whose sockets are there until the last connection's end was told.
    quic: Mutex<Vec<Arc<QuicListener>>>,
    tasks: Mutex<Option<JoinSet<()>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Gateway {
    /// Opens the listeners that the configuration names and begins to serve its folder.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start(identity: Identity, config: &GatewayConfig) -> Result<Self, Error> {
        let Some(folder) = &config.serve else {
            let nothing = Service::new(MemoryStore::new(0), Access::Nobody);
            return Self::start_with(identity, config, nothing).await;
        };
        let store = if config.may_write() {
            FolderStore::writable(folder, config.quota, config.entries)
        } else {
            FolderStore::read_only(folder)
        }
        .map_err(file_error(folder))?;
        let access = match (&config.allow[..], config.writable) {
            ([], true) => Access::Anyone,
            ([], false) => Access::Nobody,
            (names, _) => Access::Only(names.iter().map(Name::node_id).collect::<BTreeSet<_>>()),
        };
        let service = Service::new(store, access).listing(config.listing);
        Self::start_with(identity, config, service).await
    }

    /// The same with a handler of one's own, a clone of which answers in each session.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start_with<H>(
        identity: Identity,
        config: &GatewayConfig,
        handler: H,
    ) -> Result<Self, Error>
    where
        H: Handler + Clone + Send + Sync + 'static,
        H::Exchange: Send,
    {
        Self::start_taking(identity, config, handler, None).await
    }

    /// The same, and libp2p substreams that peers open are given to `taker`.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start_taking<H>(
        identity: Identity,
        config: &GatewayConfig,
        handler: H,
        taker: Option<Arc<dyn Streams>>,
    ) -> Result<Self, Error>
    where
        H: Handler + Clone + Send + Sync + 'static,
        H::Exchange: Send,
    {
        config.keeps_secrets()?;
        let connections_max =
            crate::descriptors::connections(config.max_connections, config.jitter.is_some())?;
        let certificate = Arc::new(
            match &config.certificate {
                Some((chain, key)) => CertSource::files(chain, key),
                None => match &config.own_certificate {
                    Some(path) => Certificate::load_or_create(path, &config.hosts),
                    None => Certificate::self_signed(&config.hosts),
                }
                .map(CertSource::fixed),
            }
            .map_err(Error::Certificate)?,
        );
        let mut bound = Vec::new();
        for address in &config.listen {
            let leaves_v4 = leaves_v4(address, &config.listen);
            bound.push(bind(address, config.quic, leaves_v4).await?);
        }
        let facts = certificate.facts();
        let now = i64::try_from(Clock::start().now().unix_ms / 1000).unwrap_or(i64::MAX);
        if let Err(why) = facts.counts_at(now) {
            tracing::warn!("the certificate does not count: {why}");
        }
        let sockets: Vec<_> = bound.iter().map(Bound::socket).collect();
        let Reach { addresses, note } = if config.advertise.is_empty() {
            reach(&sockets, &facts, &interfaces())
        } else {
            let addresses = config.advertise.clone();
            Reach {
                addresses,
                note: None,
            }
        };
        let mut cover = match &config.cover {
            CoverSite::Folder(path) => {
                Cover::new(path, SystemTime::now).map_err(file_error(path))?
            }
            CoverSite::Origin(origin) => {
                if origin.is_local() {
                    tracing::warn!(
                        ?origin,
                        "the front origin is on this machine and takes every visitor for a local one: it must let nobody in for \
                         coming from there, and read x-forwarded-for"
                    );
                }
                Cover::proxy(origin.clone(), SystemTime::now)
            }
            CoverSite::Made => {
                let folder = made_site(&config.key, SystemTime::now())?;
                Cover::new(&folder, SystemTime::now).map_err(file_error(&folder))?
            }
        };
        if let Some(port) = addresses
            .iter()
            .filter_map(|a| a.parse::<Endpoint>().ok())
            .find_map(|e| e.quic.then_some(e.address.port))
            && config.alt_svc
        {
            cover = cover.with_h3(port);
        }
        let network = match &config.network {
            Some(path) => Some(Network::read(path)?),
            None => None,
        };
        let mut fronts = FrontRules {
            profile: config.profile,
            ..FrontRules::default()
        };
        if let Some(network) = &network {
            fronts = FrontRules::read(config.profile, config.front_origins.as_deref(), network)?;
        }
        let mut policy = network
            .as_ref()
            .map_or_else(Policy::default, |n| n.policy.clone());
        policy.per_address = config.per_address.unwrap_or(policy.per_address);
        policy.opens = config.opens.unwrap_or(policy.opens);
        let metrics = Arc::new(Metrics::new());
        let keeper = Doorkeeper::new(&policy, config.max_sessions, Arc::clone(&metrics));
        let standing = keeper.clone();
        let sessions = Sessions::default();
        let limits = [
            (Refusal::AddressConnections, config.connections_per_address),
            (Refusal::AddressPace, config.connects_per_second),
            (Refusal::Connections, connections_max),
            (Refusal::AddressSessions, policy.per_address),
            (Refusal::Sessions, config.max_sessions),
            (Refusal::Opens, policy.opens.0 as usize),
        ]
        .map(|(refusal, n)| (refusal, n as u64));
        let stop = CancellationToken::new();
        let key = *identity.public();
        let clock = Clock::start();
        let rng = Mutex::new(Rng::new(&seed()?));
        let node =
            Node::new(Some(identity.clone()), Config::default())?.dialling_from(config.dial_from);
        let node = match &config.ca {
            Some(file) => node.with_trust(Trust::roots_of(file).map_err(Error::Certificate)?),
            None => node,
        };
        let mut accepts = vec![kind::BAR, kind::FORWARD];
        if network.is_some() {
            accepts.extend([kind::DISCOVER, kind::GOSSIP]);
        }
        let mut mixing = match &network {
            Some(network) => Mixing::prepare(key.node_id(), config, network, &metrics, clock)?,
            None => None,
        };
        let settings = Some(&config.compat11).filter(|c| c.is_on());
        let translator = settings.map(|settings| {
            let kept = config.key.with_extension("seen12");
            let own = identity.clone();
            Translator::new(own, settings, kept, Arc::clone(&metrics), clock).map(Arc::new)
        });
        let translator = translator.transpose()?;
        let accepts11 = translator.as_ref().filter(|_| config.compat11.accept);
        let takers = Takers {
            libp2p: taker,
            mix: mixing.as_ref().and_then(Mixing::taker),
            translated: accepts11
                .filter(|t| t.dials())
                .map(|t| Arc::new(ToServer(Arc::clone(t))) as Arc<dyn Streams>),
            l2: if accepts11.is_some() {
                L2::Either
            } else {
                L2::Own
            },
        };
        accepts.extend(takers.kinds());
        let handler = Mixing::faces(mixing.as_ref(), handler);
        let over_mix = handler.clone();
        let node = match &takers.mix {
            Some(taker) => node.mixing(Arc::clone(taker)),
            None => node,
        };
        let carries = network.is_some() && config.roles.relays();
        let own = identity.clone();
        let door = Arc::new_cyclic(|door: &Weak<Door<WellKnown<H>>>| Door {
            relay: Relay::new(
                identity.clone(),
                clock,
                door.clone(),
                node,
                Arc::clone(&metrics),
                &config.onward,
                carries,
            ),
            identity,
            config: Config {
                pq: if config.pq { Pq::Offer } else { Pq::Off },
                caps: offered_caps(config.pq, takers.extra()),
                accepts,
                ..Config::default()
            },
            handler,
            clock,
            rng,
            metrics: Arc::clone(&metrics),
            sessions: sessions.clone(),
            stop: stop.clone(),
            keeper,
            takers,
            shape: config.shape.clone().map(Arc::new),
            padding: config.padding,
            fronts,
            translator: translator.clone(),
        });
        let relay = Arc::clone(&door.relay);
        let gate: Arc<dyn Gate> = door;
        let open = (!config.cover_only).then(|| Arc::clone(&gate));
        let site = Site::new(Arc::clone(&certificate), cover, open, Limits::default());
        let site = site.map_err(Error::Certificate)?.as_slow_as(gate);
        let site = match &config.cover {
            CoverSite::Origin(origin) => site.looking(look_of(origin).await),
            CoverSite::Folder(_) | CoverSite::Made => site,
        };
        let site = Arc::new(match config.jitter {
            Some(up_to) => site.jittered(Jitter::new(up_to, &seed()?)),
            None => site,
        });
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let mut tasks = JoinSet::new();
        let mut accepting = Vec::new();
        let doorstep = Doorstep::new(config.connections_per_address, config.connects_per_second);
        let doorstep = Arc::new(doorstep.counting(Arc::clone(&metrics.refusals)));
        let common = Listeners {
            site: Arc::clone(&site),
            stop: stop.clone(),
            connections: Arc::clone(&connections),
            max: connections_max,
            doorstep,
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
                roles: config.roles,
                feat: if config.pq {
                    vec!["pq".into()]
                } else {
                    Vec::new()
                },
                org: config.org.clone(),
                pin: facts.self_signed.then_some(pin),
                mix: mixing.as_ref().map(Mixing::record).unwrap_or_default(),
                ..Draft::default()
            };
            let state = config.key.with_extension("mesh");
            let banned = config.ban.iter().map(Name::node_id).collect();
            let said = Some(draft.clone());
            let mesh = Mesh::start(relay.node(), network, own, said, banned, Some(state))?;
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
        let watched = Arc::clone(&certificate);
        let reloading = tasks.spawn(async move {
            loop {
                tokio::time::sleep(RELOAD).await;
                let certificate = Arc::clone(&watched);
                let reloading = tokio::task::spawn_blocking(move || certificate.reload());
                match reloading.await {
                    Ok(Ok(true)) => tracing::info!("certificate reloaded"),
                    Ok(Err(error)) => tracing::warn!(%error, "the changed certificate is not used"),
                    // A panic in there is told by itself.
                    Ok(Ok(false)) | Err(_) => {}
                }
            }
        });
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
            folders: written(config),
            front: match &config.cover {
                CoverSite::Origin(origin) => Some(origin.clone()),
                CoverSite::Folder(_) | CoverSite::Made => None,
            },
            turn: Arc::new(Semaphore::new(1)),
        });
        Ok(Self {
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

    /// What to tell those who want to reach it.
    #[must_use]
    pub const fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Sessions that stand. Handshakes that are under way are not among them.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.standing.standing()
    }

    /// What the node knows of its network, where it is part of one.
    pub async fn view(&self) -> Option<View> {
        self.relay.mesh()?.view().await
    }

    /// All that is wrong with the node now; nothing where it does what it is there for.
    pub async fn faults(&self) -> Vec<Fault> {
        let mut faults = self.vitals.look(self.clock.now().unix_ms).await;
        let panics = crate::panics();
        if panics > 0 {
            faults.push(Fault {
                what: "panic",
                why: format!("{panics} tasks ended by a fault of this program"),
            });
        }
        faults
    }

    /// Whether the executor runs tasks and every listener takes connections. Answers late, or never, where the executor does not.
    pub async fn is_alive(&self) -> bool {
        let ran = tokio::spawn(std::future::ready(())).await.is_ok();
        ran && self.vitals.all_listen()
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) const fn seen(&self) -> &Sessions {
        &self.sessions
    }

    /// As much as the limit of a refusal allows.
    pub(crate) fn allowed(&self, refusal: Refusal) -> Option<u64> {
        let limit = self.limits.iter().find(|(r, _)| *r == refusal);
        limit.map(|(_, n)| *n)
    }

    /// The counters, with what others have counted.
    pub(crate) fn counted(&self) -> &Metrics {
        self.metrics.site(self.site.stats());
        if let Some(plane) = &self.plane {
            plane.count();
        }
        self.metrics.collect(self.clock.elapsed());
        &self.metrics
    }

    /// All counters in the Prometheus text format.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.counted().render()
    }

    /// Stops: no new connections, GOAWAY, open streams get their time, then CLOSE. Whether all ended in time.
    pub async fn shutdown(&self) -> bool {
        for task in &self.accepting {
            task.abort();
        }
        self.stop.cancel();
        if let Some(translator) = &self.translator {
            translator.store();
            translator.store_used();
        }
        let mut connections = std::mem::take(
            &mut *self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let all = async { while connections.join_next().await.is_some() {} };
        let all = async {
            all.await;
            if let Some(plane) = &self.plane {
                plane.stop();
            }
            self.relay.close().await;
        };
        let in_time = tokio::time::timeout(GRACE, all).await.is_ok();
        if !in_time {
            tracing::warn!(
                sessions = self.sessions(),
                connections = connections.len(),
                "stopped: what had not ended {} s after the wish to stop was cut",
                GRACE.as_secs()
            );
        }
        let listeners =
            std::mem::take(&mut *self.quic.lock().unwrap_or_else(PoisonError::into_inner));
        let ends = listeners.iter().map(|l| l.close());
        // A client that is gone is not waited for.
        let _ = tokio::time::timeout(ENDS, futures_util::future::join_all(ends)).await;
        drop(
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        in_time
    }
}

#[cfg(test)]
pub(crate) mod tests;
