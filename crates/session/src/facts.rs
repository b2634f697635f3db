//! Reports on a session: the negotiated parameters while it is open, and its outcome.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use betanet_carrier::Cost;
use betanet_htx::{By, Session};
use betanet_wire::Code;

use crate::ExchangeError;

/// The parameters that a session agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionFacts {
    /// Layer keys and the negotiated IDs; `""` where the sides have none in common.
    pub ids: Vec<(String, String)>,
    /// Features that both sides offer.
    pub features: Vec<String>,
    /// Whether ML-KEM-768 contributed to the keys.
    pub pq: bool,
    /// Name of the AEAD that encrypts the frames, inside TLS or QUIC.
    pub aead: &'static str,
    /// The client's TemplateID.
    pub template: [u8; 32],
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// The Noise handshake hash.
    pub transcript: [u8; 32],
    /// Number of rekeys of the sending key and of the receiving key.
    pub rekeys: (u64, u64),
    /// Cost to this side of padding or of following a shape. `None` if it does neither.
    pub padded: Option<Cost>,
}

impl SessionFacts {
    /// Reads the parameters of a session.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let agreed = session.agreed();
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        Self {
            ids: agreed.map_or_else(Vec::new, |a| a.ids().map(own).collect()),
            features: agreed.map_or_else(Vec::new, |a| a.features().to_vec()),
            pq: session.pq(),
            aead: session.suite().name(),
            template: session.template().copied().unwrap_or_default(),
            rtt: session.rtt(),
            transcript: session.transcript().copied().unwrap_or_default(),
            rekeys: (session.stats().rekeys_out, session.stats().rekeys_in),
            padded: None,
        }
    }
}

/// The result of a session once it is over, and whether it was useful.
#[derive(Debug, Default)]
pub struct Outcome {
    end: OnceLock<(Code, String, By)>,
    worked: AtomicBool,
}

impl Outcome {
    /// Records how the session ended.
    pub fn ended(&self, code: Code, reason: &str, by: By) {
        let _ = self.end.set((code, reason.to_owned(), by));
    }

    /// Records that a request was answered, or that the peer opened something.
    pub fn works(&self) {
        if !self.worked.load(Ordering::Relaxed) {
            self.worked.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the session was useful.
    #[must_use]
    pub fn worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// Returns whether the peer refused the session or had no room for it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.end.get(), Some((Code::POLICY_REJECTED, _, By::Peer)))
    }

    /// Returns whether the session ended in order.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.end.get(), Some((Code::OK, ..)))
    }

    /// Returns the error of an exchange that the session's end cut off after `delivered` bytes.
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
