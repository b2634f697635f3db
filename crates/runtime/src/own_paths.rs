//! The paths that this node built, for as long as sessions stand on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_path::{Cf, Control, ControlError, Failure, LinkPath, PathId, Route, Stamps};
use betanet_session::ops::{Op, RawStream};
use betanet_session::{CameFrom, Inbox, Paths};
use betanet_wire::{Code, NodeId};
use tokio::sync::mpsc;

use crate::ExchangeError;

/// Paths that one node waits on at once, at most.
const WAITING_MAX: usize = 4096;

/// Takes what a peer says of its load.
pub(crate) type Reports = Box<dyn Fn(NodeId, Cf) + Send + Sync>;

/// A path message, where it is one.
pub(crate) fn read(payload: &[u8]) -> Result<Control, Code> {
    Control::from_bytes(payload).map_err(|error| {
        tracing::debug!(%error, "path message refused");
        match error {
            ControlError::Encrypted => Code::UNSUPPORTED_FEATURE,
            _ => Code::PATH_INVALID,
        }
    })
}

/// A path that this node built, while a session stands on it.
struct Waiting {
    route: Route,
    /// Where the path's stream arrives, once there is one.
    inbox: Option<Inbox>,
    failed: Option<(Failure, NodeId)>,
}

/// The paths that a node built: an ERROR ends the one that it names, if a hop of it signed it.
#[derive(Default)]
pub(crate) struct OwnPaths {
    waiting: Mutex<BTreeMap<LinkPath, Waiting>>,
    /// Whom it tells what peers say of their load; the mesh that was started last.
    reports: Mutex<Option<Reports>>,
    stamps: Mutex<Stamps>,
}

impl OwnPaths {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkPath, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timestamp of a path's header that begins at this time.
    pub(crate) fn stamp(&self, unix_ms: u64) -> u64 {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.draw(unix_ms)
    }

    pub(crate) fn reports_to(&self, reports: Reports) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = Some(reports);
    }

    fn report(&self, from: NodeId, cf: Cf) {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reports) = &*reports {
            reports(from, cf);
        }
    }

    /// Waits for errors about a path over `entry` until it is forgotten; `false` when too many are waited for.
    pub(crate) fn wait(&self, entry: NodeId, path: PathId, route: Route) -> bool {
        let mut all = self.lock();
        if all.len() >= WAITING_MAX {
            return false;
        }
        let waiting = Waiting {
            route,
            inbox: None,
            failed: None,
        };
        all.insert((entry, path), waiting);
        true
    }

    /// Ends the path's stream with the path.
    pub(crate) fn bind(&self, entry: NodeId, path: PathId, inbox: Inbox) {
        if let Some(waiting) = self.lock().get_mut(&(entry, path)) {
            if waiting.failed.is_some() {
                inbox.end(Err(ExchangeError::Cut { delivered: 0 }));
            }
            waiting.inbox = Some(inbox);
        }
    }

    /// Why a path ended, and which of its hops said so.
    pub(crate) fn forget(&self, entry: NodeId, path: PathId) -> Option<(Failure, NodeId)> {
        self.lock().remove(&(entry, path))?.failed
    }
}

impl Paths for OwnPaths {
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        _: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code> {
        Ok(match read(payload)? {
            Control::Probe(token) => Some(Control::ProbeAck {
                token,
                // It carries nothing for others.
                cf: Cf::default(),
            }),
            Control::Error {
                failure,
                path,
                key,
                sig,
            } => {
                if let Some(waiting) = self.lock().get_mut(&(from.key.node_id(), path))
                    && let Some(hop) = waiting.route.failed_hop(failure, &key, &sig)
                {
                    waiting.failed = Some((failure, hop));
                    if let Some(inbox) = &waiting.inbox {
                        inbox.end(Err(ExchangeError::Cut { delivered: 0 }));
                    }
                }
                None
            }
            Control::ProbeAck { cf, .. } | Control::Congestion(cf) => {
                self.report(from.key.node_id(), cf);
                None
            }
            // Nobody else's paths lead over a node that does not listen.
            Control::Single { .. } | Control::Multi { .. } => None,
        })
    }

    fn opened(self: Arc<Self>, _: &CameFrom, _: u8, stream: RawStream) {
        tokio::spawn(stream.refuse(Code::POLICY_REJECTED));
    }
}
