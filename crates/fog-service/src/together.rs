//! Signatures of requests that wait at the same time: eight are verified at once, each with a verdict of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};

use betanet_keys::Equation;
use tokio::sync::oneshot;

/// Most signatures that wait. The one that fills the queue verifies all of them.
const TOGETHER: usize = 64;

/// A signature that waits for its verdict; none if it is to be verified alone.
#[derive(Debug)]
struct Waiting {
    equation: Equation,
    verdict: oneshot::Sender<Option<bool>>,
}

/// Signatures that wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Together(Mutex<Vec<Waiting>>);

impl Together {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other tasks bring their signatures, then verifies all that wait, unless another task does. Returns the verdict on this one;
    /// `None` if too few came together for it.
    pub(crate) async fn judge(&self, equation: Equation) -> Option<bool> {
        let (verdict, mut judged) = oneshot::channel();
        let full = {
            let mut waiting = self.waiting();
            waiting.push(Waiting { equation, verdict });
            (waiting.len() >= TOGETHER).then(|| std::mem::take(&mut *waiting))
        };
        if let Some(all) = full {
            judge_all(all);
        } else {
            tokio::task::yield_now().await;
            if let Ok(verdict) = judged.try_recv() {
                return verdict;
            }
            // If this one is not among them, another task verifies it now.
            let all = std::mem::take(&mut *self.waiting());
            judge_all(all);
        }
        judged.await.ok().flatten()
    }
}

/// Verifies signatures, and tells each its verdict.
fn judge_all(all: Vec<Waiting>) {
    let rest = all.len() % Equation::LANES;
    let alone = if rest < Equation::WORTH { rest } else { 0 };
    let equations: Vec<Equation> = all.iter().map(|w| w.equation).collect();
    let together = equations.get(alone..).unwrap_or_default();
    let verdicts =
        std::iter::repeat_n(None, alone).chain(Equation::hold(together).into_iter().map(Some));
    for (waiting, verdict) in all.into_iter().zip(verdicts) {
        // Whoever waited for it may have left.
        let _ = waiting.verdict.send(verdict);
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::{Identity, hash};
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    /// The equation of a signature, which is altered if it is not to hold.
    fn equation(n: usize, holds: bool) -> Equation {
        let me = Identity::from_seed(&[u8::try_from(n % 5).unwrap(); 32]);
        let digest = hash(&[&n.to_be_bytes()]);
        let mut sig = me.sign_message(&digest);
        sig[3] ^= u8::from(!holds);
        Equation::of(me.public(), &digest, &sig).unwrap()
    }

    #[tokio::test]
    async fn each_signature_has_its_own_verdict_whoever_waits_beside_it() {
        let together = Together::default();
        for n in [1, 2, 3, 7, 8, 9, 12, 64, 65, 150] {
            let holds = |at: usize| at % 3 != 1;
            let all = (0..n).map(|at| together.judge(equation(at, holds(at))));
            let verdicts = join_all(all).await;
            for (at, verdict) in verdicts.iter().enumerate() {
                assert!(verdict.is_none_or(|v| v == holds(at)), "{at} of {n}");
            }
            let alone = verdicts.iter().filter(|v| v.is_none()).count();
            assert_eq!(
                alone,
                if n % TOGETHER % 8 < Equation::WORTH {
                    n % TOGETHER % 8
                } else {
                    0
                },
                "{n}"
            );
            assert!(together.waiting().is_empty());
        }
    }

    #[tokio::test]
    async fn a_signature_whose_request_left_holds_up_nobody() {
        let together = Together::default();
        let mut left = Box::pin(together.judge(equation(0, false)));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        let all = (1..8).map(|n| together.judge(equation(n, true)));
        assert_eq!(join_all(all).await, vec![Some(true); 7]);
    }

    #[tokio::test]
    async fn the_signature_that_fills_the_queue_waits_for_nobody() {
        let together = Together::default();
        let mut all: Vec<_> = (0..TOGETHER)
            .map(|n| Box::pin(together.judge(equation(n, true))))
            .collect();
        let answers = all.iter_mut().map(|one| one.now_or_never());
        let answered: Vec<_> = answers.collect();
        assert_eq!(answered.last(), Some(&Some(Some(true))));
        assert!(answered[..TOGETHER - 1].iter().all(Option::is_none));
        assert!(together.waiting().is_empty());
        assert!(
            join_all(all.drain(..TOGETHER - 1))
                .await
                .iter()
                .all(|v| *v == Some(true))
        );
    }
}
