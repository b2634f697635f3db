//! What is known of a session: what it agreed on while it stands, and what came of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use betanet_carrier::Cost;
use betanet_htx::{By, Session};
use betanet_wire::Code;

use crate::ExchangeError;

/// What a session agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionFacts {
    /// Layer keys and the IDs chosen, `""` where none is common.
    pub ids: Vec<(String, String)>,
    /// Features that both offer.
    pub features: Vec<String>,
    /// Whether ML-KEM-768 went into the keys.
    pub pq: bool,
    /// The client's TemplateID.
    pub template: [u8; 32],
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// The Noise handshake hash.
    pub transcript: [u8; 32],
    /// Times the sending and the receiving key turned.
    pub rekeys: (u64, u64),
    /// What padding has cost this side, or following a shape.
    pub padded: Option<Cost>,
}

impl SessionFacts {
    /// The facts of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let agreed = session.agreed();
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        Self {
            ids: agreed.map_or_else(Vec::new, |a| a.ids().map(own).collect()),
            features: agreed.map_or_else(Vec::new, |a| a.features().to_vec()),
            pq: session.pq(),
            template: session.template().copied().unwrap_or_default(),
            rtt: session.rtt(),
            transcript: session.transcript().copied().unwrap_or_default(),
            rekeys: (session.stats().rekeys_out, session.stats().rekeys_in),
            padded: None,
        }
    }
}

/// What is known of a session once it is over, and whether it was of use before.
#[derive(Debug, Default)]
pub struct Outcome {
    end: OnceLock<(Code, String, By)>,
    worked: AtomicBool,
}

impl Outcome {
    /// The session ended so.
    pub fn ended(&self, code: Code, reason: &str, by: By) {
        let _ = self.end.set((code, reason.to_owned(), by));
    }

    /// Something was answered, or the peer began something.
    pub fn works(&self) {
        if !self.worked.load(Ordering::Relaxed) {
            self.worked.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was of use.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// Whether the peer had no room for it, or did not want it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.end.get(), Some((Code::POLICY_REJECTED, _, By::Peer)))
    }

    /// Whether it ended as it should.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.end.get(), Some((Code::OK, ..)))
    }

    /// Why an exchange does not come to its end.
    #[must_use]
    pub fn error(&self, delivered: u64) -> ExchangeError {
        match self.end.get() {
            Some((code, reason, by)) if *by != By::Cut && *code != Code::OK => {
                ExchangeError::Closed {
                    code: *code,
                    reason: reason.clone(),
                    by: *by,
                    delivered,
                }
            }
            _ => ExchangeError::Cut { delivered },
        }
    }
}
