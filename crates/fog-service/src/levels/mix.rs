//! Questions over the mix, with a client for each number of relays.

use std::sync::Arc;
use std::time::Duration;

use betanet_bar::{HeaderValue, Headers, Method, Request, status};
use betanet_fog::bodies::{REACH_TARGET, Reach, ReachAnswer};
use betanet_fog::{Call, Level, from_slice, to_vec};
use betanet_keys::{Identity, Name};
use betanet_machine::{Rng, Time};
use betanet_runtime::{
    Clock, MixClient, MixOptions, Network, Node, SessionError, SharedFolder, seed,
};
use betanet_wire::NodeId;
use tokio::sync::Mutex;

use super::kept::Kept;
use super::{ANSWER, Asking, Unproved, Ways};

/// Longest body of an answer.
const ANSWER_MAX: usize = 256;

/// Time for which a client that could not be made is not made again.
const RESTS: Duration = Duration::from_secs(30);

/// The mix of a network, for a coordinator's questions to nodes.
#[derive(Clone, Debug)]
pub struct MixWays {
    /// The network.
    pub network: Network,
    /// Folder in which the guard is stored. Without it, each start draws a new one.
    pub state: Option<SharedFolder>,
    /// Source address of the connection to the guard.
    pub dial_from: Option<std::net::IpAddr>,
}

/// The client over some number of relays.
#[derive(Default)]
struct Slot {
    kept: Option<Kept<MixClient>>,
    failed: Option<Time>,
}

struct Inner {
    own: Identity,
    clock: Clock,
    ways: MixWays,
    /// Over 3, 5 and 7 relays.
    slots: [Mutex<Slot>; 3],
}

/// Asks over the mix.
pub(crate) struct OverMix(Arc<Inner>);

impl OverMix {
    /// Asks as the coordinator with this identity.
    pub(crate) fn new(own: Identity, clock: Clock, ways: MixWays) -> Self {
        Self(Arc::new(Inner {
            own,
            clock,
            ways,
            slots: Default::default(),
        }))
    }
}

impl Ways for OverMix {
    fn ask(&self, node: NodeId, level: Level) -> Asking {
        let this = Arc::clone(&self.0);
        Box::pin(async move { this.ask(node, level).await })
    }
}

/// Leaves the network once the questions that a client still has are over.
fn leave(client: Arc<MixClient>) {
    tokio::spawn(async move {
        tokio::time::sleep(ANSWER).await;
        client.close().await;
    });
}

impl Inner {
    /// The client over as many relays as the level has. It is made anew each day, and where its guard does not answer.
    async fn client(&self, level: Level) -> Result<Arc<MixClient>, Unproved> {
        let relays = level.relays();
        let slot = match level {
            Level::Public | Level::Private => &self.slots[0],
            Level::Confidential => &self.slots[1],
            Level::Secret => &self.slots[2],
        };
        let mut slot = slot.lock().await;
        if let Some(kept) = &mut slot.kept {
            let client = Arc::clone(&kept.client);
            let now = self.clock.now().mono;
            if kept.stands(now, client.guard_answers()).await {
                return Ok(client);
            }
            tracing::debug!(relays, guard = %client.guard(), "a client of the mix is let go");
            slot.kept = None;
            leave(client);
        }
        if slot
            .failed
            .is_some_and(|at| self.clock.now().mono - at < RESTS)
        {
            return Err(Unproved::Rests(relays));
        }
        let options = MixOptions {
            relays,
            state: self.ways.state.clone(),
            ..MixOptions::default()
        };
        let node = Node::client()?.with_source_address(self.ways.dial_from);
        match MixClient::join(node, &self.ways.network, &options).await {
            Ok(client) => {
                tracing::info!(relays, "the levels of nodes are asked for over the mix");
                let client = Arc::new(client);
                slot.kept = Some(Kept::new(self.clock.now().mono, Arc::clone(&client)));
                Ok(client)
            }
            Err(error) => {
                slot.failed = Some(self.clock.now().mono);
                Err(error.into())
            }
        }
    }

    async fn ask(&self, node: NodeId, level: Level) -> Result<(), Unproved> {
        let client = self.client(level).await?;
        let session = client.session(Name::from(node)).await?;
        let key = *session.peer();
        let asked = Reach {
            level,
            nonce: Rng::new(&seed()?).array(),
        };
        let body = to_vec(&asked);
        let call = Call {
            coordinator: &key,
            method: Method::Post.as_str(),
            target: REACH_TARGET,
            body: &body,
        };
        let proof = call.sign(&self.own, self.clock.now().unix_ms);
        let mut headers = Headers::default();
        headers.set("content-length", body.len().to_string());
        headers.set("authorization", HeaderValue::Bytes(proof.to_vec()));
        let mut request = Request::new(Method::Post, REACH_TARGET, headers);
        request.body = body;
        let answered = async {
            let mut answer = session.ask(request).await?;
            if answer.head.status != status::OK {
                return Err(Unproved::Status(answer.head.status));
            }
            let body = answer
                .body
                .all(ANSWER_MAX)
                .await
                .map_err(SessionError::from)?;
            let answer: Option<ReachAnswer> = body.and_then(|b| from_slice(&b).ok());
            let answer = answer.ok_or(Unproved::Answer)?;
            let own = key.node_id() == node;
            let checked = asked.check(&answer, &key, self.own.public());
            checked.ok().filter(|()| own).ok_or(Unproved::Answer)
        };
        let answered = answered.await;
        session.close().await;
        answered
    }
}
