//! Accepts sessions: with a valid ticket and message 1, over relays, or as legs of version 1.1.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_carrier::{BoxFuture, Carrier, Padded, SessionGate, Shaped, Tunnel};
use betanet_compat11::Reading;
use betanet_htx::pace::Padding;
use betanet_htx::{Config, Secrets, Session};
use betanet_keys::{Identity, PublicKey};
use betanet_legacy::Translator;
use betanet_machine::Rng;
use betanet_relay::{Exits, Relay};
use betanet_session::{Controls, Count, Driver, Paths, Service, StreamRegistry};
use betanet_stack::Connection;
use betanet_traffic::shape::Shape;
use betanet_wire::{ChargeTo, NodeId};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::admit::Admitted;
use crate::admission::{AdmissionControl, SessionPermit};
use crate::standing::{Counted, Sessions};
use crate::{Clock, FrontRules, Metrics};

/// Opens sessions for clients with a valid ticket and message 1.
pub(super) struct SessionAcceptor {
    pub(super) identity: Identity,
    pub(super) config: Config,
    /// Answers requests.
    pub(super) service: Arc<dyn Service>,
    pub(super) clock: Clock,
    pub(super) rng: Mutex<Rng>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) sessions: Sessions,
    pub(super) stop: CancellationToken,
    pub(super) relay: Arc<Relay>,
    pub(super) keeper: AdmissionControl,
    pub(super) registry: StreamRegistry,
    /// The traffic shape, used with clients that follow it too.
    pub(super) shape: Option<Arc<Shape>>,
    /// Padding of sent data.
    pub(super) padding: Option<Padding>,
    pub(super) fronts: FrontRules,
    /// Translates for peers of version 1.1.
    pub(super) translator: Option<Arc<Translator>>,
}

impl SessionGate for SessionAcceptor {
    fn key(&self) -> &PublicKey {
        self.identity.public()
    }

    fn begin(&self, from: SocketAddr) -> Option<Box<dyn Send>> {
        let place = self
            .keeper
            .begin(Some(from), ChargeTo::address(from.ip()))?;
        Some(Box::new(place))
    }

    fn open(
        &self,
        ekm0: &[u8; 32],
        label: &str,
        message1: &[u8],
        from: SocketAddr,
    ) -> Option<Tunnel> {
        let charge = ChargeTo::address(from.ip());
        let tunnel = self.session(self.config.clone(), ekm0, message1, (Some(from), charge))?;
        let followed = self.shape.as_ref();
        let followed = followed.and_then(|s| Some((s, s.marked(ekm0, label)?)));
        let Some((shape, trace)) = followed else {
            let padding = self.padding;
            return Some(Box::new(move |carrier| match padding {
                Some(padding) => tunnel(Box::new(Padded::new(carrier, padding))),
                None => tunnel(carrier),
            }));
        };
        let shape = Arc::clone(shape);
        let metrics = Arc::clone(&self.metrics);
        Some(Box::new(move |carrier| {
            match Shaped::server(carrier, shape, trace) {
                Ok(shaped) => {
                    metrics.shaped.inc();
                    tunnel(Box::new(shaped))
                }
                // The connection is gone.
                Err(_) => Box::pin(std::future::ready(())),
            }
        }))
    }

    fn reads11(&self) -> Option<&Reading> {
        self.translator.as_ref()?.reading()
    }

    fn open11(&self, ticket: &str, from: SocketAddr) -> Option<Tunnel> {
        if self.stop.is_cancelled() {
            return None;
        }
        let stop = self.stop.clone();
        let charge = ChargeTo::address(from.ip());
        let translator = self.translator.as_ref()?;
        let tunnel = translator.open(ticket, charge, &self.relay)?;
        Some(Box::new(move |carrier| {
            // 1.1 has no orderly end to wait for.
            let leg = async move { stop.run_until_cancelled(tunnel(carrier)).await };
            Box::pin(leg.map(|_| ()))
        }))
    }
}

impl Exits for SessionAcceptor {
    fn open_forwarded(
        &self,
        nodes: Vec<NodeId>,
        charge: ChargeTo,
        message1: &[u8],
    ) -> Option<Tunnel> {
        let config = self.config.clone().over(nodes);
        self.session(config, &[0; 32], message1, (None, charge))
    }
}

impl SessionAcceptor {
    fn session(
        &self,
        config: Config,
        ekm0: &[u8; 32],
        message1: &[u8],
        (from, charge): (Option<SocketAddr>, ChargeTo),
    ) -> Option<Tunnel> {
        // Create this before checking the token, so that a stop in between is not missed.
        let controls = Controls::stop(self.stop.clone());
        if self.stop.is_cancelled() {
            return None;
        }
        // Check this before any arithmetic, so that a client over a limit costs nothing.
        let half_open = self.keeper.begin(from, charge)?;
        let secrets = Secrets::draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.clock.now();
        let session = Session::accept(now, config, &self.identity, ekm0, message1, secrets).ok()?;
        let line = self.sessions.enter(now.mono, from.is_none());
        let permit = SessionPermit::new(half_open, from.map(|from| from.ip()));
        let connection = Connection::new(session);
        let service = Arc::clone(&self.service);
        let clock = self.clock;
        let metrics: Arc<dyn Count> = Arc::new(Counted {
            seen: line.seen(),
            metrics: Arc::clone(&self.metrics),
        });
        let registry = self.registry.clone();
        // Sessions over forwarders have no template.
        let fronts = from.is_some().then(|| self.fronts.clone());
        let admitted = Admitted {
            permit,
            fronts,
            versions: self.translator.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let paths = Some(Arc::clone(&self.relay) as Arc<dyn Paths>);
        Some(Box::new(move |carrier: Box<dyn Carrier>| -> BoxFuture {
            let driver = Driver::new(connection, carrier, clock, controls, paths, metrics, None)
                .behind(Box::new(admitted))
                .serving(service)
                .taking(registry);
            Box::pin(async move {
                let _line = line;
                driver.run().await;
            })
        }))
    }
}
