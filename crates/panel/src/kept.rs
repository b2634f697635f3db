//! The versions of jobs that are kept: those of each job in an entry of the panel's folder, which the next job that needs room takes over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use betanet_store::{Kind, Storage};
use betanet_wire::{cbor, message};
use tokio::sync::{Mutex, MutexGuard};

use crate::Error;
use crate::error::Unavailable;

/// Jobs of which versions are kept. Beyond that, the namespace with the most jobs forgets the one that it ran longest ago.
pub(crate) const JOBS_MAX: usize = 256;
/// The same of one namespace, which then forgets its own.
pub(crate) const JOBS_A_NAMESPACE: usize = 64;
/// Versions of a job that are kept.
pub(crate) const VERSIONS_MAX: usize = 8;

/// Kind of the entries.
const KIND: Kind = Kind::new("panel-job", 1);

message! {
    /// A version of a job, as it was run.
    pub(crate) struct Version {
        /// When it was run, in UNIX ms.
        req "at" at: u64,
        /// Account that ran it.
        req "by" by: String,
        /// Namespace.
        req "ns" ns: String,
        /// Number.
        req "ver" ver: u64,
        /// Whether the file is JSON.
        req "json" json: bool,
        /// Name.
        req "name" name: String,
        /// The file.
        req "text" text: String,
    }
}

/// Namespace and name.
type Key = (String, String);

/// A job: the number of its entry, and its versions, oldest first.
#[derive(Debug, Default)]
struct Row {
    entry: usize,
    versions: VecDeque<Version>,
}

impl Row {
    fn last_run(&self) -> u64 {
        self.versions.back().map_or(0, |v| v.at)
    }
}

/// The jobs of which versions are kept.
#[derive(Debug, Default)]
struct Kept {
    jobs: BTreeMap<Key, Row>,
    /// A version that is about to be stated, or that may have been. It takes no other's place before it is known to run.
    pending: Option<Version>,
}

impl Kept {
    /// Number of jobs of each namespace.
    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (ns, _) in self.jobs.keys() {
            *counts.entry(ns.as_str()).or_default() += 1;
        }
        counts
    }

    /// The job that makes room for a new one of this namespace.
    fn leaving(&self, ns: &str) -> Option<Key> {
        let counts = self.counts();
        let from = if counts.get(ns).is_some_and(|n| *n >= JOBS_A_NAMESPACE) {
            ns
        } else if self.jobs.len() >= JOBS_MAX {
            counts.iter().max_by_key(|(_, n)| **n).map(|(ns, _)| *ns)?
        } else {
            return None;
        };
        let own = self.jobs.iter().filter(|((ns, _), _)| ns == from);
        let oldest = own.min_by_key(|(_, row)| row.last_run());
        oldest.map(|(key, _)| key.clone())
    }

    /// The number of an entry for a new job.
    fn entry(&mut self, ns: &str) -> usize {
        if let Some(leaving) = self.leaving(ns)
            && let Some(row) = self.jobs.remove(&leaving)
        {
            return row.entry;
        }
        let taken: BTreeSet<usize> = self.jobs.values().map(|row| row.entry).collect();
        let mut free = (0..JOBS_MAX).filter(|n| !taken.contains(n));
        free.next().unwrap_or(0)
    }

    /// Keeps a version. Returns its entry's number and content.
    fn add(&mut self, version: Version) -> (usize, Vec<u8>) {
        let key = (version.ns.clone(), version.name.clone());
        if !self.jobs.contains_key(&key) {
            let entry = self.entry(&version.ns);
            let row = Row {
                entry,
                ..Row::default()
            };
            self.jobs.insert(key.clone(), row);
        }
        let row = self.jobs.entry(key).or_default();
        // A number of which nothing is known any more, after a journal was restored, is given again.
        row.versions.retain(|v| v.ver != version.ver);
        if row.versions.len() >= VERSIONS_MAX {
            row.versions.pop_front();
        }
        row.versions.push_back(version);
        let all: Vec<Version> = row.versions.iter().cloned().collect();
        (row.entry, cbor::to_vec(&all))
    }
}

fn name(entry: usize) -> String {
    format!("job-{entry:03}")
}

/// Name of the entry of the version that is about to be stated.
const PENDING: &str = "job-pending";

/// The versions that are kept, with their entries.
pub(crate) struct JobFiles {
    storage: Arc<dyn Storage>,
    kept: Mutex<Kept>,
    /// Held by the one who runs a job, so that no two state the same version.
    turn: Mutex<()>,
}

impl JobFiles {
    /// Reads the entries.
    pub(crate) fn open(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let mut kept = Kept::default();
        for entry in 0..JOBS_MAX {
            let name = name(entry);
            let Some(loaded) = storage.load(KIND, &name).map_err(Error::Files)? else {
                continue;
            };
            let versions = cbor::from_slice::<Vec<Version>>(&loaded.bytes);
            let versions = versions.map_err(|_| Error::Files(storage.unreadable(&name)))?;
            if let Some(v) = versions.first() {
                let key = (v.ns.clone(), v.name.clone());
                let row = Row {
                    entry,
                    versions: versions.into(),
                };
                // A write that failed may have left an older entry of the same job.
                let newer = |old: &Row| old.last_run() > row.last_run();
                if !kept.jobs.get(&key).is_some_and(newer) {
                    kept.jobs.insert(key, row);
                }
            }
        }
        if let Some(loaded) = storage.load(KIND, PENDING).map_err(Error::Files)? {
            let version = cbor::from_slice::<Version>(&loaded.bytes);
            let version = version.map_err(|_| Error::Files(storage.unreadable(PENDING)))?;
            kept.pending = Some(version);
        }
        Ok(Self {
            storage,
            kept: Mutex::new(kept),
            turn: Mutex::default(),
        })
    }

    /// Waits for the turn to run a job.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The version that was about to be stated when the last turn ended, if what came of it is not known here.
    pub(crate) async fn pending(&self) -> Option<Version> {
        self.kept.lock().await.pending.clone()
    }

    /// Writes down a version that is about to be stated, in the turn. It is on disk once this has returned.
    pub(crate) async fn prepare(self: &Arc<Self>, version: Version) -> Result<(), Unavailable> {
        self.write(move |kept, storage| {
            let bytes = cbor::to_vec(&version);
            kept.pending = Some(version);
            storage.replace(KIND, PENDING, &bytes)
        })
        .await
    }

    /// Ends what was prepared: the version is kept if it was stated, and forgotten if not.
    pub(crate) async fn settle(self: &Arc<Self>, stated: bool) -> Result<(), Unavailable> {
        self.write(move |kept, storage| {
            if let Some(version) = kept.pending.take().filter(|_| stated) {
                let (entry, bytes) = kept.add(version);
                storage.replace(KIND, &name(entry), &bytes)?;
            }
            storage.remove(PENDING).map(drop)
        })
        .await
    }

    /// Changes what is kept, and its entries.
    async fn write(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Kept, &dyn Storage) -> Result<(), betanet_store::Error>
        + Send
        + 'static,
    ) -> Result<(), Unavailable> {
        let own = Arc::clone(self);
        let stored = tokio::task::spawn_blocking(move || {
            let mut kept = own.kept.blocking_lock();
            change(&mut kept, &*own.storage)
        });
        match stored.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a job file is not kept");
                Err(Unavailable)
            }
            Err(_) => Err(Unavailable),
        }
    }

    /// The versions of a job, oldest first. The last one may be about to be stated.
    pub(crate) async fn of(&self, ns: &str, name: &str) -> Vec<Version> {
        let kept = self.kept.lock().await;
        let row = kept.jobs.get(&(ns.to_owned(), name.to_owned()));
        let mut all: Vec<Version> =
            row.map_or_else(Vec::new, |row| row.versions.iter().cloned().collect());
        let pending = kept.pending.iter().filter(|v| v.ns == ns && v.name == name);
        for version in pending.cloned() {
            all.retain(|v| v.ver != version.ver);
            all.push(version);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use betanet_store::MemoryStorage;

    use super::*;

    fn version(ns: &str, name: usize, ver: u64) -> Version {
        Version {
            at: ver,
            by: "root".to_owned(),
            ns: ns.to_owned(),
            ver,
            json: false,
            name: format!("j{name}"),
            text: "x".to_owned(),
        }
    }

    async fn add(files: &Arc<JobFiles>, version: Version) {
        files.prepare(version).await.unwrap();
        files.settle(true).await.unwrap();
    }

    #[tokio::test]
    async fn a_version_that_is_not_stated_takes_no_other_ones_place() {
        let storage = Arc::new(MemoryStorage::default());
        let opened = || Arc::new(JobFiles::open(storage.clone()).unwrap());
        let files = opened();
        let numbers = async |files: &JobFiles| -> Vec<u64> {
            let all = files.of("lab", "j0").await;
            all.iter().map(|v| v.ver).collect()
        };
        let all: Vec<u64> = (1..=VERSIONS_MAX as u64).collect();
        for ver in &all {
            add(&files, version("lab", 0, *ver)).await;
        }
        for n in 1..JOBS_A_NAMESPACE {
            add(&files, version("lab", n, 100)).await;
        }
        let next = VERSIONS_MAX as u64 + 1;
        for other in [version("lab", 0, next), version("lab", JOBS_A_NAMESPACE, 1)] {
            files.prepare(other).await.unwrap();
            files.settle(false).await.unwrap();
            assert_eq!(numbers(&files).await, all);
            assert_eq!(numbers(&opened()).await, all);
        }
        // After a crash between the two, it is there with the others.
        files.prepare(version("lab", 0, next)).await.unwrap();
        let again = opened();
        assert_eq!(again.pending().await.map(|v| v.ver), Some(next));
        assert_eq!(numbers(&again).await, [&all[..], &[next]].concat());
        again.settle(true).await.unwrap();
        assert_eq!(numbers(&opened()).await, [&all[1..], &[next]].concat());
        assert_eq!(opened().pending().await.map(|v| v.ver), None);
    }

    #[tokio::test]
    async fn jobs_and_their_versions_are_bounded_in_memory_and_on_disk() {
        let storage = Arc::new(MemoryStorage::default());
        let opened = || Arc::new(JobFiles::open(storage.clone()).unwrap());
        let files = opened();
        let numbers = async |files: &JobFiles, ns: &str, name: &str| -> Vec<u64> {
            let all = files.of(ns, name).await;
            all.iter().map(|v| v.ver).collect()
        };
        for ver in 1..=VERSIONS_MAX as u64 + 3 {
            add(&files, version("lab", 0, ver)).await;
        }
        let last = [4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(numbers(&files, "lab", "j0").await, last);
        assert_eq!(numbers(&opened(), "lab", "j0").await, last);
        // A namespace that runs jobs without end forgets its own.
        add(&files, version("other", 0, 1)).await;
        for n in 1..=2 * JOBS_MAX {
            add(&files, version("lab", n, 100 + n as u64)).await;
        }
        let again = opened();
        for files in [&files, &again] {
            assert!(numbers(files, "lab", "j0").await.is_empty());
            assert_eq!(numbers(files, "other", "j0").await, [1]);
            assert_eq!(files.kept.lock().await.jobs.len(), JOBS_A_NAMESPACE + 1);
        }
        let entries = |storage: &MemoryStorage| {
            let all =
                (0..3 * JOBS_MAX).filter(|n| storage.load(KIND, &name(*n)).unwrap().is_some());
            all.count()
        };
        assert_eq!(entries(&storage), JOBS_A_NAMESPACE + 1);
        // Many namespaces together have a bound too, and the one with the most jobs makes room.
        for n in 0..JOBS_MAX - 2 {
            let new = version(&format!("n{n}"), 0, 1_000);
            add(&files, new).await;
        }
        assert_eq!(numbers(&files, "other", "j0").await, [1]);
        assert_eq!(files.kept.lock().await.jobs.len(), JOBS_MAX);
        assert_eq!(entries(&storage), JOBS_MAX);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_is_told() {
        let storage = Arc::new(MemoryStorage::default());
        storage.replace(KIND, &name(0), b"x").unwrap();
        assert!(matches!(JobFiles::open(storage), Err(Error::Files(_))));
    }
}
