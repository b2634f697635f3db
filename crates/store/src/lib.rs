//! The state of a node on disk: one folder, one lock, one format.
//!
//! **Promises.** [`Storage`] is the interface: `load`, `replace`, `append`, `records`, `remove`. [`State`] implements it over a
//! folder of mode 0700 that one process holds at a time. `replace` writes a file whole or not at all, and syncs file and folder
//! before it returns. Each file names its kind and version and has a checksum. A file that is damaged, newer or of another kind
//! gives an error that names the file, and never reads as empty.
//!
//! **Below:** the file system. **Above:** `carrier` (files of secrets), `runtime` and `cli` (state).
//!
//! A file begins with one line, `betanet-state 1 KIND VERSION LENGTH CHECK` or `betanet-journal 1 KIND VERSION - CHECK`. `CHECK`
//! is the first 16 bytes of SHA-256 in hex. It covers the line before it and, in a state file, the content that follows. A
//! journal's records follow its line, each with its length and two checksums of its own.
//!
//! ```
//! use betanet_store::{Kind, State, Storage};
//!
//! const GUARD: Kind = Kind::new("guard", 1);
//!
//! # let home = tempfile::tempdir()?;
//! # let folder = home.path().join("state");
//! let state = State::open(&folder)?;
//! state.replace(GUARD, "guard-testnet", b"bn1:...")?;
//! assert!(State::open(&folder).is_err(), "one holder at a time");
//! drop(state);
//! let kept = State::open(&folder)?.load(GUARD, "guard-testnet")?.unwrap();
//! assert_eq!(&kept.bytes[..], b"bn1:...");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
