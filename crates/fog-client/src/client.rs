//! The client: finds the coordinator that leads, sends requests to it, and reads its answers.

mod blobs;
mod node;
mod operator;
mod outgoing;
mod place;
mod stream;
mod tries;
mod user;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_bar::Headers;
use betanet_fog::bodies::RefusalBody;
use betanet_fog::{BODY_MAX, Item, RefusalCode, from_slice};
use betanet_keys::{Identity, Name};
use betanet_runtime::{Answer, Clock, Error as RuntimeError};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::link::{Connect, Link};
use crate::{Error, Refused};
use outgoing::Outgoing;
use place::Place;
use tries::{Tries, Trouble, Verdict};

pub use blobs::BlobBody;
pub use outgoing::Stored;
pub use stream::{Items, Log, Positioned};
pub use user::{Lists, node_id};

/// Longest body of a refusal that is read.
const REFUSAL_MAX: usize = 4096;
/// Factor on the time limits over the mix, whose packets wait at each relay.
const MIX_FACTOR: u32 = 6;

/// Limits of a client's waiting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// Time for which a request is repeated while coordinators are busy, unreachable or without a leader. A takeover needs up to
    /// 20 s.
    pub repeat: Duration,
    /// Time in which a coordinator must answer, or take the next part of a body. Over the mix, six times as long.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            repeat: Duration::from_secs(30),
            answer: Duration::from_secs(15),
        }
    }
}

struct Inner {
    me: Identity,
    connect: Box<dyn Connect>,
    patience: Patience,
    clock: Clock,
    place: Mutex<Place>,
    /// Number of turns to another coordinator, for streams that then follow.
    turned: watch::Sender<u64>,
    /// Held while a session is opened, so that requests at the same time open one.
    opening: tokio::sync::Mutex<()>,
}

/// A client of a fog's coordinators. Clones share its session.
#[derive(Clone)]
pub struct FogClient(Arc<Inner>);

impl std::fmt::Debug for FogClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = self.place();
        f.debug_struct("FogClient")
            .field("coordinators", &place.coordinators.len())
            .field("relays", &self.0.connect.relays())
            .finish_non_exhaustive()
    }
}

impl FogClient {
    /// Creates a client that signs as `me`. Direct sessions must dial with the same identity.
    #[must_use]
    pub fn new(me: Identity, connect: impl Connect) -> Self {
        Self::with_patience(me, connect, Patience::default())
    }

    /// Creates a client with other time limits.
    #[must_use]
    pub fn with_patience(me: Identity, connect: impl Connect, patience: Patience) -> Self {
        let place = Place {
            coordinators: connect.coordinators(),
            at: 0,
            link: None,
            turns: 0,
        };
        Self(Arc::new(Inner {
            me,
            connect: Box::new(connect),
            patience,
            clock: Clock::start(),
            place: Mutex::new(place),
            turned: watch::Sender::new(0),
            opening: tokio::sync::Mutex::default(),
        }))
    }

    /// The identity that signs.
    #[must_use]
    pub fn me(&self) -> &Identity {
        &self.0.me
    }

    /// The clock of the client's waiting.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.clock
    }

    /// Number of relays of the mix that requests pass.
    #[must_use]
    pub fn relays(&self) -> usize {
        self.0.connect.relays()
    }

    /// The coordinators that are known, those that refusals named included.
    #[must_use]
    pub fn coordinators(&self) -> Vec<Name> {
        self.place().coordinators.clone()
    }

    /// The limits of the client's waiting.
    #[must_use]
    pub fn patience(&self) -> Patience {
        self.0.patience
    }

    /// Turns to the next coordinator, because this one no longer leads.
    pub fn pass_over(&self) {
        self.turn(|place| {
            if let Some(name) = place.coordinators.get(place.at).copied() {
                place.leave(name);
            }
        });
    }

    /// Changes the coordinator in use, and tells the streams.
    fn turn(&self, change: impl FnOnce(&mut Place)) {
        let turns = {
            let mut place = self.place();
            change(&mut place);
            place.turns
        };
        self.0.turned.send_if_modified(|known| {
            let more = turns > *known;
            *known = turns.max(*known);
            more
        });
    }

    /// Reports turns to another coordinator from now on.
    fn turned(&self) -> watch::Receiver<u64> {
        self.0.turned.subscribe()
    }

    /// Closes the session.
    pub async fn close(&self) {
        let link = self.place().link.take();
        if let Some(link) = link {
            link.close().await;
        }
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        self.0.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The coordinator in use, and the session with it if one is open.
    fn current(&self) -> Result<(Name, Option<Link>), Trouble> {
        let place = self.place();
        let at = place.coordinators.get(place.at);
        let name = at.copied().ok_or(Trouble::Fatal(Error::NoCoordinator))?;
        let open = place.link.as_ref().filter(|link| !link.is_closed());
        Ok((name, open.cloned()))
    }

    /// Returns the session with the coordinator in use, or opens one.
    async fn link(&self) -> Result<(Name, Link), Trouble> {
        if let (name, Some(link)) = self.current()? {
            return Ok((name, link));
        }
        let _one = self.0.opening.lock().await;
        let (name, open) = self.current()?;
        if let Some(link) = open {
            return Ok((name, link));
        }
        let link = self.0.connect.connect(name).await;
        let link = link.map_err(|error| Trouble::Down(name, error))?;
        let mut place = self.place();
        if place.coordinators.get(place.at) == Some(&name) {
            place.link = Some(link.clone());
        }
        Ok((name, link))
    }

    /// Sends a request until a coordinator takes or refuses it.
    ///
    /// # Errors
    ///
    /// The refusal, or the reason why no coordinator answered.
    async fn send(&self, out: &Outgoing<'_>) -> Result<Answer, Error> {
        let began = self.0.clock.elapsed();
        let mut tries = Tries::new(self.place().coordinators.len(), self.0.patience.repeat);
        loop {
            let trouble = match self.attempt(out).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };
            match &trouble {
                Trouble::Refused(name, refused) => match refused.location {
                    _ if refused.code != Some(RefusalCode::NotLeader) => {}
                    Some(leader) => self.turn(|place| place.follow(*name, leader)),
                    None => self.turn(|place| place.leave(*name)),
                },
                Trouble::Down(name, _) | Trouble::Late(name, _) => {
                    self.turn(|place| place.leave(*name));
                }
                Trouble::Fatal(_) => {}
            }
            let sent = !matches!(trouble, Trouble::Refused(..));
            let waited = match out.once && sent {
                true => Duration::MAX,
                false => self.0.clock.elapsed().saturating_sub(began),
            };
            match tries.after(out.what, trouble, waited) {
                Verdict::Again(pause) => tokio::time::sleep(pause).await,
                Verdict::Over(error) => return Err(error),
            }
        }
    }

    async fn attempt(&self, out: &Outgoing<'_>) -> Result<Answer, Trouble> {
        let (name, link) = self.link().await?;
        let limit = match &link {
            Link::Direct(_) => self.0.patience.answer,
            Link::Mix { .. } => self.0.patience.answer * MIX_FACTOR,
        };
        let limit = limit.saturating_add(out.wait);
        let now_ms = self.0.clock.now().unix_ms;
        let exchange = outgoing::Exchange {
            link: &link,
            me: &self.0.me,
            now_ms,
            limit,
        };
        let mut answer = exchange.run(out, name).await?;
        let status = answer.head.status;
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let body = timeout(limit, answer.body.all(REFUSAL_MAX)).await;
        let body = body.map_err(|_| Trouble::Late(name, limit))?;
        let body = body.map_err(|e| Trouble::Down(name, RuntimeError::from(e)))?;
        let body = body.and_then(|bytes| from_slice::<RefusalBody>(&bytes).ok());
        let what = out.what;
        let Some(body) = body else {
            return Err(Trouble::Fatal(Error::Answer { what, status }));
        };
        let refused = Refused {
            what,
            code: body.known(),
            word: body.code,
            key: body.key,
            status,
            retry_after: retry_after(&answer.head.headers),
            location: location(&answer.head.headers),
        };
        Err(Trouble::Refused(name, Box::new(refused)))
    }

    /// Sends a request and reads the body of its answer.
    async fn fetch<T: Item>(&self, out: &Outgoing<'_>) -> Result<T, Error> {
        let answer = self.send(out).await?;
        let status = answer.head.status;
        let bytes = self.whole(out.what, answer).await?;
        from_slice(&bytes).map_err(|_| Error::Answer {
            what: out.what,
            status,
        })
    }

    /// Reads an answer's body, which is bounded.
    async fn whole(&self, what: &'static str, mut answer: Answer) -> Result<Vec<u8>, Error> {
        let limit = self.0.patience.answer * MIX_FACTOR;
        let status = answer.head.status;
        let body = timeout(limit, answer.body.all(BODY_MAX)).await;
        let body = body.map_err(|_| Error::Late { what, after: limit })?;
        let body = body.map_err(|e| Error::Session {
            what,
            source: Box::new(e.into()),
        })?;
        body.ok_or(Error::Answer { what, status })
    }

    /// Sends a request whose answer has no body.
    async fn tell(&self, out: &Outgoing<'_>) -> Result<Stored, Error> {
        let answer = self.send(out).await?;
        Ok(match answer.head.status {
            betanet_bar::status::CREATED => Stored::New,
            _ => Stored::Again,
        })
    }
}

fn retry_after(headers: &Headers) -> Option<Duration> {
    let seconds = headers.text("retry-after")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn location(headers: &Headers) -> Option<Name> {
    headers.text("location")?.parse().ok()
}
