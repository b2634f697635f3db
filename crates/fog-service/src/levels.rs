//! Proof of the nodes' levels: the leader asks each node that claims one, over so many relays of the mix.
//!
//! The coordinator builds the way there and the way back, so it knows how many relays the answer passed. Nobody else can count them.

mod agenda;
mod kept;
mod mix;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::Level;
use betanet_machine::Rng;
use betanet_wire::NodeId;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use crate::handle::{Handle, Role};
use agenda::Agenda;
pub use mix::MixWays;
pub(crate) use mix::OverMix;

/// Interval between two looks at what the nodes claim.
const LOOK: Duration = Duration::from_secs(5);

/// Longest that a question and its answer may take, the client's joining included.
const ANSWER: Duration = Duration::from_secs(60);

/// The reason why a node did not prove a level.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproved {
    /// The mix cannot be used over so many relays, or the node is not found in it.
    #[error(transparent)]
    Way(#[from] betanet_runtime::MixnetError),
    /// The client of the mix could not be made a moment ago.
    #[error("the mix could not be used over {0} relays a moment ago")]
    Rests(usize),
    /// The exchange broke off.
    #[error(transparent)]
    Session(#[from] betanet_runtime::SessionError),
    /// The node refused.
    #[error("the node refused with status {0}")]
    Status(u16),
    /// The answer is none.
    #[error("the answer is none of this node to this question")]
    Answer,
    /// The node's client library has no identity for this network.
    #[error(transparent)]
    Node(#[from] betanet_runtime::DialError),
    /// No answer came in time.
    #[error("no answer came within {} s", ANSWER.as_secs())]
    Late,
}

/// The future of a question.
pub(crate) type Asking = Pin<Box<dyn Future<Output = Result<(), Unproved>> + Send>>;

/// The port to the network.
pub(crate) trait Ways: Send + Sync + 'static {
    /// Asks a node over as many relays as the level has, and checks its answer.
    fn ask(&self, node: NodeId, level: Level) -> Asking;
}

/// The questions in progress, and the node of each.
#[derive(Default)]
struct Questions {
    tasks: JoinSet<Level>,
    nodes: Vec<(Id, NodeId)>,
}

impl Questions {
    fn ask(&mut self, node: NodeId, question: impl Future<Output = Level> + Send + 'static) {
        let id = self.tasks.spawn(question).id();
        self.nodes.push((id, node));
    }

    /// Waits for the end of a question: the level that its node proved. A question that failed proved none. `None` if nothing is asked.
    async fn answered(&mut self) -> Option<(NodeId, Level)> {
        loop {
            let (id, level) = match self.tasks.join_next_with_id().await? {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "a question to a node failed");
                    (error.id(), Level::Public)
                }
            };
            if let Some(at) = self.nodes.iter().position(|(of, _)| *of == id) {
                return Some((self.nodes.swap_remove(at).1, level));
            }
        }
    }
}

/// Asks nodes while this coordinator leads, until it stops.
pub(crate) async fn run(handle: Handle, ways: Arc<dyn Ways>, rng: Rng) {
    let clock = handle.shared.clock;
    let mut agenda = Agenda::new(rng);
    let mut questions = Questions::default();
    let mut look = Instant::now();
    loop {
        if Instant::now() >= look {
            look = Instant::now() + LOOK;
            let leads = matches!(handle.role(), Role::Leads(_));
            match if leads {
                handle.level_claims().await
            } else {
                None
            } {
                Some(claims) => agenda.claims(clock.now().mono, &claims),
                None => agenda.clear(),
            }
        }
        while let Some((node, claim)) = agenda.next(clock.now().mono) {
            let (handle, ways) = (handle.clone(), Arc::clone(&ways));
            questions.ask(
                node,
                async move { prove(&handle, &*ways, node, claim).await },
            );
        }
        let wake = agenda.wake().map_or(look, |at| clock.instant(at).min(look));
        tokio::select! {
            () = handle.stopped() => return,
            () = sleep_until(wake) => {}
            Some((node, proved)) = questions.answered() => {
                agenda.answered(clock.now().mono, node, proved);
            }
        }
    }
}

/// Asks a node for the level that it claims, and for lower ones where that fails. Returns the one that it proved.
async fn prove(handle: &Handle, ways: &dyn Ways, node: NodeId, claim: Level) -> Level {
    let levels = Level::ALL.iter().rev().copied();
    for level in levels.filter(|l| *l <= claim && *l > Level::Public) {
        let asked = timeout(ANSWER, ways.ask(node, level)).await;
        match asked.unwrap_or(Err(Unproved::Late)) {
            Ok(()) => {
                handle.reached(node, level).await;
                return level;
            }
            Err(error) => {
                let error = crate::driver::told(&error);
                tracing::debug!(%node, %level, error, "a node did not prove its level");
            }
        }
    }
    Level::Public
}

#[cfg(test)]
mod tests;
