//! Requests that are expensive to answer: pairings, proofs, many signatures. They run off the executor, few at a time. An asker
//! of wrong requests has to pause.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_machine::Time;
use betanet_wire::ChargeTo;
use tokio::sync::{Semaphore, oneshot};

use super::plane::lock;

/// Maximum number of concurrent threads.
const AT_ONCE: usize = 2;
/// Maximum number of running and waiting requests.
const QUESTIONS_MAX: usize = 16;
/// Maximum number of those charged to one party.
const PAYER_MAX: usize = 2;
/// Number of wrong requests of one party within [`REST`] after which its requests are refused.
const WRONG_MAX: u32 = 4;
const REST: Duration = Duration::from_secs(60);
/// Maximum number of parties whose wrong requests are remembered.
const PAYERS_MAX: usize = 4096;

#[derive(Default)]
struct State {
    asking: BTreeMap<ChargeTo, usize>,
    /// Number of wrong requests of each party, and the time of the first.
    wrong: BTreeMap<ChargeTo, (u32, Time)>,
}

impl State {
    fn check(&self, now: Time, charge: ChargeTo) -> Result<(), Rests> {
        let wrong = self.wrong.get(&charge);
        if wrong.is_some_and(|(n, since)| *n >= WRONG_MAX && *since + REST > now) {
            return Err(Rests::Wrong);
        }
        let of_payer = self.asking.get(&charge).copied().unwrap_or(0);
        if self.asking.values().sum::<usize>() >= QUESTIONS_MAX || of_payer >= PAYER_MAX {
            return Err(Rests::Busy);
        }
        Ok(())
    }
}

/// The expensive requests in progress.
#[derive(Clone)]
pub(super) struct Arithmetic {
    state: Arc<Mutex<State>>,
    threads: Arc<Semaphore>,
}

impl Default for Arithmetic {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            threads: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

/// The reason why a request is not handled now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rests {
    /// The party charged has made too many wrong requests.
    Wrong,
    /// The maximum number of requests is in progress.
    Busy,
}

/// The turn of one request, until it is answered.
pub(super) struct Turn {
    of: Arithmetic,
    charge: ChargeTo,
    began: Time,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.of.state);
        if let Some(n) = state.asking.get_mut(&self.charge) {
            *n -= 1;
            if *n == 0 {
                state.asking.remove(&self.charge);
            }
        }
    }
}

impl Turn {
    /// Records that the request was wrong.
    fn wrong(&self) {
        let mut state = lock(&self.of.state);
        let now = self.began;
        if state.wrong.len() >= PAYERS_MAX {
            state.wrong.retain(|_, (_, since)| *since + REST > now);
        }
        if state.wrong.len() < PAYERS_MAX || state.wrong.contains_key(&self.charge) {
            let (n, since) = state.wrong.entry(self.charge).or_insert((0, now));
            if *since + REST <= now {
                (*n, *since) = (0, now);
            }
            *n += 1;
        }
    }
}

impl Arithmetic {
    /// Returns whether a request of this party would be handled.
    pub(super) fn check(&self, now: Time, charge: ChargeTo) -> Result<(), Rests> {
        lock(&self.state).check(now, charge)
    }

    /// Takes a turn for a request of this party.
    pub(super) fn begin(&self, now: Time, charge: ChargeTo) -> Result<Turn, Rests> {
        let mut state = lock(&self.state);
        state.check(now, charge)?;
        *state.asking.entry(charge).or_default() += 1;
        drop(state);
        Ok(Turn {
            of: self.clone(),
            charge,
            began: now,
        })
    }
}

impl Turn {
    /// Runs `work`, even if nobody waits for the answer. It also returns whether the request was wrong.
    pub(super) fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> (T, bool) + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            let Ok(_thread) = Arc::clone(&self.of.threads).acquire_owned().await else {
                return;
            };
            // The panic hook reports a panic, and nobody is answered.
            if let Ok((said, wrong)) = tokio::task::spawn_blocking(work).await {
                if wrong {
                    self.wrong();
                }
                // The asker may be gone.
                let _ = answer.send(said);
            }
            drop(self);
        });
        answered
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    fn of(n: u8) -> ChargeTo {
        ChargeTo::V4([192, 0, 2, n])
    }

    #[tokio::test]
    async fn who_asks_for_what_is_wrong_rests_and_others_do_not() {
        let arithmetic = Arithmetic::default();
        for _ in 0..WRONG_MAX {
            let turn = arithmetic.begin(at(1), of(1)).unwrap();
            let said = turn.run(|| ("no", true)).await;
            assert_eq!(said, Ok("no"));
            while arithmetic.check(at(1), of(1)) == Err(Rests::Busy) {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(arithmetic.check(at(60), of(1)), Err(Rests::Wrong));
        assert_eq!(arithmetic.check(at(60), of(2)), Ok(()));
        assert_eq!(arithmetic.check(at(61), of(1)), Ok(()));
    }

    #[test]
    fn two_of_a_payer_and_sixteen_of_all_may_ask() {
        let arithmetic = Arithmetic::default();
        let mut turns = Vec::new();
        for n in 0..8 {
            for _ in 0..PAYER_MAX {
                turns.push(arithmetic.begin(at(1), of(n)).unwrap());
            }
            assert_eq!(arithmetic.check(at(1), of(n)), Err(Rests::Busy));
        }
        assert_eq!(arithmetic.check(at(1), of(9)), Err(Rests::Busy));
        turns.pop();
        assert_eq!(arithmetic.check(at(1), of(9)), Ok(()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_are_worked_on_at_once() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let arithmetic = Arithmetic::default();
        let mut answers = Vec::new();
        for n in 0..8 {
            for _ in 0..PAYER_MAX {
                let turn = arithmetic.begin(at(1), of(n)).unwrap();
                answers.push(turn.run(move || {
                    MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    RUNNING.fetch_sub(1, Ordering::SeqCst);
                    (n, false)
                }));
            }
        }
        for (i, answer) in answers.into_iter().enumerate() {
            assert_eq!(usize::from(answer.await.unwrap()), i / PAYER_MAX);
        }
        assert!(MOST.load(Ordering::SeqCst) <= AT_ONCE);
    }
}
