//! The state folder of commands that a user runs several of at a time.

use std::path::Path;

use betanet_runtime::state_dir;
use betanet_store::{SharedFolder, tighten};

/// The folder that is named, or the user's own.
pub(crate) fn folder(named: Option<&Path>) -> SharedFolder {
    match named {
        Some(folder) => SharedFolder::new(folder),
        None => {
            let folder = state_dir();
            // Earlier versions made it as the umask said. One that cannot be changed is refused when something is written there.
            let _ = tighten(&folder);
            SharedFolder::new(folder)
        }
    }
}
