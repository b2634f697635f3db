//! Converts errors of sessions to those of a node.

use betanet_session::Error as SessionError;

use crate::Error;

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Carrier(source) => Self::Outer {
                address: String::new(),
                source,
            },
            SessionError::Session { code, reason, by } => Self::Session { code, reason, by },
            SessionError::Request(error) => Self::Request(error),
            SessionError::Asked(error) => Self::Asked(error),
            SessionError::Answered => Self::Answered,
            SessionError::Exchange(error) => Self::Exchange(error),
            SessionError::Entropy => Self::Entropy,
            // `NotOpen`, and variants added later.
            _ => Self::NoAddress,
        }
    }
}
