//! A session that leads through the mix.

use betanet_bar::Request;
use betanet_keys::PublicKey;
use betanet_session::{Answer, Error as SessionError, OuterFacts, SessionHandle, Upload};

/// A session through the mix: its requests reach the gateway without a name. Clones share it; with the last one it closes.
///
/// It is no end-to-end session: it has no PING, no keys to turn and no facts, and carries requests alone.
///
/// ```compile_fail
/// # async fn example(session: betanet_mixnet::MixSession) {
/// session.rekey().await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MixSession(SessionHandle);

impl MixSession {
    pub(super) const fn new(handle: SessionHandle) -> Self {
        Self(handle)
    }

    /// Returns the gateway's key.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        self.0.peer()
    }

    /// Returns the outer connection to the guard, over which all traffic enters the mix.
    #[must_use]
    pub const fn guard_connection(&self) -> &OuterFacts {
        self.0.outer()
    }

    /// Waits until the session is over. Does not keep it open.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.over()
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends a request without a streamed body, and waits for the answer's head.
    ///
    /// # Errors
    ///
    /// The session or the exchange ended, or the request is invalid.
    pub async fn ask(&self, request: Request) -> Result<Answer, SessionError> {
        self.0.ask(request).await
    }

    /// Sends a request's head. The returned [`Upload`] sends the body.
    ///
    /// # Errors
    ///
    /// See [`MixSession::ask`].
    pub async fn upload(&self, request: Request) -> Result<Upload, SessionError> {
        self.0.upload(request).await
    }

    /// Closes the session. The client and its other sessions remain.
    pub async fn close(&self) {
        self.0.close().await;
    }
}
