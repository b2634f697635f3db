//! A session for one command, which is closed on every way out.

use std::time::Duration;

use betanet_runtime::{Clock, Cost, Error, MixStats};

use crate::opened::Opened;
use crate::target::Dialling;

/// How long a session gets to say goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

/// The session that requests go over; another one is opened where it ended.
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

    /// The open session, or a fresh one.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
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

    /// Whether the peer was reached.
    pub(crate) const fn is_reached(&self) -> bool {
        self.reached
    }

    /// Whether the session stands.
    pub(crate) fn is_open(&self) -> bool {
        self.session.as_ref().is_some_and(|s| !s.is_closed())
    }

    /// The session was cut: another one is opened when it is needed.
    pub(crate) fn forget(&mut self) {
        self.session = None;
    }

    /// How long the last session has been open.
    pub(crate) fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(crate) const fn dialling(&self) -> &Dialling {
        &self.dialling
    }

    /// Closes what is open; what padding cost, and what went over the mix.
    pub(crate) async fn close(self) -> (Option<Cost>, Option<MixStats>) {
        let mixed = self.dialling.mix_stats();
        let mut padded = None;
        // A peer that takes no goodbye is not waited for.
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
