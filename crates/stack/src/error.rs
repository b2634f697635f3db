/// What a layer refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session did.
    #[error("the session refused")]
    Session(#[from] betanet_htx::Error),
    /// The request cannot be sent as it is.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_bar::Error),
    /// The session opened a stream and did not say which.
    #[error("the session opened a stream without an ID")]
    NoId,
}

/// Whose fault a refusal is, and what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Try again after the next event.
    NotNow,
    /// The other side, or its rules, say no.
    Refused,
    /// This side asked for something impossible.
    Local,
    /// A broken invariant.
    Bug,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        use betanet_htx::Error as Htx;
        match self {
            Self::Session(e) => match e {
                Htx::NotReady | Htx::Full | Htx::Blocked(_) | Htx::TooManyStreams => Kind::NotNow,
                Htx::Closed | Htx::GoingAway => Kind::Refused,
                Htx::NoStream(_) | Htx::Handshake(_) => Kind::Local,
                _ => Kind::Bug,
            },
            Self::Request(_) => Kind::Local,
            Self::NoId => Kind::Bug,
        }
    }
}
