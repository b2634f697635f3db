//! Whoever asks, and requests that are not answered.

use betanet_vouchers::message::MessageError;
use betanet_wire::{ChargeTo, Code, NodeId};

/// Time after which a refused caller may ask again, in seconds.
const RETRY_AFTER: u64 = 5;
/// Time after which a refused swap may be tried again, in seconds.
const RETRY_SWAP: u64 = 3_600;

/// Whoever asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// The peer of a direct session.
    pub(crate) node: Option<NodeId>,
    /// Who is charged; `None` over the mix.
    pub(crate) charge: Option<ChargeTo>,
}

/// A request that was not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Code,
    /// Seconds after which it may be repeated.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    const fn new(status: u16, code: Code) -> Self {
        Self {
            status,
            code,
            retry_after: None,
        }
    }

    pub(crate) const fn malformed() -> Self {
        Self::new(400, Code::MALFORMED_FRAME)
    }

    /// This node does not have the role.
    pub(crate) const fn elsewhere() -> Self {
        Self::new(404, Code::UNSUPPORTED_FEATURE)
    }

    /// This mint has no share of the keyset.
    pub(crate) const fn no_share() -> Self {
        Self::new(404, Code::POLICY_REJECTED)
    }

    pub(crate) const fn refused(code: Code) -> Self {
        Self::new(403, code)
    }

    pub(crate) const fn busy() -> Self {
        Self {
            status: 429,
            code: Code::POLICY_REJECTED,
            retry_after: Some(RETRY_AFTER),
        }
    }

    /// The day's allowance is used up.
    pub(crate) const fn tomorrow() -> Self {
        Self {
            status: 429,
            code: Code::POLICY_REJECTED,
            retry_after: Some(RETRY_SWAP),
        }
    }

    /// What the request names is not there yet.
    pub(crate) const fn later(seconds: u64) -> Self {
        Self {
            status: 503,
            code: Code::INTERNAL_ERROR,
            retry_after: Some(seconds),
        }
    }

    pub(crate) const fn unavailable() -> Self {
        Self {
            status: 503,
            code: Code::INTERNAL_ERROR,
            retry_after: Some(1),
        }
    }

    pub(crate) const fn failed() -> Self {
        Self::new(500, Code::INTERNAL_ERROR)
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        Self::new(400, error.code())
    }
}
