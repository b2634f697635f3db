//! Nonces of requests that were accepted and that no final head covers yet: the next request goes on from there.

use std::path::PathBuf;

use betanet_runtime::NodeId;
use betanet_store::disk;
use betanet_wire::text::hex;

use crate::Fail;

/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 64;

/// The file of one account of one ledger.
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn of(folder: Option<&std::path::Path>, ledger: &str, account: &NodeId) -> Self {
        let folder = crate::state::folder(folder).folder().to_owned();
        let name = format!("{ledger}-{}.nonce", hex(&account.0));
        Self(folder.join("economy-nonces").join(name))
    }

    /// The next nonce by this file; 0 without one. A file that does not read is none: the ledger's own nonce decides then.
    pub(super) fn next(&self) -> u64 {
        let bytes = disk::read_bounded(&self.0, FILE_MAX).unwrap_or_default();
        let text = String::from_utf8(bytes).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub(super) fn keep(&self, next: u64) -> Result<(), Fail> {
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder).map_err(Fail::file(folder))?;
        }
        disk::write_private(&self.0, format!("{next}\n")).map_err(Fail::file(&self.0))
    }
}
