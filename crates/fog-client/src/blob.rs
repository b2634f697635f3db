//! Blobs to store: bytes in memory, or files that are read as they are sent.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use betanet_fog::Digest;
use betanet_keys::hash;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// Action that an error names.
pub(crate) const FETCH: &str = "fetch the blob";

/// Bytes of a file that are read at a time.
pub(crate) const PIECE: usize = 64 << 10;

/// Content that a coordinator can store, with its digest.
#[derive(Clone, Debug)]
pub struct Blob {
    digest: Digest,
    size: u64,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    File(PathBuf),
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

impl From<Bytes> for Blob {
    fn from(bytes: Bytes) -> Self {
        Self {
            digest: hash(&[&bytes]),
            size: bytes.len() as u64,
            content: Content::Bytes(bytes),
        }
    }
}

impl Blob {
    /// Hashes a file. It is read again when it is sent, and must not change until then.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn file(path: &Path) -> Result<Self, Error> {
        let (digest, size) = digest_of(path).map_err(|source| Error::File {
            what: "read a blob",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            digest,
            size,
            content: Content::File(path.to_owned()),
        })
    }

    /// SHA-256 of the content.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Length of the content in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }
}

fn digest_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok((hash.finalize().into(), size));
        }
        hash.update(&piece[..n]);
        size += n as u64;
    }
}
