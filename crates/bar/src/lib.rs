//! L7: BAR requests and responses, as values and pure decisions.
//!
//! **Promises.** Every decoded head is a valid request or response. A body has exactly its announced length. One function decides
//! preconditions and ranges for every store. Nobody may write without explicit permission.
//!
//! **Below:** a stream of type 0x01 (`htx`). **Above:** services and clients (`runtime`, `sim`).
//! **Source:** profile chapter 8 (`spec-vectors/PROFILE.md`); conditions and ranges as RFC 9110 §13 and §14.
//!
//! ```
//! use betanet_bar::{Access, Client, Handler, Headers, MemoryStore, Method, Request, Service, status};
//!
//! let mut service = Service::new(MemoryStore::new(1 << 20), Access::Anyone);
//! let put = Request::new(Method::Put, "/greeting", Headers::default());
//! let mut exchange = service.begin(Client::Anonymous, put).map_err(|r| r.status).unwrap();
//! service.body(&mut exchange, b"hello").map_err(|r| r.status).unwrap();
//! assert_eq!(service.end(&mut exchange).status, status::CREATED);
//! ```
#![no_std]

extern crate alloc;

mod conditions;
mod error;
mod head;
mod headers;
mod incoming;
mod listing;
mod memory;
mod service;
mod store;

pub use conditions::{Decision, Span, decide, parse_range};
pub use error::{Error, Refusal};
pub use head::{HEAD_MAX, Head, Method, Request, Response, TARGET_MAX};
pub use headers::{HeaderValue, Headers};
pub use incoming::{Incoming, Part};
pub use listing::{LIST_TYPE, NEXT};
pub use memory::MemoryStore;
pub use service::{Access, Client, Exchange, Handler, NOT_ALLOWED, ReadFailed, Service};
pub use store::{Commit, Entry, Expect, Listing, Meta, Store, StoreError};

/// The status codes of the profile.
pub mod status {
    /// The answer holds the resource.
    pub const OK: u16 = 200;
    /// A new resource was made.
    pub const CREATED: u16 = 201;
    /// Success without content.
    pub const NO_CONTENT: u16 = 204;
    /// The request is invalid.
    pub const BAD_REQUEST: u16 = 400;
    /// The client must identify itself.
    pub const UNAUTHORIZED: u16 = 401;
    /// This client may not do this.
    pub const FORBIDDEN: u16 = 403;
    /// The resource does not exist.
    pub const NOT_FOUND: u16 = 404;
    /// A precondition does not hold.
    pub const CONFLICT: u16 = 409;
    /// Too many requests; see `retry-after`.
    pub const TOO_MANY: u16 = 429;
    /// The server failed.
    pub const INTERNAL: u16 = 500;
    /// Temporarily unavailable; see `retry-after`.
    pub const UNAVAILABLE: u16 = 503;
}
