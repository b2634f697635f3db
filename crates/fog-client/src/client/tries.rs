//! Decides whether a request is sent again, and when. Without clock or socket.

use std::time::Duration;

use betanet_fog::RefusalCode;
use betanet_keys::Name;
use betanet_runtime::{Code, Error as RuntimeError, ErrorKind, ExchangeError, SessionError};

use crate::{Error, Refused};

/// First pause after all coordinators failed; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two rounds over all coordinators.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The outcome of one attempt that brought no answer to use.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The coordinator refused.
    Refused(Name, Box<Refused>),
    /// The session cannot be opened, or ended.
    Down(Name, RuntimeError),
    /// The coordinator did not answer in time.
    Late(Name, Duration),
    /// No repetition helps.
    Fatal(Error),
}

/// Whether to send the request again.
#[derive(Debug)]
pub(super) enum Verdict {
    Again(Duration),
    Over(Error),
}

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Tries {
    coordinators: usize,
    patience: Duration,
    /// Attempts that failed.
    failed: u32,
    /// Failures since the last pause.
    round: usize,
    /// Coordinators that were reached and cannot serve this client.
    hopeless: usize,
    pause: Duration,
}

impl Tries {
    pub(super) fn new(coordinators: usize, patience: Duration) -> Self {
        Self {
            coordinators: coordinators.max(1),
            patience,
            failed: 0,
            round: 0,
            hopeless: 0,
            pause: PAUSE,
        }
    }

    /// Decides after an attempt. `waited` is the time since the first one began.
    pub(super) fn after(
        &mut self,
        what: &'static str,
        trouble: Trouble,
        waited: Duration,
    ) -> Verdict {
        self.failed = self.failed.saturating_add(1);
        let (pause, error) = match trouble {
            Trouble::Fatal(error) => return Verdict::Over(error),
            Trouble::Refused(_, refused) => {
                let leaderless = refused.code == Some(RefusalCode::NotLeader);
                let asked = refused.retry_after;
                let pause = match (leaderless, asked) {
                    // The next coordinator may lead. After a round there is none, and a takeover takes a while.
                    (true, _) => self.next(asked),
                    (false, Some(wait)) if matches!(refused.status, 429 | 503) => wait.max(PAUSE),
                    (false, _) => return Verdict::Over(Error::Refused(refused)),
                };
                (pause, Error::Refused(refused))
            }
            Trouble::Late(_, after) => (self.next(None), Error::Late { what, after }),
            // It takes no more requests of this client for now.
            Trouble::Down(_, error) if is_busy(&error) => {
                let pause = self.pause;
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                (pause, self.unreachable(what, error))
            }
            Trouble::Down(_, error) => match error.kind() {
                ErrorKind::Network => {
                    let pause = self.next(None);
                    (pause, self.unreachable(what, error))
                }
                ErrorKind::Peer if self.hopeless + 1 < self.coordinators => {
                    self.hopeless += 1;
                    let pause = self.next(None);
                    (pause, self.unreachable(what, error))
                }
                ErrorKind::Peer => return Verdict::Over(self.unreachable(what, error)),
                _ => {
                    let source = Box::new(error);
                    return Verdict::Over(Error::Session { what, source });
                }
            },
        };
        if waited.saturating_add(pause) > self.patience {
            return Verdict::Over(error);
        }
        Verdict::Again(pause)
    }

    /// The pause before the next coordinator: none, until each was tried.
    fn next(&mut self, asked: Option<Duration>) -> Duration {
        self.round += 1;
        if self.round < self.coordinators {
            return Duration::ZERO;
        }
        self.round = 0;
        let pause = asked.map_or(self.pause, |asked| asked.max(PAUSE).min(PAUSE_MAX));
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }

    fn unreachable(&self, what: &'static str, error: RuntimeError) -> Error {
        Error::Unreachable {
            what,
            tried: self.failed,
            last: Box::new(error),
        }
    }
}

/// Whether a coordinator refused to open the request's stream, because this client has opened so many.
const fn is_busy(error: &RuntimeError) -> bool {
    matches!(
        error,
        RuntimeError::Session(SessionError::Exchange(ExchangeError::Ended {
            code: Code::POLICY_REJECTED,
            delivered: 0,
        }))
    )
}

#[cfg(test)]
mod tests {
    use betanet_wire::NodeId;

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    fn name() -> Name {
        Name::from(NodeId([1; 20]))
    }

    fn refused(code: RefusalCode, retry_after: Option<u64>) -> Trouble {
        let refused = Refused {
            what: "test",
            code: Some(code),
            word: code.as_str().parse().unwrap(),
            key: Default::default(),
            status: code.status(),
            retry_after: retry_after.map(Duration::from_secs),
            location: None,
        };
        Trouble::Refused(name(), Box::new(refused))
    }

    fn down() -> Trouble {
        let cut = ExchangeError::Cut { delivered: 0 };
        Trouble::Down(name(), SessionError::from(cut).into())
    }

    #[test]
    fn a_coordinator_that_opens_no_more_streams_is_asked_after_growing_pauses() {
        let busy = || {
            let ended = ExchangeError::Ended {
                code: Code::POLICY_REJECTED,
                delivered: 0,
            };
            Trouble::Down(name(), SessionError::from(ended).into())
        };
        let mut tries = Tries::new(1, WAIT);
        let pauses = [0; 4].map(|_| again(tries.after("test", busy(), Duration::ZERO)));
        assert_eq!(
            pauses,
            [500, 1000, 2000, 4000].map(|ms| Some(Duration::from_millis(ms)))
        );
        let verdict = tries.after("test", busy(), WAIT);
        assert!(matches!(verdict, Verdict::Over(Error::Unreachable { .. })));
    }

    fn again(verdict: Verdict) -> Option<Duration> {
        match verdict {
            Verdict::Again(pause) => Some(pause),
            Verdict::Over(_) => None,
        }
    }

    #[test]
    fn each_coordinator_is_tried_before_a_pause_and_pauses_grow() {
        let mut tries = Tries::new(3, WAIT);
        let mut at = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = again(tries.after("test", down(), at)) {
            at += pause;
            pauses.push(pause.as_millis());
            assert!(pauses.len() < 100, "bounded by the patience");
        }
        assert_eq!(&pauses[..9], [0, 0, 500, 0, 0, 1000, 0, 0, 2000]);
        assert!(at <= WAIT && at > WAIT - PAUSE_MAX, "{at:?}");
    }

    #[test]
    fn a_busy_coordinator_is_asked_after_the_time_that_it_names() {
        let mut tries = Tries::new(2, WAIT);
        let verdict = tries.after("test", refused(RefusalCode::Rate, Some(7)), Duration::ZERO);
        assert_eq!(again(verdict), Some(Duration::from_secs(7)));
        // Beyond the patience, the caller learns the time.
        let late = tries.after(
            "test",
            refused(RefusalCode::Quota, Some(3600)),
            Duration::ZERO,
        );
        let Verdict::Over(Error::Refused(told)) = late else {
            panic!("{late:?}");
        };
        assert_eq!(told.retry_after, Some(Duration::from_secs(3600)));
        // Without a time, and for requests that stay refused, there is no second attempt.
        for trouble in [
            refused(RefusalCode::Rate, None),
            refused(RefusalCode::Role, Some(1)),
        ] {
            assert_eq!(again(tries.after("test", trouble, Duration::ZERO)), None);
        }
    }

    #[test]
    fn a_round_of_followers_waits_for_a_leader_but_not_for_ever() {
        let mut tries = Tries::new(2, WAIT);
        let mut at = Duration::ZERO;
        let mut rounds = 0;
        loop {
            let follower = refused(RefusalCode::NotLeader, Some(2));
            match tries.after("test", follower, at) {
                Verdict::Again(pause) => at += pause,
                Verdict::Over(error) => {
                    assert_eq!(error.code(), Some(RefusalCode::NotLeader));
                    break;
                }
            }
            rounds += 1;
            assert!(rounds < 100);
        }
        assert_eq!(at, WAIT);
    }
}
