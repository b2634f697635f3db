mod acceptor;
mod admit;
mod builder;
mod parts;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_carrier::{QuicListener, Site};
use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_store::{State, Storage};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admission::AdmissionControl;
use crate::forward::Relay;
use crate::health::{Fault, Vitals};
use crate::metrics::Refusal;
use crate::mix::MixPlane;
use crate::standing::Sessions;
use crate::translate::Translator;
use crate::{Clock, Error, GatewayConfig, Metrics, View};
pub use builder::GatewayBuilder;

/// From the wish to stop to the last session's end: its drain, its CLOSE, its last bytes.
const GRACE: Duration = Duration::from_secs(15);

/// What the ends of connections over QUIC get to be told.
const ENDS: Duration = Duration::from_secs(1);

/// What a gateway prints when it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
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

/// A node that listens: a web site to everybody, BAR over sessions to those who know its key.
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
    /// The state folder, where the node opened it itself.
    held: Option<Arc<State>>,
    /// The node's state, which stays its own for as long as it runs.
    #[allow(dead_code, reason = "holding it is what it is for")]
    storage: Option<Arc<dyn Storage>>,
    accepting: Vec<AbortHandle>,
    /// Listeners over QUIC, whose sockets are there until the last connection's end was told.
    quic: Mutex<Vec<Arc<QuicListener>>>,
    tasks: Mutex<Option<JoinSet<()>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Gateway {
    /// A node that is about to listen as `config` says: services and streams are registered with what is returned.
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
        if let Some(held) = &self.held {
            held.close();
        }
        in_time
    }
}

#[cfg(test)]
pub(crate) mod tests;
