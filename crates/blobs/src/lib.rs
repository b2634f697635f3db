//! Content-addressed blobs, in a state folder or a bucket, and append-only logs.
//!
//! **Promises.** [`Blobs`] stores content under its SHA-256. An upload is verified as it arrives and seen once it is whole, synced and
//! right; one that fails or is cancelled leaves nothing. Each part of a blob is verified before it is given out. A damaged blob is
//! named, set aside and never served. Uploads at the same time keep within the quota and above the disk's floor. [`Logs`] keeps
//! the output of tasks' copies, 16 MiB each.
//!
//! **Below:** `betanet-store` (the folder and its lock), `object_store` over a local folder or S3. **Above:** the coordinator and the
//! worker. **Source:** chapter 10 of the profile, "Requests".
//!
//! - A blob has at most 2^32 bytes. It is stored with a checksum of each 256 KiB, so that a range costs no more than the chunks that
//!   it touches.
//! - If the quota or the floor needs it, the blobs used longest ago are evicted. Those that are pinned or being read stay.
//! - With the cargo feature `s3`, [`Blobs::open_at`] keeps blobs in S3-compatible storage: the quota holds there, and no floor. Its index
//!   is rebuilt by listing. Uploads that a crash has cut are ended at the next start, by notes in the state folder. One that cannot be
//!   ended is tried again at the start after that.
//! - Several programs may name one bucket, and one of them uses it at a time: of coordinators the leader alone. [`Blobs::is_shared`] says
//!   whether that is so.
//! - A pin has a holder and an end. Time comes from the caller, in [`Blobs::sweep`].
//! - Pins and the order of use are kept in memory. After a restart blobs are ordered by the time at which they were stored.
//! - An append to a log names its offset, so it may be repeated. Logs are not synced.
//! - The free space is measured before an upload or append. Others who fill the disk meanwhile give [`Error::DiskFull`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_blobs::{Blobs, Digest, Error, Settings};
//! use betanet_store::State;
//! use bytes::Bytes;
//! use futures_util::stream;
//!
//! # let home = tempfile::tempdir()?;
//! # let folder = home.path().join("state");
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let state = Arc::new(State::open(&folder)?);
//! let blobs = Blobs::open(&state, Settings::default()).await?;
//!
//! // The content arrives in parts, each of which may fail.
//! let parts = || stream::iter(["a mod", "ule"].map(|p| Ok::<_, std::io::Error>(Bytes::from(p))));
//! let digest = Digest::of(b"a module");
//! assert!(blobs.put(digest, 8, parts()).await?.new);
//! assert_eq!(blobs.has(digest), Some(8));
//! assert_eq!(blobs.get(digest, 2..8).await?.all(100).await?, b"module");
//!
//! let other = Digest::of(b"another");
//! assert!(matches!(blobs.put(other, 8, parts()).await, Err(Error::Digest { .. })));
//! assert_eq!(blobs.has(other), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
#[cfg(feature = "s3")]
mod bucket;
mod content;
mod digest;
mod error;
mod index;
mod logs;
mod names;
mod pins;
mod place;
mod seal;
mod settings;
mod store;
mod upload;

pub use content::Content;
pub use digest::Digest;
pub use error::{Damage, Error, Failure, Kind};
pub use logs::{APPEND_MAX, LOG_MAX, LogSettings, Logs, READ_MAX};
pub use pins::Holder;
pub use place::{Bucket, Place, PlaceError};
pub use settings::{FLOOR, Facts, Settings};
pub use store::{BLOB_MAX, Blobs, READS_MAX, Stored, Swept, UPLOADS_MAX};
