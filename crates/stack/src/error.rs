/// Why a layer refused a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session refused it.
    #[error("the session refused")]
    Session(#[from] betanet_htx::Error),
    /// The request is malformed and cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_bar::Error),
    /// The session opened a stream but returned no ID.
    #[error("the session opened a stream without an ID")]
    NoId,
}

/// Class of a refusal: the party at fault and the remedy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// No room at present; retry after the next event.
    NotNow,
    /// The peer, or its rules, refused.
    Refused,
    /// The caller asked for something impossible.
    Local,
    /// An invariant is broken.
    Bug,
}

impl Error {
    /// The class of this error.
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
