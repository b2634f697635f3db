//! Password checks: two at once, or one on a machine of fewer than four processors, on threads of their own, which give way to all others.
//! Others wait in two short queues, so that strangers who guess keep no known device out.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use betanet_auth::Error as AuthError;
use betanet_auth::password::Scratch;
use tokio::sync::{Semaphore, oneshot};

use crate::fault::Fault;

/// Password checks at once; each takes 19 MiB.
pub(crate) const HASHES_MAX: usize = 2;
/// Password checks of strangers that wait. Beyond, logins are refused as busy.
pub(crate) const HASHES_WAITING: usize = 32;
/// Password checks of known devices and logged-in callers that wait.
pub(crate) const HASHES_WAITING_KNOWN: usize = 8;

/// Nice value of the threads: requests of people who are logged in come first.
const NICE: i32 = 19;

/// Password checks at once, where there are so many processors: half of them answer requests.
fn at_once(processors: usize) -> usize {
    (processors / 2).clamp(1, HASHES_MAX)
}

type Job = Box<dyn FnOnce(&mut Scratch) + Send>;

/// Runs password checks until there are no more. The memory is kept while others wait, so that many checks take no more than one.
fn work(jobs: &Mutex<mpsc::Receiver<Job>>, waits: impl Fn() -> bool) {
    #[cfg(unix)]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "password checks run at the common priority");
    }
    let mut scratch = Scratch::default();
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A check that fails so has no answer, and the next one runs.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut scratch)));
        if !waits() {
            scratch = Scratch::default();
        }
    }
}

/// The password checks that run and wait.
#[derive(Debug)]
pub(crate) struct Hashes {
    running: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
    jobs: mpsc::Sender<Job>,
}

impl Hashes {
    /// Starts the threads, which end with this.
    pub(crate) fn start() -> io::Result<Self> {
        let processors = std::thread::available_parallelism();
        Self::with(at_once(processors.map_or(1, Into::into)))
    }

    fn with(at_once: usize) -> io::Result<Self> {
        let (jobs, asked) = mpsc::channel();
        let asked = Arc::new(Mutex::new(asked));
        let of = |n| Arc::new(Semaphore::new(n));
        let (strangers, known) = (of(HASHES_WAITING), of(HASHES_WAITING_KNOWN));
        for _ in 0..at_once {
            let asked = Arc::clone(&asked);
            let queues = [
                (Arc::clone(&strangers), HASHES_WAITING),
                (Arc::clone(&known), HASHES_WAITING_KNOWN),
            ];
            let waits = move || queues.iter().any(|(q, all)| q.available_permits() < *all);
            let thread = std::thread::Builder::new().name("passwords".to_owned());
            thread.spawn(move || work(&asked, waits))?;
        }
        Ok(Self {
            running: of(at_once),
            strangers,
            known,
            jobs,
        })
    }

    /// Runs a password function on a thread. The permit is the thread's, so that a request that ends early frees nothing too soon.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        known: bool,
        run: impl FnOnce(&mut Scratch) -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, Fault> {
        let queue = match known {
            true => &self.known,
            false => &self.strangers,
        };
        let waiting = Arc::clone(queue).try_acquire_owned();
        let waiting = waiting.map_err(|_| Fault::Busy)?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_| Fault::Busy)?;
        drop(waiting);
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |scratch| {
            let done = run(scratch);
            drop(permit);
            // A request that ended early wants no answer.
            let _ = answer.send(done);
        });
        let failed = || Fault::Auth(AuthError::Bug);
        self.jobs.send(job).map_err(|_| failed())?;
        Ok(answered.await.map_err(|_| failed())??)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex};

    use super::*;

    #[tokio::test]
    async fn two_checks_run_at_once_and_strangers_keep_no_known_device_out() {
        let processors = [1, 2, 3, 4, 64];
        assert_eq!(processors.map(at_once), [1, 1, 1, 2, HASHES_MAX]);
        let hashes = Arc::new(Hashes::with(HASHES_MAX).unwrap());
        let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let start = |known| {
            let (hashes, counts, gate) = (hashes.clone(), counts.clone(), gate.clone());
            tokio::spawn(async move {
                let check = move |_: &mut Scratch| {
                    let n = counts.0.fetch_add(1, Ordering::SeqCst) + 1;
                    counts.1.fetch_max(n, Ordering::SeqCst);
                    let open = gate.0.lock().unwrap();
                    drop(gate.1.wait_while(open, |open| !*open).unwrap());
                    counts.0.fetch_sub(1, Ordering::SeqCst);
                    Ok(())
                };
                hashes.run(known, check).await
            })
        };
        let mut all: Vec<_> = (0..HASHES_MAX + HASHES_WAITING)
            .map(|_| start(false))
            .collect();
        while hashes.strangers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashes.run(false, |_| Ok(())).await, Err(Fault::Busy));
        all.extend((0..HASHES_WAITING_KNOWN).map(|_| start(true)));
        while hashes.known.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hashes.run(true, |_| Ok(())).await, Err(Fault::Busy));
        while counts.0.load(Ordering::SeqCst) < HASHES_MAX {
            tokio::task::yield_now().await;
        }
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        for one in all {
            assert_eq!(one.await.unwrap(), Ok(()));
        }
        assert_eq!(counts.1.load(Ordering::SeqCst), HASHES_MAX);
    }
}
