//! Directories of relays: checked, kept, and asked of seeds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use betanet_keys::{Envelope, Maintainers, RegistryError};
use betanet_mix::{BeaconKey, DIRECTORY_MAX, Directory, DirectoryError};

use super::plane::lock;

/// Epochs around now whose directories are kept.
const KEPT: (u32, u32) = (8, 2);

/// Why a directory is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryProblem {
    /// Its envelope.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is in it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Longer than a mebibyte.
    #[error("a directory of {0} bytes, where 1048576 are allowed")]
    Long(usize),
    /// Another one of its epoch counts as well: neither is used.
    #[error("two directories of epoch {0} are signed by the maintainers: neither is used")]
    Equivocation(u32),
    /// Of an epoch that is long over, or far ahead.
    #[error("a directory of epoch {epoch}, where {now} is the epoch of now")]
    Stale {
        /// Its epoch.
        epoch: u32,
        /// The epoch of now.
        now: u32,
    },
}

/// Checks an envelope, and reads the directory in it.
///
/// # Errors
///
/// What is wrong with it.
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

/// The directories that a seed keeps and gives out.
#[derive(Debug)]
pub struct Directories {
    maintainers: Maintainers,
    beacon_key: BeaconKey,
    folder: PathBuf,
    /// By epoch: one, or two that contradict each other.
    held: Mutex<BTreeMap<u32, Vec<Envelope>>>,
}

impl Directories {
    /// Those that a folder holds, which is made when it is not there.
    ///
    /// # Errors
    ///
    /// The folder cannot be made or read.
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
                    held.entry(directory.epoch).or_default().push(envelope);
                }
                Some(Err(error)) => {
                    tracing::warn!(path = %path.display(), %error, "not a directory that counts");
                }
                None => {}
            }
        }
        Ok(this)
    }

    /// The directory of an epoch, as it was signed.
    ///
    /// # Errors
    ///
    /// [`DirectoryProblem::Equivocation`].
    pub fn get(&self, epoch: u32) -> Result<Option<Vec<u8>>, DirectoryProblem> {
        match lock(&self.held).get(&epoch).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([one]) => Ok(Some(one.to_bytes())),
            Some(_) => Err(DirectoryProblem::Equivocation(epoch)),
        }
    }

    /// Takes a directory; whether it is new. One that contradicts another is kept beside it.
    ///
    /// # Errors
    ///
    /// Why it is not used.
    pub fn put(&self, bytes: &[u8], now: u32) -> Result<bool, DirectoryProblem> {
        let (envelope, directory) = check(bytes, &self.maintainers, &self.beacon_key)?;
        let epoch = directory.epoch;
        let kept = now.saturating_sub(KEPT.0)..=now.saturating_add(KEPT.1);
        if !kept.contains(&epoch) {
            return Err(DirectoryProblem::Stale { epoch, now });
        }
        let mut held = lock(&self.held);
        while held
            .first_key_value()
            .is_some_and(|(e, _)| *e < *kept.start())
        {
            held.pop_first();
        }
        let same = held.entry(epoch).or_default();
        let known = same.iter().any(|e| e.record() == envelope.record());
        if !known && same.len() < 2 {
            let path = self.folder.join(format!("{epoch}-{}", same.len()));
            if let Err(error) = fs::write(&path, envelope.to_bytes()) {
                tracing::warn!(path = %path.display(), %error, "a directory is not kept");
            }
            same.push(envelope);
        }
        if same.len() > 1 {
            return Err(DirectoryProblem::Equivocation(epoch));
        }
        Ok(!known)
    }
}
