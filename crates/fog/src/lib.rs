//! Chapter 10's vocabulary: resources, words, placement wishes, and the draws that everybody can check.
//!
//! **Promises.** A [`Resources`] value lies within the chapter's bounds, and its arithmetic cannot overflow or go below zero. A [`Word`]
//! has the chapter's alphabet and length.
//!
//! **Below:** `wire`, `keys`. **Above:** scheduler, coordinator, workers and users of the fog.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! ```
//! use betanet_fog::{Amounts, Resources};
//!
//! let free = Resources::new(Amounts { cpu: 4000, memory: 8 << 30, ..Amounts::default() })?;
//! let asked = Resources::new(Amounts { cpu: 1500, memory: 2 << 30, ..Amounts::default() })?;
//! assert!(asked.fits(&free));
//! assert_eq!(free.checked_sub(&asked).map(|left| left.cpu()), Some(2500));
//! assert_eq!(asked.checked_sub(&free), None);
//! # Ok::<(), betanet_fog::Refusal>(())
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
pub use draw::{Digest, TaskId, draw, label, seed_hash};
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
pub use signed::{Authentic, Envelope, Received, Record, SIGNED_MAX, Signed};
pub use timing::{Interval, amnesty};
pub use vocabulary::{
    Fate, Grant, Kind, Level, NodeState, Offline, Outcome, Side, Strategy, TaskState, Tier, Verify,
};
pub use word::{NotText, NotWord, TEXT_MAX, Text, WORD_MAX, Word};
