//! The turns in which streams draw their pages: one draws, and others wait in the order in which they came.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Time in which a stream has to take its turn. After it, the next stream has its own.
const TAKE: Duration = Duration::from_millis(100);

type Slot = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

fn take(slot: &Slot) -> Option<OwnedSemaphorePermit> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// A place in the queue.
struct Place {
    slot: Slot,
    called: Arc<Notify>,
    /// Ends with the place.
    _waits: AbortOnDropHandle<()>,
}

impl Place {
    fn take(drawing: Arc<Semaphore>) -> Self {
        let (slot, called) = (Slot::default(), Arc::new(Notify::new()));
        let (given, call) = (Arc::clone(&slot), Arc::clone(&called));
        let waits = tokio::spawn(async move {
            let Ok(permit) = drawing.acquire_owned().await else {
                return;
            };
            *given.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            call.notify_one();
            // A stream whose client takes no bytes is not asked for more, and holds nobody up.
            sleep(TAKE).await;
            drop(take(&given));
        });
        Self {
            slot,
            called,
            _waits: AbortOnDropHandle::new(waits),
        }
    }
}

/// A stream's way to its turns.
pub(crate) struct Turns {
    drawing: Arc<Semaphore>,
    place: Option<Place>,
}

impl Turns {
    pub(crate) const fn new(drawing: Arc<Semaphore>) -> Self {
        Self {
            drawing,
            place: None,
        }
    }

    /// Waits for the turn. Whoever gives up keeps the place, and goes on waiting in it.
    pub(crate) async fn next(&mut self) -> OwnedSemaphorePermit {
        loop {
            let drawing = &self.drawing;
            let place = self
                .place
                .get_or_insert_with(|| Place::take(Arc::clone(drawing)));
            place.called.notified().await;
            let turn = take(&place.slot);
            self.place = None;
            // One that was not taken in its time is over.
            if let Some(turn) = turn {
                return turn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const BEAT: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_tells_that_it_lives_keeps_its_place() {
        let drawing = Arc::new(Semaphore::new(1));
        let of = || Turns::new(Arc::clone(&drawing));
        let (mut first, mut second, mut third) = (of(), of(), of());
        let held = first.next().await;
        assert!(timeout(BEAT, second.next()).await.is_err());
        assert!(timeout(BEAT, third.next()).await.is_err());
        // Both wait on, and the later one in front of the other's next look.
        drop(held);
        let both = async { tokio::join!(timeout(BEAT, third.next()), second.next()) };
        let (later, turn) = both.await;
        assert!(later.is_err(), "the one who came later was first");
        drop(turn);
        assert!(timeout(BEAT, third.next()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_is_not_taken_is_the_next_ones() {
        let drawing = Arc::new(Semaphore::new(1));
        let of = || Turns::new(Arc::clone(&drawing));
        let (mut first, mut stuck, mut gone, mut last) = (of(), of(), of(), of());
        let held = first.next().await;
        assert!(timeout(BEAT, stuck.next()).await.is_err());
        assert!(timeout(BEAT, gone.next()).await.is_err());
        drop((gone, held));
        let began = tokio::time::Instant::now();
        drop(last.next().await);
        assert_eq!(began.elapsed(), TAKE);
        // The one that stood still takes a new place.
        drop(stuck.next().await);
        assert_eq!(drawing.available_permits(), 1);
    }
}
