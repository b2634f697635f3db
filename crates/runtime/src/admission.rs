//! How many sessions one address may have, and how fast one peer may open streams.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use betanet_bar::{Client, Handler, ReadFailed, Request, Response};
use betanet_machine::Time;
use betanet_mesh::{Admission, Policy, Prefix};
use bytes::Bytes;

/// What a gateway counts of those who come to it.
#[derive(Clone, Debug)]
pub(crate) struct Doorkeeper(Arc<Mutex<Admission>>);

impl Doorkeeper {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self(Arc::new(Mutex::new(Admission::new(policy))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Admission) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One session's place, given back when the session ends. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entrance(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    keeper: Option<Doorkeeper>,
    ip: Option<IpAddr>,
    entered: OnceLock<bool>,
}

impl Entrance {
    /// For a session from `ip`, which is counted once its handshake is finished.
    pub(crate) fn new(keeper: Doorkeeper, ip: Option<IpAddr>) -> Self {
        Self(Arc::new(Place {
            keeper: Some(keeper),
            ip,
            entered: OnceLock::new(),
        }))
    }

    /// Where the session comes from, if not over relays.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.ip
    }

    /// The handshake is finished: whether the session may stay. Asked again, the answer is the same.
    pub(crate) fn enter(&self) -> bool {
        let (Some(keeper), Some(ip)) = (&self.0.keeper, self.0.ip) else {
            return true;
        };
        *self.0.entered.get_or_init(|| keeper.with(|a| a.enter(ip)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(true), Some(keeper), Some(ip)) = (self.entered.get(), &self.keeper, self.ip) {
            keeper.with(|a| a.leave(ip));
        }
    }
}

/// TCP connections by address, before anything is known of them.
#[derive(Debug)]
pub(crate) struct Doorstep {
    /// At once.
    max: usize,
    /// New ones a second; as many as `max` may come together.
    per_second: usize,
    sources: Mutex<BTreeMap<Prefix, Source>>,
}

#[derive(Debug)]
struct Source {
    standing: usize,
    /// New connections that may come, in millionths, and when that was.
    tokens: u64,
    at: Time,
}

/// One connection's place on the doorstep.
#[derive(Debug)]
pub(crate) struct Step {
    doorstep: Arc<Doorstep>,
    source: Prefix,
}

/// One connection, in the unit in which they are counted.
const ONE: u64 = 1_000_000;
/// Addresses above which those that rest are forgotten.
const SOURCES: usize = 4096;

impl Doorstep {
    pub(crate) const fn new(max: usize, per_second: usize) -> Self {
        Self {
            max,
            per_second,
            sources: Mutex::new(BTreeMap::new()),
        }
    }

    const fn full(&self) -> u64 {
        (self.max as u64).saturating_mul(ONE)
    }

    fn tokens(&self, source: &Source, now: Time) -> u64 {
        let micros = u64::try_from((now - source.at).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.per_second as u64);
        source.tokens.saturating_add(more).min(self.full())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Prefix, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more of this address, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, now: Time, ip: IpAddr) -> Option<Step> {
        let prefix = Prefix::source(ip);
        let mut sources = self.lock();
        if sources.len() >= SOURCES && !sources.contains_key(&prefix) {
            // Who has all its tokens again is as one that never came.
            sources.retain(|_, s| s.standing > 0 || self.tokens(s, now) < self.full());
        }
        let source = sources.entry(prefix).or_insert(Source {
            standing: 0,
            tokens: self.full(),
            at: now,
        });
        source.tokens = self.tokens(source, now);
        source.at = now;
        if source.standing >= self.max || source.tokens < ONE {
            return None;
        }
        source.tokens -= ONE;
        source.standing += 1;
        Some(Step {
            doorstep: Arc::clone(self),
            source: prefix,
        })
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(source) = self.doorstep.lock().get_mut(&self.source) {
            source.standing -= 1;
        }
    }
}

/// A handler behind the doorkeeper.
#[derive(Clone, Debug)]
pub(crate) struct Admitted<H> {
    pub(crate) keeper: Doorkeeper,
    pub(crate) entrance: Entrance,
    pub(crate) inner: H,
}

impl<H: Handler> Handler for Admitted<H> {
    type Exchange = H::Exchange;

    fn may_open(&mut self, now: Time, client: Client) -> bool {
        // What came with the handshake's end is not answered before the session may stay.
        let counted = match client {
            Client::Direct(node) => self.keeper.with(|a| a.open(now, node)),
            Client::Anonymous => true,
        };
        self.entrance.enter() && counted && self.inner.may_open(now, client)
    }

    fn begin(&mut self, client: Client, request: Request) -> Result<H::Exchange, Response> {
        self.inner.begin(client, request)
    }

    fn body(&mut self, exchange: &mut H::Exchange, bytes: &[u8]) -> Result<(), Response> {
        self.inner.body(exchange, bytes)
    }

    fn end(&mut self, exchange: &mut H::Exchange) -> Response {
        self.inner.end(exchange)
    }

    fn read(&mut self, exchange: &mut H::Exchange, max: usize) -> Result<Bytes, ReadFailed> {
        self.inner.read(exchange, max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_at_once_and_so_many_new_ones_a_second() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let (one, other) = (IpAddr::from([9, 0, 0, 1]), IpAddr::from([9, 0, 0, 2]));
        let door = Arc::new(Doorstep::new(3, 10));
        let mut standing: Vec<Step> = (0..5).filter_map(|_| door.enter(at(0), one)).collect();
        assert_eq!(standing.len(), 3, "at once");
        assert!(door.enter(at(0), other).is_some(), "each for itself");
        standing.clear();
        assert!(door.enter(at(99), one).is_none(), "three came together");
        let came = |from: u64, to: u64| (from..to).filter(|t| door.enter(at(*t), one).is_some());
        assert_eq!(came(100, 1100).count(), 10, "in a second");
        assert_eq!((0..9).filter_map(|_| door.enter(at(9_000), one)).count(), 3);
    }

    #[test]
    fn addresses_that_rest_are_forgotten() {
        let door = Arc::new(Doorstep::new(1, 1));
        let ip = |n: usize| IpAddr::from(u32::try_from(n).unwrap().to_be_bytes());
        let at = |n: usize| Time::from_micros(u64::try_from(n).unwrap() * 1_000_000);
        let stays = door.enter(at(0), ip(0));
        for n in 1..3 * SOURCES {
            assert!(door.enter(at(n), ip(n)).is_some());
            assert!(door.lock().len() <= SOURCES);
        }
        assert!(door.enter(at(3 * SOURCES), ip(0)).is_none());
        drop(stays);
    }
}
