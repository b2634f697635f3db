//! The versions of jobs that are kept: those of each job in an entry of the panel's folder, which the next job that needs room takes over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use betanet_store::{Kind, Storage};
use betanet_wire::{cbor, message};
use tokio::sync::Mutex;

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
struct Kept(BTreeMap<Key, Row>);

impl Kept {
    /// Number of jobs of each namespace.
    fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (ns, _) in self.0.keys() {
            *counts.entry(ns.as_str()).or_default() += 1;
        }
        counts
    }

    /// The job that makes room for a new one of this namespace.
    fn leaving(&self, ns: &str) -> Option<Key> {
        let counts = self.counts();
        let from = if counts.get(ns).is_some_and(|n| *n >= JOBS_A_NAMESPACE) {
            ns
        } else if self.0.len() >= JOBS_MAX {
            counts.iter().max_by_key(|(_, n)| **n).map(|(ns, _)| *ns)?
        } else {
            return None;
        };
        let own = self.0.iter().filter(|((ns, _), _)| ns == from);
        let oldest = own.min_by_key(|(_, row)| row.last_run());
        oldest.map(|(key, _)| key.clone())
    }

    /// The number of an entry for a new job.
    fn entry(&mut self, ns: &str) -> usize {
        if let Some(leaving) = self.leaving(ns)
            && let Some(row) = self.0.remove(&leaving)
        {
            return row.entry;
        }
        let taken: BTreeSet<usize> = self.0.values().map(|row| row.entry).collect();
        let mut free = (0..JOBS_MAX).filter(|n| !taken.contains(n));
        free.next().unwrap_or(0)
    }

    /// Keeps a version. Returns its entry's number and content.
    fn add(&mut self, version: Version) -> (usize, Vec<u8>) {
        let key = (version.ns.clone(), version.name.clone());
        if !self.0.contains_key(&key) {
            let entry = self.entry(&version.ns);
            let row = Row {
                entry,
                ..Row::default()
            };
            self.0.insert(key.clone(), row);
        }
        let row = self.0.entry(key).or_default();
        // A version that was kept and never stated makes room for the one that has its number now.
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

/// The versions that are kept, with their entries.
pub(crate) struct JobFiles {
    storage: Arc<dyn Storage>,
    kept: Mutex<Kept>,
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
                if !kept.0.get(&key).is_some_and(newer) {
                    kept.0.insert(key, row);
                }
            }
        }
        Ok(Self {
            storage,
            kept: Mutex::new(kept),
        })
    }

    /// Keeps a version. It is on disk once this has returned.
    pub(crate) async fn add(self: &Arc<Self>, version: Version) -> Result<(), Unavailable> {
        let own = Arc::clone(self);
        let stored = tokio::task::spawn_blocking(move || {
            let mut kept = own.kept.blocking_lock();
            let (entry, bytes) = kept.add(version);
            own.storage.replace(KIND, &name(entry), &bytes)
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

    /// The versions of a job, oldest first.
    pub(crate) async fn of(&self, ns: &str, name: &str) -> Vec<Version> {
        let kept = self.kept.lock().await;
        let row = kept.0.get(&(ns.to_owned(), name.to_owned()));
        row.map_or_else(Vec::new, |row| row.versions.iter().cloned().collect())
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
            files.add(version("lab", 0, ver)).await.unwrap();
        }
        let last = [4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(numbers(&files, "lab", "j0").await, last);
        assert_eq!(numbers(&opened(), "lab", "j0").await, last);
        // A namespace that runs jobs without end forgets its own.
        files.add(version("other", 0, 1)).await.unwrap();
        for n in 1..=2 * JOBS_MAX {
            files.add(version("lab", n, 100 + n as u64)).await.unwrap();
        }
        let again = opened();
        for files in [&files, &again] {
            assert!(numbers(files, "lab", "j0").await.is_empty());
            assert_eq!(numbers(files, "other", "j0").await, [1]);
            assert_eq!(files.kept.lock().await.0.len(), JOBS_A_NAMESPACE + 1);
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
            files.add(new).await.unwrap();
        }
        assert_eq!(numbers(&files, "other", "j0").await, [1]);
        assert_eq!(files.kept.lock().await.0.len(), JOBS_MAX);
        assert_eq!(entries(&storage), JOBS_MAX);
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_is_told() {
        let storage = Arc::new(MemoryStorage::default());
        storage.replace(KIND, &name(0), b"x").unwrap();
        assert!(matches!(JobFiles::open(storage), Err(Error::Files(_))));
    }
}
