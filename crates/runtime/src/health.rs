//! Whether a node does what it is there for, and if not, why.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_carrier::CertSource;
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// Between two beats of the executor.
const BEAT: Duration = Duration::from_millis(500);
/// A beat that is later than this is a fault: requests wait as long.
const LATE: Duration = Duration::from_secs(5);

/// Something that is wrong with a running node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What it is wrong with: `stopping`, `listener`, `certificate`, `folder`, `executor` or `panic`.
    pub what: &'static str,
    /// In words.
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// When the executor last ran a task that was due. Clones are the same pulse.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    clock: Clock,
    /// Milliseconds of the clock.
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

    /// Beats for as long as it is polled, on the executor that is watched.
    pub(crate) async fn beat(self) {
        loop {
            self.beat_at(self.clock.elapsed());
            tokio::time::sleep(BEAT).await;
        }
    }

    fn beat_at(&self, now: Duration) {
        self.last.store(millis(now), Ordering::Relaxed);
    }

    /// How late the next beat is.
    fn late(&self, now: Duration) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        now.saturating_sub(last + BEAT)
    }
}

/// What is looked at.
#[derive(Debug)]
pub(crate) struct Vitals {
    pub(crate) pulse: Pulse,
    pub(crate) stop: CancellationToken,
    /// Tasks that take connections, by their addresses.
    pub(crate) listeners: Vec<(String, AbortHandle)>,
    pub(crate) certificate: Arc<CertSource>,
    /// Folders that the node writes to.
    pub(crate) folders: Vec<PathBuf>,
}

impl Vitals {
    /// All that is wrong now. Asks the disk: not for an executor's thread.
    pub(crate) fn faults(&self, unix_ms: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut say = |what, why| faults.push(Fault { what, why });
        if self.stop.is_cancelled() {
            say("stopping", "the node was asked to stop".to_owned());
        }
        for (address, _) in self.gone() {
            say(
                "listener",
                format!("nothing takes connections at {address}"),
            );
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
        let late = self.pulse.late(self.pulse.clock.elapsed());
        if late >= LATE {
            let why = format!("it has run nothing for {} s", (late + BEAT).as_secs());
            say("executor", why);
        }
        faults
    }

    /// Listeners whose task has ended though nobody asked it to.
    fn gone(&self) -> impl Iterator<Item = &(String, AbortHandle)> {
        let stops = self.stop.is_cancelled();
        let gone = self.listeners.iter();
        gone.filter(move |(_, task)| !stops && task.is_finished())
    }

    /// Whether every listener runs.
    pub(crate) fn all_listen(&self) -> bool {
        self.gone().next().is_none()
    }
}

/// Whether a file can be written to a folder now. Leaves nothing there: the file that is written has no name.
pub(crate) fn writable(folder: &Path) -> std::io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => {
            let mut file = std::fs::File::from(file);
            std::io::Write::write_all(&mut file, &[0; 4096])
        }
        // File systems without nameless files.
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

    fn vitals(listeners: Vec<(String, AbortHandle)>, folders: Vec<PathBuf>) -> Vitals {
        let certificate = Certificate::self_signed(&["localhost".to_owned()]).unwrap();
        Vitals {
            pulse: Pulse::new(Clock::start()),
            stop: CancellationToken::new(),
            listeners,
            certificate: Arc::new(CertSource::fixed(certificate)),
            folders,
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
        let vitals = vitals(vec![("192.0.2.1:443".into(), task.abort_handle())], vec![]);
        assert_eq!(whats(&vitals), [""; 0]);
        assert!(vitals.all_listen());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!(whats(&vitals), ["listener"]);
        assert!(!vitals.all_listen());
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

    #[test]
    fn a_certificate_that_has_expired_is_told() {
        let vitals = vitals(vec![], vec![]);
        let late = vitals.faults(u64::MAX);
        assert_eq!(late[0].to_string(), "certificate: it has expired");
    }
}
