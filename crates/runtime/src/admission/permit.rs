//! The place of a session, from its handshake to its end.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Context;

use betanet_machine::Time;
use betanet_wire::{ChargeTo, NodeId};

use super::{AdmissionControl, HalfOpen, Refusal};
use crate::alarm::Alarm;
use crate::metrics::Refusal as Limit;

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

/// Origin of a session that a peer opened.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) keeper: AdmissionControl,
    pub(super) ip: Option<IpAddr>,
    pub(super) charge: ChargeTo,
    pub(super) doubt: Alarm,
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
