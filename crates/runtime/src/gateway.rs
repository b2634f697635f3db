mod acceptor;
mod admit;
mod builder;
mod parts;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_carrier::{QuicListener, Site};
use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_legacy::Translator;
use betanet_mixnet::MixPlane;
use betanet_relay::Relay;
use betanet_store::{State, Storage};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admission::AdmissionControl;
use crate::health::{Fault, Vitals};
use crate::metrics::Refusal;
use crate::standing::Sessions;
use crate::{Clock, Error, Extension, GatewayConfig, Metrics, NodeId, Record, SessionHandle, View};
pub use builder::GatewayBuilder;

/// Time limit of a shutdown, to the end of the last session: its drain, its CLOSE, its last bytes.
const GRACE: Duration = Duration::from_secs(15);

/// Time for the close messages of connections over QUIC.
const ENDS: Duration = Duration::from_secs(1);

/// The addresses and keys that a gateway announces after its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Listening {
    /// The node's name.
    pub name: Name,
    /// Its key.
    pub key: PublicKey,
    /// Addresses for others to dial: the advertised ones, the certificate's hosts, or the listening addresses. Never an
    /// unspecified address.
    pub addresses: Vec<String>,
    /// Addresses of its sockets, with the ports that the system chose.
    pub bound: Vec<SocketAddr>,
    /// A warning if others may be unable to dial these addresses.
    pub note: Option<String>,
    /// Its certificate's pin.
    pub pin: [u8; 32],
    /// Whether clients are given the pin, because the certificate is self-signed. Other certificates are verified by web PKI, and
    /// may change their key.
    pub pinned: bool,
    /// Key and its ID for the tickets of clients of version 1.1. `None` if these are not accepted.
    pub tickets11: Option<([u8; 32], [u8; 8])>,
}

impl Listening {
    /// Returns the data that a client needs to connect.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            key: self.key,
            addrs: self.addresses.clone(),
            pin: self.pinned.then_some(self.pin),
        }
    }
}

/// A node that listens. It serves a web site to everybody, and BAR over sessions to clients that know its key.
pub struct Gateway {
    listening: Listening,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    standing: AdmissionControl,
    sessions: Sessions,
    vitals: Arc<Vitals>,
    limits: [(Refusal, u64); 6],
    clock: Clock,
    stop: CancellationToken,
    relay: Arc<Relay>,
    plane: Option<Arc<MixPlane>>,
    translator: Option<Arc<Translator>>,
    /// The state folder, if the node opened it itself.
    held: Option<Arc<State>>,
    /// The node's state, which the node holds for as long as it runs.
    #[allow(dead_code, reason = "holding it is what it is for")]
    storage: Option<Arc<dyn Storage>>,
    pub(crate) extensions: Vec<Arc<dyn Extension>>,
    accepting: Vec<AbortHandle>,
    /// QUIC listeners. Their sockets remain until the last connection's close was sent.
    quic: Mutex<Vec<Arc<QuicListener>>>,
    tasks: Mutex<Option<JoinSet<()>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Gateway {
    /// Creates a builder from `config`, with which services and streams are registered.
    #[must_use]
    pub fn builder(identity: Identity, config: &GatewayConfig) -> GatewayBuilder {
        GatewayBuilder::new(identity, config.clone())
    }

    /// Opens the listeners that the configuration names and begins to serve its folder.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start(identity: Identity, config: &GatewayConfig) -> Result<Self, Error> {
        Self::builder(identity, config).start().await
    }

    /// Returns the addresses and keys for those who want to connect.
    #[must_use]
    pub const fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Returns the number of open sessions. Handshakes in progress are not included.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.standing.standing()
    }

    /// Returns the node's view of its network, if it is part of one.
    pub async fn view(&self) -> Option<View> {
        self.relay.mesh()?.view().await
    }

    /// Returns the records of the peers that the node knows; none if it is not part of a network.
    pub async fn known_peers(&self) -> Vec<Record> {
        match self.relay.mesh() {
            Some(mesh) => mesh.records().await,
            None => Vec::new(),
        }
    }

    /// Opens a session with a peer, as this node. `None` if the peer is not known or not reached.
    pub async fn session_with(&self, peer: NodeId) -> Option<SessionHandle> {
        let to = self.relay.peer(peer).await?;
        match self.relay.node().session(&to).await {
            Ok(session) => Some(session),
            Err(error) => {
                tracing::debug!(%error, "a peer is not reached");
                None
            }
        }
    }

    /// Returns all current faults of the node; empty if it works.
    pub async fn faults(&self) -> Vec<Fault> {
        let mut faults = self.vitals.look(self.clock.now().unix_ms).await;
        let mesh = self.relay.mesh();
        if let Some(why) = mesh.and_then(|m| m.elsewhere(self.clock.now().unix_ms)) {
            faults.push(Fault { what: "key", why });
        }
        faults.extend(self.extensions.iter().flat_map(|e| e.faults()));
        let panics = crate::panics();
        if panics > 0 {
            faults.push(Fault {
                what: "panic",
                why: format!("{panics} tasks ended by a fault of this program"),
            });
        }
        faults
    }

    /// Returns whether the executor runs tasks and every listener accepts connections. If the executor is stuck, this returns
    /// late or never.
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

    /// Returns the value of the limit that causes a refusal.
    pub(crate) fn allowed(&self, refusal: Refusal) -> Option<u64> {
        let limit = self.limits.iter().find(|(r, _)| *r == refusal);
        limit.map(|(_, n)| *n)
    }

    /// Returns the counters, updated from their other sources.
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
        let mut text = self.counted().render();
        for extension in &self.extensions {
            crate::extension::append(&mut text, &extension.measures());
        }
        text
    }

    /// Shuts down: accepts no new connections, sends GOAWAY, waits for open streams, then sends CLOSE. Returns whether everything
    /// ended in time.
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
        // Do not wait for a client that is gone.
        let _ = tokio::time::timeout(ENDS, futures_util::future::join_all(ends)).await;
        drop(
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if let Some(held) = &self.held {
            held.close();
        }
        in_time
    }
}

#[cfg(test)]
pub(crate) mod tests;
