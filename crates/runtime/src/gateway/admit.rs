//! Admission of a session at a gateway: its place, its template, its version.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Context;

use betanet_htx::Session;
use betanet_legacy::Translator;
use betanet_machine::{Now, Time};
use betanet_session::{Admit, Denied};
use betanet_wire::{ChargeTo, Code, NodeId};

use crate::admission::SessionPermit;
use crate::{FrontRules, Metrics};

/// The conditions that one session has to satisfy.
pub(super) struct Admitted {
    /// Its place among the open sessions.
    pub(super) permit: SessionPermit,
    /// The rules for templates, if they apply.
    pub(super) fronts: Option<FrontRules>,
    /// Remembers the version that a peer spoke, if two versions are supported.
    pub(super) versions: Option<Arc<Translator>>,
    pub(super) metrics: Arc<Metrics>,
}

impl Admitted {
    /// Returns whether this side allows the client's template.
    fn template_passes(&self, now: Now, session: &Session) -> bool {
        let (Some(rules), Some(template)) = (&self.fronts, session.template()) else {
            return true;
        };
        rules.check(template, None, now.unix_ms).is_ok()
    }
}

impl Admit for Admitted {
    fn ip(&self) -> Option<IpAddr> {
        self.permit.ip()
    }

    fn charge(&self, peer: NodeId) -> ChargeTo {
        self.permit.charge(peer)
    }

    fn enter(&mut self, now: Now, session: &Session) -> Result<(), Denied> {
        if let Err(refusal) = self.permit.enter() {
            self.metrics.not_admitted.inc();
            tracing::info!(%refusal, "a session is refused");
            return Err(Denied {
                code: Code::POLICY_REJECTED,
                reason: refusal.to_string().into(),
            });
        }
        if !self.template_passes(now, session) {
            return Err(Denied {
                code: Code::L2_ORIGIN_MISMATCH,
                reason: "the template is not in the registry".into(),
            });
        }
        let stands = self.versions.as_ref().map(|v| v.stands(session));
        stands.unwrap_or(Ok(())).map_err(|(code, reason)| Denied {
            code,
            reason: reason.into(),
        })
    }

    fn may_open(&mut self, now: Time, peer: NodeId) -> bool {
        self.permit.may_open(now, peer)
    }

    fn is_doubted(&mut self, cx: &Context<'_>) -> bool {
        self.permit.is_doubted(cx)
    }

    fn leave(&mut self) {
        self.permit.leave();
    }
}
