//! Directories of relays: verification, storage, and requests to seeds.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use betanet_carrier::disk;
use betanet_dial::FileError;
use betanet_keys::{Envelope, Maintainers};
use betanet_mix::{BeaconKey, DIRECTORY_MAX, Directory};
use bytes::Bytes;

use super::MixSetup;
use super::plane::lock;
pub(super) use crate::DirectoryProblem;
use crate::Error;

/// Number of epochs before and after the current one whose directories are kept.
const KEPT: (u32, u32) = (8, 2);

/// Returns the folder of a node's directories, within that of its state. Each file is signed by maintainers and verified when
/// read.
///
/// A folder of an earlier version, beside the key, is moved there.
pub(super) fn adopt(config: &MixSetup) -> Result<PathBuf, Error> {
    let (state, old) = (
        config.state.clone(),
        config.key.with_extension("directories"),
    );
    let folder = state.join("directories");
    let mut builder = fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(&state);
    made.map_err(FileError::io(&state))?;
    if old.is_dir() && !folder.exists() {
        fs::rename(&old, &folder).map_err(FileError::io(&old))?;
    }
    Ok(folder)
}

/// Verifies an envelope, and decodes the directory in it.
///
/// # Errors
///
/// The fault of the envelope or the directory.
pub fn check(
    bytes: &[u8],
    maintainers: &Maintainers,
    beacon_key: &BeaconKey,
) -> Result<(Envelope, Directory), DirectoryProblem> {
    if bytes.len() > DIRECTORY_MAX {
        return Err(DirectoryProblem::Long(bytes.len()));
    }
    let envelope = Envelope::from_bytes(bytes)?;
    envelope.check(maintainers)?;
    let directory = Directory::from_record(envelope.record())?;
    directory.check(beacon_key)?;
    Ok((envelope, directory))
}

/// A directory, with its signed bytes.
#[derive(Debug)]
struct Held {
    envelope: Envelope,
    bytes: Bytes,
}

impl Held {
    fn new(envelope: Envelope) -> Self {
        let bytes = envelope.to_bytes().into();
        Self { envelope, bytes }
    }
}

/// The directories that a seed stores and serves.
#[derive(Debug)]
pub struct Directories {
    maintainers: Maintainers,
    beacon_key: BeaconKey,
    folder: PathBuf,
    /// Directories by epoch: one, or two that contradict each other.
    held: Mutex<BTreeMap<u32, Vec<Held>>>,
}

impl Directories {
    /// Loads the directories of a folder, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// The folder cannot be created or read.
    pub fn open(
        folder: &Path,
        maintainers: Maintainers,
        beacon_key: BeaconKey,
    ) -> std::io::Result<Self> {
        fs::create_dir_all(folder)?;
        let this = Self {
            maintainers,
            beacon_key,
            folder: folder.to_owned(),
            held: Mutex::default(),
        };
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let checked = fs::read(&path)
                .ok()
                .map(|bytes| check(&bytes, &this.maintainers, &this.beacon_key));
            match checked {
                Some(Ok((envelope, directory))) => {
                    let mut held = lock(&this.held);
                    held.entry(directory.epoch)
                        .or_default()
                        .push(Held::new(envelope));
                }
                Some(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "not a directory that counts");
                }
                None => {}
            }
        }
        Ok(this)
    }

    fn file(&self, epoch: u32, n: usize) -> PathBuf {
        self.folder.join(format!("{epoch}-{n}"))
    }

    /// Returns the signed directory of an epoch.
    ///
    /// # Errors
    ///
    /// [`DirectoryProblem::Equivocation`].
    pub fn get(&self, epoch: u32) -> Result<Option<Bytes>, DirectoryProblem> {
        match lock(&self.held).get(&epoch).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([one]) => Ok(Some(one.bytes.clone())),
            Some(_) => Err(DirectoryProblem::Equivocation(epoch)),
        }
    }

    /// Returns the range of epochs whose directories are kept, if it includes this one.
    ///
    /// # Errors
    ///
    /// [`DirectoryProblem::Stale`].
    pub fn timely(epoch: u32, now: u32) -> Result<RangeInclusive<u32>, DirectoryProblem> {
        let kept = now.saturating_sub(KEPT.0)..=now.saturating_add(KEPT.1);
        if kept.contains(&epoch) {
            Ok(kept)
        } else {
            Err(DirectoryProblem::Stale { epoch, now })
        }
    }

    /// Returns the result for a directory that is already stored, and was verified when it arrived.
    pub(crate) fn known(&self, bytes: &[u8]) -> Option<Result<bool, DirectoryProblem>> {
        let envelope = Envelope::from_bytes(bytes).ok()?;
        let held = lock(&self.held);
        let same = |all: &&Vec<Held>| {
            let record = envelope.record();
            all.iter().any(|h| h.envelope.record() == record)
        };
        let (epoch, all) = held.iter().find(|(_, all)| same(all))?;
        Some(match all.len() {
            1 => Ok(false),
            _ => Err(DirectoryProblem::Equivocation(*epoch)),
        })
    }

    /// Adds a directory. Returns whether it is new. One that contradicts another is stored beside it.
    ///
    /// # Errors
    ///
    /// The reason why it is not used.
    pub fn put(&self, bytes: &[u8], now: u32) -> Result<bool, DirectoryProblem> {
        let (envelope, directory) = check(bytes, &self.maintainers, &self.beacon_key)?;
        let epoch = directory.epoch;
        let kept = Self::timely(epoch, now)?;
        let mut held = lock(&self.held);
        while held
            .first_key_value()
            .is_some_and(|(e, _)| *e < *kept.start())
        {
            let Some((old, envelopes)) = held.pop_first() else {
                break;
            };
            for n in 0..envelopes.len() {
                // A file that does not exist needs no removal.
                let _ = fs::remove_file(self.file(old, n));
            }
        }
        let same = held.entry(epoch).or_default();
        let known = same.iter();
        let known = known
            .map(|h| h.envelope.record())
            .any(|r| r == envelope.record());
        if !known && same.len() < 2 {
            let path = self.file(epoch, same.len());
            let fresh = Held::new(envelope);
            if let Err(error) = disk::write_private(&path, &fresh.bytes) {
                tracing::warn!(path = %path.display(), %error, "a directory is not kept");
            }
            same.push(fresh);
        }
        if same.len() > 1 {
            return Err(DirectoryProblem::Equivocation(epoch));
        }
        Ok(!known)
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::{Identity, PublicKey};
    use betanet_mix::BeaconSecret;

    use super::*;

    #[test]
    fn what_is_long_over_leaves_the_folder_and_the_rest_outlives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let ids: Vec<Identity> = (1..=5).map(|n| Identity::from_seed(&[n; 32])).collect();
        let keys: Vec<PublicKey> = ids.iter().map(|i| *i.public()).collect();
        let maintainers = Maintainers::new(&keys);
        let secret = BeaconSecret::from_seed(&[9; 32]).unwrap();
        let signed = |epoch: u32, seq: u64| {
            let directory = Directory {
                epoch,
                seq,
                list: maintainers.hash(),
                layers: 1,
                poisson: false,
                beacon_sig: secret.sign(epoch),
                relays: Vec::new(),
            };
            let mut envelope = Envelope::new(directory.to_record()).unwrap();
            ids.iter().for_each(|id| envelope.sign(id));
            envelope.to_bytes()
        };
        let open =
            || Directories::open(folder.path(), maintainers.clone(), secret.public()).unwrap();
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let held = open();
        assert_eq!(held.put(&signed(10, 1), 10), Ok(true));
        let both = DirectoryProblem::Equivocation(10);
        assert_eq!(held.put(&signed(10, 2), 10), Err(both));
        assert_eq!(
            held.put(&signed(10, 3), 10),
            Err(both),
            "a third is not kept"
        );
        assert_eq!(held.put(&signed(11, 1), 11), Ok(true));
        assert_eq!(files(), 3);
        let again = open();
        assert_eq!(again.get(10), Err(both));
        assert_eq!(again.get(11), Ok(Some(signed(11, 1).into())));
        // A stored directory is accepted without verifying its signatures; any other is verified.
        assert_eq!(again.known(&signed(11, 1)), Some(Ok(false)));
        assert_eq!(again.known(&signed(10, 1)), Some(Err(both)));
        assert_eq!(again.known(&signed(11, 2)), None);
        let stale = DirectoryProblem::Stale { epoch: 10, now: 19 };
        assert_eq!(again.put(&signed(10, 1), 19), Err(stale));
        assert_eq!(again.put(&signed(19, 1), 19), Ok(true));
        assert_eq!((again.get(10), files()), (Ok(None), 2));
    }
}
