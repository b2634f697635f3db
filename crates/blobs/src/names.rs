//! Places of blobs in an object store, and folders for them.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;

use object_store::path::Path;

use crate::Digest;
use crate::index::Area;

/// Folder of damaged blobs. The others are named by the first two digits of their digests.
pub(crate) const DAMAGED: &str = "damaged";

/// The place of a blob, below a prefix.
pub(crate) fn path(prefix: Path, area: Area, digest: &Digest) -> Path {
    let name = digest.to_string();
    match area {
        Area::Served => prefix.join(&name[..2]).join(name),
        Area::Damaged => prefix.join(DAMAGED).join(name),
    }
}

/// The place of a blob that is served.
#[cfg(feature = "s3")]
pub(crate) fn served(prefix: &Path, digest: &Digest) -> Path {
    path(prefix.clone(), Area::Served, digest)
}

/// Creates a folder that only its owner may use, unless it is there.
pub(crate) fn create_folder(folder: &std::path::Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
