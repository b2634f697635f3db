//! Health of a node: whether it works, and the faults if it does not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_carrier::{CertSource, OriginProxy};
use betanet_machine::Time;
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// Interval between two heartbeats of the executor.
const BEAT: Duration = Duration::from_millis(500);
/// Delay of a heartbeat that counts as a fault, since requests are as late.
const LATE: Duration = Duration::from_secs(5);

/// Time limit of a disk check.
const PATIENCE: Duration = Duration::from_secs(5);

/// A fault of a running node.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// The faulty component: `stopping`, `listener`, `role`, `certificate`, `folder`, `origin`, `key`, `executor` or
    /// `panic`.
    pub what: &'static str,
    /// Description of the fault.
    pub why: String,
}

impl Fault {
    /// Creates the fault of a component.
    #[must_use]
    pub const fn new(what: &'static str, why: String) -> Self {
        Self { what, why }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// The heartbeat of a recurring task, such as the executor's own or a listener's. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    clock: Clock,
    /// Time of the last beat, in milliseconds of the clock.
    last: Arc<AtomicU64>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Pulse {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: Arc::new(AtomicU64::new(millis(clock.elapsed()))),
        }
    }

    /// Beats for as long as it is polled, on the executor that is monitored.
    pub(crate) async fn beat(self) {
        loop {
            tokio::time::sleep_until(self.beat_once()).await;
        }
    }

    /// Records a beat. Returns when the next one is due.
    pub(crate) fn beat_once(&self) -> Instant {
        let now = self.clock.elapsed();
        self.beat_at(now);
        self.clock.instant(Time::ZERO + now + BEAT)
    }

    fn beat_at(&self, now: Duration) {
        self.last.store(millis(now), Ordering::Relaxed);
    }

    /// Returns the delay of the next beat.
    fn late(&self, now: Duration) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_sub(last + BEAT)
    }

    /// Returns the seconds since the last beat, or `None` if the delay is not a fault.
    fn stuck(&self) -> Option<u64> {
        let late = self.late(self.clock.elapsed());
        (late >= LATE).then(|| (late + BEAT).as_secs())
    }
}

/// A task that accepts connections.
#[derive(Debug)]
pub(crate) struct Accepting {
    /// Listening address.
    pub(crate) address: String,
    pub(crate) task: AbortHandle,
    /// Beats with each turn of its loop.
    pub(crate) pulse: Pulse,
}

/// A task that runs as long as the node, and is not restarted when it ends.
pub(crate) struct Part {
    name: &'static str,
    ended: Box<dyn Fn() -> bool + Send + Sync>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Part {
    /// Creates a part. `ended` returns whether it has ended.
    pub(crate) fn new(
        name: &'static str,
        ended: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        let ended = Box::new(ended);
        Self { name, ended }
    }

    /// Creates the part of a task.
    pub(crate) fn task(name: &'static str, task: AbortHandle) -> Self {
        Self::new(name, move || task.is_finished())
    }
}

/// The components whose health is checked.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) pulse: Pulse,
    pub(crate) stop: CancellationToken,
    pub(crate) listeners: Vec<Accepting>,
    /// The tasks that the node's roles need.
    pub(crate) parts: Vec<Part>,
    pub(crate) certificate: Arc<CertSource>,
    /// The folders that the node writes to.
    pub(crate) folders: Vec<PathBuf>,
    /// The front origin whose pages the node shows.
    pub(crate) front: Option<OriginProxy>,
    /// Allows one disk check at a time, so that a hanging disk holds one thread.
    pub(crate) turn: Arc<Semaphore>,
}

impl Vitals {
    /// Returns all current faults, including a disk that does not answer.
    pub(crate) async fn look(self: &Arc<Self>, unix_ms: u64) -> Vec<Fault> {
        let this = Arc::clone(self);
        looked(&self.turn, PATIENCE, move || this.faults(unix_ms)).await
    }

    /// Like [`Vitals::look`], but blocks on the disk. Must not run on an executor's thread.
    fn faults(&self, unix_ms: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut say = |what, why| faults.push(Fault { what, why });
        if self.stop.is_cancelled() {
            say("stopping", "the node was asked to stop".to_owned());
        }
        for Accepting { address, pulse, .. } in self.deaf() {
            say(
                "listener",
                match pulse.stuck() {
                    Some(s) => format!("nothing has taken connections at {address} for {s} s"),
                    None => format!("nothing takes connections at {address}"),
                },
            );
        }
        for Part { name, .. } in self.ended() {
            let why = format!("the task of {name} has ended; only a restart of the node helps");
            say("role", why);
        }
        if let Some(problem) = self.certificate.problem() {
            let why = format!("the changed files are not used: {problem}");
            say("certificate", why);
        }
        let now = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
        if let Err(why) = self.certificate.facts().counts_at(now) {
            say("certificate", why.to_owned());
        }
        for folder in &self.folders {
            if let Err(e) = writable(folder) {
                say("folder", format!("{}: {e}", folder.display()));
            }
        }
        if let Some(front) = self.front.as_ref().filter(|front| !front.is_reached()) {
            let why = format!("{front:?} could not be connected to for the last request");
            say("origin", why);
        }
        if let Some(s) = self.pulse.stuck() {
            say("executor", format!("it has run nothing for {s} s"));
        }
        faults
    }

    /// Returns listeners whose task has ended unexpectedly, or is stuck.
    fn deaf(&self) -> impl Iterator<Item = &Accepting> {
        let stops = self.stop.is_cancelled();
        let all = self.listeners.iter();
        all.filter(move |l| !stops && (l.task.is_finished() || l.pulse.stuck().is_some()))
    }

    /// Returns parts that have ended unexpectedly.
    fn ended(&self) -> impl Iterator<Item = &Part> {
        let stops = self.stop.is_cancelled();
        let all = self.parts.iter();
        all.filter(move |part| !stops && (part.ended)())
    }

    /// Returns whether every listener runs.
    pub(crate) fn all_listen(&self) -> bool {
        self.deaf().next().is_none()
    }
}

/// Runs a check with a time limit.
async fn looked(
    turn: &Arc<Semaphore>,
    patience: Duration,
    look: impl FnOnce() -> Vec<Fault> + Send + 'static,
) -> Vec<Fault> {
    let found = async {
        let turn = Arc::clone(turn).acquire_owned().await.ok()?;
        let looking = move || {
            let found = look();
            drop(turn);
            found
        };
        tokio::task::spawn_blocking(looking).await.ok()
    };
    let found = tokio::time::timeout(patience, found).await;
    found.ok().flatten().unwrap_or_else(|| {
        let why = format!("the disk has not answered for {patience:?}");
        vec![Fault {
            what: "folder",
            why,
        }]
    })
}

/// Checks whether a file can be written in a folder now. Leaves nothing there, since the file has no name.
pub(crate) fn writable(folder: &Path) -> std::io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let mut file = std::fs::File::from(file);
            std::io::Write::write_all(&mut file, &[0; 4096])
        }
        // The file system does not support nameless files.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            Ok(rustix::fs::access(folder, Access::WRITE_OK)?)
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_carrier::Certificate;

    fn vitals(listeners: Vec<Accepting>, folders: Vec<PathBuf>) -> Vitals {
        let certificate = Certificate::self_signed(&["localhost".to_owned()]).unwrap();
        Vitals {
            pulse: Pulse::new(Clock::start()),
            stop: CancellationToken::new(),
            listeners,
            parts: Vec::new(),
            certificate: Arc::new(CertSource::fixed(certificate)),
            folders,
            front: None,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn whats(vitals: &Vitals) -> Vec<&'static str> {
        let faults = vitals.faults(1_800_000_000_000);
        faults.iter().map(|f| f.what).collect()
    }

    #[test]
    fn a_late_executor_is_told_by_its_pulse() {
        let pulse = Pulse::new(Clock::start());
        let at = |ms| Duration::from_millis(ms);
        pulse.beat_at(at(1000));
        assert_eq!(pulse.late(at(1400)), Duration::ZERO);
        assert_eq!(pulse.late(at(1000) + BEAT + LATE), LATE);
        pulse.beat_at(at(9000));
        assert_eq!(pulse.late(at(9001)), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_listener_that_is_gone_is_told_unless_the_node_stops() {
        let task = tokio::spawn(std::future::pending::<()>());
        let accepting = Accepting {
            address: "192.0.2.1:443".into(),
            task: task.abort_handle(),
            pulse: Pulse::new(Clock::start()),
        };
        let vitals = vitals(vec![accepting], vec![]);
        assert_eq!(whats(&vitals), [""; 0]);
        assert!(vitals.all_listen());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(whats(&vitals), ["listener"]);
        assert!(!vitals.all_listen());
        vitals.stop.cancel();
        assert_eq!(whats(&vitals), ["stopping"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_listener_that_is_stuck_is_told_from_one_to_whom_nobody_comes() {
        let clock = Clock::start();
        let accepting = |address: &str| Accepting {
            address: address.into(),
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
            pulse: Pulse::new(clock),
        };
        let mut vitals = vitals(vec![accepting("a:1"), accepting("b:2")], vec![]);
        vitals.pulse = Pulse::new(clock);
        let beating = [&vitals.pulse, &vitals.listeners[0].pulse].map(|p| p.clone().beat());
        for pulse in beating {
            tokio::spawn(pulse);
        }
        tokio::time::sleep(LATE).await;
        assert_eq!(whats(&vitals), [""; 0]);
        assert!(vitals.all_listen());
        tokio::time::sleep(LATE).await;
        let faults = vitals.faults(1_800_000_000_000);
        let [fault] = &faults[..] else {
            panic!("{faults:?}")
        };
        let said = fault.to_string();
        assert_eq!(
            said,
            "listener: nothing has taken connections at b:2 for 10 s"
        );
        assert!(!vitals.all_listen());
        vitals.listeners[1].pulse.beat_once();
        assert_eq!(whats(&vitals), [""; 0]);
    }

    #[tokio::test]
    async fn a_part_that_panics_is_named() {
        let mut vitals = vitals(vec![], vec![]);
        // This bypasses the hook that counts panics, which another test checks.
        let task = tokio::spawn(async { std::panic::resume_unwind(Box::new(())) });
        let thread = std::thread::spawn(|| std::panic::resume_unwind(Box::new(())));
        let stays = tokio::spawn(std::future::pending::<()>());
        vitals.parts = vec![
            Part::task("the mesh", task.abort_handle()),
            Part::new("the mix's packets", move || thread.is_finished()),
            Part::task("the mix's keys", stays.abort_handle()),
        ];
        assert!(task.await.unwrap_err().is_panic());
        let both = async {
            while vitals.ended().count() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), both)
            .await
            .unwrap();
        let faults = vitals.faults(1_800_000_000_000);
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "role: the task of the mesh has ended; only a restart of the node helps",
                "role: the task of the mix's packets has ended; only a restart of the node helps",
            ]
        );
        // This is no reason to restart the process, since the panic may happen again.
        assert!(vitals.all_listen());
        vitals.stop.cancel();
        assert_eq!(whats(&vitals), ["stopping"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let vitals = vitals(vec![], vec![dir.path().to_owned()]);
        assert_eq!(whats(&vitals), [""; 0]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        drop(dir);
        assert_eq!(whats(&vitals), ["folder"]);
    }

    #[tokio::test]
    async fn a_disk_that_does_not_answer_is_told_and_holds_one_thread() {
        let turn = Arc::new(Semaphore::new(1));
        let soon = Duration::from_millis(50);
        let (answers, waits) = std::sync::mpsc::channel::<()>();
        let hangs = move || {
            let _ = waits.recv();
            Vec::new()
        };
        assert_eq!(looked(&turn, soon, hangs).await[0].what, "folder");
        for _ in 0..3 {
            let again = looked(&turn, soon, || panic!("a second thread")).await;
            assert_eq!(
                again[0].to_string(),
                "folder: the disk has not answered for 50ms"
            );
        }
        drop(answers);
        assert!(looked(&turn, PATIENCE, Vec::new).await.is_empty());
    }

    #[test]
    fn a_certificate_that_has_expired_is_told() {
        let vitals = vitals(vec![], vec![]);
        let late = vitals.faults(u64::MAX);
        assert_eq!(late[0].to_string(), "certificate: it has expired");
    }
}
