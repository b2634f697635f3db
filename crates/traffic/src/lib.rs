//! Appearance of traffic to an observer: shapes that connections follow, and templates that describe origins and browsers.
//!
//! **Promises.** A follower sends records with the sizes and times of a recorded page load, and never more than the shape has
//! room for. Memory for parsed hellos, flights and Initial packets is bounded, whatever they contain. A template has one encoding
//! and one ID.
//!
//! **Below:** `wire` and `keys`. **Above:** `carrier`, which cuts and delays records accordingly, and `runtime`, which keeps
//! templates.
//! **Source:** profile chapter 2, "Front origin and template" and "Shape" (`spec-vectors/PROFILE.md`), RFC 8446, RFC 9001.
#![no_std]

extern crate alloc;

pub mod shape;
pub mod template;
