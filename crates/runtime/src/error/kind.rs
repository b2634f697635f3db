//! Errors by the party that can resolve them.

use betanet_htx::By;
use betanet_mix::ClientError;
use betanet_stack::Kind;

use super::Error;
use crate::ExchangeError;

/// The party that can resolve an [`Error`], and how.
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

const fn ended(by: By) -> ErrorKind {
    match by {
        By::Cut => ErrorKind::Network,
        // This side ends a session because of the peer's behaviour.
        By::Peer | By::Local => ErrorKind::Peer,
    }
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Outer { .. } if self.is_of_the_way() => ErrorKind::Network,
            Self::Outer { .. } => ErrorKind::Peer,
            Self::Session { by, .. } => ended(*by),
            Self::Exchange(exchange) => match exchange {
                ExchangeError::Cut { .. } | ExchangeError::Mix { .. } => ErrorKind::Network,
                ExchangeError::Closed { by, .. } => ended(*by),
                _ => ErrorKind::Peer,
            },
            Self::Guard { why, .. } => why.kind(),
            Self::Request(refusal) => refusal.kind().into(),
            Self::Asked(refusal) => refusal.kind().into(),
            Self::Mix(ClientError::Hops(_)) => ErrorKind::Request,
            Self::NoAddress | Self::NoQuic | Self::Path(_) | Self::Answered => ErrorKind::Request,
            Self::PathEnded { .. }
            | Self::Resting(_)
            | Self::NoRelays { .. }
            | Self::Unknown(_)
            | Self::NoDirectory { .. }
            | Self::Mix(_)
            | Self::MixRests { .. } => ErrorKind::Network,
            Self::Path11 { .. } | Self::Directory(_) | Self::NotMixing(_) => ErrorKind::Peer,
            Self::Exposed { .. }
            | Self::Front { .. }
            | Self::OriginMismatch { .. }
            | Self::File { .. }
            | Self::KeyFile { .. }
            | Self::Listen { .. }
            | Self::Descriptors { .. }
            | Self::Certificate(_)
            | Self::Entropy
            | Self::Fingerprint(_)
            | Self::Network(_)
            | Self::NoMix { .. }
            | Self::ReplayMemory { .. }
            | Self::State(_)
            | Self::Book { .. } => ErrorKind::Local,
        }
    }

    /// Returns whether this side's files or settings are at fault, rather than the peer or the network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.kind() == ErrorKind::Local
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Name;
    use betanet_wire::{Code, NodeId};

    use super::*;

    fn session(by: By) -> Error {
        Error::Session {
            code: Code::OK,
            reason: String::new(),
            by,
        }
    }

    fn outer(source: betanet_carrier::Error) -> Error {
        let address = "node.example:443".into();
        Error::Outer { address, source }
    }

    #[test]
    fn whoever_can_do_something_is_named() {
        let guard = |why| Error::Guard {
            guard: Name::from(NodeId([1; 20])),
            why: Box::new(why),
        };
        let cases = [
            (outer(betanet_carrier::Error::Late), ErrorKind::Network),
            (outer(betanet_carrier::Error::Pin), ErrorKind::Peer),
            (session(By::Cut), ErrorKind::Network),
            (session(By::Peer), ErrorKind::Peer),
            (guard(session(By::Cut)), ErrorKind::Network),
            (guard(Error::Entropy), ErrorKind::Local),
            (Error::Mix(ClientError::Hops(8)), ErrorKind::Request),
            (Error::Mix(ClientError::NoGuard), ErrorKind::Network),
            (Error::NoQuic, ErrorKind::Request),
            (Error::Entropy, ErrorKind::Local),
            (
                Error::Request(betanet_stack::Error::Session(betanet_htx::Error::Full)),
                ErrorKind::Network,
            ),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error:?}");
            assert_eq!(error.is_local(), kind == ErrorKind::Local, "{error:?}");
        }
    }
}
