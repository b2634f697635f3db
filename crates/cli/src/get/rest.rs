//! Waiting for a peer that accepts no more requests for the moment, because it limits the number or the rate of streams.

use std::time::Duration;

use betanet_runtime::{Error, ExchangeError, SessionError};
use betanet_wire::Code;

use super::Trouble;

/// The first wait, which doubles; the longest; and the total without an answer in between.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
const IN_ALL: Duration = Duration::from_secs(60);
/// Duration of a wait from which the user is notified.
const TOLD: Duration = Duration::from_secs(1);

/// Waits until a peer accepts requests again.
pub(super) struct Rest {
    next: Duration,
    left: Duration,
    told: bool,
}

impl Rest {
    pub(super) const fn new() -> Self {
        Self {
            next: FIRST,
            left: IN_ALL,
            told: false,
        }
    }

    /// Waits if this was such a refusal. Returns whether to ask again.
    pub(super) async fn over(&mut self, trouble: &Trouble) -> bool {
        let Some(wait) = self.wait(trouble) else {
            return false;
        };
        if wait >= TOLD && !std::mem::replace(&mut self.told, true) {
            note!(
                "the peer takes no more requests now (it bounds the streams of a peer): asking again until it does"
            );
        }
        tokio::time::sleep(wait).await;
        true
    }

    fn wait(&mut self, trouble: &Trouble) -> Option<Duration> {
        let refused = matches!(
            trouble,
            Trouble::Cut(Error::Session(SessionError::Exchange(
                ExchangeError::Ended {
                    code: Code::POLICY_REJECTED,
                    delivered: 0,
                }
            )))
        );
        if !refused || self.left.is_zero() {
            return None;
        }
        let wait = self.next.min(self.left);
        self.left -= wait;
        self.next = (self.next * 2).min(LONGEST);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_stream_is_waited_for_longer_each_time_and_not_for_ever() {
        let refused = |delivered| {
            Trouble::Cut(Error::Session(SessionError::Exchange(
                ExchangeError::Ended {
                    code: Code::POLICY_REJECTED,
                    delivered,
                },
            )))
        };
        let mut rest = Rest::new();
        let waits: Vec<u128> = std::iter::from_fn(|| rest.wait(&refused(0)))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits[..7], [50, 100, 200, 400, 800, 1600, 2000]);
        assert_eq!(waits.iter().sum::<u128>(), 60_000);
        assert_eq!(Rest::new().wait(&refused(1)), None);
        let cut = SessionError::Exchange(ExchangeError::Cut { delivered: 0 });
        let cut = Trouble::Cut(Error::Session(cut));
        assert_eq!(Rest::new().wait(&cut), None);
    }
}
