//! The last good answer of a source, with its age.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Broken;
use super::http::PATIENCE;

/// Time for which an answer, or its failure, is shown again without another request.
pub(super) const FRESH: Duration = Duration::from_secs(1);
/// Age from which an answer counts as stale.
pub(super) const STALE: Duration = Duration::from_secs(10);

/// What is known of a source. Its times are those of a clock that nobody sets.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    /// The last good answer.
    pub(crate) value: Option<Arc<T>>,
    /// Why the last request had no answer.
    pub(crate) fault: Option<Broken>,
    /// When the last good answer came.
    came: Option<Instant>,
    /// When the last request ended.
    tried: Option<Instant>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            fault: self.fault,
            came: self.came,
            tried: self.tried,
        }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: None,
            fault: None,
            came: None,
            tried: None,
        }
    }
}

impl<T> Kept<T> {
    /// Age of the last good answer; zero if there is none.
    pub(crate) fn age(&self) -> Duration {
        self.came.map_or(Duration::ZERO, |came| came.elapsed())
    }

    /// A word for its state.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.value, self.fault) {
            (_, Some(fault)) if fault.absent() => "not-installed",
            (None, _) => "not-read",
            (Some(_), _) if self.age() > STALE => "stale",
            (Some(_), Some(_)) => "degraded",
            (Some(_), None) => "current",
        }
    }
}

/// A place for one kind of answer of one source. One request is under way at most.
pub(super) struct Slot<T>(Mutex<Kept<T>>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Slot<T> {
    /// What is known, after a request if the last one is too long ago. A request may be several exchanges: their time is bounded together,
    /// because others wait for them.
    pub(super) async fn read(&self, request: impl Future<Output = Result<T, Broken>>) -> Kept<T> {
        let mut kept = self.0.lock().await;
        if kept.tried.is_some_and(|tried| tried.elapsed() < FRESH) {
            return kept.clone();
        }
        let done = timeout(PATIENCE, request).await;
        let now = Some(Instant::now());
        kept.tried = now;
        match done.unwrap_or(Err(Broken::Late)) {
            Ok(value) => {
                (kept.value, kept.came, kept.fault) = (Some(Arc::new(value)), now, None);
            }
            Err(fault) => {
                if fault.absent() {
                    kept.value = None;
                }
                kept.fault = Some(fault);
            }
        }
        kept.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_is_asked_once_a_second_and_its_last_answer_grows_stale() {
        let slot = Slot::<u32>::default();
        let kept = slot.read(ready(Ok(1))).await;
        assert_eq!((kept.word(), kept.value.as_deref()), ("current", Some(&1)));
        advance(FRESH - Duration::from_millis(1)).await;
        let again = slot.read(async { unreachable!() }).await;
        assert_eq!(again.value.as_deref(), Some(&1));
        advance(FRESH).await;
        let broken = slot.read(ready(Err(Broken::Late))).await;
        assert_eq!(broken.word(), "degraded");
        // The age goes on by itself, wherever the clock of the day is set to.
        advance(STALE - broken.age() + Duration::from_millis(1)).await;
        assert_eq!((broken.word(), kept.word()), ("stale", "stale"));
        let absent = slot.read(ready(Err(Broken::Status(404)))).await;
        assert_eq!((absent.word(), absent.value), ("not-installed", None));
        assert_eq!(Kept::<u32>::default().word(), "not-read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_of_several_exchanges_is_bounded_in_time() {
        let slot = Slot::<u32>::default();
        let began = Instant::now();
        let late = slot.read(pending()).await;
        assert_eq!(late.fault, Some(Broken::Late));
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
