//! The session of one command, which is closed however the command ends.

use std::time::Duration;

use betanet_runtime::{Clock, Cost, Error, MixStats};

use crate::opened::Opened;
use crate::target::Dialling;

/// Time for closing a session.
const GOODBYE: Duration = Duration::from_secs(3);

/// The session for requests. If it ends, another one is opened.
pub(crate) struct Source {
    dialling: Dialling,
    session: Option<Opened>,
    reached: bool,
    opened: Clock,
}

impl Source {
    pub(crate) fn new(dialling: Dialling) -> Self {
        Self {
            dialling,
            session: None,
            reached: false,
            opened: Clock::start(),
        }
    }

    /// Returns the open session, or opens a new one.
    ///
    /// # Errors
    ///
    /// The session cannot be opened.
    pub(crate) async fn session(&mut self) -> Result<Opened, Error> {
        if let Some(session) = self.session.as_ref().filter(|s| !s.is_closed()) {
            return Ok(session.clone());
        }
        self.opened = Clock::start();
        let session = self.dialling.session().await?;
        if !std::mem::replace(&mut self.reached, true) {
            self.dialling.reached();
        }
        Ok(self.session.insert(session).clone())
    }

    /// Returns whether the peer was reached.
    pub(crate) const fn is_reached(&self) -> bool {
        self.reached
    }

    /// Returns whether the session is open.
    pub(crate) fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(|s| !s.is_closed())
    }

    /// Drops a session that was cut. Another one is opened when it is needed.
    pub(crate) fn forget(&mut self) {
        self.session = None;
    }

    /// Returns how long the last session has been open.
    pub(crate) fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(crate) const fn dialling(&self) -> &Dialling {
        &self.dialling
    }

    /// Closes the session. Returns the cost of padding and the counters of the mix.
    pub(crate) async fn close(self) -> (Option<Cost>, Option<MixStats>) {
        let mixed = self.dialling.mix_stats();
        let mut padded = None;
        // Do not wait longer for a peer that does not respond.
        let _ = tokio::time::timeout(GOODBYE, async {
            if let Some(session) = &self.session {
                padded = session.padded().await;
                session.close().await;
            }
            self.dialling.leave().await;
        })
        .await;
        (padded, mixed)
    }
}
