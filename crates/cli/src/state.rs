//! The state folder of commands of which a user runs several at a time.

use std::path::Path;

use betanet_runtime::state_dir;
use betanet_store::{SharedFolder, tighten};

/// Returns the given folder, or the user's default.
pub(crate) fn folder(named: Option<&Path>) -> SharedFolder {
    match named {
        Some(folder) => SharedFolder::new(folder),
        None => {
            let folder = state_dir();
            // Earlier versions created it with the umask's mode. If that cannot be changed, the first write is refused.
            let _ = tighten(&folder);
            SharedFolder::new(folder)
        }
    }
}
