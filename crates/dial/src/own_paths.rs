//! The paths that this node built, for as long as sessions run on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_path::{Cf, Control, ControlError, Failure, LinkPath, PathId, Route, Stamps};
use betanet_session::ops::{Op, RawStream};
use betanet_session::{CameFrom, ExchangeError, Inbox, Paths};
use betanet_wire::{Code, NodeId};
use tokio::sync::mpsc;

/// Maximum number of paths that one node watches at once.
const WAITING_MAX: usize = 4096;

/// Receives the load that a peer states.
pub type Reports = Box<dyn Fn(NodeId, Cf) + Send + Sync>;

/// Decodes a path message.
///
/// # Errors
///
/// The code with which the message is refused.
pub fn read(payload: &[u8]) -> Result<Control, Code> {
    Control::from_bytes(payload).map_err(|error| {
        tracing::debug!(%error, "path message refused");
        match error {
            ControlError::Encrypted => Code::UNSUPPORTED_FEATURE,
            _ => Code::PATH_INVALID,
        }
    })
}

/// A path that this node built and on which a session runs.
struct Waiting {
    route: Route,
    /// Inbox of the path's stream, once it exists.
    inbox: Option<Inbox>,
    failed: Option<(Failure, NodeId)>,
}

/// The paths that a node built. An ERROR ends the path that it names, if a hop of the path signed it.
#[derive(Default)]
pub(crate) struct OwnPaths {
    waiting: Mutex<BTreeMap<LinkPath, Waiting>>,
    /// Receiver of the load that peers state: the mesh that was started last.
    reports: Mutex<Option<Reports>>,
    stamps: Mutex<Stamps>,
}

impl OwnPaths {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkPath, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the timestamp for the header of a path that begins at this time.
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

    /// Watches for errors of a path over `entry` until it is forgotten. Returns `false` if too many paths are watched.
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

    /// Sets the stream that ends with the path.
    pub(crate) fn bind(&self, entry: NodeId, path: PathId, inbox: Inbox) {
        if let Some(waiting) = self.lock().get_mut(&(entry, path)) {
            if waiting.failed.is_some() {
                inbox.end(Err(ExchangeError::Cut { delivered: 0 }));
            }
            waiting.inbox = Some(inbox);
        }
    }

    /// Stops watching a path. If it has ended, returns the reason and the hop that reported it.
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
                // This node carries nothing for others.
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
            // A node that does not listen is on no path of others.
            Control::Single { .. } | Control::Multi { .. } => None,
        })
    }

    fn opened(self: Arc<Self>, _: &CameFrom, _: u8, stream: RawStream) {
        tokio::spawn(stream.refuse(Code::POLICY_REJECTED));
    }
}
