//! Admission control: limits half-open handshakes, finished sessions, and the rate at which one peer opens streams.
//!
//! Half-open handshakes are counted apart from sessions, so they take no places from them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Context;

use betanet_machine::Time;
use betanet_mesh::{Admission, Policy};
use betanet_wire::{ChargeTo, NodeId};

use crate::alarm::Alarm;
use crate::metrics::{Metrics, Refusal as Limit};

/// Maximum number of handshakes in progress on one outer connection, from a valid ticket to the answer to message 3.
const HALF_OPEN_A_CONNECTION: usize = 4;
/// Maximum number of handshakes in progress from one address, or over one relay.
const HALF_OPEN_AN_ADDRESS: usize = 32;
/// Maximum number of handshakes in progress overall.
const HALF_OPEN: usize = 4096;
/// Maximum number of relayed sessions from one address. Many clients may come over one relay.
const FORWARDED_AN_ADDRESS: usize = 256;

/// Maximum number of closed sessions from one address that may release their places while they send their last bytes. Further
/// ones keep their places until then.
const LEAVING_AN_ADDRESS: usize = 8;

/// The reason why a session may not stay. The peer receives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The address has its maximum number of sessions.
    #[error("{0} sessions of this address already stand (per_address)")]
    Address(usize),
    /// The address has brought its maximum number of relayed sessions.
    #[error("{0} sessions over relays already stand that this address brought")]
    Forwarded(usize),
    /// The node has its maximum number of sessions.
    #[error("{0} sessions already stand here (max_sessions)")]
    Full(usize),
}

#[derive(Debug)]
struct Counts {
    admission: Admission,
    /// Handshakes in progress, by the party charged and by connection.
    half_open: BTreeMap<ChargeTo, usize>,
    connections: BTreeMap<SocketAddr, usize>,
    beginning: usize,
    forwarded: BTreeMap<ChargeTo, usize>,
    over_relays: usize,
    standing: usize,
    leaving: BTreeMap<ChargeTo, usize>,
    /// Alarms that make the sessions of an address check whether their peers are alive.
    doubts: BTreeMap<ChargeTo, Vec<Alarm>>,
}

#[derive(Debug)]
struct Shared {
    counts: Mutex<Counts>,
    per_address: usize,
    max: usize,
    metrics: Arc<Metrics>,
}

/// A gateway's counts of handshakes and sessions.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionControl(Arc<Shared>);

/// Adds one to a count. Returns `false` if the maximum is reached.
fn add<K: Ord>(to: &mut BTreeMap<K, usize>, key: K, max: usize) -> bool {
    let n = to.entry(key).or_default();
    let fits = *n < max;
    *n += usize::from(fits);
    fits
}

fn take<K: Ord>(from: &mut BTreeMap<K, usize>, key: &K) {
    match from.get_mut(key) {
        Some(n) if *n > 1 => *n -= 1,
        _ => {
            from.remove(key);
        }
    }
}

impl AdmissionControl {
    /// Creates the control with a limit of `max` sessions overall.
    pub(crate) fn new(policy: &Policy, max: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            counts: Mutex::new(Counts {
                admission: Admission::new(policy),
                half_open: BTreeMap::new(),
                connections: BTreeMap::new(),
                beginning: 0,
                forwarded: BTreeMap::new(),
                over_relays: 0,
                standing: 0,
                leaving: BTreeMap::new(),
                doubts: BTreeMap::new(),
            }),
            per_address: policy.per_address,
            max,
            metrics,
        }))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Counts) -> T) -> T {
        work(&mut self.0.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the number of open sessions.
    pub(crate) fn standing(&self) -> usize {
        self.with(|c| c.standing)
    }

    /// Takes a place for a handshake on a connection from `from`, which is `None` for a relayed one. Returns `None` if the limit
    /// of handshakes in progress is reached.
    pub(crate) fn begin(&self, from: Option<SocketAddr>, charge: ChargeTo) -> Option<HalfOpen> {
        let fits = self.with(|c| {
            if c.beginning >= HALF_OPEN || !add(&mut c.half_open, charge, HALF_OPEN_AN_ADDRESS) {
                return false;
            }
            if let Some(from) = from
                && !add(&mut c.connections, from, HALF_OPEN_A_CONNECTION)
            {
                take(&mut c.half_open, &charge);
                return false;
            }
            c.beginning += 1;
            true
        });
        if !fits {
            self.0.metrics.half_open_refused.inc();
            self.0.metrics.refusals.count(Limit::HalfOpen);
            return None;
        }
        self.0.metrics.half_open.inc();
        Some(HalfOpen {
            keeper: self.clone(),
            from,
            charge,
        })
    }

    /// Takes a place for the session of a finished handshake. If its address has no place left, its other sessions check whether
    /// their peers are alive: a killed peer sends no goodbye over QUIC.
    fn enter(&self, ip: Option<IpAddr>, charge: ChargeTo, doubt: &Alarm) -> Result<(), Refusal> {
        let (per_address, max) = (self.0.per_address, self.0.max);
        let entered = self.with(|c| {
            if c.standing >= max {
                return Err(Refusal::Full(max));
            }
            match ip {
                Some(ip) if !c.admission.enter(ip) => {
                    let all = c.doubts.get(&charge).into_iter().flatten();
                    all.for_each(Alarm::ring);
                    return Err(Refusal::Address(per_address));
                }
                // This list has at most as many entries as the address may have sessions.
                Some(_) => c.doubts.entry(charge).or_default().push(doubt.clone()),
                None if c.over_relays >= max.div_ceil(2) => {
                    return Err(Refusal::Full(c.over_relays));
                }
                None if !add(&mut c.forwarded, charge, FORWARDED_AN_ADDRESS) => {
                    return Err(Refusal::Forwarded(FORWARDED_AN_ADDRESS));
                }
                None => c.over_relays += 1,
            }
            c.standing += 1;
            Ok(())
        });
        entered.inspect_err(|refusal| {
            self.0.metrics.refusals.count(match refusal {
                Refusal::Address(_) => Limit::AddressSessions,
                Refusal::Forwarded(_) => Limit::Forwarded,
                Refusal::Full(_) => Limit::Sessions,
            });
        })?;
        self.0.metrics.sessions.inc();
        Ok(())
    }

    /// Returns whether a closed session may release its place while it sends its last bytes.
    fn leaves(&self, charge: ChargeTo) -> bool {
        self.with(|c| add(&mut c.leaving, charge, LEAVING_AN_ADDRESS))
    }

    fn left(&self, charge: ChargeTo) {
        self.with(|c| take(&mut c.leaving, &charge));
    }

    fn leave(
        &self,
        Came {
            ip, charge, doubt, ..
        }: &Came,
    ) {
        self.with(|c| {
            c.standing -= 1;
            match ip {
                Some(ip) => {
                    c.admission.leave(*ip);
                    if let Some(all) = c.doubts.get_mut(charge) {
                        all.retain(|one| !one.is(doubt));
                        if all.is_empty() {
                            c.doubts.remove(charge);
                        }
                    }
                }
                None => {
                    c.over_relays -= 1;
                    take(&mut c.forwarded, charge);
                }
            }
        });
        self.0.metrics.sessions.dec();
    }
}

/// A handshake in progress. Its place is released when it is finished or fails.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    keeper: AdmissionControl,
    from: Option<SocketAddr>,
    charge: ChargeTo,
}

impl Drop for HalfOpen {
    fn drop(&mut self) {
        self.keeper.with(|c| {
            c.beginning -= 1;
            take(&mut c.half_open, &self.charge);
            if let Some(from) = &self.from {
                take(&mut c.connections, from);
            }
        });
        self.keeper.0.metrics.half_open.dec();
    }
}

/// The place of one session, released when the session ends. Clones share the place.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionPermit(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    /// Origin of the session. `None` for a session that this node dialled.
    came: Option<Came>,
    half_open: Mutex<Option<HalfOpen>>,
    entered: OnceLock<Result<(), Refusal>>,
    /// Whether the session is over and its place was released.
    leaving: AtomicBool,
}

#[derive(Debug)]
struct Came {
    keeper: AdmissionControl,
    ip: Option<IpAddr>,
    charge: ChargeTo,
    doubt: Alarm,
}

impl SessionPermit {
    /// Creates the permit of a session from `ip`, which is `None` for a relayed one. Its handshake keeps `half_open` until it is
    /// finished.
    pub(crate) fn new(half_open: HalfOpen, ip: Option<IpAddr>) -> Self {
        Self(Arc::new(Place {
            came: Some(Came {
                keeper: half_open.keeper.clone(),
                ip,
                charge: half_open.charge,
                doubt: Alarm::default(),
            }),
            half_open: Mutex::new(Some(half_open)),
            entered: OnceLock::new(),
            leaving: AtomicBool::new(false),
        }))
    }

    /// Returns the peer's IP address, or `None` for a relayed session.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.came.as_ref()?.ip
    }

    /// Returns the party charged for the session's resources. A peer that this node dialled is charged as that node.
    pub(crate) fn charge(&self, peer: NodeId) -> ChargeTo {
        let came = self.0.came.as_ref();
        came.map_or(ChargeTo::Node(peer), |came| came.charge)
    }

    /// Decides whether the session of a finished handshake may stay. Later calls return the same result.
    pub(crate) fn enter(&self) -> Result<(), Refusal> {
        let Some(came) = &self.0.came else {
            return Ok(());
        };
        let entered = self.0.entered.get_or_init(|| {
            let mut half_open = self
                .0
                .half_open
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            drop(half_open.take());
            came.keeper.enter(came.ip, came.charge, &came.doubt)
        });
        *entered
    }

    /// Returns whether the peer `node` may open one more stream now. No stream starts before the session is admitted.
    pub(crate) fn may_open(&self, now: Time, node: NodeId) -> bool {
        let Some(came) = &self.0.came else {
            return true;
        };
        let charge = came.charge;
        let counted = came.keeper.with(|c| c.admission.open(now, node, charge));
        if !counted {
            came.keeper.0.metrics.refusals.count(Limit::Opens);
        }
        self.enter().is_ok() && counted
    }

    /// Releases the place of a closed session while its last bytes are sent, unless many sessions of its address do so already.
    pub(crate) fn leave(&self) {
        if let Some(came) = self.0.stands()
            && came.keeper.leaves(came.charge)
        {
            self.0.leaving.store(true, Ordering::Release);
            came.keeper.leave(came);
        }
    }

    /// Returns whether another session waits for this place. The task is woken when one does.
    pub(crate) fn is_doubted(&self, cx: &Context<'_>) -> bool {
        let came = self.0.came.as_ref();
        came.is_some_and(|came| came.doubt.poll(cx).is_ready())
    }
}

impl Place {
    /// Returns the session's origin if its place is taken.
    fn stands(&self) -> Option<&Came> {
        let entered = matches!(self.entered.get(), Some(Ok(())));
        let stands = entered && !self.leaving.load(Ordering::Acquire);
        self.came.as_ref().filter(|_| stands)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match (&self.came, self.stands()) {
            (_, Some(came)) => came.keeper.leave(came),
            (Some(came), None) if self.leaving.load(Ordering::Acquire) => {
                came.keeper.left(came.charge);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper(max: usize) -> AdmissionControl {
        AdmissionControl::new(&Policy::default(), max, Arc::new(Metrics::new()))
    }

    fn at(last: u8, port: u16) -> (Option<SocketAddr>, ChargeTo) {
        let ip = IpAddr::from([192, 0, 2, last]);
        (Some((ip, port).into()), ChargeTo::address(ip))
    }

    #[test]
    fn four_of_a_connection_and_32_of_an_address_are_under_way_and_no_more() {
        let keeper = keeper(16);
        let begin = |(from, charge)| keeper.begin(from, charge);
        let one: Vec<_> = (0..9).filter_map(|_| begin(at(1, 1))).collect();
        assert_eq!(one.len(), 4);
        let all: Vec<_> = (2..99).filter_map(|port| begin(at(1, port))).collect();
        assert_eq!(all.len(), 28);
        assert!(begin(at(2, 1)).is_some(), "each for itself");
        drop(one);
        assert!(begin(at(1, 1)).is_some());
        drop(all);
        keeper.with(|c| {
            assert!(c.half_open.is_empty() && c.connections.is_empty());
            assert_eq!(c.beginning, 0);
        });
    }

    #[test]
    fn handshakes_take_no_place_of_sessions_and_those_over_relays_are_charged() {
        let keeper = keeper(600);
        let mut under_way = Vec::new();
        for last in 1..=255 {
            for port in 1..=8 {
                under_way.extend(
                    (0..4).filter_map(|_| keeper.begin(at(last, port).0, at(last, port).1)),
                );
            }
        }
        assert_eq!(under_way.len(), HALF_OPEN);
        assert!(keeper.begin(at(0, 1).0, at(0, 1).1).is_none());
        assert_eq!(keeper.standing(), 0);
        // Finished sessions keep their places, whatever else begins.
        let half_open = under_way.pop().unwrap();
        let ip = half_open.from.unwrap().ip();
        let entrance = SessionPermit::new(half_open, Some(ip));
        assert_eq!((entrance.enter(), entrance.enter()), (Ok(()), Ok(())));
        assert_eq!(keeper.standing(), 1);
        drop(under_way);
        let over = |charge| {
            let entrance = SessionPermit::new(keeper.begin(None, charge).unwrap(), None);
            entrance.enter().map(|()| entrance)
        };
        let charge = at(9, 1).1;
        let mut standing: Vec<_> = (0..FORWARDED_AN_ADDRESS)
            .map(|_| over(charge).unwrap())
            .collect();
        assert_eq!(
            over(charge).unwrap_err(),
            Refusal::Forwarded(FORWARDED_AN_ADDRESS)
        );
        // Half of all places, whichever address takes them.
        standing.extend((0..44).map(|_| over(at(8, 1).1).unwrap()));
        assert_eq!(over(at(7, 1).1).unwrap_err(), Refusal::Full(300));
        assert_eq!(keeper.standing(), 301);
        drop((standing, entrance));
        assert_eq!(keeper.standing(), 0);
    }

    #[test]
    fn a_session_that_is_over_gives_its_place_back_before_its_last_bytes_are_taken() {
        let keeper = keeper(64);
        let (from, charge) = at(1, 1);
        let enter = || {
            let half_open = keeper.begin(from, charge).unwrap();
            let entrance = SessionPermit::new(half_open, Some(from.unwrap().ip()));
            entrance.enter().map(|()| entrance)
        };
        let eight: Vec<_> = (0..8).map(|_| enter().unwrap()).collect();
        assert!(enter().is_err());
        eight.iter().for_each(SessionPermit::leave);
        // A second call has no further effect.
        eight[0].leave();
        assert_eq!(keeper.standing(), 0);
        let next = enter().unwrap();
        // The limit of leaving sessions is reached, so this one keeps its place until it is gone.
        next.leave();
        assert_eq!(keeper.standing(), 1);
        drop((next, eight));
        assert_eq!(keeper.standing(), 0);
        keeper.with(|c| assert!(c.leaving.is_empty()));
        let again = enter().unwrap();
        again.leave();
        assert_eq!(keeper.standing(), 0);
    }

    #[test]
    fn who_finds_no_place_has_those_of_its_address_asked() {
        let keeper = keeper(64);
        let enter = |n| {
            let (from, charge) = at(n, 1);
            let half_open = keeper.begin(from, charge).unwrap();
            let entrance = SessionPermit::new(half_open, from.map(|f| f.ip()));
            entrance.enter().map(|()| entrance)
        };
        let cx = Context::from_waker(std::task::Waker::noop());
        let other = enter(2).unwrap();
        let mut eight: Vec<_> = (0..8).map(|_| enter(1).unwrap()).collect();
        assert!(eight.iter().all(|e| !e.is_doubted(&cx)));
        assert!(enter(1).is_err());
        assert!(eight.iter().all(|e| e.is_doubted(&cx)) && !other.is_doubted(&cx));
        assert!(eight.iter().all(|e| !e.is_doubted(&cx)), "once");
        eight.pop();
        eight.push(enter(1).unwrap());
        drop((eight, other));
        keeper.with(|c| assert!(c.doubts.is_empty()));
    }

    #[test]
    fn a_refusal_says_which_limit_it_is() {
        let keeper = keeper(16);
        let (from, charge) = at(1, 1);
        let enter = || {
            let half_open = keeper.begin(from, charge).unwrap();
            let entrance = SessionPermit::new(half_open, from.map(|f| f.ip()));
            entrance.enter().map(|()| entrance)
        };
        let all: Vec<_> = (0..8).map(|_| enter().unwrap()).collect();
        let refused = enter().unwrap_err().to_string();
        assert_eq!(
            refused,
            "8 sessions of this address already stand (per_address)"
        );
        drop(all);
        assert!(enter().is_ok());
    }
}
