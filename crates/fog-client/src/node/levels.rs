//! A node's part above the level public.
//!
//! [`Answers`] proves the node's level: a coordinator asks over the mix, and the answer shows that the node is reached over so many
//! relays. [`Ways`] leads to the coordinator for the blobs of a task: over as many relays of the mix as the task's level has, with
//! cover traffic where it asks for some, and directly for public tasks alone.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use betanet_bar::{Client, HeaderValue, Method, status};
use betanet_fog::bodies::{JoinAnswer, REACH_TARGET, Reach, ReachAnswer, RefusalBody};
use betanet_fog::{Call, Level, Refusal, RefusalCode, from_slice, to_vec};
use betanet_keys::{Identity, PublicKey};
use betanet_runtime::{
    Call as Asked, Clock, Cover, Error as RuntimeError, MixClient, MixOptions, Network, Node,
    Reply, Service, SharedFolder,
};
use tokio::sync::Mutex;

use crate::link::Mixed;
use crate::{Error, FogClient};

/// Longest body of a question.
const QUESTION_MAX: usize = 256;

/// Mean interval between a node's packets while a task with cover lives, if the settings name no other.
pub const COVER: Duration = Duration::from_millis(100);

/// Answers coordinators that ask over the mix. It is a service of the node's listener, which has the role `gateway` in the network.
///
/// ```no_run
/// # async fn example(config: betanet_runtime::GatewayConfig, joined: betanet_fog::bodies::JoinAnswer)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use betanet_fog_client::node::{Answers, REACH};
/// use betanet_runtime::{Gateway, load_identity};
///
/// let me = load_identity("node.pem".as_ref())?;
/// let answers = Answers::new(me.clone());
/// let gateway = Gateway::builder(me, &config).service(REACH, answers.service()).start().await?;
/// // It answers the coordinators of its cluster alone, whose keys come with the answer to its join.
/// answers.learn(&joined);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Answers {
    me: Identity,
    clock: Clock,
    coordinators: Arc<RwLock<Vec<PublicKey>>>,
    questions: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    answered: [AtomicU64; ABOVE.len()],
    answered_ms: AtomicU64,
    refused: AtomicU64,
    refused_ms: AtomicU64,
}

/// The levels that a node can prove.
const ABOVE: [Level; 3] = [Level::Private, Level::Confidential, Level::Secret];

/// Number of questions that [`Answers`] had since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Questions {
    /// Answered questions for the levels private, confidential and secret: over 3, 5 and 7 relays.
    pub answered: [u64; ABOVE.len()],
    /// UNIX ms of the last answer; 0 before the first. Whether it arrived is not known here.
    pub answered_ms: u64,
    /// Refused questions: wrong ones, direct ones, and those of others than the coordinators.
    pub refused: u64,
    /// UNIX ms of the last refusal; 0 before the first.
    pub refused_ms: u64,
}

impl Questions {
    /// Each level above public, with its number of answered questions.
    pub fn by_level(&self) -> impl Iterator<Item = (Level, u64)> + use<> {
        ABOVE.into_iter().zip(self.answered)
    }
}

impl Counted {
    /// Counts a question for this level, or a refused one.
    fn count(&self, answered: Option<Level>, now_ms: u64) {
        let (counter, last) = match answered {
            None => (Some(&self.refused), &self.refused_ms),
            Some(level) => {
                let at = ABOVE.iter().position(|above| *above == level);
                (at.and_then(|at| self.answered.get(at)), &self.answered_ms)
            }
        };
        // A question for the level public asks for nothing.
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
            last.store(now_ms, Ordering::Relaxed);
        }
    }
}

/// The path prefix of [`Answers::service`].
pub const REACH: &str = REACH_TARGET;

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answers {
    /// Answers nobody yet.
    #[must_use]
    pub fn new(me: Identity) -> Self {
        Self {
            me,
            clock: Clock::start(),
            coordinators: Arc::default(),
            questions: Arc::default(),
        }
    }

    /// The questions so far.
    #[must_use]
    pub fn questions(&self) -> Questions {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counted = &self.questions;
        Questions {
            answered: counted.answered.each_ref().map(of),
            answered_ms: of(&counted.answered_ms),
            refused: of(&counted.refused),
            refused_ms: of(&counted.refused_ms),
        }
    }

    /// Answers the coordinators that the answer to a join names.
    pub fn learn(&self, joined: &JoinAnswer) {
        let keys = joined.coords.iter();
        let keys = keys.filter_map(|key| PublicKey::from_bytes(key).ok());
        let mut known = self
            .coordinators
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *known = keys.collect();
    }

    /// The service for [`REACH`].
    #[must_use]
    pub fn service(&self) -> impl Service + use<> {
        let this = self.clone();
        move |asked: Asked| {
            let this = this.clone();
            async move { this.reply(asked).await }
        }
    }

    async fn reply(&self, asked: Asked) -> Reply {
        let answer = self.read(asked).await;
        let level = answer.as_ref().ok().map(|(level, _)| *level);
        self.questions.count(level, self.clock.now().unix_ms);
        match answer {
            Ok((_, answer)) => with_body(status::OK, to_vec(&answer)),
            Err(refusal) => refused(refusal),
        }
    }

    /// Reads a question, and answers it.
    async fn read(&self, mut asked: Asked) -> Result<(Level, ReachAnswer), Refusal> {
        let body = match asked.body.all(QUESTION_MAX).await {
            Ok(Some(body)) => body,
            Ok(None) => return Err(RefusalCode::TooLarge.bare()),
            Err(_) => return Err(RefusalCode::Malformed.bare()),
        };
        let request = &asked.request;
        let proof = match request.headers.get("authorization") {
            Some(HeaderValue::Bytes(bytes)) => &bytes[..],
            _ => &[],
        };
        let question = Question {
            over_mix: matches!(asked.client, Client::Anonymous),
            method: request.method,
            target: &request.target,
            proof,
            body: &body,
        };
        self.answer(&question, self.clock.now().unix_ms)
    }

    /// Checks a question, cheap tests first: the mix does not tell who asks.
    fn answer(&self, asked: &Question<'_>, now_ms: u64) -> Result<(Level, ReachAnswer), Refusal> {
        if asked.method != Method::Post || asked.target != REACH_TARGET {
            return Err(RefusalCode::Unknown.bare());
        }
        // A direct answer would prove nothing.
        if !asked.over_mix {
            return Err(RefusalCode::PrivacyRoute.of("level"));
        }
        let reach: Reach = from_slice(asked.body)?;
        let known = self.coordinators.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let by = known.iter().find(|k| asked.proof.starts_with(k.as_bytes()));
        let by = *by.ok_or(RefusalCode::Role.bare())?;
        drop(known);
        let call = Call {
            coordinator: self.me.public(),
            method: asked.method.as_str(),
            target: asked.target,
            body: asked.body,
        };
        call.verify(asked.proof, now_ms)?;
        Ok((reach.level, reach.answer(&self.me, &by)))
    }
}

/// A question as it came.
#[derive(Clone, Copy)]
struct Question<'a> {
    over_mix: bool,
    method: Method,
    target: &'a str,
    proof: &'a [u8],
    body: &'a [u8],
}

fn with_body(status: u16, body: Vec<u8>) -> Reply {
    Reply::new(status)
        .with_header("content-type", "application/cbor")
        .with_header("content-length", body.len().to_string())
        .with_body(body)
}

fn refused(refusal: Refusal) -> Reply {
    with_body(refusal.code.status(), to_vec(&RefusalBody::from(refusal)))
}

/// The mix of a network, for a node's blobs.
#[derive(Clone, Debug)]
pub struct MixWay {
    /// The network.
    pub network: Network,
    /// Folder in which the guard is stored. Without it, each way draws a new one.
    pub state: Option<SharedFolder>,
    /// Mean interval between packets while a task with cover lives, such as [`COVER`]. Real packets take the place of cover, so it
    /// bounds the speed too.
    pub cover: Duration,
    /// Source address of the connection to the guard.
    pub dial_from: Option<IpAddr>,
}

/// A client over the mix, and what it stands on.
struct Open {
    client: FogClient,
    mix: Arc<MixClient>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mix = Arc::clone(&self.mix);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { mix.close().await });
        }
    }
}

/// The ways to the coordinator, by level.
#[derive(Clone)]
pub struct Ways(Arc<Inner>);

struct Inner {
    direct: FogClient,
    mix: Option<MixWay>,
    /// The open way of each level above public. It ends with the last task that holds it, so that cover is sent while one lives.
    open: [Mutex<Weak<Open>>; 3],
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways")
            .field("mix", &self.0.mix.is_some())
            .finish_non_exhaustive()
    }
}

/// The way for the blobs of one task, to be held while the task lives here.
#[derive(Clone)]
pub struct Way {
    client: FogClient,
    _open: Option<Arc<Open>>,
}

impl Way {
    /// The client for the task's blobs.
    #[must_use]
    pub const fn client(&self) -> &FogClient {
        &self.client
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("client", &self.client).finish()
    }
}

impl Ways {
    /// The ways of a node with this client. Without a mix, there is none above the level public.
    #[must_use]
    pub fn new(direct: FogClient, mix: Option<MixWay>) -> Self {
        Self(Arc::new(Inner {
            direct,
            mix,
            open: Default::default(),
        }))
    }

    /// The way for blobs of tasks of this level. It is opened where no other task has it open.
    ///
    /// # Errors
    ///
    /// [`Error::Route`] without a mix; [`Error::Session`] where it cannot be used over so many relays. Nothing was sent then.
    pub async fn at(&self, level: Level) -> Result<Way, Error> {
        const WHAT: &str = "reach the coordinator over the mix";
        let slot = match level {
            Level::Public => {
                return Ok(Way {
                    client: self.0.direct.clone(),
                    _open: None,
                });
            }
            Level::Private => &self.0.open[0],
            Level::Confidential => &self.0.open[1],
            Level::Secret => &self.0.open[2],
        };
        let mix = self.0.mix.as_ref().ok_or(Error::Route {
            what: WHAT,
            level,
            relays: 0,
        })?;
        let mut slot = slot.lock().await;
        let open = match slot.upgrade() {
            Some(open) => open,
            None => {
                let open = self.0.open(mix, level).await;
                let open = open.map_err(|source| Error::Session {
                    what: WHAT,
                    source: Box::new(source),
                })?;
                let open = Arc::new(open);
                *slot = Arc::downgrade(&open);
                open
            }
        };
        Ok(Way {
            client: open.client.clone(),
            _open: Some(open),
        })
    }
}

impl Inner {
    async fn open(&self, way: &MixWay, level: Level) -> Result<Open, RuntimeError> {
        let options = MixOptions {
            relays: level.relays(),
            cover: Cover {
                loops: None,
                packets: level.cover().then_some(way.cover),
            },
            state: way.state.clone(),
            ..MixOptions::default()
        };
        // The guard is dialled without the node's name, which only the requests' proofs tell.
        let node = Node::client()?.with_source_address(way.dial_from);
        let mix = Arc::new(MixClient::join(node, &way.network, &options).await?);
        let names = self.direct.coordinators();
        let connect = Mixed::new(Arc::clone(&mix), options.relays, names);
        let client =
            FogClient::with_patience(self.direct.me().clone(), connect, self.direct.patience());
        Ok(Open { client, mix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Connect, Connecting};
    use betanet_keys::Name;

    const NOW: u64 = 1_790_000_000_000;

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    fn joined(coordinators: &[&Identity]) -> JoinAnswer {
        let keys: Vec<_> = coordinators
            .iter()
            .map(|c| *c.public().as_bytes())
            .collect();
        JoinAnswer {
            ttl: 30_000,
            down: 90_000,
            join: 1,
            epoch: 1,
            coords: keys.try_into().unwrap(),
        }
    }

    #[test]
    fn a_coordinator_of_the_cluster_is_answered_over_the_mix_and_nobody_else() {
        let (me, leader, stranger) = (identity(1), identity(2), identity(3));
        let answers = Answers::new(me.clone());
        let reach = Reach {
            level: Level::Confidential,
            nonce: [9; 32],
        };
        let body = to_vec(&reach);
        let call = |key| Call {
            coordinator: key,
            method: "POST",
            target: REACH_TARGET,
            body: &body,
        };
        let proof = call(me.public()).sign(&leader, NOW);
        let asked = Question {
            over_mix: true,
            method: Method::Post,
            target: REACH_TARGET,
            proof: &proof,
            body: &body,
        };
        // It does not know its cluster yet.
        assert_eq!(answers.answer(&asked, NOW), Err(RefusalCode::Role.bare()));
        answers.learn(&joined(&[&leader]));
        let (level, answer) = answers.answer(&asked, NOW).unwrap();
        assert_eq!(level, Level::Confidential);
        assert_eq!(reach.check(&answer, me.public(), leader.public()), Ok(()));
        let foreign = call(me.public()).sign(&stranger, NOW);
        let other_node = call(stranger.public()).sign(&leader, NOW);
        let invalid = RefusalCode::SigInvalid.bare();
        for (asked, now, refusal) in [
            (
                Question {
                    over_mix: false,
                    ..asked
                },
                NOW,
                RefusalCode::PrivacyRoute.of("level"),
            ),
            (
                Question {
                    proof: &foreign,
                    ..asked
                },
                NOW,
                RefusalCode::Role.bare(),
            ),
            (
                Question {
                    proof: &[],
                    ..asked
                },
                NOW,
                RefusalCode::Role.bare(),
            ),
            (
                Question {
                    proof: &proof[..40],
                    ..asked
                },
                NOW,
                RefusalCode::Malformed.of("authorization"),
            ),
            (
                Question {
                    proof: &other_node,
                    ..asked
                },
                NOW,
                invalid,
            ),
            (asked, NOW + 120_001, invalid),
            (
                Question {
                    method: Method::Get,
                    ..asked
                },
                NOW,
                RefusalCode::Unknown.bare(),
            ),
            (
                Question {
                    target: "/fog/1/reach/x",
                    ..asked
                },
                NOW,
                RefusalCode::Unknown.bare(),
            ),
            (
                Question {
                    body: &body[..9],
                    ..asked
                },
                NOW,
                RefusalCode::Malformed.bare(),
            ),
        ] {
            assert_eq!(answers.answer(&asked, now), Err(refusal));
        }
    }

    #[test]
    fn questions_are_counted_by_level_with_the_time_of_the_last() {
        let answers = Answers::new(identity(1));
        for (level, at) in [
            (Some(Level::Secret), 5),
            (Some(Level::Private), 6),
            (Some(Level::Secret), 7),
            (Some(Level::Public), 8),
            (None, 9),
        ] {
            answers.questions.count(level, at);
        }
        let counted = answers.clone().questions();
        assert_eq!((counted.answered, counted.answered_ms), ([1, 0, 2], 7));
        assert_eq!((counted.refused, counted.refused_ms), (1, 9));
        let relays: Vec<_> = counted
            .by_level()
            .map(|(level, n)| (level.relays(), n))
            .collect();
        assert_eq!(relays, [(3, 1), (5, 0), (7, 2)]);
    }

    /// A way that must not be used.
    struct Nowhere;

    impl Connect for Nowhere {
        fn coordinators(&self) -> Vec<Name> {
            Vec::new()
        }

        fn connect(&self, _: Name) -> Connecting<'_> {
            Box::pin(async { panic!("nothing may be sent") })
        }
    }

    #[tokio::test]
    async fn without_a_mix_there_is_no_way_above_public() {
        let ways = Ways::new(FogClient::new(identity(1), Nowhere), None);
        assert_eq!(ways.at(Level::Public).await.unwrap().client().relays(), 0);
        for level in [Level::Private, Level::Confidential, Level::Secret] {
            let error = ways.at(level).await.unwrap_err();
            assert_eq!(error.code(), Some(RefusalCode::PrivacyRoute), "{error}");
        }
    }
}
