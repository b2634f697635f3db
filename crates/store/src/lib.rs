//! The state of a node on disk: one folder, one lock, one format.
//!
//! **Promises.** [`Storage`] is the port: `load`, `replace`, `append`, `records`, `remove`. [`State`] implements it over a folder
//! of mode 0700 that one process at a time holds. An entry is replaced whole or not at all: the file and its folder are synced
//! before [`Storage::replace`] returns. Each file names its kind and version and carries a checksum. A file that is damaged,
//! newer or of another kind is an error that names the file; it is never read as an empty one.
//!
//! **Below:** the file system. **Above:** `carrier` (files of secrets), `runtime` and `cli` (state).
//! **Source:** the format stands in this crate's README.

pub mod disk;
mod error;
mod header;
mod journal;
mod lock;
mod memory;
mod moved;
mod shared;
mod state;
mod storage;

pub use error::{Damage, Error};
#[doc(hidden)]
pub use header::fuzz;
pub use memory::MemoryStorage;
pub use moved::load_or_move;
pub use shared::{SharedFolder, entry_name};
pub use state::{ENTRY_MAX, State, tighten};
pub use storage::{Kind, Loaded, Storage};
