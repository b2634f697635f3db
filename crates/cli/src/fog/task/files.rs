//! Local files of tasks: hashed, and stored as blobs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use betanet_fog_client::{Blob, FogClient};
use betanet_runtime::{Error, seed};

use crate::Fail;
use crate::fog::spec::{BlobSource, InputSource, TaskSpec};
use crate::progress::Bar;

/// Blobs by the file that they come from.
pub(in crate::fog) type Blobs = BTreeMap<PathBuf, Blob>;

/// Random numbers for nonces.
pub(in crate::fog) fn nonces() -> Result<betanet_machine::Rng, Fail> {
    let seed = seed().map_err(Error::from)?;
    Ok(betanet_machine::Rng::new(&seed))
}

/// Hashes all local files of tasks, each once.
pub(in crate::fog) fn read(specs: &[TaskSpec]) -> Result<Blobs, Fail> {
    let mut blobs = Blobs::new();
    for spec in specs {
        let inputs = spec.inputs.iter().filter_map(|(_, source)| match source {
            InputSource::Blob(blob) => Some(blob),
            _ => None,
        });
        for source in inputs.chain([&spec.module]) {
            if let BlobSource::File(path) = source
                && !blobs.contains_key(path)
            {
                blobs.insert(path.clone(), Blob::file(path)?);
            }
        }
    }
    Ok(blobs)
}

/// Stores blobs.
pub(in crate::fog) async fn store(fog: &FogClient, blobs: &Blobs) -> Result<(), Fail> {
    let total = blobs.values().map(Blob::size).sum();
    let bar = Bar::new(true, Some(total), 0);
    for blob in blobs.values() {
        fog.put_blob(blob).await?;
        bar.inc(blob.size());
    }
    Ok(())
}
