//! Encodings without keys: deterministic CBOR, binary primitives, error codes, capabilities.
//!
//! **Promises.** Encoder and decoder are equally strict. One value has one encoding, and every accepted input re-encodes to the
//! same bytes. Declared lengths are checked against the available bytes before anything is allocated.
//!
//! **Below:** nothing. **Above:** every layer. **Source:** profile chapter 1 (`spec-vectors/PROFILE.md`), RFC 8949 §4.2.
//!
//! ```
//! use betanet_wire::{cbor, message};
//!
//! message! {
//!     /// A page.
//!     pub struct Page<'a> {
//!         /// Number of words.
//!         req "n" words: u32,
//!         /// Title of the page.
//!         opt "title" title: &'a str,
//!     }
//! }
//!
//! let page = Page { words: 300, title: Some("Herbs") };
//! let bytes = cbor::to_vec(&page);
//! assert_eq!(cbor::from_slice::<Page>(&bytes)?, page);
//! # Ok::<(), cbor::Error>(())
//! ```
#![no_std]

extern crate alloc;

pub mod caps;
pub mod cbor;
mod charge;
mod code;
mod id;
pub mod lottery;
pub mod msg;
pub mod prim;
pub mod text;

pub use charge::ChargeTo;
pub use code::Code;
pub use id::{NodeId, PeerId};
