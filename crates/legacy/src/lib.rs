//! Peers of version 1.1: their legs are joined with sessions of 1.2, stream by stream.
//!
//! **Promises.** A peer that has spoken 1.2 is refused 1.1. A ticket of 1.1 opens one leg, also across a restart. Legs are
//! bounded, overall and for each party charged, and credit passes from end to end.
//!
//! **Below:** `compat11`, `relay`, `dial`, `session`. **Above:** `runtime`, which accepts the legs.
//! **Source:** profile chapter 9 (`spec-vectors/PROFILE.md`).
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_legacy::{Compat11, Server11, Translator};
//! use betanet_session::Clock;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = "ab".repeat(32);
//! let server: Server11 = format!("old.example:443,key={key},id=0123456789abcdef").parse()?;
//! let settings = Compat11 {
//!     dial: Some(server),
//!     ..Compat11::default()
//! };
//! let identity = betanet_keys::Identity::from_seed(&[1; 32]);
//! let state = Arc::new(betanet_store::MemoryStorage::default());
//! let kept = (state as Arc<dyn betanet_store::Storage>, "node.pem".as_ref());
//! let translator = Translator::new(identity, &settings, kept, Arc::new(()), Clock::start())?;
//! assert!(translator.dials());
//! # Ok(()) }
//! ```

mod count;
mod error;
mod settings;
mod shares;
mod translate;

pub use count::CountLegs;
pub use error::Error;
pub use settings::{Compat11, Server11};
pub use shares::{Share, Shares};
pub use translate::{ToServer, Translator};
