//! The last versions of a job, kept in the state folder, because coordinators keep the present one only.

use std::collections::BTreeMap;
use std::path::PathBuf;

use betanet_fog::{Signed, Source, Task, TaskId, Word};
use betanet_fog_client::Blob;
use betanet_runtime::{Error, Identity, SharedFolder, StorageKind};
use betanet_store::entry_name;
use betanet_wire::text::{hex, unhex};
use serde::{Deserialize, Serialize};

use crate::Fail;
use crate::args::FogArgs;
use crate::fog::spec::Made;
use crate::fog::task::{files::Blobs, nonces, refused};
use crate::state;

/// The file of a job's versions.
const KIND: StorageKind = StorageKind::new("fog-job", 1);
/// Versions that are kept.
const KEPT: usize = 8;

/// One version of a job.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Version {
    pub(super) ver: u64,
    /// Moment of the submission, in UNIX ms.
    at: u64,
    /// Names of the tasks and their signed records in hex, in the order of submission.
    tasks: Vec<(String, String)>,
    /// Local files of the blobs, by digest in hex.
    files: BTreeMap<String, PathBuf>,
}

impl Version {
    /// Describes tasks that are submitted now.
    pub(super) fn new(made: &[Made], blobs: &Blobs) -> Self {
        let at = betanet_runtime::Clock::start().now().unix_ms;
        let task = |m: &Made| (m.name.clone(), hex(&m.task.to_bytes()));
        let files = blobs.iter().map(|(path, blob)| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            (hex(blob.digest()), path)
        });
        Self {
            ver: 0,
            at,
            tasks: made.iter().map(task).collect(),
            files: files.collect(),
        }
    }

    fn records(&self) -> Result<Vec<Signed<Task>>, Fail> {
        let broken = || Fail::Local("the kept version of the job does not read".into());
        let record = |(_, text): &(String, String)| {
            let bytes = unhex(text).ok_or_else(broken)?;
            Signed::<Task>::restore(&bytes).map_err(|_| broken())
        };
        self.tasks.iter().map(record).collect()
    }

    /// Names and IDs of the tasks.
    pub(super) fn list(&self) -> Vec<(String, String)> {
        let records = self.records().unwrap_or_default();
        let names = self.tasks.iter().map(|(name, _)| name.clone());
        names
            .zip(records.iter().map(|task| task.id().to_string()))
            .collect()
    }

    /// Blobs of the version whose files still have the same content.
    pub(super) fn blobs(&self) -> Vec<Blob> {
        let blob = |(digest, path): (&String, &PathBuf)| {
            let blob = Blob::file(path).ok()?;
            (hex(blob.digest()) == *digest).then_some(blob)
        };
        self.files.iter().filter_map(blob).collect()
    }

    /// Makes the same tasks anew: with other IDs, and times that are as far away as they were.
    pub(super) fn again(
        &self,
        owner: &Identity,
        now_ms: u64,
    ) -> Result<(Vec<Signed<Task>>, Self), Fail> {
        let mut nonces = nonces()?;
        let mut renamed: BTreeMap<TaskId, TaskId> = BTreeMap::new();
        let (mut tasks, mut listed) = (Vec::new(), Vec::new());
        for ((name, _), old) in self.tasks.iter().zip(self.records()?) {
            let mut task = old.value().clone();
            let of = |id: &TaskId| renamed.get(id).copied().unwrap_or(*id);
            let after: Vec<TaskId> = task.after.iter().map(of).collect();
            task.after = after.try_into().unwrap_or_default();
            let mut inputs = task.inputs.clone().into_vec();
            for input in &mut inputs {
                if let Source::File { task, .. } = &mut input.source {
                    *task = of(task);
                }
            }
            task.inputs = inputs.try_into().unwrap_or_default();
            task.nonce = nonces.array();
            task.deadline = now_ms.saturating_add(task.deadline.saturating_sub(self.at));
            task.start = match task.start.checked_sub(self.at) {
                Some(ahead) => now_ms.saturating_add(ahead),
                None => 0,
            };
            let task = Signed::sign(task, owner).map_err(refused)?;
            renamed.insert(old.id(), task.id());
            listed.push((name.clone(), hex(&task.to_bytes())));
            tasks.push(task);
        }
        let version = Self {
            ver: 0,
            at: now_ms,
            tasks: listed,
            files: self.files.clone(),
        };
        Ok((tasks, version))
    }
}

/// The kept versions of one job.
pub(super) struct Versions {
    folder: SharedFolder,
    name: String,
    job: String,
}

impl Versions {
    /// Versions that this owner ran.
    pub(super) fn new(args: &FogArgs, owner: &Identity, ns: &Word, name: &Word) -> Self {
        let whole = format!("{} {ns}/{name}", owner.public());
        Self {
            folder: state::folder(args.dial.state.as_deref()),
            name: entry_name("job-", &whole),
            job: format!("{ns}/{name}"),
        }
    }

    fn load(&self) -> Result<Vec<Version>, Fail> {
        let Some(loaded) = self.folder.load(KIND, &self.name).map_err(Error::from)? else {
            return Ok(Vec::new());
        };
        let wrong = |e| Fail::Local(format!("the kept versions of {}: {e}", self.job));
        serde_json::from_slice(&loaded.bytes).map_err(wrong)
    }

    /// Keeps a version, and forgets the oldest beyond the bound.
    pub(super) fn add(&self, version: Version) -> Result<(), Fail> {
        let mut all = self.load()?;
        all.retain(|old| old.ver != version.ver);
        all.push(version);
        let forgotten = all.len().saturating_sub(KEPT);
        all.drain(..forgotten);
        let bytes = serde_json::to_vec(&all)
            .map_err(|e| Fail::Local(format!("the versions of {}: {e}", self.job)))?;
        let kept = self.folder.replace(KIND, &self.name, &bytes);
        kept.map_err(|e| Error::from(e).into())
    }

    /// Returns the number of the last kept version; 0 if there is none.
    pub(super) fn last(&self) -> Result<u64, Fail> {
        let all = self.load()?;
        Ok(all.iter().map(|version| version.ver).max().unwrap_or(0))
    }

    /// Returns the last kept version before this one.
    pub(super) fn before(&self, present: u64) -> Result<Version, Fail> {
        let old = self.load()?.into_iter().filter(|old| old.ver < present);
        let none = || {
            Fail::Local(format!(
                "{}: no version before {present} is kept here; revert where it was run, or run its file again",
                self.job
            ))
        };
        old.max_by_key(|old| old.ver).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fog::spec::{Making, job};
    use crate::fog::task::files;

    const NOW: u64 = 1_790_000_000_000;

    fn versions(folder: &Path) -> Versions {
        Versions {
            folder: SharedFolder::new(folder.join("state")),
            name: entry_name("job-", "test"),
            job: "acme/test".into(),
        }
    }

    fn made(folder: &Path) -> (Version, Vec<Signed<Task>>) {
        std::fs::write(folder.join("m.wasm"), b"\0asm").unwrap();
        let file = folder.join("job.toml");
        let text = "ns = \"acme\"\nname = \"test\"\n[defaults]\nmodule = \"m.wasm\"\ndeadline = \"1 h\"\n\
                    [task.b]\nafter = [\"a\"]\ninputs = { x = { task = \"a\", file = \"stdout\" } }\n[task.a]\n";
        std::fs::write(&file, text).unwrap();
        let job = job(&file).unwrap().unwrap();
        let blobs = files::read(&job.tasks).unwrap();
        let owner = Identity::from_seed(&[1; 32]);
        let mut making = Making {
            owner: &owner,
            ns: &job.ns,
            now_ms: NOW,
            blobs: &blobs,
            made: BTreeMap::new(),
        };
        let mut nonces = nonces().unwrap();
        let all: Vec<Made> = job
            .tasks
            .iter()
            .map(|spec| making.task(spec, nonces.array()).unwrap())
            .collect();
        let mut version = Version::new(&all, &blobs);
        version.at = NOW;
        (version, all.into_iter().map(|made| made.task).collect())
    }

    #[test]
    fn a_version_runs_again_with_new_ids_and_the_same_distances() {
        let folder = tempfile::tempdir().unwrap();
        let (version, old) = made(folder.path());
        assert_eq!(version.blobs().len(), 1);
        let owner = Identity::from_seed(&[1; 32]);
        let (new, again) = version.again(&owner, NOW + 1000).unwrap();
        assert_eq!((new.len(), again.list().len()), (2, 2));
        assert_ne!(new[0].id(), old[0].id());
        // The second comes after the new first, and reads its output.
        assert_eq!(new[1].after[..], [new[0].id()]);
        let Source::File { task, .. } = &new[1].inputs[0].source else {
            panic!("a file of the first task");
        };
        assert_eq!(*task, new[0].id());
        assert_eq!(new[0].deadline, NOW + 1000 + 3_600_000);
        // A file that changed is not stored under the old digest.
        std::fs::write(folder.path().join("m.wasm"), b"other").unwrap();
        assert!(again.blobs().is_empty());
    }

    #[test]
    fn the_version_before_the_present_one_is_found_among_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let (version, _) = made(folder.path());
        let versions = versions(folder.path());
        assert!(versions.before(5).is_err());
        for ver in 1..=10 {
            let version = Version {
                ver,
                ..version.clone()
            };
            versions.add(version).unwrap();
        }
        assert_eq!(versions.before(10).unwrap().ver, 9);
        assert_eq!(versions.last().unwrap(), 10);
        assert!(versions.before(3).is_err(), "only the last {KEPT} are kept");
    }
}
