//! The fog's vocabulary: resources, signed records, request bodies, join tokens, and the draws that everybody can check.
//!
//! **Promises.** A record is checked in the chapter's order: size, encoding, types, signature, the signer's role (by the caller), bounds.
//! A refusal has the chapter's code and names the culprit. A [`Resources`] value lies within its bounds, and its arithmetic cannot
//! overflow or go below zero. Each list, map and text is bounded before it is allocated. The bytes that were signed are kept.
//!
//! - [`Received`] → [`Authentic`] → [`Signed`]: the steps from bytes to a checked record ([`Node`], [`Task`], [`Receipt`] and others).
//! - [`bodies`]: requests and answers; [`json`]: the same as JSON. Both follow a [`Shape`], the types as data.
//! - [`draw`], [`Interval`], [`Retry`], [`Policy`]: what coordinator and workers compute alike.
//!
//! **Below:** `wire`, `keys`. **Above:** scheduler, coordinator, workers and users of the fog.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! ```
//! use betanet_fog::{Amounts, Kind, Labels, Level, Node, Received, Resources, Signed};
//! use betanet_keys::Identity;
//!
//! let me = Identity::from_seed(&[7; 32]);
//! let node = Node {
//!     cap: Resources::capacity(Amounts { cpu: 4000, memory: 8 << 30, ..Amounts::default() })?,
//!     key: *me.public().as_bytes(),
//!     org: "acme".parse()?,
//!     seq: 1_790_000_000_000,
//!     kind: Kind::Compute,
//!     zone: "eu-1".parse()?,
//!     level: Level::Public,
//!     model: "".parse()?,
//!     price: 500_000,
//!     engine: "wasmtime".parse()?,
//!     labels: Labels::default(),
//!     region: "eu".parse()?,
//! };
//! let bytes = Signed::sign(node, &me)?.to_bytes();
//!
//! let authentic = Received::<Node>::read(&bytes)?.verify()?;
//! assert_eq!(authentic.signer(), me.public()); // the place to look at the signer's role
//! let node = authentic.check(1_790_000_000_000)?;
//! assert_eq!(node.cap.cpu(), 4000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;

pub mod bodies;
mod call;
mod draw;
mod item;
pub mod json;
mod list;
mod placement;
mod reason;
mod records;
mod refusal;
mod resources;
mod shape;
mod signed;
mod timing;
mod vocabulary;
mod word;

pub use call::{AUTHORIZATION, Call};
pub use draw::{Digest, Draws, TaskId, draw, label, seed_hash};
pub use item::{BODY_MAX, Item, from_slice, to_message, to_vec};
pub use list::{List, Map, TooMany};
pub use placement::{Affinity, Attribute, Labels, Near, Need, Op, Placement};
pub use reason::Reason;
pub use records::{
    Admission, Assignment, Commitment, DAY_MS, Fetched, Input, Job, Joining, Module, Node, Order,
    Output, OutputFile, Policy, ROUND_MS, Receipt, Retry, Source, Task, Token, Verification,
};
pub use refusal::{Refusal, RefusalCode};
pub use resources::{Amounts, Resource, Resources};
pub use shape::Shape;
pub use signed::{Authentic, Envelope, Pending, Received, Record, SIGNED_MAX, Signed};
pub use timing::{Interval, amnesty};
pub use vocabulary::{
    Fate, Grant, Kind, Level, NodeState, Offline, Outcome, Side, Strategy, TaskState, Tier, Verify,
};
pub use word::{NotText, NotWord, TEXT_MAX, Text, WORD_MAX, Word};
