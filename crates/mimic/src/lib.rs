//! A browser's outer TLS and QUIC: the bytes of Debian's Chromium 156, produced with its own library, BoringSSL.
//!
//! **Promises.** Every field of the ClientHello that an observer can compare equals the browser's: cipher suites, extensions
//! and their permutation, groups, signature algorithms, key shares, ALPN, ALPS, trust anchors, GREASE (RFC 8701). So do
//! HTTP/2's SETTINGS and window, and the first request's priority and order of pseudo-header fields. Over QUIC, so do the
//! hello, the transport parameters and their permutation, the lengths of connection IDs, and the splitting and padding of the
//! first packets. No session is resumed and no early data is sent, so each hello looks like a first visit. The certificate is
//! checked as `carrier` does it, before any byte of HTTP. The request's other fields, and everything after it, do not look like
//! a browser's.
//!
//! **Below:** the interfaces of `carrier`, BoringSSL, quiche. **Above:** `runtime`, with its feature `mimic`. **Source:**
//! profile chapter 2, "Front origin and template"; RFC 8446; RFC 9000; RFC 9001; `betanet_carrier::CHROMIUM_156`, the browser's
//! capture.
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_carrier::Fingerprint;
//! use betanet_mimic::Chromium;
//!
//! // For `betanet_runtime::Node::shaped`, or `betanet_carrier::client::connect`.
//! let shape: Arc<dyn Fingerprint> = Arc::new(Chromium::new()?);
//! assert_eq!(format!("{shape:?}"), "Chromium 156");
//! # Ok::<(), betanet_carrier::Error>(())
//! ```

mod chromium;
mod first;
mod gather;
mod hello;
mod quic;
mod raw;

pub use chromium::Chromium;
