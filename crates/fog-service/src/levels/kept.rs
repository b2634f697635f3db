//! A client that is kept for the next questions, as long as it is of use.

use std::sync::Arc;
use std::time::Duration;

use betanet_machine::Time;

/// Interval between two looks at whether the client's guard answers.
const LOOK: Duration = Duration::from_secs(600);

/// Longest use of a client. The next one looks up its guard, which may have left the directory or served for its longest time.
const USE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// A client, and how long it has been of use.
pub(super) struct Kept<C> {
    pub(super) client: Arc<C>,
    since: Time,
    looked: Time,
}

impl<C> Kept<C> {
    pub(super) const fn new(now: Time, client: Arc<C>) -> Self {
        Self {
            client,
            since: now,
            looked: now,
        }
    }

    /// Whether the client is still of use. `answers` dials its guard, and is waited for only where that is due.
    pub(super) async fn stands(&mut self, now: Time, answers: impl Future<Output = bool>) -> bool {
        if now - self.since >= USE_MAX {
            return false;
        }
        if now - self.looked < LOOK {
            return true;
        }
        let answers = answers.await;
        if answers {
            self.looked = now;
        }
        answers
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::FutureExt as _;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn a_client_whose_guard_does_not_answer_is_let_go() {
        let mut kept = Kept::new(at(5), Arc::new(()));
        // The guard is not dialled for each question.
        assert_eq!(kept.stands(at(604), pending()).now_or_never(), Some(true));
        assert!(kept.stands(at(605), ready(true)).await);
        assert_eq!(kept.stands(at(1204), pending()).now_or_never(), Some(true));
        // A look that is given up is made again.
        assert_eq!(kept.stands(at(1205), pending()).now_or_never(), None);
        assert!(!kept.stands(at(1206), ready(false)).await);
        assert!(!kept.stands(at(1207), ready(false)).await);
    }

    #[tokio::test]
    async fn a_client_is_used_for_a_day() {
        let mut kept = Kept::new(at(0), Arc::new(()));
        for n in 0..24 * 6 {
            assert!(kept.stands(at(n * 600), ready(true)).await);
        }
        let day = kept.stands(at(24 * 3_600), pending());
        assert_eq!(day.now_or_never(), Some(false));
    }
}
