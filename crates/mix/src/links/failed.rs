//! Next nodes that failed, and for how long they are left alone.

use alloc::collections::BTreeMap;
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::NodeId;

use super::talk::{Cause, Fails};

/// Next nodes whose last failure is remembered.
const FAILED_MAX: usize = 4096;
/// How long a name that nobody has is not looked for again.
const UNKNOWN: Duration = Duration::from_secs(1);

/// When a next node failed last.
#[derive(Clone, Copy, Debug)]
struct Last {
    until: Time,
    cause: Cause,
    rest: Option<Duration>,
}

/// The last failures of next nodes.
#[derive(Debug, Default)]
pub(super) struct Failed(BTreeMap<NodeId, Last>);

impl Failed {
    /// How long a node is to rest if it fails again.
    ///
    /// # Errors
    ///
    /// Why nothing is sent to it now.
    pub(super) fn check(&self, now: Time, next: NodeId) -> Result<Option<Duration>, Cause> {
        match self.0.get(&next) {
            Some(last) if last.until > now => Err(last.cause),
            Some(last) => Ok(last.rest),
            None => Ok(None),
        }
    }

    /// Remembers what a link failed by.
    pub(super) fn note(&mut self, now: Time, next: NodeId, fails: Fails, rest: Duration) {
        let last = match fails {
            Fails::Busy => return self.forget(next),
            Fails::Unknown => Last {
                until: now + UNKNOWN,
                cause: Cause::Unknown,
                rest: None,
            },
            Fails::Down => Last {
                until: now + rest,
                cause: Cause::Dead,
                rest: Some(rest),
            },
        };
        if self.0.len() >= FAILED_MAX {
            self.0.retain(|_, f| f.until > now);
        }
        if self.0.len() < FAILED_MAX {
            self.0.insert(next, last);
        }
    }

    pub(super) fn forget(&mut self, next: NodeId) {
        self.0.remove(&next);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
