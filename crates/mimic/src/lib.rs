//! The outer TLS of a browser: what Chromium's network stack sends, byte for byte but for what is fresh in every hello, over the
//! library that it uses itself.
//!
//! **Promises.** Every field of the ClientHello that an observer can compare is the browser's: cipher suites, extensions and their
//! permutation, groups, signature algorithms, key shares, ALPN, ALPS, trust anchors, GREASE (RFC 8701). No session is resumed and
//! no early data is sent, so each hello looks like a first visit. The certificate is checked as `carrier` does it.
//!
//! **Below:** `carrier`'s seam, BoringSSL. **Above:** `runtime`, with its feature `mimic`. **Source:** profile chapter 2, "Front
//! origin and template"; RFC 8446; the captures in `shapes/`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use betanet_mimic::Chromium;
//! # fn node() -> betanet_carrier::client::Trust { todo() }
//! # fn todo() -> betanet_carrier::client::Trust { betanet_carrier::client::Trust::Anything }
//! let shape: Arc<dyn betanet_carrier::Shape> = Arc::new(Chromium::new());
//! ```

mod chromium;
mod first;
mod gather;
mod raw;

pub use chromium::Chromium;
