//! Who may stand here: half-open handshakes, finished sessions, and how fast one peer may open streams.
//!
//! What is not finished is counted apart from what is, so that it takes no place from it.

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

/// Handshakes under way on one outer connection, from a right ticket to message 3's answer.
const HALF_OPEN_A_CONNECTION: usize = 4;
/// The same of one address, or of one relay.
const HALF_OPEN_AN_ADDRESS: usize = 32;
/// The same in all.
const HALF_OPEN: usize = 4096;
/// Sessions over relays that one address brings, which may be a relay's: many clients come over it.
const FORWARDED_AN_ADDRESS: usize = 256;

/// Sessions of one address that are over and send their last bytes; any more keep their places meanwhile.
const LEAVING_AN_ADDRESS: usize = 8;

/// Why a session may not stay; said to the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    /// As many of the address stand as may.
    #[error("{0} sessions of this address already stand (per_address)")]
    Address(usize),
    /// As many over relays.
    #[error("{0} sessions over relays already stand that this address brought")]
    Forwarded(usize),
    /// As many in all.
    #[error("{0} sessions already stand here (max_sessions)")]
    Full(usize),
}

#[derive(Debug)]
struct Counts {
    admission: Admission,
    /// By who pays, and by connection.
    half_open: BTreeMap<ChargeTo, usize>,
    connections: BTreeMap<SocketAddr, usize>,
    beginning: usize,
    forwarded: BTreeMap<ChargeTo, usize>,
    over_relays: usize,
    standing: usize,
    leaving: BTreeMap<ChargeTo, usize>,
    /// What asks the standing sessions of an address whether their peers are there.
    doubts: BTreeMap<ChargeTo, Vec<Alarm>>,
}

#[derive(Debug)]
struct Shared {
    counts: Mutex<Counts>,
    per_address: usize,
    max: usize,
    metrics: Arc<Metrics>,
}

/// What a gateway counts of those who come to it.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionControl(Arc<Shared>);

/// One more of a kind; `false` where there are as many as may be.
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
    /// Lets `max` sessions stand in all.
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

    /// Finished sessions that stand.
    pub(crate) fn standing(&self) -> usize {
        self.with(|c| c.standing)
    }

    /// A place for a handshake that begins, on a connection from `from` where it came directly; `None` where as many are under way as
    /// may be.
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

    /// A handshake is finished: whether its session may stay. Where those of its address have no place left for it, they are asked
    /// whether their peers are still there: one that was killed says no goodbye over QUIC.
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
                // As many as the address may have sessions.
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

    /// Whether a session that is over may send its last bytes without its place.
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

/// A handshake that is under way; its place is given back when it is finished or fails.
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

/// One session's place, given back when the session ends. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionPermit(Arc<Place>);

#[derive(Debug, Default)]
struct Place {
    /// None for a session that this node dialled.
    came: Option<Came>,
    half_open: Mutex<Option<HalfOpen>>,
    entered: OnceLock<Result<(), Refusal>>,
    /// The session is over, and its place was given back.
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
    /// For a session from `ip`, where it came directly, whose handshake has the place `half_open` until it is finished.
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

    /// Where the session comes from, if not over relays.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.0.came.as_ref()?.ip
    }

    /// Who pays for what the session makes this node hold: whom this node dialled pays as that node.
    pub(crate) fn charge(&self, peer: NodeId) -> ChargeTo {
        let came = self.0.came.as_ref();
        came.map_or(ChargeTo::Node(peer), |came| came.charge)
    }

    /// The handshake is finished: whether the session may stay. Asked again, the answer is the same.
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

    /// Whether the peer, which is `node`, may open one more stream now. Nothing that comes with the handshake's end is begun before
    /// the session may stay.
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

    /// The session is over: gives its place back while its last bytes are sent, unless many of its address do so already.
    pub(crate) fn leave(&self) {
        if let Some(came) = self.0.stands()
            && came.keeper.leaves(came.charge)
        {
            self.0.leaving.store(true, Ordering::Release);
            came.keeper.leave(came);
        }
    }

    /// Whether somebody would have the place if the peer were gone; the task is woken when that is so.
    pub(crate) fn is_doubted(&self, cx: &Context<'_>) -> bool {
        let came = self.0.came.as_ref();
        came.is_some_and(|came| came.doubt.poll(cx).is_ready())
    }
}

impl Place {
    /// Who came, where the place is taken.
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
        // Those that are finished stand, whoever else begins.
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
        // Half of all, whoever brings them.
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
        // Asked twice, it has left once.
        eight[0].leave();
        assert_eq!(keeper.standing(), 0);
        let next = enter().unwrap();
        // As many as may be leave: this one keeps its place until it is gone.
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
