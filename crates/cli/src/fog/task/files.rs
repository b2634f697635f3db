//! Local files of tasks: hashed, and stored as blobs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

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

/// How a module and a component begin: each worker's sandbox refuses what begins otherwise.
const PROGRAMS: [[u8; 8]; 2] = [*b"\0asm\x01\0\0\0", *b"\0asm\x0d\0\x01\0"];

/// Refuses a file that is no program, before anything is paid or sent for it.
fn is_program(path: &Path) -> Result<(), Fail> {
    let mut first = [0; 8];
    let mut file = File::open(path).map_err(Fail::file(path))?;
    match file.read_exact(&mut first) {
        Ok(()) if PROGRAMS.contains(&first) => Ok(()),
        Err(e) if e.kind() != ErrorKind::UnexpectedEof => Err(Fail::file(path)(e)),
        _ => Err(Fail::Usage(format!(
            "module {}: neither a module of WebAssembly 1 nor a component",
            path.display()
        ))),
    }
}

/// Hashes all local files of tasks that go to a coordinator, whose modules begin as programs do.
pub(in crate::fog) fn checked(specs: &[TaskSpec]) -> Result<Blobs, Fail> {
    for spec in specs {
        if let BlobSource::File(path) = &spec.module {
            is_program(path)?;
        }
    }
    read(specs)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_program_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in [&b""[..], b"\0as", b"notes of mine"] {
            std::fs::write(&path, text).unwrap();
            let refused = is_program(&path).unwrap_err();
            assert!(matches!(&refused, Fail::Usage(why) if why.contains("notes.txt")));
        }
        std::fs::write(&path, b"\0asm\x01\0\0\0").unwrap();
        assert!(is_program(&path).is_ok());
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(is_program(&path), Err(Fail::Local(_))));
    }
}
