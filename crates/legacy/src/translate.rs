//! Peers of version 1.1 (profile chapter 9): accepting legs from clients, opening legs to servers, and choosing the version.

mod joint;
mod kept;
mod line;
mod streams;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_carrier::client::{self, Trust, Way};
use betanet_carrier::{BoxFuture, Carrier, Fingerprint, Tunnel};
use betanet_compat11::{Choices, Leg, Minor, Reading, Refusal, Replay, TicketKey, make_ticket};
use betanet_dial::{Error as DialError, Node, PathTo, default_fingerprint};
use betanet_htx::Session;
use betanet_keys::{Identity, Peer};
use betanet_machine::Rng;
use betanet_relay::Relay;
use betanet_session::{Clock, PeerSession, SessionHandle, Substream, seed};
use betanet_store::Storage;
use betanet_wire::text::hex;
use betanet_wire::{ChargeTo, Code, NodeId};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::shares::{Share, Shares};
use crate::{Compat11, CountLegs, Error, Server11};

use joint::Joint;
use kept::ticket_secret;
use line::Line;
use streams::Given;

pub use streams::ToServer;

/// Maximum number of concurrent legs, overall and of one party charged.
const LEGS: (usize, usize) = (1024, 64);
/// Maximum number of streams that a peer opened and that its joint has not accepted yet.
const STREAMS: usize = 64;
/// Lifetime of a path that a client of 1.1 requests.
const PATH_TTL: Duration = Duration::from_secs(120);
/// Interval at which changes are written to disk. A used ticket is on disk a second later.
const KEEP: Duration = Duration::from_secs(1);
/// Number of those intervals between two checks of the peers that have spoken 1.2.
const CHOICES_EVERY: u32 = 30;

/// Translates for peers of 1.1.
pub struct Translator {
    identity: Identity,
    clock: Clock,
    metrics: Arc<dyn CountLegs>,
    reading: Reading,
    state: Mutex<State>,
    legs: Arc<Shares>,
    /// Storage of [`Choices`] and of used tickets. The lock allows one writer at a time.
    kept: Mutex<Arc<dyn Storage>>,
    tickets: Option<(TicketKey, Peer)>,
    dial: Option<Server11>,
    shape: Arc<dyn Fingerprint>,
    trust: Trust,
}

struct State {
    choices: Choices,
    /// Whether the choices differ from those on disk.
    changed: bool,
    replay: Replay,
    /// Whether there are used tickets that are not on disk.
    used: bool,
    rng: Rng,
    /// Receivers of streams on sessions that are joined with a leg to a server of 1.1.
    joined: BTreeMap<u64, mpsc::Sender<Substream>>,
}

/// An open leg, counted until this is dropped.
struct OpenLeg {
    of: Arc<Translator>,
    _share: Share,
}

impl Drop for OpenLeg {
    fn drop(&mut self) {
        self.of.metrics.closed();
    }
}

impl Translator {
    /// Creates a translator from the settings. Data that an earlier version kept beside `key` is moved to the node's state.
    ///
    /// # Errors
    ///
    /// A file cannot be read or created, or its content is invalid.
    pub fn new(
        identity: Identity,
        settings: &Compat11,
        (kept, key): (Arc<dyn Storage>, &Path),
        metrics: Arc<dyn CountLegs>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let reading = Reading::PROFILE;
        let mut rng = Rng::new(&seed()?);
        let tickets = match &settings.take {
            Some((path, peer)) => {
                let secret = ticket_secret(path, &mut rng)?;
                Some((TicketKey::new(&secret, reading), peer.clone()))
            }
            None => None,
        };
        let choices = kept::choices(&*kept, &key.with_extension("seen12"))?;
        let unix_ms = clock.now().unix_ms;
        let replay = kept::replay(&*kept, &key.with_extension("used11"), unix_ms)?;
        Ok(Self {
            identity,
            clock,
            metrics,
            reading,
            state: Mutex::new(State {
                choices,
                changed: false,
                replay,
                used: false,
                rng,
                joined: BTreeMap::new(),
            }),
            legs: Shares::new(LEGS.0, LEGS.1),
            kept: Mutex::new(kept),
            tickets,
            dial: settings.dial.clone(),
            shape: default_fingerprint()?,
            trust: Trust::web_pki(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the key, and its ID, for the tickets of clients of 1.1. `None` if these are not accepted.
    pub fn ticket_key(&self) -> Option<([u8; 32], [u8; 8])> {
        let (key, _) = self.tickets.as_ref()?;
        Some((*key.public(), *key.id()))
    }

    /// Returns the reading of 1.1 with which clients' legs are accepted. `None` if these are not accepted.
    pub const fn reading(&self) -> Option<&Reading> {
        if self.tickets.is_some() {
            Some(&self.reading)
        } else {
            None
        }
    }

    /// Returns whether sessions are joined with legs to a server of 1.1.
    pub const fn dials(&self) -> bool {
        self.dial.is_some()
    }

    /// Checks that a newly opened session's version agrees with the earlier choices of its peer.
    ///
    /// # Errors
    ///
    /// The code and reason with which the session ends.
    pub fn stands(&self, session: &Session) -> Result<(), (Code, &'static str)> {
        let (Some(peer), Some(agreed)) = (session.peer(), session.agreed()) else {
            return Ok(());
        };
        let minor = if agreed.is_translated() {
            Minor::One
        } else {
            Minor::Two
        };
        let l2 = agreed.id("l2").unwrap_or_default();
        let proof = |why: &str| {
            let hash = session.transcript().copied().unwrap_or_default();
            let peer = peer.peer_id();
            let sig = self
                .identity
                .sign("BN-TL1", &[&hash, l2.as_bytes(), &peer.0]);
            tracing::warn!(l2, transcript = %hex(&hash), sig = %hex(&sig), "{why}");
        };
        match self.choose(&peer.x25519(), minor) {
            Ok(()) => Ok(()),
            Err(Refusal::Changed) => {
                proof("a peer changes its version within 10 min");
                Err((
                    Code::AUTH_FAILED,
                    "another version than within the last 10 min",
                ))
            }
            Err(Refusal::Newer | Refusal::Full) => {
                proof("a peer that may speak 1.2 asks for 1.1");
                let reason = "1.1 with a peer that speaks 1.2";
                Err((Code::VERSION_NEGOTIATION_FAILED, reason))
            }
        }
    }

    fn choose(&self, key: &[u8; 32], minor: Minor) -> Result<(), Refusal> {
        let unix_ms = self.clock.now().unix_ms;
        let mut state = self.lock();
        let news = state.choices.chose(unix_ms, key, minor);
        state.changed |= news == Ok(true);
        news.map(|_| ())
    }

    /// Writes the peers that have spoken 1.2, and the used tickets, to disk for as long as it runs.
    pub async fn keep(self: Arc<Self>) {
        for look in (0..CHOICES_EVERY).cycle() {
            tokio::time::sleep(KEEP).await;
            let this = Arc::clone(&self);
            // The panic hook has already reported a panic.
            let _ = tokio::task::spawn_blocking(move || {
                this.store_used();
                if look == 0 {
                    this.store();
                }
            })
            .await;
        }
    }

    /// Writes the peers that have spoken 1.2, if they have changed.
    pub fn store(&self) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.changed) {
                return;
            }
            state.choices.to_bytes()
        };
        if let Err(error) = kept::store_choices(&**kept, &bytes) {
            self.lock().changed = true;
            tracing::warn!(%error, "who has spoken 1.2 is not kept");
        }
    }

    /// Writes the used tickets, if they have changed.
    pub fn store_used(&self) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.used) {
                return;
            }
            state.replay.to_bytes()
        };
        if let Err(error) = kept::store_replay(&**kept, &bytes) {
            self.lock().used = true;
            tracing::warn!(%error, "which tickets of 1.1 were used is not kept");
        }
    }

    /// Takes a place for a leg charged to `charge`, if there is one.
    fn standing(self: &Arc<Self>, charge: ChargeTo) -> Option<OpenLeg> {
        let share = self.legs.enter(charge)?;
        self.metrics.opened();
        Some(OpenLeg {
            of: Arc::clone(self),
            _share: share,
        })
    }

    fn leg(&self, carrier: &dyn Carrier, client: bool) -> Result<Leg, Error> {
        let mut keys = Zeroizing::new([0; 64]);
        carrier
            .export_as(self.reading.exporter, &[], &mut keys[..])
            .map_err(|source| DialError::Outer {
                address: "1.1".into(),
                source,
            })?;
        Ok(Leg::new(self.clock.now(), client, &keys, self.reading))
    }

    /// Accepts a leg of the client with this ticket, charged to `charge`.
    pub fn open(
        self: &Arc<Self>,
        ticket: &str,
        charge: ChargeTo,
        relay: &Arc<Relay>,
    ) -> Option<Tunnel> {
        let (key, to) = self.tickets.as_ref()?;
        let unix_ms = self.clock.now().unix_ms;
        let admission = key.open(ticket, unix_ms)?;
        // Check this before the ticket is used up: it may come again when there is a place.
        let standing = self.standing(charge)?;
        let first = {
            let mut state = self.lock();
            let first = state.replay.first_use(unix_ms, &admission);
            state.used |= first;
            first
        };
        if !first {
            tracing::debug!("a ticket of 1.1 a second time");
            return None;
        }
        if let Err(why) = self.choose(&admission.client, Minor::One) {
            tracing::warn!(?why, "a client of 1.1 is not spoken with");
            return None;
        }
        let (this, to, relay) = (Arc::clone(self), to.clone(), Arc::clone(relay));
        Some(Box::new(move |carrier| -> BoxFuture {
            Box::pin(async move {
                if let Err(error) = this.serve(carrier, &to, &relay).await {
                    tracing::warn!(%error, "a leg of 1.1 is not joined");
                }
                drop(standing);
            })
        }))
    }

    /// Joins a client's leg with a separate session.
    async fn serve(
        &self,
        carrier: Box<dyn Carrier>,
        to: &Peer,
        relay: &Relay,
    ) -> Result<(), Error> {
        let leg = self.leg(&*carrier, false)?;
        let mut line = Line::new(leg, carrier, self.clock);
        let asked = line.asked().await;
        let (streams, taken) = mpsc::channel(STREAMS);
        let node = Node::client()?.translating(Arc::new(Given(streams)));
        // Each client of 1.1 has a separate identity towards 1.2, like a client without a listening role.
        let session = match asked {
            None => node.connect(to).await.map_err(Error::from),
            Some(nodes) => over(&node, nodes, to, relay, self.clock.now().unix_ms).await,
        };
        match session {
            Ok(session) => {
                Joint::new(line, session.peer_session(), taken).run().await;
                Ok(())
            }
            Err(e) => {
                line.reset();
                Err(e)
            }
        }
    }

    /// Opens a leg to the server of 1.1.
    async fn dial(&self) -> Result<(Leg, Box<dyn Carrier>), Error> {
        let server = self.dial.as_ref().ok_or(DialError::NoAddress)?;
        let outer_error = |source| DialError::Outer {
            address: server.address.clone(),
            source,
        };
        let trust = match server.pin {
            Some(pin) => Trust::Pin(pin),
            None => self.trust.clone(),
        };
        let shape = &*self.shape;
        let outer = client::connect(&server.address, &trust, Way::default(), shape).await;
        let outer = outer.map_err(outer_error)?;
        let ticket = {
            let rng = &mut self.lock().rng;
            let (client, nonce) = (Zeroizing::new(rng.array()), rng.array());
            let pad: [u8; 64] = rng.array();
            let pad = &pad[..24 + usize::try_from(rng.below(41)).unwrap_or(0)];
            let (key, id, now) = (&server.key, &server.id, self.clock.now().unix_ms);
            make_ticket(&self.reading, &client, key, id, now, &nonce, pad)
        };
        let ticket = ticket.map_err(|_| outer_error(betanet_carrier::Error::Export))?;
        let carrier = outer
            .open11(&self.reading, &ticket)
            .await
            .map_err(outer_error)?;
        Ok((self.leg(&*carrier, true)?, carrier))
    }

    /// Joins a peer's session with a leg to the server of 1.1.
    async fn join(&self, session: PeerSession, taken: mpsc::Receiver<Substream>) {
        match self.dial().await {
            Ok((leg, carrier)) => {
                let line = Line::new(leg, carrier, self.clock);
                let joint = Joint::new(line, session.clone(), taken);
                joint.run().await;
            }
            Err(error) => {
                tracing::warn!(%error, "the server of 1.1 is not reached");
                session.close().await;
            }
        }
        self.lock().joined.remove(&session.id());
    }
}

/// Opens a session over the nodes that a path header of 1.1 names. That header has no times. This side fills in the time of
/// arrival, an end [`PATH_TTL`] later, and its signature.
async fn over(
    node: &Node,
    nodes: Vec<NodeId>,
    to: &Peer,
    relay: &Relay,
    arrived: u64,
) -> Result<SessionHandle, Error> {
    let refused = |node: NodeId, why| {
        Err(Error::Path11 {
            node: node.into(),
            why,
        })
    };
    match nodes[..] {
        [.., last] if last != to.key.node_id() => refused(last, "is not whom legs are joined with"),
        [entry, _, ..] => match relay.peer(entry).await {
            Some(entry) => {
                let path = PathTo {
                    entry: &entry,
                    nodes,
                    begun: arrived,
                    ttl: PATH_TTL,
                };
                // The relays speak 1.2. Only the session that passes over them is for a peer of 1.1.
                Ok(node.connect_by(&Node::client()?, path, to).await?)
            }
            None => refused(entry, "is not known"),
        },
        _ => Ok(node.connect(to).await?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    /// The number of open legs.
    #[derive(Default)]
    struct Open(AtomicI64);

    impl CountLegs for Open {
        fn opened(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn closed(&self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn legs_of_one_address_leave_places_for_those_of_others() {
        let home = tempfile::tempdir().unwrap();
        let own = Identity::from_seed(&[1; 32]);
        let metrics = Arc::new(Open::default());
        let kept: Arc<dyn Storage> = Arc::new(betanet_store::MemoryStorage::default());
        let kept = (kept, home.path());
        let settings = Compat11::default();
        let made = Translator::new(own, &settings, kept, metrics.clone(), Clock::start());
        let translator = Arc::new(made.unwrap());
        let of = |n: u8| ChargeTo::V4([192, 0, 2, n]);
        let one: Vec<_> = (0..2 * LEGS.0)
            .filter_map(|_| translator.standing(of(1)))
            .collect();
        assert_eq!(one.len(), LEGS.1);
        let other = translator.standing(of(2));
        assert!(other.is_some());
        assert_eq!(metrics.0.load(Ordering::Relaxed), 65);
        drop((one, other));
        assert!(translator.standing(of(1)).is_some());
        assert_eq!(metrics.0.load(Ordering::Relaxed), 0);
    }
}
