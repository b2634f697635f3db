//! The last good answer of a source, with its age.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::Broken;

/// Time for which an answer, or its failure, is shown again without another request, in ms.
pub(super) const FRESH: u64 = 1_000;
/// Age from which an answer counts as stale, in ms.
pub(super) const STALE: u64 = 10_000;

/// What is known of a source.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    /// The last good answer.
    pub(crate) value: Option<Arc<T>>,
    /// When it came, in UNIX ms.
    pub(crate) at: u64,
    /// Why the last request had no answer.
    pub(crate) fault: Option<Broken>,
    tried: u64,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            at: self.at,
            fault: self.fault,
            tried: self.tried,
        }
    }
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            value: None,
            at: 0,
            fault: None,
            tried: 0,
        }
    }
}

impl<T> Kept<T> {
    /// A word for its state.
    pub(crate) fn word(&self, now_ms: u64) -> &'static str {
        match (&self.value, self.fault) {
            (_, Some(fault)) if fault.absent() => "not-installed",
            (None, _) => "not-read",
            (Some(_), _) if now_ms.saturating_sub(self.at) > STALE => "stale",
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
    /// What is known, after a request if the last one is too long ago.
    pub(super) async fn read(
        &self,
        now_ms: u64,
        request: impl Future<Output = Result<T, Broken>>,
    ) -> Kept<T> {
        let mut kept = self.0.lock().await;
        if kept.tried != 0 && now_ms.saturating_sub(kept.tried) < FRESH {
            return kept.clone();
        }
        let began = tokio::time::Instant::now();
        let done = request.await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        kept.tried = now_ms.saturating_add(took);
        match done {
            Ok(value) => {
                (kept.value, kept.at, kept.fault) = (Some(Arc::new(value)), kept.tried, None);
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
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn a_source_is_asked_once_a_second_and_its_last_answer_grows_stale() {
        let slot = Slot::<u32>::default();
        let kept = slot.read(1_000, ready(Ok(1))).await;
        assert_eq!(
            (kept.word(1_000), kept.value.as_deref()),
            ("current", Some(&1))
        );
        let again = slot.read(1_900, async { unreachable!() }).await;
        assert_eq!(again.value.as_deref(), Some(&1));
        let broken = slot.read(5_000, ready(Err(Broken::Late))).await;
        assert_eq!((broken.at, broken.word(5_000)), (1_000, "degraded"));
        assert_eq!(broken.word(1_001 + STALE), "stale");
        let absent = slot.read(9_000, ready(Err(Broken::Status(404)))).await;
        assert_eq!((absent.word(9_000), absent.value), ("not-installed", None));
        assert_eq!(Kept::<u32>::default().word(0), "not-read");
    }
}
