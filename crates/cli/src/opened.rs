//! The session of a command's requests: with the peer, or through the mix.

use betanet_bar::Request;
use betanet_runtime::{Answer, Cost, Error, MixSession, OuterFacts, SessionHandle, Upload};

#[derive(Clone, Debug)]
pub(crate) enum Opened {
    Direct(SessionHandle),
    Mix(MixSession),
}

impl Opened {
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, Error> {
        match self {
            Self::Direct(session) => Ok(session.ask(request).await?),
            Self::Mix(session) => Ok(session.ask(request).await?),
        }
    }

    pub(crate) async fn upload(&self, request: Request) -> Result<Upload, Error> {
        match self {
            Self::Direct(session) => Ok(session.upload(request).await?),
            Self::Mix(session) => Ok(session.upload(request).await?),
        }
    }

    /// Returns the outer connection: to the peer, to its path's entry, or to the guard.
    pub(crate) const fn outer(&self) -> &OuterFacts {
        match self {
            Self::Direct(session) => session.outer(),
            Self::Mix(session) => session.guard_connection(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Direct(session) => session.is_closed(),
            Self::Mix(session) => session.is_closed(),
        }
    }

    /// Returns the cost of padding, if the session pads and is still open.
    pub(crate) async fn padded(&self) -> Option<Cost> {
        match self {
            Self::Direct(session) => session.facts().await.ok().and_then(|f| f.padded),
            Self::Mix(_) => None,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Direct(session) => session.close().await,
            Self::Mix(session) => session.close().await,
        }
    }
}
