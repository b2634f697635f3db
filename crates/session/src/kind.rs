//! Errors by the party that can resolve them.

use betanet_carrier::Error as CarrierError;
use betanet_htx::By;
use betanet_stack::Kind;

use crate::{Error, ExchangeError};

/// The party that can resolve an error, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's request is impossible. Make another request.
    Request,
    /// The network failed, or too little of it is reachable. Try later, or another way.
    Network,
    /// The peer, or a node that answers for it, is not the expected one or refuses. Contact its operator.
    Peer,
    /// This machine's files, settings or limits are at fault. Its operator can correct them.
    Local,
    /// An invariant is broken. Report it.
    Bug,
}

impl From<Kind> for ErrorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::NotNow => Self::Network,
            Kind::Refused => Self::Peer,
            Kind::Local => Self::Request,
            Kind::Bug => Self::Bug,
        }
    }
}

impl From<&CarrierError> for ErrorKind {
    /// [`ErrorKind::Network`] if another carrier may succeed, and [`ErrorKind::Peer`] otherwise.
    fn from(error: &CarrierError) -> Self {
        match error {
            CarrierError::NotATunnel { .. } | CarrierError::Pin | CarrierError::Certificate(_) => {
                Self::Peer
            }
            _ => Self::Network,
        }
    }
}

const fn ended(by: By) -> ErrorKind {
    match by {
        By::Cut => ErrorKind::Network,
        // This side ends a session because of the peer's behaviour.
        By::Peer | By::Local => ErrorKind::Peer,
    }
}

impl ExchangeError {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Cut { .. } | Self::Mix { .. } => ErrorKind::Network,
            Self::Closed { by, .. } => ended(*by),
            Self::Ended { .. } => ErrorKind::Peer,
        }
    }
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Carrier(source) => source.into(),
            Self::Session { by, .. } => ended(*by),
            Self::Request(refusal) => refusal.kind().into(),
            Self::Asked(refusal) => refusal.kind().into(),
            Self::NotOpen | Self::Answered => ErrorKind::Request,
            Self::Exchange(exchange) => exchange.kind(),
            Self::Entropy => ErrorKind::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_wire::Code;

    use super::*;

    #[test]
    fn whoever_can_do_something_is_named() {
        let session = |by| Error::Session {
            code: Code::OK,
            reason: String::new(),
            by,
        };
        let full = betanet_stack::Error::Session(betanet_htx::Error::Full);
        let cases = [
            (Error::Carrier(CarrierError::Late), ErrorKind::Network),
            (Error::Carrier(CarrierError::Pin), ErrorKind::Peer),
            (session(By::Cut), ErrorKind::Network),
            (session(By::Peer), ErrorKind::Peer),
            (Error::Answered, ErrorKind::Request),
            (Error::Entropy, ErrorKind::Local),
            (Error::Request(full), ErrorKind::Network),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error:?}");
        }
    }
}
