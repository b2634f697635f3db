//! Admission control: limits half-open handshakes, finished sessions, and the rate at which one peer opens streams.
//!
//! Half-open handshakes are counted apart from sessions, so they take no places from them.

mod permit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use betanet_mesh::{Admission, Policy};
use betanet_wire::ChargeTo;

use crate::alarm::Alarm;
use crate::metrics::{Metrics, Refusal as Limit};
use permit::Came;
pub(crate) use permit::SessionPermit;

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
