//! The session of one command, which is closed however the command ends.

use std::pin::pin;
use std::time::Duration;

use betanet_bar::{Request, Response};
use betanet_runtime::{Clock, Cost, Error, MixStats};
use tokio::time::{sleep, timeout};

use crate::Fail;
use crate::opened::Opened;
use crate::pay::Payer;
use crate::target::Dialling;

/// Time for closing a session.
const GOODBYE: Duration = Duration::from_secs(3);

/// Time without progress over the mix after which the user is told.
const TOLD: Duration = Duration::from_secs(10);
/// Time without progress over the mix after which a guard that does not answer ends the command.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// The session for requests. If it ends, another one is opened.
pub(crate) struct Source {
    dialling: Dialling,
    session: Option<Opened>,
    reached: bool,
    opened: Clock,
    payer: Option<Payer>,
}

impl Source {
    pub(crate) fn new(dialling: Dialling) -> Self {
        Self {
            dialling,
            session: None,
            reached: false,
            opened: Clock::start(),
            payer: None,
        }
    }

    /// Pays for requests from now on.
    pub(crate) fn paying(mut self, payer: Option<Payer>) -> Self {
        self.payer = payer;
        self
    }

    /// Puts the payment into a request, if one was asked for.
    pub(crate) fn pay(&mut self, request: &mut Request) {
        if let Some(payer) = &mut self.payer {
            payer.put(request);
        }
    }

    /// Looks at the price in an answer. Returns whether the request should be sent again, paid.
    pub(crate) async fn paid(&mut self, head: &Response) -> Result<bool, Fail> {
        match &mut self.payer {
            Some(payer) => payer.answered(head).await,
            None => Ok(false),
        }
    }

    /// Ends paying. Returns the units that were spent, if a wallet was there to pay.
    pub(crate) fn spent(&mut self) -> Result<Option<u64>, Fail> {
        self.payer.take().map(Payer::close).transpose()
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

    /// Waits for one step of an exchange. Over the mix, reports a step that takes long, and ends it if the guard does not answer.
    /// With a guard that answers, the mix itself ends an exchange with a silent peer after a minute.
    ///
    /// # Errors
    ///
    /// The step did not end within 30 s, and the guard does not answer.
    pub(crate) async fn step<T>(&self, work: impl Future<Output = T>) -> Result<T, Fail> {
        let Some(client) = self.dialling.mix_client() else {
            return Ok(work.await);
        };
        let mut work = pin!(work);
        if let Ok(done) = timeout(TOLD, &mut work).await {
            return Ok(done);
        }
        note!(
            "nothing has come over the mix for {} s; packets are repeated over other paths",
            TOLD.as_secs()
        );
        let looking = async { tokio::join!(client.guard_answers(), sleep(GIVEN_UP - TOLD)).0 };
        tokio::select! {
            done = &mut work => return Ok(done),
            answers = looking => if answers { return Ok(work.await); },
        }
        Err(Fail::Peer(format!(
            "nothing has come over the mix for {} s, and the guard {} does not answer",
            GIVEN_UP.as_secs(),
            client.guard()
        )))
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
        let _ = timeout(GOODBYE, async {
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
